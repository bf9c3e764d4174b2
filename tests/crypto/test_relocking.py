"""Another passphrase for what a passphrase locks: the secret stays, the old passphrase opens the new bytes no more."""

from __future__ import annotations

import functools
import hashlib
from unittest import mock

import pytest

from icure_sync.crypto.identity import Identity
from icure_sync.crypto.primitives import lock_secret, system_entropy, unlock_secret
from icure_sync.crypto.relocking import relock
from icure_sync.errors import InvalidEntity, StoreCorrupt, WeakKey, WrongPassphrase
from tests.keys import PARTY_KEYS

OLD, NEW = "mellow fruitfulness", "season of mists"


@pytest.fixture(autouse=True)
def _remembered_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashlib.scrypt", functools.cache(hashlib.scrypt))


@pytest.fixture(scope="module")
def identity() -> Identity:
    return Identity.from_private_key("hcp-a", bytes.fromhex(PARTY_KEYS["hcp-a"]))


def test_an_identity_is_the_same_under_its_new_passphrase(identity: Identity):
    locked = relock(identity.lock(OLD), OLD, NEW)
    again = Identity.unlock(locked, NEW)
    assert (again.hcp_id, again.self_key, again.signing_key.seed()) == (
        identity.hcp_id,
        identity.self_key,
        identity.signing_key.seed(),
    )
    with pytest.raises(WrongPassphrase):
        Identity.unlock(locked, OLD)


def test_a_replica_key_stays_one():
    locked = relock(lock_secret(b"k" * 32, OLD, "replica", system_entropy), OLD, NEW)
    assert unlock_secret(locked, NEW, "replica") == b"k" * 32
    with pytest.raises(StoreCorrupt):
        unlock_secret(locked, NEW, "identity")


def test_salt_and_ciphertext_are_new_even_for_the_same_passphrase(identity: Identity):
    locked = identity.lock(OLD)
    assert relock(locked, OLD, OLD) != locked


@pytest.mark.parametrize(
    ("old", "new", "kind"), [("guess", NEW, WrongPassphrase), (OLD, "", InvalidEntity), (OLD, "\ud800", InvalidEntity)]
)
def test_what_cannot_be_is_told(identity: Identity, old: str, new: str, kind: type[Exception]):
    with pytest.raises(kind):
        relock(identity.lock(OLD), old, new)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"label":"replica"}', b'{"label":7}'])
def test_what_is_no_locked_file_is_told(content: bytes):
    with pytest.raises(StoreCorrupt):
        relock(content, OLD, NEW)


def test_an_identity_whose_passphrase_is_protected_by_less_work_is_refused(identity: Identity):
    with mock.patch("icure_sync.crypto.primitives.SCRYPT_N", 2**10):
        weak = identity.lock(OLD)
    with pytest.raises(WeakKey):
        Identity.unlock(weak, OLD)
    with pytest.raises(WeakKey):
        relock(weak, OLD, NEW)
