"""The key file of a replica, `<path>.key`: the random database key, locked by a passphrase.

Owns the file and how it is replaced; the locking itself is crypto's. Knows nothing of the database. The key file is
on the disk before the database exists, and changing the passphrase rewrites it alone: the database key stays.
"""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path

from icure_sync.crypto.primitives import Entropy, lock_secret, system_entropy, unlock_secret
from icure_sync.errors import StoreCorrupt, StoreFull
from icure_sync.store.files import sync_folder

KEY_BYTES = 32
MAX_FILE = 10_000  # bytes; a key file has a few hundred
_LABEL = "replica"


def key_path(path: Path) -> Path:
    """Where the key of the database at `path` is kept."""
    return path.with_name(path.name + ".key")


def create_key(path: Path, passphrase: str, *, entropy: Entropy = system_entropy) -> bytes:
    """Draw a key for the database at `path`, keep it locked, return it.

    Raises StoreFull if the file cannot be written, or is there already: it may be all that opens a database.
    """
    target = key_path(path)
    if target.exists():
        raise StoreFull(f"make the key file {target}", "it is there already", "unlock it, or use another path")
    key = entropy(KEY_BYTES)
    _replace(target, lock_secret(key, passphrase, _LABEL, entropy))
    return key


def unlock_key(path: Path, passphrase: str) -> bytes:
    """The key of the database at `path`.

    Raises WrongPassphrase; StoreCorrupt if the key file is missing or damaged; WeakKey if its passphrase is protected
    by less work than ours.
    """
    target = key_path(path)
    attempted = f"read the key file {target}"
    try:
        with target.open("rb") as file:
            locked = file.read(MAX_FILE)
    except OSError as error:
        wrong = error.strerror or type(error).__name__
        raise StoreCorrupt(attempted, wrong, "put its copy back: the database opens with it alone") from error
    key = unlock_secret(locked, passphrase, _LABEL)
    if len(key) != KEY_BYTES:
        raise StoreCorrupt(attempted, f"it holds {len(key)} bytes, not {KEY_BYTES}", "put its copy back")
    return key


def change_passphrase(path: Path, old: str, new: str, *, entropy: Entropy = system_entropy) -> None:
    """Lock the key by another passphrase. Raises as `unlock_key`, and StoreFull; either way one of the two fits."""
    key = unlock_key(path, old)
    _replace(key_path(path), lock_secret(key, new, _LABEL, entropy))


def _replace(path: Path, content: bytes) -> None:
    """All or nothing, and on the disk when this returns: the new file first, then its name, then the folder."""
    draft = path.with_name(path.name + ".new")
    try:
        with FileIO(draft, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(content)
            os.fsync(file)
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreFull(
            f"write the key file {path}", error.strerror or type(error).__name__, "check the folder and the disk"
        ) from error
