"""Reading the source's feed: page after page to its end and, in a live attempt, on from there until told to stop.

Owns the order of the requests, and when a quiet feed is asked how far it is. Knows no documents and no checkpoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from icure_sync.engine.clock import SYSTEM_CLOCK, Clock
from icure_sync.engine.patience import Patience
from icure_sync.engine.waiting import first_of
from icure_sync.errors import PeerError, Unreachable
from icure_sync.ids import Seq
from icure_sync.peers.port import Peer, Selector
from icure_sync.replication.batching import next_page_size
from icure_sync.replication.limits import FIRST_ROWS, QUIET_SECONDS
from icure_sync.replication.wire import Changes


class SourceFeed:
    """The feed of one attempt, read once from a seq on."""

    def __init__(
        self, source: Peer, selector: Selector | None, patience: Patience, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._source = source
        self._selector = selector
        self._patience = patience
        self._clock = clock
        self.broken: PeerError | None = None  # what ended `follow` before it was told to stop

    async def pages(self, since: Seq) -> AsyncGenerator[Changes, None]:
        """What there is now. Raises what the policy says must stop the attempt."""
        rows, more = FIRST_ROWS, True
        while more:
            page = await self._patience.insist(partial(self._changes, since, rows))
            yield page
            more = _has_more(page, since, rows)
            since, rows = page.last_seq, next_page_size(rows)

    async def follow(self, since: Seq, stop: asyncio.Event) -> AsyncGenerator[Changes, None]:
        """What comes after `since`, until `stop` is set.

        A source that fails, or ends its feed by itself, leaves the error in `broken`: what is under way is finished
        first.

        A quiet filtered feed never says how far it is: heartbeats carry no seq. So after a silence, and at the end, the
        source is asked for a plain page; else a device that comes back after a month would scan that month again.
        """
        try:
            while not stop.is_set():
                async with aclosing(self._source.follow(since, selector=self._selector)) as feed:
                    while page := await self._next(feed, stop):
                        yield page
                        since = page.last_seq
                async with aclosing(self.pages(since)) as pages:
                    async for page in pages:
                        yield page
                        since = page.last_seq
        except PeerError as error:
            self.broken = error

    async def _next(self, feed: AsyncGenerator[Changes, None], stop: asyncio.Event) -> Changes | None:
        """The next page; None after a silence, or when told to stop. Raises Unreachable at the end of the feed."""
        coming = asyncio.ensure_future(_page(feed))
        await first_of(coming, stop.wait(), self._clock.sleep(QUIET_SECONDS))
        return None if coming.cancelled() else coming.result()

    async def _changes(self, since: Seq, rows: int) -> Changes:
        return await self._source.changes(since, limit=rows, selector=self._selector)


async def _page(feed: AsyncGenerator[Changes, None]) -> Changes:
    async for page in feed:
        return page
    raise Unreachable(
        "follow the changes", "the other side has ended the feed", "wait: it is asked again whether it is there"
    )


def _has_more(page: Changes, since: Seq, limit: int) -> bool:
    """Is there something behind this page? A source that says `pending` knows; of others a full page is a sign."""
    if page.pending is None:
        return len(page.rows) >= limit
    return page.pending > 0 and page.last_seq != since
