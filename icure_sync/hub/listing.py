"""The endpoints that list documents by id: `_all_docs`, `_design_docs`, `_local_docs`. Streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from aiohttp import web

from icure_sync.hub import bodies
from icure_sync.hub.answers import encode, stream_answer
from icure_sync.hub.call import DatabaseCall
from icure_sync.hub.errors import HttpRefusal, bad_request, query_parse_error
from icure_sync.hub.limits import MAX_BULK_IDS, PAGE_BYTES, PAGE_ROWS
from icure_sync.hub.local import find_local
from icure_sync.hub.paths import DESIGN, LOCAL
from icure_sync.hub.rendering import Piece, Shape, render
from icure_sync.hub.transfer import chunks_of
from icure_sync.ids import DocId, Rev
from icure_sync.store import Store

_UNBOUNDED = -1
_LAST_DESIGN = DESIGN + "\U0010ffff"  # after every design document
_OBJECT = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Range:
    """Ids from `start` to `end` (None: no bound), bytewise; `skip` and `limit` count from the end if `descending`.

    `excluded`: an id that is not listed although it is in the range (`inclusive_end=false`).
    """

    start: str = ""
    end: str | None = None
    skip: int = 0
    limit: int = _UNBOUNDED
    descending: bool = False
    excluded: str | None = None
    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """One `_all_docs` query. `keys`: exactly these ids, in this order; None: the range."""

    range: Range
    keys: tuple[Any, ...] | None  # JSON values: those that are no ids are not found
    include_docs: bool
    update_seq: bool
    shape: Shape


async def get_all_docs(call: DatabaseCall) -> web.StreamResponse:
    """GET and POST `_all_docs`; the query stands above a POST's body."""
    listing = parse_listing(await _options(call))
    return await stream_answer(call.request, _chunks(call, listing, b"\n"))


async def get_design_docs(call: DatabaseCall) -> web.StreamResponse:
    """GET and POST `_design_docs`: the same, for design documents only."""
    listing = _of_design(parse_listing(await _options(call)))
    documents = await call.database.run(_count_design)
    return await stream_answer(call.request, _chunks(call, listing, b"\n", documents))


def _of_design(listing: Listing) -> Listing:
    """What of a listing are design documents. Ids beside the range still count as passed over."""
    keys, chosen = listing.keys, listing.range
    end = _LAST_DESIGN if chosen.end is None else min(chosen.end, _LAST_DESIGN)
    return replace(
        listing,
        range=replace(chosen, start=max(chosen.start, DESIGN), end=end),
        keys=None if keys is None else tuple(key for key in keys if isinstance(key, str) and key.startswith(DESIGN)),
    )


async def post_queries(call: DatabaseCall) -> web.StreamResponse:
    """POST `_all_docs/queries`: several listings at once."""
    bodies.require_json(call.request)
    queries = (await bodies.strict_object(call.request)).get("queries")
    if not isinstance(queries, list) or not all(isinstance(one, dict) for one in queries):
        raise bad_request("`queries` member must be an array of objects.")
    listings = [parse_listing(one) for one in queries]

    async def chunks() -> AsyncIterator[bytes]:
        separator = b'{"results":['
        for listing in listings:
            yield separator
            async for chunk in _chunks(call, listing, b""):
                yield chunk
            separator = b","
        yield b"]}\n" if listings else b'{"results":[]}\n'

    return await stream_answer(call.request, chunks())


async def get_local_docs(call: DatabaseCall) -> web.StreamResponse:
    """GET `_local_docs`: all of them."""
    return await stream_answer(call.request, _local_chunks(call, call.query.flag("include_docs")))


def parse_listing(options: Mapping[str, Any]) -> Listing:
    """Raises query_parse_error, bad_request."""
    keys = options.get("keys")
    if keys is not None and not (isinstance(keys, list) and len(keys) <= MAX_BULK_IDS):
        raise bad_request("`keys` parameter must be an array.")
    if keys is not None and "key" in options:
        raise _keys_and_key()
    shape = Shape(
        conflicts=options.get("conflicts") is True,
        attachments="data" if options.get("attachments") is True else "stub",
    )
    return Listing(
        _range(options),
        None if keys is None else tuple(keys),
        options.get("include_docs") is True,
        options.get("update_seq") is True,
        shape,
    )


