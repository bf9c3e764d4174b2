"""Revoking, re-keying, access repair: who reads on, and that nothing which somebody had opens what is written later."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import chain as chained
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icure_sync.crypto import merging, rekeying
from icure_sync.crypto.access import MAPS, Subject, digest, union
from icure_sync.crypto.chain import Wrapper, unwrap_chain, wrap_data
from icure_sync.crypto.envelope import KEY_BYTES, from_text, joint_key, open_envelope
from icure_sync.crypto.hcp_keys import mint
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.layout import check_layout
from icure_sync.crypto.primitives import SigningKey, SymmetricKey
from icure_sync.crypto.sealing import Draft, Link, Sealed, body_data, create, edit, open_body, share, signed
from icure_sync.crypto.signers import Signer
from icure_sync.crypto.trust import Seen, verify_record
from icure_sync.errors import InvalidEntity, NoAccess, Tampered
from icure_sync.ids import DocId, HcpId, Kid
from tests.crypto.records import inside, subject_of
from tests.keys import identity, seeded

A, B, C, D, E = EVERYONE = tuple(HcpId(f"hcp-{letter}") for letter in "abcde")
PARENT = Link("99" * 16, DocId("parent"))
FIRST, SECOND, THIRD = "11" * 16, "22" * 16, "33" * 16  # secret ids
BODY = {"note": "a cough"}


@cache
def person(hcp_id: HcpId) -> Identity:
    """RSA keys are not used here, so all have the same."""
    entropy = seeded(f"person {hcp_id}")
    signing_key, self_key = SigningKey(entropy(KEY_BYTES)), SymmetricKey(entropy(KEY_BYTES))
    return replace(identity(A), hcp_id=hcp_id, signing_key=signing_key, self_key=self_key)


def ring(hcp_id: HcpId, *, without: tuple[HcpId, ...] = ()) -> Keyring:
    """All Hcp keys from and to everybody, but those towards the Hcps `without`."""
    pairs = [pair for pair in permutations(EVERYONE, 2) if hcp_id in pair and pair[1] not in without]
    return Keyring(person(hcp_id), [mint(person(one), other, seeded(f"{one} {other}")) for one, other in pairs])


def signer(hcp_id: str) -> Signer:
    return Signer(person(HcpId(hcp_id)).signing_key.public)


def made(*shares: tuple[HcpId, HcpId]) -> Sealed:
    """A contact by A, shared by and with these."""
    subject = Subject.create("Contact", person(A), seeded("contact"))
    sealed = create(Draft(subject, FIRST, BODY, [PARENT]), ring(A), seeded("first"))
    for number, (by, delegate) in enumerate(shares):
        sealed = share(sealed, delegate, ring(by), seeded(f"share {number}"))
    return sealed


def revoke(
    sealed: Sealed, by: HcpId, delegate: HcpId, secret_id: str = SECOND, keyring: Keyring | None = None
) -> rekeying.Rekeyed:
    entropy = seeded(f"revoke {sealed.rev} {by} {delegate}")
    access = rekeying.revoked(sealed, delegate, person(by), entropy)
    body = {**opened(sealed, by), "secretId": secret_id}
    return rekeying.rekey(sealed, rekeying.Change(body, access, secret_id=secret_id), keyring or ring(by), entropy)


def rekey(sealed: Sealed, by: HcpId) -> rekeying.Rekeyed:
    change = rekeying.Change(opened(sealed, by), sealed.document["access"])
    return rekeying.rekey(sealed, change, ring(by), seeded(f"rekey {sealed.rev}"))


def merge(by: HcpId, *leaves: Sealed) -> merging.Merged:
    joined = merging.Joined({**BODY, "merged": True}, {}, [PARENT.secret_id], set())
    return merging.merge(leaves, joined, ring(by))


def opened(sealed: Sealed, reader: HcpId) -> dict[str, object]:
    return open_body(subject_of(sealed), sealed.document, ring(reader))


def secret_ids(sealed: Sealed, reader: HcpId) -> frozenset[str]:
    return unwrap_chain(subject_of(sealed), sealed.document, ring(reader)).secret_ids


def repaired(sealed: Sealed, by: HcpId) -> Sealed:
    return rekeying.repair(sealed, rekeying.lacking(sealed, ring(by)), ring(by), seeded(f"repair {sealed.rev} {by}"))


def check(sealed: Sealed, above: Sealed) -> None:
    """What is written verifies, carries all that it displaces, and is read by all who have access."""
    seen = Seen((above.rev,), displaced=tuple(above.document["access"]))
    verify_record(sealed.id, sealed.rev, sealed.document, signer, seen)
    check_layout(sealed.id, sealed.document)
    for reader in inside(sealed):
        opened(sealed, reader)


# Revoking


def test_a_revoking_write_leaves_everything_of_who_is_out_behind_and_gives_the_others_a_new_key_and_secret_id():
    before = made((A, B), (A, C))
    after = revoke(before, A, B)
    check(after.sealed, before)
    document = after.sealed.document
    assert (inside(after.sealed), after.outs) == ({A, C}, {B})
    assert all(document[name].keys() == {A, C} for name in MAPS)
    assert not set(document["sealedWith"]) & set(before.document["sealedWith"])
    for reader in (A, C):
        assert opened(after.sealed, reader) == {**BODY, "secretId": SECOND}
        chain = unwrap_chain(subject_of(after.sealed), document, ring(reader))
        assert (chain.secret_ids, chain.foreign_keys) == ({FIRST, SECOND}, {PARENT.parent_id})
        assert chain.content_keys.keys() == {*document["sealedWith"], *before.document["sealedWith"]}
    with pytest.raises(NoAccess):
        opened(after.sealed, B)


def test_it_costs_those_who_stay_one_entry_for_the_key_and_one_for_the_secret_id():
    before, after = made((A, B), (A, C)), revoke(made((A, B), (A, C)), A, B).sealed
    sizes = {name: [len(each.document[name][C]) for each in (before, after)] for name in MAPS}
    assert sizes == {"delegations": [1, 2], "cryptedForeignKeys": [1, 1], "encryptionKeys": [1, 2]}


def test_who_got_access_from_the_one_put_out_is_out_as_well():
    before = made((A, B), (B, C), (A, D))
    after = revoke(before, A, B)
    assert (inside(after.sealed), after.outs) == ({A, D}, {B, C})


def test_granting_again_works_and_brings_back_nobody_else():
    out = revoke(made((A, B), (B, C)), A, B).sealed
    again = share(out, B, ring(A), seeded("again"))
    check(again, out)
    assert inside(again) == {A, B}
    assert secret_ids(again, B) == {FIRST, SECOND}
    (ended,) = [digest(each) for each in out.document["access"] if "revoke" in each]
    assert [each["after"] for each in again.document["access"] if each.get("after")] == [[ended]]
    with pytest.raises(NoAccess):
        opened(again, C)
    assert inside(revoke(again, A, B, THIRD).sealed) == {A}


def test_a_delegate_ends_what_he_granted():
    after = revoke(made((A, B), (B, C)), B, C)
    assert (inside(after.sealed), after.outs) == ({A, B}, {C})


@pytest.mark.parametrize(
    ("by", "delegate", "message"),
    [
        (A, A, "nobody can put its creator out"),
        (B, A, "nobody can put its creator out"),
        (B, B, "nobody puts himself out"),
        (A, E, "hcp-e has no access to it; nothing need be done"),
        (B, D, "hcp-c granted it too; ask hcp-c, or hcp-a, who made it"),
    ],
)
def test_a_revocation_that_would_change_nothing_is_refused(by: HcpId, delegate: HcpId, message: str):
    sealed = made((A, B), (A, C), (C, D))
    with pytest.raises(InvalidEntity, match=message):
        rekeying.revoked(sealed, delegate, person(by), seeded("nothing"))


def test_whoever_is_out_revokes_nothing_and_writes_under_no_new_key():
    before = made((A, B), (B, C))
    after = revoke(before, A, B).sealed
    known = after.document["access"]
    with pytest.raises(NoAccess, match="hcp-b has no access"):
        rekeying.revoked(before, C, person(B), seeded("late"), known=known)
    with pytest.raises(NoAccess, match="hcp-b has no access"):
        rekeying.rekey(before, rekeying.Change(BODY, known), ring(B), seeded("late"))


class Haul:
    """What one party ever had: it keeps every content key of every revision that it could look into."""

    def __init__(self, hcp_id: HcpId) -> None:
        self.hcp_id = hcp_id
        self.keys: dict[Kid, SymmetricKey] = {}

    def take(self, sealed: Sealed) -> None:
        """Every key in every entry whose Hcp key it has: those for itself, and those that it wrote."""
        subject, keyring = subject_of(sealed), ring(self.hcp_id)
        for entry in chained.from_iterable(sealed.document["encryptionKeys"].values()):
            hcp_key = keyring.get(entry["owner"], entry["delegatedTo"], entry["kid"])
            if hcp_key is not None:
                data = wrap_data(subject, "encryptionKeys", entry)
                self.keys[entry["of"]] = SymmetricKey(open_envelope(hcp_key.key, from_text(entry["key"]), data))

    def opens(self, sealed: Sealed) -> bool:
        """Tries every key, and every joint key of as many as it takes."""
        data = body_data(subject_of(sealed), sealed.document["sealedWith"])
        for keys in combinations(sorted(self.keys.items()), len(sealed.document["sealedWith"])):
            try:
                open_envelope(joint_key(keys), from_text(sealed.document["encryptedSelf"]), data)
            except Tampered:
                continue
            return True
        return False


STEPS = st.tuples(
    st.sampled_from(["share", "revoke", "edit", "rekey"]), st.sampled_from(EVERYONE), st.sampled_from(EVERYONE)
)


def step(sealed: Sealed, kind: str, by: HcpId, other: HcpId, number: int) -> Sealed | None:
    """The next revision; None if that step cannot be taken."""
    if by not in inside(sealed):
        return None
    if kind == "share":
        return None if other in inside(sealed) else share(sealed, other, ring(by), seeded(f"step {number}"))
    if kind == "edit":
        return edit(sealed, {"note": str(number)}, ring(by), seeded(f"step {number}"))
    if kind == "rekey":
        return rekey(sealed, by).sealed
    try:
        return revoke(sealed, by, other, f"{number:032x}").sealed
    except InvalidEntity:
        return None


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=14))
def test_each_revision_opens_for_those_with_access_and_with_nothing_that_others_ever_had(steps):
    sealed = made((A, B), (A, C))
    hauls = [Haul(hcp_id) for hcp_id in EVERYONE]
    for number, (kind, by, other) in enumerate([("edit", A, A), *steps]):
        following = step(sealed, kind, by, other, number)
        if following is None:
            continue
        check(following, sealed)
        sealed = following
        assert rekeying.is_sound(sealed, ring(A))
        for haul in hauls:
            if haul.hcp_id in inside(sealed):
                haul.take(sealed)
                assert secret_ids(sealed, haul.hcp_id) == secret_ids(sealed, A)
                assert rekeying.lacking(sealed, ring(haul.hcp_id)) == frozenset()
            assert haul.opens(sealed) == (haul.hcp_id in inside(sealed))
            if haul.hcp_id not in inside(sealed):
                haul.take(sealed)  # a server shows it to him as well
                assert not haul.opens(sealed)
                with pytest.raises(NoAccess):
                    opened(sealed, haul.hcp_id)


# Re-keying


def crossed() -> Sealed:
    """A put D out while B put C out: of either key somebody knows who is out, so they are joined."""
    before = made((A, B), (B, C), (A, D), (A, E))
    return merge(A, revoke(before, A, D).sealed, revoke(before, B, C, THIRD).sealed).sealed


def test_crossing_revocations_leave_a_joint_key_and_the_next_write_draws_a_new_one():
    joint = crossed()
    assert (len(joint.document["sealedWith"]), rekeying.is_sound(joint, ring(A))) == (2, False)
    single = rekey(joint, E)
    check(single.sealed, joint)
    assert (len(single.sealed.document["sealedWith"]), rekeying.is_sound(single.sealed, ring(A))) == (1, True)
    assert (inside(single.sealed), single.outs) == ({A, B, E}, frozenset())
    assert opened(single.sealed, A) == opened(joint, A)
    assert {secret_ids(single.sealed, reader) for reader in (A, B, E)} == {frozenset({FIRST, SECOND, THIRD})}


def test_a_key_that_somebody_holds_who_is_out_is_not_written_under():
    shared = made((A, B))
    access = rekeying.revoked(shared, B, person(A), seeded("bare"))
    bare = signed(subject_of(shared), {**shared.document, "access": access, "parents": [shared.rev]}, ring(A))
    assert not rekeying.is_sound(bare, ring(A))
    after = rekey(bare, A)
    assert (rekeying.is_sound(after.sealed, ring(A)), after.outs) == (True, {B})


def test_a_key_that_a_lost_hcp_key_wraps_is_not_written_under():
    shared = made((A, B), (B, C))
    lost = ring(A).pair(A, B)
    assert lost is not None
    for owner, is_sound in ((B, True), (A, False)):
        keys = ring(A)
        keys.expose(owner, [lost.kid])
        assert rekeying.is_sound(shared, keys) is is_sound
    change = rekeying.Change(opened(shared, A), shared.document["access"])
    again = mint(person(A), B, seeded("another"))
    keys.add(again)
    after = rekeying.rekey(shared, change, keys, seeded("rekey")).sealed
    assert rekeying.is_sound(after, keys)
    new = [each for each in after.document["encryptionKeys"][B] if each["of"] in after.document["sealedWith"]]
    assert {each["kid"] for each in new} == {again.kid}


def test_a_party_that_lacks_the_key_of_the_body_gets_everything_with_the_new_one():
    before = made((A, B))
    merged = merge(
        A, revoke(share(before, D, ring(A), seeded("d")), A, D).sealed, share(before, C, ring(B), seeded("c"))
    )
    with pytest.raises(NoAccess):
        opened(merged.sealed, C)
    after = rekey(merged.sealed, A).sealed
    check(after, merged.sealed)
    assert secret_ids(after, C) == {FIRST, SECOND}


def test_who_cannot_be_reached_gets_no_entry():
    before = made((A, B), (B, C), (A, D))
    after = revoke(before, A, D, keyring=ring(A, without=(C,))).sealed
    assert inside(after) == {A, B, C}
    assert after.document["encryptionKeys"][C] == before.document["encryptionKeys"][C]
    with pytest.raises(NoAccess):
        opened(after, C)


# Access repair


def unreached() -> Sealed:
    """A put D out, and could not reach C, whom B had granted access."""
    return revoke(made((A, B), (B, C), (A, D)), A, D, keyring=ring(A, without=(C,))).sealed


@pytest.mark.parametrize("by", [A, B])
def test_whoever_granted_it_and_the_creator_serve_a_party_that_lacks_entries_once(by: HcpId):
    before = unreached()
    assert rekeying.lacking(before, ring(by)) == {C}
    after = repaired(before, by)
    check(after, before)
    assert after.document["encryptedSelf"] == before.document["encryptedSelf"]
    assert opened(after, C) == opened(before, A)
    assert secret_ids(after, C) == {FIRST, SECOND}
    assert all(rekeying.lacking(after, ring(each)) == frozenset() for each in (A, B))


def test_others_leave_it_to_them():
    before = made((A, B), (B, C), (A, D), (A, E))
    after = revoke(before, A, D, keyring=ring(A, without=(C,))).sealed
    assert rekeying.lacking(after, ring(E)) == frozenset()


def test_nobody_who_is_out_is_served():
    after = revoke(made((A, B), (A, C)), A, B).sealed
    assert rekeying.lacking(after, ring(A)) == rekeying.lacking(after, ring(C)) == frozenset()


def test_nothing_is_unwrapped_where_nothing_is_lacking(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rekeying, "unwrap_chain", None)
    monkeypatch.setattr(rekeying, "parties", None)
    monkeypatch.setattr(rekeying, "granted_by", None)
    for by in (A, B, C):
        assert rekeying.lacking(made((A, B), (B, C), (A, D)), ring(by)) == frozenset()


def test_the_creator_is_served_by_all_since_nobody_granted_him_access():
    before = revoke(made((A, B), (B, C), (A, D)), B, C, keyring=ring(B, without=(A,))).sealed
    with pytest.raises(NoAccess):
        opened(before, A)
    assert rekeying.lacking(before, ring(B)) == {A}
    after = repaired(before, B)
    check(after, before)
    assert secret_ids(after, A) == {FIRST, SECOND}


@pytest.mark.parametrize("name", ["delegations", "cryptedForeignKeys"])
def test_a_party_that_lacks_only_a_secret_id_or_a_parent_is_served(name: str):
    whole = revoke(made((A, B), (A, C)), A, B).sealed
    entries = {**whole.document[name], C: whole.document[name][C][1:]}
    before = signed(subject_of(whole), {**whole.document, name: entries, "parents": [whole.rev]}, ring(A))
    assert rekeying.lacking(before, ring(A)) == {C}
    after = repaired(before, A)
    check(after, before)
    chains = [unwrap_chain(subject_of(after), after.document, ring(reader)) for reader in (A, C)]
    assert len({(chain.secret_ids, chain.foreign_keys) for chain in chains}) == 1
    assert rekeying.lacking(after, ring(A)) == frozenset()


def test_more_entries_of_one_value_are_no_more_values():
    shared = made((A, B))
    wrapper = Wrapper(subject_of(shared), ring(A).towards(A), seeded("twice"))
    twice = [*shared.document["delegations"][A], *wrapper.access_maps({}, [FIRST], [])["delegations"][A]]
    delegations = {**shared.document["delegations"], A: union(twice)}
    before = signed(subject_of(shared), {**shared.document, "delegations": delegations}, ring(A))
    assert rekeying.lacking(before, ring(A)) == frozenset()


def test_an_own_entry_under_an_hcp_key_that_is_lost_counts_for_nothing():
    before = made((A, B))
    other = Keyring(person(A), [mint(person(A), B, seeded("after the loss"))])
    assert rekeying.lacking(before, other) == {B}
    after = rekeying.repair(before, {B}, other, seeded("repair"))
    assert rekeying.lacking(after, other) == frozenset()
    assert rekeying.lacking(after, ring(A)) == frozenset()


def test_access_by_a_grant_that_crossed_a_revocation_is_repaired_by_the_granter():
    before = made((A, B), (A, D))
    merged = merge(A, revoke(before, A, D).sealed, share(before, C, ring(B), seeded("c"))).sealed
    assert inside(merged) == {A, B, C}
    assert rekeying.lacking(merged, ring(B)) == {C}
    after = repaired(merged, B)
    check(after, merged)
    assert secret_ids(after, C) == {FIRST, SECOND}


def test_two_devices_that_repair_at_once_agree():
    one, other = repaired(unreached(), A), repaired(unreached(), B)
    merged = merge(A, one, other)
    assert merged.sealed.document["sealedWith"] == one.document["sealedWith"]
    assert rekeying.lacking(merged.sealed, ring(A)) == rekeying.lacking(merged.sealed, ring(B)) == frozenset()
