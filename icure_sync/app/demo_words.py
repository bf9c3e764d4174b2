"""The clear words of the demo: everything that was typed, and the search for it in what others hold. Does no I/O.

JSON is searched string by string, names of members included; a string that is an envelope is searched as the bytes
that it stands for. In bytes only longer words count: among random bytes short ones turn up by chance.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterable, Iterator
from typing import Any

WORD_LETTERS = 4  # "and", "the" and the like say nothing about anybody
BYTES_LETTERS = 7  # by chance in 10 MB of random bytes, for 1,000 such words: once in 10,000 demos
ENVELOPE_VERSION = 1
ENVELOPE_LEAST = 73  # version, salt, commitment, tag

_ID = re.compile(r"[0-9a-f]{32}")  # ids of records are clear by design
_WORD = re.compile(r"[^\W_]+")
_LETTERS = re.compile(rb"[A-Za-z]{%d,}" % BYTES_LETTERS)


class ClearWords:
    """The words of all texts that were typed, in lower case, and dates as their digits."""

    def __init__(self) -> None:
        self.words: set[str] = set()

    def add(self, typed: Any) -> None:
        """Take up what a field was given: text, a number, or lists and maps of them."""
        for text in _strings(typed, keys=False):
            self.words.update(word for word in _words(text) if len(word) >= WORD_LETTERS and not _ID.fullmatch(word))

    @property
    def long_words(self) -> set[str]:
        """Those that are looked for in bytes."""
        return {word for word in self.words if len(word) >= BYTES_LETTERS and word.isascii() and word.isalpha()}

    def in_json(self, value: Any) -> set[str]:
        """Those of the words that stand in this JSON value."""
        found: set[str] = set()
        for text in _strings(value, keys=True):
            sealed = _envelope(text)
            found |= self.words.intersection(_words(text)) if sealed is None else self.in_bytes(sealed)
        return found

    def in_bytes(self, content: bytes) -> set[str]:
        """Those of the longer words that stand in these bytes, between whatever other letters."""
        runs = {run.decode().lower() for run in _LETTERS.findall(content)}
        wanted = self.long_words
        lengths = sorted({len(word) for word in wanted})
        return {
            run[start : start + length]
            for run in runs
            for start in range(len(run) - BYTES_LETTERS + 1)
            for length in lengths
            if run[start : start + length] in wanted
        }


def _words(text: str) -> Iterable[str]:
    return _WORD.findall(text.lower())


def _strings(value: Any, *, keys: bool) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            if keys:
                yield key
            yield from _strings(item, keys=keys)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item, keys=keys)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def _envelope(text: str) -> bytes | None:
    """The bytes of a string that can only be a ciphertext."""
    try:
        content = b64decode(text, validate=True)
    except (NotBase64, ValueError):
        return None
    return content if len(content) >= ENVELOPE_LEAST and content[0] == ENVELOPE_VERSION else None
