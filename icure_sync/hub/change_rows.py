"""The rows of a changes feed: which documents, which of their leaves, and how they look.

Source: CouchDB's documentation of `_changes`. Which leaf passes a filter is filters.py's. Runs in the store's thread;
knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from icure_sync.hub.answers import encode
from icure_sync.hub.filters import Filter, document_reader, passing_leaves, pick_fields
from icure_sync.hub.limits import PAGE_BYTES, PAGE_ROWS
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
    """Some rows. `reached`: the seq up to which everything was looked at; `more`: there was no room for the rest."""

    rows: tuple[Row, ...]
    reached: int
    more: bool


def read_page(store: Store, look: Look, since: int, limit: int | None) -> Page:
    """The rows of the next documents after `since`, at most `limit`, and not many more bytes than a page has."""
    room = PAGE_ROWS if limit is None or look.filter is not None else min(PAGE_ROWS, limit)
    changes = store.documents.changes(since, room + 1)
    rows, looked_at = render_rows(store, look, changes[:room], limit)
    reached = changes[looked_at - 1].seq if looked_at else since
    return Page(rows, reached, looked_at < len(changes))


def render_rows(
    store: Store, look: Look, changes: Sequence[DocumentChange], limit: int | None
) -> tuple[tuple[Row, ...], int]:
    """The rows of these changes as far as there is room, and how many changes were looked at for them."""
    rows: list[Row] = []
    looked_at = size = 0
    for change in changes:
        if size > PAGE_BYTES or len(rows) == limit:
            break
        row = _row(store, look, change)
        looked_at += 1
        if row is not None:
            rows.append(Row(change.seq, row))
            size += sum(len(piece) for piece in row if isinstance(piece, bytes))
    return tuple(rows), looked_at


def _row(store: Store, look: Look, change: DocumentChange) -> tuple[Piece, ...] | None:
    """None if the filter lets no leaf pass."""
    leaves = _leaves(store, look, change)
    if not leaves:
        return None
    row: dict[str, Any] = {"id": change.id, "changes": [{"rev": leaf.rev} for leaf in leaves]}
    if change.deleted:
        row["deleted"] = True
    if not look.include_docs:
        return (encode(row)[1:],)
    revision = store.documents.get(change.id)
    assert revision is not None  # listed in this same visit
    tree = store.documents.tree(change.id) if look.shape.conflicts else None
    if look.fields is not None:
        return (encode({**row, "doc": pick_fields(revision, look.fields)})[1:],)
    return (encode(row)[1:-1] + b',"doc":', *render(store, revision, look.shape, tree).pieces, b"}")


def _leaves(store: Store, look: Look, change: DocumentChange) -> tuple[Leaf, ...]:
    if look.filter is not None:
        return passing_leaves(look.filter, change, document_reader(store, change.id))
    return change.leaves if look.all_leaves else change.leaves[:1]
