"""Hcps and their devices for the tests of the engine: real keys, made once a run; real encrypted files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from icure_sync.crypto.identity import Identity
from icure_sync.engine.replica import Replica, replica_over
from icure_sync.store import Store

DATABASE_KEY = bytes(range(32))  # test only: saves each test half a second of scrypt

OpenReplica = Callable[..., Awaitable[Replica]]


@pytest.fixture(scope="session")
def identities() -> dict[str, Identity]:
    """A, B and C."""
    return {hcp_id: Identity.create(hcp_id, f"Practice {hcp_id[-1].upper()}") for hcp_id in ("hcp-a", "hcp-b", "hcp-c")}


@pytest_asyncio.fixture
async def open_replica(tmp_path: Path, identities: dict[str, Identity]) -> AsyncIterator[OpenReplica]:
    """Opens (or opens again) the device `name` of an Hcp; all are closed at the end."""
    async with AsyncExitStack() as stack:

        async def opened(hcp_id: str | None, name: str = "laptop", **options: object) -> Replica:
            path = tmp_path / f"{hcp_id}-{name}.db"
            store = Store.open(path, DATABASE_KEY)
            stack.callback(store.close)
            identity = identities[hcp_id] if hcp_id else None
            return await store.run(replica_over, store, identity, **options)

        yield opened
