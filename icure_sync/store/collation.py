"""The order of JSON values in CouchDB's views, as bytes: what compares less there has the lesser key. Pure.

Source: CouchDB's documentation, "Views Collation". Null, false, true, numbers, strings, arrays, objects, in this order;
numbers by value, arrays and objects member by member. Strings as ICU's root collation has them, closely: first without
accents and case, then by accents, then by case; what that ignores (control characters) makes no difference at all.
Beyond Latin letters, and what decomposes into letters and accents, scripts are in the order of their code points.

No key is the beginning of another value's, so keys can be strung together, and `AFTER` closes a range.
"""

from __future__ import annotations

import math
import struct
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final

AFTER: Final = b"\xff"  # above whatever may follow in a key

_END = b"\x00"  # of a string, an array, an object: below whatever may follow in it
_CONSTANTS: Mapping[bool | None, bytes] = {None: b"\x02", False: b"\x03", True: b"\x04"}
_NUMBER, _STRING, _ARRAY, _OBJECT = b"\x05", b"\x06", b"\x07", b"\x08"
_LEVEL = b"\x01"  # between the levels of a string: below every weight
_PLAIN, _FIRST_WEIGHT = 2, 3  # weight of a letter without accent, or in lower case; the first of those above
_UNMARKED = bytes([_PLAIN])
_HIGHEST = "\uffff"  # above every other character, in ICU too: how ranges of strings with one beginning are closed

# What is neither letter nor digit, in ICU's order. Letters and digits follow, then everything else as UTF-8.
_SYMBOLS = "\t\n\v\f\r\u0085\u2028\u2029 _-‐–—,;:!¡?¿.…·'‘’\"“”«»()[]{}§¶@*/\\&#%•`´^¯¨¸°©®+±÷×<=>¬|¦~¤¢$£¥€"  # noqa: RUF001  (the look-alikes are meant)
_MARKS = (
    "\u0301\u0300\u0306\u0302\u030c\u030a\u0308\u030b\u0303\u0307\u0338\u0327\u0328\u0304\u030f\u0311\u031b\u0326\u0335"
)
# Letters that Unicode does not decompose, and ICU sorts as if it did.
_LETTERS: Mapping[str, str] = {
    "ø": "o\u0338",
    "đ": "d\u0335",
    "ħ": "h\u0335",
    "ł": "l\u0335",
    "ŧ": "t\u0335",
    "æ": "ae\u0335",
    "œ": "oe\u0335",
    "ß": "ss\u0335",
}
_PRIMARY: Mapping[str, bytes] = {
    char: bytes([_FIRST_WEIGHT + place]) for place, char in enumerate(_SYMBOLS + "0123456789abcdefghijklmnopqrstuvwxyz")
} | {_HIGHEST: AFTER}
_SECONDARY: Mapping[str, bytes] = {mark: bytes([_FIRST_WEIGHT + place]) for place, mark in enumerate(_MARKS)}
_CAPITAL, _VARIANT = _PLAIN + 1, _PLAIN + 2  # weights: what comes of `upper`; other forms of a letter (²,ﬁ), apart

# For plain ASCII, both levels at once.
_ASCII = range(128)
_ASCII_PRIMARY = bytes(_PRIMARY.get(chr(code).lower(), b"\0")[0] for code in _ASCII) + bytes(128)
_ASCII_CASE = bytes(_CAPITAL if chr(code).isupper() else _PLAIN for code in _ASCII) + bytes(128)
_IGNORED = bytes(code for code in _ASCII if not _ASCII_PRIMARY[code])

_LARGEST_EXACT = 2**53  # below it, a float holds every whole number
_double = struct.Struct(">d").pack
_INVERTED = bytes(255 - byte for byte in range(256))


def collation_key(value: Any) -> bytes:
    """The key of one JSON value. Equal keys: the values are the same to a view."""
    if value is None or isinstance(value, bool):
        return _CONSTANTS[value]
    if isinstance(value, str):
        return _STRING + _string(value) + _END
    if isinstance(value, float):
        return _NUMBER + _ordered(value) + _END
    if isinstance(value, int):
        return _NUMBER + _whole(value)
    if isinstance(value, Mapping):
        members = (_STRING + _string(name) + _END + collation_key(item) for name, item in value.items())
        return b"".join((_OBJECT, *members, _END))
    return b"".join((_ARRAY, *map(collation_key, value), _END))


def row_key(values: Iterable[Any]) -> bytes:
    """The key of a row of an index: its values one after the other."""
    return b"".join(map(collation_key, values))


def _string(text: str) -> bytes:
    """The three levels: characters, accents, case. What is plain at the end of a level is left out."""
    if not text.isascii():
        return _unicode_string(text)
    chars = text.encode()
    case = b"" if text.islower() else chars.translate(_ASCII_CASE, _IGNORED).rstrip(_UNMARKED)
    return chars.translate(_ASCII_PRIMARY, _IGNORED) + _LEVEL + _LEVEL + case


def _unicode_string(text: str) -> bytes:
    primary, secondary, tertiary = [], [], []
    for char in unicodedata.normalize("NFD", text):
        lower = char.lower()
        for base in _LETTERS.get(lower) or _plainest(lower):
            if unicodedata.combining(base):
                secondary.append(_SECONDARY.get(base) or base.encode())
                continue
            weight = _PRIMARY.get(base) or _other(base)
            if weight:
                primary.append(weight)
                secondary.append(_UNMARKED)
                tertiary.append(_form(char, lower))
    levels = b"".join(primary), b"".join(secondary).rstrip(_UNMARKED), b"".join(tertiary).rstrip(_UNMARKED)
    return _LEVEL.join(levels)


def _plainest(char: str) -> str:
    """What a variant stands for, as ICU expands it: `2` for `²`, `fi` for `ﬁ`."""
    return char if char in _PRIMARY else unicodedata.normalize("NFKD", char).lower()


def _other(char: str) -> bytes:
    """The weight of a character without one of its own; none for what takes no part in sorting."""
    return b"" if unicodedata.category(char) in {"Cc", "Cf"} else char.encode()


def _form(char: str, lower: str) -> bytes:
    """The weight of case; variants have one each."""
    if not (char in _PRIMARY or lower in _LETTERS or unicodedata.is_normalized("NFKD", char)):
        return bytes([_VARIANT]) + char.encode()
    if char == lower:
        return _UNMARKED
    return bytes([_CAPITAL]) if lower.upper() == char else bytes([_VARIANT]) + char.encode()


def _whole(value: int) -> bytes:
    """The largest float that is not above it, and how far it is above that."""
    if -_LARGEST_EXACT < value < _LARGEST_EXACT:
        return _ordered(float(value)) + _END
    try:
        below = float(value)
    except OverflowError:  # in no document: it has been refused
        return _ordered(math.inf if value > 0 else -math.inf) + _END
    if int(below) > value:
        below = math.nextafter(below, -math.inf)
    rest = value - int(below)
    length = (rest.bit_length() + 7) // 8
    return _ordered(below) + bytes([length]) + rest.to_bytes(length, "big")


def _ordered(value: float) -> bytes:
    """The bits of a float, in the order of floats."""
    bits = _double(value or 0.0)  # without minus zero
    return bits.translate(_INVERTED) if bits[0] & 0x80 else bytes([bits[0] | 0x80]) + bits[1:]
