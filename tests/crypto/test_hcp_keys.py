"""Hcp keys: wrapped for two, signed by one, never believed unsigned."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.crypto.envelope import kid, to_text
from icure_sync.crypto.hcp_keys import (
    Wrapped,
    born,
    former_self_keys,
    key_members,
    mint,
    self_key,
    signed_anew,
    wrap,
    wrap_again,
    wrapped_keys,
)
from icure_sync.crypto.identity import COMPROMISED, ENDINGS, PLANNED, Birth, Identity
from icure_sync.crypto.party import HCP_TYPE, Party, identity_members
from icure_sync.crypto.primitives import SymmetricKey
from icure_sync.crypto.retirements import Retired, check_retired, retired, retired_members
from icure_sync.errors import InvalidEntity, NoAccess, Tampered, UntrustedKey, WeakKey
from icure_sync.ids import HcpId
from tests.crypto.test_primitives import MODULUS, public_der
from tests.keys import A, B, C, hcp_key, identity, seeded, successor

PARTY_A = Party.of_identity(identity(A))
PARTY_B = Party.of(B, {"type": HCP_TYPE, **identity_members(identity(B))})


def document(*keys: Wrapped) -> dict[str, Any]:
    """The Hcp document of A, as far as keys go."""
    return {
        "type": HCP_TYPE,
        **identity_members(identity(A)),
        **key_members([born(identity(A)), *keys]),
        "retiredKeys": [],
    }


def wrapped_for_b(number: int = 0, seed: str = "oaep") -> Wrapped:
    return wrap(identity(A), PARTY_B, hcp_key(A, B, number), seeded(seed))


SHARED = wrapped_for_b()


def check(doc: dict[str, Any], doc_id: str = A) -> list[Wrapped]:
    """As `trust` does: the identity, then every key by its signature."""
    party = Party.of(doc_id, doc)
    keys = list(wrapped_keys(doc_id, doc))
    for key in keys:
        key.check_signature(party)
    check_retired(doc_id, doc, party)
    return keys


def test_owner_and_delegate_unwrap_the_same_key_and_others_nothing():
    for key in check(document(SHARED)):
        if key.delegate == A:
            assert key.unwrap(identity(A)) == self_key(identity(A))
        else:
            assert key.unwrap(identity(A)) == key.unwrap(identity(B)) == hcp_key(A, B)
        with pytest.raises(NoAccess, match="a party key that this identity does not have"):
            key.unwrap(identity(C))


def test_unwrapping_costs_one_rsa_decryption():
    before = identity(B).party_key.decryptions
    SHARED.unwrap(identity(B))
    assert identity(B).party_key.decryptions == before + 1


def test_the_own_key_is_written_alike_on_every_device():
    assert born(identity(A)) == born(identity(A))
    assert check(document())[0].ciphertexts == (to_text(identity(A).birth.wrapped),)


def test_a_new_key_is_random_and_named_by_its_kid():
    one, other = (mint(identity(A), B, seeded(seed)) for seed in ("one", "other"))
    assert (one.owner, one.delegate, one.kid) == (A, B, kid(one.key))
    assert one.key != other.key


def test_a_pair_s_keys_stand_one_after_the_other_by_kid():
    doc = document(wrapped_for_b(0), wrapped_for_b(1), wrapped_for_b(2))
    assert doc["hcPartyKeyIds"][B] == sorted(hcp_key(A, B, number).kid for number in range(3))
    assert len(doc["hcPartyKeys"][B]) == 6
    assert {key.unwrap(identity(B)) for key in check(doc)[1:]} == {hcp_key(A, B, number) for number in range(3)}


def test_of_several_ciphertexts_the_highest_epochs_stay_then_the_lowest_bytes():
    one, other = sorted((SHARED, wrapped_for_b(seed="again")), key=lambda each: each.ciphertexts)
    assert key_members([one, other]) == key_members([other, one]) == key_members([one])
    newer = Wrapped(other.owner, other.delegate, other.kid, other.ciphertexts, {**other.signed, "epochs": [1, 2]})
    assert key_members([one, newer]) == key_members([newer, one]) == key_members([newer])


def test_a_made_up_key_is_not_believed():
    forged = wrap(identity(C), PARTY_B, hcp_key(C, B), seeded("oaep"))
    made_up = Wrapped(A, B, forged.kid, forged.ciphertexts, forged.signed)
    with pytest.raises(UntrustedKey, match="not signed by hcp-a"):
        check(document(made_up))


def test_ciphertexts_cannot_be_exchanged_between_places_pairs_and_keys():
    doc = document(wrapped_for_b(0), wrapped_for_b(1))
    texts = doc["hcPartyKeys"][B]
    for one in range(4):
        for other in range(one):
            swapped = copy.deepcopy(doc)
            swapped["hcPartyKeys"][B][one], swapped["hcPartyKeys"][B][other] = texts[other], texts[one]
            with pytest.raises(UntrustedKey):
                check(swapped)
    for name in ("hcPartyKeyIds", "hcPartyKeySignatures"):
        swapped = copy.deepcopy(doc)
        swapped[name][B].reverse()
        with pytest.raises(UntrustedKey):
            check(swapped)
    moved = copy.deepcopy(doc)
    for name in ("hcPartyKeys", "hcPartyKeyIds", "hcPartyKeySignatures"):
        moved[name][C] = moved[name].pop(B)
    with pytest.raises(UntrustedKey):
        check(moved)
    with pytest.raises(UntrustedKey):
        check(doc, C)


@pytest.mark.parametrize("member", ["epochs", "fingerprints"])
def test_epochs_and_fingerprints_are_signed(member: str):
    doc = document(SHARED)
    signed = doc["hcPartyKeySignatures"][B][0]
    signed[member] = [1, 2] if member == "epochs" else signed[member][::-1]
    with pytest.raises(UntrustedKey):
        check(doc)


def test_a_key_that_is_not_what_its_kid_promises_is_refused():
    liar = Identity(
        **{name: getattr(identity(A), name) for name in ("hcp_id", "name", "party_key", "signing_key")},
        self_key=SymmetricKey(bytes(32)),
        birth=Birth(identity(A).party_key.public.encrypt(bytes(16), seeded("short")), "0" * 16),
    )
    with pytest.raises(Tampered, match="not the key that its kid promises"):
        born(liar).unwrap(identity(A))


@pytest.mark.parametrize("bits", [1024, 2048])  # 2048 are enough for `icure-classic` only
def test_nothing_is_wrapped_for_a_weak_key(bits: int):
    weak = Party(B, public_der(2**bits - 105), PARTY_B.signing_key, 1)
    with pytest.raises(WeakKey):
        wrap(identity(A), weak, hcp_key(A, B), seeded("oaep"))


def test_a_server_cannot_swap_a_public_key():
    doc = document(SHARED)
    for member, value in (
        ("publicKey", to_text(identity(C).party_key.public.spki)),
        ("publicKey", to_text(public_der(MODULUS))[:-4]),
        ("signingKey", to_text(identity(C).signing_key.public)),
        ("signingKey", to_text(b"short")),
    ):
        with pytest.raises(UntrustedKey):
            check({**doc, member: value})
    with pytest.raises(UntrustedKey):
        check(doc, "hcp-z")
    assert Party.of(A, doc).fingerprint == identity(A).fingerprint


def test_retired_keys_are_signed_by_their_owner():
    doc = document(SHARED)
    ended = [Retired(SHARED.kid, PLANNED), Retired(SHARED.kid, COMPROMISED)]
    retiring = {**doc, **retired_members(identity(A), ended)}
    check(retiring)
    assert retired(retiring) == set(ended)
    assert retired(doc) == frozenset()
    item = retired_members(identity(A), ended[:1])["retiredKeys"][0]
    for wrong in (
        {**item, "kid": hcp_key(A, B, 1).kid},
        {**item, "ended": COMPROMISED},
        {**item, "signature": identity(B).sign("retired-key", A, SHARED.kid, PLANNED)},
    ):
        with pytest.raises(UntrustedKey, match="without the signature"):
            check({**doc, "retiredKeys": [wrong]})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([A, B, "kid"]), inner, max_size=2),
    max_leaves=5,
)
WHOLE = document(SHARED) | {"retiredKeys": [{"kid": SHARED.kid, "ended": PLANNED, "signature": "AAAA"}]}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a document, its own first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, item in inner for place in places(item, (*path, name)))]


def with_value(doc: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy that has this value at that place."""
    if not path:
        return value
    changed = copy.copy(doc)
    changed[path[0]] = with_value(doc[path[0]], path[1:], value)
    return changed


