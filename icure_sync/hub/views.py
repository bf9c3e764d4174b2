"""The endpoints of views: the built-in ones are answered, JavaScript is refused. Streams.

Source: CouchDB's documentation of `_view`, and what it answers. Which rows there are: builtin_views.py.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from aiohttp import web

from icure_sync.hub.answers import encode, json_answer, stream_answer
from icure_sync.hub.builtin_views import (
    BUILTIN_DESIGN,
    BUILTIN_VIEWS,
    Bound,
    Stretch,
    ViewRow,
    count_rows,
    count_stretches,
    order_of,
    read_rows,
    stretches,
)
from icure_sync.hub.call import DatabaseCall
from icure_sync.hub.definitions import LANGUAGE, is_for_indexes
from icure_sync.hub.errors import method_not_allowed, not_found, not_offered, query_parse_error
from icure_sync.hub.limits import PAGE_BYTES, PAGE_ROWS, VIEW_ROWS
from icure_sync.hub.listing import ROW_BREAK, ROWS_HEAD, ROWS_TAIL, results_of
from icure_sync.hub.paths import DESIGN
from icure_sync.hub.reading import winner
from icure_sync.hub.rendering import Piece, Shape, render
from icure_sync.hub.transfer import chunks_of
from icure_sync.hub.view_options import ABSENT, ViewOptions, view_options, view_queries
from icure_sync.ids import DocId
from icure_sync.store import Store

_VIEW_METHODS = "GET,POST,HEAD"
_KEYS_AT_ONCE = 64  # that are looked up in one visit to the store's thread
_FIRST_ID, _LAST_ID = "", "\U0010ffff" * 4


async def answer_view(call: DatabaseCall) -> web.StreamResponse:
    """`_design/name/_view/view`, GET, HEAD and POST, and `…/queries`, POST.

    Raises not_found; not_implemented for a view that is JavaScript.
    """
    _, design, _, *names = call.path.segments[1:]
    method = "GET" if call.request.method == "HEAD" else call.request.method
    is_queries = names[1:] == ["queries"]
    if is_queries and method != "POST":
        raise method_not_allowed("POST")
    if method not in {"GET", "POST"} or not names:
        raise method_not_allowed(_VIEW_METHODS)
    view = names[0]
    if design != BUILTIN_DESIGN or view not in BUILTIN_VIEWS or len(names) > 1 + is_queries:
        raise await _missing_view(call, design, "/".join(names))
    if is_queries:
        listings = [_chunks(call, _query(view, one), b"") for one in await view_queries(call)]
        return await stream_answer(call.request, results_of(listings))
    options = await view_options(call)
    return await stream_answer(call.request, _chunks(call, _query(view, options), b"\n"))


async def get_view_info(call: DatabaseCall) -> web.StreamResponse:
    """`_design/name/_info`, of the built-in index and of those of `_index`. Raises not_found, not_implemented."""
    name = call.document.removeprefix(DESIGN)
    if name == BUILTIN_DESIGN:
        seq, pending, language, signature = await call.database.run(_update_seq), 0, "native", "built-in"
    else:
        design = await call.database.run(winner, call.document)
        language, signature = LANGUAGE, hashlib.md5(design.body, usedforsecurity=False).hexdigest()
        if not is_for_indexes(design):
            raise not_offered("JavaScript on the server")
        seq, pending = await call.database.run(_progress, call.document)
    index: dict[str, Any] = {
        "updates_pending": {"minimum": pending, "preferred": pending, "total": pending},
        "waiting_commit": False,
        "waiting_clients": 0,
        "updater_running": False,
        "update_seq": seq,
        "sizes": {"file": 0, "external": 0, "active": 0},  # an index is a part of the database
        "signature": signature,
        "purge_seq": 0,
        "language": language,
        "compact_running": False,
    }
    return json_answer({"name": name, "view_index": index})


def _update_seq(store: Store) -> int:
    return store.documents.update_seq()


def _progress(store: Store, design: DocId) -> tuple[int, int]:
    """How far the indexes of a design document have come, and how many documents that leaves out."""
    through = store.indexes.reached(design)
    return through, store.documents.count_changes(through)


async def _missing_view(call: DatabaseCall, design: str, view: str) -> Exception:
    """What there is to say of a view that is not built in."""
    if design == BUILTIN_DESIGN and view.partition("/")[0] not in BUILTIN_VIEWS:
        found = await call.database.run(lambda store: store.documents.get(DocId(DESIGN + design)))
        if found is None or found.deleted:
            return not_found("missing_named_view")
    else:
        found = await call.database.run(winner, DocId(DESIGN + design))
    views = msgspec.json.decode(found.body).get("views")
    if not isinstance(views, dict) or view not in views:
        return not_found("missing_named_view")
    return not_offered("JavaScript on the server")


@dataclass(frozen=True, slots=True)
class _Query:
    """One query of one view. `before`: the rows that come before the first of its own."""

    view: str
    options: ViewOptions
    before: tuple[Stretch, ...]


def _query(view: str, options: ViewOptions) -> _Query:
    """Raises query_parse_error for a range that runs the wrong way."""
    if options.keys is not None:
        first = next(_each_key(options), None)
        return _Query(view, options, _before(view, *_range(first), descending=options.descending) if first else ())
    low, high = _range(options)
    if low is not None and high is not None and low.order > high.order:
        reason = "No rows can match your key range, reverse your start_key and end_key or set descending=true"
        raise query_parse_error(reason)
    return _Query(view, options, _before(view, low, high, descending=options.descending))


def _each_key(options: ViewOptions) -> Iterator[ViewOptions]:
    """A query for each of the keys, in the order of the answer."""
    keys = options.keys or ()
    for key in reversed(keys) if options.descending else keys:
        yield replace(options, start=key, end=key)


def _parts(query: _Query) -> Iterator[tuple[Stretch, ...]]:
    """What to read, part after part: the range, or some keys at a time."""
    options = query.options
    if options.keys is None:
        yield stretches(query.view, *_range(options))
        return
    keys = _each_key(options)
    while some := tuple(itertools.islice(keys, _KEYS_AT_ONCE)):
        part = [stretch for one in some for stretch in stretches(query.view, *_range(one))]
        yield tuple(reversed(part)) if options.descending else tuple(part)  # a part is read from its end then


def _range(options: ViewOptions) -> tuple[Bound | None, Bound | None]:
    """The lower and the upper bound."""
    start_id, end_id = (_LAST_ID, _FIRST_ID) if options.descending else (_FIRST_ID, _LAST_ID)
    if not options.inclusive_end:
        end_id = start_id
    first = _bound(options.start, options.start_id, start_id)
    last = _bound(options.end, options.end_id, end_id, is_open=not options.inclusive_end)
    return (last, first) if options.descending else (first, last)


def _bound(key: Any, doc_id: str | None, default: str, *, is_open: bool = False) -> Bound | None:
    if key is ABSENT:
        return None
    return Bound(order_of(key), default if doc_id is None else doc_id, is_open)


def _before(view: str, low: Bound | None, high: Bound | None, *, descending: bool) -> tuple[Stretch, ...]:
    """What is passed over on the way to a range."""
    if descending:
        return () if high is None else stretches(view, replace(high, is_open=not high.is_open), None)
    return () if low is None else stretches(view, None, replace(low, is_open=not low.is_open))


async def _chunks(call: DatabaseCall, query: _Query, tail: bytes) -> AsyncIterator[bytes]:
    """The answer to one query as JSON, a line for each row, `tail` after it."""
    options = query.options
    head = await call.database.run(_head, query, call.database.seq_text)
    yield encode(head)[:-1] + b"," + ROWS_HEAD
    separator = b""
    async for rows in _pages(call, query):
        if options.include_docs:
            async for chunk in _with_documents(call, rows, options.shape, separator):
                yield chunk
        elif rows:
            yield separator + ROW_BREAK.join(map(_encoded, rows))
        separator = ROW_BREAK if rows else separator
    yield ROWS_TAIL + tail


def _head(store: Store, query: _Query, seq_text: Any) -> dict[str, Any]:
    total, before = count_rows(store, query.view), count_stretches(store, query.before)
    offset = None if before is None else min(total, before + query.options.skip)
    head: dict[str, Any] = {"total_rows": total, "offset": offset}
    if query.options.update_seq:
        head["update_seq"] = seq_text(store.documents.update_seq())
    return head


async def _pages(call: DatabaseCall, query: _Query) -> AsyncIterator[list[ViewRow]]:
    """The rows in pages of bounded size, after `skip` and up to `limit`."""
    options = query.options
    skip, left = options.skip, options.limit
    for part in _parts(query):
        rest = part
        while rest and (left is None or left > 0):
            room = VIEW_ROWS if left is None else min(VIEW_ROWS, left + skip)
            rows, rest = await call.database.run(read_rows, rest, room, descending=options.descending)
            chosen = rows[skip:]
            skip -= len(rows) - len(chosen)
            chosen = chosen if left is None else chosen[:left]
            left = None if left is None else left - len(chosen)
            yield chosen


def _encoded(row: ViewRow) -> bytes:
    return encode({"id": row.id, "key": row.key, "value": None})


async def _with_documents(
    call: DatabaseCall, rows: Sequence[ViewRow], shape: Shape, separator: bytes
) -> AsyncIterator[bytes]:
    done = 0
    while done < len(rows):
        pieces, taken = await call.database.run(_documents_page, rows[done : done + PAGE_ROWS], shape, separator)
        done += taken
        separator = ROW_BREAK
        async for chunk in chunks_of(call.database, pieces):
            yield chunk


def _documents_page(store: Store, rows: Iterable[ViewRow], shape: Shape, separator: bytes) -> tuple[list[Piece], int]:
    """As many rows with their documents as fit a page: their pieces, and how many they are."""
    pieces: list[Piece] = []
    taken = size = 0
    for row in rows:
        revision = store.documents.get(row.id)
        if revision is None or revision.deleted:  # since its row was read
            document: tuple[Piece, ...] = (b"null",)
        else:
            tree = store.documents.tree(row.id) if shape.conflicts else None
            document = render(store, revision, shape, tree).pieces
        pieces += [separator + _encoded(row)[:-1] + b',"doc":', *document, b"}"]
        separator = ROW_BREAK
        taken += 1
        size += sum(len(piece) for piece in document if isinstance(piece, bytes))
        if size > PAGE_BYTES:
            break
    return pieces, taken
