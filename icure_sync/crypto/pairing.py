"""Pairing: how a new device gets the identity of its Hcp from an old one, across a server that neither trusts.

Owns who believes what, as states: each has the `message` that it wants said, and `hear` gives the state that follows
from what was heard. Knows no documents and no clocks; who carries the messages may drop, alter, repeat and swap them.

The code that a person carries from the new device to the old one makes a key on both sides by SPAKE2, so that whoever
stands between can test one guess of it in each attempt, and nothing afterwards. Then each proves to the other that it
has that key: the old device first, as it answers; it seals the identity only for a new device that has proved it.

    new: Offering --Answer--> Proving --Delivery--> Received
    old:          Answering --Proof--> Delivering --Receipt--> Delivered

Messages that do not belong where they are heard change nothing. A proof that is wrong ends the attempt.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from icure_sync.canonical import canonical
from icure_sync.crypto.envelope import SALT_BYTES, open_envelope, seal, to_text
from icure_sync.crypto.identity import Identity
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
from icure_sync.crypto.primitives import CodeExchange, Entropy, SymmetricKey, equal, hkdf_sha256, hmac_sha256
from icure_sync.errors import StoreCorrupt, Tampered, WeakKey
from icure_sync.ids import HcpId

_BYTES = 32  # of a key and of a proof


class Why(StrEnum):
    """Why an attempt came to nothing."""

    WRONG_CODE = "wrong code"  # mistyped, or somebody in between has made a guess
    ALTERED = "altered"  # something was heard that no honest device says
    INTERRUPTED = "interrupted"  # the old device asked for the next attempt


@dataclass(frozen=True, slots=True, repr=False)
class Agreement:
    """What both sides have in common if they know the same code and heard each other's words unaltered."""

    pairing: PairingId
    attempt: int
    hcp: HcpId
    master: bytes

    def proof_of(self, side: str) -> bytes:
        """That this side ("old", "new", "receipt") has the key: it says nothing about the key or the code."""
        return hkdf_sha256(self.master, f"icure-sync/pairing-{side}/1", _BYTES)

    def sealed(self, secret: bytes, entropy: Entropy) -> bytes:
        """The envelope of an identity."""
        return seal(self._key, secret, self._associated, entropy(SALT_BYTES))

    def opened(self, sealed: bytes) -> bytes:
        """Raises Tampered."""
        return open_envelope(self._key, sealed, self._associated)

    @property
    def _key(self) -> SymmetricKey:
        return SymmetricKey(hkdf_sha256(self.master, "icure-sync/pairing-key/1", _BYTES))

    @property
    def _associated(self) -> bytes:
        return canonical(["icure-sync/pairing-identity/1", self.pairing, self.attempt, self.hcp])


def _agreed(pairing: PairingId, offer: Offer, hcp: HcpId, element: bytes, key: SymmetricKey) -> Agreement:
    """`element`: the old device's half. Everything that was said in clear goes into the key."""
    said = canonical(["icure-sync/pairing/1", pairing, offer.attempt, hcp, to_text(offer.element), to_text(element)])
    return Agreement(pairing, offer.attempt, hcp, hmac_sha256(key, said))


def _exchange_context(pairing: PairingId) -> bytes:
    return canonical(["icure-sync/pairing-exchange/1", pairing])


# The new device


@dataclass(frozen=True, slots=True, repr=False)
class Offering:
    """It waits for an answer. `before`: what the attempt before came to, if there was one."""

    pairing: PairingId
    code: Code
    message: Offer
    exchange: CodeExchange
    before: Why | None = None

    @classmethod
    def begin(cls, pairing: PairingId, code: Code, entropy: Entropy) -> Offering:
        """The first attempt."""
        return _offering(pairing, code, 1, None, entropy)

    def hear(self, message: Message, entropy: Entropy) -> Offering | Proving | Failed:
        """What is next. Hears one answer only: each is a guess of the code."""
        match message:
            case Answer(attempt, hcp, element, proof) if attempt == self.message.attempt:
                try:
                    key = self.exchange.key(element)
                except Tampered:
                    return _next(self, Why.ALTERED, entropy)
                agreement = _agreed(self.pairing, self.message, hcp, element, key)
                if not equal(proof, agreement.proof_of("old")):
                    return _next(self, Why.WRONG_CODE, entropy)
                return Proving(self, agreement)
            case Again(attempt) if attempt == self.message.attempt:
                return _next(self, Why.INTERRUPTED, entropy)
        return self


