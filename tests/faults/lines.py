"""A device, a server, and between them a line that a test breaks. Owns what every fault must leave behind.

Whatever broke: both sides agree in the end, everything that either had before is on both, the error is typed and says
what to do, and neither it nor any log holds a password or the content of a document.
"""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from icure_sync.engine.attempt import Outcome
from icure_sync.engine.clock import Clock
from icure_sync.engine.local_peer import LocalPeer
from icure_sync.engine.plan import Plan
from icure_sync.engine.sync import replicate
from icure_sync.errors import IcureSyncError, PeerError
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.couch_requests import Timeouts
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer
from icure_sync.replication.checkpoint import Direction
from icure_sync.replication.wire import Revision
from icure_sync.store import Store
from icure_sync.testing import FaultProxy
from icure_sync.testing.conformance.asking import contents
from tests.replicas import rev, revision, seeded_entropy, still_clock
from tests.servers import fresh_database

PASSWORD = "sesame-71c0ffee"  # of the hub: searched for in every log line and error
SECRET = "mellow-fruitfulness"  # in every document: stands for content, which no log may hold
QUICK = Timeouts(connect=5.0, silence=0.5, feed=0.5, sending=0.5)  # for tests of silence alone: machines may be slow

PULL = Plan("device-1", None, Direction.PULL)
PUSH = Plan("device-1", None, Direction.PUSH)
NOWHERE = MemoryPeer()

Leaves = set[tuple[str, str]]


def document(doc_id: str, mark: int, *, files: dict[str, bytes] | None = None) -> Revision:
    """A first revision."""
    return revision(doc_id, rev(1, mark), body=b'{"n":%d,"x":"%s"}' % (mark, SECRET.encode()), files=files or {})


def documents(prefix: str, count: int) -> list[Revision]:
    return [document(f"{prefix}-{number:03}", number) for number in range(count)]


async def give(peer: Peer, revisions: Sequence[Revision], source: Peer = NOWHERE) -> None:
    """Write them, none of which may be refused."""
    assert list(await peer.write(revisions, source)) == []


async def leaves(peer: Peer) -> Leaves:
    """All leaves of all documents."""
    return set(await contents(peer))


@dataclass
class Line:
    """`device`: over a store; `peer`: the database through the proxy, `hasty`: with little patience for silence;
    `direct`: past the proxy. `url`: that, with password."""

    device: LocalPeer
    proxy: FaultProxy
    peer: CouchPeer
    hasty: CouchPeer
    direct: CouchPeer
    url: str
    clock: Clock
    waits: list[float] = field(default_factory=list)  # seconds that were waited for, in no time
    seed: int = 0

    async def pull(self, peer: Peer | None = None) -> Outcome:
        return await self._run(peer or self.peer, self.device, PULL)

    async def push(self, peer: Peer | None = None) -> Outcome:
        return await self._run(self.device, peer or self.peer, PUSH)

    async def sync(self) -> tuple[Outcome, Outcome]:
        return await self.pull(), await self.push()

    async def run(self, way: str, peer: Peer | None = None) -> Outcome:
        """`pull` or `push`."""
        return await (self.pull(peer) if way == "pull" else self.push(peer))

    async def tried(self, attempt: Awaitable[object]) -> PeerError | None:
        """The error of an attempt, which must be a discreet one, or None."""
        try:
            await attempt
        except PeerError as error:
            self.judge(error)
            return error
        return None

    async def failed(self, attempt: Awaitable[object]) -> PeerError:
        """The error of an attempt that must have one."""
        error = await self.tried(attempt)
        assert error is not None, "the fault was not noticed"
        return error

    def judge(self, error: IcureSyncError) -> None:
        """It says what to do, in one line, and nothing that it must not say."""
        assert error.next_step
        assert "\n" not in str(error)
        told = "".join(traceback.format_exception(error))
        assert not any(word in told for word in (PASSWORD, SECRET, urlsplit(self.url).password or PASSWORD))

    async def agree(self, *held: Leaves) -> None:
        """With the line mended, one more sync leaves both sides alike, with all that was held before."""
        self.proxy.heal()
        await self.proxy.online()
        before: Leaves = set().union(await leaves(self.device), await leaves(self.direct), *held)
        _, pushed = await self.sync()
        assert pushed.refused == ()
        here, there = await contents(self.device), await contents(self.direct)
        assert here == there
        assert before <= set(here), "something was lost"
        again = await self.sync()
        assert [outcome.documents for outcome in again] == [0, 0], "a sync that has nothing to do did something"

    async def _run(self, source: Peer, target: Peer, plan: Plan) -> Outcome:
        self.seed += 1
        return await replicate(source, target, plan, clock=self.clock, entropy=seeded_entropy(self.seed))


def noting_clock(waits: list[float]) -> Clock:
    """A clock that never waits, and notes how long it should have."""
    clock = still_clock()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await clock.sleep(0)

    return Clock(clock.now, clock.monotonic, sleep)


@asynccontextmanager
async def line_to(server: str, folder: Path) -> AsyncIterator[Line]:
    """A new device and a new database on this server."""
    store = Store.open(folder / "device.db", bytes(32))
    try:
        async with (
            fresh_database(server) as url,
            FaultProxy(url) as proxy,
            CouchPeer(url) as direct,
            CouchPeer(proxy.url) as peer,
            CouchPeer(proxy.url, timeouts=QUICK) as hasty,
        ):
            waits: list[float] = []
            yield Line(LocalPeer(store), proxy, peer, hasty, direct, url, noting_clock(waits), waits)
    finally:
        store.close()
