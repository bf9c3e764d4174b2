"""Finite automata: does a text hold what a pattern describes? In a time that grows with the text alone. Pure.

Source: Thompson's construction, run on sets of states; the sets met so far are kept, so that a text soon costs one
look-up for each character. A search that would still take too long has no match, as in CouchDB, whose own engine gives
up in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

Test = Callable[[str], bool]
States = frozenset[int]

MAX_WORK: Final = 1_000_000  # characters, and states looked at, of one search: a few tenths of a second
MAX_KEPT: Final = 4_000  # sets of states that are kept for each automaton

_EDGE, _NEWLINE, _LAST_NEWLINE, _WORD, _OTHER = range(5)  # what stands beside a place in a text
_WORD_CHARS: Final = frozenset("0123456789_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

# Conditions on a place: what stands before it, and after it.
ASSERTIONS: Final[dict[str, Callable[[int, int], bool]]] = {
    "start": lambda before, _: before == _EDGE,
    "line start": lambda before, after: before == _EDGE or (before == _NEWLINE and after != _EDGE),
    "end": lambda _, after: after == _EDGE,
    "last line end": lambda _, after: after in {_EDGE, _LAST_NEWLINE},
    "line end": lambda _, after: after in {_EDGE, _NEWLINE, _LAST_NEWLINE},
    "word edge": lambda before, after: (before == _WORD) != (after == _WORD),
    "no word edge": lambda before, after: (before == _WORD) == (after == _WORD),
}


@dataclass(frozen=True, slots=True)
class State:
    """One state: it goes on to each of `out`, by a character that passes `test`, where `assertion` holds, or freely."""

    out: tuple[int, ...]
    test: Test | None = None
    assertion: Callable[[int, int], bool] | None = None


class Automaton:
    """Searches texts. State 0 is the end: what reaches it has matched."""

    def __init__(self, states: Sequence[State], start: int) -> None:
        self._states = states
        self._start: States = frozenset({start})
        self._closures: dict[tuple[States, int, int], States] = {}
        self._steps: dict[tuple[States, str], States] = {}

    def search(self, text: str) -> bool:
        """Is there a match anywhere in the text?"""
        work = MAX_WORK - len(text)
        known, before, last = self._start, _EDGE, len(text) - 1
        for place, char in enumerate(text):
            if work < 0:
                return False
            after = _beside(char)
            if after == _NEWLINE and place == last:
                after = _LAST_NEWLINE
            reached = self._closures.get((known, before, after))
            if reached is None:
                work -= len(self._states)
                reached = self._close(known, before, after)
            if 0 in reached:
                return True
            following = self._steps.get((reached, char))
            if following is None:
                work -= len(reached)
                following = self._step(reached, char)
            known = following
            before = _NEWLINE if after == _LAST_NEWLINE else after
        return 0 in (self._closures.get((known, before, _EDGE)) or self._close(known, before, _EDGE))

    def _close(self, known: States, before: int, after: int) -> States:
        """What is reached from these states without a character: the end, and states that wait for one."""
        reached: set[int] = set()
        seen = set(known)
        waiting = list(known)
        while waiting:
            number = waiting.pop()
            state = self._states[number]
            if number == 0 or state.test is not None:
                reached.add(number)
            elif state.assertion is None or state.assertion(before, after):
                fresh = [one for one in state.out if one not in seen]
                seen.update(fresh)
                waiting += fresh
        if len(self._closures) >= MAX_KEPT:
            self._closures.clear()
        return self._closures.setdefault((known, before, after), frozenset(reached))

    def _step(self, reached: States, char: str) -> States:
        """Where a character leads; a match may always begin after it, too."""
        following = set(self._start)
        for number in reached:
            state = self._states[number]
            if state.test is not None and state.test(char):
                following.update(state.out)
        if len(self._steps) >= MAX_KEPT:
            self._steps.clear()
        return self._steps.setdefault((reached, char), frozenset(following))


def _beside(char: str) -> int:
    if char in _WORD_CHARS:
        return _WORD
    return _NEWLINE if char == "\n" else _OTHER
