"""The secrets that open a sealed identity when no device is left: as a code on paper, or as shares for k of n people.

Owns the secret, its labelled keys, and both texts. Knows no documents.

A secret is 16 random bytes. It is drawn, never chosen, so there is nothing to guess but 2^128 values, as many as it
takes to break an RSA key of 3072 bits or Ed25519: a longer code would add typing and no strength, and no slow
derivation is needed. It is also what Shamir's scheme over GF(2^128) splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from icure_sync.crypto.envelope import KEY_BYTES
from icure_sync.crypto.groups import ALPHABET, Spelling, count_characters
from icure_sync.crypto.primitives import Entropy, SymmetricKey, equal, hkdf_sha256, join_shares, split_secret
from icure_sync.errors import InvalidEntity, Tampered

SECRET_BYTES = 16
ID_BYTES = 8  # of what it opens: 2^32 secrets until two are likely to have one id
SET_BYTES = 5  # the first of these, in each share: a wrong combination passes once in 10^12
SHARES_MOST = 32  # five bits each for threshold, number and index
THRESHOLD_LEAST = 2  # with 1 each share were a whole code


class Purpose(StrEnum):
    """What a secret is for. No secret serves both."""

    RECOVERY = "recovery"
    GLASS = "glass"


_CODE = Spelling("recovery code", bits=8 * SECRET_BYTES, groups=7)
_SHARE = Spelling("share", bits=5 + 8 * SET_BYTES + 3 * 5 + 8 * SECRET_BYTES, groups=10)
_MARKS = {Purpose.RECOVERY: ALPHABET.index("R"), Purpose.GLASS: ALPHABET.index("G")}  # the first letter of a share
_PURPOSES = {mark: purpose for purpose, mark in _MARKS.items()}


@dataclass(frozen=True, slots=True)
class Split:
    """Among how many people a secret is split, and how many of them it takes. Raises InvalidEntity."""

    threshold: int
    count: int

    def __post_init__(self) -> None:
        if not THRESHOLD_LEAST <= self.threshold <= self.count <= SHARES_MOST:
            raise InvalidEntity(
                f"split a secret into {self.count} shares of which {self.threshold} are enough",
                f"it takes {THRESHOLD_LEAST} at least, all of them at most, and {SHARES_MOST} is the most",
                "choose other numbers, as 3 shares of which 2 are enough",
            )


@dataclass(frozen=True, slots=True, repr=False)
class RecoverySecret:
    """The secret itself. Its repr shows nothing."""

    purpose: Purpose
    value: bytes

    @classmethod
    def draw(cls, purpose: Purpose, entropy: Entropy) -> RecoverySecret:
        """A new one."""
        return cls(purpose, entropy(SECRET_BYTES))

    @classmethod
    def of_code(cls, text: str) -> RecoverySecret:
        """What a printed code says. Raises InvalidEntity, which names the groups that are mistyped."""
        if count_characters(text) == _SHARE.length:
            raise InvalidEntity("read the recovery code", "it is a share of a secret", "give as many as it takes")
        return cls(Purpose.RECOVERY, _CODE.read(text).to_bytes(SECRET_BYTES))

    @classmethod
    def combined(cls, shares: Sequence[Share]) -> RecoverySecret:
        """Of at least as many shares of one set as it takes.

        Raises InvalidEntity for shares of several sets, one given twice, too few; Tampered if they do not come
        together, so that one of them is not genuine.
        """
        first = _one_set(shares)
        enough = {share.index: share.value for share in shares[: first.split.threshold]}
        secret = cls(first.purpose, join_shares(enough))
        if not equal(secret.set_id.encode(), first.set_id.encode()):
            raise Tampered(
                f"combine the shares of set {first.set_id}",
                "they do not come together: one of them is not genuine",
                "leave one out at a time and add another, if there are more",
            )
        return secret

    @property
    def code(self) -> str:
        """To be printed: seven groups of five."""
        return _CODE.spell(int.from_bytes(self.value))

    @property
    def name(self) -> str:
        """Of what it opens: 16 hex digits, which say nothing of the secret."""
        return self._derived("id", ID_BYTES).hex()

    @property
    def set_id(self) -> str:
        """What all its shares state: the first 10 digits of `name`."""
        return self.name[: 2 * SET_BYTES]

    def key(self, use: str) -> SymmetricKey:
        """32 bytes for one use."""
        return SymmetricKey(self._derived(use, KEY_BYTES))

    def shares(self, split: Split) -> tuple[Share, ...]:
        """For so many people; fewer than the threshold say nothing of the secret, together as alone."""
        values = split_secret(self.value, split.threshold, split.count)
        return tuple(
            Share(self.purpose, self.set_id, split, index, value) for index, value in enumerate(values, start=1)
        )

    def _derived(self, use: str, length: int) -> bytes:
        return hkdf_sha256(self.value, f"icure-sync/{self.purpose}-{use}/1", length)

    def __repr__(self) -> str:
        return f"RecoverySecret(purpose={self.purpose.value!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Share:
    """One person's part. `set_id`: 10 hex digits of what it opens; `index` from 1. Its repr shows no value."""

    purpose: Purpose
    set_id: str
    split: Split
    index: int
    value: bytes

    @classmethod
    def of_text(cls, text: str) -> Share:
        """What a printed share says. Raises InvalidEntity, which names the groups that are mistyped."""
        if count_characters(text) == _CODE.length:
            raise InvalidEntity("read the share", "it is a whole recovery code", "give it alone")
        number = _SHARE.read(text)
        value = (number % (1 << 8 * SECRET_BYTES)).to_bytes(SECRET_BYTES)
        number >>= 8 * SECRET_BYTES
        threshold, count, index = (1 + (number >> shift & 31) for shift in (10, 5, 0))
        number >>= 15
        set_id = (number % (1 << 8 * SET_BYTES)).to_bytes(SET_BYTES).hex()
        purpose = _PURPOSES.get(number >> 8 * SET_BYTES)
        if purpose is None or index > count:
            raise InvalidEntity("read the share", "it is of a kind that is not known here", "use a newer version")
        return cls(purpose, set_id, Split(threshold, count), index, value)

    @property
    def text(self) -> str:
        """To be printed: ten groups of five."""
        number = _MARKS[self.purpose] << 8 * SET_BYTES | int(self.set_id, 16)
        for part in (self.split.threshold, self.split.count, self.index):
            number = number << 5 | part - 1
        return _SHARE.spell(number << 8 * SECRET_BYTES | int.from_bytes(self.value))

    def __repr__(self) -> str:
        return f"Share(set_id={self.set_id!r}, split={self.split!r}, index={self.index})"


def is_share(text: str) -> bool:
    """Whether a text is as long as a share, and so none of a code."""
    return count_characters(text) == _SHARE.length


def _one_set(shares: Sequence[Share]) -> Share:
    """Any of them. Raises InvalidEntity unless they are enough of one set, each once."""
    sets = sorted({(share.purpose, share.set_id, share.split.threshold, share.split.count) for share in shares})
    if len(sets) != 1:
        wrong = f"they are of different sets: {', '.join(each[1] for each in sets)}" if sets else "there is none"
        raise InvalidEntity("combine shares", wrong, "give shares that were made together")
    first = shares[0]
    indexes = [share.index for share in shares]
    twice = sorted({index for index in indexes if indexes.count(index) > 1})
    attempted = f"combine the shares of set {first.set_id}"
    if twice:
        raise InvalidEntity(attempted, f"share {twice[0]} is given more than once", "give each once")
    if len(shares) < first.split.threshold:
        wrong = f"{len(shares)} of the {first.split.threshold} that it takes are here"
        raise InvalidEntity(attempted, wrong, f"add {first.split.threshold - len(shares)} more")
    return first
