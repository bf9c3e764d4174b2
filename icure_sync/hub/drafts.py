"""Documents as clients send them: the `_` members taken apart and checked, the rest left as text. Knows no store.

Source: CouchDB's `couch_doc:from_json_obj`: which members may begin with an underscore, and how each is refused.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw

from icure_sync.hub import bodies
from icure_sync.hub.answers import encode
from icure_sync.hub.errors import HttpRefusal, bad_request, doc_validation, document_too_large
from icure_sync.hub.limits import MAX_CONTENT_TYPE
from icure_sync.hub.paths import check_doc_id
from icure_sync.ids import MAX_GENERATION, MAX_REV_HASH, DocId, Rev
from icure_sync.replication.limits import MAX_DOCUMENT

Members = dict[str, Raw]
MEMBERS: Final = msgspec.json.Decoder(Members)
_VALUE: Final = msgspec.json.Decoder(Any)

_REV = re.compile(rf"([1-9][0-9]{{0,15}})-([0-9A-Za-z._~+=]{{1,{MAX_REV_HASH}}})\Z", re.ASCII)
_MD5_DIGITS = 32  # of CouchDB's own revisions
_HEX = re.compile(r"[0-9A-Fa-f]+\Z")
_IGNORED = frozenset({"_conflicts", "_deleted_conflicts", "_revs_info", "_local_seq"})
_REPLICATION = re.compile(r"_replication_(?:id|state|state_time|state_reason|stats)\Z")
_WHITESPACE = re.compile(r"[ \t\r\n]+")  # what CouchDB skips in base64


@dataclass(frozen=True, slots=True)
class Part:
    """One attachment of a draft. `data`: inline bytes; None for a stub, or for bytes that follow in a multipart."""

    source: Literal["data", "stub", "follows"]
    content_type: str
    data: bytes | None = None
    revpos: int | None = None
    digest: str = ""
    length: int | None = None
    encoding: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """One document to be written. `history`: newest first, empty if it names no revision; `body` without `_` members.

    `has_ancestry`: the history came from `_revisions`.
    """

    id: DocId
    history: tuple[Rev, ...]
    body: bytes
    deleted: bool = False
    has_ancestry: bool = False
    parts: Mapping[str, Part] = field(default_factory=dict)

    @property
    def rev(self) -> Rev | None:
        return self.history[0] if self.history else None


def parse_draft(members: Members, doc_id: DocId | None = None) -> Draft:
    """A draft of the members of one JSON object; `doc_id` (of the path) stands above `_id`. Raises HttpRefusal."""
    special = {name: members.pop(name) for name in tuple(members) if name.startswith("_")}
    doc_id = check_doc_id(_value(special.get("_id"), "") if doc_id is None else doc_id)
    rev, revisions = special.get("_rev"), special.get("_revisions")
    history: tuple[Rev, ...] = ()
    if revisions is not None:  # stands above `_rev`, whatever that says
        history = _history(_value(revisions, None))
    elif rev is not None:
        history = (parse_rev(_value(rev, None)),)
    deleted = _value(special.get("_deleted"), False)
    if not isinstance(deleted, bool):
        raise doc_validation("_deleted must be true or false")
    for name in special.keys() - {"_id", "_rev", "_revisions", "_deleted", "_attachments"} - _IGNORED:
        if not _REPLICATION.match(name):
            raise doc_validation(f"Bad special document member: {name[:80]}")
    body = encode(members)
    if len(body) > MAX_DOCUMENT:
        raise document_too_large(doc_id)
    parts = _parts(_value(special.get("_attachments"), {}))
    return Draft(doc_id, history, body, deleted, revisions is not None, parts)


def check_named(draft: Draft) -> Draft:
    """`draft`, if it names the revision that it is (`new_edits=false`). Raises bad_request."""
    if draft.rev is None:
        raise bad_request("When `new_edits: false`, the document needs `_rev` or `_revisions` specified")
    return draft


def parse_rev(text: object) -> Rev:
    """`N-text`; 32 hex digits in lower case. Raises bad_request."""
    match = _REV.match(text) if isinstance(text, str) else None
    if match is None or int(match[1]) > MAX_GENERATION:
        raise bad_request("Invalid rev format")
    if len(match[2]) != _MD5_DIGITS:
        return Rev(match[0])
    if not _HEX.match(match[2]):
        raise bad_request("Invalid rev format")
    return Rev(match[0].lower())


def is_history(history: Sequence[Rev]) -> bool:
    """True for revision ids as CouchDB takes them, newest first, without gaps."""
    matches = [_REV.match(rev) for rev in history]
    first = matches[0] if matches else None
    if first is None or int(first[1]) > MAX_GENERATION:
        return False
    top = int(first[1])
    return all(match is not None and int(match[1]) == top - depth for depth, match in enumerate(matches))


def _value(raw: Raw | None, default: Any) -> Any:
    return default if raw is None else bodies.decode(bytes(raw), _VALUE)


def _history(revisions: object) -> tuple[Rev, ...]:
    match revisions:
        case {"start": int(start), "ids": [*ids]} if ids and not isinstance(start, bool) and start >= len(ids):
            try:
                return tuple(parse_rev(f"{start - depth}-{digits}") for depth, digits in enumerate(ids))
            except HttpRefusal as error:
                raise doc_validation("RevIds are not valid") from error
    raise doc_validation("_revisions is not {start: number, ids: [text, …]} or longer than its start")


def _parts(attachments: object) -> dict[str, Part]:
    if not isinstance(attachments, dict):
        raise doc_validation("Bad special document member: _attachments")
    return {check_attachment_name(name): _part(name, entry) for name, entry in attachments.items()}


def check_attachment_name(name: str) -> str:
    """Raises bad_request for a name that begins with an underscore, or none."""
    if not name:
        raise bad_request("Attachment name must not be empty")
    if name.startswith("_"):
        raise bad_request(f"Attachment name {name[:80]!r} starts with prohibited character '_'")
    return name


def check_content_type(content_type: str) -> str:
    """Raises bad_request for what cannot be sent as a header."""
    if not (content_type.isprintable() and content_type.isascii() and len(content_type) <= MAX_CONTENT_TYPE):
        raise bad_request("the content type of an attachment is not printable ASCII, or too long")
    return content_type


def _part(name: str, entry: object) -> Part:
    if not isinstance(entry, dict):
        raise doc_validation("Attachment must be a JSON object")
    content_type = entry.get("content_type", "application/octet-stream")
    revpos, digest, length = entry.get("revpos"), entry.get("digest", ""), entry.get("length")
    encoding = entry.get("encoding", "")
    numbers = all(number is None or (type(number) is int and number >= 0) for number in (revpos, length))
    if not (numbers and all(isinstance(text, str) for text in (content_type, digest, encoding))):
        raise doc_validation(f"Attachment {name[:80]!r} has members of the wrong type")
    check_content_type(content_type)
    facts = {"revpos": revpos, "digest": digest, "length": length, "encoding": encoding}
    if entry.get("stub") is True:
        return Part("stub", content_type, **facts)
    if entry.get("follows") is True:
        return Part("follows", content_type, **facts)
    data = _base64(entry.get("data"))
    if data is None:
        raise bad_request(f"Invalid attachment data for {name[:80]}")
    return Part("data", content_type, data, **facts)


def _base64(text: object) -> bytes | None:
    """The bytes of padded base64 with blanks in it (RFC 4648, 4); None for anything else."""
    if not isinstance(text, str):
        return None
    packed = _WHITESPACE.sub("", text)
    if len(packed) % 4:
        return None
    try:
        return base64.b64decode(packed, validate=True)
    except ValueError:
        return None
