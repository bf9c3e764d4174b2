"""Canonical bytes `C[…]`: one byte string for one value, to sign, to hash and to seal. Knows no documents and no keys.

msgpack with map keys sorted by their UTF-8 bytes and shortest forms. Integers lie within ±2^53, floats are finite; an
integral float within ±2^53 is that integer (`2.0` is `2`, `-0.0` is `0`), so equal numbers have equal bytes. Strings
are taken as they are: NFC normalisation happens once, where a person's text enters (`authored`), never on what was
received.

No error here holds a piece of the value: none is raised while the reader's own exception, which may quote it, is being
treated.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import msgpack

from icure_sync.errors import InvalidEntity

MAX_INTEGER = 2**53  # beyond it JSON readers disagree about the value
MAX_DEPTH = 64  # nesting of lists and maps; deeper input is an attack on the parser, not a record

_LONE_SURROGATE = "a text holds a lone surrogate"
_ALLOWED = "use text, numbers within ±2^53, true, false, null, lists and maps with text keys"


def canonical(value: Any) -> bytes:
    """`C[value]`. Raises InvalidEntity for a value that has no canonical form."""
    return pack(_plain(value, MAX_DEPTH))


def pack(value: Any) -> bytes:
    """`C[value]` of a value known to be plain, its maps sorted (mostly lists of text and bytes): the hot path.

    Raises InvalidEntity for a lone surrogate.
    """
    try:
        return msgpack.packb(value)  # type: ignore[no-any-return]
    except UnicodeEncodeError:
        pass
    raise _not_canonical(_LONE_SURROGATE)


def unpack(data: bytes) -> tuple[Any, int]:
    """The value at the start of `data`, and the number of bytes it takes. Raises InvalidEntity if there is none."""
    try:
        return msgpack.unpackb(data), len(data)
    except msgpack.ExtraData as found:
        return found.unpacked, len(data) - len(found.extra)
    except ValueError:  # whatever msgpack finds wrong is one
        pass
    raise _not_canonical("it is not msgpack")


def check_canonical(data: bytes, length: int, value: Any) -> None:
    """That the first `length` bytes are the one form of `value`. Raises InvalidEntity."""
    if canonical(value) != data[:length]:
        raise _not_canonical("the bytes are not in canonical form")


def canonical_set(items: Iterable[Any]) -> list[Any]:
    """The items without duplicates, sorted by their canonical bytes: the order of every list that is really a set."""
    return [item for _, item in sorted({canonical(item): item for item in items}.items())]


def authored(value: Any) -> Any:
    """The plain form of a value that a person or an application just wrote: NFC text, numbers in their one form.

    Raises InvalidEntity for what cannot be stored, and for two keys that become one.
    """
    return _authored(value, MAX_DEPTH)


def _plain(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return _checked_text(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        return _checked_integer(value)
    if kind is float:
        return _checked_float(value)
    if kind is dict:
        below = _below(depth)
        return {key: _plain(value[key], below) for key in sorted(map(_text_key, value))}
    if kind is list or kind is tuple:
        below = _below(depth)
        return [_plain(item, below) for item in value]
    raise _not_canonical(f"{kind.__name__} is not a kind of value that can be stored")


def _authored(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return unicodedata.normalize("NFC", _checked_text(str(value)))
    if isinstance(value, Mapping):
        below = _below(depth)
        result = {_authored(_text_key(key), 0): _authored(item, below) for key, item in value.items()}
        if len(result) != len(value):
            raise _not_canonical("two keys of one map are the same after Unicode normalisation")
        return {key: result[key] for key in sorted(result)}
    if isinstance(value, list | tuple):
        below = _below(depth)
        return [_authored(item, below) for item in value]
    return _plain(value, 0)


def _below(depth: int) -> int:
    if depth == 0:
        raise _not_canonical(f"it is nested deeper than {MAX_DEPTH} levels")
    return depth - 1


def _text_key(key: Any) -> str:
    if type(key) is not str:
        raise _not_canonical(f"a map has a key that is {type(key).__name__}, not text")
    return _checked_text(key)


def _checked_text(text: str) -> str:
    if text.isascii() or _has_utf8(text):
        return text
    raise _not_canonical(_LONE_SURROGATE)


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _checked_integer(number: int) -> int:
    if not -MAX_INTEGER <= number <= MAX_INTEGER:
        raise _not_canonical("an integer lies beyond ±2^53")
    return number


def _checked_float(number: float) -> int | float:
    if not math.isfinite(number):
        raise _not_canonical("a number is infinite or not a number")
    if abs(number) <= MAX_INTEGER and number.is_integer():
        return int(number)
    return number


def _not_canonical(wrong: str) -> InvalidEntity:
    return InvalidEntity("make canonical bytes", wrong, _ALLOWED)
