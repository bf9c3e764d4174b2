"""Reads patterns of PCRE into finite automata. Pure.

Source: PCRE's documentation, which CouchDB's `re` follows. Without what needs backtracking: references to groups,
look-around, atomic groups and possessive repetitions. As in CouchDB, classes and case are those of ASCII; a dot is one
character, where CouchDB takes one byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from icure_sync.hub.automaton import ASSERTIONS, Automaton, State, Test
from icure_sync.hub.erlang import write_term
from icure_sync.hub.errors import HttpRefusal

MAX_PATTERN: Final = 1_000  # characters
MAX_STATES: Final = 2_000  # of its automaton: repetitions are written out
_MAX_BUILT: Final = 40_000  # parts built for them, those without a state too: some hundredths of a second
_MAX_DEPTH: Final = 50  # of groups within groups: the reader calls itself

_DIGITS: Final = frozenset("0123456789")
_LOWER: Final = frozenset("abcdefghijklmnopqrstuvwxyz")
_UPPER: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_SPACE: Final = frozenset(" \t\n\v\f\r")
_WORD: Final = _DIGITS | _LOWER | _UPPER | {"_"}
_PUNCTUATION: Final = frozenset(chr(code) for code in range(33, 127)) - _WORD | {"_"}
_CLASSES: Final = {"d": _DIGITS, "w": _WORD, "s": _SPACE, "h": frozenset(" \t"), "v": frozenset("\n\v\f\r")}
_POSIX: Final = {
    "alpha": _LOWER | _UPPER,
    "digit": _DIGITS,
    "alnum": _DIGITS | _LOWER | _UPPER,
    "upper": _UPPER,
    "lower": _LOWER,
    "space": _SPACE,
    "blank": frozenset(" \t"),
    "punct": _PUNCTUATION,
    "word": _WORD,
    "xdigit": _DIGITS | frozenset("abcdefABCDEF"),
    "print": frozenset(chr(code) for code in range(32, 127)),
    "graph": frozenset(chr(code) for code in range(33, 127)),
    "cntrl": frozenset(chr(code) for code in (*range(32), 127)),
    "ascii": frozenset(map(chr, range(128))),
}
_SINGLE: Final = {"a": "\a", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_PLACES: Final = {"A": "start", "z": "end", "Z": "last line end", "b": "word edge", "B": "no word edge"}
_INVOLVED: Final = frozenset("cgkopCEGKPQRX")  # escapes that are more than a character or a class

_REPETITION: Final = re.compile(r"\{(\d{1,5})(,(\d{1,5})?)?\}")
_HEX: Final = re.compile(r"x(?:\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{0,2}))")
_OCTAL: Final = re.compile(r"0[0-7]{0,2}")
_POSIX_CLASS: Final = re.compile(r"\[:(\^?)([a-z]+):\]")
_GROUP: Final = re.compile(
    r"\?(?:<[A-Za-z_]\w*>|P<[A-Za-z_]\w*>|'[A-Za-z_]\w*'|([ims]*)(?:-([ims]*))?([:)]))", re.ASCII
)


def read_pattern(pattern: str) -> Automaton:
    """Raises `bad_arg` for what is no pattern, or too involved a one."""
    if len(pattern) > MAX_PATTERN:
        raise _too_involved()
    reader = _Reader(pattern)
    start = reader.alternatives(_Flags(), 0)(0)
    if reader.place < len(pattern):
        reader.fail()
    return Automaton(reader.states, start)


def _too_involved() -> HttpRefusal:
    return HttpRefusal(400, "bad_arg", "Bad argument for operator $regex: it is longer or more involved than allowed")


@dataclass(frozen=True, slots=True)
class _Flags:
    """What `(?i)`, `(?m)`, `(?s)` set."""

    i: bool = False
    m: bool = False
    s: bool = False


Part = Callable[[int], int]  # builds the states of a part of the pattern before state `next`; returns the first of them


class _Reader:
    """Reads a pattern from left to right. Parts are built from right to left: each leads to what follows it."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self.place = 0
        self.states: list[State] = [State(())]
        self._built = 0

    def fail(self) -> NoReturn:
        raise HttpRefusal(400, "bad_arg", f"Bad argument for operator $regex: {write_term(self._pattern)}")

    def alternatives(self, flags: _Flags, depth: int) -> Part:
        """Up to the end of the group."""
        if depth > _MAX_DEPTH:
            raise _too_involved()
        parts: list[Part] = []
        while True:
            part, flags = self._sequence(flags, depth)
            parts.append(part)
            if not self._take("|"):
                break
        if len(parts) == 1:
            return parts[0]

        def build(following: int) -> int:
            self._count(len(parts))
            return self._add(State(tuple(dict.fromkeys(part(following) for part in parts))))

        return build

    def _sequence(self, flags: _Flags, depth: int) -> tuple[Part, _Flags]:
        """Flags set within it hold to the end of the group."""
        parts: list[Part] = []
        while self.place < len(self._pattern) and self._pattern[self.place] not in "|)":
            if (group := self._flags_alone(flags)) is not None:
                flags = group
                continue
            parts.append(self._repeated(self._atom(flags, depth)))

        def build(following: int) -> int:
            self._count(len(parts))
            for part in reversed(parts):
                following = part(following)
            return following

        return build, flags

    def _flags_alone(self, flags: _Flags) -> _Flags | None:
        """`(?i)` and the like."""
        found = _GROUP.match(self._pattern, self.place + 1) if self._pattern[self.place] == "(" else None
        if found is None or found[3] != ")":
            return None
        self.place = found.end()
        return _changed(flags, found)

    def _repeated(self, part: Part) -> Part:
        """The part, with the repetition that follows it."""
        low, high = self._counts()
        if (low, high) == (1, 1):
            return part
        self._take("?")  # lazy or greedy: there is a match or there is none
        if self._take("+"):
            raise _too_involved()

        def build(following: int) -> int:
            if high is None:
                loop = self._add(State(()))
                self.states[loop] = State((part(loop), following))
                following = loop
            else:
                end = following
                for _ in range(high - low):
                    following = self._add(State((part(following), end)))
            for _ in range(low):
                before = part(following)
                if before == following:
                    break  # nothing, however often: counts within counts multiply
                following = before
            return following

        return build

    def _counts(self) -> tuple[int, int | None]:
        for sign, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return counts
        found = _REPETITION.match(self._pattern, self.place)
        if found is None:
            return 1, 1
        self.place = found.end()
        low = int(found[1])
        high = low if found[2] is None else None if found[3] is None else int(found[3])
        if high is not None and high < low:
            self.fail()
        if max(low, high or 0) > MAX_STATES:
            raise _too_involved()
        return low, high

    def _atom(self, flags: _Flags, depth: int) -> Part:  # noqa: PLR0911  (one for each kind)
        char = self._next()
        if char == "(":
            return self._group(flags, depth)
        if char == "[":
            test, weight = self._class(flags)
            return self._character(test, _Flags(), weight)
        if char == "\\":
            return self._escape(flags)
        if char == "^":
            return self._at("line start" if flags.m else "start")
        if char == "$":
            return self._at("line end" if flags.m else "last line end")
        if char == ".":
            return self._character(_any if flags.s else _not_newline, _Flags())
        if char in "*+?" or (char == "{" and _REPETITION.match(self._pattern, self.place - 1)):
            self.fail()
        return self._character(frozenset(char).__contains__, flags)

    def _group(self, flags: _Flags, depth: int) -> Part:
        if self._pattern.startswith("?", self.place):
            found = _GROUP.match(self._pattern, self.place)
            if found is None:
                raise _too_involved()
            self.place = found.end()
            flags = _changed(flags, found)
        elif self._pattern.startswith("*", self.place):
            raise _too_involved()
        part = self.alternatives(flags, depth + 1)
        if not self._take(")"):
            self.fail()
        return part

    def _escape(self, flags: _Flags) -> Part:
        char = self._next()
        if char in _PLACES:
            return self._at(_PLACES[char])
        if char == "N":
            return self._character(_not_newline, _Flags())
        if char.lower() in _CLASSES:
            return self._character(_class_test(char), _Flags())
        if char in _INVOLVED or char in "123456789":
            raise _too_involved()
        return self._character(frozenset(self._escaped(char)).__contains__, flags)

    def _escaped(self, char: str) -> str:
        """The character that an escape stands for."""
        self.place -= 1
        if (found := _HEX.match(self._pattern, self.place)) is not None:
            self.place = found.end()
            code = int(found[1] or found[2] or "0", 16)
            return chr(code) if code <= 0x10FFFF else self.fail()
        if (found := _OCTAL.match(self._pattern, self.place)) is not None:
            self.place = found.end()
            return chr(int(found[0], 8))
        self.place += 1
        return _SINGLE.get(char, char)

    def _class(self, flags: _Flags) -> tuple[Test, int]:
        """From after `[` to after `]`: the test, and how many comparisons it makes."""
        negated = self._take("^")
        tests: list[Test] = []
        chars: set[str] = set()
        first = True
        while first or not self._take("]"):
            first = False
            test, char = self._member()
            if test is not None:
                tests.append(test)
                continue
            if self._pattern.startswith("-", self.place) and not self._pattern.startswith("-]", self.place):
                back = self.place
                self.place += 1
                test, last = self._member()
                if test is None:
                    if last < char:
                        self.fail()
                    tests.append(_range_test(char, last))
                    continue
                self.place = back  # `a-\d`: the dash stands for itself
            chars.add(char)
        tests.append(frozenset(chars).__contains__)
        inside = _in_either_case(tests) if flags.i else lambda one: any(test(one) for test in tests)
        return lambda one: inside(one) is not negated, 2 * len(tests)

    def _member(self) -> tuple[Test | None, str]:
        """A class within a class, or one character."""
        if (found := _POSIX_CLASS.match(self._pattern, self.place)) is not None:
            if found[2] not in _POSIX:
                self.fail()
            self.place = found.end()
            held, negated = _POSIX[found[2]], bool(found[1])
            return lambda one: (one in held) is not negated, ""
        char = self._next()
        if char != "\\":
            return None, char
        char = self._next()
        if char.lower() in _CLASSES:
            return _class_test(char), ""
        if char in _INVOLVED or char in "123456789":
            raise _too_involved()
        return None, "\b" if char == "b" else self._escaped(char)

    def _character(self, test: Test, flags: _Flags, weight: int = 1) -> Part:
        held = _in_either_case([test]) if flags.i else test
        return lambda following: self._add(State((following,), held, weight=weight))

    def _at(self, assertion: str) -> Part:
        return lambda following: self._add(State((following,), None, ASSERTIONS[assertion]))

    def _add(self, state: State) -> int:
        if len(self.states) >= MAX_STATES:
            raise _too_involved()
        self.states.append(state)
        return len(self.states) - 1

    def _count(self, parts: int) -> None:
        self._built += parts
        if self._built > _MAX_BUILT:
            raise _too_involved()

    def _next(self) -> str:
        if self.place >= len(self._pattern):
            self.fail()
        self.place += 1
        return self._pattern[self.place - 1]

    def _take(self, char: str) -> bool:
        found = self._pattern.startswith(char, self.place)
        self.place += found
        return found


def _changed(flags: _Flags, found: re.Match[str]) -> _Flags:
    on, off = dict.fromkeys(found[1] or "", True), dict.fromkeys(found[2] or "", False)
    return replace(flags, **(on | off))


def _any(_: str) -> bool:
    return True


def _not_newline(char: str) -> bool:
    return char != "\n"


def _class_test(letter: str) -> Test:
    """`\\d`, or `\\D` for all others."""
    held, negated = _CLASSES[letter.lower()], letter.isupper()
    return lambda char: (char in held) is not negated


def _in_either_case(tests: Sequence[Test]) -> Test:
    """Letters of ASCII alone have two cases."""
    return lambda char: any(test(char) or (char.isascii() and test(char.swapcase())) for test in tests)


def _range_test(first: str, last: str) -> Test:
    return lambda char: first <= char <= last
