"""The audit trail: who did what, when. Rows are added, each chained to the one before by its digest; nothing here
changes or removes one, and the database refuses it.

Owns the rows, the chain, and the rows that wait to be written; knows nothing of what an action means. How many rows
there are and the digest of the last one also stand in `counters`, which every write of a document changes: rows that
were cut off at the end are missed. Synchronous: runs in the store's thread.

What was only read is gathered, and written at the beginning of the next transaction: reading waits for no disk, and the
order of the rows is that of what was done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from icure_sync.canonical import pack
from icure_sync.store.database import Database
from icure_sync.store.limits import GATHERED_ACTS, TRAIL_WINDOW

UNRECORDED = "unrecorded"  # the action of a row that stands for those that had no room in memory

_KIND = "icure-sync/trail/1"
_WANTED = (
    "SELECT number, time, hcp, device, action, subject, type, under, detail FROM trail "
    "WHERE number > ? AND number <= ? AND coalesce(?, subject) IN (subject, under) AND action = coalesce(?, action) "
    "AND time >= coalesce(?, time) AND time < coalesce(?, time + 1) ORDER BY number"
)
_NEXT = (
    "SELECT number, time, hcp, device, action, subject, type, under, detail, digest FROM trail WHERE number > ? "
    "ORDER BY number LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody did. `time`: ms since 1970, by this device's clock; `subject`: the id of what it was done to, of
    that `type` and filed `under` that id, or ""; `detail`: a JSON object without content."""

    time: int
    hcp: str
    device: str
    action: str
    subject: str
    type: str
    under: str
    detail: str

    @property
    def columns(self) -> tuple[int | str, ...]:
        """As they stand in a row, after its number."""
        return (self.time, self.hcp, self.device, self.action, self.subject, self.type, self.under, self.detail)


@dataclass(slots=True)
class Gathered:
    """An act that waits to be written. As long as it does, another may take its place: `act`."""

    act: Act
    is_written: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows: those that agree with all that is not None. `subject`: it, or what is filed under it; `since` and
    `until` in ms since 1970, the latter not included."""

    subject: str | None = None
    action: str | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """How far the chain was followed: `rows` hold, the last of them with `digest`. `broken`: the first row that is not
    as it was written, and `why`; None if there is none, so far or, once `is_done`, at all."""

    rows: int = 0
    digest: bytes = b""
    broken: int | None = None
    why: str = ""
    is_done: bool = False


class Trail:
    """Every method may raise StoreError kinds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[Gathered] = []
        self._taken = 0  # of them, into the transaction under way
        self._unrecorded = 0
        database.beginning = self._begin

    # Writing

    def append(self, acts: Sequence[Act]) -> None:
        """Add rows, durable with the transaction that this is in. Raises InvalidEntity for text that is no Unicode."""
        with self._database.transaction():
            number, digest = self.end()
            rows = []
            for act in acts:
                number += 1
                digest = _chained(digest, number, act)
                rows.append((number, *act.columns, digest))
            self._database.run_many("INSERT INTO trail VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            self._database.run("UPDATE counters SET trail_rows = ?, trail_digest = ?", (number, digest))

    def gather(self, act: Act) -> Gathered:
        """Have a row added with the next transaction. GATHERED_ACTS at most wait: of more, the number is recorded."""
        gathered = Gathered(act)
        if len(self._waiting) < GATHERED_ACTS:
            self._waiting.append(gathered)
        else:
            self._unrecorded += 1
        return gathered

    @property
    def is_waiting(self) -> bool:
        """Whether there are acts that are not written yet."""
        return bool(self._waiting)

    def flush(self) -> None:
        """Write what waits, durable on return."""
        if self._waiting:
            with self._database.transaction():
                pass  # it begins with them

    def settle(self) -> None:
        """The transaction is on the disk, and what it took with it. Called after each commit."""
        for gathered in self._waiting[: self._taken]:
            gathered.is_written = True
        if self._taken:
            del self._waiting[: self._taken]
            self._unrecorded = self._taken = 0

    def _begin(self) -> None:
        """In the outermost transaction, before anything else: it ends with all of it, or with none."""
        self._taken = len(self._waiting)
        if self._taken:
            acts = [gathered.act for gathered in self._waiting]
            if self._unrecorded:
                detail = f'{{"count":{self._unrecorded}}}'
                acts.append(replace(acts[-1], action=UNRECORDED, subject="", type="", under="", detail=detail))
            self.append(acts)

    # Reading

    def end(self) -> tuple[int, bytes]:
        """How many rows there are, and the digest of the last one; 0 and nothing at first."""
        row = self._database.row("SELECT trail_rows, trail_digest FROM counters")
        assert row is not None
        return int(row[0]), bytes(row[1])

    def rows(self, after: int, wanted: Wanted) -> tuple[list[tuple[int, Act]], int | None]:
        """Those wanted among the next TRAIL_WINDOW rows after number `after`, with their numbers; and the number looked
        through, None at the end."""
        through = after + TRAIL_WINDOW
        values = (after, through, wanted.subject, wanted.action, wanted.since, wanted.until)
        found = [(number, Act(*columns)) for number, *columns in self._database.rows(_WANTED, values)]
        last = self._database.value("SELECT max(number) FROM trail") or 0
        return found, through if through < last else None

    def verify(self, so_far: Verified) -> Verified:
        """Follow the chain through the next TRAIL_WINDOW rows, from `Verified()` on; at the end, look whether it ends
        where it is on record to end."""
        number, digest = so_far.rows, so_far.digest
        rows = self._database.rows(_NEXT, (number, TRAIL_WINDOW))
        for found, *columns, stated in rows:
            if found != number + 1:
                return _broken(so_far, number, number + 1, _lacking(number + 1, found - 1))
            if _chained(digest, found, Act(*columns)) != stated:
                return _broken(so_far, number, found, f"row {found} is not what was recorded")
            number, digest = found, stated
        reached = Verified(number, digest)
        return reached if len(rows) == TRAIL_WINDOW else self._at_end(reached)

    def _at_end(self, reached: Verified) -> Verified:
        recorded, digest = self.end()
        number = reached.rows
        if number < recorded:
            return _broken(reached, number, number + 1, _lacking(number + 1, recorded))
        if number > recorded:
            return _broken(reached, recorded, recorded + 1, f"row {recorded + 1} is past the end that is on record")
        if reached.digest != digest:
            return _broken(reached, number - 1, number, f"row {number} is not the last one that is on record")
        return replace(reached, is_done=True)


def _broken(so_far: Verified, rows: int, number: int, why: str) -> Verified:
    return replace(so_far, rows=rows, broken=number, why=why, is_done=True)


def _chained(above: bytes, number: int, act: Act) -> bytes:
    """SHA-256 of C[kind, digest of the row above ("" at first), number, all that the row says]."""
    return hashlib.sha256(pack([_KIND, above, number, *act.columns])).digest()


def _lacking(first: int, last: int) -> str:
    return f"row {first} is missing" if first == last else f"rows {first} to {last} are missing"
