"""The connection: encryption or nothing, and what SQLite's errors mean here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from icure_sync.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked
from icure_sync.store.database import Database
from tests.store.revisions import KEY


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(path, KEY)
    yield opened
    opened.close()


def test_nothing_is_written_with_a_library_that_cannot_encrypt(path: Path, monkeypatch: pytest.MonkeyPatch):
    class PlainConnection(apsw.Connection):
        def pragma(self, name: str, value: object = None, **_: object) -> object:
            return None if name == "cipher" else super().pragma(name, value)

    monkeypatch.setattr(apsw, "Connection", PlainConnection)
    with pytest.raises(StoreError, match="cannot encrypt"):
        Database(path, KEY)
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (apsw.FullError(), StoreFull),
        (apsw.ReadOnlyError(), StoreFull),
        (apsw.PermissionsError(), StoreFull),
        (apsw.CantOpenError(), StoreFull),
        (apsw.BusyError(), StoreLocked),
        (apsw.NotADBError(), StoreCorrupt),
        (apsw.CorruptError(), StoreCorrupt),
        (apsw.SQLError(), StoreError),
    ],
)
def test_every_error_of_sqlite_is_one_of_ours(database: Database, error: apsw.Error, kind: type[StoreError]):
    assert type(database._mapped(error, "read from")) is kind


@pytest.mark.parametrize(
    ("code", "kind"), [(apsw.SQLITE_IOERR_READ, StoreCorrupt), (apsw.SQLITE_IOERR_FSYNC, StoreFull)]
)
def test_a_disk_that_does_not_read_is_told_from_one_that_does_not_write(
    database: Database, code: int, kind: type[StoreError]
):
    error = apsw.IOError()
    error.extendedresult = code
    assert type(database._mapped(error, "read from")) is kind


@pytest.mark.parametrize("call", ["rows", "row", "value", "run"])
def test_a_statement_that_fails_is_a_store_error(database: Database, call: str):
    with pytest.raises(StoreError, match="nowhere"):
        getattr(database, call)("DELETE FROM nowhere")


@pytest.mark.parametrize("value", [2**70, "\ud800"])
def test_a_value_that_no_column_can_hold_is_a_store_error(database: Database, value: object):
    with pytest.raises(StoreError):
        database.rows("SELECT * FROM settings WHERE name = ?", (value,))
    with pytest.raises(StoreError):
        database.run_many("DELETE FROM settings WHERE name = ?", [(value,)])


def test_a_transaction_that_sqlite_has_ended_does_not_pass_for_a_commit(database: Database):
    def end_early() -> None:
        with database.transaction(), database.transaction():
            database.run("INSERT INTO settings VALUES ('a', '1')")
            database.run("ROLLBACK")  # what a full disk can make SQLite do

    with pytest.raises(StoreError):
        end_early()
    assert database.rows("SELECT * FROM settings") == []
    with database.transaction():
        database.run("INSERT INTO settings VALUES ('b', '2')")
    assert database.value("SELECT name FROM settings") == "b"
