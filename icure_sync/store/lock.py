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
from pathlib import Path

from icure_sync.errors import StoreFull, StoreLocked


class OwnerLock:
    """Held from construction to `release`. Raises StoreLocked, naming the holder; StoreFull if there can be no lock."""

    def __init__(self, path: Path) -> None:
        attempted = f"open the store beside {path}"
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            wrong = f"the lock file cannot be made ({error.strerror})"
            raise StoreFull(attempted, wrong, "check that its folder exists, is yours and has room") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._file, 1_000, 0).decode(errors="replace").strip() or "another process"
            os.close(self._file)
            raise StoreLocked(attempted, f"it is in use by {holder}", "end that process or wait for it") from error
        with contextlib.suppress(OSError):  # the disk is full: the lock holds without its text
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, _holder().encode(), 0)

    def release(self) -> None:
        """Let another process in. The file stays: removing it would race with the next owner."""
        os.close(self._file)


def _holder() -> str:
    return f"process {os.getpid()} on {socket.gethostname()} ({Path(sys.argv[0]).name or 'python'})\n"
