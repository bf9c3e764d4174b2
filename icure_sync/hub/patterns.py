"""Regular expressions for `$regex`: no pattern runs away, and plain ones are quick. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from icure_sync.hub.allowance import Allowance
from icure_sync.hub.pattern_reader import read_pattern

Search = Callable[[str, Allowance], bool]  # raises Exhausted

# What means the same to Python's engine; a repetition is that of one character, and there is one without end at most.
_ATOM: Final = re.compile(r"\\.|\[\^?(?:\\.|[^\]\\])+\]|\(\?i\)", re.DOTALL)
_QUICK: Final = re.compile(
    r"(?:\(\?i\))?"
    r"(?:[^\\^$.|?*+()\[\]{}]|\\[dDwWsSb]|\\[^A-Za-z0-9]|[.^$|()]"
    r"|\[\^?(?:[^\\\[\]^&~|-]|\\[dws]|\\[^A-Za-z0-9]|[A-Za-z0-9]-[A-Za-z0-9])+\]|(?<=[^()|^$*+?])[*+?])*"
)
_QUICK_CHOICES: Final = 3  # of each kind: ways to go back multiply
_QUICK_SEARCH: Final = 2_500_000  # comparisons at worst, some milliseconds: beyond that the automaton takes the text


def compile_pattern(pattern: str) -> Search:
    """True for texts in which the pattern is found. Raises `bad_arg` for what is no pattern, or too involved a one.

    By Python's engine as long as the worst that it could do is small, and the allowance has it left.
    """
    search = compile_automaton(pattern)
    quick = _quick(pattern)
    if quick is None:
        return search
    worst_of = _worst_of(pattern)

    def search_quickly(text: str, allowance: Allowance) -> bool:
        worst = worst_of(len(text))
        if worst <= _QUICK_SEARCH and allowance.affords(worst):
            return quick(text) is not None
        return search(text, allowance)

    return search_quickly


def compile_automaton(pattern: str) -> Search:
    """The same, whatever the pattern, by an automaton."""
    return read_pattern(pattern).search


def _worst_of(pattern: str) -> Callable[[int], int]:
    """How many comparisons Python's engine may make in a text of some length.

    From each place, in each way to choose, the rest of the pattern; with a repetition, that after each of its ends. A
    pattern that is anchored goes on from the first place alone.
    """
    bare = _ATOM.sub("", pattern)
    ways = (len(pattern) + 1) * 2 ** (bare.count("?") + bare.count("|"))
    if "*" not in bare and "+" not in bare:
        return lambda length: ways * (length + 1)
    if bare.startswith("^") and "|" not in bare:
        return lambda length: (ways + 1) * (length + 1)
    return lambda length: ways * (length + 1) * (length + 1)


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
