"""The highest head seen of each device, here and on each server.

Knows the rows; what a head is, and what it means that a server lacks one, is the engine's. Synchronous: runs in the
store's thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.store.database import Database


@dataclass(frozen=True, slots=True)
class HeadRow:
    """The highest head of a device: `counter` revisions written, which chain to `digest`. `key`: that the device signs
    with. `seen`: when this head was seen here first, ms since 1970."""

    device: str
    hcp: HcpId
    rev: Rev
    counter: int
    digest: str
    key: bytes
    seen: int


@dataclass(frozen=True, slots=True)
class ServerRow:
    """A database that this replica pulls from. `name`: that of its log; `address`: as a person knows it, "" where there
    is none; `met`: when it was last asked, ms since 1970."""

    name: str
    address: str
    met: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """A server had this head of a device."""

    server: str
    device: str
    rev: Rev
    counter: int


class DeviceHeads:
    """Every method may raise StoreError kinds; those that change something are one durable transaction each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, row: HeadRow) -> None:
        """The highest one from now on."""
        values = (row.device, row.hcp, row.rev, row.counter, row.digest, row.key, row.seen)
        self._database.run("REPLACE INTO device_heads VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def get(self, device: str) -> HeadRow | None:
        """The highest one of a device, or None."""
        row = self._database.row("SELECT * FROM device_heads WHERE device = ?", (device,))
        return None if row is None else HeadRow(*row)

    def all(self) -> list[HeadRow]:
        """Of every device, by its id."""
        return [HeadRow(*row) for row in self._database.rows("SELECT * FROM device_heads ORDER BY device")]

    def unseen(self, type_: str) -> list[DocId]:
        """Documents of this type of which a live leaf has not been looked at, or could not be judged."""
        rows = self._database.rows(
            "SELECT DISTINCT d.id FROM terms t JOIN documents d ON d.number = t.doc JOIN revisions r ON r.doc = t.doc "
            "WHERE t.kind = 0 AND t.term = ? AND r.leaf AND NOT r.deleted AND r.state = 0 ORDER BY d.number",
            (type_,),
        )
        return [row[0] for row in rows]

    # Servers

    def meet(self, server: ServerRow) -> None:
        """It was asked."""
        self._database.run("REPLACE INTO servers VALUES (?, ?, ?)", (server.name, server.address, server.met))

    def servers(self) -> list[ServerRow]:
        """All that were ever asked, those met last first."""
        rows = self._database.rows("SELECT name, address, met FROM servers ORDER BY met DESC, name")
        return [ServerRow(*row) for row in rows]

    def saw(self, sightings: Iterable[Sighting]) -> None:
        """The highest that these servers had."""
        values = [(each.server, each.device, each.rev, each.counter) for each in sightings]
        self._database.run_many("REPLACE INTO sightings VALUES (?, ?, ?, ?)", values)

    def forget(self, sightings: Iterable[Sighting]) -> None:
        """It has no more what it had."""
        values = [(each.server, each.device) for each in sightings]
        self._database.run_many("DELETE FROM sightings WHERE server = ? AND device = ?", values)

    def sightings(self, servers: Sequence[str]) -> list[Sighting]:
        """What these servers had, by device."""
        rows = self._database.rows(
            "SELECT server, device, rev, counter FROM sightings WHERE server IN (SELECT value FROM json_each(?)) "
            "ORDER BY device, server",
            (json.dumps(list(servers)),),
        )
        return [Sighting(*row) for row in rows]
