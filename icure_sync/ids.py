"""Identifiers: types of their own for ids, revisions and kids, and the rules they obey. Knows no documents.

Revision ids are `N-hash`: generation N counted from 1, and lowercase hex (CouchDB's own are 32 digits). Seqs are
opaque: they are compared for equality only.
"""

from __future__ import annotations

import re
from typing import NewType

DocId = NewType("DocId", str)
HcpId = NewType("HcpId", str)
Rev = NewType("Rev", str)
Kid = NewType("Kid", str)  # hex of 16 bytes: names a key without showing it
Seq = NewType("Seq", str)  # opaque; the JSON text is kept when a server answers with something else than a string

MAX_GENERATION = 2**53  # what every JSON reader can hold exactly; CouchDB itself accepts more, and lets it win
MAX_REV_HASH = 64  # hex digits; CouchDB writes 32, other servers up to 64

_REV = re.compile(rf"([1-9][0-9]{{0,15}})-([0-9a-f]{{1,{MAX_REV_HASH}}})\Z", re.ASCII)
_KID = re.compile(r"[0-9a-f]{32}\Z", re.ASCII)
_HCP_ID = re.compile(r"[A-Za-z0-9-][A-Za-z0-9_-]{0,63}\Z", re.ASCII)


def is_rev(text: object) -> bool:
    """True if `text` is a revision id that a replica accepts."""
    match = _REV.match(text) if isinstance(text, str) else None
    return match is not None and int(match[1]) <= MAX_GENERATION


def generation(rev: Rev) -> int:
    """The number before the dash."""
    return int(rev[: rev.index("-")])


def rev_hash(rev: Rev) -> str:
    """The digits after the dash."""
    return rev[rev.index("-") + 1 :]


def rev_order(rev: Rev) -> tuple[int, str]:
    """Sort key of CouchDB's rule among leaves that are alike in deletion: higher generation, then higher hash."""
    return generation(rev), rev_hash(rev)


def is_kid(text: object) -> bool:
    """True for what `crypto.envelope.kid` gives: 32 hex digits."""
    return isinstance(text, str) and _KID.match(text) is not None


def is_hcp_id(text: object) -> bool:
    """`[A-Za-z0-9_-]{1,64}`, not beginning with `_`: they become keys of access maps and of server-side selectors."""
    return isinstance(text, str) and _HCP_ID.match(text) is not None
