"""Handovers: a new identity goes to the devices that stay, and to nobody else; three keys must have signed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from icure_sync.crypto.devices import DeviceKeys
from icure_sync.crypto.envelope import pad, to_text
from icure_sync.crypto.handover import HANDOVER_TYPE, Handover, hand_over, handover_id, take_over
from icure_sync.crypto.identity import COMPROMISED, PLANNED, Identity, signed_bytes
from icure_sync.crypto.party import Party
from icure_sync.crypto.primitives import SigningKey
from icure_sync.crypto.publishing import publish, withdraw
from icure_sync.crypto.sealed_to import seal_to
from icure_sync.errors import NoAccess, Tampered
from icure_sync.ids import DocId, Rev
from icure_sync.replication.filters import device_selector, passes
from tests.keys import A, B, identity, seeded, successor

REVOKING, STAYING, OTHER, LOST = "aa" * 8, "bb" * 8, "cc" * 8, "dd" * 8
KEYS = {each: DeviceKeys.draw(seeded(each)) for each in (REVOKING, STAYING, OTHER, LOST)}
OWN = Party.of_identity(identity(A))
NEXT = successor(COMPROMISED)
ID = handover_id(A, 2, REVOKING)


def made(
    former: Identity | None = None, following: Identity = NEXT, keys: DeviceKeys = KEYS[REVOKING]
) -> tuple[DocId, Rev, dict[str, Any]]:
    return hand_over(
        former or identity(A),
        following,
        REVOKING,
        keys,
        revoked=[LOST],
        remaining={each: KEYS[each].exchange.public for each in (STAYING, OTHER)},
        entropy=seeded("salt"),
    )


_, REV, DOCUMENT = made()


def signed_again(
    changed: Mapping[str, Any], former: Identity | None = None, device: SigningKey = KEYS[REVOKING].signing
) -> tuple[Rev, dict[str, Any]]:
    """Otherwise, and by all who must sign it: what else may be wrong is looked at then."""
    members = {name: value for name, value in {**DOCUMENT, **changed}.items() if name not in ("parents", "written")}
    unsigned = {name: value for name, value in members.items() if name != "signatures"}
    message = signed_bytes("handover", (ID, unsigned))
    by = (former or identity(A)).signing_key
    signatures = {"former": to_text(by.sign(message)), "device": to_text(device.sign(message))}
    return publish(ID, {"signatures": signatures, **members} | {"signatures": signatures}, NEXT)


def read(rev: Rev, document: dict[str, Any], own: Party = OWN) -> Handover:
    return Handover.of(ID, rev, document, own)


def test_a_device_that_stays_takes_the_new_identity_over():
    handover = read(REV, DOCUMENT)
    assert (handover.id, handover.rev, handover.device, handover.revoked) == (ID, REV, REVOKING, {LOST})
    assert handover.device_key == KEYS[REVOKING].signing.public
    assert handover.party == replace(Party.of_identity(NEXT), previous=())
    for device in (STAYING, OTHER):
        taken = take_over(handover, identity(A), device, KEYS[device].exchange)
        assert taken.secret() == NEXT.secret()


def test_neither_the_device_that_is_shut_out_nor_one_that_was_not_known_opens_it():
    handover = read(REV, DOCUMENT)
    with pytest.raises(NoAccess):
        take_over(handover, identity(A), LOST, KEYS[LOST].exchange)
    for device in (STAYING, OTHER):
        with pytest.raises(Tampered):
            take_over(handover, identity(A), device, KEYS[LOST].exchange)


def test_what_is_sealed_for_one_device_is_not_passed_off_for_another():
    swapped = dict(zip(DOCUMENT["sealed"], reversed(DOCUMENT["sealed"].values()), strict=True))
    handover = read(*signed_again({"sealed": swapped}))
    with pytest.raises(Tampered):
        take_over(handover, identity(A), STAYING, KEYS[OTHER].exchange)


def test_the_own_devices_replicate_it_and_others_do_not():
    assert passes(device_selector(A), DOCUMENT)
    assert not passes(device_selector(B), DOCUMENT)


def test_it_holds_when_it_is_written_again():
    rev, again = publish(ID, DOCUMENT, NEXT, REV)
    assert read(rev, again).party == read(REV, DOCUMENT).party


def test_it_does_not_hold_if_a_single_signature_is_of_somebody_else():
    stranger = SigningKey(b"\x07" * 32)
    for rev, document in (
        signed_again({}, former=identity(B)),
        signed_again({}, former=NEXT),
        signed_again({}, device=stranger),
        signed_again({}, device=identity(A).signing_key),
        publish(ID, DOCUMENT, replace(NEXT, signing_key=stranger)),
        publish(ID, DOCUMENT, identity(A)),
    ):
        with pytest.raises(Tampered, match="a signature lacks"):
            read(rev, document)
    with pytest.raises(Tampered, match="a signature lacks"):
        read(Rev("1-00"), DOCUMENT)


@pytest.mark.parametrize(
    "changed",
    [
        {"revoked": [LOST, "ee" * 8]},
        {"sealed": {STAYING: DOCUMENT["sealed"][STAYING]}},
        {"publicKey": to_text(identity(B).party_key.public.spki)},
        {"device": {"id": REVOKING, "signingKey": to_text(KEYS[OTHER].signing.public)}},
    ],
)
def test_all_that_it_says_is_signed(changed: dict[str, Any]):
    rev, document = publish(ID, {**DOCUMENT, **changed}, NEXT)
    with pytest.raises(Tampered, match="a signature lacks"):
        read(rev, document)


def test_it_is_for_the_identity_alone_that_it_ends():
    assert read(REV, DOCUMENT)
    for own in (
        Party.of_identity(identity(B)),
        Party.of_identity(NEXT),
        replace(OWN, epoch=3),
        replace(OWN, signing_key=NEXT.signing_key.public),
        replace(OWN, signing_key=identity(B).signing_key.public),
    ):
        with pytest.raises(Tampered):
            read(REV, DOCUMENT, own)


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "Patient"},
        {"more": 1},
        {"delegations": {B: []}},
        {"delegations": {A: [], B: []}},
        {"epoch": 1},
        {"epoch": 3},
        {"epoch": 1_001},
        {"epoch": True},
        {"epoch": "2"},
        {"signingKey": to_text(b"short")},
        {"revoked": []},
        {"revoked": LOST},
        {"revoked": [LOST, LOST]},
        {"revoked": [LOST, STAYING]},
        {"revoked": [LOST, REVOKING]},
        {"revoked": [1]},
        {"revoked": ["nobody"]},
        {"revoked": sorted([REVOKING, LOST])},
        {"sealed": []},
        {"sealed": {LOST: "AA=="}},
        {"sealed": {"nobody": "AA=="}},
        {"sealed": {STAYING: 1}},
        {"device": REVOKING},
        {"device": {"id": REVOKING}},
        {"device": {"id": "nobody", "signingKey": DOCUMENT["device"]["signingKey"]}},
        {"device": {"id": OTHER, "signingKey": DOCUMENT["device"]["signingKey"]}},
        {"device": {"id": REVOKING, "signingKey": to_text(b"short")}},
    ],
)
def test_another_layout_is_refused(changed: dict[str, Any]):
    with pytest.raises(Tampered, match="not laid out"):
        read(*signed_again(changed))


@pytest.mark.parametrize("signatures", [None, {}, {"former": "AA=="}])
def test_other_signatures_are_refused(signatures: Any):
    rev, document = publish(ID, {**DOCUMENT, "signatures": signatures}, NEXT)
    with pytest.raises(Tampered, match="not laid out"):
        read(rev, document)


def test_nobody_withdraws_it():
    rev, tombstone = withdraw(ID, DOCUMENT, REV, NEXT)
    with pytest.raises(Tampered, match="not laid out"):
        read(rev, tombstone)


def test_it_stands_in_its_place_only():
    place = DocId(f"{ID}0")
    rev, document = publish(place, DOCUMENT, NEXT)
    with pytest.raises(Tampered, match="not laid out"):
        Handover.of(place, rev, document, OWN)


def sealed_by_a_liar(secret: bytes) -> Handover:
    """All is signed as it must be, and something else is sealed."""
    sealed = seal_to(KEYS[STAYING].exchange.public, pad(secret), "handover", ID, STAYING, entropy=seeded("salt"))
    return read(*signed_again({"sealed": {STAYING: to_text(sealed)}}))


@pytest.mark.parametrize(
    "secret",
    [
        b"",
        b"{}",
        identity(A).secret(),
        identity(B).secret(),
        successor(PLANNED).secret(),
        replace(NEXT, former=()).secret(),
        replace(NEXT, signing_key=SigningKey(b"\x07" * 32)).secret(),
        replace(NEXT, party_key=identity(B).party_key).secret(),
    ],
)
def test_an_identity_that_does_not_follow_the_own_one_is_refused(secret: bytes):
    with pytest.raises(Tampered, match="not the identity that it says"):
        take_over(sealed_by_a_liar(secret), identity(A), STAYING, KEYS[STAYING].exchange)


def test_its_type_is_its_own():
    assert DOCUMENT["type"] == HANDOVER_TYPE == "Handover"
