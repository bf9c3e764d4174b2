"""Pairing: who does not know the code gets no identity and gives none, whatever is done to the messages."""

from __future__ import annotations

import hmac
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from Crypto.Hash import SHA256
from Crypto.Protocol.KDF import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st
from spake2 import SPAKE2_A

from icure_sync.canonical import canonical
from icure_sync.crypto.envelope import open_envelope, to_text
from icure_sync.crypto.pairing import (
    Agreement,
    Answering,
    Delivered,
    Delivering,
    Failed,
    Offering,
    Proving,
    Received,
    Refused,
    Why,
    answer,
)
from icure_sync.crypto.pairing_messages import (
    ATTEMPTS,
    Again,
    Answer,
    Code,
    Delivery,
    Message,
    Offer,
    PairingId,
    Proof,
    Receipt,
)
from icure_sync.ids import DocId
from tests.keys import A, B, identity, seeded

PAIRING = PairingId(DocId("pairing-48210000000000000000"))
OTHER = PairingId(DocId("pairing-48211111111111111111"))
CODE = Code("4821", "73059164")
MISTYPED = Code("4821", "73059146")


def begun(seed: str = "new", pairing: PairingId = PAIRING, code: Code = CODE) -> Offering:
    return Offering.begin(pairing, code, seeded(seed))


def answered(offer: Offer, code: Code = CODE, seed: str = "old", pairing: PairingId = PAIRING) -> Answering:
    state = answer(pairing, offer, code, identity(A), seeded(seed))
    assert isinstance(state, Answering)
    return state


def met(seed: str = "", pairing: PairingId = PAIRING) -> tuple[Proving, Delivering]:
    """Both sides, as far as they have proved to each other that they know the code."""
    new = begun(f"new{seed}", pairing)
    old = answered(new.message, seed=f"old{seed}", pairing=pairing)
    proving = new.hear(old.message, seeded("n"))
    assert isinstance(proving, Proving)
    delivering = old.hear(proving.message, seeded("o"))
    assert isinstance(delivering, Delivering)
    return proving, delivering


def test_a_device_that_is_told_the_code_gives_the_identity():
    proving, delivering = met()
    received = proving.hear(delivering.message, seeded("n"))
    assert isinstance(received, Received)
    assert received.identity.secret() == identity(A).secret()
    assert received.identity.fingerprint == identity(A).fingerprint
    assert delivering.hear(received.message, seeded("o")) == Delivered()


def test_a_mistyped_code_ends_the_attempt_and_not_the_pairing():
    new = begun()
    old = answered(new.message, MISTYPED)
    second = new.hear(old.message, seeded("n"))
    assert isinstance(second, Offering)
    assert (second.message.attempt, second.before) == (2, Why.WRONG_CODE)
    assert second.message.element != new.message.element
    assert old.hear(second.message, seeded("o")) == Refused(Why.WRONG_CODE)
    assert isinstance(second.hear(answered(second.message).message, seeded("n")), Proving)


def test_after_three_attempts_the_pairing_is_void():
    state: Any = begun()
    for attempt in range(1, ATTEMPTS + 1):
        assert state.message.attempt == attempt
        state = state.hear(answered(state.message, MISTYPED).message, seeded(f"n{attempt}"))
    assert state == Failed(Why.WRONG_CODE)


def test_an_old_device_that_lost_its_part_asks_for_the_next_attempt():
    new = begun()
    second = new.hear(Again(1), seeded("n"))
    assert isinstance(second, Offering)
    assert second.before is Why.INTERRUPTED
    proving = second.hear(answered(second.message).message, seeded("n"))
    assert isinstance(proving, Proving)
    third = proving.hear(Again(2), seeded("n"))
    assert isinstance(third, Offering)
    assert third.hear(Again(3), seeded("n")) == Failed(Why.INTERRUPTED)


@pytest.mark.parametrize("element", [bytes(33), b"A" + bytes(32), b"B\x01" + bytes(31)])
def test_a_half_that_is_none_ends_the_attempt(element: bytes):
    new = begun()
    second = new.hear(Answer(1, A, element, bytes(32)), seeded("n"))
    assert isinstance(second, Offering)
    assert second.before is Why.ALTERED
    assert answer(PAIRING, Offer(1, element), CODE, identity(A), seeded("o")) == Refused(Why.ALTERED)


