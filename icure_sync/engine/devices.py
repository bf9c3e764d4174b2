"""The devices of one Hcp, as its heads show them: `replica.devices`. Knows no server; asks nobody."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from icure_sync.engine.device_heads import DeviceHeads
from icure_sync.engine.keyed import Keyed
from icure_sync.errors import UnsupportedSuite
from icure_sync.ids import HcpId
from icure_sync.store import Store
from icure_sync.store.device_heads import HeadRow

_NAMED_DIGITS = 8  # of a server without an address


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the Hcp. `name`: what the person calls it, "" if nothing; `is_this`: it is this one.

    `added`: since when it is a device, by its own clock; None if it does not say so here. `written`: revisions that it
    has written, as far as is known here; `seen`: when that was heard of, None if it has not told anybody yet. Both
    times in ms since 1970. `behind`: servers that did not have its last word when they were last asked.
    """

    id: str
    hcp: HcpId
    name: str
    is_this: bool
    added: int | None
    written: int
    seen: int | None
    behind: tuple[str, ...]


class Devices:
    """What an application sees of them. `keyed`: the keys, for a use that begins now; raises NoAccess, Locked."""

    def __init__(self, store: Store, keyed: Callable[[], Keyed]) -> None:
        self._store = store
        self._keyed = keyed

    async def all(self) -> list[Device]:
        """Those of this Hcp that have synced, and this one: this one first, then the one heard of last."""
        return await self._store.run(self._all, self._heads())

    async def rename(self, name: str) -> None:
        """What the person calls this device; the others hear it with the next sync. Raises InvalidEntity."""
        await self._store.run(self._heads().rename, name)

    def _heads(self) -> DeviceHeads:
        heads = self._keyed().device_heads
        if heads is None:
            raise UnsupportedSuite(
                "look at devices",
                "this replica is for an iCure database, in which devices do not make themselves known",
                "look at the accounts of that server",
            )
        return heads

    def _all(self, heads: DeviceHeads) -> list[Device]:
        own, me = heads.own, heads.hcp_id
        rows = [row for row in self._store.device_heads.all() if row.hcp == me]
        devices = [self._device(heads, row) for row in sorted(rows, key=lambda row: -row.seen)]
        others = [device for device in devices if not device.is_this]
        this = next((device for device in devices if device.is_this), None)
        seen, behind = (this.seen, this.behind) if this else (None, ())
        written = self._store.writes.count().counter
        return [Device(own.device, me, own.name, True, own.added, written, seen, behind), *others]

    def _device(self, heads: DeviceHeads, row: HeadRow) -> Device:
        told = heads.told_by(row)
        name, added = (told.name, told.added) if told else ("", None)
        is_this = row.device == heads.own.device
        return Device(row.device, row.hcp, name, is_this, added, row.counter, row.seen, self._behind(row))

    def _behind(self, row: HeadRow) -> tuple[str, ...]:
        had = {
            each.server
            for server in self._store.device_heads.servers()
            for each in self._store.device_heads.sightings([server.name])
            if each.device == row.device and each.counter >= row.counter
        }
        servers = (server for server in self._store.device_heads.servers() if server.name not in had)
        return tuple(dict.fromkeys(server.address or server.name[:_NAMED_DIGITS] for server in servers))
