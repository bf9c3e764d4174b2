"""Feeds that wait: who waits for which changes of one database, and who is woken by a write. Knows no HTTP.

A feed without a filter, or with a slow one, is woken by every write. The rows that filtered feeds wait for are read
once after a write, for all of them; those whose filter passes are handed them, and the others sleep on. So two hundred
quiet devices cost a write one look into an index, and not two hundred readings of the database. A document with too
many large leaves to be held at once is not read for them: it wakes those whose filter asks for documents.

Why none is missed: a write is announced after it can be read. A feed that reads meanwhile is woken by the announcement
and reads again. One that sleeps is asked about every row above the seq where the sleepers were asked last, `_asked`,
and it had read everything up to there before it fell asleep, or it does not. When it wakes, what it was handed is all
there is for it up to `_asked`; if the next rows are being read just then, it reads for itself from where it stood.
"""

from __future__ import annotations

import asyncio

from icure_sync.discretion import logger
from icure_sync.errors import StoreError
from icure_sync.hub.feed import Arrival, Feed
from icure_sync.hub.filters import Document, Filter, as_document
from icure_sync.hub.limits import ARRIVALS, PAGE_BYTES
from icure_sync.hub.sleepers import Sleepers
from icure_sync.store import DocumentChange, Store

log = logger(__name__)


class Feeds:
    """The feeds of one database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._wakeful: set[Feed] = set()  # woken by every write
        self._asleep = Sleepers()  # asked before they are woken
        self._asked = 0
        self._distribution: asyncio.Task[None] | None = None
        self._is_behind = False
        self.closed = False

    def open(self, position: int, wanted: Filter | None, *, takes_rows: bool = False) -> Feed:
        """A feed that is woken by writes, from now on until `leave`."""
        feed = Feed(position, wanted, takes_rows=takes_rows)
        self._wakeful.add(feed)
        return feed

    def leave(self, feed: Feed) -> None:
        self._wakeful.discard(feed)

    async def sleep(self, feed: Feed, seconds: float) -> bool:
        """Until there may be something for this feed (True), or so many seconds have passed (False)."""
        if feed.filter is None or feed.filter.is_slow:
            return await feed.woken(seconds)
        if not self._asleep:
            self._asked = feed.position
        if feed.is_woken:
            return True
        self._asleep.add(feed)
        self._wakeful.discard(feed)
        try:
            woken = await feed.woken(seconds)
        finally:
            self._asleep.remove(feed)
            self._wakeful.add(feed)
        if not woken:
            feed.position = max(feed.position, self._asked)
            if self._distribution is not None:
                feed.wake()  # what is being read just now is not handed to it any more
        elif feed.handed and feed.takes_rows and self._distribution is None and not self.closed:
            feed.position = self._asked
            feed.rearm()
        else:
            feed.handed.clear()
        return woken

    def announce(self) -> None:
        """Something was written."""
        for feed in self._wakeful:
            feed.wake()
        if self._asleep:
            self._is_behind = True
            if self._distribution is None:
                self._distribution = asyncio.create_task(self._distribute())

    async def close(self) -> None:
        """Ends every feed: each finds `closed` when it wakes."""
        self.closed = True
        for feed in (*self._wakeful, *self._asleep):
            feed.wake()
        if self._distribution is not None:
            await asyncio.wait([self._distribution])

    async def _distribute(self) -> None:
        """Reads what is new for the feeds that sleep, until nothing is. If that fails, each has to read for itself."""
        try:
            while self._is_behind and self._asleep and not self.closed:
                self._is_behind = False
                await self._ask()
        except StoreError as error:
            log.error("%s", error)  # noqa: TRY400  (the error says it all in one line)
            self._wake_all()
        except BaseException:
            self._wake_all()
            raise
        finally:
            self._distribution = None

    def _wake_all(self) -> None:
        for feed in self._asleep:
            feed.handed.clear()
            feed.wake()

    async def _ask(self) -> None:
        more = True
        while more and self._asleep and not self.closed:
            since = self._asked
            arrivals, more = await self._store.run(_read_arrivals, self._store, since)
            for arrival in arrivals:
                for feed in self._asleep.concerned(arrival):
                    _hand(feed, arrival, since)
                self._asked = max(self._asked, arrival.change.seq)


def _hand(feed: Feed, arrival: Arrival, since: int) -> None:
    """A row that concerns a sleeper; everything up to `since` it was asked about before."""
    if not feed.is_woken:
        feed.position = max(feed.position, since)
    elif not feed.handed:
        return  # it is to read for itself
    if arrival.change.seq <= feed.position:
        return
    if arrival.documents is None:
        feed.handed.clear()  # it is to read for itself: this row, and what was handed to it before
    else:
        feed.handed.append(arrival)
    feed.wake()


def _read_arrivals(store: Store, since: int) -> tuple[list[Arrival], bool]:
    """The next rows, with the documents of their leaves, not many more bytes than a page has; and whether there are
    more. In the store's thread."""
    arrivals: list[Arrival] = []
    size = 0
    changes = store.documents.changes(since, ARRIVALS)
    for change in changes:
        documents, read = _read_leaves(store, change)
        arrivals.append(Arrival(change, documents))
        size += read
        if size > PAGE_BYTES:
            break
    return arrivals, len(arrivals) < len(changes) or len(changes) == ARRIVALS


def _read_leaves(store: Store, change: DocumentChange) -> tuple[tuple[Document | None, ...] | None, int]:
    """The documents of the leaves, and how many bytes were read for them. None for more leaves than are read at once,
    or more bytes than a page has, of which a single leaf alone may have more."""
    if len(change.leaves) > ARRIVALS:
        return None, 0
    documents: list[Document | None] = []
    size = 0
    for leaf in change.leaves:
        if size > PAGE_BYTES:
            return None, size
        revision = store.documents.get(change.id, leaf.rev)
        documents.append(None if revision is None else as_document(revision))
        size += 0 if revision is None else len(revision.body)
    return tuple(documents), size