def test_who_stands_between_can_use_no_half_of_another_exchange():
    new, elsewhere = begun("new"), begun("elsewhere")
    crossed = new.hear(answered(elsewhere.message).message, seeded("n"))
    assert isinstance(crossed, Offering)
    old = answered(elsewhere.message)
    proving, _ = met()
    assert old.hear(proving.message, seeded("o")) == Refused(Why.ALTERED)


def test_the_hcp_the_pairing_and_the_attempt_are_part_of_the_key():
    new = begun()
    said = answered(new.message).message
    assert isinstance(new.hear(replace(said, hcp=B), seeded("n")), Offering)
    assert isinstance(begun().hear(answered(begun().message, pairing=OTHER).message, seeded("n")), Offering)
    first = begun().message
    second = answered(replace(first, attempt=2)).message
    assert isinstance(begun().hear(replace(second, attempt=1), seeded("n")), Offering)


@pytest.mark.parametrize("at", [0, 1, 30, 70, -1])
def test_an_identity_that_was_altered_is_not_taken(at: int):
    proving, delivering = met()
    sealed = bytearray(delivering.message.sealed)
    sealed[at] ^= 1
    after = proving.hear(Delivery(1, bytes(sealed)), seeded("n"))
    assert isinstance(after, Offering)
    assert after.before is Why.ALTERED
    assert delivering.hear(after.message, seeded("o")) == Refused(Why.ALTERED)


def test_an_identity_of_another_pairing_is_not_taken():
    proving, _ = met()
    _, other = met("another", OTHER)
    assert isinstance(proving.hear(other.message, seeded("n")), Offering)


@pytest.mark.parametrize("secret", [b"", b"{}", identity(B).secret()])
def test_what_was_sealed_must_be_the_identity_that_was_announced(secret: bytes):
    proving, _ = met()
    sealed = proving.agreement.sealed(secret, seeded("s"))
    after = proving.hear(Delivery(1, sealed), seeded("n"))
    assert isinstance(after, Offering)
    assert after.before is Why.ALTERED


def test_a_wrong_receipt_is_none():
    _, delivering = met()
    assert delivering.hear(Receipt(1, bytes(32)), seeded("o")) == Refused(Why.ALTERED)
    assert delivering.hear(Receipt(1, delivering.agreement.proof_of("new")), seeded("o")) == Refused(Why.ALTERED)


def test_what_does_not_belong_where_it_is_heard_changes_nothing():
    new = begun()
    old = answered(new.message)
    proving, delivering = met()
    receipt = Receipt(1, bytes(32))
    for state, foreign in (
        (new, [new.message, replace(old.message, attempt=2), Again(2), proving.message, delivering.message, receipt]),
        (proving, [new.message, old.message, proving.message, Delivery(2, b""), Again(3), receipt]),
        (old, [new.message, old.message, Proof(2, bytes(32)), delivering.message, Again(1), receipt]),
        (delivering, [new.message, old.message, proving.message, delivering.message, Again(1), Receipt(2, bytes(32))]),
    ):
        for message in foreign:
            assert state.hear(message, seeded("x")) is state, (state, message)


def test_no_state_shows_a_secret():
    proving, delivering = met()
    received = proving.hear(delivering.message, seeded("n"))
    for state in (begun(), proving, delivering, received, proving.agreement):
        assert CODE.secret not in repr(state)
        assert "master" not in repr(state)


@cache
def heard_on_the_way() -> tuple[Message, ...]:
    """All that two pairings in full, one of the same code and one of another pairing, said in clear."""
    said: list[Message] = []
    for seed, pairing in (("", PAIRING), ("second", PAIRING), ("other", OTHER)):
        new = begun(f"new{seed}", pairing)
        old = answered(new.message, seed=f"old{seed}", pairing=pairing)
        proving, delivering = met(seed, pairing)
        received = proving.hear(delivering.message, seeded("n"))
        assert isinstance(received, Received)
        said += [new.message, old.message, proving.message, delivering.message, received.message]
    return (*said, Again(1), Again(2), Again(3))


