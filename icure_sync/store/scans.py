"""Live winners in order, by id or by an index, page by page: what queries go through.

Bodies are read one by one, when they are wanted: a page of places costs the same however large the documents are.
"""

# ruff: noqa: S608  statements are put together from fragments written here; values are always bound

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Revision
from icure_sync.store.database import Database
from icure_sync.store.limits import SCAN_BYTES
from icure_sync.store.rows import NO_ATTACHMENTS, read_stubs


@dataclass(frozen=True, slots=True)
class Spot:
    """A live winner, found at `key` of an index (b"": by its id). `fields`: the values of the key, as a JSON array.

    `length`: bytes of its body. `live`: live leaves of the document; more than one is a conflict.
    """

    id: DocId
    rev: Rev
    length: int
    live: int
    key: bytes
    fields: bytes
    _revision: int
    _files: int


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Of one index: `low` <= key < `high`. `after`: a spot (key, id), which takes the place of the bound to start from.

    (One bound for each end: with two, SQLite would begin each page where the first one began.)
    """

    index: int
    low: bytes
    high: bytes
    after: tuple[bytes, str] | None = None


@dataclass(frozen=True, slots=True)
class IdRange:
    """`low` <= id <= `high` (None: no bound), bytewise. `after`: an id, in place of the bound to start from."""

    low: str = ""
    high: str | None = None
    after: str | None = None


class Scans:
    """Every method may raise StoreError kinds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def by_id(self, wanted: IdRange, limit: int, *, descending: bool = False) -> list[Spot]:
        """The first `limit` documents of a range; from its end if `descending`."""
        low, high = ("d.id >= ?", wanted.low), ("d.id <= ?", wanted.high)
        if wanted.after is not None:
            low, high = (low, ("d.id < ?", wanted.after)) if descending else (("d.id > ?", wanted.after), high)
        bounds = [bound for bound in (low, high) if bound[1] is not None]
        rows = self._database.rows(
            "SELECT d.id, d.rev, length(r.body), d.live, x'', x'', r.number, r.files "
            "FROM documents d CROSS JOIN revisions r ON r.number = d.head "
            f"WHERE {_all(bounds)} AND NOT d.deleted ORDER BY d.id {_order(descending)} LIMIT ?",
            (*(value for _, value in bounds), limit),
        )
        return [Spot(*row) for row in rows]

    def by_key(self, wanted: KeyRange, limit: int, *, descending: bool = False) -> list[Spot]:
        """The first documents of a range by key and then by id, from its end if `descending`: `limit` at most.

        Fewer come if their keys are large, but one if there is one. Where an index is behind, documents stand at the
        keys that they had.
        """
        low: tuple[str, tuple[Any, ...]] = "i.key >= ?", (wanted.low,)
        high: tuple[str, tuple[Any, ...]] = "i.key < ?", (wanted.high,)
        if wanted.after is not None and descending:
            high = "(i.key, i.id) < (?, ?)", wanted.after
        elif wanted.after is not None:
            low = "(i.key, i.id) > (?, ?)", wanted.after
        order = _order(descending)
        size = 0

        def is_enough(row: tuple[Any, ...]) -> bool:
            nonlocal size
            size += len(row[4]) + len(row[5])
            return size > SCAN_BYTES

        rows = self._database.rows_until(
            "SELECT d.id, d.rev, length(r.body), d.live, i.key, i.fields, r.number, r.files "
            "FROM index_rows i CROSS JOIN documents d ON d.number = i.doc CROSS JOIN revisions r ON r.number = d.head "
            f"WHERE i.idx = ? AND {_all((low, high))} AND NOT d.deleted ORDER BY i.key {order}, i.id {order} LIMIT ?",
            (wanted.index, *low[1], *high[1], limit),
            is_enough,
        )
        return [Spot(*row) for row in rows]

    def revision(self, spot: Spot) -> Revision:
        """The winner at a spot that was found in the same visit. Its history is its own revision alone."""
        body = self._database.value("SELECT body FROM revisions WHERE number = ?", (spot._revision,))  # noqa: SLF001  (its maker)
        stubs = read_stubs(self._database, spot._revision) if spot._files else NO_ATTACHMENTS  # noqa: SLF001
        return Revision(spot.id, (spot.rev,), body, False, stubs)


def _all(bounds: Iterable[tuple[str, Any]]) -> str:
    return " AND ".join(condition for condition, _ in bounds)


def _order(descending: bool) -> str:
    return "DESC" if descending else "ASC"
