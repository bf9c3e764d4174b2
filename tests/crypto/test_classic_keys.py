"""Exchange keys in Hcp documents of `icure-classic`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from icure_sync.crypto.classic_keys import (
    EXCHANGE_KEY_BYTES,
    ClassicParty,
    unwrap_exchange_key,
    with_exchange_key,
    wrapped_keys,
)
from icure_sync.crypto.primitives import RsaPublicKey, system_entropy
from icure_sync.errors import InvalidEntity, Tampered, WeakKey
from tests.crypto.classic_clinic import A, B, C, Clinic, private_key, vectors
from tests.strategies import json_values


def test_the_fingerprint_is_the_end_of_the_public_key():
    for party, keys in vectors()["keys"].items():
        assert Clinic().party(party).fingerprint == keys["fingerprint"]
        assert private_key(party).public.spki.hex() == keys["spkiHex"]


def test_a_new_pair_stands_in_both_maps_as_the_sdk_writes_it():
    clinic = Clinic()
    key = system_entropy(EXCHANGE_KEY_BYTES)
    clinic.mint(B, C, key)
    owner, delegate = clinic.party(B), clinic.party(C)
    [for_owner, for_delegate] = clinic.docs[B]["hcPartyKeys"][C]
    assert clinic.docs[B]["aesExchangeKeys"] == {
        owner.spki.hex(): {C: {owner.fingerprint: for_owner, delegate.fingerprint: for_delegate}}
    }
    assert for_owner != for_delegate
    for text, reader in ((for_owner, B), (for_delegate, C)):
        assert len(text) == 512
        assert text == text.lower()
        assert private_key(reader).decrypt_sha1(bytes.fromhex(text)) == key
        assert list(clinic.exchange_keys(B, C, reader)) == [key]


def test_the_key_of_a_party_with_itself_is_wrapped_once():
    clinic = Clinic()
    clinic.mint(B, B, system_entropy(EXCHANGE_KEY_BYTES))
    [for_owner, for_delegate] = clinic.docs[B]["hcPartyKeys"][B]
    assert for_owner == for_delegate
    assert len(wrapped_keys(B, clinic.docs[B], B, clinic.party(B))) == 1


def test_a_second_key_of_a_pair_goes_under_a_fake_owner_and_both_are_read():
    clinic = Clinic()
    [first] = set(clinic.exchange_keys(A, B, B))
    before = json.loads(json.dumps(clinic.docs[A]["hcPartyKeys"]))
    second = system_entropy(EXCHANGE_KEY_BYTES)
    clinic.mint(A, B, second)
    assert clinic.docs[A]["hcPartyKeys"] == before
    [fake] = clinic.docs[A]["aesExchangeKeys"]
    assert fake.startswith("x")
    for reader in (A, B):
        assert list(dict.fromkeys(clinic.exchange_keys(A, B, reader))) == [first, second]
    third = system_entropy(EXCHANGE_KEY_BYTES)
    clinic.mint(A, B, third)
    assert set(clinic.exchange_keys(A, B, B)) == {first, second, third}
    clinic.mint(A, B, third)
    assert len(clinic.docs[A]["aesExchangeKeys"]) == 2


def test_a_pair_that_only_newer_software_wrote_counts_as_one_that_has_a_key():
    clinic = Clinic()
    clinic.mint(B, C, system_entropy(EXCHANGE_KEY_BYTES))
    clinic.docs[B]["hcPartyKeys"] = {}
    clinic.mint(B, C, system_entropy(EXCHANGE_KEY_BYTES))
    assert clinic.docs[B]["hcPartyKeys"] == {}
    assert len(clinic.docs[B]["aesExchangeKeys"]) == 2


def test_a_key_named_by_a_whole_public_key_is_read():
    clinic = Clinic()
    document, reader = clinic.docs[A], clinic.party(B)
    [wrapped] = wrapped_keys(A, document, B, reader)
    document["aesExchangeKeys"] = {clinic.party(A).spki.hex(): {B: {reader.spki.hex(): wrapped.hex()}}}
    document["hcPartyKeys"] = {}
    assert wrapped_keys(A, document, B, reader) == (wrapped,)


def test_positions_beyond_the_second_and_other_readers_are_not_looked_at():
    clinic = Clinic()
    pair = clinic.docs[A]["hcPartyKeys"][B]
    clinic.docs[A]["hcPartyKeys"][B] = [*pair, "00", "11"]
    assert wrapped_keys(A, clinic.docs[A], B, clinic.party(A)) == (bytes.fromhex(pair[0]),)
    assert wrapped_keys(A, clinic.docs[A], B, clinic.party(B)) == (bytes.fromhex(pair[1]),)
    assert wrapped_keys(A, clinic.docs[A], B, clinic.party(C)) == ()


def test_sha_256_is_used_where_the_party_asks_for_it():
    clinic = Clinic()
    clinic.docs[C]["publicKeysForOaepWithSha256"] = [clinic.docs[C]["publicKey"]]
    key = system_entropy(EXCHANGE_KEY_BYTES)
    clinic.mint(A, C, key)
    clinic.mint(B, C, key)
    [for_owner, for_delegate] = (bytes.fromhex(text) for text in clinic.docs[B]["hcPartyKeys"][C])
    assert private_key(B).decrypt_sha1(for_owner) == key
    assert private_key(C).decrypt(for_delegate) == key
    assert unwrap_exchange_key(for_delegate, clinic.party(C), private_key(C)) == key
    assert unwrap_exchange_key(for_owner, clinic.party(B), private_key(B)) == key


def test_what_is_not_wrapped_for_the_reader_or_is_no_key_is_refused():
    clinic = Clinic()
    wrapped = bytes.fromhex(clinic.docs[A]["hcPartyKeys"][B][1])
    with pytest.raises(Tampered):
        unwrap_exchange_key(wrapped, clinic.party(C), private_key(C))
    short = RsaPublicKey(clinic.party(C).spki).encrypt_sha1(bytes(16), system_entropy)
    with pytest.raises(Tampered, match="no AES-256 key"):
        unwrap_exchange_key(short, clinic.party(C), private_key(C))


def test_a_party_without_a_usable_public_key_is_refused():
    clinic = Clinic()
    spki = clinic.docs[A]["publicKey"]
    assert ClassicParty.of("h", {"aesExchangeKeys": {"xfake": {}, spki: {}}}).spki.hex() == spki
    for document in ({}, {"publicKey": 5}, {"publicKey": ""}, {"aesExchangeKeys": {"xfake": {}}}):
        with pytest.raises(InvalidEntity, match="no public key"):
            ClassicParty.of("h", document)
    with pytest.raises(InvalidEntity, match="not hex"):
        ClassicParty.of("h", {"publicKey": "zz"})
    weak = ClassicParty("h", b"no key", oaep_sha256=False)
    with pytest.raises(WeakKey):
        with_exchange_key({}, weak, weak, bytes(32), system_entropy)


def test_a_malformed_map_is_never_written_over():
    clinic = Clinic()
    parties = clinic.party(A), clinic.party(B)
    for name in ("hcPartyKeys", "aesExchangeKeys"):
        with pytest.raises(InvalidEntity, match=name):
            with_exchange_key({**clinic.docs[A], name: ["x"]}, *parties, bytes(32), system_entropy)
    made = with_exchange_key({"aesExchangeKeys": None}, *parties, bytes(32), system_entropy)
    assert made["hcPartyKeys"].keys() == {B}


@given(json_values, json_values)
def test_whatever_stands_in_an_hcp_document_reading_keys_does_not_fail(pairs: Any, exchange: Any):
    reader = ClassicParty(B, bytes(32), oaep_sha256=False)
    for document in (
        {"hcPartyKeys": pairs, "aesExchangeKeys": exchange},
        {"hcPartyKeys": {B: pairs}, "aesExchangeKeys": {"x": exchange}},
        {"hcPartyKeys": {B: [pairs, exchange]}, "aesExchangeKeys": {"x": {B: {reader.fingerprint: exchange}}}},
    ):
        assert all(type(wrapped) is bytes for wrapped in wrapped_keys(A, document, B, reader))
