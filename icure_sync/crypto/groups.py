"""Numbers as text that a person copies by hand, and mistypes: groups of letters and digits that each check themselves.

    7Q4KM-0XTEA-…        five characters a group: four carry 20 bits, the fifth checks them and the group's place

The alphabet is Crockford's base32, without I, L, O and U; upper and lower case are the same, O is read as 0, I and L as
1. A group with one wrong character, two that changed places, or in another group's place, is noticed and named: the
check is a weighted sum over GF(32). What slips through there meets a checksum over the whole, in the bits that are
left. Knows not what the numbers are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from icure_sync.canonical import pack
from icure_sync.crypto.primitives import sha256
from icure_sync.errors import InvalidEntity

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
GROUP = 5  # characters, the check included: what the eye takes in at once
GROUP_BITS = 20
SEPARATORS = " \t-_.\u00a0\u2010\u2011\u2012\u2013\u2014"  # what people and word processors put between groups
TEXT_MOST = 500  # characters; more is some other text

_FIELD = 0b100101  # x^5 + x^2 + 1, irreducible over GF(2)
_WEIGHTS = (2, 4, 8, 16)  # of the characters before the check, whose own is 1: all different
_VALUES = {letter: value for value, letter in enumerate(ALPHABET)} | {"O": 0, "I": 1, "L": 1}
_BLANK = str.maketrans(dict.fromkeys(SEPARATORS, " "))


@dataclass(frozen=True, slots=True)
class Spelling:
    """How numbers of one kind are spelled. `name`: what errors call it; `bits` of the number; the rest of the groups'
    bits is the checksum."""

    name: str
    bits: int
    groups: int

    @property
    def length(self) -> int:
        """Characters, without separators."""
        return GROUP * self.groups

    def spell(self, number: int) -> str:
        """The groups, with dashes between them."""
        whole = number << self._check_bits | self._check(number)
        carried = [whole >> GROUP_BITS * (self.groups - 1 - place) for place in range(self.groups)]
        return "-".join(_group(part % (1 << GROUP_BITS), place) for place, part in enumerate(carried))

    def read(self, text: str) -> int:
        """The number. Raises InvalidEntity, which names the groups that are wrong and nothing of what they say."""
        groups = self._groups(text)
        wrong = [place for place, group in enumerate(groups) if not _holds(group, place)]
        if wrong:
            raise self._mistyped(f"{_named(wrong)} mistyped")
        whole = 0
        for group in groups:
            whole = whole << GROUP_BITS | _number(group[:-1])
        number = whole >> self._check_bits
        if whole != number << self._check_bits | self._check(number):
            raise self._mistyped("it is mistyped, in several places that hide each other")
        return number

    @property
    def _check_bits(self) -> int:
        return GROUP_BITS * self.groups - self.bits

    def _check(self, number: int) -> int:
        data = pack(["icure-sync/spelling/1", self.name, number.to_bytes((self.bits + 7) // 8)])
        return int.from_bytes(sha256(data)) >> 256 - self._check_bits

    def _groups(self, text: str) -> list[list[int]]:
        pieces = text[:TEXT_MOST].upper().translate(_BLANK).split()
        letters = "".join(pieces)
        if len(letters) != self.length:
            if len(pieces) == self.groups:
                raise self._mistyped(f"{_named(_of_other_length(pieces))} not {GROUP} characters long")
            raise self._mistyped(f"it has {len(letters)} characters, and {self.length} are needed")
        groups = [letters[start : start + GROUP] for start in range(0, self.length, GROUP)]
        strange = [place for place, group in enumerate(groups) if not _VALUES.keys() >= set(group)]
        if strange:
            raise self._mistyped(f"{_named(strange)} mistyped: there is a character that is never used")
        return [[_VALUES[letter] for letter in group] for group in groups]

    def _mistyped(self, wrong: str) -> InvalidEntity:
        return InvalidEntity(f"read the {self.name}", wrong, "compare it with the paper and type it again")


def count_characters(text: str) -> int:
    """How many characters a text has without separators: it tells one kind from another."""
    return len("".join(text[:TEXT_MOST].translate(_BLANK).split()))


def _group(number: int, place: int) -> str:
    values = [number >> shift & 31 for shift in (15, 10, 5, 0)]
    return "".join(ALPHABET[value] for value in (*values, _sum(values) ^ place))


def _holds(group: Sequence[int], place: int) -> bool:
    return _sum(group[:-1]) ^ place == group[-1]


def _sum(values: Sequence[int]) -> int:
    total = 0
    for weight, value in zip(_WEIGHTS, values, strict=True):
        total ^= _times(weight, value)
    return total


def _times(left: int, right: int) -> int:
    product = 0
    while right:
        product ^= left * (right & 1)
        left = left << 1 ^ _FIELD * (left >> 4)
        right >>= 1
    return product


def _number(values: Iterable[int]) -> int:
    number = 0
    for value in values:
        number = number << 5 | value
    return number


def _of_other_length(pieces: Sequence[str]) -> list[int]:
    return [place for place, piece in enumerate(pieces) if len(piece) != GROUP]


def _named(places: Sequence[int]) -> str:
    """ "group 3 is", "groups 3 and 5 are": as people count."""
    numbers = [str(place + 1) for place in places]
    if len(numbers) == 1:
        return f"group {numbers[0]} is"
    return f"groups {', '.join(numbers[:-1])} and {numbers[-1]} are"
