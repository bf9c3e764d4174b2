"""The files of a store: how a new database comes to be, and what is wrong with one before SQLite sees it.

Knows names, sizes and permissions; nothing of tables. A new database is complete before it has its name, so a file of
that name that is empty or too short has been damaged: it is never taken for a new one.
"""

from __future__ import annotations

import os
from pathlib import Path

from icure_sync.errors import StoreCorrupt, StoreFull
from icure_sync.store.database import Database
from icure_sync.store.limits import PAGE_BYTES

_BACKUP = "put a copy of both files back, or pull everything from the server into a new replica"


def lock_path(path: Path) -> Path:
    """Where the lock of the database at `path` is."""
    return path.with_name(path.name + ".lock")


def log_path(path: Path) -> Path:
    """Where SQLite keeps the write-ahead log of the database at `path`."""
    return path.with_name(path.name + "-wal")


def is_writable(path: Path) -> bool:
    """Whether this process may change the database and make files beside it."""
    effective = os.access in os.supports_effective_ids
    return all(os.access(each, os.W_OK, effective_ids=effective) for each in (path, path.parent))


def create_database(path: Path, key: bytes) -> None:
    """A new, empty database, durable on return. Raises StoreFull; StoreCorrupt if only a log is left of an old one."""
    if log_path(path).exists():
        raise StoreCorrupt(f"make the database {path}", "its log is here, but the file itself is gone", _BACKUP)
    draft = path.with_name(path.name + ".new")
    try:
        for leftover in (draft, log_path(draft)):  # of an attempt that a crash ended
            leftover.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite's files take after this one
        Database(draft, key).close()
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreFull(
            f"make the database {path}", error.strerror or type(error).__name__, "check the folder and the disk"
        ) from error


def require_whole(path: Path) -> None:
    """Raises StoreCorrupt if this is no file, or shorter than a database can be."""
    if not path.is_file():
        raise StoreCorrupt(f"open the database {path}", "it is not a file", "choose another path")
    size = path.stat().st_size
    if size < PAGE_BYTES:
        raise StoreCorrupt(f"open the database {path}", f"it has been cut to {size} bytes", _BACKUP)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
