"""Documents by what their winner shows: the rows of the views by delegate, by type and by secret id, in pages.

Terms come from all live leaves of a document (heads.py). Here a document counts for what its live winner shows, as in a
view of CouchDB: where there are other live leaves, the winner is looked into.
"""

# ruff: noqa: S608  statements are put together from fragments written here; values are always bound

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icure_sync.ids import DocId
from icure_sync.store.database import Database
from icure_sync.store.heads import DELEGATE, FOREIGN_KEY, Term, stored_head

CONFLICT = -1  # a kind that no term has: documents with more than one live leaf, each under the empty term
_COUNTERS: Mapping[int, str] = {DELEGATE: "delegates", FOREIGN_KEY: "foreign_keys"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: the winner of this document shows this term."""

    term: str
    id: DocId


@dataclass(frozen=True, slots=True)
class Place:
    """A bound among the entries of one kind, by term and then by id. `id` "" comes before all ids of the term."""

    term: str
    id: str = ""
    is_open: bool = False  # an entry at this very place is beyond the bound


@dataclass(frozen=True, slots=True)
class Span:
    """Entries of one kind between two places; None: no bound."""

    kind: int
    low: Place | None = None
    high: Place | None = None


@dataclass(frozen=True, slots=True)
class Entries:
    """Some entries. `rest`: where the others are; None: there are none."""

    found: tuple[Entry, ...]
    rest: Span | None


class Lookups:
    """Every method may raise StoreError kinds. The cost is that of the entries looked at, never that of all."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lost: tuple[int, dict[int, int]] = (-1, {})

    def entries(self, span: Span, limit: int, *, descending: bool = False) -> Entries:
        """The first `limit` entries of a span by term (bytewise), then by id; from its end if `descending`.

        Fewer than `limit` may come although there are more: see `rest`.
        """
        order = "DESC" if descending else "ASC"
        rows = self._rows(span, f"ORDER BY 1 {order}, d.id {order} LIMIT ?", limit)
        found = tuple(Entry(term, doc_id) for term, doc_id, *shown in rows if self._counts(span.kind, term, *shown))
        if len(rows) < limit:
            return Entries(found, None)
        reached = Place(rows[-1][0], rows[-1][1], is_open=True)
        rest = Span(span.kind, span.low, reached) if descending else Span(span.kind, reached, span.high)
        return Entries(found, rest)

    def conflict_count(self) -> int:
        """How many documents have more than one live leaf."""
        return int(self._database.value("SELECT count(*) FROM documents WHERE live > 1"))

    def count(self, kind: int) -> int:
        """How many entries of a kind there are: DELEGATE or FOREIGN_KEY."""
        terms = int(self._database.value(f"SELECT {_COUNTERS[kind]} FROM counters"))
        return terms - self._lost_terms().get(kind, 0)

    def count_in(self, span: Span, most: int) -> int | None:
        """How many entries a span has; None for more than `most`."""
        rows = self._rows(span, "LIMIT ?", most + 1)
        if len(rows) > most:
            return None
        return sum(self._counts(span.kind, term, *shown) for term, _, *shown in rows)

    def count_of(self, kind: int, term: str) -> int:
        """How many winners show one term."""
        rows = self._database.rows(
            "SELECT d.live, d.head FROM terms t JOIN documents d ON d.number = t.doc WHERE t.kind = ? AND t.term = ?",
            (kind, term),
        )
        return sum(self._counts(kind, term, live, head) for live, head in rows)

    def _lost_terms(self) -> dict[int, int]:
        """How many terms of each kind stand for leaves that lost alone; counted once after each change."""
        seq = self._database.value("SELECT update_seq FROM counters")
        if self._lost[0] != seq:
            lost: dict[int, int] = {}
            for number, head in self._database.rows("SELECT number, head FROM documents WHERE live > 1"):
                shown = self._shown(head)
                for kind, term in self._database.rows("SELECT kind, term FROM terms WHERE doc = ?", (number,)):
                    lost[kind] = lost.get(kind, 0) + ((kind, term) not in shown)
            self._lost = (seq, lost)
        return self._lost[1]

    def _rows(self, span: Span, tail: str, limit: int) -> list[tuple[Any, ...]]:
        """Term, id, live leaves and winner (a number of `revisions`) of what a span covers."""
        parts: list[str] = []
        values: list[Any] = []
        is_conflict = span.kind == CONFLICT
        term = "''" if is_conflict else "t.term"
        for place, sign in ((span.low, ">"), (span.high, "<")):
            if place is not None:
                parts.append(f"AND {term} {sign}= ? AND ({term}, d.id) {sign}{'' if place.is_open else '='} (?, ?)")
                values += [place.term, place.term, place.id]
        source = (
            "documents d INDEXED BY conflicts WHERE d.live > 1 AND ? < 0"
            if is_conflict
            else "terms t JOIN documents d ON d.number = t.doc WHERE t.kind = ?"
        )
        return self._database.rows(
            f"SELECT {term}, d.id, d.live, d.head FROM {source} {' '.join(parts)} {tail}", (span.kind, *values, limit)
        )

    def _counts(self, kind: int, term: str, live: int, head: int) -> bool:
        """Whether the winner itself shows the term."""
        return live == 1 or kind == CONFLICT or (kind, term) in self._shown(head)

    def _shown(self, revision: int) -> set[Term]:
        return stored_head(self._database.value("SELECT body FROM revisions WHERE number = ?", (revision,))).terms()
