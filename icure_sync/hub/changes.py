"""The changes feed over HTTP: what a request wants, and the four ways to send it.

Source: CouchDB's documentation of `_changes`. What a row shows is change_rows.py's; who waits and is woken, feeds.py's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from icure_sync.hub import bodies
from icure_sync.hub.answers import JSON_HEADERS, encode, entity_tags, etag, open_stream
from icure_sync.hub.call import DatabaseCall
from icure_sync.hub.change_rows import Look, Page, Row, handed_row, read_page, read_page_back
from icure_sync.hub.databases import Database
from icure_sync.hub.errors import bad_request
from icure_sync.hub.feed import Feed
from icure_sync.hub.filters import DesignReader, parse_filter
from icure_sync.hub.limits import ANSWER_CHUNK, FEED_TIMEOUT, HEARTBEAT, MAX_JSON_BODY, MAX_QUERY, MIN_HEARTBEAT
from icure_sync.hub.packing import Plain, packing_of
from icure_sync.hub.queries import Query
from icure_sync.hub.rendering import Shape
from icure_sync.hub.transfer import chunks_of
from icure_sync.ids import DocId
from icure_sync.replication.wire import Revision

_EVENTS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
_NUMBER = re.compile(r"-?\d{1,12}\Z", re.ASCII)
_BELOW_ZERO = re.compile(r"-\d+\Z", re.ASCII)  # a limit that is none
_FEEDS = "Supported `feed` types: normal, continuous, live, longpoll, eventsource"
Kind = Literal["normal", "longpoll", "continuous", "eventsource"]
_KINDS: Mapping[str, Kind] = {
    "normal": "normal",
    "longpoll": "longpoll",
    "continuous": "continuous",
    "live": "continuous",
    "eventsource": "eventsource",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """One feed. `limit` rows in all, None: no limit; a seq beside every `seq_interval`th row.

    `descending`: from the newest to the first, whatever `since` says, and no waiting, in every kind of feed.
    `timeout`, `heartbeat` in seconds; with a heartbeat there is no timeout.
    """

    kind: Kind
    since: str
    limit: int | None
    descending: bool
    seq_interval: int
    timeout: float
    heartbeat: float | None
    look: Look

    @property
    def is_object(self) -> bool:
        """The rows are members of one JSON object; else each stands alone."""
        return self.kind in {"normal", "longpoll"}


async def get_changes(call: DatabaseCall) -> web.StreamResponse:
    """GET, HEAD and POST `_changes`."""
    body: Mapping[str, Any] = {}
    if call.request.method == "POST":
        bodies.require_json(call.request)
        limit = MAX_QUERY if call.query.text("filter") == "_selector" else MAX_JSON_BODY
        data = await bodies.read(call.request, limit)
        body = bodies.strict_value(data) if data.strip() else {}
        if not isinstance(body, dict):
            raise bad_request("Request body must be a JSON object")
    wanted = await parse_wanted(call, body)
    database = call.database
    update_seq = await database.run(lambda store: store.documents.update_seq())
    start = update_seq if wanted.descending else database.read_seq(wanted.since, update_seq)
    headers = JSON_HEADERS | (_EVENTS if wanted.kind == "eventsource" else {})
    if wanted.kind == "normal" and call.request.method != "POST":
        tag = database.seq_text(update_seq)  # nothing that a feed shows changes without it
        headers |= etag(tag)
        if tag in entity_tags(call.request, "If-None-Match"):
            return web.Response(status=304, headers=etag(tag))
    packing = packing_of(call.request, headers) if wanted.kind == "normal" else Plain()
    response = await open_stream(call.request, 200, {**headers, **packing.headers})
    if call.request.method == "HEAD":
        await response.write_eof()
        return response
    rows_alone = wanted.limit is None and not wanted.look.include_docs
    feed = database.feeds.open(start, wanted.look.filter, takes_rows=rows_alone)
    try:
        sender = _Sender(response, packing, database, wanted, feed)
        await (sender.send_descending() if wanted.descending else sender.send(update_seq))
        await response.write_eof(packing.finish())
    finally:
        database.feeds.leave(feed)
    return response


async def parse_wanted(call: DatabaseCall, body: Mapping[str, Any]) -> Wanted:
    """Raises bad_request, not_found (a filter of a design document that is not there)."""
    query = call.query
    kind = _KINDS.get(query.text("feed", "normal"))
    if kind is None:
        raise bad_request(_FEEDS)
    style = query.text("style", "main_only")
    if style not in {"main_only", "all_docs"}:
        raise bad_request("Supported `style` values: main_only, all_docs.")
    since = query.text("last-event-id") or call.request.headers.get("Last-Event-ID", "") or query.text("since", "0")
    filter_, fields = await parse_filter(_design_reader(call.database), query, body, all_leaves=style == "all_docs")
    shape = Shape(
        conflicts=query.flag("conflicts"),
        attachments="data" if query.flag("attachments") else "stub",
        att_encoding_info=query.flag("att_encoding_info"),
    )
    return Wanted(
        kind=kind,
        since=since.strip('"'),
        limit=None if _BELOW_ZERO.match(query.text("limit")) else query.count("limit", None),
        descending=query.flag("descending"),
        seq_interval=_seq_interval(query),
        timeout=min(_milliseconds(query, "timeout", FEED_TIMEOUT), FEED_TIMEOUT),
        heartbeat=_heartbeat(query),
        look=Look(style == "all_docs", query.flag("include_docs"), shape, filter_, fields),
    )


class _Sender:
    """Writes one feed to one client."""

    def __init__(
        self, response: web.StreamResponse, packing: Plain, database: Database, wanted: Wanted, feed: Feed
    ) -> None:
        self._response = response
        self._packing = packing
        self._database = database
        self._wanted = wanted
        self._feed = feed
        self._sent = 0
        self._clock = asyncio.get_running_loop().time
        self._written_at = self._clock()

    async def send(self, update_seq: int) -> None:
        """All rows up to `update_seq`, and, for a feed that waits, what comes after, until it ends."""
        if self._wanted.is_object:
            await self._write(b'{"results":[\n')
        more = await self._send_rows(update_seq)
        while not self._is_over() and await self._wait():
            handed = self._feed.take_handed()
            if handed:
                await self._write_rows(tuple(handed_row(self._wanted.look, each) for each in handed))
            else:
                more = await self._send_rows(None)
        position, pending = self._feed.position, 0
        if more and not self._database.feeds.closed:
            pending = await self._database.run(lambda store: store.documents.count_changes(position))
        await self._write_tail(position, pending)

    async def send_descending(self) -> None:
        """The newest first, page by page: one pass over what is there."""
        newest, limit = self._feed.position, self._wanted.limit
        if self._wanted.is_object:
            await self._write(b'{"results":[\n')
        pending = await self._database.run(lambda store: store.documents.count_changes(0))
        page = Page((), 0, newest + 1, more=True)
        while page.more and self._sent != limit and not self._database.feeds.closed:
            left = None if limit is None else limit - self._sent
            page = await self._database.run(read_page_back, self._wanted.look, page.reached, left)
            pending -= page.looked_at
            await self._write_rows(page.rows)
        await self._write_tail(min(page.reached, newest), max(0, pending))

    async def _send_rows(self, through: int | None) -> bool:
        """What is there now, page by page; True if it stopped at the limit, with rows left."""
        feed, wanted = self._feed, self._wanted
        while True:
            feed.rearm()
            left = None if wanted.limit is None else wanted.limit - self._sent
            if left == 0 or self._database.feeds.closed:
                return left == 0
            page = await self._database.run(read_page, wanted.look, feed.position, left)
            await self._write_rows(page.rows)
            feed.position = max(feed.position, page.reached)
            if not page.more or (through is not None and feed.position >= through):
                return page.more
            if wanted.heartbeat is not None and self._clock() - self._written_at > wanted.heartbeat:
                await self._beat()  # a filter that lets little pass takes its time

    def _is_over(self) -> bool:
        at_limit = self._wanted.limit is not None and self._sent >= self._wanted.limit
        done = self._wanted.kind == "normal" or (self._wanted.is_object and self._sent > 0)
        return done or at_limit or self._database.feeds.closed

    async def _wait(self) -> bool:
        """Until there may be more (True), or the feed is to end (False). Heartbeats go out meanwhile."""
        feeds = self._database.feeds
        if self._wanted.heartbeat is None:
            return await feeds.sleep(self._feed, self._wanted.timeout) and not feeds.closed
        while not await feeds.sleep(self._feed, self._wanted.heartbeat):
            await self._beat()
        return not feeds.closed

    async def _beat(self) -> None:
        beat = b"event: heartbeat\ndata: \n\n" if self._wanted.kind == "eventsource" else b"\n"
        await self._send(await self._packing.flush(beat))

    async def _write_rows(self, rows: tuple[Row, ...]) -> None:
        gathered = bytearray()
        for row in rows:
            head, tail = self._frame(row.seq)
            gathered += head
            async for chunk in chunks_of(self._database, row.pieces):
                gathered += chunk
                if len(gathered) > ANSWER_CHUNK:
                    await self._write(bytes(gathered))
                    gathered.clear()
            gathered += tail
            self._sent += 1
        if gathered:
            await self._write(bytes(gathered))

    def _frame(self, seq: int) -> tuple[bytes, bytes]:
        """What stands before and after the pieces of the next row."""
        text = encode(self._database.seq_text(seq))
        shown = text if self._sent % self._wanted.seq_interval == 0 else b"null"
        head = b'{"seq":' + shown + b","
        if self._wanted.kind == "eventsource":
            return b"data: " + head, b"\nid: " + text + b"\n\n"
        if self._wanted.is_object:
            return (b",\n" if self._sent else b"") + head, b""
        return head, b"\n"

    async def _write_tail(self, last: int, pending: int) -> None:
        if self._wanted.kind == "eventsource":
            return
        tail = encode({"last_seq": self._database.seq_text(last), "pending": pending}) + b"\n"
        await self._write(b"\n]," + tail[1:] if self._wanted.is_object else tail)

    async def _write(self, data: bytes) -> None:
        await self._send(await self._packing.pack(data))

    async def _send(self, data: bytes) -> None:
        if data:
            await self._response.write(data)
            self._written_at = self._clock()


def _design_reader(database: Database) -> DesignReader:
    async def read(doc_id: DocId) -> Revision | None:
        return await database.run(lambda store: store.documents.get(doc_id))

    return read


def _milliseconds(query: Query, name: str, default: float) -> float:
    text = query.text(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise bad_request(f"The {name} value should be a number of milliseconds")
    return int(text) / 1000


def _seq_interval(query: Query) -> int:
    text = query.text("seq_interval", "1")
    if not _NUMBER.match(text) or int(text) < 1:
        raise bad_request("invalid_seq_interval")
    return int(text)


def _heartbeat(query: Query) -> float | None:
    text = query.text("heartbeat")
    if text in {"", "false"}:
        return None
    if text == "true":
        return HEARTBEAT
    if not _NUMBER.match(text):
        raise bad_request("Invalid heartbeat value. Expecting a positive integer value (in milliseconds).")
    if int(text) <= 0:
        raise bad_request("The heartbeat value should be a positive integer (in milliseconds).")
    return max(int(text) / 1000, MIN_HEARTBEAT)
