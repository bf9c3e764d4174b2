"""The calls of a replica that meet a peer. Know no protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from icure_sync.engine.attempt import Outcome
from icure_sync.engine.audit import Audit
from icure_sync.engine.calls import Calls
from icure_sync.engine.clock import SYSTEM_CLOCK, Clock
from icure_sync.engine.live import Live
from icure_sync.engine.progress import Report
from icure_sync.engine.sync import SyncReport
from icure_sync.peers.port import Peer


class SyncCalls(Calls):
    """One way, both, or both live."""

    async def push(self, peer: Peer, *, progress: Report | None = None) -> Outcome:
        """Send every local change to a peer. Raises the kinds of PeerError."""
        return await self._exchange.push(peer, progress)

    async def pull(self, peer: Peer, *, progress: Report | None = None, accept_deletions: int = 0) -> Outcome:
        """Fetch what this replica's Hcp may read (everything, if it is keyless). Raises the kinds of PeerError, and as
        `sync`."""
        return await self._exchange.pull(peer, progress, accept_deletions)

    async def sync(self, peer: Peer, *, progress: Report | None = None, accept_deletions: int = 0) -> SyncReport:
        """Pull, then push. What the other side refuses is in the report, and kept for the next time.

        Raises MassDeletion, before anything is sent, if many records were deleted at once: they stay as they are until
        `accept_deletions` is at least how many, which a person should say.
        """
        return await self._exchange.sync(peer, progress, accept_deletions)

    async def audit(self, peer: Peer) -> Audit:
        """Have a peer give back everything that this replica holds, and send what it does not give.

        A push believes a server that says it has something. This finds one that lost it, or lies; it costs a download
        of everything. Raises the kinds of PeerError.
        """
        return await self._exchange.audit(peer)

    @asynccontextmanager
    async def live(
        self,
        peer: Peer,
        *,
        progress: Report | None = None,
        accept_deletions: int = 0,
        waiting: Clock = SYSTEM_CLOCK,
    ) -> AsyncIterator[Live]:
        """Sync both ways for as long as the context lasts: changes go over as they are made, on either side.

        A network that fails is waited for, and noticed when it is back; `progress` hears of it. Leaving the context
        sends what is still to be sent, for some seconds at most. Raises what no waiting mends: Unauthorized, Forbidden,
        DatabaseMissing (of one that never was there), the kinds of StoreError but a full disk; and MassDeletion, as
        `sync` does.
        """
        async with self._exchange.live(peer, progress, waiting, accept_deletions) as live:
            yield live
