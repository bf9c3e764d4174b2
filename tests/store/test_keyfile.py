"""The key file: locked by a passphrase, made once and whole, and never silently lost."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

from icure_sync.crypto.primitives import lock_secret, system_entropy
from icure_sync.errors import InvalidEntity, StoreCorrupt, StoreFull, StoreLocked, WeakKey, WrongPassphrase
from icure_sync.store import Store
from icure_sync.store.files import lock_path
from icure_sync.store.keyfile import change_passphrase, create_key, drop_draft, key_path, unlock_key
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


def test_another_passphrase_opens_the_same_key_and_the_old_one_no_more(locked: Path, made: tuple[bytes, bytes]):
    change_passphrase(locked, "correct horse", "battery staple")
    assert unlock_key(locked, "battery staple") == made[0]
    with pytest.raises(WrongPassphrase):
        unlock_key(locked, "correct horse")
    assert stat.S_IMODE(key_path(locked).stat().st_mode) == 0o600
    assert {each.name for each in locked.parent.iterdir()} == {key_path(locked).name, lock_path(locked).name}


@pytest.mark.parametrize(
    ("old", "new", "kind"), [("wrong horse", "battery staple", WrongPassphrase), ("correct horse", "", InvalidEntity)]
)
def test_a_passphrase_that_cannot_be_changed_stays(
    locked: Path, made: tuple[bytes, bytes], old: str, new: str, kind: type[Exception]
):
    with pytest.raises(kind):
        change_passphrase(locked, old, new)
    assert key_path(locked).read_bytes() == made[1]


def test_the_passphrase_of_a_store_in_use_stays(locked: Path, made: tuple[bytes, bytes]):
    store = Store.open(locked, made[0])
    with pytest.raises(StoreLocked):
        change_passphrase(locked, "correct horse", "battery staple")
    store.close()
    assert key_path(locked).read_bytes() == made[1]


def test_a_change_that_fails_leaves_the_old_file_and_no_draft(
    locked: Path, made: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
):
    def crash(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(StoreFull, match="No space left"):
        change_passphrase(locked, "correct horse", "battery staple")
    assert key_path(locked).read_bytes() == made[1]
    assert not list(locked.parent.glob("*.new"))


def test_a_draft_that_somebody_left_is_removed(locked: Path):
    draft = locked.with_name(locked.name + ".key.new")
    draft.write_bytes(b"cut off")
    drop_draft(locked)
    assert not draft.exists()
    drop_draft(locked)


def test_a_key_file_that_protects_its_passphrase_by_less_work_is_refused(locked: Path):
    weak = lock_of_little_work(unlock_key(locked, "correct horse"))
    key_path(locked).write_bytes(weak)
    with pytest.raises(WeakKey):
        unlock_key(locked, "correct horse")
    with pytest.raises(WeakKey):
        change_passphrase(locked, "correct horse", "battery staple")


def lock_of_little_work(key: bytes) -> bytes:
    """As somebody with an interest would make it: whole in every other way."""
    with mock.patch("icure_sync.crypto.primitives.SCRYPT_N", 2**10):
        return lock_secret(key, "correct horse", "replica", system_entropy)
