"""A small world for merging: devices of three Hcps over real encrypted files, servers, a clock, and what has happened.

Owns opening, copying and killing devices. Everything is drawn from one seed. What is done in it: steps.py; what must
have come of it: proof.py.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icure_sync.engine.local_peer import LocalPeer
from icure_sync.engine.replica import Replica, replica_over
from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer
from icure_sync.replication.wire import Refusal, Revision
from icure_sync.store import Store
from icure_sync.store.documents import Documents
from icure_sync.testing import FaultyPeer
from tests.keys import HCPS, identity
from tests.simulation.ledger import Ledger

DATABASE_KEY = bytes(range(32))  # test only: saves each opening half a second of scrypt
TEN_YEARS = 10 * 365 * 86_400_000
SKEWS = (0, 0, TEN_YEARS, -TEN_YEARS)
START = 1_800_000_000_000


@dataclass(slots=True)
class Device:
    """One file of one Hcp. `skew`: by how many ms its clock is wrong; `openings`: how often it was opened."""

    hcp: HcpId
    name: str
    folder: Path
    skew: int
    openings: int = 0
    store: Store | None = None
    replica: Replica | None = None
    read: dict[str, Any] = field(default_factory=dict)  # what somebody has on the screen, by document

    def __repr__(self) -> str:
        return self.name

    @property
    def peer(self) -> Peer:
        """For another device to sync with."""
        assert self.store is not None
        return LocalPeer(self.store)

    async def run(self, method: Callable[..., Any], *args: Any) -> Any:
        """In the thread of its store."""
        assert self.store is not None
        return await self.store.run(method, *args)


class Clinic:
    """The world of one seed. `servers`: how many, drawn if it is not said; `devices`: of the Hcps in turn."""

    def __init__(self, folder: Path, seed: int, *, servers: int | None = None, devices: int = 6) -> None:
        self.folder = folder
        self.seed = seed
        self.chance = random.Random(seed)
        self.now = START
        self.ledger = Ledger()
        self.servers = [MemoryPeer(f"server-{number}") for number in range(servers or self.chance.choice([1, 1, 2]))]
        self.meets_directly = self.chance.random() < 0.6
        self.backups: list[tuple[Device, Path]] = []
        self.written: dict[tuple[DocId, Rev], bytes] = {}  # every body that ever reached a device
        self.merged = 0
        self.devices = [
            self._device(HCPS[number % len(HCPS)], f"{number // len(HCPS)}", self.chance.choice(SKEWS))
            for number in range(devices)
        ]

    async def open(self) -> None:
        """All devices, which know one another."""
        for device in self.devices:
            device.folder.mkdir()
            await self.start(device)
        for device in (*self.devices, *self.devices):
            await self.sync(device, self.servers[0])

    async def start(self, device: Device) -> None:
        """Open its file, for the first time or again."""
        device.openings += 1
        entropy = random.Random(f"{self.seed}/{device.name}/{device.openings}").randbytes
        device.store = Store.open(device.folder / "replica.db", DATABASE_KEY)
        self._watch(device.store.documents)
        device.replica = await device.store.run(
            lambda: replica_over(
                device.store, identity(device.hcp), entropy=entropy, clock=lambda: self.now + device.skew
            )
        )

    def _device(self, hcp: HcpId, name: str, skew: int) -> Device:
        return Device(hcp, f"{hcp}-{name}", self.folder / f"{hcp}-{name}", skew)

    def _watch(self, documents: Documents) -> None:
        """Note every revision that comes to be here, also those that nobody else ever sees."""
        write, apply = documents.write, documents.apply

        def noting(doc_id: DocId, rev: Rev, body: bytes, parent: Rev | None, **more: Any) -> None:
            write(doc_id, rev, body, parent, **more)
            self.written[doc_id, rev] = body

        def noting_all(revisions: Sequence[Revision]) -> list[Refusal]:
            self.written.update({(each.id, each.rev): each.body for each in revisions})
            return apply(revisions)

        documents.write = noting  # type: ignore[method-assign]
        documents.apply = noting_all  # type: ignore[method-assign]

    def stop(self, device: Device) -> None:
        """Close its file."""
        if device.store is not None:
            device.store.close()
        device.store = device.replica = None
        device.read.clear()

    def close(self) -> None:
        for device in self.devices:
            self.stop(device)

    def neighbours(self, device: Device) -> list[Device]:
        """Whom it can meet directly, other lives of itself too."""
        return [each for each in self.devices if each is not device] if self.meets_directly else []

    async def sync(self, device: Device, peer: Peer) -> None:
        self.merged += (await device.replica.sync(peer)).merged

    async def killed(self, device: Device, peer: Peer, at: int) -> None:
        """A sync that goes no further than its `at`-th step with the other side; the device begins again from its
        file."""
        task: asyncio.Task[None] | None = None

        def kill(_: str, number: int) -> None:
            if number >= at and task is not None:
                task.cancel()

        task = asyncio.ensure_future(self.sync(device, FaultyPeer(peer, kill)))
        with suppress(asyncio.CancelledError):
            await task
        await self.restart(device)

    async def restart(self, device: Device) -> None:
        self.stop(device)
        await self.start(device)

    async def back_up(self, device: Device) -> None:
        copy = self.folder / f"backup-{device.name}-{device.openings}"
        self.stop(device)
        shutil.copytree(device.folder, copy)
        self.backups.append((device, copy))
        await self.start(device)

    async def put_back(self, device: Device, copy: Path) -> None:
        """The file is again what it was; the life that it had since goes on as one more device."""
        self.stop(device)
        other = Device(device.hcp, f"{device.name}+{len(self.devices)}", self.folder / f"life-{len(self.devices)}", 0)
        device.folder.rename(other.folder)
        shutil.copytree(copy, device.folder)
        self.devices.append(other)
        await self.start(other)
        await self.start(device)


async def in_world(folder: Path, seed: int, scenario: Callable[[Clinic], Awaitable[None]]) -> Clinic:
    """Runs it in a new world, and closes that."""
    clinic = Clinic(folder, seed)
    try:
        await clinic.open()
        await scenario(clinic)
    finally:
        clinic.close()
    return clinic
