"""Hypothesis strategies for entities and records, made from their declared fields: a new field is covered at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from icure_sync.model import ENTITY_CLASSES, Entity, Record, Value
from icure_sync.model.fields import Field, Kind, fields_of

MOST_INTEGER = 2**53

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
integers = st.integers(-MOST_INTEGER, MOST_INTEGER)
numbers = st.one_of(integers, st.floats(allow_nan=False, allow_infinity=False))
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | integers | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
# Members of other software: names that no class declares, and that no suite reserves.
unknown_members: st.SearchStrategy[Mapping[str, Any]] = st.dictionaries(
    words.map(lambda name: "x-" + name), json_values, max_size=2
)

_SCALARS: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.TEXT: words,
    Kind.INTEGER: integers,
    Kind.NUMBER: numbers,
    Kind.FLAG: st.booleans(),
    Kind.DATE: st.integers(18000101, 20991231),
    Kind.INSTANT: st.integers(0, 4_000_000_000_000),
    Kind.WORDS: st.lists(words, min_size=1, max_size=3).map(tuple),
    Kind.LABELS: st.dictionaries(words, words, min_size=1, max_size=2),
}


def members(cls: type[Value], depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """Arguments for a few of the declared fields of `cls`; records nest to `depth`."""
    fields = [field for field in fields_of(cls) if depth > 0 or field.record is None]
    chosen = st.lists(st.sampled_from(fields), unique_by=lambda field: field.name, max_size=5)
    return chosen.flatmap(lambda some: st.fixed_dictionaries({field.name: _values(field, depth) for field in some}))


def records(cls: type[Record], depth: int = 1) -> st.SearchStrategy[Any]:
    """A record of one class, with or without an id."""
    return st.builds(
        lambda fields, id_, extra: cls(id=id_, extra=extra, **fields),
        members(cls, depth),
        st.just("") | words,
        unknown_members,
    )


def entities_of(cls: type[Entity], depth: int = 2) -> st.SearchStrategy[Any]:
    """An unsaved entity of one class."""
    return st.builds(lambda fields, extra: cls(extra=extra, **fields), members(cls, depth), unknown_members)


entities: st.SearchStrategy[Entity] = st.sampled_from(ENTITY_CLASSES).flatmap(entities_of)


def _values(field: Field, depth: int) -> st.SearchStrategy[Any]:
    if field.record is None:
        return _SCALARS[field.kind]
    inner = records(field.record, depth - 1)
    if field.kind is Kind.RECORDS:
        return st.lists(inner, min_size=1, max_size=3).map(tuple)
    if field.kind is Kind.RECORD_MAP:
        return st.dictionaries(words, inner, min_size=1, max_size=2)
    return inner
