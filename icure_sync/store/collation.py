"""The order of JSON values in CouchDB's views, as bytes: what compares less there has the lesser key. Pure.

Source: CouchDB's documentation, "Views Collation". Null, false, true, numbers, strings, arrays, objects, in this order;
numbers by value, arrays and objects member by member. Strings as ICU's root collation has them, closely: first without
accents and case, then by accents, then by case; what that ignores (control characters) makes no difference at all.
Beyond Latin letters, and what decomposes into letters and accents, scripts are in the order of their code points.

No key is the beginning of another value's, so keys can be strung together, and `AFTER` closes a range.

In a row of an index, of each key only its first KEY_BYTES stand, and no more of the value than these come from is read:
what is written must not take as long as somebody likes. Order is kept, but not strictly: rows whose values differ only
behind that have the same key. So what a range of keys holds is a little more than was asked for, never less.
"""

from __future__ import annotations

import math
import struct
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

AFTER: Final = b"\xff"  # above whatever may follow in a key

KEY_BYTES: Final = 2_048  # of the key of one value in a row: hundreds of words, and milliseconds at most
_WHOLE: Final = sys.maxsize  # a room that no key fills

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

_SLICE: Final = 64  # letters that are decomposed at once: the marks of one letter are sorted, in quadratic time
_MARKS_MOST: Final = 30  # of one letter that are kept together. Source: Unicode's UAX #15, "Stream-Safe Text Format"
_WEIGHTLESS_MOST: Final = 100_000  # letters of a text that take no part in its order, until the rest takes none either
_REMEMBERED: Final = 4_096  # letters whose weights are

_LARGEST_EXACT = 2**53  # below it, a float holds every whole number
_double = struct.Struct(">d").pack
_INVERTED = bytes(255 - byte for byte in range(256))


def collation_key(value: Any) -> bytes:
    """The key of one JSON value. Equal keys: the values are the same to a view."""
    return _key(value, _WHOLE)


def row_key(values: Iterable[Any]) -> bytes:
    """The key of a row of an index: that of each of its values, or how it begins, one after the other."""
    return b"".join(_key(value, KEY_BYTES)[:KEY_BYTES] for value in values)


def _key(value: Any, room: int) -> bytes:
    """The first `room` bytes of a key, at least; what may follow them is of no use unless it is the whole key."""
    if value is None or isinstance(value, bool):
        return _CONSTANTS[value]
    if isinstance(value, str):
        return _STRING + _string(value, room) + _END
    if isinstance(value, float):
        return _NUMBER + _ordered(value) + _END
    if isinstance(value, int):
        return _NUMBER + _whole(value)
    key = bytearray(_OBJECT if isinstance(value, Mapping) else _ARRAY)
    for part in _members(value):
        key += _key(part, room - len(key))
        if len(key) >= room:
            break
    return bytes(key) + _END


def _members(value: Any) -> Iterable[Any]:
    """What an array or an object is compared by, in order."""
    return (part for member in value.items() for part in member) if isinstance(value, Mapping) else value


def _string(text: str, room: int) -> bytes:
    """The three levels: characters, accents, case. What is plain at the end of a level is left out."""
    if not text.isascii():
        return _unicode_string(text, room)
    chars = text.encode()
    primary = chars.translate(_ASCII_PRIMARY, _IGNORED)
    case = b"" if text.islower() else chars.translate(_ASCII_CASE, _IGNORED).rstrip(_UNMARKED)
    return primary + _LEVEL + _LEVEL + case


def _unicode_string(text: str, room: int) -> bytes:
    primary, secondary, tertiary = bytearray(), bytearray(), bytearray()
    read = 0
    for letters in _decomposed(text):
        read += len(letters)
        for char in letters:
            weights = _weights(char)
            primary += weights[0]
            secondary += weights[1]
            tertiary += weights[2]
        if len(primary) >= room:
            return bytes(primary)
        if read - len(primary) > _WEIGHTLESS_MOST:
            break
    return _LEVEL.join((bytes(primary), bytes(secondary.rstrip(_UNMARKED)), bytes(tertiary.rstrip(_UNMARKED))))


def _decomposed(text: str) -> Iterator[str]:
    """Some letters at once, marks with the letter that they are on: up to a number that no language needs."""
    start = 0
    while start < len(text):
        end = start + _SLICE
        most = end + _MARKS_MOST
        while end < min(most, len(text)) and unicodedata.combining(text[end]):
            end += 1
        yield unicodedata.normalize("NFD", text[start:end])
        start = end


@lru_cache(_REMEMBERED)
def _weights(char: str) -> tuple[bytes, bytes, bytes]:
    """What one letter, or mark, adds to each level."""
    primary, secondary, tertiary = [], [], []
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
    return b"".join(primary), b"".join(secondary), b"".join(tertiary)


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
