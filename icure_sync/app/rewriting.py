"""Rewriting the locked files of a home as one change: after a crash at any moment all of them are old, or all are new.

Owns the drafts beside them and the mark that says whether drafts count. Knows nothing of what the files hold.

The drafts are written first, and are on the disk; then the mark is made, which decides; then each draft takes the place
of its file, and the mark goes. Who opens the home next finishes what was decided, and clears away what was not. Work on
drafts is done by one process at a time: it has the folder locked (`flock`), for as long as a few renames take.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from icure_sync.errors import StoreFull

IDENTITY = "identity.key"
DATABASE_KEY = "replica.db.key"
LOCKED_FILES = (IDENTITY, DATABASE_KEY)  # the files of a home that may be rewritten
DECIDED = "rewriting.decided"  # the mark: an empty file
_DRAFT = ".next"


def rewrite(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Give some of LOCKED_FILES these contents, durably: all of them or none.

    Raises StoreFull. If that comes after the decision, opening the home finishes the work: nothing is lost.
    """
    with _alone(folder):
        _settle(folder)
        try:
            for name, content in contents.items():
                _write(_draft(folder, name), content)
            _sync(folder)
        except BaseException:
            _settle(folder)
            raise
        _write(folder / DECIDED, b"")
        _sync(folder)
        _settle(folder)


def settle(folder: Path) -> None:
    """Finish, or clear away, what a process left that is gone. Raises StoreFull if the folder cannot be written."""
    if any(path.exists() for path in (folder / DECIDED, *(_draft(folder, name) for name in LOCKED_FILES))):
        with _alone(folder):
            _settle(folder)


def _settle(folder: Path) -> None:
    decided = folder / DECIDED
    drafts = [(name, draft) for name in LOCKED_FILES if (draft := _draft(folder, name)).exists()]
    if not decided.exists():
        for _, draft in drafts:
            draft.unlink()
        return
    for name, draft in drafts:
        draft.replace(folder / name)
    _sync(folder)
    decided.unlink()
    _sync(folder)


def _draft(folder: Path, name: str) -> Path:
    return folder / (name + _DRAFT)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Inside, no other process works on drafts here. The kernel ends the lock with the process."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreFull(
            f"rewrite the locked files of {folder}",
            str(error.strerror),
            "make room there and the folder writable, then repeat any command: what was decided is finished then",
        ) from error