async def _options(call: DatabaseCall) -> dict[str, Any]:
    query = call.query
    options: dict[str, Any] = {}
    for name in ("startkey", "start_key", "endkey", "end_key", "key", "keys"):
        if name in query:
            options[name] = query.json(name)
    for name in ("limit", "skip"):
        if name in query:
            options[name] = query.count(name, 0)
    for name in ("descending", "inclusive_end", "include_docs", "update_seq", "conflicts", "attachments"):
        if name in query:
            options[name] = query.flag(name, default=name == "inclusive_end")
    if call.request.method == "POST":
        bodies.require_json(call.request)
        body = bodies.decode(await bodies.read(call.request), _OBJECT)
        if "keys" in body and options.keys() & {"key", "keys"}:
            raise _keys_and_key()
        options = body | options
    return options


def _keys_and_key() -> HttpRefusal:
    return query_parse_error("`keys` is incompatible with `key`, `start_key` and `end_key`")


def _range(options: Mapping[str, Any]) -> Range:
    first = options.get("key", options.get("startkey", options.get("start_key", _ABSENT)))
    last = options.get("key", options.get("endkey", options.get("end_key", _ABSENT)))
    descending = options.get("descending") is True
    low, high = (last, first) if descending else (first, last)
    skip, limit = options.get("skip", 0), options.get("limit", _UNBOUNDED)
    if type(skip) is not int or type(limit) is not int or skip < 0 or limit < _UNBOUNDED:
        raise query_parse_error("limit and skip must be numbers from 0 on")
    excluded = last if options.get("inclusive_end") is False and isinstance(last, str) else None
    is_empty = not (high is _ABSENT or isinstance(high, str))  # every other JSON value comes before all ids
    start = low if isinstance(low, str) else ""
    end = high if isinstance(high, str) else None
    return Range(start, end, skip, limit, descending, excluded, is_empty)


_ABSENT: Any = object()


async def _chunks(call: DatabaseCall, listing: Listing, tail: bytes, total: int | None = None) -> AsyncIterator[bytes]:
    """One listing as JSON, a line for each row, `tail` after it.

    `total`: of the documents that it chooses from; None: all.
    """
    head, seq = await call.database.run(_head, listing, total)
    if listing.update_seq:
        head["update_seq"] = call.database.seq_text(seq)
    yield encode(head)[:-1] + b',"rows":[\n'
    done = 0
    while True:
        pieces, rows, more = await call.database.run(_page, listing, done)
        async for chunk in chunks_of(call.database, pieces):
            yield chunk
        done += rows
        if not more:
            break
    yield b"\n]}" + tail


def _head(store: Store, listing: Listing, total: int | None) -> tuple[dict[str, Any], int]:
    documents = store.documents
    count = documents.count() if total is None else total
    chosen = listing.range
    if listing.keys is not None:
        return {"total_rows": count, "offset": None}, documents.update_seq()
    offset = min(count, _before(store, chosen) + chosen.skip)
    return {"total_rows": count, "offset": offset}, documents.update_seq()


def _before(store: Store, chosen: Range) -> int:
    """How many documents come before the range, as it is read."""
    if chosen.descending and chosen.is_empty:
        return store.documents.count()
    if chosen.descending:
        through = store.documents.count_before((chosen.end or "") + "\0")
        return 0 if chosen.end is None else store.documents.count() - through
    return store.documents.count_before(chosen.start) if chosen.start else 0


