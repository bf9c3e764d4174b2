"""`hub.key`: the one key from which the keys of all databases of a hub come, and the folder that it stands in.

Plain, readable by its owner only, so that a hub starts unattended; or locked by a passphrase, in the format of a
replica's key file. Knows no databases.
"""

from __future__ import annotations

import os
from pathlib import Path

from icure_sync.errors import StoreCorrupt, StoreError, StoreFull, WrongPassphrase
from icure_sync.store.keyfile import KEY_BYTES, create_key, key_path, unlock_key

_GIVE = "give the passphrase (--passphrase-file or ICURE_SYNC_PASSPHRASE on the command line)"
_LEAVE = "start it without one (without --passphrase-file and ICURE_SYNC_PASSPHRASE on the command line)"
_PLAIN = "icure_sync hub key 1: "  # and the key in hex: tells a plain file from a locked one


def open_key(folder: Path, passphrase: str | None) -> bytes:
    """The key of the hub in `folder`; both are made on first use, folder mode 0700, file mode 0600.

    Raises StoreFull (cannot be written), StoreCorrupt (a damaged file), WrongPassphrase, StoreError (a passphrase for a
    key that has none).
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    stem = folder / "hub"
    path = key_path(stem)
    if not path.exists():
        return create_key(stem, passphrase) if passphrase is not None else _create_plain(path)
    plain = _read_plain(path)
    if plain is None and passphrase is None:
        raise WrongPassphrase(f"open the hub in {folder}", "its key is locked by a passphrase", _GIVE)
    if plain is not None and passphrase is not None:
        raise StoreError(f"open the hub in {folder}", "its key has no passphrase", _LEAVE)
    return unlock_key(stem, passphrase) if passphrase is not None else plain or b""


def _create_plain(path: Path) -> bytes:
    key = os.urandom(KEY_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123  (a descriptor, not a path)
            file.write(_PLAIN.encode() + key.hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(path, error) from error
    return key


def _read_plain(path: Path) -> bytes | None:
    """None if it is not a plain key file."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise StoreCorrupt(f"read {path}", error.strerror or type(error).__name__, "check the file") from error
    if not text.startswith(_PLAIN.encode()):
        return None
    try:
        key = bytes.fromhex(text.removeprefix(_PLAIN.encode()).strip().decode())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise StoreCorrupt(f"read {path}", "it is damaged", "put its copy back: the databases open with it alone")
    return key


def _unwritable(path: Path, error: OSError) -> StoreFull:
    return StoreFull(f"write {path}", error.strerror or type(error).__name__, "check the folder and the disk")
