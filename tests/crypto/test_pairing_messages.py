"""What pairing devices say: one form for each message, and nothing else is read; codes as people type them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync import strict_json
from icure_sync.crypto.envelope import to_text
from icure_sync.crypto.pairing_messages import (
    ATTEMPTS,
    Again,
    Answer,
    Code,
    Delivery,
    Letter,
    Offer,
    Proof,
    Receipt,
    body_of,
    is_pairing_id,
    letter_of,
    new_code,
    new_pairing_id,
    number_of,
    read_code,
    tombstone_body,
)
from icure_sync.errors import InvalidEntity, Tampered
from icure_sync.ids import HcpId
from icure_sync.replication.filters import device_selector, passes
from tests.keys import A, seeded

attempts = st.integers(1, ATTEMPTS)
elements = st.binary(min_size=33, max_size=33)
proofs = st.binary(min_size=32, max_size=32)
messages = st.one_of(
    st.builds(Offer, attempts, elements),
    st.builds(
        Answer, attempts, st.from_regex(r"[A-Za-z0-9-][A-Za-z0-9_-]{0,63}", fullmatch=True).map(HcpId), elements, proofs
    ),
    st.builds(Proof, attempts, proofs),
    st.builds(Delivery, attempts, st.binary(max_size=200)),
    st.builds(Receipt, attempts, proofs),
    st.builds(Again, attempts),
)
letters = st.builds(Letter, st.integers(0, 2**53), messages)

OFFER = Letter(1_000, Offer(1, b"A" * 33))
ANSWER = Letter(1_000, Answer(1, A, b"B" * 33, b"p" * 32))


def changed(letter: Letter, **members: Any) -> bytes:
    said = strict_json.loads(body_of(letter)) | members
    return strict_json.dumps({name: value for name, value in said.items() if value is not ...})


@given(letters)
def test_a_letter_is_read_as_it_was_written(letter: Letter):
    assert letter_of(body_of(letter)) == letter


@given(letters)
def test_no_device_replicates_a_letter_or_its_end(letter: Letter):
    selector = device_selector(A)
    assert not passes(selector, strict_json.loads(body_of(letter)))
    assert not passes(selector, {**strict_json.loads(tombstone_body()), "_deleted": True})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"step":"offer","step":"offer"}',
        changed(OFFER, type="Patient"),
        changed(OFFER, delegations={"hcp-a": []}),
        changed(OFFER, delegations=[]),
        changed(OFFER, version=2),
        changed(OFFER, version=True),
        changed(OFFER, version=...),
        changed(OFFER, more=1),
        changed(OFFER, step="offers"),
        changed(OFFER, step=["offer"]),
        changed(OFFER, step="answer"),
        changed(OFFER, started=...),
        changed(OFFER, started=-1),
        changed(OFFER, started=2**53 + 1),
        changed(OFFER, started=1.0),
        changed(OFFER, attempt=0),
        changed(OFFER, attempt=ATTEMPTS + 1),
        changed(OFFER, attempt=True),
        changed(OFFER, attempt="1"),
        changed(OFFER, element=...),
        changed(OFFER, element=7),
        changed(OFFER, element="%"),
        changed(OFFER, element=to_text(b"A" * 32)),
        changed(OFFER, element=to_text(b"A" * 34)),
        changed(ANSWER, hcp="_hcp"),
        changed(ANSWER, hcp=None),
        changed(ANSWER, proof=to_text(b"")),
    ],
)
def test_anything_else_is_no_letter(body: bytes):
    with pytest.raises(Tampered, match="not of the form"):
        letter_of(body)


def test_a_sealed_identity_has_a_largest_size():
    body = body_of(Letter(0, Delivery(1, bytes((1 << 20) + 1))))
    with pytest.raises(Tampered):
        letter_of(body)


@given(st.binary(min_size=1).map(lambda seed: seeded(seed.hex())))
def test_a_code_begins_with_the_number_of_its_pairing(entropy: Any):
    pairing = new_pairing_id(entropy)
    assert is_pairing_id(pairing)
    code = new_code(pairing, entropy)
    assert pairing.removeprefix("pairing-").startswith(number_of(pairing))
    assert code.number == number_of(pairing)
    assert read_code(str(code)) == code
    assert len(str(code)) == 14


@pytest.mark.parametrize("name", ["pairing-", "pairing-12", "pairing-" + "1" * 21, "pairing-" + "\u0661" * 20, 7])
def test_other_ids_are_no_pairings(name: object):
    assert not is_pairing_id(name)


@pytest.mark.parametrize(
    "typed",
    ["482173059164", " 4821 7305 9164\n", "4821-7305-9164", "4821\u20137305\u20149164", "4821\u00a073059164\r\n"],
)
def test_a_code_is_read_however_people_group_it(typed: str):
    assert read_code(typed) == Code("4821", "73059164")


@pytest.mark.parametrize(
    "typed", ["", "48217305916", "4821730591645", "4821-7305-916O", "\u0664" * 12, "482173059164x"]
)
def test_what_is_no_code_is_said_to_be_none_and_not_repeated(typed: str):
    with pytest.raises(InvalidEntity) as told:
        read_code(typed)
    assert typed.strip() not in str(told.value) or not typed


def test_a_code_shows_in_no_repr():
    assert "73059164" not in repr(Code("4821", "73059164"))