def _page(store: Store, listing: Listing, done: int) -> tuple[list[Piece], int, bool]:
    """The rows after the first `done`, how many they are, and whether there are more."""
    pieces: list[Piece] = []
    if listing.keys is not None:
        keys = _chosen_keys(listing)[done:]
        rows = (_key_row(store, key, listing) for key in keys[:PAGE_ROWS])
        taken = _take(pieces, rows, is_first=done == 0)
        return pieces, taken, taken < len(keys)
    found = [] if listing.range.is_empty else _ids(store, listing.range, done, PAGE_ROWS)
    rows = (
        _with_doc(store, {"id": doc_id, "key": doc_id, "value": {"rev": rev}}, doc_id, listing) for doc_id, rev in found
    )
    taken = _take(pieces, rows, is_first=done == 0)
    return pieces, taken, taken < len(found) or len(found) == PAGE_ROWS


def _ids(store: Store, chosen: Range, done: int, limit: int) -> list[tuple[DocId, Rev]]:
    left = limit if chosen.limit == _UNBOUNDED else min(limit, chosen.limit - done)
    if left <= 0:
        return []
    changes = store.documents.ids(
        chosen.start, chosen.end, limit=left, skip=chosen.skip + done, descending=chosen.descending
    )
    return [(change.id, change.rev) for change in changes if change.id != chosen.excluded]


def _chosen_keys(listing: Listing) -> Sequence[Any]:
    chosen, keys = listing.range, listing.keys or ()
    ordered = tuple(reversed(keys)) if chosen.descending else keys
    end = None if chosen.limit == _UNBOUNDED else chosen.skip + chosen.limit
    return ordered[chosen.skip : end]


def _key_row(store: Store, key: Any, listing: Listing) -> list[Piece]:
    tree = store.documents.tree(DocId(key)) if isinstance(key, str) else None
    if tree is None:
        return [encode({"key": key, "error": "not_found"})]
    leaf = tree.winner()
    if not leaf.deleted:
        return _with_doc(store, {"id": key, "key": key, "value": {"rev": leaf.rev}}, key, listing)
    row: dict[str, Any] = {"id": key, "key": key, "value": {"rev": leaf.rev, "deleted": True}}
    return [encode(row | {"doc": None} if listing.include_docs else row)]


def _with_doc(store: Store, row: dict[str, Any], doc_id: DocId, listing: Listing) -> list[Piece]:
    if not listing.include_docs:
        return [encode(row)]
    revision = store.documents.get(doc_id)
    assert revision is not None  # listed in this same visit
    tree = store.documents.tree(doc_id) if listing.shape.conflicts else None
    return [encode(row)[:-1] + b',"doc":', *render(store, revision, listing.shape, tree).pieces, b"}"]


def _take(pieces: list[Piece], rows: Iterable[list[Piece]], *, is_first: bool) -> int:
    """Add rows while there is room in a page; returns how many."""
    taken = size = 0
    for row in rows:
        pieces += row if is_first and not taken else [b",\n", *row]
        taken += 1
        size += sum(len(piece) for piece in row if isinstance(piece, bytes))
        if size > PAGE_BYTES:
            break
    return taken


def _count_design(store: Store) -> int:
    return store.documents.count_before(_LAST_DESIGN) - store.documents.count_before(DESIGN)


async def _local_chunks(call: DatabaseCall, include_docs: bool) -> AsyncIterator[bytes]:
    names = await call.database.run(lambda store: store.local.ids())
    yield encode({"total_rows": len(names), "offset": 0})[:-1] + b',"rows":['
    done = 0
    separator = b""
    while done < len(names):
        rows, taken = await call.database.run(_local_page, names[done : done + PAGE_ROWS], include_docs)
        done += taken
        if rows:
            yield separator + b",".join(rows)
            separator = b","
    yield b"]}\n"


def _local_page(store: Store, names: Sequence[str], include_docs: bool) -> tuple[list[bytes], int]:
    """The rows of as many of these as fit a page, and how many were looked at; what is gone meanwhile has none."""
    rows: list[bytes] = []
    taken = size = 0
    for name in names:
        taken += 1
        document = find_local(store, DocId(LOCAL + name))
        if document is None:
            continue
        row = {"id": LOCAL + name, "key": LOCAL + name, "value": {"rev": document["_rev"]}}
        rows.append(encode(row | {"doc": document} if include_docs else row))
        size += len(rows[-1])
        if size > PAGE_BYTES:
            break
    return rows, taken
