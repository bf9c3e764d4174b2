"""Files that wait for the others of their revision: kept across a crash, and not for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from icure_sync.ids import DocId
from icure_sync.store import Blob, Store, schema
from icure_sync.store.limits import ARRIVED_SECONDS
from tests.store.revisions import KEY, rev, revision

DOC, REV = DocId("scan"), rev(1, "a")
NOW = 1_800_000_000

pytestmark = pytest.mark.usefixtures("no_patience")


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that nothing names are not waited for."""
    monkeypatch.setattr("icure_sync.store.attachments.FRESH_SECONDS", 0)


def arrive(store: Store, name: str, content: bytes, now: int = NOW) -> Blob:
    blob = store.attachments.put([content])
    store.arrivals.keep(DOC, REV, name, blob, now)
    return blob


def test_a_file_that_has_come_is_there_after_a_restart(store: Store, path: Path):
    blob = arrive(store, "first", b"first")
    store.compact()
    store.close()
    again = Store.open(path, KEY)
    again.compact()
    assert again.arrivals.find(DOC, REV, "first") == blob
    assert b"".join(again.attachments.read(blob)) == b"first"
    assert again.arrivals.find(DOC, REV, "second") is None
    assert again.arrivals.find(DOC, rev(2, "a"), "first") is None
    again.close()


def test_a_file_that_waits_no_longer_is_dropped(store: Store):
    arrive(store, "first", b"first")
    store.arrivals.forget(DOC, REV)
    store.compact()
    assert store.arrivals.find(DOC, REV, "first") is None
    assert store._database.rows("SELECT * FROM blobs") == []


def test_a_file_that_comes_again_in_another_form_replaces_the_first(store: Store):
    arrive(store, "first", b"wrong")
    right = arrive(store, "first", b"right")
    assert store.arrivals.find(DOC, REV, "first") == right


def test_the_leftovers_of_a_revision_that_never_comes_are_dropped_after_a_time(store: Store):
    arrive(store, "old", b"old", NOW - ARRIVED_SECONDS - 1)
    arrive(store, "from a clock that was wrong", b"later", NOW + 1)
    young = arrive(store, "young", b"young", NOW - ARRIVED_SECONDS + 1)
    store.arrivals.expire(NOW)
    assert [row[0] for row in store._database.rows("SELECT name FROM arrivals")] == ["young"]
    assert store.arrivals.find(DOC, REV, "young") == young


def test_when_they_are_too_large_in_all_the_oldest_go(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("icure_sync.store.arrivals.ARRIVED_BYTES", 25)
    for number, name in enumerate(("first", "second", "third", "fourth")):
        arrive(store, name, name.encode().ljust(10), NOW + number)
    store.arrivals.expire(NOW + 9)
    assert sorted(row[0] for row in store._database.rows("SELECT name FROM arrivals")) == ["fourth", "third"]


def test_a_file_of_the_first_schema_learns_to_keep_arrivals(path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:2])
        connection = Store.open(path, KEY)
        connection._database.run("DROP TABLE arrivals")
        connection._database.run("PRAGMA user_version = 1")
        connection.close()
    store = Store.open(path, KEY)
    store.documents.apply([revision("john", "1a")])
    blob = arrive(store, "first", b"first")
    assert store.arrivals.find(DOC, REV, "first") == blob
    assert store.check() == []
    store.close()
