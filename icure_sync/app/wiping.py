"""Removing what a revoked device has: the files of its home, all but the mark that says what happened.

Owns the mark and the order. Knows nothing of what the files hold, nor who may decide this. The mark is made first, and
decides: whoever uses the folder next finishes what was begun. The two keys are overwritten before they are removed, for
what that is worth: disks and file systems keep copies that nobody can reach from here. Without them the replica is
noise. Copies that were made elsewhere, backups and exported identities, stay as they are.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from icure_sync import strict_json
from icure_sync.app.rewriting import DATABASE_KEY, DECIDED, IDENTITY
from icure_sync.errors import InvalidEntity, NoAccess, StoreFull

MARK = "revoked.json"
_KEYS = (IDENTITY, DATABASE_KEY)  # with their drafts; they go first
_REST = ("replica.db*", DECIDED, "config.json")
_SIZE_MOST = 1 << 20  # bytes of a mark that is read


def decide(folder: Path, facts: dict[str, Any]) -> None:
    """From now on nothing here is kept. `facts`: what to tell whoever asks. Raises StoreFull."""
    with _writing(folder), contextlib.suppress(FileExistsError):
        descriptor = os.open(folder / MARK, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(strict_json.dumps(facts) + b"\n")
            file.flush()
            os.fsync(descriptor)
        _sync(folder)


def finish(folder: Path) -> None:
    """Remove what a decision, if there is one, has left here. Raises StoreFull."""
    if not (folder / MARK).exists():
        return
    with _writing(folder):
        for name in _KEYS:
            for path in folder.glob(name + "*"):
                _overwrite(path)
                path.unlink(missing_ok=True)
        _sync(folder)
        for name in _REST:
            for path in folder.glob(name):
                path.unlink(missing_ok=True)
        _sync(folder)


def refuse_revoked(folder: Path) -> None:
    """Raises NoAccess if this was the home of a device that was revoked, once nothing is left of it."""
    if (folder / MARK).exists():
        finish(folder)
        raise revoked(folder)


def revoked(folder: Path) -> NoAccess:
    """What happened."""
    facts: Any = {}
    with contextlib.suppress(OSError, InvalidEntity), (folder / MARK).open("rb") as file:
        facts = strict_json.loads(file.read(_SIZE_MOST), MARK)
    told = facts if isinstance(facts, dict) else {}
    return NoAccess(
        f"use the home folder {folder}",
        f"its device ({told.get('device', 'unknown')}) was revoked by another device ({told.get('by', 'unknown')}) "
        f"of {told.get('hcpId', 'its Hcp')}, so its keys and records were removed from here",
        "remove the folder; if that was a mistake, make this a device again: icure-sync device pair",
    )


def _overwrite(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        file.write(os.urandom(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _writing(folder: Path) -> Any:
    try:
        yield
    except OSError as error:
        wrong = f"this device was revoked, and its files cannot be removed: {error.strerror}"
        raise StoreFull(
            f"remove what is in {folder}", wrong, "make the folder writable; or remove it yourself"
        ) from error
