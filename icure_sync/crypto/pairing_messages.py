"""What two devices of one Hcp say to each other while they pair, and the code that a person carries between them.

Owns the messages, each as the body of a document of type `Pairing`, and their strict reading. Knows no keys: who
believes what is in pairing.py. FORMAT.md, "Pairing", is the specification.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, fields
from typing import Any, NewType

from icure_sync import strict_json
from icure_sync.crypto.envelope import from_text, to_text
from icure_sync.crypto.primitives import CODE_ELEMENT, Entropy
from icure_sync.errors import InvalidEntity, Tampered
from icure_sync.ids import DocId, HcpId, is_hcp_id

TYPE = "Pairing"
PREFIX = "pairing-"
VERSION = 1
ATTEMPTS = 3  # at one pairing: each lets whoever stands between make one guess in 10^8; people mistype now and then
NUMBER_DIGITS = 4  # of a code name the pairing, in clear: several may wait on one server
SECRET_DIGITS = 8
ID_DIGITS = 20  # of a pairing's id: the number, and what tells it from other pairings of that number
GROUP = 4  # digits of a code that are read at once

_CODE_DIGITS = NUMBER_DIGITS + SECRET_DIGITS
_PROOF_BYTES = 32
_SEALED_MOST = 1 << 20  # bytes; an identity of many epochs takes some tens of KB
_DRAWN_BYTES = 32  # so many for 20 digits that no digit is likelier than another
_TIME_MOST = 2**53  # ms; as every integer of the format

PairingId = NewType("PairingId", DocId)

_ID = re.compile(rf"{PREFIX}[0-9]{{{ID_DIGITS}}}\Z", re.ASCII)
_DIGITS = re.compile(rf"[0-9]{{{_CODE_DIGITS}}}\Z", re.ASCII)


@dataclass(frozen=True, slots=True, repr=False)
class Code:
    """What the new device shows: the number of its pairing, and a secret. Its repr shows nothing."""

    number: str
    secret: str

    def __str__(self) -> str:
        """As it is shown: `4821-7305-9164`."""
        digits = self.number + self.secret
        return "-".join(digits[start : start + GROUP] for start in range(0, len(digits), GROUP))


def new_pairing_id(entropy: Entropy) -> PairingId:
    """A random one."""
    return PairingId(DocId(PREFIX + _digits(ID_DIGITS, entropy)))


def is_pairing_id(text: object) -> bool:
    """Whether a document of this id can be a pairing's."""
    return isinstance(text, str) and _ID.match(text) is not None


def number_of(pairing: PairingId) -> str:
    """The first digits of its id, and of its code."""
    return pairing[len(PREFIX) :][:NUMBER_DIGITS]


def new_code(pairing: PairingId, entropy: Entropy) -> Code:
    """A code for this pairing: the secret is drawn, and to be kept in memory only."""
    return Code(number_of(pairing), _digits(SECRET_DIGITS, entropy))


def read_code(text: str) -> Code:
    """A code as it was typed or scanned; spaces and dashes mean nothing. Raises InvalidEntity."""
    digits = "".join(letter for letter in text if not letter.isspace() and unicodedata.category(letter) != "Pd")
    if not _DIGITS.match(digits):
        raise InvalidEntity(
            "read the code", f"it is not {_CODE_DIGITS} digits", "type it as the new device shows it, as 4821-7305-9164"
        )
    return Code(digits[:NUMBER_DIGITS], digits[NUMBER_DIGITS:])


@dataclass(frozen=True, slots=True)
class Offer:
    """The new device begins an attempt: its half of the exchange."""

    attempt: int
    element: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The old device's half, whose device it is, and the proof that it knows the code."""

    attempt: int
    hcp: HcpId
    element: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """That the new device knows the code."""

    attempt: int
    proof: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """The identity, sealed under the key that both have."""

    attempt: int
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """That the new device keeps the identity."""

    attempt: int
    proof: bytes


@dataclass(frozen=True, slots=True)
class Again:
    """The old device has lost its part of this attempt, and asks for the next one."""

    attempt: int


Message = Offer | Answer | Proof | Delivery | Receipt | Again

_STEPS: dict[str, type[Message]] = {
    "offer": Offer,
    "answer": Answer,
    "proof": Proof,
    "delivery": Delivery,
    "receipt": Receipt,
    "again": Again,
}
_NAMES = {kind: step for step, kind in _STEPS.items()}
_SIZES = {
    "element": range(CODE_ELEMENT, CODE_ELEMENT + 1),
    "proof": range(_PROOF_BYTES, _PROOF_BYTES + 1),
    "sealed": range(_SEALED_MOST + 1),
}


@dataclass(frozen=True, slots=True)
class Letter:
    """A message, and when its pairing began: ms by the new device's clock, for clearing away what was left."""

    started: int
    message: Message


def tombstone_body() -> bytes:
    """What a pairing's document says when it ends. Of type and `delegations`, so that no device's filter passes it."""
    return strict_json.dumps({"type": TYPE, "delegations": {}})


def body_of(letter: Letter) -> bytes:
    """The body of the document that carries this letter."""
    kind = type(letter.message)
    said = {each.name: _as_json(getattr(letter.message, each.name)) for each in fields(kind)}
    head = {"type": TYPE, "delegations": {}, "version": VERSION, "started": letter.started, "step": _NAMES[kind]}
    return strict_json.dumps(head | said)


def letter_of(body: bytes) -> Letter:
    """The letter in such a body, and in nothing else. Raises Tampered."""
    try:
        said = strict_json.loads(body, "a pairing document")
    except InvalidEntity as error:
        raise _unreadable() from error
    if not isinstance(said, dict) or not isinstance(said.get("step"), str) or said["step"] not in _STEPS:
        raise _unreadable()
    kind = _STEPS[said["step"]]
    names = {each.name for each in fields(kind)}
    head = {"type": TYPE, "delegations": {}, "version": VERSION, "step": said["step"]}
    if set(said) != names | {*head, "started"} or any(_differ(said[name], wanted) for name, wanted in head.items()):
        raise _unreadable()
    started = _number(said["started"], 0, _TIME_MOST)
    return Letter(started, kind(**{name: _value(name, said[name]) for name in names}))


def _digits(count: int, entropy: Entropy) -> str:
    number: int = int.from_bytes(entropy(_DRAWN_BYTES)) % 10**count
    return f"{number:0{count}d}"


def _as_json(value: int | str | bytes) -> int | str:
    return to_text(value) if isinstance(value, bytes) else value


def _value(name: str, value: object) -> Any:
    if name == "attempt":
        return _number(value, 1, ATTEMPTS)
    if name == "hcp":
        if not is_hcp_id(value):
            raise _unreadable()
        return value
    try:
        data = from_text(value)
    except Tampered as error:
        raise _unreadable() from error
    if len(data) not in _SIZES[name]:
        raise _unreadable()
    return data


def _number(value: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _unreadable()
    return value


def _differ(value: object, wanted: object) -> bool:
    return type(value) is not type(wanted) or value != wanted


def _unreadable() -> Tampered:
    return Tampered(
        "read a message of the pairing",
        "it is not of the form that this version knows",
        "begin anew on the new device; if it fails again, install the same version on both",
    )
