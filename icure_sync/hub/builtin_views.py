"""The two views that a hub has without any design document: `by_delegate` and `by_secret_foreign_key`.

They answer as the JavaScript ones that `icure-sync server provision` puts on a CouchDB:

    by_delegate             [delegate] for each key of `delegations`; ["", type] for Hcp documents, device heads and
                            attestations; [null] for every document in conflict
    by_secret_foreign_key   [secret id] for each of `secretForeignKeys`

A view is made of sections in the order of their keys. Rows come from the store's index of what winners show, so the
cost is that of the answer. Keys and ids sort by code points. Runs in the store's thread; knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from icure_sync.hub.limits import MAX_OFFSET
from icure_sync.ids import DocId
from icure_sync.store import Store
from icure_sync.store.heads import DELEGATE, FOREIGN_KEY, TYPE
from icure_sync.store.lookups import CONFLICT, Place, Span

Key = tuple[str | None, ...]
Order = tuple[Any, ...]  # compares as CouchDB collates, but for strings, which compare by code points

_LAST = "\U0010ffff" * 4  # after every id and every term
_TEXT, _ARRAY = 4, 5  # ranks of kinds of values in an Order
_PARTS = 64  # sections or keys read in one visit to the store's thread


@dataclass(frozen=True, slots=True)
class Section:
    """Rows that are together. `key` of each, from one of `terms`; None: [term], of every term but the empty one."""

    kind: int
    key: Key | None = None
    terms: tuple[str, ...] = ()


BUILTIN_DESIGN = "icure_sync"
BUILTIN_VIEWS: Mapping[str, tuple[Section, ...]] = {
    "by_delegate": (
        Section(CONFLICT, (None,), ("",)),
        Section(DELEGATE, ("",), ("",)),
        Section(TYPE, ("", "Attestation"), ("Attestation",)),
        Section(TYPE, ("", "DeviceHead"), ("DeviceHead",)),
        Section(TYPE, ("", "HealthcareParty"), ("HealthcareParty", "org.taktik.icure.entities.HealthcareParty")),
        Section(DELEGATE),
    ),
    "by_secret_foreign_key": (Section(FOREIGN_KEY, ("",), ("",)), Section(FOREIGN_KEY)),
}


@dataclass(frozen=True, slots=True)
class ViewRow:
    """One row; its value is null."""

    key: Key
    id: DocId


@dataclass(frozen=True, slots=True)
class Bound:
    """An end of a range of rows: a key in its order, and an id among the rows of that very key."""

    order: Order
    id: str
    is_open: bool = False

    @property
    def place(self) -> tuple[Order, str]:
        return self.order, self.id


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of one section that are still to be read: of one key from several terms, or of many keys."""

    key: Key | None
    spans: tuple[Span, ...]


def order_of(value: Any) -> Order:
    """Null, false, true, numbers, text, arrays, objects: CouchDB's view collation."""
    if value is None or isinstance(value, bool):
        return ((None, False, True).index(value),)
    if isinstance(value, int | float):
        return 3, value
    if isinstance(value, str):
        return _TEXT, value
    if isinstance(value, list | tuple):
        return _ARRAY, tuple(map(order_of, value))
    return 6, tuple((order_of(name), order_of(item)) for name, item in value.items())


def stretches(view: str, low: Bound | None, high: Bound | None) -> tuple[Stretch, ...]:
    """What a view has between two bounds (None: no bound), in ascending order."""
    found = []
    for section in BUILTIN_VIEWS[view]:
        spans = _open_spans(section, low, high) if section.key is None else _keyed_spans(section, low, high)
        if spans:
            found.append(Stretch(section.key, spans))
    return tuple(found)


def read_rows(
    store: Store, wanted: tuple[Stretch, ...], limit: int, *, descending: bool
) -> tuple[list[ViewRow], tuple[Stretch, ...]]:
    """The first rows of these stretches (of their end, if `descending`), at most `limit`; and what is left of them."""
    rows: list[ViewRow] = []
    left = list(reversed(wanted) if not descending else wanted)  # the next one is the last
    for _ in range(_PARTS):
        if not left or len(rows) >= limit:
            break
        stretch = left.pop()
        taken, rest = _read(store, stretch, limit - len(rows), descending=descending)
        rows += taken
        if rest.spans:
            left.append(rest)
            break
    return rows, tuple(left if descending else reversed(left))


