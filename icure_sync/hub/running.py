"""A query run page by page over a store: each page one visit to its thread, bounded in rows, bytes and time.

Knows plans and documents; no requests. The counts are those that CouchDB states as `execution_stats`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from icure_sync.hub.answers import encode
from icure_sync.hub.bookmarks import Bookmark
from icure_sync.hub.definitions import Definition, document_of
from icure_sync.hub.errors import not_found
from icure_sync.hub.find_options import FindOptions
from icure_sync.hub.limits import PAGE_BYTES, PAGE_ROWS, PAGE_SECONDS
from icure_sync.hub.mango import Path, Predicate, compile_normal, parse_path
from icure_sync.hub.paths import DESIGN
from icure_sync.hub.projection import chosen_fields, from_index
from icure_sync.hub.ranges import HIGHEST, LOWEST, Range
from icure_sync.hub.rendering import Shape, render
from icure_sync.ids import Rev
from icure_sync.replication.wire import Revision
from icure_sync.store import IdRange, KeyRange, Spot, Store
from icure_sync.store.collation import AFTER, row_key


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for, and where. `columns`: the paths of the index's fields, if it has all that is looked at."""

    index: Definition
    ranges: tuple[Range, ...]
    options: FindOptions
    passes: Predicate
    paths: tuple[Path, ...]
    columns: tuple[Path, ...] | None

    @classmethod
    def of(cls, index: Definition, ranges: tuple[Range, ...], options: FindOptions, *, is_covering: bool) -> Query:
        """Raises `invalid_field_name`."""
        columns = tuple(map(parse_path, index.columns)) if is_covering else None
        return cls(index, ranges, options, compile_normal(options.selector), options.paths, columns)


@dataclass(slots=True)
class State:
    """How far a query is; pages move it on. `mark`: the last document that passed; `after`: the last looked at."""

    skip: int
    limit: int
    mark: Bookmark | None = None
    after: Bookmark | None = None
    keys: int = 0
    documents: int = 0
    returned: int = 0
    is_over: bool = False


def build(store: Store, number: int) -> bool:
    """One step of the building of an index. True once it can be used."""
    return store.indexes.build(number)


def read_page(store: Store, query: Query, state: State) -> list[bytes]:
    """The next rows, as JSON. Raises not_found if the index is gone meanwhile."""
    if query.index.design is not None and not store.indexes.has(query.index.number):
        raise not_found("the index was deleted meanwhile")
    rows: list[bytes] = []
    size = 0
    deadline = time.monotonic() + PAGE_SECONDS
    spots = _spots(store, query, state)
    for spot in spots:
        row = _take(store, query, state, spot)
        size += spot.length if query.columns is None else 0
        if row is not None:
            rows.append(row)
            size += len(row)
        if state.is_over or (spot is not spots[-1] and (size > PAGE_BYTES or time.monotonic() > deadline)):
            return rows
    state.is_over = not spots
    return rows


def _take(store: Store, query: Query, state: State, spot: Spot) -> bytes | None:
    """One document looked at: its row, if it is to be shown."""
    state.after = Bookmark(spot.id, _fields_of(spot) if query.index.design is not None else None)
    state.keys += 1
    state.documents += query.columns is None
    revision = store.scans.revision(spot) if query.columns is None else None
    document = _document(store, query, spot, revision)
    if document is None or spot.id.startswith(DESIGN) or not query.passes(document):
        return None
    if state.limit == 0:
        state.is_over = True
        return None
    state.mark = state.after
    if state.skip:
        state.skip -= 1
        return None
    state.limit -= 1
    state.returned += 1
    # CouchDB goes on to the next that passes before it ends, which shows in the counts alone.
    state.is_over = state.limit == 0 and not query.options.execution_stats
    if query.paths or revision is None:
        return encode(chosen_fields(document, query.paths))
    return _whole(store, query, revision)


def _document(store: Store, query: Query, spot: Spot, revision: Revision | None) -> Any:
    """As the selector sees it; `revision` None: as far as the index knows it. None: no reader can hold its values."""
    if revision is None:
        return from_index(spot.id, query.columns or (), _fields_of(spot))
    conflicts = _conflicts(store, spot) if query.options.conflicts and spot.live > 1 else ()
    return document_of(revision, conflicts)


def _whole(store: Store, query: Query, revision: Revision) -> bytes:
    tree = store.documents.tree(revision.id) if query.options.conflicts else None
    pieces = render(store, revision, Shape(conflicts=query.options.conflicts), tree).pieces
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))  # stubs: no bytes of attachments in it


def _conflicts(store: Store, spot: Spot) -> tuple[Rev, ...]:
    tree = store.documents.tree(spot.id)
    assert tree is not None  # found in this same visit
    return tuple(leaf.rev for leaf in tree.leaves()[1:] if not leaf.deleted)


def _fields_of(spot: Spot) -> tuple[Any, ...]:
    return tuple(msgspec.json.decode(spot.fields))


def _spots(store: Store, query: Query, state: State) -> list[Spot]:
    after, descending = state.after, query.options.descending
    if query.index.design is None:
        ids = _id_range(query.ranges[0], None if after is None else after.id)
        return [] if ids is None else store.scans.by_id(ids, PAGE_ROWS, descending=descending)
    place = None if after is None else (row_key(after.fields or ()), after.id)
    low = _key(query.ranges, lambda one: one.low, LOWEST)
    high = _key(query.ranges, lambda one: one.high, HIGHEST) + AFTER
    return store.scans.by_key(KeyRange(query.index.number, low, high, place), PAGE_ROWS, descending=descending)


def _key(ranges: tuple[Range, ...], bound: Callable[[Range], Any], end: object) -> bytes:
    """The bounds of the first columns strung together, up to the first that has none."""
    values = []
    for one in ranges:
        value = bound(one)
        if value is end:
            break
        values.append(value)
    return row_key(values)


def _id_range(bounds: Range, after: str | None) -> IdRange | None:
    """Ids are strings, and above everything else to Erlang. None: no id is below what is no string."""
    low = bounds.low if isinstance(bounds.low, str) else ""
    if bounds.high is HIGHEST:
        return IdRange(low, None, after)
    return IdRange(low, bounds.high, after) if isinstance(bounds.high, str) else None
