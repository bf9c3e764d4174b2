"""Documents in a store: what is taken, what is kept, what is found, and in which order."""

from __future__ import annotations

import json
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icure_sync.errors import InvalidEntity, NotFound, StaleRevision
from icure_sync.ids import DocId, Rev
from icure_sync.merge.revtree import Leaf, RevTree
from icure_sync.replication.limits import MAX_DOCUMENT
from icure_sync.replication.wire import Missing, Revision
from icure_sync.store import Store
from icure_sync.store.heads import DELEGATE
from icure_sync.store.inserter import Rules
from icure_sync.store.limits import MAX_GENERATION_JUMP, MAX_ID, REVS_LIMIT
from tests.store.revisions import rev, revision

JOHN = DocId("john")
fresh = count()


# Taking revisions as they are


def test_a_revision_comes_back_as_it_came(store: Store):
    body = '{"type":"Patient","note":"Grüße \\u00fc 1.0e5","n":[1, 2.0]}'.encode()
    came = Revision(JOHN, (rev(2, "b"), rev(1, "a")), body)
    assert store.documents.apply([came]) == []
    assert store.documents.get(JOHN) == came
    assert store.documents.get(JOHN, rev(2, "b")) == came
    assert store.documents.leaves(JOHN) == (came,)


def test_an_unknown_document_is_nothing(store: Store):
    assert store.documents.get(JOHN) is None
    assert store.documents.get(JOHN, rev(1, "a")) is None
    assert store.documents.leaves(JOHN) == ()
    assert store.documents.held_leaves(JOHN) == ()
    assert store.documents.tree(JOHN) is None
    assert store.documents.seq_of(JOHN) is None
    assert store.documents.verification(JOHN, rev(1, "a")) is None


def test_an_ancestor_whose_body_never_came_is_known_but_not_here(store: Store):
    store.documents.apply([revision("john", "2b", "1a")])
    assert store.documents.get(JOHN, rev(1, "a")) is None
    assert store.documents.missing({JOHN: [rev(1, "a")]}) == {}


def test_a_body_that_comes_late_is_kept_and_changes_no_leaf(store: Store):
    store.documents.apply([revision("john", "2b", "1a")])
    seq = store.documents.update_seq()
    store.documents.apply([revision("john", "1a", note="old")])
    old = store.documents.get(JOHN, rev(1, "a"))
    assert old is not None
    assert json.loads(old.body) == {"note": "old"}
    assert [leaf.rev for leaf in store.documents.leaves(JOHN)] == [rev(2, "b")]
    assert store.documents.update_seq() == store.documents.seq_of(JOHN) == seq
    assert store.check() == []


def test_concurrent_revisions_stand_side_by_side(store: Store):
    store.documents.apply([revision("john", "2b", "1a")])
    store.documents.apply([revision("john", "2c", "1a")])
    assert [leaf.rev for leaf in store.documents.leaves(JOHN)] == [rev(2, "c"), rev(2, "b")]
    assert store.documents.conflicted_ids() == [JOHN]
    (winner,) = store.documents.winners([JOHN])
    assert winner.live == 2


def test_a_tombstone_is_a_leaf_and_the_live_one_wins(store: Store):
    store.documents.apply([revision("john", "2b", "1a"), revision("john", "3d", "2c", "1a", deleted=True)])
    assert [(leaf.rev, leaf.deleted) for leaf in store.documents.leaves(JOHN)] == [
        (rev(2, "b"), False),
        (rev(3, "d"), True),
    ]
    assert store.documents.conflicted_ids() == []
    assert store.documents.count() == 1


def test_a_deleted_document_is_counted_apart_and_can_live_again(store: Store):
    store.documents.apply([revision("john", "1a")])
    store.documents.apply([revision("john", "2b", "1a", deleted=True)])
    assert (store.documents.count(), store.documents.deleted_count()) == (0, 1)
    found = store.documents.get(JOHN)
    assert found is not None
    assert found.deleted
    store.documents.apply([revision("john", "3c", "2b", "1a")])
    assert (store.documents.count(), store.documents.deleted_count()) == (1, 0)


