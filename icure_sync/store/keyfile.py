"""The key file of a replica, `<path>.key`: the random database key, locked by a passphrase.

Owns the file and how it is made; the locking itself is crypto's. Knows nothing of the database. The key file is on the
disk before the database exists. Only who holds the store's lock writes it; its draft is of no use once he is gone.
"""

from __future__ import annotations

import contextlib
import os
from io import FileIO
from pathlib import Path

from icure_sync.crypto.primitives import Entropy, lock_secret, system_entropy, unlock_secret
from icure_sync.crypto.relocking import REPLICA_LABEL, relock
from icure_sync.errors import StoreCorrupt, StoreFull
from icure_sync.store.files import lock_path, sync_folder
from icure_sync.store.lock import own

KEY_BYTES = 32
MAX_FILE = 10_000  # bytes; a key file has a few hundred


def key_path(path: Path) -> Path:
    """Where the key of the database at `path` is kept."""
    return path.with_name(path.name + ".key")


def create_key(path: Path, passphrase: str, *, entropy: Entropy = system_entropy) -> bytes:
    """Draw a key for the database at `path`, keep it locked, return it.

    A key file that is there, or that another made meanwhile, is unlocked instead: it may be all that opens a database.
    Raises StoreFull if the file cannot be written, StoreLocked, and as `unlock_key`.
    """
    key = entropy(KEY_BYTES)
    locked = lock_secret(key, passphrase, REPLICA_LABEL, entropy)  # takes its time: before the lock is taken
    held = own(lock_path(path))
    try:
        is_first = not (key_path(path).exists() or path.exists())
        if is_first:
            _write(path, locked)
    finally:
        held.release()
    return key if is_first else unlock_key(path, passphrase)


def unlock_key(path: Path, passphrase: str) -> bytes:
    """The key of the database at `path`.

    Raises WrongPassphrase; StoreCorrupt if the key file is missing or damaged; WeakKey if its passphrase is protected
    by less work than ours.
    """
    key = unlock_secret(_read(path), passphrase, REPLICA_LABEL)
    if len(key) != KEY_BYTES:
        wrong = f"it holds {len(key)} bytes, not {KEY_BYTES}"
        raise StoreCorrupt(f"read the key file {key_path(path)}", wrong, "put its copy back")
    return key


def change_passphrase(path: Path, old: str, new: str, *, entropy: Entropy = system_entropy) -> None:
    """Lock the key of the database at `path`, which nobody has open, by another passphrase: durably, all or nothing.

    The key stays as it is, and copies of the old file open by the old passphrase. Raises StoreLocked, StoreFull, and as
    `relock`.
    """
    held = own(lock_path(path))
    try:
        _write(path, relock(_read(path), old, new, entropy=entropy))
    finally:
        held.release()


def drop_draft(path: Path) -> None:
    """Remove what somebody left who was writing the key file. Only for who holds the store's lock."""
    with contextlib.suppress(OSError):  # read-only: it stays until somebody can write
        _draft(path).unlink()


def _read(path: Path) -> bytes:
    target = key_path(path)
    try:
        with target.open("rb") as file:
            return file.read(MAX_FILE)
    except OSError as error:
        wrong = error.strerror or type(error).__name__
        next_step = "put its copy back: the database opens with it alone"
        raise StoreCorrupt(f"read the key file {target}", wrong, next_step) from error


def _draft(path: Path) -> Path:
    return path.with_name(path.name + ".key.new")


def _write(path: Path, content: bytes) -> None:
    """All or nothing, and on the disk when this returns: the new file first, then its name, then the folder."""
    draft = _draft(path)
    try:
        with FileIO(draft, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(content)
            os.fsync(file)
        draft.replace(key_path(path))
        sync_folder(path.parent)
    except OSError as error:
        drop_draft(path)
        raise StoreFull(
            f"write the key file {key_path(path)}",
            error.strerror or type(error).__name__,
            "check the folder and the disk",
        ) from error
