"""JSON as this package reads and writes it: bounded, strict, UTF-8. Knows no documents.

Refused: duplicate keys, NaN and infinities, lone surrogates, invalid UTF-8, nesting beyond `MAX_DEPTH`. The fast
readers of the replication path (msgspec) do not see duplicate keys, so whatever is going to be trusted passes through
here once.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import msgspec

from icure_sync.canonical import MAX_DEPTH
from icure_sync.errors import InvalidEntity

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")

_encoder = msgspec.json.Encoder()


def loads(data: bytes, what: str = "JSON") -> Any:
    """The value of one JSON text. `what` names it in errors. Raises InvalidEntity."""
    _check_depth(data, what)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        _check_text(data, value)
    except (ValueError, RecursionError) as error:
        raise InvalidEntity(f"read {what}", _reason(error), "have it written again as strict JSON") from error
    return value


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON, map keys in the order given. Raises InvalidEntity for what JSON cannot hold."""
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidEntity("write JSON", type(error).__name__, "use plain values only") from error


def _check_depth(data: bytes, what: str) -> None:
    """The reader itself recurses, so depth is bounded first. A text nests no deeper than it has opening brackets."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", data)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise InvalidEntity(
                f"read {what}", f"it is nested deeper than {MAX_DEPTH} levels", "have it written flatter"
            )


def _check_text(data: bytes, value: Any) -> None:
    """Lone surrogates can only come from \\u escapes; encoding the value finds them."""
    if b"\\u" in data:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("lone surrogate") from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN or infinity")


def _reason(error: Exception) -> str:
    """Why, without a word of the text itself: json's own messages quote none of it but the position."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8 at byte {error.start}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)
