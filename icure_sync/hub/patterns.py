"""Regular expressions for `$regex`, with a bound on the time they take. Pure.

Python's engine backtracks, so a short pattern can take for ever; patterns are therefore held to a form whose time grows
with the square of a bounded text at worst: at most one unbounded repetition, nothing repeated that is a group, no
look-around and no back-references.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from icure_sync.hub.erlang import write_term
from icure_sync.hub.errors import HttpRefusal

MAX_PATTERN: Final = 256  # characters
MAX_TEXT: Final = 10_000  # characters searched: the square of it still is a fraction of a second

_ATOM_CLASS: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]")  # what stands for itself: escapes, classes
_BACK_REFERENCE: Final = re.compile(r"\\[1-9]|\(\?P=")
_REPEATED_GROUP: Final = re.compile(r"\)[*+{?]")
_SPECIAL_GROUP: Final = re.compile(r"\(\?(?!:|i\))")
_UNBOUNDED: Final = re.compile(r"[*+]|\{\d*,\}")
_BOUNDED: Final = re.compile(r"\{\d*(?:,\d+)?\}")


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """True for texts in which the pattern is found. Raises `bad_arg` for what is no pattern, or not of that form."""
    if len(pattern) > MAX_PATTERN or _BACK_REFERENCE.search(pattern):
        raise _refused()
    bare = _ATOM_CLASS.sub("x", pattern)
    if _REPEATED_GROUP.search(bare) or _SPECIAL_GROUP.search(bare):
        raise _refused()
    if len(_UNBOUNDED.findall(bare)) > 1 or _BOUNDED.search(bare):
        raise _refused()
    try:
        search = re.compile(pattern).search
    except (re.error, OverflowError, RecursionError) as error:
        raise HttpRefusal(400, "bad_arg", f"Bad argument for operator $regex: {write_term(pattern)}") from error
    return lambda text: search(text[:MAX_TEXT]) is not None


def _refused() -> HttpRefusal:
    return HttpRefusal(400, "bad_arg", "Bad argument for operator $regex: it is longer or more involved than allowed")
