"""The changes feed: which rows, how they look, and how they are sent: normal, longpoll, continuous, eventsource.

Source: CouchDB's documentation of `_changes`. Who waits and is woken is feeds.py's; which leaf passes, filters.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from icure_sync.hub import bodies
from icure_sync.hub.answers import JSON_HEADERS, encode, open_stream
from icure_sync.hub.call import DatabaseCall
from icure_sync.hub.databases import Database
from icure_sync.hub.errors import bad_request
from icure_sync.hub.feeds import Feed
from icure_sync.hub.filters import DesignReader, Filter, parse_filter, pick_fields, read_passing
from icure_sync.hub.limits import FEED_TIMEOUT, HEARTBEAT, MIN_HEARTBEAT, PAGE_ROWS
from icure_sync.hub.queries import Query
from icure_sync.hub.rendering import Piece, Shape, render
from icure_sync.hub.transfer import chunks_of
from icure_sync.ids import DocId
from icure_sync.merge.revtree import Leaf
from icure_sync.replication.wire import Revision
from icure_sync.store import DocumentChange, Store

Kind = Literal["normal", "longpoll", "continuous", "eventsource"]
_KINDS: Mapping[str, Kind] = {
    "normal": "normal",
    "longpoll": "longpoll",
    "continuous": "continuous",
    "eventsource": "eventsource",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one feed shows. `fields`: of an included document, for `_selector`; None: all.

    `limit` rows in all, None: no limit; a seq beside every `seq_interval`th row.
    """

    kind: Kind
    since: str
    limit: int | None
    all_leaves: bool
    descending: bool
    include_docs: bool
    shape: Shape
    filter: Filter | None
    fields: tuple[str, ...] | None
    seq_interval: int
    timeout: float
    heartbeat: float | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows. `reached`: the seq up to which everything was looked at; `more`: there was no room for the rest."""

    rows: tuple[tuple[int, tuple[Piece, ...]], ...]
    reached: int
    more: bool


async def get_changes(call: DatabaseCall) -> web.StreamResponse:
    """GET, HEAD and POST `_changes`."""
    call.require_all_documents()
    body: Mapping[str, Any] = {}
    if call.request.method == "POST":
        bodies.require_json(call.request)
        data = await bodies.read(call.request)
        body = bodies.strict_value(data) if data.strip() else {}
        if not isinstance(body, dict):
            raise bad_request("Request body must be a JSON object")
    wanted = await parse_wanted(call, body)
    database = call.database
    update_seq = await database.run(lambda store: store.documents.update_seq())
    start = database.read_seq(wanted.since, update_seq)
    kind = "text/event-stream" if wanted.kind == "eventsource" else JSON_HEADERS["Content-Type"]
    response = await open_stream(call.request, 200, {**JSON_HEADERS, "Content-Type": kind})
    if call.request.method == "HEAD":
        await response.write_eof()
        return response
    feed = database.feeds.open(start, wanted.filter)
    try:
        sender = _Sender(response, database, wanted, feed)
        await (sender.send_descending() if wanted.descending else sender.send(update_seq))
        await response.write_eof()
    finally:
        database.feeds.leave(feed)
    return response


async def parse_wanted(call: DatabaseCall, body: Mapping[str, Any]) -> Wanted:
    """Raises bad_request, not_found (a filter of a design document that is not there)."""
    query = call.query
    kind = _KINDS.get(query.text("feed", "normal"))
    if kind is None:
        raise bad_request("Supported `feed` types: normal, continuous, live, longpoll, eventsource.")
    style = query.text("style", "main_only")
    if style not in {"main_only", "all_docs"}:
        raise bad_request("Supported `style` values: main_only, all_docs.")
    since = query.text("last-event-id") or call.request.headers.get("Last-Event-ID", "") or query.text("since", "0")
    filter_, fields = await parse_filter(_design_reader(call.database), query, body, all_leaves=style == "all_docs")
    return Wanted(
        kind=kind,
        since=since.strip('"'),
        limit=query.count("limit", None),
        all_leaves=style == "all_docs",
        descending=query.flag("descending") and kind == "normal",
        include_docs=query.flag("include_docs"),
        shape=Shape(
            conflicts=query.flag("conflicts"),
            attachments="data" if query.flag("attachments") else "stub",
        ),
        filter=filter_,
        fields=fields,
        seq_interval=max(1, query.count("seq_interval", 1) or 1),
        timeout=min(_milliseconds(query, "timeout", FEED_TIMEOUT), FEED_TIMEOUT),
        heartbeat=_heartbeat(query),
    )


class _Sender:
    """Writes one feed to one client."""

    def __init__(self, response: web.StreamResponse, database: Database, wanted: Wanted, feed: Feed) -> None:
        self._response = response
        self._database = database
        self._wanted = wanted
        self._feed = feed
        self._sent = 0

    async def send(self, update_seq: int) -> None:
        """All rows up to `update_seq`, and, for a feed that waits, what comes after, until it ends."""
        is_object = self._wanted.kind in {"normal", "longpoll"}
        if is_object:
            await self._response.write(b'{"results":[\n')
        more = await self._send_rows(update_seq)
        while not self._is_over(is_object) and await self._wait():
            more = await self._send_rows(None)
        if self._wanted.kind == "eventsource":
            return
        tail = await self._tail(more)
        await self._response.write(b"\n]," + tail[1:] if is_object else tail)

    async def send_descending(self) -> None:
        """The newest first: one pass, no waiting."""
        await self._response.write(b'{"results":[\n')
        rows = await self._database.run(_read_descending, self._wanted, self._feed.position)
        limit = len(rows) if self._wanted.limit is None else self._wanted.limit
        for seq, pieces in rows[:limit]:
            await self._write_row(seq, pieces)
        last = rows[:limit][-1][0] if rows[:limit] else self._feed.position
        tail = {"last_seq": self._database.seq_text(last), "pending": max(0, len(rows) - limit)}
        await self._response.write(b"\n]," + encode(tail)[1:] + b"\n")

    async def _send_rows(self, through: int | None) -> bool:
        """What is there now, page by page; True if it stopped at the limit, with rows left."""
        feed, wanted = self._feed, self._wanted
        while True:
            feed.rearm()
            left = None if wanted.limit is None else wanted.limit - self._sent
            if left == 0 or self._database.feeds.closed:
                return left == 0
            page = await self._database.run(read_page, wanted, feed.position, left)
            for seq, pieces in page.rows:
                await self._write_row(seq, pieces)
            feed.position = max(feed.position, page.reached)
            if not page.more or (through is not None and feed.position >= through):
                return page.more

    def _is_over(self, is_object: bool) -> bool:
        at_limit = self._wanted.limit is not None and self._sent >= self._wanted.limit
        done = self._wanted.kind == "normal" or (is_object and self._sent > 0)
        return done or at_limit or self._database.feeds.closed

    async def _wait(self) -> bool:
        """Until there may be more (True), or the feed is to end (False). Heartbeats go out meanwhile."""
        if self._wanted.heartbeat is None:
            woken = await self._feed.sleep(self._wanted.timeout)
            return woken and not self._database.feeds.closed
        beat = b"event: heartbeat\ndata: \n\n" if self._wanted.kind == "eventsource" else b"\n"
        while not await self._feed.sleep(self._wanted.heartbeat):
            await self._response.write(beat)
        return not self._database.feeds.closed

    async def _tail(self, more: bool) -> bytes:
        position = self._feed.position
        pending = 0
        if more and not self._database.feeds.closed:
            pending = await self._database.run(lambda store: store.documents.count_changes(position))
        return encode({"last_seq": self._database.seq_text(position), "pending": pending}) + b"\n"

    async def _write_row(self, seq: int, pieces: tuple[Piece, ...]) -> None:
        text = self._database.seq_text(seq)
        has_seq = self._sent % self._wanted.seq_interval == 0
        head = b'{"seq":' + (encode(text) if has_seq else b"null") + b","
        is_object = self._wanted.kind in {"normal", "longpoll"}
        if is_object and self._sent:
            head = b",\n" + head
        if self._wanted.kind == "eventsource":
            head = b"data: " + head
        gathered = bytearray(head)
        async for chunk in chunks_of(self._database, pieces):
            gathered += chunk
            if len(gathered) > 2**16:
                await self._response.write(bytes(gathered))
                gathered.clear()
        if self._wanted.kind == "eventsource":
            gathered += b"\nid: " + encode(text) + b"\n"
        if not is_object:
            gathered += b"\n"
        self._sent += 1
        await self._response.write(bytes(gathered))


def read_page(store: Store, wanted: Wanted, since: int, limit: int | None) -> Page:
    """The rows of the next documents after `since`, at most `limit`. In the store's thread."""
    size = PAGE_ROWS if limit is None or wanted.filter is not None else min(PAGE_ROWS, limit)
    changes = store.documents.changes(since, size + 1)
    rows: list[tuple[int, tuple[Piece, ...]]] = []
    reached = since
    for change in changes[:size]:
        if limit is not None and len(rows) == limit:
            return Page(tuple(rows), reached, more=True)
        row = _row(store, wanted, change)
        reached = change.seq
        if row is not None:
            rows.append((change.seq, row))
    return Page(tuple(rows), reached, len(changes) > size)


