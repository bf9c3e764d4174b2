"""Alarms: what a person should know of the server or of others, each once, until he has seen to it.

Knows the rows; what a kind means, and what to do about it, is the engine's. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from icure_sync.store.database import Database

_ALL = "SELECT number, kind, subject, why, first, last, dismissed FROM alarms ORDER BY number"


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """`number` names it, and is never given to another. `first` and `last`: when it was raised, ms since 1970;
    `dismissed`: when a person said that it is seen to, None if nobody has."""

    number: int
    kind: str
    subject: str
    why: str
    first: int
    last: int
    dismissed: int | None


class Alarms:
    """Every method may raise StoreError kinds; those that change something are one durable transaction each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def raise_(self, kind: str, subject: str, why: str, time: int) -> None:
        """There is one alarm of each kind of a subject. Raised again for the same reason, it is the same one, dismissed
        or not; for another reason, a new one takes its place."""
        with self._database.transaction():
            known = self._database.value("SELECT why FROM alarms WHERE kind = ? AND subject = ?", (kind, subject))
            if known == why:
                self._database.run("UPDATE alarms SET last = ? WHERE kind = ? AND subject = ?", (time, kind, subject))
                return
            self.clear(kind, subject)
            self._database.run(
                "INSERT INTO alarms (kind, subject, why, first, last) VALUES (?, ?, ?, ?, ?)",
                (kind, subject, why, time, time),
            )

    def clear(self, kind: str, subject: str) -> None:
        """What it was raised for is so no longer."""
        self._database.run("DELETE FROM alarms WHERE kind = ? AND subject = ?", (kind, subject))

    def match(self, kind: str, found: Mapping[str, str], time: int) -> None:
        """Of a kind that tells how things are: raise those found, reasons by subject, and clear the others."""
        rows = self._database.rows("SELECT subject, why FROM alarms WHERE kind = ?", (kind,))
        if dict(rows) == found:
            return
        with self._database.transaction():
            for subject, _ in rows:
                if subject not in found:
                    self.clear(kind, subject)
            for subject, why in found.items():
                self.raise_(kind, subject, why, time)

    def dismiss(self, number: int, time: int) -> bool:
        """A person has seen to it. False if there is no such alarm."""
        return bool(
            self._database.run("UPDATE alarms SET dismissed = coalesce(dismissed, ?) WHERE number = ?", (time, number))
        )

    def all(self) -> list[AlarmRow]:
        """Each, dismissed ones too, in the order in which they were raised first."""
        return [AlarmRow(*row) for row in self._database.rows(_ALL)]

    def count(self, after: int = 0) -> int:
        """Those that nobody has dismissed, of a number beyond `after`."""
        counted = self._database.value("SELECT count(*) FROM alarms WHERE dismissed IS NULL AND number > ?", (after,))
        return int(counted)

    def newest(self) -> int:
        """The last number given; 0 before the first."""
        return int(self._database.value("SELECT seq FROM sqlite_sequence WHERE name = 'alarms'") or 0)
