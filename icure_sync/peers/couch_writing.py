"""Writing revisions to a CouchDB: in bulk where it can be, one by one with their attachments where it must be.

Owns the choice between inline bytes, stubs and streams. Bounded: one request's documents are in memory, and one piece
of one attachment. What a server refuses of one document is a Refusal.
"""

from __future__ import annotations

import os
from collections.abc import Container, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from icure_sync.errors import Forbidden, NotFound, Unauthorized
from icure_sync.peers.couch_answers import Answers
from icure_sync.peers.couch_bodies import Body, json_body
from icure_sync.peers.couch_documents import (
    BULK_END,
    BULK_START,
    WrongLength,
    document,
    follows,
    inline,
    is_likely_there,
    multipart,
    path_of,
    stub,
)
from icure_sync.peers.couch_requests import Request, Requests
from icure_sync.peers.limits import BOUNDARY_BYTES, INLINE_BYTES, REQUEST_BYTES
from icure_sync.peers.port import Peer
from icure_sync.replication.trouble import BatchRefused, CheckpointConflict
from icure_sync.replication.wire import BAD_ATTACHMENT, Attachment, Refusal, Revision


class Writer:
    """Writes to one database. `path`: its path below the server."""

    def __init__(self, requests: Requests, answers: Answers, path: str, peer: str) -> None:
        self._requests = requests
        self._answers = answers
        self._path = path
        self._attempted = f"write documents to {peer}"

    async def write(self, revisions: Sequence[Revision], source: Peer) -> list[Refusal]:
        """Everything else is written when this returns. Raises the kinds of PeerError."""
        refusals: list[Refusal] = []
        bulk = _Bulk()
        for revision in revisions:
            if revision.attachments and not _fits_inline(revision):
                refusals += await self._write_alone(revision, source)
                continue
            text = await self._text(revision, source, stubs=_likely_there(revision))
            if isinstance(text, Refusal):
                refusals.append(text)
                continue
            if bulk.texts and bulk.size + len(text) > REQUEST_BYTES:
                refusals += await self._write_bulk(bulk, source)
                bulk = _Bulk()
            bulk.add(revision, text)
        if bulk.texts:
            refusals += await self._write_bulk(bulk, source)
        return refusals

    async def _write_bulk(self, bulk: _Bulk, source: Peer) -> list[Refusal]:
        """Once more with all bytes, if the server lacks (412) what a stub stands for: it stores none of them then."""
        try:
            return await self._post(bulk.texts)
        except BatchRefused:
            if not any(map(_likely_there, bulk.revisions)):
                raise
        texts = [await self._text(revision, source, stubs=()) for revision in bulk.revisions]
        refusals = [text for text in texts if isinstance(text, Refusal)]
        whole = [text for text in texts if not isinstance(text, Refusal)]
        return refusals + (await self._post(whole) if whole else [])

    async def _post(self, texts: Sequence[bytes]) -> list[Refusal]:
        separated = [piece for text in texts for piece in (b",", text)][1:]
        body = json_body([BULK_START, *separated, BULK_END])
        request = Request("POST", self._path + "/_bulk_docs", self._attempted, body=body)
        return self._answers.refusals(await self._requests.answer(request), self._attempted)

    async def _text(self, revision: Revision, source: Peer, stubs: Container[str]) -> bytes | Refusal:
        """The document, with the bytes of its attachments, but for `stubs`: they are few, by `_fits_inline`."""
        if not revision.attachments:
            return document(revision)
        described = {}
        for attachment in revision.attachments.values():
            if attachment.name in stubs:
                described[attachment.name] = stub(attachment)
                continue
            data = bytearray()
            try:
                async with aclosing(source.attachment(revision.id, revision.rev, attachment.name)) as pieces:
                    async for piece in pieces:
                        data += piece
                        if len(data) > attachment.length:
                            break
            except NotFound:
                return _bad(revision, attachment, "the source does not have its bytes")
            if len(data) != attachment.length:
                return _bad(revision, attachment, "its length is not the one announced")
            described[attachment.name] = inline(attachment, bytes(data))
        return document(revision, described)

    async def _write_alone(self, revision: Revision, source: Peer) -> list[Refusal]:
        """One document by a request of its own: with stubs for what the server should have, else with all bytes.

        The login is looked at before: a CouchDB that does not want a large body closes the connection upon it, and what
        it says about it is lost.
        """
        await self._requests.confirm_login()
        try:
            if not await self._put_with_stubs(revision, source):
                await self._put(revision, self._body(revision, source, ()))
        except BatchRefused as error:
            return [Refusal(revision.id, revision.rev, error.error, error.reason)]
        except CheckpointConflict as error:
            return [Refusal(revision.id, revision.rev, "conflict", error.wrong)]
        except (NotFound, WrongLength) as error:
            return [Refusal(revision.id, revision.rev, BAD_ATTACHMENT, error.wrong)]
        except (Forbidden, Unauthorized) as error:
            await self._requests.answer(Request("GET", self._path, self._attempted))  # raises if it is not the document
            return [Refusal(revision.id, revision.rev, type(error).__name__.lower(), error.wrong)]
        return []

    async def _put_with_stubs(self, revision: Revision, source: Peer) -> bool:
        """False if the server lacks what the stubs stand for (412), or there is nothing that it might have."""
        stubs = _likely_there(revision)
        if not stubs:
            return False
        try:
            await self._put(revision, self._body(revision, source, stubs))
        except BatchRefused:
            return False
        return True

    async def _put(self, revision: Revision, body: Body) -> None:
        path = self._path + path_of(revision.id)
        request = Request("PUT", path, self._attempted, query={"new_edits": "false"}, body=body)
        self._answers.done(await self._requests.answer(request), self._attempted)

    def _body(self, revision: Revision, source: Peer, stubs: Container[str]) -> Body:
        described = {}
        parts = []
        for each in revision.attachments.values():
            if each.name in stubs:
                described[each.name] = stub(each)
            else:
                described[each.name] = follows(each)
                parts.append((each, partial(source.attachment, revision.id, revision.rev, each.name)))
        text = document(revision, described)
        return multipart(text, parts, os.urandom(BOUNDARY_BYTES).hex()) if parts else json_body([text])


@dataclass(slots=True)
class _Bulk:
    """Documents for one request. `size`: bytes of the texts."""

    revisions: list[Revision] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, revision: Revision, text: bytes) -> None:
        self.revisions.append(revision)
        self.texts.append(text)
        self.size += len(text)


def _likely_there(revision: Revision) -> list[str]:
    """The attachments that the server should have, from earlier revisions."""
    return [each.name for each in revision.attachments.values() if is_likely_there(each, revision)]


def _fits_inline(revision: Revision) -> bool:
    return sum(attachment.length for attachment in revision.attachments.values()) <= INLINE_BYTES


def _bad(revision: Revision, attachment: Attachment, wrong: str) -> Refusal:
    return Refusal(revision.id, revision.rev, BAD_ATTACHMENT, f"attachment {attachment.name!r}: {wrong}")
