"""Cancelled at any await: nothing stays open, nothing is half written, and the peer goes on.

Each call is made again and again against a hub, cancelled one await later each time, until it gets through.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.couch_requests import Timeouts
from icure_sync.peers.memory import PIECE, MemoryPeer
from icure_sync.replication.checkpoint import START
from icure_sync.replication.filters import device_selector
from icure_sync.replication.wire import Revision
from tests.peers.cancelling import cancel_everywhere
from tests.replicas import rev, revision
from tests.servers import fresh_database, fresh_hub
from tests.tidiness import nothing_left

SMALL, LARGE = b"small " * 100, bytes(range(256)) * 8_000  # sent inline, and streamed

SOURCE = MemoryPeer()
WRITTEN = [
    revision("plain", rev(1, 1), body=b'{"n":1}'),
    revision("inline", rev(1, 1), files={"f": SMALL}),
    revision("streamed", rev(1, 1), files={"f": LARGE}),
]
for sent, content in zip(WRITTEN, [{}, {"f": SMALL}, {"f": LARGE}], strict=True):
    SOURCE.put(sent, content)
THERE = DocId("streamed")


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with fresh_hub(tmp_path) as hub, fresh_database(hub) as found:
        yield found


def impatient(url: str) -> CouchPeer:
    return CouchPeer(url, timeouts=Timeouts(heartbeat=0.1))  # so that the hub soon finds out who has left its feeds


async def read(peer: CouchPeer) -> None:
    async with aclosing(peer.attachment(THERE, rev(1, 1), "f")) as pieces:
        async for _ in pieces:
            pass


async def follow(peer: CouchPeer) -> None:
    async with aclosing(peer.follow(START, selector=device_selector(HcpId("hcp-a")))) as pages:
        async for _ in pages:
            return


async def list_all(peer: CouchPeer) -> None:
    async with aclosing(peer.listed(HcpId("hcp-a"))) as pages:
        async for _ in pages:
            pass


CALLS: dict[str, Callable[[CouchPeer], Awaitable[object]]] = {
    "info": lambda peer: peer.info(),
    "read_local": lambda peer: peer.read_local("log"),
    "write_local": lambda peer: peer.write_local("log", {"n": 1}),
    "changes": lambda peer: peer.changes(START, limit=10),
    "follow": follow,
    "listed": list_all,
    "missing": lambda peer: peer.missing({THERE: [rev(1, 1), rev(2, 2)]}),
    "fetch": lambda peer: peer.fetch({THERE: [rev(1, 1)]}),
    "leaves": lambda peer: peer.leaves([THERE]),
    "attachment": read,
    "commit": lambda peer: peer.commit(),
    "close": lambda peer: peer.close(),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_cancelled_at_any_await_leaves_nothing_behind_and_the_peer_goes_on(url: str, name: str):
    async with CouchPeer(url) as peer:
        seed = revision("seed", rev(1, 1), body=b'{"type":"HealthcareParty"}')
        assert await peer.write([*WRITTEN, seed], SOURCE) == []
        await peer.write_local("log", {"n": 0})
    async with nothing_left():
        async with impatient(url) as peer:

            async def goes_on() -> None:
                assert (await peer.info()).doc_count == 4

            await goes_on()
            awaits = await cancel_everywhere(lambda: CALLS[name](peer), goes_on)
            await goes_on()
        assert awaits > 0
        gc.collect()  # what was forgotten would complain now


@pytest.mark.parametrize("name", ["info", "changes", "follow", "attachment"])
async def test_so_does_a_call_that_logs_in_and_connects_first(url: str, name: str):
    async with CouchPeer(url) as peer:
        assert (
            await peer.write([*WRITTEN, revision("seed", rev(1, 1), body=b'{"type":"HealthcareParty"}')], SOURCE) == []
        )
    async with nothing_left():
        peers: list[CouchPeer] = []

        async def first_call() -> None:
            peers.append(impatient(url))
            await CALLS[name](peers[-1])

        async def goes_on() -> None:
            assert (await peers[-1].info()).doc_count == 4
            await peers[-1].close()

        assert await cancel_everywhere(first_call, goes_on) > 3
        await peers[-1].close()
        gc.collect()


async def require_whole(peer: CouchPeer) -> int:
    """Every document of WRITTEN that is there has all its bytes. How many are there."""
    there = [each for each in await peer.leaves([each.id for each in WRITTEN]) if isinstance(each, Revision)]
    for found in there:
        for file in found.attachments.values():
            data = b"".join([piece async for piece in peer.attachment(found.id, found.rev, file.name)])
            assert data == {"inline": SMALL, "streamed": LARGE}[found.id]
    return len(there)


async def test_a_write_that_is_cancelled_leaves_whole_documents_or_none(url: str):
    async with nothing_left():
        async with CouchPeer(url) as peer:
            await peer.info()
            awaits = await cancel_everywhere(lambda: peer.write(WRITTEN, SOURCE), lambda: require_whole(peer))
            assert awaits >= 2  # in bulk, then the streamed one
            assert await require_whole(peer) == len(WRITTEN)
        gc.collect()


class Interrupting(MemoryPeer):
    """A source that cancels whoever writes what it gives, before piece number `which`."""

    def __init__(self, which: int) -> None:
        super().__init__()
        self.put(WRITTEN[-1], {"f": LARGE})
        self.left = which
        self.writing: asyncio.Task[object] | None = None

    async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:
        async for piece in super().attachment(doc_id, rev, name):
            if self.left == 0 and self.writing is not None:
                self.writing.cancel()
                await asyncio.Event().wait()  # give no more
            self.left -= 1
            yield piece


async def test_a_write_that_is_cancelled_in_the_middle_of_a_file_leaves_nothing_of_it(url: str):
    pieces = -(-len(LARGE) // PIECE)
    async with nothing_left():
        async with CouchPeer(url) as peer:
            await peer.info()
            for which in range(0, pieces, 3):
                source = Interrupting(which)
                source.writing = asyncio.ensure_future(peer.write(WRITTEN[-1:], source))
                with pytest.raises(asyncio.CancelledError):
                    await source.writing
                assert await require_whole(peer) == 0
            assert await peer.write(WRITTEN[-1:], Interrupting(pieces)) == []
            assert await require_whole(peer) == 1
        gc.collect()
