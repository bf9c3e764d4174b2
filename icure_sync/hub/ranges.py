"""Which part of an index a selector needs: a range for each of its fields. Pure; works on normal selectors.

Source: CouchDB's `mango_idx_view`. Only `$and` is seen through; comparisons, `$beginsWith` and `$exists` make a field
one that an index helps to find. What else is asked of a document is left to the selector itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from icure_sync.hub.selectors import Selector, only_member
from icure_sync.store.collation import AFTER, collation_key

LOWEST: Final = object()  # below every value
HIGHEST: Final = object()  # above every value
_LAST: Final = "\uffff"  # the highest character: closes the range of strings with one beginning

_INDEXABLE: Final = frozenset({"$lt", "$lte", "$eq", "$gt", "$gte", "$beginsWith", "$exists"})


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a field's values. `low_op` is one of `$gt`, `$gte`, `$eq`; `high_op` of `$lt`, `$lte`, `$eq`."""

    low_op: str = "$gt"
    low: Any = LOWEST
    high_op: str = "$lt"
    high: Any = HIGHEST


FieldRange = tuple[str, Range | None]  # None: no value can be in it

EVERY_ID: Final[FieldRange] = ("_id", Range(low=None))


def indexable_fields(selector: Selector) -> list[str]:
    """The fields that an index helps with, each once, in order."""
    return sorted(set(_indexable(selector)), key=str.encode)


def field_ranges(selector: Selector) -> list[FieldRange]:
    """The range of each of these fields; of the first that can hold no value alone, if there is one."""
    ranges: list[FieldRange] = []
    conditions: dict[str, list[Selector]] = {}
    for condition in _conditions(selector):
        conditions.setdefault(only_member(condition)[0], []).append(condition)
    for field in indexable_fields(selector):
        one = _narrowed(Range(), {"$and": conditions[field]}, field)
        if one is None:
            return [(field, None)]
        ranges.append((field, one))
    return ranges


def prefix(columns: Sequence[str], ranges: Sequence[FieldRange]) -> list[Range | None]:
    """The ranges of the first columns of an index, as far as there are any."""
    by_field: dict[str, Range | None] = {}
    for field, one in ranges:
        by_field.setdefault(field, one)
    found = []
    for column in columns:
        if column not in by_field:
            break
        found.append(by_field[column])
    return found


def has_required_fields(selector: Selector, required: Sequence[str]) -> bool:
    """Do all documents that the selector passes have these fields?"""
    return not _still_required([selector], list(required))


def is_constant(selector: Selector, field: str) -> bool:
    """Is the field held to one value, so that it makes no difference to a sort?"""
    if not selector:
        return False
    name, argument = only_member(selector)
    if name == "$and":
        return any(is_constant(one, field) for one in argument)
    return name == field and list(argument) == ["$eq"]


def _indexable(selector: Selector) -> list[str]:
    if not selector:
        return []
    name, argument = only_member(selector)
    if name == "$and":
        return [field for one in argument for field in _indexable(one)]
    return [] if name.startswith("$") or _INDEXABLE.isdisjoint(argument) else [name]


def _conditions(selector: Selector) -> list[Selector]:
    """What stands in `$and`, however deep."""
    if not selector:
        return []
    name, argument = only_member(selector)
    return [part for one in argument for part in _conditions(one)] if name == "$and" else [selector]


def _still_required(selectors: Sequence[Selector], required: list[str]) -> list[str]:
    for selector in selectors:
        if not (required and selector):
            break
        name, argument = only_member(selector)
        if name == "$and":
            required = _still_required(argument, required)
        elif name == "$or":
            required = sorted({field for one in argument for field in _still_required([one], required)})
        elif argument != {"$exists": False}:
            required = [field for field in required if field != name]
    return required


def _narrowed(known: Range | None, selector: Selector, field: str) -> Range | None:
    """What a selector leaves of a field's range; None: nothing."""
    name, argument = only_member(selector)
    if name == "$and":
        for one in argument:
            if known is not None:
                known = _narrowed(known, one, field)
        return known
    if name != field or known is None:
        return known
    operator, value = only_member(argument)
    if operator == "$beginsWith":
        above = _cut(known, "$gte", value)
        return None if above is None else _cut(above, "$lte", value + _LAST)
    return _cut(known, operator, value) if operator in _CUTS else known


def _cut(known: Range, operator: str, value: Any) -> Range | None:
    """A range cut by one comparison. The places where `value` may stand: below, at `low`, between, at `high`, above."""
    return _CUTS[operator](known, operator, value, _place(known, value))


def _place(known: Range, value: Any) -> str:
    key, low, high = collation_key(value), _bound(known.low), _bound(known.high)
    if key <= low:
        return "low" if key == low else "below"
    if key >= high:
        return "high" if key == high else "above"
    return "between"


def _bound(value: Any) -> bytes:
    if value is LOWEST:
        return b""
    return AFTER if value is HIGHEST else collation_key(value)


def _only(value: Any) -> Range:
    return Range("$eq", value, "$eq", value)


def _cut_above(known: Range, operator: str, value: Any, place: str) -> Range | None:
    """`$lt`, `$lte`."""
    if place == "low" and operator == "$lte" and known.low_op in {"$gte", "$eq"}:
        return _only(value)
    if place in {"below", "low"}:
        return None
    if place == "between" or (place == "high" and operator == "$lt"):
        return replace(known, high_op=operator, high=value)
    return known


def _cut_below(known: Range, operator: str, value: Any, place: str) -> Range | None:
    """`$gt`, `$gte`."""
    if place == "high" and operator == "$gte" and known.high_op in {"$lte", "$eq"}:
        return _only(value)
    if place in {"high", "above"}:
        return None
    if place == "between" or (place == "low" and operator == "$gt"):
        return replace(known, low_op=operator, low=value)
    return known


def _cut_to(known: Range, _: str, value: Any, place: str) -> Range | None:
    """`$eq`."""
    if place == "between":
        return _only(value)
    if (place == "low" and known.low_op in {"$gte", "$eq"}) or (place == "high" and known.high_op in {"$lte", "$eq"}):
        return _only(value)
    return None


_CUTS: Final = {"$lt": _cut_above, "$lte": _cut_above, "$gt": _cut_below, "$gte": _cut_below, "$eq": _cut_to}
