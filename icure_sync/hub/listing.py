"""The endpoints that list documents by id: `_all_docs`, `_design_docs`, and several queries of them at once. Streams.

Source: CouchDB's documentation of `_all_docs`, and what it answers. Options are view_options.py's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from icure_sync.hub.answers import encode, stream_answer
from icure_sync.hub.call import DatabaseCall
from icure_sync.hub.limits import PAGE_BYTES, PAGE_ROWS
from icure_sync.hub.paths import DESIGN
from icure_sync.hub.rendering import Piece, render
from icure_sync.hub.transfer import chunks_of
from icure_sync.hub.view_options import Range, ViewOptions, chosen_keys, id_range, listing_options, view_queries
from icure_sync.ids import DocId, Rev
from icure_sync.store import Store

_LAST_DESIGN = DESIGN + "\U0010ffff"  # after every design document
ROWS_HEAD = b'"rows":[\r\n'
ROW_BREAK = b",\r\n"
ROWS_TAIL = b"\r\n]}"


@dataclass(frozen=True, slots=True)
class _Listing:
    """One query. `total`: of the documents that it chooses from, counted by."""

    options: ViewOptions
    range: Range
    total: Callable[[Store], int]


async def get_all_docs(call: DatabaseCall) -> web.StreamResponse:
    """GET, HEAD and POST `_all_docs`."""
    return await stream_answer(call.request, _chunks(call, _listing(await listing_options(call)), b"\n"))


async def post_queries(call: DatabaseCall) -> web.StreamResponse:
    """POST `_all_docs/queries`: several listings at once."""
    listings = [_chunks(call, _listing(one), b"") for one in await view_queries(call)]
    return await stream_answer(call.request, results_of(listings))


async def get_design_docs(call: DatabaseCall) -> web.StreamResponse:
    """GET, HEAD and POST `_design_docs`: the same, for design documents only."""
    return await stream_answer(call.request, _chunks(call, _of_design(await listing_options(call)), b"\n"))


async def post_design_queries(call: DatabaseCall) -> web.StreamResponse:
    """POST `_design_docs/queries`."""
    listings = [_chunks(call, _of_design(one), b"") for one in await view_queries(call)]
    return await stream_answer(call.request, results_of(listings))


async def results_of(listings: Iterable[AsyncIterator[bytes]]) -> AsyncIterator[bytes]:
    """The answers to several queries as one."""
    separator = b'{"results":[\r\n'
    for chunks in listings:
        yield separator
        async for chunk in chunks:
            yield chunk
        separator = ROW_BREAK
    yield b"\r\n]}\n" if separator == ROW_BREAK else separator + b"]}\n"


def _listing(options: ViewOptions) -> _Listing:
    return _Listing(options, id_range(options), lambda store: store.documents.count())


def _of_design(options: ViewOptions) -> _Listing:
    """What of a listing are design documents. Ids beside the range still count as passed over."""
    if options.keys is not None:
        keys = tuple(key for key in options.keys if isinstance(key, str) and key.startswith(DESIGN))
        options = replace(options, keys=keys)
    chosen = id_range(options)
    end = _LAST_DESIGN if chosen.end is None else min(chosen.end, _LAST_DESIGN)
    return _Listing(options, replace(chosen, start=max(chosen.start, DESIGN), end=end), _count_design)


async def _chunks(call: DatabaseCall, listing: _Listing, tail: bytes) -> AsyncIterator[bytes]:
    """One listing as JSON, a line for each row, `tail` after it."""
    head, seq = await call.database.run(_head, listing)
    if listing.options.update_seq:
        head["update_seq"] = call.database.seq_text(seq)
    yield encode(head)[:-1] + b"," + ROWS_HEAD
    pages = _keyed_pages if listing.options.keys is not None else _range_pages
    separator = b""
    async for rows in pages(call, listing):
        async for chunk in chunks_of(call.database, _joined(rows, separator)):
            yield chunk
        separator = ROW_BREAK if rows else separator
    yield ROWS_TAIL + tail


def _joined(rows: Iterable[list[Piece]], separator: bytes) -> Iterator[Piece]:
    """The pieces of rows in a line each; `separator` before the first."""
    for row in rows:
        yield separator
        yield from row
        separator = ROW_BREAK


def _head(store: Store, listing: _Listing) -> tuple[dict[str, Any], int]:
    total, offset = listing.total(store), None
    if listing.options.keys is None:
        offset = min(total, _before(store, listing.range) + listing.options.skip)
    return {"total_rows": total, "offset": offset}, store.documents.update_seq()


def _before(store: Store, chosen: Range) -> int:
    """How many documents come before the range, as it is read."""
    if chosen.descending and chosen.is_empty:
        return store.documents.count()
    if chosen.descending:
        through = store.documents.count_before((chosen.end or "") + "\0")
        return 0 if chosen.end is None else store.documents.count() - through
    return store.documents.count_before(chosen.start) if chosen.start else 0


async def _keyed_pages(call: DatabaseCall, listing: _Listing) -> AsyncIterator[list[list[Piece]]]:
    keys = chosen_keys(listing.options)
    done = 0
    while done < len(keys):
        rows = await call.database.run(_keyed_page, keys[done : done + PAGE_ROWS], listing.options)
        done += len(rows)
        yield rows


def _keyed_page(store: Store, keys: Sequence[Any], options: ViewOptions) -> list[list[Piece]]:
    return _take(_key_row(store, key, options) for key in keys)


async def _range_pages(call: DatabaseCall, listing: _Listing) -> AsyncIterator[list[list[Piece]]]:
    """The rows of a range: each page goes on after the last id of the one before."""
    skip, left, after = listing.options.skip, listing.options.limit, None
    while left is None or left > 0:
        room = PAGE_ROWS if left is None else min(PAGE_ROWS, left)
        rows, reached = await call.database.run(_range_page, listing, after, skip, room)
        yield rows
        if reached is None:
            return
        skip, after = 0, reached
        left = None if left is None else left - len(rows)


def _range_page(
    store: Store, listing: _Listing, after: str | None, skip: int, room: int
) -> tuple[list[list[Piece]], str | None]:
    """The next rows of a range, and the id of the last one looked at; None at the end."""
    chosen, options = listing.range, listing.options
    found = [] if chosen.is_empty else _ids(store, chosen, after, skip, room)
    listed = [(doc_id, rev) for doc_id, rev in found if doc_id != chosen.excluded]
    rows = _take(_row(store, doc_id, rev, options) for doc_id, rev in listed)
    if len(rows) < len(listed):
        return rows, listed[len(rows) - 1][0]
    return rows, found[-1][0] if len(found) == room else None


def _ids(store: Store, chosen: Range, after: str | None, skip: int, limit: int) -> list[tuple[DocId, Rev]]:
    start, end = chosen.start, chosen.end
    if after is not None and not chosen.descending:
        start = after + "\0"
    elif after is not None:
        end = after
    more = end is not None and end == after  # it is in the range again
    changes = store.documents.ids(start, end, limit=limit + more, skip=skip, descending=chosen.descending)
    return [(change.id, change.rev) for change in changes if change.id != after][:limit]


def _key_row(store: Store, key: Any, options: ViewOptions) -> list[Piece]:
    tree = store.documents.tree(DocId(key)) if isinstance(key, str) else None
    if tree is None:
        return [encode({"key": key, "error": "not_found"})]
    leaf = tree.winner()
    if not leaf.deleted:
        return _row(store, key, leaf.rev, options)
    row: dict[str, Any] = {"id": key, "key": key, "value": {"rev": leaf.rev, "deleted": True}}
    return [encode(row | {"doc": None} if options.include_docs else row)]


def _row(store: Store, doc_id: DocId, rev: Rev, options: ViewOptions) -> list[Piece]:
    row = encode({"id": doc_id, "key": doc_id, "value": {"rev": rev}})
    if not options.include_docs:
        return [row]
    revision = store.documents.get(doc_id)
    assert revision is not None  # listed in this same visit
    tree = store.documents.tree(doc_id) if options.shape.conflicts else None
    return [row[:-1] + b',"doc":', *render(store, revision, options.shape, tree).pieces, b"}"]


def _take(rows: Iterable[list[Piece]]) -> list[list[Piece]]:
    """Rows, while there is room in a page."""
    taken: list[list[Piece]] = []
    size = 0
    for row in rows:
        taken.append(row)
        size += sum(len(piece) for piece in row if isinstance(piece, bytes))
        if size > PAGE_BYTES:
            break
    return taken


def _count_design(store: Store) -> int:
    return store.documents.count_before(_LAST_DESIGN) - store.documents.count_before(DESIGN)
