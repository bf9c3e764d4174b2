"""Feeds that wait: who waits for which changes of one database, and who is woken by a write. Knows no HTTP.

A feed without a filter is woken by every write. The rows that filtered feeds wait for are read once after a write, for
all of them, and only those whose filter passes are woken; the others just move on. So two hundred quiet devices cost a
write two hundred evaluations of a selector, and not two hundred readings of the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from icure_sync.hub.filters import Filter, read_passing
from icure_sync.hub.limits import PAGE_ROWS
from icure_sync.store import Store


@dataclass(frozen=True, slots=True)
class _Asleep:
    """What the store's thread needs to know of one waiting feed."""

    feed: Feed
    position: int
    filter: Filter


class Feed:
    """One reader of changes. `position`: the local seq up to which it has seen, or had passed over, every row."""

    def __init__(self, position: int, wanted: Filter | None) -> None:
        self.position = position
        self.filter = wanted
        self._event = asyncio.Event()
        self.asleep = False

    def wake(self) -> None:
        """There may be something to read; also: the database or the hub closes."""
        self._event.set()

    def rearm(self) -> None:
        """Before reading: whatever is written from now on wakes this feed again."""
        self._event.clear()

    async def sleep(self, seconds: float | None) -> bool:
        """Until woken (True) or `seconds` have passed (False)."""
        self.asleep = True
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        finally:
            self.asleep = False
        return True


class Feeds:
    """The feeds of one database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._feeds: set[Feed] = set()
        self._distribution: asyncio.Task[None] | None = None
        self._dirty = False
        self.closed = False

    def open(self, position: int, wanted: Filter | None) -> Feed:
        """A feed that is woken by writes, from now on until `leave`."""
        feed = Feed(position, wanted)
        self._feeds.add(feed)
        return feed

    def leave(self, feed: Feed) -> None:
        self._feeds.discard(feed)

    def announce(self) -> None:
        """Something was written."""
        for feed in self._feeds:
            if feed.filter is None or not feed.asleep:
                feed.wake()
        self._dirty = True
        if self._distribution is None and any(feed.asleep and feed.filter for feed in self._feeds):
            self._distribution = asyncio.create_task(self._distribute())

    async def close(self) -> None:
        """Ends every feed: each finds `closed` when it wakes."""
        self.closed = True
        for feed in self._feeds:
            feed.wake()
        if self._distribution is not None:
            await self._distribution

    async def _distribute(self) -> None:
        """Reads what is new for the filtered feeds that sleep, until nothing is."""
        try:
            while self._dirty and not self.closed:
                self._dirty = False
                more = True
                while more and not self.closed:
                    asleep = [
                        _Asleep(feed, feed.position, feed.filter)
                        for feed in self._feeds
                        if feed.asleep and feed.filter is not None
                    ]
                    woken, reached, more = await self._store.run(_look, self._store, asleep)
                    for entry in asleep:
                        if entry.feed in woken:
                            entry.feed.wake()
                        elif entry.feed.position == entry.position and entry.feed.asleep:
                            entry.feed.position = max(reached, entry.position)
        finally:
            self._distribution = None


def _look(store: Store, asleep: Sequence[_Asleep]) -> tuple[set[Feed], int, bool]:
    """In the store's thread: whom the next page of rows wakes, the seq it reaches, and whether there is more."""
    if not asleep:
        return set(), 0, False
    start = min(entry.position for entry in asleep)
    changes = store.documents.changes(start, PAGE_ROWS)
    woken: set[Feed] = set()
    for change in changes:
        reader = read_passing(store, change)
        woken.update(
            entry.feed
            for entry in asleep
            if entry.position < change.seq and entry.feed not in woken and reader(entry.filter)
        )
    reached = changes[-1].seq if changes else start
    return woken, reached, len(changes) == PAGE_ROWS