@dataclass(frozen=True, slots=True, repr=False)
class Proving:
    """It knows that the other side knows the code, says that it does too, and waits for the identity."""

    offering: Offering
    agreement: Agreement

    @property
    def message(self) -> Proof:
        return Proof(self.agreement.attempt, self.agreement.proof_of("new"))

    def hear(self, message: Message, entropy: Entropy) -> Offering | Proving | Received | Failed:
        """What is next."""
        match message:
            case Delivery(attempt, sealed) if attempt == self.agreement.attempt:
                try:
                    identity = Identity.of_secret(self.agreement.opened(sealed))
                except (Tampered, StoreCorrupt, WeakKey):
                    return _next(self.offering, Why.ALTERED, entropy)
                if identity.hcp_id != self.agreement.hcp:
                    return _next(self.offering, Why.ALTERED, entropy)
                return Received(identity, self.agreement)
            case Again(attempt) if attempt == self.agreement.attempt:
                return _next(self.offering, Why.INTERRUPTED, entropy)
        return self


@dataclass(frozen=True, slots=True, repr=False)
class Received:
    """It has the identity. Its message is to be said once the identity is kept."""

    identity: Identity
    agreement: Agreement

    @property
    def message(self) -> Receipt:
        return Receipt(self.agreement.attempt, self.agreement.proof_of("receipt"))


@dataclass(frozen=True, slots=True)
class Failed:
    """All attempts were made: the pairing is void. `why`: what the last one came to."""

    why: Why


def _offering(pairing: PairingId, code: Code, attempt: int, before: Why | None, entropy: Entropy) -> Offering:
    exchange = CodeExchange("first", code.secret, _exchange_context(pairing), entropy)
    return Offering(pairing, code, Offer(attempt, exchange.element), exchange, before)


def _next(ended: Offering, why: Why, entropy: Entropy) -> Offering | Failed:
    attempt = ended.message.attempt + 1
    return Failed(why) if attempt > ATTEMPTS else _offering(ended.pairing, ended.code, attempt, why, entropy)


# The old device


@dataclass(frozen=True, slots=True, repr=False)
class Answering:
    """It has said that it knows the code, and waits for the new device's proof."""

    identity: Identity
    message: Answer
    agreement: Agreement

    def hear(self, message: Message, entropy: Entropy) -> Answering | Delivering | Refused:
        """What is next. Hears one proof only."""
        match message:
            case Proof(attempt, proof) if attempt == self.message.attempt:
                if not equal(proof, self.agreement.proof_of("new")):
                    return Refused(Why.ALTERED)
                return Delivering(
                    Delivery(attempt, self.agreement.sealed(self.identity.secret(), entropy)), self.agreement
                )
            case Offer(attempt, _) if attempt > self.message.attempt:
                return Refused(Why.WRONG_CODE)
        return self


@dataclass(frozen=True, slots=True, repr=False)
class Delivering:
    """It has given the identity to whoever proved to know the code, and waits to hear that it is kept."""

    message: Delivery
    agreement: Agreement

    def hear(self, message: Message, entropy: Entropy) -> Delivering | Delivered | Refused:  # noqa: ARG002  # as the others
        """What is next."""
        match message:
            case Receipt(attempt, proof) if attempt == self.message.attempt:
                return Delivered() if equal(proof, self.agreement.proof_of("receipt")) else Refused(Why.ALTERED)
            case Offer(attempt, _) if attempt > self.message.attempt:
                return Refused(Why.ALTERED)
        return self


@dataclass(frozen=True, slots=True)
class Delivered:
    """The new device keeps the identity."""


@dataclass(frozen=True, slots=True)
class Refused:
    """This attempt came to nothing, for the old device."""

    why: Why


def answer(pairing: PairingId, offer: Offer, code: Code, identity: Identity, entropy: Entropy) -> Answering | Refused:
    """The old device answers an offer with the code that it was told: one guess, for whoever made the offer."""
    exchange = CodeExchange("second", code.secret, _exchange_context(pairing), entropy)
    try:
        key = exchange.key(offer.element)
    except Tampered:
        return Refused(Why.ALTERED)
    agreement = _agreed(pairing, offer, identity.hcp_id, exchange.element, key)
    said = Answer(offer.attempt, identity.hcp_id, exchange.element, agreement.proof_of("old"))
    return Answering(identity, said, agreement)
