"""The hub in front of a server: one database of a hub, kept the same as one upstream, live, both ways.

The hub takes the whole database once and serves each device from there; what devices write goes up. The upstream sees
one client, however many devices there are. Owns when it is tried again, and how it is told that it is not in sync;
the exchange itself is exchange.py's. Opens nothing: it has no keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Self

from icure_sync.discretion import logger
from icure_sync.engine.clock import SYSTEM_CLOCK, Clock
from icure_sync.engine.exchange import Exchange
from icure_sync.engine.progress import Phase, Progress
from icure_sync.engine.status import SyncFacts
from icure_sync.engine.waiting import first_of
from icure_sync.errors import IcureSyncError, StoreError, Unauthorized
from icure_sync.hub import Database, Hub, Upstream
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.couch_address import parse_address
from icure_sync.replication.checkpoint import Direction
from icure_sync.replication.wire import Refusal

log = logger(__name__)

GATHERING_SECONDS = 0.1  # what many devices write at once goes up together: the upstream is spared a request for each
RETRY_SECONDS = 60.0  # after what no waiting mends by itself: an administrator may have mended it meanwhile


class RelayState(StrEnum):
    """How a database stands with its upstream."""

    CONNECTING = "connecting"
    CATCHING_UP = "catching up"
    IN_SYNC = "in sync"
    WAITING = "waiting"  # something is wrong; it is tried again
    STOPPED = "stopped"  # the upstream does not take the password: another one is needed


class Relay:
    """`async with Relay(hub, "clinic", "http://user:password@host:5984/clinic")`, within the hub's own context.

    `name`: of the hub's database, made if it is not there, and again if it is deleted; who may use it is up to its
    `_security`. `report` hears of every change of the state, with what is wrong in words; without it, the log does.
    Raises InvalidEntity for an address or a name that cannot be one.
    """

    def __init__(
        self,
        hub: Hub,
        name: str,
        url: str,
        *,
        ca: str | None = None,
        report: Callable[[Upstream], None] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._hub = hub
        self._name = name
        self._server = str(parse_address(url))
        self._peer = CouchPeer(url, ca=ca)
        self._report = report
        self._clock = clock
        self._stop = asyncio.Event()
        self._ways: dict[Direction, Progress] = {}
        self._open = contextlib.AsyncExitStack()
        self._database: Database | None = None
        self._task: asyncio.Task[None] | None = None
        self.state = RelayState.CONNECTING
        self.trouble = ""

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as entered:
            self._database = await self._hub.database(self._name)
            entered.enter_context(self._hub.upstream(self._name, self.describe))
            await entered.enter_async_context(self._peer)
            self._open = entered.pop_all()
        self._task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Sends what is still to be sent, for some seconds at most."""
        self._stop.set()
        assert self._task is not None
        try:
            await self._task
        finally:
            await self._open.aclose()

    async def describe(self) -> Upstream:
        """How it stands now."""
        refused: tuple[Refusal, ...] = ()
        if self._database is not None:
            with contextlib.suppress(StoreError):  # it is being deleted
                refused = await self._database.store.run(SyncFacts(self._database.store).refused)
        return Upstream(self._name, self._server, self.state, self.trouble, refused)

    async def _keep(self) -> None:
        """Live exchange after live exchange, until told to stop."""
        while not self._stop.is_set():
            try:
                self._database = await self._hub.database(self._name)
                await self._live(self._database)
            except Unauthorized as error:  # a password that was refused is never sent again
                self._tell(RelayState.STOPPED, str(error))
                await self._stop.wait()
            except IcureSyncError as error:
                if self._database is not None and self._database.closed.is_set():
                    self._database = None
                    continue  # deleted: begin anew, once; if the hub itself is closed, that fails
                self._tell(RelayState.WAITING, str(error))
                await first_of(self._clock.sleep(RETRY_SECONDS), self._stop.wait())

    async def _live(self, database: Database) -> None:
        """Until told to stop, or the hub's database is deleted. Raises what no waiting mends by itself."""
        self._ways.clear()
        device = f"hub-{database.facts.epoch}"
        exchange = Exchange(database.store, device, None, _milliseconds, gathering=GATHERING_SECONDS)
        async with exchange.live(self._peer, self._hear, self._clock) as live:
            await first_of(live.ended(), self._stop.wait(), database.closed.wait())

    def _hear(self, progress: Progress) -> None:
        self._ways[progress.direction] = progress
        ways = self._ways.values()
        if trouble := next((one.trouble for one in ways if one.trouble), ""):
            self._tell(RelayState.WAITING, trouble)
        elif len(ways) == len(Direction) and all(one.phase is Phase.IDLE for one in ways):
            self._tell(RelayState.IN_SYNC, "")
        elif self.state is not RelayState.IN_SYNC and any(one.phase is Phase.TRANSFERRING for one in ways):
            self._tell(RelayState.CATCHING_UP, "")

    def _tell(self, state: RelayState, trouble: str) -> None:
        if (state, trouble) == (self.state, self.trouble):
            return
        self.state, self.trouble = state, trouble
        if self._report is not None:
            self._report(Upstream(self._name, self._server, state, trouble, ()))
        elif trouble:
            log.warning("%s is not in sync with %s: %s", self._name, self._server, trouble)
        else:
            log.info("%s and %s: %s", self._name, self._server, state)


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000