def test_two_hundred_leaves_come_in_one_batch(store: Store):
    came = [Revision(JOHN, (Rev(f"2-{number:032x}"), rev(1, "a")), b"{}") for number in range(200)]
    assert store.documents.apply(came) == []
    assert len(store.documents.leaves(JOHN)) == 200
    assert store.documents.update_seq() == 1
    assert store.documents.winners([JOHN])[0].live == 200
    assert store.check() == []


def test_what_comes_again_changes_nothing(store: Store):
    came = [revision("john", "2b", "1a"), revision("ann", "1a"), revision("john", "2c", "1a")]
    store.documents.apply(came)
    before = store.documents.changes()
    again = [*came, revision("john", "2b", "1a", note="another body for the same revision")]
    assert store.documents.apply(again) == []
    assert store.documents.changes() == before
    assert store.documents.leaves(JOHN) == (came[2], came[0])


def test_a_longer_history_of_a_known_revision_is_news_of_the_tree_only(store: Store):
    store.documents.apply([revision("john", "3c")])
    store.documents.apply([revision("john", "3c", "2b", "1a")])
    assert store.documents.tree(JOHN) == RevTree().graft((rev(3, "c"), rev(2, "b"), rev(1, "a")))
    assert store.documents.update_seq() == 1
    assert store.documents.leaves(JOHN)[0].history == (rev(3, "c"), rev(2, "b"), rev(1, "a"))


def test_histories_are_stemmed(store: Store):
    history = tuple(Rev(f"{number}-{number:032x}") for number in range(REVS_LIMIT + 5, 0, -1))
    store.documents.apply([Revision(JOHN, history, b"{}")])
    longer = (Rev(f"{REVS_LIMIT + 6}-{'f' * 32}"), *history)
    store.documents.apply([Revision(JOHN, longer, b"{}")])
    assert store.documents.leaves(JOHN)[0].history == longer[:REVS_LIMIT]


def test_a_body_below_all_that_is_kept_of_the_history_is_not_kept(store: Store):
    history = tuple(Rev(f"{number}-{number:032x}") for number in range(REVS_LIMIT + 5, 0, -1))
    store.documents.apply([Revision(JOHN, history, b"{}"), Revision(JOHN, history[-1:], b"{}")])
    assert store.documents.get(JOHN, history[-1]) is None
    assert store.check() == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Revision(JOHN, (), b"{}"), "history"),
        (Revision(JOHN, (Rev("1-A"),), b"{}"), "history"),
        (Revision(JOHN, (Rev("3-a"), Rev("1-b")), b"{}"), "history"),
        (Revision(JOHN, (Rev("9" * 20 + "-a"),), b"{}"), "history"),
        (Revision(JOHN, (Rev(f"1-{'a' * 65}"),), b"{}"), "history"),
        (Revision(JOHN, (Rev(f"{MAX_GENERATION_JUMP + 1}-a"),), b"{}"), "generation"),
        (Revision(DocId(""), (Rev("1-a"),), b"{}"), "id"),
        (Revision(DocId("x" * (MAX_ID + 1)), (Rev("1-a"),), b"{}"), "id"),
        (Revision(DocId("_local/x"), (Rev("1-a"),), b"{}"), "underscore"),
        (Revision(DocId("\ud800"), (Rev("1-a"),), b"{}"), "Unicode"),
        (Revision(JOHN, (Rev("1-a"),), b"[]"), "object"),
        (Revision(JOHN, (Rev("1-a"),), b"{"), "JSON"),
        (Revision(JOHN, (Rev("1-a"),), b""), "JSON"),
        (Revision(JOHN, (Rev("1-a"),), b'{"a":NaN}'), "JSON"),
        (Revision(JOHN, (Rev("1-a"),), b'{"type":5,"a":}'), "JSON"),
        (Revision(JOHN, (Rev("1-a"),), b'{"a":"\xff"}'), "UTF-8"),
        (Revision(JOHN, (Rev("1-a"),), b'{"_rev":"1-b"}'), "underscore"),
        (Revision(JOHN, (Rev("1-a"),), b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}"), "nested"),
        (Revision(JOHN, (Rev("1-a"),), b'{"a":"' + b"x" * MAX_DOCUMENT + b'"}'), "bytes"),
    ],
    ids=str,
)
def test_a_revision_that_cannot_be_taken_is_refused_and_the_others_are_not(store: Store, bad: Revision, reason: str):
    (refusal,) = store.documents.apply([revision("ann", "1a"), bad, revision("tom", "1a")])
    assert (refusal.id, refusal.rev) == (bad.id, bad.history[0] if bad.history else None)
    assert reason in refusal.reason
    assert [change.id for change in store.documents.changes()] == ["ann", "tom"]
    assert store.documents.get(JOHN) is None