def count_rows(store: Store, view: str) -> int:
    """How many rows a view has in all."""
    sections = BUILTIN_VIEWS[view]
    kinds = {section.kind for section in sections}
    lookups = store.lookups
    conflicts = lookups.conflict_count() if CONFLICT in kinds else 0
    types = sum(lookups.count_of(TYPE, term) for section in sections if section.kind == TYPE for term in section.terms)
    return conflicts + types + sum(map(lookups.count, kinds - {TYPE, CONFLICT}))


def count_stretches(store: Store, wanted: tuple[Stretch, ...]) -> int | None:
    """How many rows these are; None for more than MAX_OFFSET: counting costs as much as reading."""
    count = 0
    for stretch in wanted:
        for span in stretch.spans:
            rows = store.lookups.count_in(span, MAX_OFFSET - count)
            if rows is None:
                return None
            count += rows
    return count


def _read(store: Store, stretch: Stretch, limit: int, *, descending: bool) -> tuple[list[ViewRow], Stretch]:
    pages = [store.lookups.entries(span, limit, descending=descending) for span in stretch.spans]
    if len(pages) == 1:
        (page,) = pages
        rows = [ViewRow(stretch.key or (entry.term,), entry.id) for entry in page.found]
        return rows, replace(stretch, spans=() if page.rest is None else (page.rest,))
    ids = sorted((entry.id for page in pages for entry in page.found), reverse=descending)
    ends = [_end(page.rest, descending=descending) for page in pages if page.rest is not None]
    reached = (max(ends) if descending else min(ends)) if ends else None  # beyond that a term may have others between
    if reached is not None:
        ids = [one for one in ids if (one >= reached if descending else one <= reached)]
    if len(ids) > limit:
        ids = ids[:limit]
        reached = ids[-1]
    rest = () if reached is None else tuple(_after(span, reached, descending=descending) for span in stretch.spans)
    assert stretch.key is not None  # only rows of one key come from several terms
    return [ViewRow(stretch.key, one) for one in ids], replace(stretch, spans=rest)


def _end(rest: Span, *, descending: bool) -> str:
    place = rest.high if descending else rest.low
    assert place is not None  # what was read ended somewhere
    return place.id


def _after(span: Span, doc_id: str, *, descending: bool) -> Span:
    place = span.high if descending else span.low
    assert place is not None  # the rows of one key are of one term, and so bounded
    place = Place(place.term, doc_id, is_open=True)
    return replace(span, high=place) if descending else replace(span, low=place)


def _keyed_spans(section: Section, low: Bound | None, high: Bound | None) -> tuple[Span, ...]:
    """The rows of one key between two bounds."""
    order = order_of(section.key)
    if (low is not None and order < low.order) or (high is not None and order > high.order):
        return ()
    first = low if low is not None and order == low.order else Bound(order, "")
    last = high if high is not None and order == high.order else Bound(order, _LAST)
    return tuple(
        Span(section.kind, Place(term, first.id, first.is_open), Place(term, last.id, last.is_open))
        for term in section.terms
    )


def _open_spans(section: Section, low: Bound | None, high: Bound | None) -> tuple[Span, ...]:
    """The rows [term] between two bounds, of any term but the empty one."""
    first, last = Place("", _LAST, is_open=True), None
    if low is not None:
        found = _place(low)
        if found == _ABOVE:
            return ()
        if isinstance(found, Place):
            first = max(first, found, key=lambda place: (place.term, place.id))
    if high is not None:
        found = _place(high)
        if found == _BELOW:
            return ()
        last = found if isinstance(found, Place) else None
    return (Span(section.kind, first, last),)


_BELOW, _ABOVE = "below", "above"


def _place(bound: Bound) -> Place | str:
    """Where a bound stands among the rows [term]: below all of them, above, or at a place."""
    if bound.order[0] != _ARRAY:
        return _BELOW if bound.order[0] < _ARRAY else _ABOVE
    items = bound.order[1]
    if not items or items[0][0] < _TEXT:
        return _BELOW
    if items[0][0] > _TEXT:
        return _ABOVE
    term = items[0][1]
    return Place(term, bound.id, bound.is_open) if len(items) == 1 else Place(term, _LAST)  # after all rows [term]
