"""JSON as this package reads and writes it: bounded, strict, UTF-8. Knows no documents.

Refused: duplicate keys, NaN and infinities (numbers too large for a float included), lone surrogates, invalid UTF-8,
nesting beyond `MAX_DEPTH`. The fast readers of the replication path (msgspec) do not see duplicate keys, so whatever is
going to be trusted passes through here once. No error holds a piece of the text, nor is one raised while the reader's
own exception, which holds all of it, is being treated.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import msgspec

from icure_sync.canonical import MAX_DEPTH
from icure_sync.errors import InvalidEntity

_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # an unfinished one too: each byte is looked at once
_BRACKETS = re.compile(rb"[\[\]{}]")
_SHAPE = bytes(ord("0") if chr(byte).isdecimal() else ord("e") if chr(byte) == "E" else byte for byte in range(256))
_LONG = b"0" * 200  # with an exponent of two digits, shorter ones are within a float's range
_LARGE = re.compile(rb"(?<![0-9.])(?:[0-9.]{200,}+(?:[eE]\+?[0-9]++)?|[0-9.]++[eE]\+?[0-9]{3,}+)")

_encoder = msgspec.json.Encoder()


class _RefusedValue(ValueError):
    """What a lenient reader would have taken."""


def loads(data: bytes, what: str = "JSON") -> Any:
    """The value of one JSON text. `what` names it in errors. Raises InvalidEntity."""
    if is_too_deep(data):
        raise InvalidEntity(f"read {what}", f"it is nested deeper than {MAX_DEPTH} levels", "have it written flatter")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
        _check_text(data, value)
    except ValueError as error:
        wrong = _reason(error)
    else:
        return value
    raise InvalidEntity(f"read {what}", wrong, "have it written again as strict JSON")


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON, map keys in the order given. Raises InvalidEntity for what JSON cannot hold."""
    wrong = _unwritable(value, MAX_DEPTH)
    if not wrong:
        try:
            return _encoder.encode(value)
        except UnicodeEncodeError:
            wrong = "lone surrogate"
    raise InvalidEntity("write JSON", wrong, "use plain values only")


def is_too_deep(data: bytes, limit: int = MAX_DEPTH) -> bool:
    """Whether lists and maps nest beyond `limit`: readers recurse, so this is asked before one sees the text.

    A text nests no deeper than it has opening brackets, so most are told apart by counting.
    """
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", data)):
        depth += 1 if bracket in b"[{" else -1
        if depth > limit:
            return True
    return False


def has_boundless_number(data: bytes) -> bool:
    """Whether a number is beyond what a float holds. Readers take it for infinity, or refuse the whole text.

    Most texts are told apart by the shape of their digits alone; no values are made.
    """
    shape = data.translate(_SHAPE)
    if not (b"0e000" in shape or b"0e+000" in shape or _LONG in shape):
        return False
    return any(math.isinf(float(number)) for number in _LARGE.findall(_STRINGS.sub(b"", data)))


def _check_text(data: bytes, value: Any) -> None:
    """Lone surrogates can only come from \\u escapes; encoding the value finds them."""
    if b"\\u" in data:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise _RefusedValue("lone surrogate") from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _RefusedValue("duplicate key")
    return result


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _RefusedValue("number beyond all bounds")
    return number


def _no_constant(_: str) -> NoReturn:
    raise _RefusedValue("NaN or infinity")


def _reason(error: ValueError) -> str:
    """Why, without a word of the text itself: json's own messages quote none of it but the position."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8 at byte {error.start}"
    if isinstance(error, _RefusedValue):
        return str(error)
    return "an integer has thousands of digits"  # the one thing left that Python's reader refuses


def _unwritable(value: Any, depth: int) -> str:
    """What of this value the writer would change or drop silently; "" if nothing."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else "NaN or infinity"
    if value is None or isinstance(value, str | int):
        return ""
    if not isinstance(value, dict | list | tuple):
        return f"{type(value).__name__} is not a kind of value that JSON has"
    if depth == 0:
        return f"it is nested deeper than {MAX_DEPTH} levels"
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        return "a key that is not text"
    inner = value.values() if isinstance(value, dict) else value
    return next(filter(None, (_unwritable(item, depth - 1) for item in inner)), "")
