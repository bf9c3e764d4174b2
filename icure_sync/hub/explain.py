"""`_explain`: what the planner chose, what it made of the selector, and what speaks against each other index. Pure.

Source: CouchDB's `mango_cursor:explain`, whose shape this is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from icure_sync.hub.definitions import Definition
from icure_sync.hub.find_options import FindOptions
from icure_sync.hub.planner import Plan, covers_fields
from icure_sync.hub.ranges import HIGHEST, LOWEST, indexable_fields
from icure_sync.hub.selectors import named_fields

MAX: Final = "<MAX>"  # stands for what is above every value

_Order = tuple[bool, str, str]


def explain(database: str, plan: Plan, options: FindOptions) -> dict[str, Any]:
    """The answer of `_explain`."""
    head = {
        "dbname": database,
        "index": None if plan.index is None else plan.index.listed(),
        "partitioned": False,
        "selector": options.selector,
        "opts": options.shown(),
        "limit": options.limit,
        "skip": options.skip,
        "fields": list(options.fields),
        "index_candidates": _candidates(plan, options),
        "selector_hints": [_hints(options)],
    }
    if plan.index is None:
        return head
    return head | {"mrargs": _arguments(plan, plan.index, options), "covering": plan.is_covering}


def _arguments(plan: Plan, index: Definition, options: FindOptions) -> dict[str, Any]:
    """How CouchDB would ask a view."""
    first, last = _keys(plan, index)
    if options.descending:
        first, last = last, first
    return {
        "include_docs": options.r == 1 and not plan.is_covering,
        "view_type": "map",
        "reduce": False,
        "partition": options.partition or None,
        "start_key": first,
        "end_key": last,
        "direction": "rev" if options.descending else "fwd",
        "stable": options.stable or options.stale,
        "update": options.update and not options.stale,
        "conflicts": True if options.conflicts else "undefined",
    }


def _keys(plan: Plan, index: Definition) -> tuple[Any, Any]:
    if plan.ranges is None:
        return None, None
    lows = [one.low for one in plan.ranges]
    highs = [one.high for one in plan.ranges]
    if index.design is None:
        return "" if lows[0] is LOWEST else lows[0], MAX if highs[0] is HIGHEST else highs[0]
    return _until(lows, LOWEST), [*_until(highs, HIGHEST), MAX]


def _until(values: list[Any], end: object) -> list[Any]:
    """Those before `end`."""
    return values[: next((place for place, value in enumerate(values) if value is end), len(values))]


def _hints(options: FindOptions) -> dict[str, Any]:
    indexable = {field.partition(":")[0] for field in indexable_fields(options.selector)}
    rest = set(named_fields(options.selector)) - indexable
    return {"type": "json", "indexable_fields": _sorted(indexable), "unindexable_fields": _sorted(rest)}


def _sorted(fields: Iterable[str]) -> list[str]:
    return sorted(fields, key=str.encode)


def _candidates(plan: Plan, options: FindOptions) -> list[dict[str, Any]]:
    """All other indexes, each with the first thing that speaks against it."""
    chosen = None if plan.index is None else plan.index.order
    notes = _notes(plan)
    fields = set(options.fields) or None
    return [
        {"index": one.listed(), "analysis": notes[one.order].shown(one, fields)}
        for one in sorted(plan.existing, key=lambda one: one.order, reverse=True)
        if one.order != chosen
    ]


class _Note:
    """What is known of one candidate: the stages of planning add to it."""

    __slots__ = ("is_usable", "ranking", "reasons")

    def __init__(self) -> None:
        self.is_usable = True
        self.ranking = 0
        self.reasons: list[str] = []

    def add(self, *reasons: str, ranking: int = 0, is_usable: bool = True) -> None:
        self.reasons += reasons
        self.ranking += ranking
        self.is_usable = self.is_usable and is_usable

    def shown(self, index: Definition, fields: set[str] | None) -> dict[str, Any]:
        return {
            "usable": self.is_usable,
            "reasons": [{"name": name} for name in self.reasons[:1]],
            "ranking": self.ranking,
            "covering": None if index.design is None else covers_fields(index, fields),
        }


def _notes(plan: Plan) -> Mapping[_Order, _Note]:
    """The further planning came with an index, the better its rank; those left out in one stage have the same."""
    notes = {one.order: _Note() for one in plan.existing}
    in_scope, allowed = _orders(plan.in_scope), _orders(plan.allowed)
    usable, compared = _orders(plan.usable), _orders(one for one, _ in plan.ranked)
    partial = {one.order for one in plan.existing if one.filter is not None}
    out_of_scope = set(notes) - partial - in_scope
    rank = max(1, len(plan.ranked))
    stages = (
        (allowed - compared, True, "unfavored_type"),
        (usable - allowed, True, "excluded_by_user"),
        (in_scope - usable, False, ""),
        (out_of_scope, False, "scope_mismatch"),
        (partial, False, "is_partial"),
    )
    for orders, is_usable, reason in stages:
        for order in orders:
            reasons = (reason,) if reason else plan.faults[order]
            notes[order].add(*reasons, ranking=rank, is_usable=is_usable)
        rank += bool(orders)
    width = 0 if plan.index is None else len(plan.index.columns)
    for place, (one, unused) in enumerate(plan.ranked):
        notes[one.order].add(_weakness(one, unused, width), ranking=place)
    return notes


def _weakness(index: Definition, unused: int, width: int) -> str:
    if unused > 0:
        return "less_overlap"
    return "too_many_fields" if len(index.columns) > width else "alphabetically_comes_after"


def _orders(indexes: Iterable[Definition]) -> set[_Order]:
    return {one.order for one in indexes}
