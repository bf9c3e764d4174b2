"""Documents as a CouchDB takes them: `_bulk_docs` texts put together from raw bytes, and multipart bodies. No I/O.

Owns the forms. The body of a revision is never decoded: its members go behind the `_` members as they are. Attachments
always carry `revpos`: without it a CouchDB stores 0, and breaks later stubs.
Source: docs.couchdb.org, "/{db}/_bulk_docs", "/{db}/{docid}" (multipart/related).
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

import msgspec

from icure_sync.errors import BadAnswer
from icure_sync.ids import DocId, generation, rev_hash
from icure_sync.peers.couch_bodies import Body
from icure_sync.replication.wire import Attachment, Revision

BULK_START = b'{"new_edits":false,"docs":['
BULK_END = b"]}"

Described = Mapping[str, Mapping[str, Any]]  # the `_attachments` member

_encode = msgspec.json.encode


class WrongLength(BadAnswer):
    """The source gives more or fewer bytes of an attachment than it announced."""


def document(revision: Revision, attachments: Described | None = None) -> bytes:
    """One document with its history, as JSON."""
    ids = ",".join([f'"{rev_hash(rev)}"' for rev in revision.history])
    start = generation(revision.rev)
    head = (
        b'{"_id":' + _encode(revision.id),
        f',"_rev":"{revision.rev}","_revisions":{{"start":{start},"ids":[{ids}]}}'.encode(),
        b',"_deleted":true' if revision.deleted else b"",
        b',"_attachments":' + _encode(attachments) if attachments else b"",
    )
    members = revision.body.strip()[1:]
    comma = b"" if members.lstrip() == b"}" else b","
    return b"".join((*head, comma, members))


def inline(attachment: Attachment, data: bytes) -> dict[str, Any]:
    """An attachment with its bytes."""
    return {
        "content_type": attachment.content_type,
        "revpos": attachment.revpos,
        "digest": attachment.digest,
        "data": base64.b64encode(data).decode("ascii"),
    }


def stub(attachment: Attachment) -> dict[str, Any]:
    """An attachment whose bytes the server should have, from the revision that this one extends."""
    return {
        "content_type": attachment.content_type,
        "revpos": attachment.revpos,
        "digest": attachment.digest,
        "length": attachment.length,
        "stub": True,
    }


def follows(attachment: Attachment) -> dict[str, Any]:
    """An attachment whose bytes are a part of their own.

    Without the digest: a CouchDB compares it with the bytes that come, and where the source compresses it is another's.
    """
    return {
        "content_type": attachment.content_type,
        "revpos": attachment.revpos,
        "length": attachment.length,
        "follows": True,
    }


def is_likely_there(attachment: Attachment, revision: Revision) -> bool:
    """An attachment of an earlier revision: the server has it, if it has that one."""
    return 0 < attachment.revpos < generation(revision.rev)


def multipart(
    text: bytes, parts: Iterable[tuple[Attachment, Callable[[], AsyncGenerator[bytes, None]]]], boundary: str
) -> Body:
    """A `multipart/related` body: the document, then the bytes of each attachment that follows, in that order.

    `boundary`: random, drawn for this body alone: whoever could know it could write an attachment that nobody can send.
    Raises WrongLength while it is read if an attachment has not the length that was announced.
    """
    kept = tuple(parts)
    start = f"--{boundary}\r\nContent-Type: application/json\r\n\r\n".encode()
    between = f"\r\n--{boundary}\r\n\r\n".encode()
    end = f"\r\n--{boundary}--".encode()
    length = len(start) + len(text) + sum(len(between) + part.length for part, _ in kept) + len(end)

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield start + text
        for attachment, source in kept:
            yield between
            came = 0
            async with aclosing(source()) as arriving:
                async for piece in arriving:
                    came += len(piece)
                    if came > attachment.length:
                        break
                    yield piece
            if came != attachment.length:
                wrong = f"attachment {attachment.name!r} has not the length that was announced"
                raise WrongLength("send an attachment", wrong, "sync again")
        yield end

    return Body(length, pieces, f'multipart/related; boundary="{boundary}"')


def path_of(doc_id: DocId) -> str:
    """The path of a document below its database: `_design/` stays readable, everything else is encoded."""
    if doc_id.startswith("_design/"):
        return "/_design/" + quote(doc_id[len("_design/") :], safe="")
    return "/" + quote(doc_id, safe="")
