"""The lock that makes one process the owner of a store. Knows the lock file beside the database, nothing of SQLite.

The lock is the kernel's (`flock`), so it ends with the process, however that ends. The file's text says who holds it,
for people.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
from io import FileIO
from pathlib import Path

from icure_sync.errors import StoreFull, StoreLocked


class StoreLock:
    """Held until `release`. Made by `own` or `share`."""

    def __init__(self, file: FileIO | None) -> None:
        self._file = file

    def release(self) -> None:
        """Let others in. The file stays: removing it would race with the next owner."""
        if self._file is not None:
            self._file.close()


def own(path: Path) -> StoreLock:
    """Be the only process here. Raises StoreLocked, naming the holder; StoreFull if there can be no lock file."""
    file = _open(path, "r+b", os.O_CREAT)
    _lock(file, path, fcntl.LOCK_EX)
    with contextlib.suppress(OSError):  # the disk is full: the lock holds without its text
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} ({Path(sys.argv[0]).name or 'python'})\n".encode())
    return StoreLock(file)


def share(path: Path) -> StoreLock:
    """Be one of those that only read. Raises StoreLocked, naming the owner, if there is one."""
    if not path.exists():  # never written here: a read-only copy, say
        return StoreLock(None)
    file = _open(path, "rb", 0)
    _lock(file, path, fcntl.LOCK_SH)
    return StoreLock(file)


def _open(path: Path, mode: str, flags: int) -> FileIO:
    try:
        return FileIO(path, mode, opener=lambda name, usual: os.open(name, usual | flags, 0o600))
    except OSError as error:
        wrong = f"the lock file {path} cannot be opened ({error.strerror})"
        raise StoreFull("open the store", wrong, "check that its folder exists, is yours and has room") from error


def _lock(file: FileIO, path: Path, kind: int) -> None:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = file.read(1_000).decode(errors="replace").strip() or "another process"
        file.close()
        raise StoreLocked(
            "open the store", f"by its lock file {path} it is in use by {holder}", "end that process or wait for it"
        ) from error
    except OSError as error:
        file.close()
        raise StoreFull(
            "open the store", f"{path} cannot be locked ({error.strerror})", "keep it on a disk of this machine"
        ) from error
