"""A query has one answer: by an index, by a scan, from any page on, and from a real CouchDB."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icure_sync.hub.definitions import ALL_DOCS, RULES, Definition, all_definitions
from icure_sync.hub.find_options import parse_find
from icure_sync.hub.planner import make_plan
from icure_sync.hub.running import Query, State, read_page
from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Revision
from icure_sync.store import IdRange, Store
from icure_sync.store.collation import row_key

FIELDS = ("a", "b", "c.d")
INDEXES = (("a",), ("b",), ("a", "b"), ("c.d", "a"))

scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 2.0]) | st.text("abA é", max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("de"), inner, max_size=2),
    max_leaves=3,
)
documents = st.lists(st.dictionaries(st.sampled_from("abc"), values, max_size=3), max_size=8)

conditions = st.recursive(
    st.one_of(
        st.tuples(st.sampled_from(["$eq", "$ne", "$lt", "$lte", "$gt", "$gte"]), values),
        st.tuples(st.sampled_from(["$in", "$nin", "$all"]), st.lists(values, min_size=1, max_size=3)),
        st.tuples(st.just("$exists"), st.booleans()),
        st.tuples(st.just("$type"), st.sampled_from(["null", "boolean", "number", "string", "array", "object"])),
        st.tuples(st.just("$size"), st.integers(0, 2)),
        st.tuples(st.just("$beginsWith"), st.text("abA", max_size=2)),
        st.tuples(st.just("$mod"), st.tuples(st.integers(1, 3), st.integers(0, 2)).map(list)),
    ).map(lambda pair: {pair[0]: pair[1]}),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["$not", "$elemMatch", "$allMatch"]), inner).map(lambda pair: {pair[0]: pair[1]}),
        st.lists(inner, min_size=2, max_size=2).map(lambda both: {**both[0], **both[1]}),
    ),
    max_leaves=3,
)
selectors = st.recursive(
    st.dictionaries(st.sampled_from(FIELDS), conditions, min_size=1, max_size=3),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, min_size=1, max_size=2)).map(
            lambda pair: {pair[0]: pair[1]}
        ),
        inner.map(lambda one: {"$not": one}),
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that keeps INDEXES."""
    store = Store.open(tmp_path_factory.mktemp("laws") / "hub.db", bytes(32))
    store.indexes.set_rules(RULES)
    views = {" ".join(fields): {"map": {"fields": dict.fromkeys(fields, "asc")}, "options": {}} for fields in INDEXES}
    design = json.dumps({"language": "query", "views": views}).encode()
    store.documents.apply([Revision(DocId("_design/all"), (Rev(f"1-{'d' * 32}"),), design, False, {})])
    for index in store.indexes.all():
        assert store.indexes.build(index.number)
    yield store
    store.close()


def put(store: Store, bodies: list[dict[str, Any]]) -> None:
    """These documents, and no others."""
    old = {spot.id: [spot.rev] for spot in store.scans.by_id(IdRange(), 1_000) if not spot.id.startswith("_design/")}
    store.purges.purge({DocId(name): revs for name, revs in old.items()})
    revisions = [
        Revision(DocId(f"doc-{n}"), (Rev(f"1-{n:032x}"),), json.dumps(body).encode(), False, {})
        for n, body in enumerate(bodies)
    ]
    store.documents.apply(revisions)


def run(store: Store, index: Definition, body: dict[str, Any], page: int = 1_000) -> list[dict[str, Any]]:
    """The documents found, if only this index is there; `page`: how many at once, each going on after the last."""
    options = parse_find({"limit": page, **body})
    plan = make_plan([index], options)
    if plan.index is None or plan.ranges is None:
        return []
    query = Query.of(plan.index, plan.ranges, options, is_covering=plan.is_covering)
    found: list[dict[str, Any]] = []
    state = State(0, page)
    while True:
        start = len(found)
        while not state.is_over:
            found += map(json.loads, read_page(store, query, state))
        if len(found) == start:
            return found
        state = State(0, page, after=state.mark)


def usable(store: Store, body: dict[str, Any]) -> list[Definition]:
    """The indexes that can answer this alone."""
    options = parse_find(body)
    return [one for one in all_definitions(store) if make_plan([one], options).index is not None]


@settings(max_examples=150)
@given(documents, selectors)
def test_an_index_and_a_scan_find_the_same(indexed: Store, bodies: list[Any], selector: dict[str, Any]) -> None:
    put(indexed, bodies)
    scanned = run(indexed, ALL_DOCS, {"selector": selector})
    assert [doc["_id"] for doc in scanned] == sorted(doc["_id"] for doc in scanned)
    for index in usable(indexed, {"selector": selector}):
        found = run(indexed, index, {"selector": selector})
        keys = [(row_key(_values(doc, index)), doc["_id"]) for doc in found]
        assert keys == sorted(keys)
        assert sorted(found, key=_id) == scanned
        assert run(indexed, index, {"selector": selector}, page=2) == found
        fields = {"selector": selector, "fields": ["_id", *index.columns]}
        assert [doc["_id"] for doc in run(indexed, index, fields)] == [doc["_id"] for doc in found]


@settings(max_examples=60)
@given(documents, selectors, st.sampled_from(INDEXES))
def test_a_sort_downwards_is_the_reverse_of_one_upwards(
    indexed: Store, bodies: list[Any], selector: dict[str, Any], fields: tuple[str, ...]
) -> None:
    put(indexed, bodies)
    up = {"selector": selector, "sort": list(fields)}
    down = {"selector": selector, "sort": [{field: "desc"} for field in fields]}
    (index,) = (one for one in all_definitions(indexed) if one.columns == fields)
    found = run(indexed, index, up)
    assert run(indexed, index, down) == found[::-1]
    assert run(indexed, index, down, page=2) == found[::-1]
    having = [doc for doc in run(indexed, ALL_DOCS, {"selector": selector}) if None is not _values(doc, index, None)]
    assert {doc["_id"] for doc in found} == {doc["_id"] for doc in having}


def _id(document: dict[str, Any]) -> str:
    name: str = document["_id"]
    return name


_MISSING: Any = object()


def _values(document: dict[str, Any], index: Definition, missing: Any = _MISSING) -> Any:
    """What the document has in the index; `missing` if it lacks a field."""
    values = []
    for path in index.columns:
        value: Any = document
        for name in path.split("."):
            value = value.get(name, _MISSING) if isinstance(value, dict) else _MISSING
        if value is _MISSING:
            return missing
        values.append(value)
    return values
