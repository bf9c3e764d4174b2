"""How much work may go into judging one document by one selector. Pure; knows no selector and no pattern.

All conditions share it, and all values that they are tried on: a document of a hundred thousand texts would otherwise
get a hundred thousand times what one text gets.
"""

from __future__ import annotations

import unicodedata
from typing import Any, Final

MAX_WORK: Final = 16_000_000  # a twentieth of a microsecond each: a second at most holds up the others of a database
MAX_COMPARISONS: Final = 150_000_000  # of characters by Python's engine, one or two nanoseconds each

MEMBER_WORK: Final = 4  # of taking one member of an array or object
CONDITION_WORK: Final = 8  # of trying one condition on it
_VALUE_WORK: Final = 12  # of reading one value to compare it
_LETTER_WORK: Final = 10  # of reading a letter beyond ASCII, and each of the letters that it is made of: up to eighteen
_SLICE: Final = 64  # letters that are decomposed at once: the marks of one letter are sorted, in quadratic time
_PLAIN_LETTERS: Final = 8  # letters of ASCII for one unit of work


class Exhausted(Exception):
    """Ends the judgement: there is no telling how it would have come out."""


class Allowance:
    """What is left. `work`: steps of automata, conditions tried on members of values, and what is read to compare."""

    __slots__ = ("comparisons", "work")

    def __init__(self, work: int = MAX_WORK, comparisons: int = MAX_COMPARISONS) -> None:
        self.work = work
        self.comparisons = comparisons

    def charge(self, work: int) -> None:
        """Raises Exhausted once there is less left than that."""
        self.work -= work
        if self.work < 0:
            raise Exhausted

    def affords(self, comparisons: int) -> bool:
        """Take as many comparisons, if they are left."""
        if comparisons > self.comparisons:
            return False
        self.comparisons -= comparisons
        return True


def charge_reading(value: Any, allowance: Allowance) -> None:
    """For reading one value as a whole, to compare it. Raises Exhausted."""
    if isinstance(value, str):
        if value.isascii():
            allowance.charge(len(value) // _PLAIN_LETTERS)
        else:
            allowance.charge(len(value) * _LETTER_WORK)
            for start in range(0, len(value), _SLICE):
                allowance.charge(len(unicodedata.normalize("NFKD", value[start : start + _SLICE])) * _LETTER_WORK)
    elif isinstance(value, list):
        allowance.charge(_VALUE_WORK * (1 + len(value)))
        for item in value:
            charge_reading(item, allowance)
    elif isinstance(value, dict):
        allowance.charge(_VALUE_WORK * (1 + 2 * len(value)))
        for name, item in value.items():
            charge_reading(name, allowance)
            charge_reading(item, allowance)
