"""The local store as a peer of a replication. Owns the way to its thread, and the arrival of attachment bytes.

A revision is applied when all its bytes are here, in one transaction with their links: a kill leaves both or neither.
Knows no network.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec

from icure_sync.errors import NotFound
from icure_sync.ids import DocId, Rev, Seq
from icure_sync.peers.port import Peer, Selector
from icure_sync.replication.filters import passes
from icure_sync.replication.wire import (
    BAD_ATTACHMENT,
    Attachment,
    Change,
    Changes,
    Missing,
    PeerInfo,
    Refusal,
    Revision,
)
from icure_sync.store import Blob, DocumentChange, Store

NAME = "replica"
FETCH_TRIES = 2  # a damaged transfer is repeated once; bytes that are wrong twice are wrong at the source

_body = msgspec.json.Decoder(dict[str, Any])


class _File(msgspec.Struct):
    length: int | None = None
    sha256: str | None = None


class _Files(msgspec.Struct):
    files: dict[str, _File] = {}


_files = msgspec.json.Decoder(_Files)


@dataclass(frozen=True, slots=True)
class _Link:
    revision: Revision
    name: str
    blob: Blob


class LocalPeer:
    """A store, seen through the port. Every method may raise the kinds of StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def info(self) -> PeerInfo:
        documents = self._store.documents
        seq, count = await self._store.run(lambda: (documents.update_seq(), documents.count()))
        return PeerInfo(NAME, Seq(str(seq)), "0", count)

    async def read_local(self, local_id: str) -> Mapping[str, Any] | None:
        return await self._store.run(self._store.local.get, local_id)

    async def write_local(self, local_id: str, document: Mapping[str, Any]) -> None:
        await self._store.run(self._store.local.put, local_id, dict(document))

    async def changes(self, since: Seq, *, limit: int, selector: Selector | None = None) -> Changes:
        return await self._store.run(self._changes, int(since), limit, selector)

    async def missing(self, revs: Mapping[DocId, Sequence[Rev]]) -> Mapping[DocId, Missing]:
        return await self._store.run(self._store.documents.missing, revs)

    async def fetch(self, revs: Mapping[DocId, Sequence[Rev]]) -> Sequence[Revision | Refusal]:
        return await self._store.run(self._store.documents.fetch, revs)

    async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:
        blob = await self._store.run(self._store.attachments.find, doc_id, rev, name)
        if blob is None:
            raise NotFound(f"read attachment {name!r} of {doc_id} {rev}", "its bytes are not here", "sync again")
        pieces = self._store.attachments.read(blob)
        while (piece := await self._store.run(next, pieces, None)) is not None:
            yield piece

    async def write(self, revisions: Sequence[Revision], source: Peer) -> Sequence[Refusal]:
        links: list[_Link] = []
        refusals: list[Refusal] = []
        for revision in revisions:
            for attachment in revision.attachments.values():
                arrived = await self._bytes(revision, attachment, source)
                if isinstance(arrived, Refusal):
                    refusals.append(arrived)
                    break
                links.append(_Link(revision, attachment.name, arrived))
        if refusals:
            bad = {(refusal.id, refusal.rev) for refusal in refusals}
            revisions = [revision for revision in revisions if (revision.id, revision.rev) not in bad]
            links = [link for link in links if (link.revision.id, link.revision.rev) not in bad]
        return refusals + await self._store.run(self._apply, revisions, links)

    async def commit(self) -> None:
        """Nothing to do: every write is durable when it returns."""

    async def close(self) -> None:
        """Nothing to give back: the store belongs to whoever opened it."""

    def _changes(self, since: int, limit: int, selector: Selector | None) -> Changes:
        documents = self._store.documents
        found = documents.changes(since, limit)
        last = found[-1].seq if found else since
        rows = [_row(change, tuple(leaf.rev for leaf in change.leaves)) for change in found]
        if selector is not None:
            rows = [row for change in found if (row := self._filtered(change, selector)).leaves]
        return Changes(tuple(rows), Seq(str(last)), documents.count_changes(last))

    def _filtered(self, change: DocumentChange, selector: Selector) -> Change:
        """The row with the leaves that the selector passes, each by its own body."""
        leaves = self._store.documents.leaves(change.id)
        return _row(change, tuple(leaf.rev for leaf in leaves if passes(selector, _judged(leaf))))

    def _apply(self, revisions: Sequence[Revision], links: Sequence[_Link]) -> list[Refusal]:
        attachments = self._store.attachments
        with self._store.transaction():
            refusals = self._store.documents.apply(revisions)
            refused = {(refusal.id, refusal.rev) for refusal in refusals}
            for link in links:
                doc_id, rev = link.revision.id, link.revision.rev
                if (doc_id, rev) not in refused and attachments.find(doc_id, rev, link.name) is None:
                    self._link(doc_id, rev, link)
        return refusals

    def _link(self, doc_id: DocId, rev: Rev, link: _Link) -> None:
        if self._store.documents.get(doc_id, rev) is not None:  # else it is older than all that is kept
            self._store.attachments.link(doc_id, rev, link.name, link.blob)

    async def _bytes(self, revision: Revision, attachment: Attachment, source: Peer) -> Blob | Refusal:
        """The bytes of one attachment: those of a revision that is here, else the source's, checked."""
        held = await self._store.run(self._held, revision.id, attachment)
        if held is not None:
            return held
        wrong = ""
        for _ in range(FETCH_TRIES):
            try:
                blob = await self._receive(source.attachment(revision.id, revision.rev, attachment.name))
            except NotFound:
                wrong = "the source does not have its bytes"
                continue
            wrong = _wrong_with(blob, attachment, revision)
            if not wrong:
                return blob
        return Refusal(revision.id, revision.rev, BAD_ATTACHMENT, f"attachment {attachment.name!r}: {wrong}")

    def _held(self, doc_id: DocId, attachment: Attachment) -> Blob | None:
        for leaf in self._store.documents.leaves(doc_id):
            here = leaf.attachments.get(attachment.name)
            if here and (here.digest, here.length) == (attachment.digest, attachment.length):
                return self._store.attachments.find(doc_id, leaf.rev, attachment.name)
        return None

    async def _receive(self, pieces: AsyncGenerator[bytes, None]) -> Blob:
        upload = await self._store.run(self._store.attachments.begin)
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    await self._store.run(upload.write, piece)
            return await self._store.run(upload.finish)
        except BaseException:
            await self._store.run(upload.abandon)
            raise


def _row(change: DocumentChange, leaves: tuple[Rev, ...]) -> Change:
    return Change(change.id, leaves, Seq(str(change.seq)), change.deleted)


def _judged(leaf: Revision) -> dict[str, Any]:
    body = _body.decode(leaf.body)
    return {**body, "_deleted": True} if leaf.deleted else body


def _wrong_with(blob: Blob, attachment: Attachment, revision: Revision) -> str:
    """What is wrong with the bytes that came, "" if nothing.

    The document itself says what they must be (`files`), where it is one of ours. The peer's digest decides nothing: it
    depends on how the peer compresses.
    """
    if blob.length != attachment.length:
        return f"{blob.length} bytes came, {attachment.length} were announced"
    try:
        stated = _files.decode(revision.body).files.get(attachment.name)
    except msgspec.MsgspecError:
        return ""  # another software's document, with a `files` of its own
    if stated is None or stated.sha256 is None:
        return ""
    return "" if blob.sha256.hex() == stated.sha256.lower() else "the bytes are not those that the document names"
