"""Identities: their file, their signatures, what they show."""

from __future__ import annotations

import json

import pytest

from icure_sync import strict_json
from icure_sync.crypto.envelope import kid, to_text
from icure_sync.crypto.identity import (
    COMPROMISED,
    ENDINGS,
    LABEL,
    PLANNED,
    Identity,
    Previous,
    fingerprint,
    lost_through,
    signed_by,
    signed_bytes,
)
from icure_sync.crypto.primitives import RSA_BITS, RsaPrivateKey, lock_secret, unlock_secret
from icure_sync.errors import InvalidEntity, StoreCorrupt, Tampered, WeakKey, WrongPassphrase
from tests.keys import PARTY_KEYS, A, B, identity, seeded, successor

PASSPHRASE = "a long passphrase"


@pytest.fixture(scope="module")
def locked() -> bytes:
    return identity(A).lock(PASSPHRASE, entropy=seeded("lock"))


@pytest.fixture(scope="module")
def secret(locked: bytes) -> dict[str, object]:
    value: dict[str, object] = strict_json.loads(unlock_secret(locked, PASSPHRASE, LABEL))
    return value


def test_an_identity_comes_back_whole_from_its_file(locked: bytes):
    again, born = Identity.unlock(locked, PASSPHRASE), identity(A)
    assert (again.hcp_id, again.name, again.self_key, again.birth, again.epoch) == (
        (born.hcp_id, born.name, born.self_key, born.birth, born.epoch)
    )
    assert again.party_key.pkcs8() == born.party_key.pkcs8()
    assert again.sign("test", 1) == born.sign("test", 1)
    assert again.party_key.decrypt(again.birth.wrapped) == again.self_key


def test_the_file_shows_no_secret(locked: bytes, secret: dict[str, object]):
    assert set(json.loads(locked)) == {"label", "kdf", "n", "r", "p", "salt", "locked", "checksum"}
    for member in ("name", "partyKey", "signingKey", "selfKey"):
        assert str(secret[member]).encode() not in locked


