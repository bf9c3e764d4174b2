"""The local store as a peer of a replication. Owns the way to its thread, and the arrival of attachment bytes.

A revision is applied as soon as all its bytes are here, in one transaction with their links: a kill leaves both or
neither, and what breaks later takes nothing back. Each file that has come is kept for it, also across a kill. Knows no
network.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from icure_sync.errors import NotFound, PeerError
from icure_sync.ids import DocId, HcpId, Rev, Seq
from icure_sync.peers.port import Peer, Selector
from icure_sync.replication.filters import passes_leaf
from icure_sync.replication.limits import MOST_ROWS
from icure_sync.replication.trouble import BatchRefused, ServerFailed
from icure_sync.replication.wire import (
    BAD_ATTACHMENT,
    Attachment,
    Change,
    Changes,
    Listing,
    Missing,
    PeerInfo,
    Refusal,
    Revision,
)
from icure_sync.store import Blob, DocumentChange, Lacking, Store, Upload, receive

NAME = "replica"
Sift = Callable[[Sequence[Revision]], Sequence[Revision]]
Note = Callable[[Sequence[Revision], Peer], Awaitable[None]]
FETCH_TRIES = 2  # a damaged transfer is repeated once; bytes that are wrong twice are wrong at the source


class _File(msgspec.Struct):
    length: int | None = None
    sha256: str | None = None


class _Files(msgspec.Struct):
    files: dict[str, _File] = {}


_files = msgspec.json.Decoder(_Files)


@dataclass(frozen=True, slots=True)
class _Link:
    name: str
    blob: Blob


class LocalPeer:
    """A store, seen through the port. Every method may raise the kinds of StoreError.

    `gathering`: seconds that a feed which is followed waits after a change, for others to go with it. `sift`: which of
    the revisions that come are taken in now; it sets the others aside, in the transaction under way. `note`:
    hears of all that come, and from where, before they are here.
    """

    def __init__(
        self, store: Store, *, gathering: float = 0.0, sift: Sift | None = None, note: Note | None = None
    ) -> None:
        self._store = store
        self._note = note
        self._sift = sift
        self._gathering = gathering

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

    async def follow(self, since: Seq, *, selector: Selector | None = None) -> AsyncGenerator[Changes, None]:
        changed = asyncio.Event()
        with self._store.watch(changed.set):
            while True:
                changed.clear()  # before reading: what is written meanwhile wakes it again
                page = await self.changes(since, limit=MOST_ROWS, selector=selector)
                if page.last_seq != since:
                    since = page.last_seq
                    yield page
                if not page.pending:
                    await changed.wait()
                    await asyncio.sleep(self._gathering)

    async def listed(self, hcp: HcpId) -> AsyncGenerator[Listing, None]:  # noqa: ARG002  as the port names it
        """Has no index for others: nobody pulls a first time from a device."""
        pages: tuple[Listing, ...] = ()
        for page in pages:
            yield page

    async def missing(self, revs: Mapping[DocId, Sequence[Rev]]) -> Mapping[DocId, Missing]:
        return await self._store.run(self._missing, revs)

    async def fetch(self, revs: Mapping[DocId, Sequence[Rev]]) -> Sequence[Revision | Refusal]:
        return await self._store.run(self._store.documents.fetch, revs)

    async def leaves(self, ids: Sequence[DocId]) -> Sequence[Revision | Refusal]:
        return await self._store.run(self._leaves, ids)

    async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:
        pieces = await self._store.run(self._store.attachments.content, doc_id, rev, name)
        if pieces is None:
            raise NotFound(f"read attachment {name!r} of {doc_id} {rev}", "its bytes are not here", "sync again")
        while (piece := await self._store.run(next, pieces, None)) is not None:
            yield piece

    async def write(self, revisions: Sequence[Revision], source: Peer) -> Sequence[Refusal]:
        if self._note is not None:
            await self._note(revisions, source)
        plain = [revision for revision in revisions if not revision.attachments]
        refusals = await self._store.run(self._apply, plain, ()) if plain else []
        for revision in revisions:
            if revision.attachments:
                refusals += await self._write_with_files(revision, source)
        return refusals

    async def complete(self, source: Peer) -> None:
        """Fetch the bytes that leaves here lack, as far as this source has the revisions and gives the bytes.

        Whoever is sent such a revision, and lacks what its stubs stand for, needs them. Usually there is none.
        Those that it does not give now are asked for another time.
        """
        page: list[Lacking] = []
        while page := await self._store.run(self._store.attachments.lacking, page[-1] if page else None):
            if not await self._complete(page, source):
                return

    async def commit(self) -> None:
        """Nothing to do: every write is durable when it returns."""

    async def close(self) -> None:
        """Nothing to give back: the store belongs to whoever opened it."""

    def _missing(self, revs: Mapping[DocId, Sequence[Rev]]) -> Mapping[DocId, Missing]:
        missing = self._store.set_aside.still_missing(self._store.documents.missing(revs))
        return self._store.withdrawals.still_missing(missing)

    def _changes(self, since: int, limit: int, selector: Selector | None) -> Changes:
        documents = self._store.documents
        found = documents.changes(since, limit)
        last = found[-1].seq if found else since
        rows = [_row(change, tuple(leaf.rev for leaf in change.leaves)) for change in found]
        if selector is not None:
            rows = [row for change in found if (row := self._filtered(change, selector)).leaves]
        return Changes(tuple(rows), Seq(str(last)), documents.count_changes(last))

    def _leaves(self, ids: Sequence[DocId]) -> list[Revision | Refusal]:
        found: list[Revision | Refusal] = []
        for doc_id in ids:
            found += self._store.documents.leaves(doc_id) or [Refusal(doc_id, None, "not_found", "missing")]
        return found

    def _filtered(self, change: DocumentChange, selector: Selector) -> Change:
        """The row with the leaves that the selector passes, each by its own body."""
        leaves = self._store.documents.leaves(change.id)
        return _row(change, tuple(leaf.rev for leaf in leaves if passes_leaf(selector, leaf)))

    async def _write_with_files(self, revision: Revision, source: Peer) -> list[Refusal]:
        links: list[_Link] = []
        for attachment in revision.attachments.values():
            arrived = await self._bytes(revision, attachment, source)
            if isinstance(arrived, Refusal):
                return [arrived]  # the files that came wait: the source may give this one another time
            links.append(_Link(attachment.name, arrived))
        lengths = {link.name: link.blob.length for link in links}
        files = {  # as they are here, never packed
            name: replace(one, length=lengths[name], gzip_length=None) for name, one in revision.attachments.items()
        }
        return await self._store.run(self._apply, [replace(revision, attachments=files)], links)

    def _apply(self, revisions: Sequence[Revision], links: Sequence[_Link]) -> list[Refusal]:
        """Take the revisions; `links` are the files of the one that has some.

        The store gives a new revision the bytes of an earlier one by what the peer says of them. It gets those that
        were checked, whatever the peer says.
        """
        with self._store.transaction():
            if self._sift is not None:
                revisions = self._sift(revisions)
            refusals = self._store.documents.apply(revisions)
            for revision in revisions if links and not refusals else ():
                if self._store.documents.get(revision.id, revision.rev) is not None:  # else older than all that is kept
                    for link in links:
                        self._store.attachments.link(revision.id, revision.rev, link.name, link.blob)
            for revision in revisions if links else ():
                self._store.arrivals.forget(revision.id, revision.rev)
        return refusals

    async def _complete(self, lacking: Sequence[Lacking], source: Peer) -> bool:
        """False if there is no use in asking this source for more."""
        revs: dict[DocId, list[Rev]] = {}
        for each in lacking:
            revs.setdefault(each.id, []).append(each.rev)
        missing = await source.missing(revs)
        for each in lacking:
            revision = await self._store.run(self._store.documents.get, each.id, each.rev)
            if revision is None or (each.id in missing and each.rev in missing[each.id].revs):
                continue
            try:
                came = await self._bytes(revision, each.stub, source)
            except (BatchRefused, ServerFailed):
                continue  # this file may be damaged there
            except PeerError:
                return False  # what goes on with this source meets the same, and knows what to do
            if isinstance(came, Blob):
                await self._store.run(self._link, each, came)
        return True

    def _link(self, lacking: Lacking, blob: Blob) -> None:
        with self._store.transaction():
            self._store.attachments.link(lacking.id, lacking.rev, lacking.stub.name, blob)
            self._store.arrivals.forget(lacking.id, lacking.rev)

    async def _bytes(self, revision: Revision, attachment: Attachment, source: Peer) -> Blob | Refusal:
        """The bytes of one attachment, checked: those that are here, else the source's."""
        held = await self._store.run(self._held, revision, attachment)
        if held is not None:
            return held
        wrong = ""
        for _ in range(FETCH_TRIES):
            end = partial(self._end, revision, attachment)
            try:
                async with aclosing(source.attachment(revision.id, revision.rev, attachment.name)) as pieces:
                    came = await receive(self._store, pieces, end)
            except NotFound:
                wrong = "the source does not have its bytes"
                continue
            if isinstance(came, Blob):
                return came
            wrong = came
        return Refusal(revision.id, revision.rev, BAD_ATTACHMENT, f"attachment {attachment.name!r}: {wrong}")

    def _end(self, revision: Revision, attachment: Attachment, upload: Upload) -> Blob | str:
        """The bytes that came, kept for their revision, whatever happens until that is here; or what is wrong."""
        with self._store.transaction():
            blob = upload.finish()
            wrong = _wrong_with(blob, attachment, revision)
            if not wrong:
                self._store.arrivals.keep(revision.id, revision.rev, attachment.name, blob, int(time.time()))
        return wrong or blob

    def _held(self, revision: Revision, attachment: Attachment) -> Blob | None:
        """What came for this revision before, what it has already, or what a leaf of its document has under the same
        name, digest and length, if that is known."""
        arrived = self._store.arrivals.find(revision.id, revision.rev, attachment.name)
        if arrived is not None and not _wrong_with(arrived, attachment, revision):
            return arrived
        revs = [revision.rev]
        for leaf in self._store.documents.leaves(revision.id):
            here = leaf.attachments.get(attachment.name)
            if here is None or here.gzip_length is not None:  # what is kept packed are other bytes
                continue
            if here.digest == attachment.digest and not _has_other_length(here.length, attachment):
                revs.append(leaf.rev)
        for rev in revs:
            blob = self._store.attachments.find(revision.id, rev, attachment.name)
            if blob is not None and not _wrong_with(blob, attachment, revision):
                return blob
        return None


def _row(change: DocumentChange, leaves: tuple[Rev, ...]) -> Change:
    return Change(change.id, leaves, Seq(str(change.seq)), change.deleted)


def _has_other_length(length: int, attachment: Attachment) -> bool:
    return attachment.is_length_known and length != attachment.length


def _wrong_with(blob: Blob, attachment: Attachment, revision: Revision) -> str:
    """What is wrong with the bytes that came, "" if nothing.

    The document itself says what they must be (`files`), where it is one of ours. The peer's digest decides nothing: it
    depends on how the peer compresses.
    """
    if _has_other_length(blob.length, attachment):
        return f"{blob.length} bytes came, {attachment.length} were announced"
    try:
        stated = _files.decode(revision.body).files.get(attachment.name)
    except msgspec.MsgspecError:
        return ""  # another software's document, with a `files` of its own
    if stated is None or stated.sha256 is None:
        return ""
    return "" if blob.sha256.hex() == stated.sha256.lower() else "the bytes are not those that the document names"
