"""Merging sealed documents: laws on generated histories, and which key a merge may be sealed under.

The histories branch and come together again at random, with shares, revocations, grants anew and edits on each branch;
what everybody can unwrap is followed beside them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from icure_sync.canonical import canonical
from icure_sync.crypto import merging, rekeying, sealing
from icure_sync.crypto.access import MAPS, Statement, Subject, parties, union
from icure_sync.crypto.envelope import kid
from icure_sync.crypto.primitives import SymmetricKey
from icure_sync.crypto.rekeying import Change
from icure_sync.crypto.sealing import Draft, Sealed
from icure_sync.errors import CryptoError, InvalidEntity, NoAccess
from icure_sync.ids import HcpId, Kid, Rev
from icure_sync.merge import joining, registers
from tests.crypto.records import SECRET_ID, inside, opened, subject_of
from tests.keys import HCPS, A, B, C, identity, keyring, seeded

FIELDS = ("note", "name")


def author(name: str) -> registers.Author:
    return registers.Author(name, "hcp", "device", 0)


def first() -> Sealed:
    body = registers.write(None, {("note",): "first", registers.SECRET_ID: SECRET_ID}, author("w0"))
    subject = Subject.create("Patient", identity(A), seeded("merged"))
    return sealing.create(Draft(subject, SECRET_ID, body), keyring(A), seeded("merged 1"))


def edited(sealed: Sealed, by: HcpId, mark: str, name: str = "note") -> Sealed:
    body = registers.write(opened(sealed, by), {(name,): mark}, author(f"w{mark}"))
    return sealing.edit(sealed, body, keyring(by), seeded(f"edit {mark}"))


def shared(sealed: Sealed, by: HcpId, delegate: HcpId, mark: str = "") -> Sealed:
    return sealing.share(sealed, delegate, keyring(by), seeded(f"share {by} {delegate} {mark}"))


def revoked(sealed: Sealed, by: HcpId, delegate: HcpId, mark: str = "") -> Sealed:
    entropy = seeded(f"revoke {by} {delegate} {mark}")
    access = rekeying.revoked(sealed, delegate, identity(by), entropy)
    return rekeying.rekey(sealed, Change(opened(sealed, by), access), keyring(by), entropy).sealed


def merged(leaves: Sequence[Sealed], by: HcpId, known: Sequence[Statement] = ()) -> merging.Merged:
    bodies = {leaf.rev: opened(leaf, by) for leaf in leaves}
    body = joining.join([*bodies.values()])
    whole = {rev for rev, each in bodies.items() if joining.covers(each, body)}
    return merging.merge(leaves, merging.Joined(body, {}, [], whole), keyring(by), known)


def names(sealed: Sealed) -> set[str]:
    return {*sealed.document["sealedWith"]}


def state(sealed: Sealed, by: HcpId) -> bytes:
    """What is shown, and to whom."""
    body = opened(sealed, by)
    return canonical([body["context"], body["fields"], sealed.document["access"]])


# Generated histories


@dataclass
class History:
    """Revisions, what each was made from, and what everybody unwraps from each."""

    revisions: dict[Rev, Sealed] = field(default_factory=dict)
    given: dict[Rev, dict[HcpId, set[str]]] = field(default_factory=dict)

    def add(self, sealed: Sealed) -> None:
        self.revisions[sealed.rev] = sealed
        self.given[sealed.rev] = {hcp: unwrapped(sealed, hcp) for hcp in HCPS}

    def leaves(self) -> list[Sealed]:
        parents = {parent for each in self.revisions.values() for parent in each.document["parents"]}
        return [each for rev, each in sorted(self.revisions.items()) if rev not in parents]

    def seen(self, leaves: Sequence[Sealed]) -> set[Rev]:
        seen: set[Rev] = set()
        waiting = [leaf.rev for leaf in leaves]
        while waiting:
            rev = waiting.pop()
            if rev not in seen:
                seen.add(rev)
                waiting += self.revisions[rev].document["parents"]
        return seen

    def knows(self, hcp: HcpId, leaves: Sequence[Sealed]) -> set[str]:
        """The content keys that a party can have from anything that these leaves were made from."""
        return {name for rev in self.seen(leaves) for name in self.given[rev][hcp]}


def unwrapped(sealed: Sealed, hcp: HcpId) -> set[str]:
    found: set[str] = set()
    for of in {entry["of"] for entry in sealed.document["encryptionKeys"].get(hcp, ())}:
        alone = {**sealed.document, "sealedWith": [of]}
        found |= {name for name, _ in sealing.sealing_keys(subject_of(sealed), alone, keyring(hcp))}
    return found


@cache
def history(seed: int) -> History:
    """Some forty writes on branches; now and then somebody merges."""
    chance, made = random.Random(seed), History()
    made.add(first())
    for step in range(chance.randint(6, 40)):
        by, delegate = chance.sample(HCPS, 2)
        above = chance.choice([*made.revisions.values()])
        mark = f"{seed} {step}"
        kind = chance.choice(["edit", "edit", "share", "share", "revoke", "merge"])
        try:
            if kind == "merge":
                several = readable(made.leaves(), by)[:4]
                one = merged(several, by) if len(several) > 1 else None
                if one is not None and one.is_safe and by in inside(one.sealed):
                    made.add(one.sealed)
            elif by not in inside(above):
                continue
            elif kind == "edit":
                made.add(
                    edited(above, by, mark, chance.choice(FIELDS)) if rekeying.is_sound(above, keyring(by)) else above
                )
            elif kind == "share" and rekeying.is_sound(above, keyring(by)) and delegate not in inside(above):
                made.add(shared(above, by, delegate, mark))
            elif kind == "revoke":
                made.add(revoked(above, by, delegate, mark))
        except (NoAccess, InvalidEntity):
            continue
    return made


def readable(leaves: Sequence[Sealed], by: HcpId) -> list[Sealed]:
    """Those that this party can open, by writers who are in by what all of them state."""
    found = [leaf for leaf in leaves if opens(leaf, by)]
    if not found:
        return []
    together = parties(subject_of(found[0]), union(*(leaf.document["access"] for leaf in found)))
    return [leaf for leaf in found if leaf.document["written"]["by"] in together]


def opens(sealed: Sealed, by: HcpId) -> bool:
    try:
        opened(sealed, by)
    except CryptoError:
        return False
    return True


def mergeable(of: int) -> list[Sealed]:
    """The leaves of a history that A can merge."""
    leaves = readable(history(of).leaves(), A)
    assume(leaves)  # those who wrote them may all have put each other out
    return leaves


seeds = st.integers(0, 10_000)
numbers = st.integers(0, 2**32)


@settings(max_examples=150, deadline=None)
@given(seeds, numbers)
def test_a_merge_is_the_same_in_every_order_and_from_every_device_of_an_hcp(of: int, seed: int):
    leaves = mergeable(of)
    one = merged(leaves, A)
    shuffled = random.Random(seed).sample(leaves, len(leaves))
    other = merged(shuffled, A)
    assert (one.sealed.rev, canonical(one.sealed.document)) == (other.sealed.rev, canonical(other.sealed.document))
    assert (one.is_safe, one.outs, one.same) == (other.is_safe, other.outs, other.same)


@settings(max_examples=150, deadline=None)
@given(seeds)
def test_a_merge_merged_with_what_it_merged_changes_nothing(of: int):
    leaves = mergeable(of)
    one = merged(leaves, A)
    again = merged([one.sealed, *leaves], A)
    assert state(again.sealed, A) == state(one.sealed, A)
    assert all(again.sealed.document[name] == one.sealed.document[name] for name in MAPS)
    if one.is_safe and again.is_safe:
        assert again.same is not None


@settings(max_examples=150, deadline=None)
@given(seeds, numbers)
def test_merging_in_stages_and_all_at_once_agree_in_state(of: int, seed: int):
    leaves = mergeable(of)
    cut = random.Random(seed).randint(1, len(leaves))
    part = merged(leaves[:cut], A).sealed
    staged = merged([part, *leaves[cut:]], A)
    assert state(staged.sealed, A) == state(merged(leaves, A).sealed, A)


@settings(max_examples=150, deadline=None)
@given(seeds)
def test_merges_of_the_same_leaves_by_two_hcps_are_equal_in_state_and_one_of_them_is_enough(of: int):
    made = history(of)
    for other in (B, C):
        leaves = [leaf for leaf in readable(made.leaves(), A) if opens(leaf, other)]
        if len(leaves) < 2 or other not in inside(merged(leaves, A).sealed):
            continue
        mine, his = merged(leaves, A), merged(leaves, other)
        assert state(mine.sealed, A) == state(his.sealed, other)
        assert names(mine.sealed) == names(his.sealed)
        if mine.is_safe:
            both = merged([mine.sealed, his.sealed], A)
            assert both.same == max(mine.sealed.rev, his.sealed.rev, key=lambda rev: (int(rev.split("-")[0]), rev))


@settings(max_examples=300, deadline=None)
@given(seeds)
def test_nobody_who_is_out_can_know_the_key_of_a_merge(of: int):
    leaves = mergeable(of)
    one = merged(leaves, A)
    stay = inside(one.sealed)
    for hcp in HCPS:
        if hcp not in stay:
            assert not any(one.sealed.document[name].get(hcp) for name in MAPS)
            if one.is_safe:
                assert not names(one.sealed) <= history(of).knows(hcp, leaves)


@settings(max_examples=300, deadline=None)
@given(seeds)
def test_a_joint_key_is_used_only_if_every_single_one_may_be_known_to_somebody_who_is_out(of: int):
    leaves = mergeable(of)
    one = merged(leaves, A)
    ever = {HcpId(each["grant"]) for each in one.sealed.document["access"] if "grant" in each}
    if len(names(one.sealed)) > 1:
        assert ever - inside(one.sealed)
    elif ever <= inside(one.sealed):
        assert one.is_safe


# Which key


def with_b_and_c() -> Sealed:
    """Shared by A with both."""
    return shared(shared(first(), A, B), A, C)


def crossing() -> list[Sealed]:
    """Two leaves by A: one puts B out, the other C."""
    common = with_b_and_c()
    return [revoked(common, A, B, "x"), revoked(common, A, C, "y")]


def test_a_key_that_was_given_up_for_somebody_who_is_out_is_not_taken_up_again():
    """The leaf that still has it names nobody but A; B was given it on the other branch, and is gone from there."""
    offline = edited(first(), A, "written before the share")
    put_out = revoked(shared(first(), A, B), A, B)
    assert names(offline) == names(first())
    one = merged([offline, put_out], A)
    assert names(one.sealed) == names(put_out)
    assert (one.is_safe, inside(one.sealed)) == (True, {A})


def test_of_crossing_revocations_no_single_key_is_safe_and_the_joint_one_is():
    one = merged(crossing(), A)
    assert (len(names(one.sealed)), one.is_safe) == (2, True)
    assert inside(one.sealed) == {A}


def test_a_key_that_a_lost_hcp_key_wraps_is_not_merged_under():
    """Nothing is drawn in a merge: what has no other key is shown, and stays until somebody writes."""
    both = shared(first(), A, B, "exposed")
    leaves = [edited(both, A, "left", "note"), edited(both, B, "right", "note")]
    keys = keyring(A)
    joined = merging.Joined(joining.join([opened(leaf, A) for leaf in leaves]), {}, [], set())
    assert merging.merge(leaves, joined, keys).is_safe
    lost = keys.pair(A, B)
    assert lost is not None
    keys.expose(B, [lost.kid])  # of another pair
    assert merging.merge(leaves, joined, keys).is_safe
    keys.expose(A, [lost.kid])
    assert not merging.merge(leaves, joined, keys).is_safe
    rekeyed = revoked(leaves[0], A, B, "out")
    merge = merging.merge([rekeyed, leaves[0]], joined, keys)
    assert (merge.is_safe, merge.sealed.document["sealedWith"]) == (True, rekeyed.document["sealedWith"])


def test_a_part_of_a_joint_key_is_not_used_alone_later():
    """Who knows which part can no longer be told from the merge, whose entries for them are gone."""
    one = merged(crossing(), A).sealed
    part = min(names(one))
    stripped = {**one.document, "sealedWith": [part]}
    key = dict(sealing.sealing_keys(subject_of(one), stripped, keyring(A)))[Kid(part)]
    late = under(one, Kid(part), key)
    again = merged([one, late], A)
    assert names(again.sealed) == names(one)
    assert again.is_safe


def under(sealed: Sealed, name: Kid, key: SymmetricKey) -> Sealed:
    """A leaf under one key, which says of nobody else that he has it."""
    assert kid(key) == name
    body = registers.write(opened(sealed, A), {("note",): "late"}, author("late"))
    mine = {A: [each for each in sealed.document["encryptionKeys"][A] if each["of"] == name]}
    document = {
        **sealed.document,
        "access": [],
        "encryptionKeys": mine,
        "sealedWith": [name],
        "encryptedSelf": sealing.seal_body(subject_of(sealed), [(name, key)], body, bytes(24)),
    }
    return sealing.signed(subject_of(sealed), document, keyring(A))


def test_a_joint_key_is_not_used_if_somebody_who_is_out_has_a_part_of_it_that_can_be_seen():
    """He may have the other one too: nothing tells."""
    without_b, without_c = crossing()
    one = merged([without_b, without_c], A).sealed
    late = edited(without_b, A, "late")
    again = merged([one, late], A)
    assert C in {each["delegatedTo"] for each in late.document["encryptionKeys"][C]}
    assert not again.is_safe


# Tombstones


def test_a_retirement_is_a_function_of_the_leaf_alone_and_goes_to_whom_the_leaf_went():
    leaf = shared(first(), A, B)
    one = merging.retirement(leaf)
    assert one == merging.retirement(replace(leaf, leaves=(leaf.rev,)))
    assert one.document["delegations"] == leaf.document["delegations"]
    assert merging.ended_by(one.document) == leaf.rev
    assert merging.ended_by(leaf.document) is None


def test_a_notice_names_those_who_are_out_and_nobody_else():
    common = with_b_and_c()
    out = revoked(common, A, B)
    told = merging.notice(common, out.document["access"], [B]).document
    assert (told["delegations"], told["parents"]) == ({B: []}, [common.rev])


def test_what_was_hidden_is_written_again_below_itself():
    leaf = shared(first(), A, B)
    once = merging.again(leaf, keyring(B))
    assert once.document["parents"] == [leaf.rev]
    assert opened(once, A) == opened(leaf, A)
    assert once == merging.again(leaf, keyring(B))
    assert once.document["written"]["by"] == B


def test_nothing_is_merged_that_does_not_open():
    with pytest.raises(NoAccess):
        merging.merge([first()], merging.Joined({}, {}, [], ()), keyring(B))
