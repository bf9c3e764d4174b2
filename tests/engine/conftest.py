"""Hcps and their devices for the tests of the engine: real keys, made once a run; real encrypted files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from icure_sync.crypto.identity import Identity
from icure_sync.engine.replica import Replica, replica_over
from icure_sync.peers.memory import MemoryPeer
from icure_sync.store import Store
from tests.engine.meetings import met
from tests.keys import PARTY_KEYS

DATABASE_KEY = bytes(range(32))  # test only: saves each test half a second of scrypt

OpenReplica = Callable[..., Awaitable[Replica]]  # of an Hcp by its id
OpenAs = Callable[..., Awaitable[Replica]]  # of an identity


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


@pytest_asyncio.fixture
async def open_as(tmp_path: Path) -> AsyncIterator[OpenAs]:
    """Opens (or opens again) the device `name` of an identity's Hcp; all are closed at the end."""
    async with AsyncExitStack() as stack:
        stores: dict[Path, Store] = {}

        async def opened(one: Identity, name: str = "laptop", **options: object) -> Replica:
            path = tmp_path / f"{one.hcp_id}-{name}.db"
            if path in stores:
                stores.pop(path).close()
            store = stores[path] = Store.open(path, DATABASE_KEY)
            stack.callback(store.close)
            return await store.run(replica_over, store, one, **options)

        yield opened


@pytest.fixture
def server() -> MemoryPeer:
    return MemoryPeer("clinic")


@pytest_asyncio.fixture
async def replicas(open_replica: OpenReplica, identities: dict[str, Identity], server: MemoryPeer) -> list[Replica]:
    """A, B, C and D, who know one another."""
    if "hcp-d" not in identities:
        identities["hcp-d"] = Identity.from_private_key("hcp-d", bytes.fromhex(PARTY_KEYS["hcp-a"]))
    opened = [await open_replica(hcp) for hcp in ("hcp-a", "hcp-b", "hcp-c", "hcp-d")]
    await met(server, *opened)
    return opened
