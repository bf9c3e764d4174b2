"""An in-memory database with revision trees: a whole peer for tests, and a model of what a peer is.

Owns its documents, change order, `_local` documents and attachment bytes; everything is durable at once, as long as
the object lives. Knows no network, no files and no keys.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from icure_sync.errors import NotFound
from icure_sync.ids import DocId, HcpId, Rev, Seq
from icure_sync.merge.revtree import Leaf, RevTree, is_path
from icure_sync.peers.port import Peer, Selector
from icure_sync.replication.filters import passes_leaf
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

SEQ_EVERY = 3  # rows between two seqs of the feed: as `seq_interval` does, so that nobody counts on a seq in every row
FOLLOWED_ROWS = 100  # rows of one page of a feed that is followed
PIECE = 64 * 1024  # bytes of an attachment handed over at once


@dataclass(slots=True)
class _Document:
    tree: RevTree = field(default_factory=RevTree)
    revisions: dict[Rev, Revision] = field(default_factory=dict)
    content: dict[tuple[Rev, str], bytes] = field(default_factory=dict)  # attachment bytes by revision and name
    seq: int = 0


class MemoryPeer:
    """One database. `instance`: another one means another life of a database of that name."""

    def __init__(self, name: str = "memory", instance: str = "1") -> None:
        self._name = name
        self._instance = instance
        self._documents: dict[DocId, _Document] = {}  # in the order of their last change
        self._local: dict[str, dict[str, Any]] = {}
        self._last = 0
        self._followers: set[asyncio.Event] = set()

    async def info(self) -> PeerInfo:
        live = sum(not document.tree.winner().deleted for document in self._documents.values())
        return PeerInfo(self._name, self._seq(self._last), self._instance, live)

    async def read_local(self, local_id: str) -> Mapping[str, Any] | None:
        return copy.deepcopy(self._local.get(local_id))

    async def write_local(self, local_id: str, document: Mapping[str, Any]) -> None:
        self._local[local_id] = copy.deepcopy(dict(document))

    async def changes(self, since: Seq, *, limit: int, selector: Selector | None = None) -> Changes:
        number, _, instance = since.partition("-")
        start = int(number) if instance == self._instance else 0  # another life's seq: from the start, as CouchDB does
        rows: list[Change] = []
        position = start
        rest = [(doc_id, document) for doc_id, document in self._documents.items() if document.seq > start]
        for index, (doc_id, document) in enumerate(rest):
            if len(rows) == limit:
                return Changes(tuple(rows), self._seq(position), len(rest) - index)
            position = document.seq
            if leaves := self._passing(document, selector):
                seq = self._seq(position) if len(rows) % SEQ_EVERY == SEQ_EVERY - 1 else None
                rows.append(Change(doc_id, leaves, seq, document.tree.winner().deleted))
        return Changes(tuple(rows), self._seq(max(position, self._last)), 0)

    async def follow(self, since: Seq, *, selector: Selector | None = None) -> AsyncGenerator[Changes, None]:
        news = asyncio.Event()
        self._followers.add(news)
        try:
            while True:
                news.clear()
                page = await self.changes(since, limit=FOLLOWED_ROWS, selector=selector)
                if page.last_seq == since:
                    await news.wait()
                    continue
                since = page.last_seq
                yield page
        finally:
            self._followers.discard(news)

    async def listed(self, hcp: HcpId) -> AsyncGenerator[Listing, None]:  # noqa: ARG002  as the port names it
        """Has no index."""
        pages: tuple[Listing, ...] = ()
        for page in pages:
            yield page

    async def named(self, prefix: str, *, limit: int) -> Sequence[DocId]:
        live = (doc_id for doc_id, document in self._documents.items() if not document.tree.winner().deleted)
        return sorted(doc_id for doc_id in live if doc_id.startswith(prefix))[:limit]

    async def missing(self, revs: Mapping[DocId, Sequence[Rev]]) -> Mapping[DocId, Missing]:
        found = {}
        for doc_id, wanted in revs.items():
            tree = self.tree(doc_id)
            if lacking := tree.missing(wanted):
                ancestors = {leaf: None for rev in lacking for leaf in tree.possible_ancestors(rev)}
                found[doc_id] = Missing(lacking, tuple(ancestors))
        return found

    async def fetch(self, revs: Mapping[DocId, Sequence[Rev]]) -> Sequence[Revision | Refusal]:
        return [self._revision(doc_id, rev) for doc_id, wanted in revs.items() for rev in wanted]

    async def leaves(self, ids: Sequence[DocId]) -> Sequence[Revision | Refusal]:
        found: list[Revision | Refusal] = []
        for doc_id in ids:
            if leaves := self.tree(doc_id).leaves():
                found += [self._revision(doc_id, leaf.rev) for leaf in leaves]
            else:
                found.append(Refusal(doc_id, None, "not_found", "missing"))
        return found

    async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:
        document = self._documents.get(doc_id)
        content = document.content.get((rev, name)) if document else None
        if content is None:
            raise NotFound(f"read attachment {name!r} of {doc_id} {rev}", "it is not here", "sync again")
        for start in range(0, len(content), PIECE):
            yield content[start : start + PIECE]

    async def write(self, revisions: Sequence[Revision], source: Peer) -> Sequence[Refusal]:
        refusals = []
        for revision in revisions:
            refusal = await self._take(revision, source)
            if refusal is not None:
                refusals.append(refusal)
        return refusals

    async def commit(self) -> None:
        """Nothing to do: what is written is as durable as it gets."""

    async def close(self) -> None:
        """Nothing to give back."""

    def put(self, revision: Revision, content: Mapping[str, bytes] | None = None) -> None:
        """Take a revision as it is, with the bytes of its attachments by name: how a test fills a database."""
        document = self._documents.pop(revision.id, None) or _Document()
        self._last += 1
        document.tree = document.tree.graft(revision.history, revision.deleted)
        document.revisions.setdefault(revision.rev, revision)
        for name, data in (content or {}).items():
            document.content[revision.rev, name] = data
        document.seq = self._last
        self._documents[revision.id] = document  # last in the order of changes
        for news in self._followers:
            news.set()

    def tree(self, doc_id: DocId) -> RevTree:
        """The revision tree of a document, empty if it is not known."""
        document = self._documents.get(doc_id)
        return document.tree if document else RevTree()

    def all_leaves(self) -> dict[DocId, tuple[Leaf, ...]]:
        """The leaves of every document: what two peers must agree about after a replication both ways."""
        return {doc_id: document.tree.leaves() for doc_id, document in sorted(self._documents.items())}

    def remove(self, doc_id: DocId) -> None:
        """Forget a document altogether, without a trace in the feed (`_purge`)."""
        del self._documents[doc_id]

    def _seq(self, number: int) -> Seq:
        return Seq(f"{number}-{self._instance}")

    def _passing(self, document: _Document, selector: Selector | None) -> tuple[Rev, ...]:
        leaves = tuple(leaf.rev for leaf in document.tree.leaves())
        if selector is None:
            return leaves
        return tuple(rev for rev in leaves if passes_leaf(selector, document.revisions[rev]))

    def _revision(self, doc_id: DocId, rev: Rev) -> Revision | Refusal:
        document = self._documents.get(doc_id)
        kept = document.revisions.get(rev) if document else None
        if document is None or kept is None:
            return Refusal(doc_id, rev, "not_found", "missing")
        return Revision(doc_id, document.tree.history(rev), kept.body, kept.deleted, kept.attachments)

    async def _take(self, revision: Revision, source: Peer) -> Refusal | None:
        if not is_path(revision.history):
            return Refusal(revision.id, None, "bad_request", "not a history that can be grafted")
        if revision.rev in self.tree(revision.id):
            return None
        content = {}
        for attachment in revision.attachments.values():
            try:
                data = await self._content(revision, attachment, source)
            except NotFound as error:
                return Refusal(revision.id, revision.rev, BAD_ATTACHMENT, error.wrong)
            if len(data) != attachment.length:
                return Refusal(revision.id, revision.rev, BAD_ATTACHMENT, f"{attachment.name!r} has another length")
            content[attachment.name] = data
        self.put(revision, content)
        return None

    async def _content(self, revision: Revision, attachment: Attachment, source: Peer) -> bytes:
        """The bytes of an ancestor's attachment of that name and digest; else the source's."""
        document = self._documents.get(revision.id) or _Document()
        for ancestor in revision.history[1:]:
            known = document.revisions.get(ancestor)
            if known and known.attachments.get(attachment.name) == attachment:
                return document.content[ancestor, attachment.name]
        async with aclosing(source.attachment(revision.id, revision.rev, attachment.name)) as pieces:
            return b"".join([piece async for piece in pieces])
