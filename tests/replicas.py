"""Parts for tests of replication: revisions, a clock that never waits, and a peer that fails when told to."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import Any

from icure_sync.engine.clock import Clock
from icure_sync.ids import DocId, HcpId, Rev, Seq
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer, Selector
from icure_sync.replication.wire import Attachment, Changes, Listing, Missing, PeerInfo, Refusal, Revision


def rev(generation: int, mark: int) -> Rev:
    """A revision id as CouchDB writes them."""
    return Rev(f"{generation}-{mark:032x}")


def revision(
    doc_id: str,
    *history: str,
    body: bytes = b'{"n":1}',
    deleted: bool = False,
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> Revision:
    """A revision with its history, newest first; `files` are attachments, described without their bytes."""
    described = {
        name: Attachment(name, "application/octet-stream", len(data), digest(data), len(history))
        for name, data in files.items()
    }
    return Revision(DocId(doc_id), tuple(Rev(each) for each in history), body, deleted, described)


def digest(data: bytes) -> str:
    return "sha256-" + hashlib.sha256(data).hexdigest()


def edit(peer: MemoryPeer, doc_id: str, mark: int, *, deleted: bool = False, parent: Rev | None = None) -> Rev:
    """A write as a device makes it: under the winner, or under `parent`."""
    tree = peer.tree(DocId(doc_id))
    above = tree.history(parent or tree.winner().rev) if tree else ()
    new = rev(len(above) + 1, mark)
    peer.put(Revision(DocId(doc_id), (new, *above), b'{"mark":%d}' % mark, deleted))
    return new


def still_clock() -> Clock:
    """Time that passes a little with every look, and sleep that takes none."""
    moment = 1_700_000_000.0

    def now() -> float:
        nonlocal moment
        moment += 0.01
        return moment

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    return Clock(now, now, sleep)


def seeded_entropy(seed: int = 1) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


class FailingPeer:
    """A peer in front of another one. `fail(call, number)` is asked before and after each call, and may raise."""

    def __init__(self, inner: Peer, fail: Callable[[str, int], None]) -> None:
        self.inner = inner
        self.calls: list[str] = []
        self._fail = fail

    async def _through(self, name: str, *args: Any, **named: Any) -> Any:
        self.calls.append(name)
        self._fail(name, len(self.calls))
        await asyncio.sleep(0)  # as on a network, others run meanwhile
        result = await getattr(self.inner, name)(*args, **named)
        self.calls.append(name + " done")
        self._fail(name + " done", len(self.calls))
        return result

    async def info(self) -> PeerInfo:
        return await self._through("info")

    async def read_local(self, local_id: str) -> Mapping[str, Any] | None:
        return await self._through("read_local", local_id)

    async def write_local(self, local_id: str, document: Mapping[str, Any]) -> None:
        await self._through("write_local", local_id, document)

    async def changes(self, since: Seq, *, limit: int, selector: Selector | None = None) -> Changes:
        return await self._through("changes", since, limit=limit, selector=selector)

    async def missing(self, revs: Mapping[DocId, Sequence[Rev]]) -> Mapping[DocId, Missing]:
        return await self._through("missing", revs)

    async def fetch(self, revs: Mapping[DocId, Sequence[Rev]]) -> Sequence[Revision | Refusal]:
        return await self._through("fetch", revs)

    async def leaves(self, ids: Sequence[DocId]) -> Sequence[Revision | Refusal]:
        return await self._through("leaves", ids)

    async def follow(self, since: Seq, *, selector: Selector | None = None) -> AsyncIterator[Changes]:
        self.calls.append("follow")
        self._fail("follow", len(self.calls))
        async with aclosing(self.inner.follow(since, selector=selector)) as pages:
            async for page in pages:
                yield page

    async def listed(self, hcp: HcpId) -> AsyncIterator[Listing]:
        self.calls.append("listed")
        self._fail("listed", len(self.calls))
        async with aclosing(self.inner.listed(hcp)) as pages:
            async for page in pages:
                yield page

    async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncIterator[bytes]:
        self.calls.append("attachment")
        self._fail("attachment", len(self.calls))
        async for piece in self.inner.attachment(doc_id, rev, name):
            yield piece

    async def write(self, revisions: Sequence[Revision], source: Peer) -> Sequence[Refusal]:
        return await self._through("write", revisions, source)

    async def commit(self) -> None:
        await self._through("commit")

    async def close(self) -> None:
        await self.inner.close()
