"""Purging: leaves go as if they had never been here, the rest stands, and no seq is given again."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icure_sync.ids import DocId, Rev
from icure_sync.store import Store, schema
from icure_sync.store.heads import DELEGATE, FOREIGN_KEY
from tests.store.revisions import KEY, rev, revision

JOHN, ANN = DocId("john"), DocId("ann")


def fork(store: Store) -> None:
    """John with the leaves 2c (the winner, for hcp-a) and 2b (for hcp-b)."""
    store.documents.apply([revision("john", "1a")])
    store.documents.apply(
        [
            revision("john", "2c", "1a", delegations={"hcp-a": []}),
            revision("john", "2b", "1a", delegations={"hcp-b": []}, secretForeignKeys=["s"]),
        ]
    )


def test_purging_forgets_everything_and_gives_no_seq_twice(store: Store):
    store.documents.apply([revision("ann", "1a"), revision("john", "1a", delegations={"hcp-a": []}, type="Patient")])
    store.search.index(JOHN, "Patient", "keats")
    assert store.purges.purge({JOHN: [rev(1, "a")], DocId("tom"): [rev(1, "a")]}) == {
        JOHN: (rev(1, "a"),),
        DocId("tom"): (),
    }
    assert store.documents.get(JOHN) is None
    assert store.documents.tree(JOHN) is None
    assert store.lookups.count_of(DELEGATE, "hcp-a") == 0
    assert store.search.find("keats") == []
    assert (store.documents.count(), store.documents.update_seq()) == (1, 3)
    assert [change.id for change in store.documents.changes()] == [ANN]
    assert store.check() == []
    store.documents.apply([revision("john", "1a")])
    assert store.documents.seq_of(JOHN) == 4


def test_a_purged_document_that_comes_back_has_nothing_of_the_old_one(store: Store):
    store.documents.apply([revision("john", "1a", delegations={"hcp-a": []})])
    store.documents.mark_verified(JOHN, rev(1, "a"), 2, "why")
    store.purges.purge({JOHN: [rev(1, "a")]})
    store.documents.apply([revision("john", "1a")])
    assert store.documents.verification(JOHN, rev(1, "a")) == (0, "")
    assert store.lookups.count_of(DELEGATE, "hcp-a") == 0


def test_purging_the_winner_leaves_the_next_leaf_in_its_place(store: Store):
    fork(store)
    before = store.documents.update_seq()
    assert store.purges.purge({JOHN: [rev(2, "c")]}) == {JOHN: (rev(2, "c"),)}
    winner = store.documents.get(JOHN)
    assert winner is not None
    assert winner.history == (rev(2, "b"), rev(1, "a"))
    assert store.documents.get(JOHN, rev(2, "c")) is None
    assert store.documents.seq_of(JOHN) == before + 1
    assert store.lookups.count_of(DELEGATE, "hcp-a") == 0
    assert store.lookups.count_of(DELEGATE, "hcp-b") == 1
    assert store.documents.conflicted_ids() == []
    assert store.documents.missing({JOHN: [rev(2, "c"), rev(1, "a")]})[JOHN].revs == (rev(2, "c"),)
    assert store.check() == []


def test_what_is_no_leaf_is_not_purged(store: Store):
    fork(store)
    before = store.documents.update_seq()
    assert store.purges.purge({JOHN: [rev(1, "a"), rev(9, "f")]}) == {JOHN: ()}
    assert store.documents.update_seq() == before
    assert len(store.documents.leaves(JOHN)) == 2


def test_purging_the_live_leaf_leaves_the_tombstone_to_win(store: Store):
    fork(store)
    store.documents.apply([revision("john", "3d", "2b", "1a", deleted=True)])
    store.purges.purge({JOHN: [rev(2, "c")]})
    assert (store.documents.count(), store.documents.deleted_count()) == (0, 1)
    assert store.documents.get(JOHN).deleted  # type: ignore[union-attr]  # it is there
    assert store.check() == []


def test_every_request_is_on_record_until_it_is_trimmed(store: Store):
    store.documents.apply([revision("john", "1a")])
    assert (store.purges.seq(), store.purges.records()) == (0, [])
    store.purges.purge({JOHN: [rev(1, "a")], ANN: [Rev("9-nope")]})
    store.purges.purge({JOHN: []})
    assert store.purges.seq() == 3
    assert [(one.id, one.revs) for one in store.purges.records()] == [
        (JOHN, (rev(1, "a"),)),
        (ANN, (Rev("9-nope"),)),
        (JOHN, ()),
    ]
    store.purges.trim(1)
    assert [one.seq for one in store.purges.records()] == [3]
    assert store.purges.seq() == 3


def test_a_purge_is_announced(store: Store):
    store.documents.apply([revision("john", "1a")])
    told: list[int] = []
    store._watchers = (lambda: told.append(store.documents.update_seq()),)
    store.purges.purge({JOHN: [rev(1, "a")]})
    assert told == [2]


leaves = st.lists(
    st.tuples(st.sampled_from("bcdef"), st.booleans(), st.sampled_from(["hcp-a", "hcp-b"])),
    unique_by=lambda one: one[0],
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(leaves=leaves, gone=st.sets(st.sampled_from("abcdef")))
def test_what_is_left_after_a_purge_is_what_would_be_without_the_purged(
    store: Store, leaves: list[tuple[str, bool, str]], gone: set[str]
):
    """As if only the other leaves had ever come."""

    def arrivals(name: str) -> dict[str, object]:
        return {
            letter: revision(name, f"2{letter}", "1a", deleted=deleted, delegations={hcp: []}, secretForeignKeys=[hcp])
            for letter, deleted, hcp in leaves
        }

    for name in ("john", "ann"):
        if held := store.documents.leaves(DocId(name)):
            store.purges.purge({DocId(name): [one.rev for one in held]})
    if not leaves:
        return
    store.documents.apply(list(arrivals("john").values()))  # type: ignore[arg-type]  # revisions
    store.purges.purge({JOHN: [rev(2, letter) for letter in gone]})
    store.documents.apply([one for letter, one in arrivals("ann").items() if letter not in gone])  # type: ignore[misc]
    assert store.documents.tree(JOHN) == store.documents.tree(ANN)
    assert [one.body for one in store.documents.leaves(JOHN)] == [one.body for one in store.documents.leaves(ANN)]
    terms = store._database.rows(
        "SELECT kind, term, count(*) FROM terms GROUP BY kind, term HAVING count(*) % 2 = 1 ORDER BY kind, term"
    )
    assert terms == []
    for kind in (DELEGATE, FOREIGN_KEY):
        assert store.lookups.count(kind) % 2 == 0
    assert store.check() == []


def test_a_file_of_an_earlier_schema_has_its_terms_counted(path: Path, monkeypatch: pytest.MonkeyPatch):
    """The tables as they were when nothing was counted, purged or kept packed."""
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:2])
        old = Store.open(path, KEY)
        run = old._database.run
        for number, delegates in ((1, "ab"), (2, "b")):
            run(
                "INSERT INTO documents VALUES (?, ?, ?, ?, 0, ?, 1, NULL)",
                (number, f"doc-{number}", number, rev(1, "a"), number),
            )
            body = json.dumps({"delegations": {f"hcp-{one}": [] for one in delegates}, "secretForeignKeys": ["s"]})
            run(
                "INSERT INTO revisions VALUES (?, ?, ?, 1, 0, 0, 0, '', ?)",
                (number, number, rev(1, "a"), body.encode()),
            )
            for kind, term in (*((DELEGATE, f"hcp-{one}") for one in delegates), (FOREIGN_KEY, "s")):
                run("INSERT INTO terms VALUES (?, ?, ?)", (number, kind, term))
        run("UPDATE counters SET update_seq = 2, live = 2")
        old.close()
    store = Store.open(path, KEY)
    assert (store.lookups.count(DELEGATE), store.lookups.count(FOREIGN_KEY)) == (3, 2)
    assert (store.purges.seq(), store.purges.records()) == (0, [])
    store.purges.purge({DocId("doc-1"): [rev(1, "a")]})
    assert (store.lookups.count(DELEGATE), store.lookups.count(FOREIGN_KEY)) == (1, 1)
    assert store.check() == []
    store.close()