def test_a_generation_may_not_jump_far_past_what_is_known(store: Store):
    store.documents.apply([revision("john", "1a")])
    near, far = Rev(f"{MAX_GENERATION_JUMP + 1}-a"), Rev(f"{2 * MAX_GENERATION_JUMP + 2}-b")
    refusals = store.documents.apply([Revision(JOHN, (far,), b"{}"), Revision(JOHN, (near,), b"{}")])
    assert [refusal.rev for refusal in refusals] == [far]
    assert store.documents.apply([Revision(JOHN, (far,), b"{}")]) != []
    assert [leaf.rev for leaf in store.documents.leaves(JOHN)] == [near, rev(1, "a")]


@pytest.mark.parametrize(
    "doc_id", ["a b/c?d#e%", "'; DROP TABLE documents; --", "\0", "é" * 100, "_design/x", "x" * MAX_ID]
)
def test_hostile_ids_are_only_names(store: Store, doc_id: str):
    assert store.documents.apply([revision(doc_id, "1a")]) == []
    assert store.documents.get(DocId(doc_id)) == revision(doc_id, "1a")
    assert [change.id for change in store.documents.changes()] == [doc_id]


@st.composite
def journeys(draw: st.DrawFn) -> list[Revision]:
    """Revisions of one document in a small world, each id with one body and one fate, in some order and repetition."""
    paths = draw(
        st.lists(
            st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(tuple), min_size=1, max_size=8, unique=True
        )
    )
    made = []
    for path in paths:  # the hash of a revision is the path to it, so nothing contradicts
        history = tuple(
            Rev(f"{length}-{''.join(path[:length]):c<32}".replace("a", "1").replace("b", "2"))
            for length in range(len(path), 0, -1)
        )
        body = json.dumps({"type": path[-1], "secretForeignKeys": [f"secret-{path[0]}"]}).encode()
        made.append(Revision(DocId("-"), history, body, path[-2:] == ("b", "b")))
    return draw(st.permutations(made + made[:2]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(journeys(), st.data())
def test_the_outcome_does_not_depend_on_order_or_batches(store: Store, journey: list[Revision], data: st.DataObject):
    outcomes = []
    for order in (journey, data.draw(st.permutations(journey))):
        doc_id = DocId(f"doc-{next(fresh)}")
        mine = [Revision(doc_id, each.history, each.body, each.deleted) for each in order]
        cut = data.draw(st.integers(0, len(mine)))
        assert store.documents.apply(mine[:cut]) + store.documents.apply(mine[cut:]) == []
        leaves = store.documents.leaves(doc_id)
        outcomes.append(
            (
                store.documents.tree(doc_id),
                [(leaf.rev, leaf.body, leaf.deleted) for leaf in leaves],
                {kind: doc_id in store.documents.ids_of_type(kind, limit=-1) for kind in "ab"},
                {kind: doc_id in store.documents.ids_linked_by(f"secret-{kind}") for kind in "ab"},
            )
        )
        live = [json.loads(leaf.body)["type"] for leaf in leaves if not leaf.deleted]
        assert outcomes[-1][2] == {kind: kind in live for kind in "ab"}
    assert outcomes[0] == outcomes[1]
    assert store.check() == []


# Local edits


def test_a_local_edit_extends_the_leaf_that_it_names(store: Store):
    store.documents.write(JOHN, rev(1, "a"), b'{"n":1}', None)
    store.documents.write(JOHN, rev(2, "b"), b'{"n":2}', rev(1, "a"))
    found = store.documents.get(JOHN)
    assert found == Revision(JOHN, (rev(2, "b"), rev(1, "a")), b'{"n":2}')


@pytest.mark.parametrize("parent", [None, rev(1, "a"), rev(2, "c")])
def test_an_edit_of_what_is_no_leaf_is_stale(store: Store, parent: Rev | None):
    store.documents.apply([revision("john", "2b", "1a")])
    with pytest.raises(StaleRevision):
        store.documents.write(JOHN, rev(3, "d"), b"{}", parent)
    assert store.documents.leaves(JOHN) == (revision("john", "2b", "1a"),)


def test_an_edit_of_an_unknown_document_is_stale(store: Store):
    with pytest.raises(StaleRevision):
        store.documents.write(JOHN, rev(2, "b"), b"{}", rev(1, "a"))


def test_a_deleted_document_can_begin_again_or_be_extended(store: Store):
    store.documents.apply([revision("john", "2b", "1a", deleted=True), revision("ann", "2b", "1a", deleted=True)])
    store.documents.write(JOHN, rev(1, "c"), b"{}", None)
    store.documents.write(DocId("ann"), rev(3, "c"), b"{}", rev(2, "b"))
    assert store.documents.count() == 2


def test_a_losing_leaf_can_be_ended_by_a_local_tombstone(store: Store):
    store.documents.apply([revision("john", "2b", "1a"), revision("john", "2c", "1a")])
    store.documents.write(JOHN, rev(3, "d"), b'{"retired":true}', rev(2, "b"), deleted=True)
    assert store.documents.tree(JOHN).leaves() == (Leaf(rev(2, "c"), False), Leaf(rev(3, "d"), True))  # type: ignore[union-attr]  # it is here
    assert store.documents.conflicted_ids() == []


@pytest.mark.parametrize(("name", "body"), [(rev(2, "a"), b"{}"), (rev(1, "a"), b"[]"), (Rev("x"), b"{}")])
def test_an_edit_that_cannot_be_taken_is_an_error(store: Store, name: Rev, body: bytes):
    with pytest.raises(InvalidEntity):
        store.documents.write(JOHN, name, body, None)
    assert store.documents.changes() == []


# The feed


def test_every_change_moves_a_document_to_a_new_seq(store: Store):
    store.documents.apply([revision("john", "1a"), revision("ann", "1a")])
    store.documents.apply([revision("john", "2b", "1a")])
    assert [(change.seq, change.id, change.rev) for change in store.documents.changes()] == [
        (2, "ann", rev(1, "a")),
        (3, "john", rev(2, "b")),
    ]
    assert store.documents.update_seq() == 3
    assert store.documents.seq_of(JOHN) == 3


def test_the_feed_goes_on_after_a_seq_in_pages_and_backwards(store: Store):
    store.documents.apply([revision(f"doc-{number}", "1a") for number in range(5)])
    assert [change.seq for change in store.documents.changes(1, 2)] == [2, 3]
    assert [change.seq for change in store.documents.changes_before(6, 3)] == [5, 4, 3]
    assert [change.seq for change in store.documents.changes_before(3)] == [2, 1]
    assert store.documents.changes(5) == []


def test_the_feed_shows_every_leaf_the_winner_first(store: Store):
    store.documents.apply([revision("john", "2b", "1a"), revision("john", "3d", "2c", deleted=True)])
    (change,) = store.documents.changes()
    assert change.leaves == (Leaf(rev(2, "b"), False), Leaf(rev(3, "d"), True))
    assert (change.rev, change.deleted) == (rev(2, "b"), False)


def test_all_documents_are_listed_by_id_without_the_deleted_ones(store: Store):
    store.documents.apply([revision(doc_id, "1a") for doc_id in ("b", "a", "ä", "B")])
    store.documents.apply([revision("c", "1a", deleted=True)])
    assert [row.id for row in store.documents.ids()] == ["B", "a", "b", "ä"]
    assert [row.id for row in store.documents.ids("a", "b")] == ["a", "b"]
    assert [row.id for row in store.documents.ids("a", limit=1, skip=1)] == ["b"]
    assert [row.id for row in store.documents.ids(end="b", descending=True)] == ["b", "a", "B"]


def test_documents_and_changes_are_counted(store: Store):
    store.documents.apply([revision("john", "1a"), revision("ann", "1a"), revision("visit", "1a", type="Contact")])
    store.documents.apply([revision("gone", "1a", deleted=True, type="Contact")])
    assert store.documents.counts_by_type() == {"Patient": 2, "Contact": 1}
    assert (store.documents.count(), store.documents.deleted_count()) == (3, 1)
    assert store.documents.count_changes(1) == 3
    assert store.documents.count_before("john") == 1


def test_a_server_can_keep_shorter_histories_and_other_revision_ids(store: Store):
    store.documents.set_rules(Rules(revs_limit=2, is_history=lambda history: history[0] != rev(3, "f")))
    other = Revision(DocId("ann"), (Rev("1-xyz"),), b"{}")
    (refusal,) = store.documents.apply([revision("john", "3c", "2b", "1a"), other, revision("tom", "3f")])
    assert refusal.id == "tom"
    assert store.documents.leaves(JOHN)[0].history == (rev(3, "c"), rev(2, "b"))
    assert store.documents.get(DocId("ann")) == other
    assert store.check() == []


# What two peers tell each other


def test_missing_revisions_are_named_with_the_leaves_they_may_descend_from(store: Store):
    store.documents.apply([revision("john", "2b", "1a"), revision("ann", "1a")])
    asked = {JOHN: [rev(2, "b"), rev(3, "c"), rev(1, "d")], DocId("ann"): [rev(1, "a")], DocId("tom"): [rev(1, "a")]}
    assert store.documents.missing(asked) == {
        JOHN: Missing((rev(3, "c"), rev(1, "d")), (rev(2, "b"),)),
        "tom": Missing((rev(1, "a"),)),
    }


def test_fetching_gives_revisions_and_refusals_in_order(store: Store):
    store.documents.apply([revision("john", "2b", "1a")])
    found, refusal = store.documents.fetch({JOHN: [rev(2, "b")], DocId("tom"): [rev(1, "a")]})
    assert found == revision("john", "2b", "1a")
    assert (refusal.id, refusal.rev, refusal.error) == ("tom", rev(1, "a"), "not_found")  # type: ignore[union-attr]  # a Refusal


# Lookups


def test_documents_are_found_by_the_heads_of_all_their_live_leaves(store: Store):
    store.documents.apply(
        [
            revision("john", "2b", "1a", type="Patient", secretForeignKeys=["s3"]),
            revision("john", "2c", "1a", type="Patient", secretForeignKeys=["s1", "s2"]),
            revision("ann", "1a", type="Patient"),
            revision("visit", "1a", type="Contact", secretForeignKeys=["s1"]),
        ]
    )
    documents = store.documents
    assert documents.ids_of_type("Patient") == ["john", "ann"]
    assert documents.ids_linked_by("s1") == ["john", "visit"]
    assert documents.ids_linked_by("s2") == documents.ids_linked_by("s3") == ["john"]


def test_lookups_follow_the_leaves(store: Store):
    store.documents.apply([revision("john", "1a", type="Patient", secretForeignKeys=["s"])])
    store.documents.apply([revision("john", "2b", "1a", type="Contact", secretForeignKeys=["t"])])
    documents = store.documents
    assert documents.ids_of_type("Patient") == documents.ids_linked_by("s") == []
    assert documents.ids_of_type("Contact") == documents.ids_linked_by("t") == ["john"]
    store.documents.apply([revision("john", "3c", "2b", "1a", deleted=True, type="Contact", secretForeignKeys=["t"])])
    assert documents.ids_of_type("Contact") == documents.ids_linked_by("t") == []


@pytest.mark.parametrize(
    "body", [b'{"type":5}', b'{"type":null,"delegations":[]}', b'{"delegations":{"a":1},"type":[]}']
)
def test_members_of_another_kind_are_stored_and_not_looked_up(store: Store, body: bytes):
    assert store.documents.apply([Revision(JOHN, (rev(1, "a"),), body)]) == []
    assert store.documents.get(JOHN) == Revision(JOHN, (rev(1, "a"),), body)
    assert store.lookups.count_of(DELEGATE, "a") == (b'"a"' in body)


def test_ten_thousand_keys_are_bounded_work(store: Store):
    huge = revision("john", "1a", type="x" * 10_000, delegations={f"hcp-{number}": [] for number in range(10_000)})
    assert store.documents.apply([huge]) == []
    assert store.lookups.count_of(DELEGATE, "hcp-9999") == 1
    assert store.documents.ids_of_type("x" * 10_000) == []


def test_pages_of_ids_go_on_after_the_last_one(store: Store):
    store.documents.apply([revision(f"doc-{number}", "1a") for number in range(5)])
    first = store.documents.ids_of_type("Patient", limit=3)
    assert first + store.documents.ids_of_type("Patient", first[-1]) == [f"doc-{number}" for number in range(5)]
    with pytest.raises(NotFound):
        store.documents.ids_of_type("Patient", DocId("gone"))


def test_pages_of_winners_go_on_after_the_last_number(store: Store):
    store.documents.apply([revision(f"doc-{number}", "1a") for number in range(5)])
    first = store.documents.winners_of_type("Patient", limit=3)
    rest = store.documents.winners_of_type("Patient", first[-1].number)
    assert [held.revision.id for held in first + rest] == [f"doc-{number}" for number in range(5)]


def test_winners_come_in_the_order_asked_for(store: Store):
    store.documents.apply([revision("john", "2b", "1a"), revision("ann", "1a")])
    held = store.documents.winners([DocId("tom"), JOHN, DocId("ann")])
    assert [each.revision for each in held] == [revision("john", "2b", "1a"), revision("ann", "1a")]


# Verification, pruning, purging


def test_the_outcome_of_verification_is_kept_with_the_revision(store: Store):
    store.documents.apply([revision("john", "2b", "1a"), revision("john", "2c", "1a")])
    assert store.documents.verification(JOHN, rev(2, "b")) == (0, "")
    store.documents.mark_verified(JOHN, rev(2, "b"), 3, "the writer has no access")
    store.documents.mark_verified(JOHN, rev(9, "f"), 1)
    assert store.documents.verification(JOHN, rev(2, "b")) == (3, "the writer has no access")
    assert [(held.revision.rev, held.state, held.why) for held in store.documents.held_leaves(JOHN)] == [
        (rev(2, "c"), 0, ""),
        (rev(2, "b"), 3, "the writer has no access"),
    ]


def test_a_displaced_body_is_kept_until_it_is_pruned(store: Store):
    for doc_id in ("john", "ann"):
        store.documents.apply([revision(doc_id, "1a")])
        store.documents.apply([revision(doc_id, "2b", "1a")])
    assert [held.revision.rev for held in store.documents.displaced(JOHN)] == [rev(1, "a")]
    store.documents.prune(JOHN, [rev(1, "a"), rev(2, "b"), rev(9, "f")])
    assert store.documents.displaced(JOHN) == ()
    assert store.documents.get(JOHN, rev(1, "a")) is None
    assert store.documents.get(JOHN, rev(2, "b")) is not None
    assert store.documents.get(DocId("ann"), rev(1, "a")) == revision("ann", "1a")
    store.compact()
    assert store.documents.get(DocId("ann"), rev(1, "a")) is None
    assert store.documents.missing({DocId("ann"): [rev(1, "a")]}) == {}
    assert [change.rev for change in store.documents.changes()] == [rev(2, "b"), rev(2, "b")]


def test_a_pruned_revision_that_comes_again_is_no_leaf(store: Store):
    store.documents.apply([revision("john", "1a")])
    store.documents.apply([revision("john", "2b", "1a")])
    store.documents.prune(JOHN, [rev(1, "a")])
    store.documents.apply([revision("john", "1a")])
    assert [leaf.rev for leaf in store.documents.leaves(JOHN)] == [rev(2, "b")]
