"""What this package writes to logs: never plaintext, keys, passphrases or passwords. Owns the loggers' second defence.

The first one is that nobody logs any: values hide themselves in reprs, errors hold ids and sizes. This is for the day
that somebody forgets it. A record loses what looks like a secret (credentials in an address or a header, keys as PEM,
base64, hex or bytes, codes in groups), what was withheld by name, and of exceptions everything but their kind, where
they were raised, and the text of this package's own. Knows none of the parts that log.
"""

from __future__ import annotations

import logging
import re
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from icure_sync.errors import IcureSyncError

HIDDEN = "***"
WITHHELD_LEAST = 4  # characters; hiding less would make holes in every other word
_KEY_LEAST = 40  # characters: 32 bytes take 43 in base64, ids and revisions have 32 and 34
_CHANGES_LEAST = 1 / 3  # of the letters of a key follow one of another kind (at random 0.6; in names 0.2)
_CHAIN_MOST = 16  # exceptions of one chain: more say nothing new

_GAP = "[-_. \u00a0\u2010-\u2014]"  # between the groups of a code
_PATTERNS = (
    (re.compile(r"-----BEGIN [A-Z ]{0,40}-----.*?(?:-----END [A-Z ]{0,40}-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://)[^\s/?#@]*@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    (re.compile(r"\b(Basic|Bearer)\s+[A-Za-z0-9+/=._~-]{4,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"\b(AuthSession=)[^\s;,'\"]+"), rf"\1{HIDDEN}"),
    (re.compile(r"\bb(?:'(?:[^'\\]|\\.){16,}'|\"(?:[^\"\\]|\\.){16,}\")"), HIDDEN),
    (re.compile(r"(?i)\b[0-9a-f]{64,}\b"), HIDDEN),
    (re.compile(rf"(?<![\w-])[0-9]{{4}}{_GAP}[0-9]{{4}}{_GAP}[0-9]{{4}}(?![\w-])"), HIDDEN),
)
_BASE64 = re.compile(rf"[A-Za-z0-9+/_-]{{{_KEY_LEAST},}}={{0,2}}")

_CODE = re.compile(
    rf"(?i)(?<![a-z0-9])[a-z0-9]{{5}}(?:{_GAP}[a-z0-9]{{5}}){{6,}}(?![a-z0-9])"
    r"|\b(?:[0-9a-hjkmnp-tv-z]{35}|[0-9a-hjkmnp-tv-z]{50})\b"
)

_withheld: Counter[str] = Counter()
_changing = threading.Lock()


def logger(name: str) -> logging.Logger:
    """The logger of a module of this package."""
    found = logging.getLogger(name)
    found.addFilter(DISCRETION)  # once, however often it is added
    return found


def withhold(*secrets: str) -> Callable[[], None]:
    """Keep these texts out of the logs, until what is returned is called. They are held here meanwhile."""
    named = [secret for secret in secrets if len(secret) >= WITHHELD_LEAST]
    with _changing:
        _withheld.update(named)

    def release() -> None:
        with _changing:
            _withheld.subtract(named)
            for secret in named:
                if _withheld[secret] <= 0:
                    del _withheld[secret]

    return release


def discreet(text: str) -> str:
    """The text without what looks like a secret, or is withheld."""
    with _changing:
        named = sorted(_withheld, key=len, reverse=True)
    for secret in named:
        text = text.replace(secret, HIDDEN)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return _BASE64.sub(_unless_a_name, _CODE.sub(_unless_of_one_kind, text))


class Discretion(logging.Filter):
    """Lets every record through, without secrets. For a logger, or for a handler: then it sees all that is logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = discreet(_message(record)), ()
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
            record.exc_text = discreet("".join(_lines(record.exc_info[1])).rstrip("\n"))
            record.exc_info = None  # frames hold the values of every local variable
        elif record.exc_text:
            record.exc_text = discreet(record.exc_text)
        return True


DISCRETION = Discretion()


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):  # logging would show all the arguments
        return f"a message that its arguments do not fit: {record.msg}"


def _lines(error: BaseException) -> Iterator[str]:
    """A traceback, the causes first, as Python prints one."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain and len(chain) < _CHAIN_MOST:
        chain.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    for one in reversed(chain):
        yield from traceback.format_tb(one.__traceback__)
        yield f"{type(one).__name__}: {one}\n" if isinstance(one, IcureSyncError) else f"{type(one).__name__}\n"
        if isinstance(one, BaseExceptionGroup):
            for inner in one.exceptions:
                yield from _lines(inner)


def _unless_of_one_kind(found: re.Match[str]) -> str:
    """A code has digits and letters; words in a row have no digits, and numbers that people compare no letters."""
    kinds = {letter.isdigit() for letter in found[0] if letter.isalnum()}
    return HIDDEN if len(kinds) > 1 else found[0]


def _unless_a_name(found: re.Match[str]) -> str:
    """Names and paths, however long, are made of words; in a key small letters, capitals and digits come at random."""
    kinds = [(letter.isdigit(), letter.isupper()) for letter in found[0] if letter.isalnum()]
    changes = sum(one != other for one, other in pairwise(kinds))
    return HIDDEN if changes >= _CHANGES_LEAST * len(found[0]) else found[0]
