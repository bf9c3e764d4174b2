"""The planner: which index answers a query, and which part of it. Pure; explain.py says what speaks against the others.

Source: CouchDB's documentation of `_find`, its `mango_idx` and `mango_cursor`. An index is usable if its fields must be
there in every document that the selector passes, and if it has the order that is asked for. Of the usable ones, that
one is taken whose first columns have the most ranges; then the one with the fewest columns; then by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icure_sync.hub.definitions import ALL_DOCS, Definition
from icure_sync.hub.errors import HttpRefusal
from icure_sync.hub.find_options import FindOptions
from icure_sync.hub.ranges import (
    EVERY_ID,
    FieldRange,
    Range,
    field_ranges,
    has_required_fields,
    indexable_fields,
    is_constant,
    prefix,
)
from icure_sync.hub.selectors import Selector, named_fields, only_member

_IMPLIED = frozenset({"_id", "_rev"})  # fields that every document has
_NOTHING = frozenset({"$all", "$and", "$or", "$in"})  # a selector of one of these without arguments is never run


@dataclass(frozen=True, slots=True)
class Plan:
    """How a query is answered. `index` None: there is no usable one.

    `ranges`: of the index's first columns; None: nothing can be found. `is_covering`: the index itself has all fields
    that the query looks at. The rest is for `_explain`: `faults` says why an index is not usable, `ranked` lists those
    that were compared, the best first, with the number of ranges that each leaves unused.
    """

    index: Definition | None
    ranges: tuple[Range, ...] | None
    is_covering: bool
    existing: tuple[Definition, ...]
    in_scope: tuple[Definition, ...]
    faults: Mapping[tuple[bool, str, str], tuple[str, ...]]
    allowed: tuple[Definition, ...] = ()
    ranked: tuple[tuple[Definition, int], ...] = ()

    @property
    def usable(self) -> tuple[Definition, ...]:
        return tuple(one for one in self.in_scope if not self.faults[one.order])


def make_plan(existing: Sequence[Definition], options: FindOptions) -> Plan:
    """Raises `invalid_index` if no other index may be taken than one that is not usable."""
    named = _named(existing, options)
    general = [one for one in existing if one.filter is None or one in named]
    in_scope = [one for one in general if one.design is None] if options.partition else general
    faults = {one.order: _faults(one, options) for one in in_scope}
    usable = [one for one in in_scope if not faults[one.order]]
    if not usable:
        return Plan(None, (), False, tuple(existing), tuple(in_scope), faults)
    allowed = _named(usable, options)
    if not allowed:
        if not options.allow_fallback and (options.use_index or len(usable) < 2):
            raise _not_suitable(options)
        allowed = usable
    of_kind = [one for one in allowed if one.design is not None] or allowed
    ranges = field_ranges(options.selector)
    if of_kind == [ALL_DOCS]:
        ranges = [*ranges, EVERY_ID]
    ranked = sorted(((one, _unused(one, ranges)) for one in of_kind), key=_rank)
    chosen = ranked[0][0]
    return Plan(
        chosen,
        _bounds(options.selector, prefix(chosen.columns, ranges)),
        covers(chosen, options),
        tuple(existing),
        tuple(in_scope),
        faults,
        tuple(allowed),
        tuple(ranked),
    )


def covers(index: Definition, options: FindOptions) -> bool:
    """Has the index all fields that the query asks for or looks at?"""
    return covers_fields(index, {*options.fields, *named_fields(options.selector)} if options.fields else None)


def covers_fields(index: Definition, fields: set[str] | None) -> bool:
    """`fields` None: all of a document."""
    return fields is not None and index.design is not None and fields <= {"_id", *index.columns}


def _named(indexes: Sequence[Definition], options: FindOptions) -> list[Definition]:
    """Those that `use_index` names."""
    if not options.use_index:
        return []
    design = options.use_index[0]
    wanted = design if design.startswith("_design/") else f"_design/{design}"
    return [one for one in indexes if one.design == wanted and options.use_index[1:] in ((), (one.name,))]


def _faults(index: Definition, options: FindOptions) -> tuple[str, ...]:
    """Why an index cannot be used; nothing if it can."""
    selector, sort = options.selector, tuple(options.sort)
    if index.design is None:
        if not sort:
            return ()
        has_fields = "_id" in indexable_fields(selector)
        in_order = sort == index.columns
        needs_text = False
    else:
        required = sorted({*index.columns} - {*sort} - _IMPLIED)
        has_fields = has_required_fields(selector, required)
        in_order = _is_in_order(index.columns, sort, selector)
        needs_text = _is_text_search(selector)
    found = {"needs_text_search": needs_text, "field_mismatch": not has_fields, "sort_order_mismatch": not in_order}
    return tuple(name for name, is_so in found.items() if is_so)


def _is_in_order(columns: Sequence[str], sort: Sequence[str], selector: Selector) -> bool:
    """Columns before those of the sort make no difference if the selector holds them to one value."""
    if not sort:
        return True
    for start, column in enumerate(columns):
        if column == sort[0]:
            return tuple(columns[start : start + len(sort)]) == tuple(sort)
        if not is_constant(selector, column):
            return False
    return False


def _is_text_search(selector: Selector) -> bool:
    if not selector:
        return False
    name, argument = only_member(selector)
    return name == "$default" or (name in {"$and", "$or"} and any(map(_is_text_search, argument)))


def _unused(index: Definition, ranges: Sequence[FieldRange]) -> int:
    return len(ranges) - len(prefix(index.columns, ranges))


def _rank(candidate: tuple[Definition, int]) -> tuple[int, int, str, str]:
    index, unused = candidate
    return unused, len(index.columns), index.design or "", index.name


def _bounds(selector: Selector, found: Sequence[Range | None]) -> tuple[Range, ...] | None:
    if selector:
        name, argument = only_member(selector)
        if name in _NOTHING and argument == []:
            return None
    return None if None in found else tuple(one for one in found if one is not None)


def _not_suitable(options: FindOptions) -> HttpRefusal:
    if not options.use_index:
        reason = "You must specify an index with the `use_index` parameter."
    else:
        design, *names = options.use_index
        which = ", ".join((f"_design/{design.removeprefix('_design/')}", *names))
        reason = f"{which} specified by `use_index` could not be found or it is not suitable."
    return HttpRefusal(400, "invalid_index", reason)
