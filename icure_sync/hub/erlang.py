"""JSON values as Erlang writes them: in CouchDB's refusals, and in the names that it makes for indexes. Pure.

Source: Erlang's `io_lib` (`~w`, `~p`) and External Term Format. CouchDB holds an object as `{[{Name, Value}]}`, a
string as a binary.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MAX_TEXT: Final = 1_000  # characters of a value in a refusal: enough to see which one it is

_LARGEST_INTEGER = 2**31


@dataclass(frozen=True, slots=True)
class Atom:
    """A name without quotes."""

    name: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A tuple of two."""

    first: Any
    second: Any


@dataclass(frozen=True, slots=True)
class Triple:
    """A tuple of three."""

    first: Any
    second: Any
    third: Any


def write_term(value: Any) -> str:
    """As `~w` writes it: strings as lists of their bytes."""
    return _cut(_write(value, lambda text: ",".join(map(str, text.encode()))))


def print_term(value: Any) -> str:
    """As `~p` writes it on one line: strings as they are read."""
    return _cut(_write(value, lambda text: f'"{text}"' if text else ""))


def pack_term(value: Any) -> bytes:
    """In External Term Format, with its version byte. Takes atoms, pairs, triples, bytes, and what JSON has."""
    return b"\x83" + _pack(value)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."


def _write(value: Any, of_text: Callable[[str], str]) -> str:  # noqa: PLR0911  (one for each kind)
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f"<<{of_text(value)}>>"
        case Mapping():
            members = (f"{{<<{of_text(name)}>>,{_write(item, of_text)}}}" for name, item in value.items())
            return f"{{[{','.join(members)}]}}"
        case Sequence():
            return f"[{','.join(_write(item, of_text) for item in value)}]"
        case float():
            return _float(value)
    return str(value)


def _float(value: float) -> str:
    """Shortest digits, always with a point: `1.0e22` for Python's `1e+22`."""
    digits, exponential, exponent = repr(value).partition("e")
    if not exponential:
        return digits
    return f"{digits if '.' in digits else digits + '.0'}e{int(exponent)}"


def _pack(value: Any) -> bytes:  # noqa: C901, PLR0911  (one for each kind)
    match value:
        case None | bool():
            return _pack(Atom({None: "null", True: "true", False: "false"}[value]))
        case Atom(name):
            return b"d" + struct.pack(">H", len(name)) + name.encode()
        case Pair(first, second):
            return b"h\x02" + _pack(first) + _pack(second)
        case Triple(first, second, third):
            return b"h\x03" + _pack(first) + _pack(second) + _pack(third)
        case str():
            return _pack(value.encode())
        case bytes():
            return b"m" + struct.pack(">I", len(value)) + value
        case float():
            return b"F" + struct.pack(">d", value)
        case int():
            return _pack_integer(value)
        case Mapping():
            members = [b"h\x02" + _pack(name) + _pack(item) for name, item in value.items()]
            return b"h\x01" + (b"l" + struct.pack(">I", len(members)) + b"".join(members) + b"j" if members else b"j")
    items: Sequence[Any] = value
    if not items:
        return b"j"
    if all(type(item) is int and 0 <= item < 256 for item in items) and len(items) < 65_536:
        return b"k" + struct.pack(">H", len(items)) + bytes(items)
    return b"l" + struct.pack(">I", len(items)) + b"".join(map(_pack, items)) + b"j"


def _pack_integer(value: int) -> bytes:
    if 0 <= value < 256:
        return b"a" + bytes([value])
    if -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
        return b"b" + struct.pack(">i", value)
    size = (abs(value).bit_length() + 7) // 8
    return b"n" + bytes([size, value < 0]) + abs(value).to_bytes(size, "little")
