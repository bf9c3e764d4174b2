"""The rows of a changes feed: which documents, which of their leaves, and how they look.

Source: CouchDB's documentation of `_changes`. Which leaf passes a filter is filters.py's. What reads runs in the
store's thread; knows no HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from icure_sync.hub.answers import encode
from icure_sync.hub.feed import Arrival
from icure_sync.hub.filters import Filter, document_reader, passing_leaves, pick_fields
from icure_sync.hub.limits import PAGE_BYTES, PAGE_ROWS, PAGE_SECONDS
from icure_sync.hub.rendering import Piece, Shape, render
from icure_sync.merge.revtree import Leaf
from icure_sync.store import DocumentChange, Store


@dataclass(frozen=True, slots=True)
class Look:
    """What a row shows. `fields`: of an included document, for `_selector`; None: all of it."""

    all_leaves: bool
    include_docs: bool
    shape: Shape
    filter: Filter | None
    fields: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Row:
    """One row; `pieces`: its JSON without the opening brace and the seq."""

    seq: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, of `looked_at` changes. `reached`: the seq of the last of them; `more`: there are more after it."""

    rows: tuple[Row, ...]
    looked_at: int
    reached: int
    more: bool


def read_page(store: Store, look: Look, since: int, limit: int | None) -> Page:
    """The rows of the next documents after `since`, at most `limit`, and not many more bytes than a page has.

    A filter may take its time: after PAGE_SECONDS others get their turn.
    """
    room = _room(look, limit)
    return _page(store, look, store.documents.changes(since, room + 1), since, limit)


def read_page_back(store: Store, look: Look, before: int, limit: int | None) -> Page:
    """The same backwards: the newest first, from the one before `before` on."""
    room = _room(look, limit)
    return _page(store, look, store.documents.changes_before(before, room + 1), before, limit)


def _room(look: Look, limit: int | None) -> int:
    return PAGE_ROWS if limit is None or look.filter is not None else min(PAGE_ROWS, limit)


def _page(store: Store, look: Look, changes: Sequence[DocumentChange], start: int, limit: int | None) -> Page:
    """The rows of these changes, but the last (which only says that there are more), as far as there is room."""
    rows: list[Row] = []
    looked_at = size = 0
    deadline = time.monotonic() + PAGE_SECONDS
    for change in changes[: _room(look, limit)]:
        if size > PAGE_BYTES or len(rows) == limit or (looked_at and time.monotonic() > deadline):
            break
        row = _row(store, look, change)
        looked_at += 1
        if row is not None:
            rows.append(Row(change.seq, row))
            size += sum(len(piece) for piece in row if isinstance(piece, bytes))
    reached = changes[looked_at - 1].seq if looked_at else start
    return Page(tuple(rows), looked_at, reached, looked_at < len(changes))


def _row(store: Store, look: Look, change: DocumentChange) -> tuple[Piece, ...] | None:
    """None if the filter lets no leaf pass."""
    leaves = _leaves(store, look, change)
    if not leaves:
        return None
    row = _members(change, leaves)
    if not look.include_docs:
        return (encode(row)[1:],)
    revision = store.documents.get(change.id)
    assert revision is not None  # listed in this same visit
    tree = store.documents.tree(change.id) if look.shape.conflicts else None
    if look.fields is not None:
        return (encode({**row, "doc": pick_fields(revision, look.fields)})[1:],)
    return (encode(row)[1:-1] + b',"doc":', *render(store, revision, look.shape, tree).pieces, b"}")


def handed_row(look: Look, arrival: Arrival) -> Row:
    """The row of an arrival that passes the filter, without its document. Reads nothing."""
    assert look.filter is not None  # feeds without one are handed nothing
    assert arrival.documents is not None  # what was not read is not handed either
    documents = dict(zip(arrival.change.leaves, arrival.documents, strict=True))
    leaves = passing_leaves(look.filter, arrival.change, documents.__getitem__)
    return Row(arrival.change.seq, (encode(_members(arrival.change, leaves))[1:],))


def _members(change: DocumentChange, leaves: Sequence[Leaf]) -> dict[str, Any]:
    """A row without its seq."""
    row: dict[str, Any] = {"id": change.id, "changes": [{"rev": leaf.rev} for leaf in leaves]}
    if change.deleted:
        row["deleted"] = True
    return row


def _leaves(store: Store, look: Look, change: DocumentChange) -> tuple[Leaf, ...]:
    if look.filter is not None:
        return passing_leaves(look.filter, change, document_reader(store, change.id))
    return change.leaves if look.all_leaves else change.leaves[:1]