def _read_descending(store: Store, wanted: Wanted, since: int) -> list[tuple[int, tuple[Piece, ...]]]:
    rows = [(change.seq, _row(store, wanted, change)) for change in store.documents.changes(since, -1, descending=True)]
    return [(seq, row) for seq, row in rows if row is not None]


def _row(store: Store, wanted: Wanted, change: DocumentChange) -> tuple[Piece, ...] | None:
    """One row without its seq and its opening brace; None if the filter lets no leaf pass."""
    leaves = _leaves(store, wanted, change)
    if not leaves:
        return None
    row: dict[str, Any] = {"id": change.id, "changes": [{"rev": leaf.rev} for leaf in leaves]}
    if change.deleted:
        row["deleted"] = True
    if not wanted.include_docs:
        return (encode(row)[1:],)
    revision = store.documents.get(change.id)
    assert revision is not None  # listed in this same visit
    tree = store.documents.tree(change.id) if wanted.shape.conflicts else None
    if wanted.fields is not None:
        return (encode({**row, "doc": pick_fields(revision, wanted.fields)})[1:],)
    return (encode(row)[1:-1] + b',"doc":', *render(store, revision, wanted.shape, tree).pieces, b"}")


def _leaves(store: Store, wanted: Wanted, change: DocumentChange) -> tuple[Leaf, ...]:
    if wanted.filter is not None:
        return read_passing(store, change)(wanted.filter)
    return change.leaves if wanted.all_leaves else change.leaves[:1]


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


def _heartbeat(query: Query) -> float | None:
    text = query.text("heartbeat")
    if text in {"", "false"}:
        return None
    seconds = HEARTBEAT if text == "true" else _milliseconds(query, "heartbeat", HEARTBEAT)
    if seconds <= 0:
        raise bad_request("The heartbeat value should be a positive integer (in milliseconds).")
    return max(seconds, MIN_HEARTBEAT)