def altered(message: Message, draw: Any) -> Message:
    """Another attempt, another Hcp, bytes that are flipped, or those of another message."""
    changes: dict[str, Any] = {}
    for name in message.__dataclass_fields__:
        value = getattr(message, name)
        if not draw(st.booleans()):
            continue
        if name == "attempt":
            changes[name] = draw(st.integers(1, ATTEMPTS))
        elif name == "hcp":
            changes[name] = draw(st.sampled_from((A, B)))
        else:
            at = draw(st.integers(0, len(value) - 1))
            changes[name] = value[:at] + bytes([value[at] ^ draw(st.integers(0, 255))]) + value[at + 1 :]
    return replace(message, **changes)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_who_does_not_know_the_code_wins_nothing_by_any_order_of_any_messages(data: st.DataObject):
    """The server drives fresh devices with all that it ever heard, altered, swapped, repeated, and their own words.

    They have another code than all that was heard: no old device may deliver, and no new one receive.
    """
    new: Any = begun("fresh new", code=MISTYPED)
    old: Any = None
    said: list[Message] = [*heard_on_the_way(), new.message]
    for _ in range(data.draw(st.integers(1, 12))):
        message = data.draw(st.sampled_from(said))
        if data.draw(st.booleans()):
            message = altered(message, data.draw)
        if data.draw(st.booleans()):
            if isinstance(new, Offering | Proving):
                new = new.hear(message, seeded(f"n{len(said)}"))
        elif isinstance(old, Answering):
            old = old.hear(message, seeded(f"o{len(said)}"))
        elif isinstance(message, Offer) and message.element != new.message.element:
            old = answer(PAIRING, message, Code("4821", "00000001"), identity(A), seeded(f"a{len(said)}"))
        said += [state.message for state in (new, old) if hasattr(state, "message")]
        assert isinstance(new, Offering | Failed)
        assert not isinstance(old, Delivering)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_between_two_that_know_the_code_only_the_very_identity_goes_over(data: st.DataObject):
    """The server reorders, repeats, drops and alters what two honest devices say. At best they agree as they should."""
    new: Any = begun("honest new")
    old: Any = None
    said: list[Message] = [new.message]
    delivered: list[bytes] = []
    for _ in range(data.draw(st.integers(1, 14))):
        message = said[-1] if data.draw(st.booleans()) else data.draw(st.sampled_from([*said, *heard_on_the_way()]))
        if data.draw(st.integers(0, 3)) == 0:
            message = altered(message, data.draw)
        if isinstance(old, Answering | Delivering) and data.draw(st.booleans()):
            old = old.hear(message, seeded(f"o{len(said)}"))
        elif isinstance(message, Offer) and not isinstance(old, Delivering):
            old = answer(PAIRING, message, CODE, identity(A), seeded(f"a{len(said)}"))
        elif isinstance(new, Offering | Proving):
            new = new.hear(message, seeded(f"n{len(said)}"))
        said += [state.message for state in (new, old) if hasattr(state, "message")]
        if isinstance(old, Delivering):
            delivered.append(old.message.sealed)
    if isinstance(new, Received):
        assert new.identity.secret() == identity(A).secret()
        assert new.agreement.attempt <= ATTEMPTS
    if isinstance(old, Delivered):
        assert isinstance(new, Received)
    assert all(identity(A).secret() not in sealed for sealed in delivered)


def test_a_proof_for_one_side_is_none_for_the_other():
    agreement = Agreement(PAIRING, 1, A, bytes(32))
    assert len({agreement.proof_of(side) for side in ("old", "new", "receipt")}) == 3


def test_a_second_implementation_of_the_format_agrees_with_both_sides():
    """The new device by FORMAT.md alone: python-spake2, HMAC and HKDF of the other library."""
    context = canonical(["icure-sync/pairing-exchange/1", PAIRING])
    exchange = SPAKE2_A(CODE.secret.encode(), idA=context, entropy_f=seeded("second implementation"))
    offer = Offer(1, exchange.start())
    old = answered(offer)
    said = ["icure-sync/pairing/1", PAIRING, 1, A, *(to_text(half) for half in (offer.element, old.message.element))]
    master = hmac.digest(exchange.finish(old.message.element), canonical(said), "sha256")

    def derived(label: str) -> bytes:
        return HKDF(master, 32, b"", SHA256, 1, label.encode())  # type: ignore[return-value]  # one key, not several

    assert old.message.proof == derived("icure-sync/pairing-old/1")
    delivering = old.hear(Proof(1, derived("icure-sync/pairing-new/1")), seeded("o"))
    assert isinstance(delivering, Delivering)
    associated = canonical(["icure-sync/pairing-identity/1", PAIRING, 1, A])
    opened = open_envelope(derived("icure-sync/pairing-key/1"), delivering.message.sealed, associated)
    assert opened == identity(A).secret()
    assert delivering.hear(Receipt(1, derived("icure-sync/pairing-receipt/1")), seeded("o")) == Delivered()
