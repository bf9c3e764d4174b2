"""One encrypted SQLite connection. Owns the cipher, the pragmas, transactions and the mapping of SQLite's errors.

The only module that imports the database library. Knows no tables: schema.py defines them, their owners query them.

The file is encrypted page by page with AEGIS-256 (SQLite3 Multiple Ciphers): every page carries a nonce and a tag, the
write-ahead log's too, so what was changed on disk is noticed when it is read. Temporary tables stay in memory.
A transaction that has ended is on the disk: `synchronous=FULL` syncs the log at each commit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw

from icure_sync.errors import SchemaTooNew, StoreCorrupt, StoreError, StoreFull, StoreLocked
from icure_sync.store import schema
from icure_sync.store.limits import CACHE_KIB, PAGE_BYTES, WAL_BYTES, WAL_PAGES

Values = Sequence[Any]

_INCREMENTAL = 2  # PRAGMA auto_vacuum: free pages are given back on demand
_STATEMENTS = 256  # prepared statements kept: more than this package has
_READ_WRITE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
_READ_ONLY = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
_LOCKING = "multipleciphers-unix"
_LOCKLESS = "multipleciphers-unix-none"  # SQLite cannot lock a read-only file, and has no need to: see store/lock.py
# EXCLUSIVE comes before anything is read: the log's index is then kept in memory, where the VFS without locks needs it.
_FIRST_OF_ALL = "PRAGMA locking_mode = EXCLUSIVE;"
_OF_A_NEW_FILE = f"PRAGMA page_size = {PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL;"  # it would write in another
_PRAGMAS = f"""
PRAGMA page_size = {PAGE_BYTES};
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -{CACHE_KIB};
PRAGMA journal_mode = WAL;
PRAGMA wal_autocheckpoint = {WAL_PAGES};
PRAGMA journal_size_limit = {WAL_BYTES};
PRAGMA synchronous = FULL;
PRAGMA trusted_schema = OFF;
"""


_REPLACE = "put back a copy of the file and its key file, or pull everything from the server into a new replica"
_MEANINGS: tuple[tuple[type[apsw.Error], type[StoreError], str, str], ...] = (
    (apsw.FullError, StoreFull, "there is no room on the disk", "free some and repeat"),
    (apsw.ReadOnlyError, StoreFull, "the file or its folder is read-only", "make it writable and repeat"),
    (apsw.PermissionsError, StoreFull, "there is no permission", "make the file and its folder yours and repeat"),
    (apsw.CantOpenError, StoreFull, "the file cannot be opened or made", "check that its folder exists and is yours"),
    (apsw.BusyError, StoreLocked, "another process has it open", "end that process"),
    (apsw.NotADBError, StoreCorrupt, "it is damaged at its start, or its key file is another database's", _REPLACE),
    (apsw.CorruptError, StoreCorrupt, "a part of the file is damaged", _REPLACE),
)
_FAILURES = (apsw.Error, OverflowError, UnicodeEncodeError)  # the latter two: values that no column can hold
_UNREADABLE = {
    apsw.SQLITE_IOERR_READ,
    apsw.SQLITE_IOERR_SHORT_READ,
    apsw.SQLITE_IOERR_DATA,
    apsw.SQLITE_IOERR_CORRUPTFS,
}


class Database:
    """A connection. One thread at a time; every method raises StoreError kinds only."""

    def __init__(self, path: Path, key: bytes, *, read_only: bool = False) -> None:
        """Open `path`, or make it, under a 32-byte key, and bring its schema up to date."""
        self.path = path
        self.beginning: Callable[[], None] = _nobody  # called first of all in each transaction, not in inner ones
        self.committing: Callable[[], None] = _nobody  # called before each commit, within its transaction
        self.committed: Callable[[], None] = _nobody  # called after each commit, in the thread that made it
        name, flags, vfs = _read_only(path) if read_only else (str(path), _READ_WRITE, _LOCKING)
        try:
            self._connection = apsw.Connection(name, flags=flags, vfs=vfs, statementcachesize=_STATEMENTS)
        except apsw.Error as error:
            raise self._mapped(error, "open") from error
        try:
            self._unlock(key)
            self._migrate()
        except BaseException:
            self._connection.close(force=True)
            raise

    def close(self) -> None:
        """Write the log back into the file and let go of it."""
        try:
            self._connection.close()
        except apsw.Error as error:
            raise self._mapped(error, "close") from error

    def rows(self, statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """All rows of one query."""
        try:
            return self._connection.execute(statement, values).fetchall()
        except _FAILURES as error:
            raise self._mapped(error, "read from") from error

    def rows_until(
        self, statement: str, values: Values, is_enough: Callable[[tuple[Any, ...]], bool]
    ) -> list[tuple[Any, ...]]:
        """The rows of one query, up to the first that is enough; those after it are not read."""
        found = []
        try:
            with contextlib.closing(self._connection.execute(statement, values)) as cursor:
                for row in cursor:
                    found.append(row)
                    if is_enough(row):
                        break
        except _FAILURES as error:
            raise self._mapped(error, "read from") from error
        return found

    def row(self, statement: str, values: Values = ()) -> tuple[Any, ...] | None:
        """The first row of one query, or None."""
        try:
            return self._connection.execute(statement, values).fetchone()
        except _FAILURES as error:
            raise self._mapped(error, "read from") from error

    def value(self, statement: str, values: Values = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.row(statement, values)
        return None if row is None else row[0]

    def run(self, statement: str, values: Values = ()) -> int:
        """One change. Returns the number of rows changed."""
        try:
            self._connection.execute(statement, values)
            return self._connection.changes()
        except _FAILURES as error:
            raise self._mapped(error, "write to") from error

    def run_many(self, statement: str, rows: Iterable[Values]) -> None:
        """One change for each row of values."""
        try:
            self._connection.executemany(statement, rows)
        except _FAILURES as error:
            raise self._mapped(error, "write to") from error

    def free_bytes(self) -> int:
        """Bytes of pages that nothing is in."""
        return int(self.value("PRAGMA freelist_count")) * PAGE_BYTES

    def give_back(self, pages: int) -> bool:
        """Cut up to so many free pages off the file; True if there are more. A file of an older version keeps them."""
        if self.value("PRAGMA auto_vacuum") != _INCREMENTAL or not self.value("PRAGMA freelist_count"):
            return False
        self.rows(f"PRAGMA incremental_vacuum({pages})")
        return bool(self.value("PRAGMA freelist_count"))

    def write_back(self) -> None:
        """Put the log into the file, and empty it."""
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def last_number(self) -> int:
        """The key of the row inserted last."""
        return self._connection.last_insert_rowid()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside becomes durable at the end, or nothing does. Inner ones join the outer one."""
        if not self._connection.get_autocommit():
            with self._savepoint():
                yield
            return
        self.run("BEGIN IMMEDIATE")
        try:
            self.beginning()
            yield
            self.committing()
            self.run("COMMIT")
        except BaseException:
            if not self._connection.get_autocommit():  # SQLite itself ends it when the disk is full
                self.run("ROLLBACK")
            raise
        self.committed()

    @contextlib.contextmanager
    def _savepoint(self) -> Iterator[None]:
        self.run("SAVEPOINT inner")
        try:
            yield
            self.run("RELEASE inner")
        except BaseException:
            if not self._connection.get_autocommit():
                self.run("ROLLBACK TO inner")
                self.run("RELEASE inner")
            raise

    def _unlock(self, key: bytes) -> None:
        # A library without encryption ignores both pragmas: then nothing may be written.
        if self._connection.pragma("cipher", "aegis") != "aegis":
            raise StoreError(
                f"open the store {self.path}",
                "the SQLite library cannot encrypt",
                "install apsw-sqlite3mc, without apsw",
            )
        # Else every other value of a parameter has the statement planned anew, which costs more than running it.
        self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        self._connection.pragma("key", f"raw:{key.hex()}")
        try:
            self._connection.execute(_FIRST_OF_ALL).fetchall()
            if self.path.stat().st_size == 0:
                self._connection.execute(_OF_A_NEW_FILE).fetchall()
            self._connection.execute(_PRAGMAS).fetchall()
            self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        except apsw.Error as error:
            raise self._mapped(error, "open") from error

    def _migrate(self) -> None:
        had = self.value("PRAGMA user_version")
        wanted = len(schema.MIGRATIONS)
        if had > wanted:
            raise SchemaTooNew(
                f"open the store {self.path}",
                f"its schema is number {had}, this version knows {wanted}",
                "update icure-sync",
            )
        if had == wanted:
            return
        with self.transaction():
            for migration in schema.MIGRATIONS[had:]:
                self.rows(migration)
            self.run(f"PRAGMA user_version = {wanted}")
            self.run(f"PRAGMA application_id = {schema.APPLICATION_ID}")

    def _mapped(self, error: Exception, attempted: str) -> StoreError:
        """The one place that says what an SQLite error means here. SQLite's own texts hold no values of ours."""
        attempted = f"{attempted} the store {self.path}"
        if isinstance(error, apsw.IOError):
            return self._mapped_io(error, attempted)
        for sqlite_kind, kind, wrong, next_step in _MEANINGS:
            if isinstance(error, sqlite_kind):
                return kind(attempted, wrong, next_step)
        return StoreError(attempted, f"SQLite says: {error}", "repeat; if it stays, report it")

    def _mapped_io(self, error: apsw.IOError, attempted: str) -> StoreError:
        if getattr(error, "extendedresult", None) in _UNREADABLE:  # the library's stubs leave it out
            return StoreCorrupt(attempted, f"the disk does not give a part of it back ({error})", _REPLACE)
        return StoreFull(attempted, f"the disk does not take it ({error})", "check the disk and its quota, and repeat")


def _nobody() -> None:
    """Whom a transaction concerns until somebody says so."""


def _read_only(path: Path) -> tuple[str, int, str]:
    """Name, flags and VFS for a file that cannot be written: with its log if it has one, else as it lies there."""
    log = path.with_name(path.name + "-wal")
    suffix = "" if log.exists() and log.stat().st_size > 0 else "?immutable=1"
    return f"file:{quote(str(path.absolute()))}{suffix}", _READ_ONLY, _LOCKLESS
