"""The last that a revoked device does: it sends what it had not sent. Knows no keys; imported when it is wanted."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from icure_sync import CouchPeer, Replica
from icure_sync.errors import IcureSyncError

SECONDS = 60.0  # a server that takes longer, or refuses, gets nothing any more


async def farewell(replica: Replica, server: str, ca: str | None) -> None:
    """One attempt. What the server takes, the other devices have; whether they believe it is for them to say."""
    with suppress(IcureSyncError, TimeoutError):
        async with asyncio.timeout(SECONDS), CouchPeer(server, ca=ca) as peer:
            await replica.push(peer)
