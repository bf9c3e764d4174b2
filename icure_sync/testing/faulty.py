"""A peer in front of another one, which fails, or answers otherwise, at the calls that a test chooses.

Owns the choice and a note of every call. Works on any Peer, without a network.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from icure_sync.ids import DocId, HcpId, Rev, Seq
from icure_sync.peers.port import Peer, Selector
from icure_sync.replication.wire import Changes, Listing, Missing, PeerInfo, Refusal, Revision

T = TypeVar("T")

DONE = " done"  # behind the name of a call: it has been made, and the caller does not know yet

Step = Callable[[str, int], None]  # told the name of each call and the number of the step; what it raises, comes of it


@dataclass(slots=True)
class _Fault:
    """What a call comes to: from the `first` of its name on, `times` times."""

    call: str
    change: Callable[[Any], Any]
    first: int
    times: int | None
    met: int = 0

    def takes(self, call: str) -> bool:
        if call != self.call:
            return False
        self.met += 1
        return self.met >= self.first and (self.times is None or self.met < self.first + self.times)


class FaultyPeer:
    """`FaultyPeer(inner)` behaves as `inner` does, until it is told otherwise.

    Calls are named as the methods of the port. "write" fails before anything was written, "write done" after it: the
    caller does not hear of it. `attachment`, `follow` and `listed` are one call each, whose pieces `change` gets one by
    one. `calls` lists the steps: each call and its " done". `step`, if given, is told each of them, with its number
    from 1 on; what it raises is what the call comes to.
    """

    def __init__(self, inner: Peer, step: Step | None = None) -> None:
        self.inner = inner
        self.calls: list[str] = []
        self._step = step
        self._faults: list[_Fault] = []

    def fail(self, call: str, error: Exception, *, first: int = 1, times: int | None = None) -> None:
        """Raise this error, from the `first` such call on, `times` times (None: always)."""

        def raise_it(_: Any) -> Any:
            raise error

        self._faults.append(_Fault(call, raise_it, first, times))

    def change(self, call: str, alter: Callable[[Any], Any], *, first: int = 1, times: int | None = None) -> None:
        """Give `alter(result)` for the result of these calls, or of each piece."""
        self._faults.append(_Fault(call + DONE, alter, first, times))

    async def info(self) -> PeerInfo:
        return await self._through("info", self.inner.info)

    async def read_local(self, local_id: str) -> Mapping[str, Any] | None:
        return await self._through("read_local", lambda: self.inner.read_local(local_id))

    async def write_local(self, local_id: str, document: Mapping[str, Any]) -> None:
        await self._through("write_local", lambda: self.inner.write_local(local_id, document))

    async def changes(self, since: Seq, *, limit: int, selector: Selector | None = None) -> Changes:
        return await self._through("changes", lambda: self.inner.changes(since, limit=limit, selector=selector))

    async def missing(self, revs: Mapping[DocId, Sequence[Rev]]) -> Mapping[DocId, Missing]:
        return await self._through("missing", lambda: self.inner.missing(revs))

    async def fetch(self, revs: Mapping[DocId, Sequence[Rev]]) -> Sequence[Revision | Refusal]:
        return await self._through("fetch", lambda: self.inner.fetch(revs))

    async def leaves(self, ids: Sequence[DocId]) -> Sequence[Revision | Refusal]:
        return await self._through("leaves", lambda: self.inner.leaves(ids))

    async def write(self, revisions: Sequence[Revision], source: Peer) -> Sequence[Refusal]:
        return await self._through("write", lambda: self.inner.write(revisions, source))

    async def commit(self) -> None:
        await self._through("commit", self.inner.commit)

    async def close(self) -> None:
        await self.inner.close()

    async def follow(self, since: Seq, *, selector: Selector | None = None) -> AsyncGenerator[Changes, None]:
        async with aclosing(self._along("follow", self.inner.follow(since, selector=selector))) as pages:
            async for page in pages:
                yield page

    async def listed(self, hcp: HcpId) -> AsyncGenerator[Listing, None]:
        async with aclosing(self._along("listed", self.inner.listed(hcp))) as pages:
            async for page in pages:
                yield page

    async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._along("attachment", self.inner.attachment(doc_id, rev, name))) as pieces:
            async for piece in pieces:
                yield piece

    async def _through(self, call: str, action: Callable[[], Awaitable[T]]) -> T:
        self._come_to(call, None)
        await asyncio.sleep(0)  # as on a network, others run meanwhile
        result: T = self._come_to(call + DONE, await action())
        return result

    async def _along(self, call: str, pieces: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        async with aclosing(pieces):
            self._come_to(call, None)
            async for piece in pieces:
                yield self._come_to(call + DONE, piece)

    def _come_to(self, step: str, result: Any) -> Any:
        self.calls.append(step)
        if self._step is not None:
            self._step(step, len(self.calls))
        for fault in self._faults:
            if fault.takes(step):
                result = fault.change(result)
        return result
