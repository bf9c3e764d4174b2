"""Practices and an evil server between them. Keys are fixed, so none is made; files and HTTP are real."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from icure_sync.engine.replica import Replica, replica_over
from icure_sync.model import Contact, Patient
from icure_sync.store import Store
from tests.keys import A, B, C, identity
from tests.trust.evil import EvilServer, evil_server

DATABASE_KEY = bytes(range(32))  # test only

Open = Callable[..., Awaitable[Replica]]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory, where there is such a file system: devices and hubs sync their files a lot."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest_asyncio.fixture
async def evil(tmp_path: Path) -> AsyncIterator[EvilServer]:
    async with evil_server(tmp_path) as server:
        yield server


@pytest_asyncio.fixture
async def open_replica(tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the device `name` of an Hcp; all are closed at the end."""
    async with AsyncExitStack() as stack:

        async def opened(hcp_id: str, name: str = "laptop", **options: object) -> Replica:
            store = Store.open(tmp_path / f"{hcp_id}-{name}.db", DATABASE_KEY)
            stack.callback(store.close)
            return await store.run(replica_over, store, identity(hcp_id), **options)

        yield opened


@dataclass(frozen=True)
class Clinic:
    """A, B and C, who know one another. John and his visit are A's and shared with B; Fanny is A's alone."""

    server: EvilServer
    a: Replica
    b: Replica
    c: Replica
    john: Patient
    visit: Contact
    fanny: Patient

    async def meet(self, *replicas: Replica) -> None:
        """Each of these syncs, in this order."""
        for replica in replicas:
            await replica.sync(self.server.peer())

    async def john_of(self, replica: Replica) -> Patient:
        return await replica.get(Patient, self.john.id)


@pytest_asyncio.fixture
async def clinic(evil: EvilServer, open_replica: Open) -> Clinic:
    a, b, c = [await open_replica(hcp) for hcp in (A, B, C)]
    for replica in (a, b, c, a, b):
        await replica.sync(evil.peer())
    john = await a.save(Patient(first_name="John", last_name="Keats", note="consumption"))
    visit = await a.save(Contact(description="Cough"), patient=john)
    fanny = await a.save(Patient(first_name="Fanny", note="well"))
    john = await a.share(john, with_=B, include_linked=True)
    made = Clinic(evil, a, b, c, john, visit, fanny)
    await made.meet(a, b)
    return made