@given(st.sampled_from(places(WHOLE)[1:]), JSON_VALUES)
def test_no_value_in_an_hcp_document_stops_it_from_being_judged(path: tuple[Any, ...], value: Any):
    changed = with_value(WHOLE, path, value)
    for step in (
        lambda: Party.of(A, changed),
        lambda: [each.check_signature(PARTY_A) for each in wrapped_keys(A, changed)],
        lambda: check_retired(A, changed, PARTY_A),
    ):
        try:
            step()
        except (UntrustedKey, Tampered, InvalidEntity):
            continue


@pytest.mark.parametrize("member", sorted(WHOLE))
def test_every_member_of_an_hcp_document_is_needed(member: str):
    doc = document(SHARED)
    del doc[member]
    with pytest.raises((UntrustedKey, Tampered)):
        check(doc)


@pytest.mark.parametrize("hcp_id", ["_hcp", "a b", ""])
def test_an_id_that_no_hcp_can_have_is_refused(hcp_id: str):
    with pytest.raises(UntrustedKey):
        Party.of(hcp_id, document())
    doc = document()
    for name in ("hcPartyKeys", "hcPartyKeyIds", "hcPartyKeySignatures"):
        doc[name] = {HcpId(hcp_id): []}
    with pytest.raises(UntrustedKey):
        check(doc)


