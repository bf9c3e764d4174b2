"""The feed of a CouchDB, followed: continuous with heartbeats, or longpoll where something on the way holds it back.

Owns the endpoints' parameters, the cutting into lines and pages, and the judgement of silence: heartbeats that stop
mean a dead connection; a connection that ends twice after the same silence, something on the way that wants more of
them. Knows no checkpoints, and does not open a feed a second time by itself.
Source: docs.couchdb.org, "/{db}/_changes".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import aclosing

import msgspec

from icure_sync.errors import TimedOut, Unreachable
from icure_sync.ids import Seq
from icure_sync.peers.couch_answers import Answers
from icure_sync.peers.couch_bodies import json_body
from icure_sync.peers.couch_requests import Request, Requests, Timeouts
from icure_sync.peers.limits import (
    CUT_ALIKE,
    CUT_HEARTBEATS,
    EARLY_ANSWER,
    FEED_PAUSE_SECONDS,
    MAX_ANSWER,
    SHORTEST_HEARTBEAT_SECONDS,
    WATCHDOG_HEARTBEATS,
)
from icure_sync.peers.port import Selector
from icure_sync.replication.limits import MOST_ROWS
from icure_sync.replication.trouble import BatchRefused
from icure_sync.replication.wire import Changes

_encode = msgspec.json.encode


class _NothingCame(TimedOut):
    """A continuous feed was silent from its opening on."""


class Feed:
    """The feed of one database. `path`: that of the database below the server."""

    def __init__(self, requests: Requests, answers: Answers, path: str, peer: str, timeouts: Timeouts) -> None:
        self._requests = requests
        self._answers = answers
        self._path = path + "/_changes"
        self._attempted = f"follow the changes of {peer}"
        self._heartbeat = timeouts.heartbeat
        self._watchdog = timeouts.heartbeat * WATCHDOG_HEARTBEATS
        self._cut_after: float | None = None  # seconds of silence, before the last feed broke off
        self._held_back = False  # longpoll gave something where a continuous feed gave nothing

    async def follow(self, since: Seq, selector: Selector | None) -> AsyncGenerator[Changes, None]:
        if not self._held_back:
            try:
                async with aclosing(self._continuous(since, selector)) as pages:
                    async for page in pages:
                        yield page
            except _NothingCame:
                pass
            else:
                return
        async with aclosing(self._polled(since, selector)) as pages:
            async for page in pages:
                self._held_back = True
                yield page

    async def _continuous(self, since: Seq, selector: Selector | None) -> AsyncGenerator[Changes, None]:
        """Raises _NothingCame for a silence before the first byte."""
        asked = {"feed": "continuous", "heartbeat": _milliseconds(self._heartbeat)}
        clock = asyncio.get_running_loop()
        came = False
        last = clock.time()
        try:
            async with self._requests.open(self._request(since, selector, asked, feed=True)) as response:
                async for lines in _lines(response.content.iter_any(), self._attempted):
                    came, last = True, clock.time()
                    page, ended = self._answers.feed(lines, self._attempted, since)
                    if page.rows:
                        since = page.last_seq
                        yield page
                    if ended:
                        return
            self._learn_from_cut(clock.time() - last)
        except Unreachable:
            self._learn_from_cut(clock.time() - last)
            raise
        except TimedOut as error:
            if came:
                raise
            raise _NothingCame(error.attempted, error.wrong, error.next_step) from error

    def _learn_from_cut(self, silence: float) -> None:
        """Ask for more signs of life if a silence like this one has ended the last feed as well."""
        if silence < SHORTEST_HEARTBEAT_SECONDS:
            return
        before, self._cut_after = self._cut_after, silence
        if before is not None and abs(silence - before) <= CUT_ALIKE * max(silence, before):
            self._heartbeat = min(self._heartbeat, max(SHORTEST_HEARTBEAT_SECONDS, silence * CUT_HEARTBEATS))

    async def _polled(self, since: Seq, selector: Selector | None) -> AsyncGenerator[Changes, None]:
        """One longpoll after another. An answer without rows, long before its time, is the end of the feed."""
        clock = asyncio.get_running_loop()
        asked = {"feed": "longpoll", "timeout": _milliseconds(self._heartbeat), "limit": str(MOST_ROWS)}
        while True:
            start = clock.time()
            try:
                page = await self._page(self._request(since, selector, asked, feed=True))
            except TimedOut:  # or every write that the filter holds back has started its time anew
                page = await self._page(self._request(since, selector, {"limit": str(MOST_ROWS)}, feed=False))
            if not page.rows and clock.time() - start < self._heartbeat * EARLY_ANSWER:
                await asyncio.sleep(FEED_PAUSE_SECONDS)  # whoever opens it again at once shall not spin
                return
            since = page.last_seq
            yield page

    async def _page(self, request: Request) -> Changes:
        return self._answers.changes(await self._requests.answer(request), self._attempted)

    def _request(self, since: Seq, selector: Selector | None, asked: Mapping[str, str], *, feed: bool) -> Request:
        query = {"style": "all_docs", "since": since, **asked}
        silence = self._watchdog if feed else None
        if selector is None:
            return Request("GET", self._path, self._attempted, query=query, silence=silence, feed=feed)
        query["filter"] = "_selector"
        body = json_body([_encode({"selector": selector})])
        return Request("POST", self._path, self._attempted, query=query, body=body, silence=silence, feed=feed)


async def _lines(pieces: AsyncIterable[bytes], attempted: str) -> AsyncGenerator[list[bytes], None]:
    """The lines that ended with each piece that came, heartbeats included; at last what stands behind the last end."""
    begun: list[bytes] = []
    size = 0
    async for piece in pieces:
        *ended, rest = piece.split(b"\n")
        if ended:
            ended[0] = b"".join([*begun, ended[0]])
            begun, size = [], 0
        yield ended
        begun.append(rest)
        size += len(rest)
        if size > MAX_ANSWER:
            raise BatchRefused(attempted, "answer_too_large", f"a line of more than {MAX_ANSWER} bytes")
    yield [b"".join(begun)]


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
