"""One reader of changes that can wait: where it stands, what it lets pass, how it is woken. Knows no store."""

from __future__ import annotations

import asyncio
import contextlib

from icure_sync.hub.filters import Filter


class Feed:
    """One reader of changes. `position`: the local seq up to which it has seen, or had passed over, every row."""

    def __init__(self, position: int, wanted: Filter | None) -> None:
        self.position = position
        self.filter = wanted
        self._event = asyncio.Event()

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