# Epochs


@pytest.mark.parametrize("ended", ENDINGS)
def test_keys_of_every_epoch_are_unwrapped_with_the_party_key_that_they_are_for(ended: str):
    now = successor(ended)
    party = Party.of_identity(now)
    for key in (born(identity(A)), born(now), SHARED, wrap(identity(B), party, hcp_key(B, A), seeded("to A"))):
        assert key.unwrap(now).kid == key.kid
    assert former_self_keys(now) == [self_key(identity(A))]
    with pytest.raises(NoAccess):
        born(now).unwrap(identity(A))  # whoever has the old keys alone


def test_what_is_carried_on_is_signed_anew_and_stays_what_it_was():
    now = successor(COMPROMISED)
    carried = [signed_anew(now, key) for key in (SHARED, born(identity(A)))]
    for key, before in zip(carried, (SHARED, born(identity(A))), strict=True):
        key.check_signature(Party.of_identity(now))
        assert (key.ciphertexts, key.epochs, key.kid) == (before.ciphertexts, (1, 1), before.kid)
        with pytest.raises(UntrustedKey):
            before.check_signature(Party.of_identity(now))
    assert signed_anew(identity(A), SHARED) == SHARED


def test_nobody_wraps_for_an_epoch_of_his_own_that_has_not_come():
    early = wrap(successor(PLANNED), PARTY_B, hcp_key(A, B), seeded("early"))
    with pytest.raises(UntrustedKey):
        signed_anew(identity(A), early).check_signature(PARTY_A)


def test_what_is_wrapped_again_for_another_party_key_stays_of_the_two():
    other = replace(Party.of_identity(identity(C)), hcp_id=B)  # B lost everything, and began again
    later = replace(other, epoch=2)
    for party in (other, later):
        again = wrap_again(identity(A), party, SHARED, hcp_key(A, B), seeded("again"))
        assert again is not None
        assert key_members([SHARED, again]) == key_members([again, SHARED]) == key_members([again])
        assert again.unwrap(replace(identity(C), hcp_id=B)) == hcp_key(A, B)


def test_what_is_of_a_later_epoch_is_not_wrapped_again_and_drawing_has_an_end():
    later = wrap(identity(A), replace(PARTY_B, epoch=2), hcp_key(A, B), seeded("later"))
    assert wrap_again(identity(A), PARTY_B, later, hcp_key(A, B), seeded("again")) is None
    lowest = replace(SHARED, ciphertexts=(to_text(bytes(384)), SHARED.ciphertexts[1]))
    assert wrap_again(identity(A), PARTY_B, lowest, hcp_key(A, B), seeded("again")) is None
