"""Indexes are in step with the documents, whoever writes them; built in steps; gone when nothing defines them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Revision
from icure_sync.store import IdRange, Index, IndexRules, KeyRange, Store, schema
from icure_sync.store.collation import AFTER, row_key
from icure_sync.store.database import Database
from icure_sync.store.limits import BUILD_ROWS, DROPPED_ROWS
from tests.store.revisions import KEY, rev, revision, snapshot

DESIGN = "_design/lists"


def definitions(design: Revision) -> dict[str, bytes]:
    """Indexes written down as `{"indexes": {name: [field, …]}}`."""
    body = json.loads(design.body)
    return {name: json.dumps(fields).encode() for name, fields in body.get("indexes", {}).items()}


def key_of(definition: bytes) -> Any:
    fields = json.loads(definition)
    return lambda document: [document[field] for field in fields] if set(fields) <= set(document) else None


def document(winner: Revision, conflicts: Sequence[Rev]) -> dict[str, Any] | None:
    body = json.loads(winner.body)
    return None if "unreadable" in body else {**body, "conflicts": list(conflicts)}


RULES = IndexRules(definitions, key_of, document)


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store.open(path, KEY)
    opened.indexes.set_rules(RULES)
    yield opened
    opened.close()


def define(store: Store, generation: int = 1, **indexes: list[str]) -> None:
    history = [f"{number}d" for number in range(generation, 0, -1)]
    store.documents.apply([revision(DESIGN, *history, indexes=indexes)])


def build(store: Store) -> None:
    for index in store.indexes.all():
        while not store.indexes.build(index.number):
            pass


def the_index(store: Store) -> Index:
    (index,) = store.indexes.all()
    return index


def listed(store: Store, *, descending: bool = False) -> list[str]:
    """The ids in the only index."""
    spots = store.scans.by_key(KeyRange(the_index(store).number, b"", AFTER), 10_000, descending=descending)
    return [spot.id for spot in spots]


def test_what_is_written_is_in_the_index_at_once(store: Store) -> None:
    define(store, by_age=["age"])
    build(store)
    store.documents.apply([revision("old", "1a", age=80), revision("young", "1a", age=8), revision("ageless", "1a")])
    store.documents.write(DocId("middle"), rev(1, "a"), b'{"age":40}', None)
    assert listed(store) == ["young", "middle", "old"]
    assert listed(store, descending=True) == ["old", "middle", "young"]
    store.documents.write(DocId("young"), rev(2, "b"), b'{"age":90}', rev(1, "a"))
    assert listed(store) == ["middle", "old", "young"]
    store.documents.write(DocId("old"), rev(2, "b"), b"{}", rev(1, "a"), deleted=True)
    assert listed(store) == ["middle", "young"]


def test_only_the_winner_is_indexed(store: Store) -> None:
    define(store, by_age=["age"])
    build(store)
    store.documents.apply([revision("john", "1b", age=2)])
    store.documents.apply([revision("john", "1a", age=1)])
    (spot,) = store.scans.by_key(KeyRange(the_index(store).number, b"", AFTER), 10)
    assert (spot.rev, spot.live, spot.fields) == (rev(1, "b"), 2, b"[2]")
    store.documents.apply([revision("john", "2c", "1a", age=3)])
    (spot,) = store.scans.by_key(KeyRange(the_index(store).number, b"", AFTER), 10)
    assert (spot.rev, spot.fields) == (rev(2, "c"), b"[3]")
    assert store.scans.revision(spot).body == b'{"age": 3}'


def test_the_other_live_leaves_can_be_indexed_by_name(store: Store) -> None:
    define(store, by_conflicts=["conflicts"])
    build(store)
    store.documents.apply([revision("john", "1b")])
    store.documents.apply([revision("john", "1a")])
    (spot,) = store.scans.by_key(KeyRange(the_index(store).number, b"", AFTER), 10)
    assert json.loads(spot.fields) == [[rev(1, "a")]]


def test_what_is_purged_is_in_no_index(store: Store) -> None:
    define(store, by_age=["age"])
    build(store)
    store.documents.apply([revision("john", "1b", age=2), revision("ann", "1a", age=1)])
    store.documents.apply([revision("john", "1a", age=1)])
    store.purges.purge({DocId("john"): [rev(1, "b")]})
    assert listed(store) == ["ann", "john"]
    store.purges.purge({DocId("john"): [rev(1, "a")], DocId("ann"): [rev(1, "a")]})
    assert listed(store) == []
    assert store._database.value("SELECT count(*) FROM index_rows") == 0
    assert store.check() == []
    store.documents.apply([revision("eve", "1a", age=3)])
    assert listed(store) == ["eve"]


def test_an_index_over_many_documents_is_built_in_bounded_steps(store: Store) -> None:
    store.documents.apply([revision(f"doc-{n:04}", "1a", age=-n) for n in range(2 * BUILD_ROWS + 1)])
    define(store, by_age=["age"])
    index = the_index(store)
    assert not index.built
    assert not store.indexes.build(index.number)
    assert len(listed(store)) == BUILD_ROWS
    store.documents.apply([revision("doc-0000", "2a", "1a", age=-9_999), revision("new", "1a", age=9_999)])
    assert not store.indexes.build(index.number)
    assert store.indexes.build(index.number)
    assert the_index(store).built
    assert listed(store)[:2] == ["doc-0000", f"doc-{2 * BUILD_ROWS:04}"]
    assert listed(store)[-1] == "new"
    assert len(listed(store)) == 2 * BUILD_ROWS + 2


def test_large_documents_make_a_step_short(store: Store) -> None:
    store.documents.apply([revision(f"doc-{n}", "1a", age=n, text="x" * 600_000) for n in range(5)])
    define(store, by_age=["age"])
    assert not store.indexes.build(the_index(store).number)
    assert len(listed(store)) == 2


def test_indexes_last_across_restarts_and_are_not_built_again(path: Path, store: Store, tmp_path: Path) -> None:
    define(store, by_age=["age"])
    build(store)
    store.documents.apply([revision("john", "1a", age=1)])
    again = Store.open(snapshot(path, tmp_path / "crashed"), KEY)
    again.indexes.set_rules(RULES)
    assert the_index(again).built
    assert listed(again) == ["john"]
    again.close()


def test_an_index_that_fell_behind_catches_up(path: Path, tmp_path: Path, store: Store) -> None:
    define(store, by_age=["age"])
    build(store)
    store.documents.apply([revision("eve", "1a", age=1)])
    copy = snapshot(path, tmp_path / "elsewhere")
    without_rules = Store.open(copy, KEY)
    without_rules.documents.apply([revision("john", "1a", age=1)])
    without_rules.documents.apply([revision("_design/more", "1a", indexes={"by_name": ["name"]})])
    without_rules.documents.apply([revision("eve", "2a", "1a", deleted=True)])
    assert listed(without_rules) == []
    assert without_rules.check() == []
    without_rules.close()
    again = Store.open(copy, KEY)
    again.indexes.set_rules(RULES)
    assert [(index.name, index.built) for index in again.indexes.all()] == [("by_age", False), ("by_name", False)]
    build(again)
    rows = again.scans.by_key(KeyRange(again.indexes.all()[0].number, b"", AFTER), 10)
    assert [spot.id for spot in rows] == ["john"]
    again.close()


def test_a_design_document_says_which_indexes_there_are(store: Store) -> None:
    define(store, by_age=["age"], by_name=["name"])
    build(store)
    store.documents.apply([revision("john", "1a", age=1, name="John")])
    by_age, by_name = store.indexes.all()
    define(store, 2, by_age=["age"], by_name=["name", "age"], third=["x"])
    kept, changed, third = store.indexes.all()
    assert kept == by_age
    assert (changed.name, changed.built, third.built) == ("by_name", False, False)
    assert changed.number != by_name.number
    assert store.indexes.has(kept.number)
    assert not store.indexes.has(by_name.number)
    store.documents.apply([revision(DESIGN, "3d", "2d", "1d", deleted=True)])
    assert store.indexes.all() == []


def test_the_rows_of_an_index_that_is_no_more_go_little_by_little(store: Store) -> None:
    define(store, by_age=["age"])
    store.documents.apply([revision(f"doc-{n}", "1a", age=n) for n in range(2 * DROPPED_ROWS)])
    build(store)
    store.documents.apply([revision(DESIGN, "2d", "1d", deleted=True)])
    assert store._database.value("SELECT count(*) FROM index_rows") == DROPPED_ROWS
    while store.indexes.sweep():
        pass
    assert store._database.value("SELECT count(*) FROM index_rows") == 0
    assert store._database.value("SELECT count(*) FROM indexes") == 0


def test_a_purged_design_document_defines_nothing(store: Store) -> None:
    define(store, by_age=["age"])
    store.purges.purge({DocId(DESIGN): [rev(1, "d")]})
    assert store.indexes.all() == []


def test_design_documents_and_what_nobody_can_read_are_in_no_index(store: Store) -> None:
    define(store, everything=[])
    build(store)
    store.documents.apply([revision("john", "1a", unreadable=True), revision("ann", "1a")])
    assert listed(store) == ["ann"]


def test_a_write_that_fails_leaves_the_index_as_it_was(store: Store) -> None:
    define(store, by_age=["age"])
    build(store)

    def fail_after_writing() -> None:
        with store.transaction():
            store.documents.apply([revision("john", "1a", age=1), revision("_design/x", "1a", indexes={"b": ["b"]})])
            raise KeyError

    with pytest.raises(KeyError):
        fail_after_writing()
    assert listed(store) == []
    store.documents.apply([revision("ann", "1a", age=1)])
    assert listed(store) == ["ann"]


def test_a_range_is_read_page_by_page_from_either_end(store: Store) -> None:
    define(store, by_age=["age"])
    build(store)
    store.documents.apply([revision(f"doc-{n}", "1a", age=n // 3) for n in range(9)])
    number, low, high = the_index(store).number, row_key([1]), row_key([2]) + AFTER
    for descending in (False, True):
        wanted = KeyRange(number, low, high)
        whole = store.scans.by_key(wanted, 100, descending=descending)
        assert sorted(spot.id for spot in whole) == [f"doc-{n}" for n in range(3, 9)]
        pages = []
        after = None
        while page := store.scans.by_key(KeyRange(number, low, high, after), 2, descending=descending):
            pages += page
            after = (page[-1].key, page[-1].id)
        assert pages == whole


def test_large_keys_make_a_page_short(store: Store) -> None:
    define(store, by_text=["text"])
    build(store)
    store.documents.apply([revision(f"doc-{n}", "1a", text=str(n) + "x" * 800_000) for n in range(5)])
    number = the_index(store).number
    first = store.scans.by_key(KeyRange(number, b"", AFTER), 100)
    assert [spot.id for spot in first] == ["doc-0", "doc-1"]
    rest = store.scans.by_key(KeyRange(number, b"", AFTER, (first[-1].key, first[-1].id)), 100)
    assert [spot.id for spot in rest] == ["doc-2", "doc-3"]


def test_documents_are_read_by_id_page_by_page_from_either_end(store: Store) -> None:
    store.documents.apply([revision(f"doc-{n}", "1a") for n in range(7)])
    store.documents.apply([revision("doc-3", "2a", "1a", deleted=True)])
    for descending in (False, True):
        whole = store.scans.by_id(IdRange("doc-1", "doc-5"), 100, descending=descending)
        assert sorted(spot.id for spot in whole) == ["doc-1", "doc-2", "doc-4", "doc-5"]
        pages = []
        after = None
        while page := store.scans.by_id(IdRange("doc-1", "doc-5", after), 2, descending=descending):
            pages += page
            after = page[-1].id
        assert pages == whole
    assert len(store.scans.by_id(IdRange(), 100)) == 6


def test_a_file_of_the_first_schema_opens_and_can_be_indexed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        old = Database(path, KEY)
        assert old.value("PRAGMA user_version") == 1
        with old.transaction():
            old.run("INSERT INTO documents VALUES (1, 'john', 1, ?, 0, 1, 1, NULL)", (rev(1, "a"),))
            old.run("INSERT INTO revisions VALUES (1, 1, ?, 1, 0, 0, 0, '', ?)", (rev(1, "a"), b'{"age":1}'))
            old.run("UPDATE counters SET update_seq = 1, live = 1")
        old.close()
    store = Store.open(path, KEY)
    assert store._database.value("PRAGMA user_version") == len(schema.MIGRATIONS)
    store.indexes.set_rules(RULES)
    define(store, by_age=["age"])
    build(store)
    assert listed(store) == ["john"]
    store.documents.apply([revision("ann", "1a", age=0)])
    assert listed(store) == ["ann", "john"]
    assert store.check() == []
    store.close()


writes = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from(["put", "delete", "conflict", "purge", "build"]), st.integers(0, 3)
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(writes)
def test_after_any_writes_an_index_holds_what_a_scan_finds(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int]]
) -> None:
    store = Store.open(tmp_path_factory.mktemp("law") / "replica.db", KEY)
    store.indexes.set_rules(RULES)
    define(store, by_age=["age"])
    for count, (name, action, age) in enumerate(steps):
        leaves = [leaf.rev for leaf in store.documents.leaves(DocId(name))]
        new = Rev(f"1-{count:032x}")
        if action == "build":
            build(store)
        elif action == "purge":
            store.purges.purge({DocId(name): leaves[:1]})
        elif action == "conflict" or not leaves:
            store.documents.apply([Revision(DocId(name), (new,), b'{"age":%d}' % age, False, {})])
        else:
            parent = leaves[0]
            child = Rev(f"{int(parent.partition('-')[0]) + 1}-{count:032x}")
            store.documents.write(DocId(name), child, b'{"age":%d}' % age, parent, deleted=action == "delete")
    build(store)
    live = [store.scans.revision(spot) for spot in store.scans.by_id(IdRange("a"), 100)]
    expected = sorted((json.loads(each.body)["age"], each.id) for each in live)
    spots = store.scans.by_key(KeyRange(the_index(store).number, b"", AFTER), 100)
    assert [(json.loads(spot.fields)[0], spot.id) for spot in spots] == expected
    store.close()
