"""Device heads: a device is one of the Hcp that registered it, and nobody else says how much it has written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from icure_sync.canonical import canonical
from icure_sync.crypto.devices import (
    Count,
    DeviceHead,
    DeviceKeys,
    KnownIdentity,
    Told,
    head_document,
    head_id,
    is_device_id,
    is_head_id,
    kid_of,
    open_told,
)
from icure_sync.crypto.envelope import to_text
from icure_sync.crypto.hcp_keys import self_key
from icure_sync.crypto.identity import COMPROMISED, PLANNED, Identity, Previous, signed_bytes
from icure_sync.crypto.primitives import SymmetricKey
from icure_sync.crypto.revision import revision_id
from icure_sync.crypto.signers import Signer
from icure_sync.errors import Tampered
from icure_sync.ids import HcpId, Rev
from icure_sync.replication.filters import device_selector, passes
from tests.keys import A, B, identity, seeded, successor

DEVICE = "00112233445566ff"
ID = head_id(DEVICE)
KEYS = DeviceKeys.draw(seeded("device"))
COUNT = Count().then("doc-1", "1-aa").then("doc-1", "2-bb")
FORMER = (Previous(bytes([1] * 32), PLANNED), Previous(bytes([2] * 32), COMPROMISED))
PIN = KnownIdentity(B, identity(B).signing_key.public, 3, FORMER, 1_790_000_000_001, (bytes([3] * 32),))
TOLD = Told("laptop", 1_790_000_000_000, (PIN,))
SIGNER = Signer(identity(A).signing_key.public)


OWN = identity(A)


WITH_PIN = b"\x83\xa5added\x00\xa4name\xa0\xa4pins\x81\xa5hcp-b%b"


def made(
    of: Identity = OWN, told: Told = TOLD, count: Count = COUNT, above: Rev | None = None
) -> tuple[Rev, dict[str, Any]]:
    return head_document(
        of, DEVICE, KEYS, count=count, told=told, key=self_key(of), above=above, entropy=seeded("salt")
    )


REV, DOCUMENT = made()


def signed_again(document: dict[str, Any]) -> tuple[Rev, dict[str, Any]]:
    """By the device itself: what else may be wrong is looked at then."""
    rev = revision_id(ID, document, A)
    message = signed_bytes("device-head", ("sealed-1", "DeviceHead", ID, rev))
    return rev, {**document, "written": {"by": A, "signature": to_text(KEYS.signing.sign(message))}}


def test_a_head_says_whose_device_it_is_and_how_much_it_wrote():
    head = DeviceHead.of(ID, REV, DOCUMENT, ())
    assert head == DeviceHead(A, DEVICE, REV, KEYS.signing.public, KEYS.exchange.public, 1, COUNT)
    assert head.registered(DOCUMENT, SIGNER)
    assert open_told(head, DOCUMENT, self_key(identity(A)).key) == TOLD
    assert kid_of(DOCUMENT) == self_key(identity(A)).kid


def test_the_next_head_extends_the_one_before_and_stands_there_only():
    rev, document = made(count=COUNT.then("doc-2", "1-cc"), above=REV)
    assert rev.startswith("2-")
    assert DeviceHead.of(ID, rev, document, (REV,)).count.counter == 3
    with pytest.raises(Tampered):
        DeviceHead.of(ID, rev, document, (Rev("1-ff"),))


def test_a_device_that_has_written_nothing_has_a_head_too():
    rev, document = made(count=Count())
    assert DeviceHead.of(ID, rev, document, ()).count == Count(0, "")


def test_counts_differ_by_every_write_and_by_their_order():
    one, other = Count().then("a", "1-1").then("b", "1-2"), Count().then("b", "1-2").then("a", "1-1")
    assert one.counter == other.counter == 2
    assert one.digest != other.digest != Count().then("a", "1-1").digest


def test_every_device_of_everybody_replicates_it():
    for hcp in (A, B):
        assert passes(device_selector(hcp), DOCUMENT)


def test_name_and_pins_are_for_own_devices_only():
    assert "laptop" not in str(DOCUMENT)
    assert to_text(identity(B).signing_key.public) not in str(DOCUMENT)
    head = DeviceHead.of(ID, REV, DOCUMENT, ())
    with pytest.raises(Tampered):
        open_told(head, DOCUMENT, self_key(identity(B)).key)


def test_a_device_that_somebody_else_registered_is_none_of_the_hcp():
    forged = Signer(identity(B).signing_key.public)
    with pytest.raises(Tampered, match="did not register"):
        DeviceHead.of(ID, REV, DOCUMENT, ()).registered(DOCUMENT, forged)


def test_a_device_of_a_lost_identity_is_believed_only_by_what_was_known():
    lost, planned = successor(COMPROMISED), successor(PLANNED)
    head = DeviceHead.of(ID, REV, DOCUMENT, ())
    assert not head.registered(DOCUMENT, Signer.of(lost.signing_key.public, lost.previous))
    assert head.registered(DOCUMENT, Signer.of(planned.signing_key.public, planned.previous))


def test_a_device_registers_anew_in_the_next_epoch():
    following = successor(COMPROMISED)
    rev, document = made(following)
    head = DeviceHead.of(ID, rev, document, ())
    assert head.epoch == 2
    assert head.registered(document, Signer.of(following.signing_key.public, following.previous))


@pytest.mark.parametrize("member", sorted(DOCUMENT))
def test_every_member_is_signed(member: str):
    missing = {name: value for name, value in DOCUMENT.items() if name != member}
    for wrong in (missing, {**DOCUMENT, member: None}, {**DOCUMENT, member: "x"}, {**DOCUMENT, member: {"by": A}}):
        with pytest.raises(Tampered):
            DeviceHead.of(ID, REV, wrong, ())


@pytest.mark.parametrize(
    "changed",
    [
        {"more": 1},
        {"type": "Patient"},
        {"parents": ["1-aa", "1-bb"]},
        {"hcp": "_x"},
        {"device": "0011"},
        {"signingKey": "AAAA"},
        {"exchangeKey": "AAAA"},
        {"kid": "x"},
        {"registration": {"epoch": 0, "signature": ""}},
        {"registration": {"epoch": True, "signature": ""}},
        {"registration": {"epoch": 1}},
        {"head": {"counter": -1, "digest": COUNT.digest}},
        {"head": {"counter": 2, "digest": ""}},
        {"head": {"counter": 0, "digest": COUNT.digest}},
        {"head": {"counter": 2, "digest": 2}},
        {"sealed": 1},
    ],
)
def test_what_is_laid_out_otherwise_is_refused_even_if_the_device_signed_it(changed: dict[str, Any]):
    with pytest.raises(Tampered):
        DeviceHead.of(ID, *signed_again({**DOCUMENT, **changed}), ())


def test_a_head_under_another_devices_id_is_refused():
    with pytest.raises(Tampered):
        DeviceHead.of(head_id("f" * 16), REV, DOCUMENT, ())


def test_a_head_that_another_device_signed_is_refused():
    other = DeviceKeys.draw(seeded("other"))
    message = signed_bytes("device-head", ("sealed-1", "DeviceHead", ID, REV))
    forged = {**DOCUMENT, "written": {"by": A, "signature": to_text(other.signing.sign(message))}}
    with pytest.raises(Tampered, match="signature of the device"):
        DeviceHead.of(ID, REV, forged, ())


@pytest.mark.parametrize(
    "told",
    [
        Told("x" * 201, 0, ()),
        Told("", -1, ()),
        Told("", 0, (replace(PIN, signing_key=b"short"),)),
        Told("", 0, (replace(PIN, hcp=HcpId("_no")),)),
        Told("", 0, (replace(PIN, epoch=0),)),
        Told("", 0, (replace(PIN, previous=(Previous(b"short", PLANNED),)),)),
        Told("", 0, (replace(PIN, verified=-1),)),
        Told("", 0, (replace(PIN, refused=(b"short",)),)),
    ],
)
def test_what_is_sealed_in_a_head_is_read_strictly(told: Told):
    rev, document = made(told=told)
    with pytest.raises(Tampered):
        open_told(DeviceHead.of(ID, rev, document, ()), document, self_key(identity(A)).key)


@pytest.mark.parametrize(
    "said",
    [
        b"\xc1",
        b"\x80",
        b"\x91\x01",
        b"\x81\xa4name\x01",
        WITH_PIN % b"\x01",
        WITH_PIN % b"\x91\x01",
        WITH_PIN % b"\x95\xa0\x01\x90\xc0\xc0",
    ],
)
def test_what_is_sealed_otherwise_is_refused(said: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "icure_sync.crypto.devices.canonical", lambda value: said if "pins" in value else canonical(value)
    )
    rev, document = made()
    monkeypatch.undo()
    with pytest.raises(Tampered):
        open_told(DeviceHead.of(ID, rev, document, ()), document, SymmetricKey(identity(A).self_key))


def test_device_ids_are_sixteen_hex_digits():
    assert is_device_id(DEVICE)
    assert is_head_id(ID)
    assert not any(map(is_head_id, (DEVICE, "device-", "device-x", ID + "0")))
    for text in ("", DEVICE.upper(), DEVICE + "0", 5, None, DEVICE + "\n"):
        assert not is_device_id(text)
