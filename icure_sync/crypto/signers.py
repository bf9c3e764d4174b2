"""What is known of the keys that one Hcp signs with, and what a signature in its name is worth by that.

An Hcp that changed its identity has former signing keys. What a key signed that ended as planned holds for good. What a
key signed that ended as compromised holds only if the Hcp vouches for it with a later key (it is *attested*), since
whoever has the key may sign anything, and call it old. Pure: knows no documents and no pins.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from icure_sync.crypto.envelope import from_text
from icure_sync.crypto.identity import PLANNED, Previous, signed_bytes
from icure_sync.crypto.primitives import sha256, signature_holds

DIGEST_BYTES = 16  # of SHA-256: a second message of one digest is what a forger would need


class Judgement(Enum):
    """Of a signature. `FORGED`: by nobody who may sign for this Hcp. `PENDING`: what comes later may make it hold."""

    HOLDS = "holds"
    FORGED = "forged"
    PENDING = "pending"


class Attested:
    """Digests of signed bytes that an Hcp vouches for, in sorted blocks: a large practice has half a million."""

    __slots__ = ("_blocks",)

    def __init__(self, blocks: Iterable[bytes] = ()) -> None:
        """`blocks`: each of sorted digests of DIGEST_BYTES, one behind the other."""
        self._blocks = tuple(blocks)

    def __contains__(self, digest: bytes) -> bool:
        return any(_is_in(digest, block) for block in self._blocks)

    def __len__(self) -> int:
        return sum(map(len, self._blocks)) // DIGEST_BYTES


NOTHING_ATTESTED = Attested()


@dataclass(frozen=True, slots=True)
class Signer:
    """`planned`, `compromised`: its former keys, by how they ended; the latter has the current one, if that is lost and
    the next one is not believed yet. `claimed`: keys that something states to be its current one, and that nothing
    vouches for yet: what they sign is neither believed nor called forged."""

    current: bytes
    planned: tuple[bytes, ...] = ()
    compromised: tuple[bytes, ...] = ()
    attested: Attested = NOTHING_ATTESTED
    claimed: tuple[bytes, ...] = ()

    @classmethod
    def of(
        cls,
        current: bytes,
        previous: Sequence[Previous],
        attested: Attested = NOTHING_ATTESTED,
        claimed: tuple[bytes, ...] = (),
    ) -> Signer:
        """Of an identity. A key that ended twice, and once as compromised, is compromised."""
        compromised = tuple(dict.fromkeys(each.signing_key for each in previous if each.ended != PLANNED))
        planned = tuple(each.signing_key for each in previous if each.signing_key not in compromised)
        return cls(current, planned, compromised, attested, claimed)

    def check(self, signature: object, kind: str, *fields: Any) -> Judgement:
        """What `signature` (base64) over these fields is worth. One verification if it is by the current key.

        Raises Tampered if it is not base64 text.
        """
        return self.judge(signature, signed_bytes(kind, fields))

    def judge(self, signature: object, message: bytes) -> Judgement:
        """As `check`, of the bytes that were signed."""
        raw = from_text(signature)
        if self.current not in self.compromised and signature_holds(self.current, raw, message):
            return Judgement.HOLDS
        if any(signature_holds(key, raw, message) for key in self.planned):
            return Judgement.HOLDS
        if any(signature_holds(key, raw, message) for key in self.compromised):
            return Judgement.HOLDS if digest_of(message) in self.attested else Judgement.PENDING
        if any(signature_holds(key, raw, message) for key in self.claimed):
            return Judgement.PENDING
        return Judgement.FORGED


SigningKeys = Callable[[str], Signer | None]  # by Hcp id; None if nothing is known of it yet


def digest_of(message: bytes) -> bytes:
    """What attests a signed message: the first 16 bytes of its SHA-256."""
    return sha256(message)[:DIGEST_BYTES]


def _is_in(digest: bytes, block: bytes) -> bool:
    def at(place: int) -> bytes:
        return block[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]

    count = len(block) // DIGEST_BYTES
    place = bisect_left(range(count), digest, key=at)
    return place < count and at(place) == digest
