"""One reader of changes that can wait: where it stands, what it lets pass, how it is woken. Knows no store."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from icure_sync.hub.filters import Document, Filter
from icure_sync.store import DocumentChange


@dataclass(frozen=True, slots=True)
class Arrival:
    """A row, and the document of each of its leaves (None: not here).

    `documents` None: they were not read, they are too many or too large to be held at once.
    """

    change: DocumentChange
    documents: tuple[Document | None, ...] | None


class Feed:
    """One reader of changes. `position`: the local seq up to which it has seen, or had passed over, every row.

    `handed`: rows that concern it, found while it slept, and all there are up to `position`: it need not read them, if
    it `takes_rows`, which is to say that the rows alone are what it shows.
    """

    def __init__(self, position: int, wanted: Filter | None, *, takes_rows: bool = False) -> None:
        self.position = position
        self.filter = wanted
        self.takes_rows = takes_rows
        self.handed: list[Arrival] = []
        self._event = asyncio.Event()

    def take_handed(self) -> list[Arrival]:
        """What was handed over; nothing of it is left."""
        taken, self.handed = self.handed, []
        return taken

    def wake(self) -> None:
        """There may be something to read; also: the database or the hub closes."""
        self._event.set()

    @property
    def is_woken(self) -> bool:
        return self._event.is_set()

    def rearm(self) -> None:
        """Before reading: whatever is written from now on wakes this feed again."""
        self._event.clear()

    async def woken(self, seconds: float) -> bool:
        """True once woken, False after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        return self.is_woken  # it may have been woken in the very moment
