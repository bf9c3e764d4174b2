"""A store as a whole: opening and closing, its owner, its thread, transactions, schema numbers."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from icure_sync.errors import SchemaTooNew, StoreCorrupt, StoreFull, StoreLocked
from icure_sync.ids import DocId
from icure_sync.store import Store, schema
from icure_sync.store.lock import StoreLock, own
from tests.store.revisions import KEY, rev, revision

JOHN = DocId("john")
_HOLDER = """
import sys
from pathlib import Path
from icure_sync.store import Store
store = Store.open(Path(sys.argv[1]), bytes(range(32)))
print("open", flush=True)
sys.stdin.read()
"""


# Opening


def test_what_was_written_is_there_after_opening_again(path: Path):
    store = Store.open(path, KEY)
    store.documents.apply([revision("john", "1a")])
    store.close()
    store.close()
    again = Store.open(path, KEY)
    assert again.documents.get(JOHN) == revision("john", "1a")
    assert not again.read_only
    again.close()


def test_only_its_owner_may_read_the_files(store: Store, path: Path):
    store.documents.apply([revision("john", "1a")])
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {path.name: 0o600, path.name + "-wal": 0o600, path.name + ".lock": 0o600}


def test_another_key_does_not_open_it(path: Path):
    Store.open(path, KEY).close()
    with pytest.raises(StoreCorrupt):
        Store.open(path, bytes(32))
    Store.open(path, KEY).close()


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0" + bytes(8_176), os.urandom(20_000)])
def test_a_file_that_is_not_a_database_is_told_and_left_alone(path: Path, content: bytes):
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt):
        Store.open(path, KEY)
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(StoreFull, match="folder"):
        Store.open(tmp_path / "nowhere" / "replica.db", KEY)


def test_a_folder_in_its_place_is_told(path: Path):
    path.mkdir()
    with pytest.raises(StoreCorrupt, match="not a file"):
        Store.open(path, KEY)


def test_what_a_crash_left_of_a_new_database_is_no_hindrance(path: Path):
    path.with_name(path.name + ".new").write_bytes(b"half a database")
    path.with_name(path.name + ".new-wal").write_bytes(b"half a log")
    store = Store.open(path, KEY)
    assert store.check() == []
    store.close()
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, path.name + ".lock"]


def test_an_empty_file_is_a_damaged_one_not_a_new_one(path: Path):
    path.touch()
    with pytest.raises(StoreCorrupt, match="cut"):
        Store.open(path, KEY)


def test_a_log_without_its_database_is_not_thrown_away(path: Path):
    log = path.with_name(path.name + "-wal")
    log.write_bytes(b"commits")
    with pytest.raises(StoreCorrupt, match="log"):
        Store.open(path, KEY)
    assert log.read_bytes() == b"commits"


# The owner


def test_a_second_opening_in_one_process_is_refused(store: Store, path: Path):
    with pytest.raises(StoreLocked, match=f"process {os.getpid()}"):
        Store.open(path, KEY)
    assert store.documents.count() == 0


def test_a_second_process_is_refused_by_name_until_the_first_has_ended(path: Path):
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreLocked, match=f"in use by process {holder.pid} on {os.uname().nodename}"):
            Store.open(path, KEY)
        holder.send_signal(signal.SIGKILL)
    Store.open(path, KEY).close()


# The thread


async def test_the_stores_thread_does_one_thing_after_another_in_order(store: Store):
    seen = []

    def note(number: int) -> int:
        seen.append((number, threading.current_thread().name))
        return number

    assert await asyncio.gather(*(store.run(note, number) for number in range(20))) == list(range(20))
    assert [number for number, _ in seen] == list(range(20))
    assert len({name for _, name in seen}) == 1
    assert await store.run(store.documents.changes, 0, limit=1) == []


async def test_a_cancelled_wait_leaves_a_whole_transaction(store: Store):
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        with store.transaction():
            store.documents.apply([revision("john", "1a")])
            begun.set()
            go_on.wait()
            store.documents.apply([revision("ann", "1a")])

    task = asyncio.create_task(store.run(work))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.run(store.documents.count) == 2


# Transactions


class _StopError(Exception):
    pass


def test_a_transaction_is_kept_whole_or_not_at_all(store: Store):
    def fail() -> None:
        with store.transaction():
            store.documents.apply([revision("john", "1a")])
            store.settings.put("device", "x")
            store.search.index(JOHN, "Patient", "keats")
            raise _StopError

    store.documents.apply([revision("ann", "1a")])
    with pytest.raises(_StopError):
        fail()
    assert store.documents.get(JOHN) is None
    assert store.settings.get("device") is None
    assert (store.documents.update_seq(), store.documents.count()) == (1, 1)
    assert store.check() == []


def test_an_inner_transaction_can_fail_alone(store: Store):
    def fail() -> None:
        with store.transaction():
            store.documents.apply([revision("ann", "1a")])
            raise _StopError

    with store.transaction():
        store.documents.apply([revision("john", "1a")])
        with pytest.raises(_StopError):
            fail()
        store.documents.write(JOHN, rev(2, "b"), b"{}", rev(1, "a"))
    assert [change.id for change in store.documents.changes()] == [JOHN]
    assert store.check() == []


# Schema


def test_an_older_file_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch):
    old = Store.open(path, KEY)
    old.documents.apply([revision("john", "1a")])
    old.close()
    later = "CREATE TABLE notes (text TEXT); INSERT INTO notes SELECT id FROM documents;"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, later))
    new = Store.open(path, KEY)
    assert new._database.rows("SELECT text FROM notes") == [("john",)]
    assert new._database.value("PRAGMA user_version") == len(schema.MIGRATIONS)
    assert new.documents.get(JOHN) == revision("john", "1a")
    new.close()
    Store.open(path, KEY).close()


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch):
    Store.open(path, KEY).close()
    with monkeypatch.context() as patch:
        patch.setattr(
            schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE half (x); INSERT INTO nowhere VALUES (1);")
        )
        with pytest.raises(Exception, match="nowhere"):
            Store.open(path, KEY)
    store = Store.open(path, KEY)
    assert store._database.rows("SELECT name FROM sqlite_schema WHERE name = 'half'") == []
    store.close()


def test_a_file_of_a_newer_version_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE newer (x);"))
        Store.open(path, KEY).close()
    before = path.read_bytes()
    with pytest.raises(SchemaTooNew, match="update"):
        Store.open(path, KEY)
    assert path.read_bytes() == before


def test_a_database_that_another_just_made_is_not_made_again(path: Path, monkeypatch: pytest.MonkeyPatch):
    def late(lock: Path) -> StoreLock:
        """The lock is free again when the first owner has made the database, written to it and closed it."""
        monkeypatch.undo()
        first = Store.open(path, KEY)
        first.documents.apply([revision("john", "1a")])
        first.close()
        return own(lock)

    monkeypatch.setattr("icure_sync.store.store.own", late)
    second = Store.open(path, KEY)
    assert second.documents.count() == 1
    second.close()


# Watching


async def test_whoever_watches_is_told_of_each_changed_document_before_the_writer_goes_on(path: Path):
    store = Store.open(path, KEY)
    told: list[int] = []
    with store.watch(lambda: told.append(store.documents.update_seq())):
        await store.run(store.documents.apply, [revision("john", "1a")])
        assert told == [1]
        await store.run(store.documents.apply, [revision("john", "2b", "1a"), revision("mary", "1a")])
        assert told == [1, 3]
    await store.run(store.documents.apply, [revision("paul", "1a")])
    assert told == [1, 3]
    store.close()


async def test_nobody_is_told_of_what_changes_no_document_or_was_undone(path: Path):
    store = Store.open(path, KEY)
    told: list[None] = []

    def undone() -> None:
        with store.transaction():
            store.documents.apply([revision("john", "1a")])
            raise KeyError

    with store.watch(lambda: told.append(None)):
        await store.run(store.settings.put, "colour", "blue")
        await store.run(store.local.put, "log", {})
        with pytest.raises(KeyError):
            await store.run(undone)
        await asyncio.sleep(0)
    assert told == []
    store.close()
