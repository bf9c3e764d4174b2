"""The port: what a replication needs of a peer. A local store, a CouchDB, a hub and the in-memory peer have it alike.

Every method may raise the kinds of PeerError (a server) or StoreError (a local store), and is safe to repeat.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

from icure_sync.ids import DocId, HcpId, Rev, Seq
from icure_sync.replication.wire import Changes, Listing, Missing, PeerInfo, Refusal, Revision

Selector = Mapping[str, Any]  # a Mango selector, for `_changes?filter=_selector`


class Peer(Protocol):
    """One database that can be a source and a target."""

    async def info(self) -> PeerInfo:
        """Look at the database. Raises DatabaseMissing."""

    async def read_local(self, local_id: str) -> Mapping[str, Any] | None:
        """The `_local/<local_id>` document without its `_` members, or None."""

    async def write_local(self, local_id: str, document: Mapping[str, Any]) -> None:
        """Write `_local/<local_id>`, whatever stood there; durable when it returns."""

    async def changes(self, since: Seq, *, limit: int, selector: Selector | None = None) -> Changes:
        """Up to `limit` rows after `since` ("0": from the start), all leaves of each document."""

    def follow(self, since: Seq, *, selector: Selector | None = None) -> AsyncGenerator[Changes, None]:
        """Everything after `since`, and then whatever comes, in pages as it comes.

        A page without rows only says how far the feed is. Ends when the peer ends its feed: a database deleted or made
        anew, a server that closes. Raises as `changes` does, and TimedOut after a silence. Closing the generator gives
        the connection back.
        """

    def listed(self, hcp: HcpId) -> AsyncGenerator[Listing, None]:
        """The ids of what a device of this Hcp needs, in pages, from the peer's index by delegate.

        No page at all: there is no index. An id may come more than once.
        """

    async def missing(self, revs: Mapping[DocId, Sequence[Rev]]) -> Mapping[DocId, Missing]:
        """Which of these revisions are not here (`_revs_diff`). Documents that lack nothing are left out."""

    async def fetch(self, revs: Mapping[DocId, Sequence[Rev]]) -> Sequence[Revision | Refusal]:
        """These revisions with their histories (`_bulk_get?revs=true`), without attachment bytes.

        What the peer has not, or what does not parse, comes as a Refusal.
        """

    async def leaves(self, ids: Sequence[DocId]) -> Sequence[Revision | Refusal]:
        """All leaves of these documents, deleted ones too, as `fetch` gives revisions.

        A document that is not there is a Refusal `not_found` without a rev.
        """

    def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:
        """The bytes of one attachment, in pieces. Raises NotFound."""

    async def write(self, revisions: Sequence[Revision], source: Peer) -> Sequence[Refusal]:
        """Take these revisions as they are (`new_edits=false`).

        Attachment bytes that are not here yet are read from `source`. Returns those that were refused; everything else
        is durable when this returns.
        """

    async def commit(self) -> None:
        """Make everything written so far durable (`_ensure_full_commit`)."""

    async def close(self) -> None:
        """Give back connections, if any. The peer stays usable: the next call opens them anew."""


class Noticeboard(Peer, Protocol):
    """A peer that tells its documents by how their ids begin: where two devices leave each other messages."""

    async def named(self, prefix: str, *, limit: int) -> Sequence[DocId]:
        """The ids that begin with `prefix`, up to `limit` of them, in order; of documents that are not deleted."""
