"""The laws of merging revisions of an Hcp document: order-free, idempotent, and every key is kept."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.canonical import canonical
from icure_sync.crypto.envelope import kid
from icure_sync.crypto.hcp_keys import Wrapped, wrap, wrapped_keys
from icure_sync.crypto.identity import COMPROMISED, ENDINGS, PLANNED
from icure_sync.crypto.layout import MERGED_MOST
from icure_sync.crypto.party import Party, identity_members
from icure_sync.crypto.retirements import Retired, retired
from icure_sync.crypto.revision import written
from icure_sync.crypto.trust import verify_hcp_document
from icure_sync.engine import hcp_document
from icure_sync.engine.opening import entity_of
from icure_sync.engine.suite import Joined, Stored, Written
from icure_sync.engine.writers import Writers
from icure_sync.ids import DocId, Rev, rev_order
from icure_sync.model import Address, Hcp
from tests.keys import A, B, C, hcp_key, identity, seeded, successor

FIELDS = ("first_name", "speciality", "nihii")
Step = tuple[Any, ...]

steps = st.one_of(
    st.tuples(st.just("field"), st.sampled_from(FIELDS), st.sampled_from([None, "x", "y"])),
    st.tuples(st.just("address"), st.sampled_from(["Ghent", "Liège"])),
    st.tuples(st.just("key"), st.sampled_from([B, C]), st.integers(0, 2)),
    st.tuples(st.just("retire"), st.sampled_from([B, C]), st.integers(0, 2)),
)
branches = st.lists(st.lists(steps, min_size=1, max_size=3), min_size=2, max_size=4)


@functools.cache
def wrapped(delegate: str, number: int, again: str = "") -> Wrapped:
    party = Party.of(delegate, {"type": "HealthcareParty", **identity_members(identity(delegate))})
    return wrap(identity(A), party, hcp_key(A, delegate, number), seeded(f"oaep {number}{again}"))


def stored(revision: Written) -> Stored:
    return Stored(revision.id, revision.rev, revision.document)


def first() -> Stored:
    return stored(hcp_document.first(identity(A)))


def after(shown: Stored, step: Step, writers: Writers) -> Stored:
    """One more revision, as a device of A writes it."""
    kind, *given_ = step
    if kind == "key":
        return stored(hcp_document.with_keys(identity(A), shown, [wrapped(*given_)]))
    if kind == "retire":
        ended = Retired(hcp_key(A, *given_).kid, PLANNED)
        return stored(hcp_document.with_keys(identity(A), shown, [], [ended]))
    hcp = entity_of(shown, hcp_document.content(shown))
    assert isinstance(hcp, Hcp)
    field, value = given_ if kind == "field" else ("addresses", (*hcp.addresses, Address(city=given_[0])))
    edited = hcp_document.with_profile(identity(A), shown, hcp.replace(**{field: value}), writers, seeded(str(step)))
    return stored(edited) if edited else shown


def leaf(number: int, branch: Sequence[Step]) -> Stored:
    """What one device made of the first revision, offline."""
    writers = Writers(A, f"device {number}", seeded(f"writer {number}"), lambda: 1_700_000_000_000 + number)
    return functools.reduce(lambda shown, step: after(shown, step, writers), branch, first())


def leaves_of(drawn: Sequence[Sequence[Step]]) -> list[Stored]:
    found = {each.rev: each for each in (leaf(number, branch) for number, branch in enumerate(drawn))}
    return list(found.values())


def join(revisions: Sequence[Stored]) -> Joined:
    return hcp_document.join(identity(A), revisions, {each.rev for each in revisions})


def merged(revisions: Sequence[Stored]) -> Stored:
    """The one leaf that is left of them."""
    joined = join(revisions)
    assert joined.written is not None
    live = [each for each in joined.written if not each.deleted]
    return stored(live[0]) if live else next(each for each in revisions if each.rev == joined.shown.rev)


def state(revision: Stored) -> bytes:
    left_out = ("parents", "merged", "written")
    return canonical({name: value for name, value in revision.document.items() if name not in left_out})


@given(branches, st.randoms(use_true_random=False))
def test_the_order_of_leaves_makes_no_difference_to_one_byte(drawn, chance):
    leaves = leaves_of(drawn)
    shuffled = chance.sample(leaves, len(leaves))
    one, other = join(leaves), join(shuffled)
    assert one.written == other.written
    assert (one.shown.rev, canonical(one.shown.document)) == (other.shown.rev, canonical(other.shown.document))


@given(branches)
def test_a_merge_verifies_extends_the_highest_leaf_and_ends_the_others(drawn):
    leaves = leaves_of(drawn)
    highest = max((each.rev for each in leaves), key=rev_order)
    for each in join(leaves).written or ():
        if each.deleted:
            assert each.document["parents"] == [each.parent]
            assert each.parent != join(leaves).shown.rev
            continue
        verify_hcp_document(A, each.rev, each.document, [highest])
        assert each.parent == highest
        assert set(each.document["parents"]) == {leaf.rev for leaf in leaves}
        assert {end.parent for end in each.beside} == {leaf.rev for leaf in leaves} - {highest}
        assert set(each.document["merged"]) == {leaf.rev for leaf in leaves} - {highest}


@given(branches)
def test_merging_in_any_grouping_comes_to_the_same_state(drawn):
    leaves = leaves_of(drawn)
    whole = state(merged(leaves))
    for order in itertools.islice(itertools.permutations(leaves), 6):
        assert state(functools.reduce(lambda one, other: merged([one, other]) if one != other else one, order)) == whole


@given(branches)
def test_what_a_merge_has_taken_in_changes_nothing_any_more(drawn):
    leaves = leaves_of(drawn)
    merge = merged(leaves)
    assert join([merge]).written == ()
    for each in leaves:
        assert hcp_document.takes_in(merge, each)
        if each != merge:
            again = join([each, merge])
            assert again.shown.rev == merge.rev
            assert [(end.deleted, end.parent) for end in again.written or ()] == [(True, each.rev)]


@given(branches)
def test_every_key_and_every_retirement_is_kept(drawn):
    leaves = leaves_of(drawn)
    merge = merged(leaves)
    kids = {(key.delegate, key.kid) for each in leaves for key in wrapped_keys(A, each.document)}
    assert {(key.delegate, key.kid) for key in wrapped_keys(A, merge.document)} == kids
    assert retired(merge.document) == frozenset().union(*(retired(each.document) for each in leaves))


def test_one_key_that_two_devices_wrapped_stands_once():
    one, other = (
        stored(hcp_document.with_keys(identity(A), first(), [wrapped(B, 0, again)])) for again in ("", "again")
    )
    assert len(merged([one, other]).document["hcPartyKeys"][B]) == 2


def test_a_write_over_several_leaves_remembers_what_they_had_ended():
    leaves = [leaf(number, [("key", B, number)]) for number in range(3)]
    merge = merged(leaves[:2])
    shown = join([merge, leaves[2]]).shown
    over = hcp_document.with_keys(identity(A), shown, [wrapped(C, 0)])
    assert set(over.document["parents"]) == {merge.rev, leaves[2].rev}
    assert len(over.document["merged"]) == 2
    assert len(over.beside) == 1
    verify_hcp_document(A, over.rev, over.document, [merge.rev])


def test_a_document_remembers_the_newest_of_the_leaves_that_it_ended():
    ended = [Rev(f"{number}-{'a' * 32}") for number in range(1, 2 * MERGED_MOST)]
    kept = {name: value for name, value in leaf(1, [("key", B, 0)]).document.items() if name != "written"}
    document = {**kept, "merged": sorted(ended[:MERGED_MOST], key=canonical)}
    one = Stored(DocId(A), *written(DocId(A), document, identity(A)))
    merge = merged([one, leaf(2, [("key", B, 1)])])
    assert len(merge.document["merged"]) == MERGED_MOST


def test_a_single_revision_that_was_displaced_is_written_again_as_it_is():
    one = leaf(1, [("key", B, 0)])
    (again,) = hcp_document.join(identity(A), [one], []).written or ()
    assert again.document["parents"] == [one.rev]
    assert state(stored(again)) == state(one)
    verify_hcp_document(A, again.rev, again.document, [one.rev])


# Several epochs


def of_epoch_2(ended: str, revisions: Sequence[Stored]) -> Joined:
    return hcp_document.join(successor(ended), revisions, {each.rev for each in revisions})


@pytest.mark.parametrize("ended", ENDINGS)
def test_the_first_revision_of_a_later_epoch_shows_the_profile_that_was(ended):
    one, other = first(), stored(hcp_document.first(successor(ended)))
    for name in ("name", "context", "writers", "fields"):
        assert one.document[name] == other.document[name]
    party = verify_hcp_document(A, other.rev, other.document, ())
    assert (party.epoch, party.signing_key) == (2, successor(ended).signing_key.public)


@given(branches, st.sampled_from(ENDINGS))
def test_the_next_epoch_carries_on_all_that_was_under_its_own_signature(drawn, ended):
    leaves = leaves_of(drawn)
    joined = of_epoch_2(ended, leaves)
    (merge,) = joined.written or ()
    assert joined.shown.rev == merge.rev
    assert verify_hcp_document(A, merge.rev, merge.document, ()) == Party.of_identity(successor(ended))
    profile = hcp_document.content(hcp_document.united(leaves)).record
    assert hcp_document.content(stored(merge)).record == profile
    before = {(key.delegate, key.kid) for each in leaves for key in wrapped_keys(A, each.document)}
    after_ = {(key.delegate, key.kid) for key in wrapped_keys(A, merge.document)}
    assert after_ == before | {(A, kid(successor(ended).self_key))}
    kids = {name for _, name in before}
    found = retired(merge.document)
    assert found >= frozenset().union(*(retired(each.document) for each in leaves))
    lost = {each.kid for each in found if each.ended == COMPROMISED}
    assert lost == (kids if ended == COMPROMISED else set())
    assert of_epoch_2(ended, [stored(merge)]).written == ()


@given(branches, st.sampled_from(ENDINGS), st.randoms(use_true_random=False))
def test_devices_that_enter_an_epoch_with_the_same_leaves_write_the_same_bytes(drawn, ended, chance):
    leaves = leaves_of(drawn)
    shuffled = chance.sample(leaves, len(leaves))
    assert of_epoch_2(ended, leaves).written == of_epoch_2(ended, shuffled).written


@given(branches, st.sampled_from(ENDINGS))
def test_a_leaf_of_an_older_epoch_never_wins_over_the_new_one(drawn, ended):
    """It may be the highest revision by far; its keys are taken in, its identity is not."""
    leaves = leaves_of(drawn)
    (merge,) = of_epoch_2(ended, leaves[:1]).written or ()
    both = [stored(merge), *leaves[1:]]
    party = Party.of_identity(successor(ended))
    assert Party.of(A, hcp_document.united(both).document) == party
    assert Party.of(A, hcp_document.united(both[::-1]).document) == party
    again = of_epoch_2(ended, both)
    assert Party.of(A, again.shown.document) == party
    for each in leaves:
        assert hcp_document.takes_in(again.shown, each) or len(leaves) == 1
    if ended == COMPROMISED:
        kids = {key.kid for each in leaves for key in wrapped_keys(A, each.document)}
        assert {each.kid for each in retired(again.shown.document) if each.ended == COMPROMISED} >= kids


def test_a_write_over_an_older_epoch_is_one_of_the_new():
    shown = of_epoch_2(COMPROMISED, [leaf(0, [("key", B, 0)])]).shown
    over = hcp_document.with_keys(successor(COMPROMISED), shown, [])
    assert verify_hcp_document(A, over.rev, over.document, ()).epoch == 2
    assert over.document["parents"] == [leaf(0, [("key", B, 0)]).rev]
