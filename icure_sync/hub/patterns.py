"""Regular expressions for `$regex`: no pattern runs away, and plain ones are quick. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from icure_sync.hub.pattern_reader import read_pattern

# What means the same to Python's engine; a repetition is that of one character, and there is one without end at most.
_ATOM: Final = re.compile(r"\\.|\[\^?(?:\\.|[^\]\\])+\]|\(\?i\)", re.DOTALL)
_QUICK: Final = re.compile(
    r"(?:\(\?i\))?"
    r"(?:[^\\^$.|?*+()\[\]{}]|\\[dDwWsSb]|\\[^A-Za-z0-9]|[.^$|()]"
    r"|\[\^?(?:[^\\\[\]^&~|-]|\\[dws]|\\[^A-Za-z0-9]|[A-Za-z0-9]-[A-Za-z0-9])+\]|(?<=[^()|^$*+?])[*+?])*"
)
_QUICK_CHOICES: Final = 3  # of each kind: ways to go back multiply
_QUICK_TEXT: Final = 10_000  # characters, for patterns without repetitions: gone through once for each place in them
_QUICK_REPEATING: Final = 500  # characters, for those with one: the square of it still is some thousandths of a second


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """True for texts in which the pattern is found. Raises `bad_arg` for what is no pattern, or too involved a one."""
    search = compile_automaton(pattern)
    quick = _quick(pattern)
    if quick is None:
        return search
    room = _QUICK_REPEATING if any(sign in _ATOM.sub("", pattern) for sign in "*+?") else _QUICK_TEXT
    return lambda text: quick(text) is not None if len(text) <= room else search(text)


def compile_automaton(pattern: str) -> Callable[[str], bool]:
    """The same, whatever the pattern, by an automaton."""
    return read_pattern(pattern).search


def _quick(pattern: str) -> Callable[[str], object] | None:
    """Python's own engine, a hundred times faster, for patterns with which it cannot run away; None for others."""
    if not _QUICK.fullmatch(pattern):
        return None
    bare = _ATOM.sub("", pattern)
    if bare.count("*") + bare.count("+") > 1 or bare.count("?") > _QUICK_CHOICES or bare.count("|") > _QUICK_CHOICES:
        return None
    try:
        return re.compile(pattern, re.ASCII).search
    except re.error:
        return None