def test_a_wrong_passphrase_is_told_as_such(locked: bytes):
    with pytest.raises(WrongPassphrase):
        Identity.unlock(locked, "another")


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"birth": None}, StoreCorrupt),
        ({"selfKey": "%"}, StoreCorrupt),
        ({"partyKey": 1}, StoreCorrupt),
        ({"partyKey": ""}, WeakKey),
        ({"signingKey": ""}, WeakKey),
    ],
)
def test_a_file_with_a_part_missing_is_damaged(
    changed: dict[str, object], error: type[Exception], secret: dict[str, object], monkeypatch: pytest.MonkeyPatch
):
    content = strict_json.dumps({**secret, **changed})
    monkeypatch.setattr("icure_sync.crypto.identity.unlock_secret", lambda *_: content)  # no scrypt for each
    with pytest.raises(error):
        Identity.unlock(b"", PASSPHRASE)


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b"1"])
def test_a_file_of_something_else_is_damaged(content: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("icure_sync.crypto.identity.unlock_secret", lambda *_: content)
    with pytest.raises(StoreCorrupt):
        Identity.unlock(b"", PASSPHRASE)


def test_a_locked_secret_of_another_kind_is_no_identity():
    with pytest.raises(StoreCorrupt):
        Identity.unlock(lock_secret(b"", PASSPHRASE, "database", seeded("other")), PASSPHRASE)


def test_a_new_identity_has_keys_of_its_own(monkeypatch: pytest.MonkeyPatch):
    drawn = identity(B).party_key  # making 3072 bits takes seconds
    monkeypatch.setattr(RsaPrivateKey, "generate", lambda _: drawn)
    created = Identity.create("hcp-new", "Cafe\u0301")
    assert (created.hcp_id, created.name, created.epoch) == ("hcp-new", "Café", 1)
    assert created.party_key.decrypt(created.birth.wrapped) == created.self_key
    assert created.signing_key.public != identity(B).signing_key.public
    assert created.self_key != identity(B).self_key
    assert RSA_BITS == 3072


def test_a_party_of_other_software_comes_in_by_its_private_key():
    der = bytes.fromhex(PARTY_KEYS[B])
    taken = Identity.from_private_key("hcp-b", der, entropy=seeded("taken"))
    assert (taken.name, taken.party_key.pkcs8()) == ("hcp-b", der)
    assert taken.signing_key.public != identity(B).signing_key.public
    assert Identity.from_private_key("hcp-b", der, name="B", entropy=seeded("taken")).name == "B"


@pytest.mark.parametrize("hcp_id", ["", "_hcp", "a b", "a" * 65])
def test_an_hcp_id_that_cannot_be_a_key_of_a_map_is_refused(hcp_id: str):
    with pytest.raises(InvalidEntity):
        Identity.from_private_key(hcp_id, bytes.fromhex(PARTY_KEYS[B]))


def test_a_signature_says_what_it_is_for():
    signature = identity(A).sign("grant", "x", 1)
    public = identity(A).signing_key.public
    assert signed_by(public, signature, "grant", "x", 1)
    assert not signed_by(public, signature, "revocation", "x", 1)
    assert not signed_by(public, signature, "grant", "x", 2)
    assert not signed_by(public, signature, "grant", ["x", 1])
    assert not signed_by(identity(B).signing_key.public, signature, "grant", "x", 1)
    assert signed_bytes("grant", ["x"]) == b"\x92\xb2icure-sync/grant/1\xa1x"
    for malformed in ("%", None, 7):
        with pytest.raises(Tampered):
            signed_by(public, malformed, "grant", "x", 1)


def test_no_repr_shows_a_key():
    shown = f"{identity(A)!r} {identity(A).birth!r} {identity(A).signing_key!r} {identity(A).party_key!r}"
    assert repr(identity(A)) == "Identity(hcp_id='hcp-a', epoch=1)"
    for key in (identity(A).self_key, identity(A).signing_key.seed(), identity(A).birth.wrapped):
        assert key.hex() not in shown
        assert repr(key) not in shown


def test_a_fingerprint_names_a_public_key():
    assert identity(A).fingerprint == fingerprint(identity(A).party_key.public.spki)
    assert len(identity(A).fingerprint) == 32
    assert kid(identity(A).self_key) != kid(identity(B).self_key)


# Epochs


@pytest.mark.parametrize("ended", ENDINGS)
def test_an_identity_is_followed_by_one_with_new_keys(ended: str):
    before, after = identity(A), successor(ended)
    assert (after.hcp_id, after.name, after.epoch) == (A, before.name, 2)
    assert after.signing_key.public != before.signing_key.public
    assert after.self_key != before.self_key
    assert after.party_key.decrypt(after.birth.wrapped) == after.self_key
    assert after.birth.writer == before.birth.writer  # so the name is no second one
    assert after.previous == (Previous(before.signing_key.public, ended),)


def test_it_keeps_what_reads_what_came_before_and_nothing_that_signs_as_before():
    before, after = identity(A), successor(COMPROMISED)
    for one in (before, after):
        private = after.party_key_of(one.fingerprint)
        assert private is not None
        assert private.decrypt(one.birth.wrapped) == one.self_key
    assert after.party_key_of(identity(B).fingerprint) is None
    assert to_text(before.signing_key.seed()).encode() not in after.secret()


def test_only_a_planned_change_is_endorsed_by_the_key_before_it():
    assert successor(COMPROMISED).endorsement == ""
    planned = successor(PLANNED)
    assert signed_by(identity(A).signing_key.public, planned.endorsement, "endorsement", *planned.stated())


def test_an_identity_with_former_keys_comes_back_whole():
    for born in (identity(A), successor(PLANNED), successor(COMPROMISED)):
        again = Identity.of_secret(born.secret())
        assert again.secret() == born.secret()
        assert (again.epoch, again.previous, again.endorsement) == (born.epoch, born.previous, born.endorsement)


def test_a_file_from_before_there_were_epochs_is_an_identity_of_the_first(secret: dict[str, object]):
    assert not {"former", "endorsement"} & secret.keys()
    assert Identity.of_secret(strict_json.dumps(secret)).former == ()


def test_a_former_key_that_ended_in_no_way_is_damage():
    secret = strict_json.loads(successor(PLANNED).secret())
    secret["former"][0]["ended"] = "somehow"
    with pytest.raises(StoreCorrupt):
        Identity.of_secret(strict_json.dumps(secret))


def test_what_was_lost_takes_all_epochs_before_it_along():
    keys = [Previous(bytes([number]) * 32, ended) for number, ended in enumerate([PLANNED, COMPROMISED, PLANNED])]
    assert [lost_through(keys[:count]) for count in range(4)] == [0, 0, 2, 2]
