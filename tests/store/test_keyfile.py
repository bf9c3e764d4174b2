"""The key file: locked by a passphrase, made once and whole, and never silently lost."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from icure_sync.errors import StoreCorrupt, StoreFull, StoreLocked, WrongPassphrase
from icure_sync.store import Store
from icure_sync.store.files import lock_path
from icure_sync.store.keyfile import create_key, key_path, unlock_key
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
    assert {each.name for each in path.parent.iterdir()} == {file.name, lock_path(path).name}


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
    assert create_key(locked, "correct horse") == made[0]
    with pytest.raises(WrongPassphrase):
        create_key(locked, "battery staple")
    assert key_path(locked).read_bytes() == made[1]


def test_two_that_begin_at_once_have_the_same_key(path: Path):
    with ThreadPoolExecutor() as both:
        keys = [both.submit(create_key, path, "correct horse") for _ in range(2)]
    assert {key.result() for key in keys if not isinstance(key.exception(), StoreLocked)} == {
        unlock_key(path, "correct horse")
    }


def test_no_key_is_made_beside_a_store_that_is_in_use_or_has_lost_its_own(path: Path):
    store = Store.open(path, bytes(32))
    with pytest.raises(StoreLocked):
        create_key(path, "correct horse")
    store.close()
    with pytest.raises(StoreCorrupt):
        create_key(path, "correct horse")
    assert not key_path(path).exists()


def test_a_key_that_cannot_be_written_is_told_and_leaves_no_file(path: Path, monkeypatch: pytest.MonkeyPatch):
    def crash(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(StoreFull, match="Input/output error"):
        create_key(path, "correct horse")
    assert not key_path(path).exists()


def test_a_folder_that_cannot_be_written_is_told(open_folder: Path):
    open_folder.chmod(0o555)
    with without_privileges(), pytest.raises(StoreFull):
        create_key(open_folder / "replica.db", "correct horse")
