"""multipart/related and multipart/mixed, both ways, in bounded memory: a document and the bytes of its attachments.

Source: RFC 2046, and CouchDB's "Multipart" pages: the JSON comes first, then one part for each attachment that
`follows`, in the order in which the JSON names them.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from icure_sync.hub import bodies
from icure_sync.hub.answers import encode
from icure_sync.hub.databases import Database
from icure_sync.hub.drafts import MEMBERS, Members
from icure_sync.hub.errors import bad_request, too_large
from icure_sync.hub.limits import MAX_ATTACHMENT, MAX_JSON_BODY
from icure_sync.hub.reading import Found
from icure_sync.hub.rendering import Blob as Place
from icure_sync.hub.rendering import Rendered
from icure_sync.hub.transfer import chunks_of
from icure_sync.hub.writing import File

_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"([^"]{1,200})"|([^;\s]{1,200}))', re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_HEAD = 16 * 2**10  # bytes of one part's headers


def accepts(request: web.BaseRequest, kind: str) -> bool:
    """True if the client would take `kind`: it says so, says anything, or says nothing."""
    kinds = _accepted(request)
    return not kinds or kind in kinds or ("*/*" in kinds and "application/json" not in kinds)


def accepts_json_only(request: web.BaseRequest) -> bool:
    """CouchDB answers `open_revs` as JSON only to those who ask for JSON."""
    return "application/json" in _accepted(request)


def is_related(request: web.BaseRequest) -> bool:
    return request.headers.get("Content-Type", "").strip().lower().startswith("multipart/related")


def new_boundary() -> str:
    return uuid.uuid4().hex


async def related(database: Database, found: Rendered, boundary: str) -> AsyncIterator[bytes]:
    """A document, then the attachments that follow it."""
    mark = f"--{boundary}".encode()
    yield mark + b"\r\nContent-Type: application/json\r\n\r\n"
    async for chunk in chunks_of(database, found.pieces):
        yield chunk
    for one in found.following:
        name = _CONTROL.sub("_", one.name).replace("\\", "\\\\").replace('"', '\\"')
        headers = (
            f'Content-Disposition: attachment; filename="{name}"',
            f"Content-Type: {one.content_type}",
            f"Content-Length: {one.length if one.gzip_length is None else one.gzip_length}",
            *(() if one.gzip_length is None else ("Content-Encoding: gzip",)),
        )
        yield b"\r\n" + mark + ("\r\n" + "\r\n".join(headers) + "\r\n\r\n").encode()
        place = Place(found.revision.id, found.revision.rev, one, base64=False)
        async for chunk in chunks_of(database, [place]):
            yield chunk
    yield b"\r\n" + mark + b"--"


async def mixed(database: Database, found: AsyncIterator[Found], boundary: str) -> AsyncIterator[bytes]:
    """Several revisions, each a part of its own; one with attachments is a multipart/related inside."""
    mark = f"--{boundary}\r\n".encode()
    async for one in found:
        if not isinstance(one, Rendered):
            yield mark + b'Content-Type: application/json; error="true"\r\n\r\n' + encode({"missing": one}) + b"\r\n"
            continue
        if one.following:
            inner = new_boundary()
            yield mark + f'Content-Type: multipart/related; boundary="{inner}"\r\n\r\n'.encode()
            async for chunk in related(database, one, inner):
                yield chunk
        else:
            yield mark + b"Content-Type: application/json\r\n\r\n"
            async for chunk in chunks_of(database, one.pieces):
                yield chunk
        yield b"\r\n"
    yield mark[:-2] + b"--"


async def read_related(request: web.BaseRequest, database: Database) -> tuple[Members, dict[str, File]]:
    """The members of the document and the bytes of what follows, in the store already.

    Raises bad_request for what is not such a body, too_large.
    """
    match = _BOUNDARY.search(request.headers.get("Content-Type", ""))
    if match is None:
        raise bad_request("Invalid multipart boundary")
    parts = _Parts(bodies.pieces(request), (match[1] or match[2]).encode())
    if not await parts.next_part():
        raise bad_request("the multipart body has no parts")
    text = bytearray()
    async for chunk in parts.content():
        text += chunk
        if len(text) > MAX_JSON_BODY:
            raise too_large("document")
    members = bodies.decode(bytes(text), MEMBERS)
    uploads: dict[str, File] = {}
    for name, entry in _following(members):
        if not await parts.next_part():
            raise bad_request(f"the bytes of attachment {name[:80]!r} did not follow")
        if entry.encoding == "gzip":  # what another server keeps packed and sends so
            file = uploads[name] = await store_packed(database, parts.content())
            lengths = {None, file.inside, file.blob.length}  # a CouchDB does not always know what is inside
            is_whole = entry.length in lengths and entry.encoded_length in {None, file.blob.length}
        else:
            file = uploads[name] = await store_bytes(database, parts.content())
            is_whole = entry.length in {None, file.blob.length}
        if not is_whole:
            raise bad_request(f"attachment {name[:80]!r} is not as long as was said")
    return members, uploads


async def store_bytes(database: Database, chunks: AsyncIterator[bytes]) -> File:
    """Bytes into the store as they come. Raises too_large; not_found once the database is deleted."""
    return File(await database.receive(_bounded(chunks)))


async def store_packed(database: Database, chunks: AsyncIterator[bytes]) -> File:
    """The same for gzip, which stays packed. Raises bad_request for what is not gzip."""
    inflater, inside = bodies.Inflater(), 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal inside
        async for piece in chunks:
            for chunk in inflater.feed(piece):
                inside += len(chunk)
                await asyncio.sleep(0)  # a small piece may hold much
                _check_size(inside)
            yield piece
        inside += len(inflater.finish())

    blob = await database.receive(_bounded(counted()))
    return File(blob, inside)


async def _bounded(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    length = 0
    async for chunk in chunks:
        length += len(chunk)
        _check_size(length)
        yield chunk


def _check_size(length: int) -> None:
    if length > MAX_ATTACHMENT:
        raise too_large("attachment")


class _Entry(msgspec.Struct):
    follows: bool = False
    length: int | None = None
    encoding: str = ""
    encoded_length: int | None = None


_ENTRIES = msgspec.json.Decoder(dict[str, _Entry])


def _following(members: Members) -> list[tuple[str, _Entry]]:
    """The attachments whose bytes follow, in the order of the JSON."""
    if "_attachments" not in members:
        return []
    entries = bodies.decode(bytes(members["_attachments"]), _ENTRIES)
    return [(name, entry) for name, entry in entries.items() if entry.follows]


class _Parts:
    """A multipart body, read part by part. `_held`: what has been read and not given out yet."""

    def __init__(self, chunks: AsyncIterator[bytes], boundary: bytes) -> None:
        self._chunks = chunks
        self._mark = b"\r\n--" + boundary
        self._held = bytearray(b"\r\n")  # so that the first mark looks like the others

    async def next_part(self) -> bool:
        """Go to the next part's content; False at the end. The content before must have been read."""
        while (at := self._held.find(self._mark)) < 0:
            del self._held[: -len(self._mark)]  # a preamble
            await self._more()
        del self._held[: at + len(self._mark)]
        while len(self._held) < 2:
            await self._more()
        if self._held.startswith(b"--"):
            return False
        while (end := self._held.find(b"\r\n\r\n")) < 0:
            if len(self._held) > _MAX_HEAD:
                raise bad_request("the headers of a part are too long")
            await self._more()
        del self._held[: end + 4]
        return True

    async def content(self) -> AsyncIterator[bytes]:
        """The bytes of this part, up to the next mark, which stays."""
        while (at := self._held.find(self._mark)) < 0:
            safe = len(self._held) - len(self._mark)
            if safe > 0:
                piece = bytes(self._held[:safe])
                del self._held[:safe]
                yield piece
            await self._more()
        piece = bytes(self._held[:at])
        del self._held[:at]
        yield piece

    async def _more(self) -> None:
        """Read on; an empty piece (of a compressed body) is no end."""
        async for chunk in self._chunks:
            self._held += chunk
            return
        raise bad_request("the multipart body ends in the middle")


def _accepted(request: web.BaseRequest) -> set[str]:
    header = request.headers.get("Accept", "")
    return {one.partition(";")[0].strip().lower() for one in header.split(",") if one.strip()}
