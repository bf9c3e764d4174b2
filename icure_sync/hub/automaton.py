"""Finite automata: does a text hold what a pattern describes? In a time that grows with the text alone. Pure.

Source: Thompson's construction, run on sets of states; the sets met so far are kept, so that a text soon costs one
look-up for each character. All that is done is charged to the allowance of the document that the text is of; one that
runs out ends the judgement, as CouchDB's own engine gives up on a text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from icure_sync.hub.allowance import Allowance

Test = Callable[[str], bool]
States = frozenset[int]

MAX_KEPT: Final = 30_000  # states in kept sets, and ways between these, of each automaton: some two megabytes
_STATE_WORK: Final = 5  # of looking at a state, or at one that it leads to; a character on a known way is the measure
_SLICE: Final = 4_096  # characters that are charged at once: a match may be near

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
    """One state: it goes on to each of `out`, by a character that passes `test`, where `assertion` holds, or freely.

    `weight`: how many comparisons the test makes.
    """

    out: tuple[int, ...]
    test: Test | None = None
    assertion: Callable[[int, int], bool] | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class _Reached:
    """The states that wait for a character at a place, and the work of trying one on all of them."""

    waiting: tuple[State, ...]
    work: int
    is_match: bool


class _Node:
    """A set of states after a character of the kind `before`; what is known of it: where the next one leads."""

    __slots__ = ("before", "following", "known", "reached")

    def __init__(self, known: States, before: int) -> None:
        self.known = known
        self.before = before
        self.reached: dict[int, _Reached] = {}  # by what stands after the place
        self.following: dict[str, _Node] = {}


_FOUND: Final = _Node(frozenset({0}), _EDGE)


class Automaton:
    """Searches texts. State 0 is the end: what reaches it has matched."""

    def __init__(self, states: Sequence[State], start: int) -> None:
        self._states = states
        self._start: States = frozenset({start})
        self._first = _Node(self._start, _EDGE)
        self._nodes: dict[tuple[States, int], _Node] = {}
        self._kept = 0

    def search(self, text: str, allowance: Allowance) -> bool:
        """Is there a match anywhere in the text? Raises Exhausted."""
        node = self._first
        end = len(text) - text.endswith("\n")
        for place in range(0, end, _SLICE):
            part = text[place : min(place + _SLICE, end)]
            allowance.charge(len(part))
            for char in part:
                node = node.following.get(char) or self._follow(node, char, allowance)
                if node is _FOUND:
                    return True
        if end < len(text):
            node = self._step(node, "\n", _LAST_NEWLINE, allowance)
        return node is _FOUND or self._reach(node, _EDGE, allowance).is_match

    def _follow(self, node: _Node, char: str, allowance: Allowance) -> _Node:
        """Where a character leads that is not the line feed at the end."""
        following = self._step(node, char, _beside(char), allowance)
        self._keep(1)
        node.following[char] = following
        return following

    def _step(self, node: _Node, char: str, after: int, allowance: Allowance) -> _Node:
        """A match may always begin after the character, too."""
        reached = self._reach(node, after, allowance)
        if reached.is_match:
            return _FOUND
        allowance.charge(reached.work)
        following = set(self._start)
        for state in reached.waiting:
            if state.test is not None and state.test(char):
                following.update(state.out)
        key = frozenset(following), _NEWLINE if after == _LAST_NEWLINE else after
        held = self._nodes.get(key)
        if held is None:
            self._keep(len(following))
            held = self._nodes[key] = _Node(*key)
        return held

    def _reach(self, node: _Node, after: int, allowance: Allowance) -> _Reached:
        """What is reached without a character: the end, and states that wait for one."""
        held = node.reached.get(after)
        if held is None:
            held = self._close(node.known, node.before, after, allowance)
            self._keep(len(held.waiting))
            node.reached[after] = held
        return held

    def _close(self, known: States, before: int, after: int, allowance: Allowance) -> _Reached:
        reached: list[State] = []
        seen = set(known)
        places = list(known)
        work = len(known)
        while places:
            number = places.pop()
            state = self._states[number]
            if number == 0:
                allowance.charge(work * _STATE_WORK)
                return _Reached((), 0, is_match=True)
            if state.test is not None:
                reached.append(state)
            elif state.assertion is None or state.assertion(before, after):
                fresh = [one for one in state.out if one not in seen]
                seen.update(fresh)
                places += fresh
                work += len(state.out) + len(fresh)
        allowance.charge(work * _STATE_WORK)
        weight = sum(state.weight + len(state.out) for state in reached)
        return _Reached(tuple(reached), (weight + 1) * _STATE_WORK, is_match=False)

    def _keep(self, count: int) -> None:
        """So much more is to be kept: if that is too much, forget everything first."""
        self._kept += 1 + count
        if self._kept <= MAX_KEPT:
            return
        for node in (self._first, *self._nodes.values()):  # they lead to each other
            node.following.clear()
            node.reached.clear()
        self._nodes.clear()
        self._kept = 1 + count


def _beside(char: str) -> int:
    if char in _WORD_CHARS:
        return _WORD
    return _NEWLINE if char == "\n" else _OTHER
