"""The key file: locked by a passphrase, replaced whole, and never silently lost."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from icure_sync.errors import StoreCorrupt, StoreFull, WrongPassphrase
from icure_sync.store import Store
from icure_sync.store.keyfile import change_passphrase, create_key, key_path, unlock_key
from tests.store.revisions import revision, without_privileges


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A key, and its file locked by "correct horse"."""
    path = tmp_path_factory.mktemp("key") / "replica.db"
    return create_key(path, "correct horse"), key_path(path).read_bytes()


@pytest.fixture
def locked(path: Path, made: tuple[bytes, bytes]) -> Path:
    key_path(path).write_bytes(made[1])
    return path


def test_the_passphrase_gives_the_key_back_and_the_key_opens_the_store(locked: Path, made: tuple[bytes, bytes]):
    key = unlock_key(locked, "correct horse")
    assert key == made[0]
    store = Store.open(locked, key)
    store.documents.apply([revision("john", "1a")])
    store.close()


def test_the_key_file_is_private_and_does_not_hold_the_key(path: Path):
    key = create_key(path, "pass")
    file = key_path(path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in file.read_bytes()
    assert key.hex() not in file.read_text()
    assert [each.name for each in path.parent.iterdir()] == [file.name]


def test_a_wrong_passphrase_is_told_apart_from_damage(locked: Path):
    with pytest.raises(WrongPassphrase):
        unlock_key(locked, "wrong horse")


def test_every_damaged_byte_is_noticed(locked: Path, made: tuple[bytes, bytes]):
    content = made[1]
    for position in range(len(content) - 1):  # the last one is the line's end
        damaged = bytearray(content)
        damaged[position] ^= 0x01
        key_path(locked).write_bytes(damaged)
        with pytest.raises(StoreCorrupt):
            unlock_key(locked, "correct horse")


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"\xff\xfe", b'{"label":', b"x" * 100_000])
def test_a_file_of_another_kind_is_told(locked: Path, content: bytes):
    key_path(locked).write_bytes(content)
    with pytest.raises(StoreCorrupt):
        unlock_key(locked, "correct horse")


def test_a_missing_key_file_is_told(path: Path):
    with pytest.raises(StoreCorrupt, match="No such file"):
        unlock_key(path, "correct horse")


def test_a_key_file_is_never_overwritten_by_a_new_key(locked: Path, made: tuple[bytes, bytes]):
    with pytest.raises(StoreFull):
        create_key(locked, "correct horse")
    assert key_path(locked).read_bytes() == made[1]


def test_another_passphrase_locks_the_same_key(locked: Path, made: tuple[bytes, bytes]):
    change_passphrase(locked, "correct horse", "battery staple")
    assert unlock_key(locked, "battery staple") == made[0]
    with pytest.raises(WrongPassphrase):
        change_passphrase(locked, "correct horse", "x")
    assert unlock_key(locked, "battery staple") == made[0]


def test_a_change_that_cannot_be_written_leaves_the_old_passphrase(open_folder: Path, made: tuple[bytes, bytes]):
    path = open_folder / "replica.db"
    key_path(path).write_bytes(made[1])
    key_path(path).chmod(0o644)
    open_folder.chmod(0o555)
    with without_privileges(), pytest.raises(StoreFull):
        change_passphrase(path, "correct horse", "battery staple")
    assert key_path(path).read_bytes() == made[1]


def test_a_crash_while_writing_leaves_the_old_file(
    locked: Path, made: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
):
    def crash(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(StoreFull, match="Input/output error"):
        change_passphrase(locked, "correct horse", "battery staple")
    assert key_path(locked).read_bytes() == made[1]
