"""Primitives: each does what the other crypto library does, and takes nothing that is weak or malformed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from Crypto.Cipher import AES
from Crypto.Hash import SHA256, SHA512
from Crypto.Protocol.KDF import HKDF
from Crypto.PublicKey import ECC, RSA
from Crypto.Signature import eddsa
from Crypto.Util.Padding import pad, unpad
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from icure_sync.crypto import primitives
from icure_sync.crypto.primitives import (
    CODE_ELEMENT,
    RSA_BITS_MOST,
    RSA_DER_BYTES_MOST,
    SCRYPT_N,
    CodeExchange,
    RsaPrivateKey,
    RsaPublicKey,
    SigningKey,
    cbc_decrypt,
    cbc_encrypt,
    equal,
    gcm_decrypt,
    gcm_encrypt,
    hkdf_sha256,
    hkdf_sha512,
    hmac_sha256,
    lock_secret,
    sha256,
    signature_holds,
    system_entropy,
    unlock_secret,
)
from icure_sync.errors import InvalidEntity, StoreCorrupt, Tampered, WeakKey, WrongPassphrase
from tests.keys import PARTY_KEYS, A, B, identity, seeded

keys = st.binary(min_size=32, max_size=32)
blocks = st.binary(min_size=16, max_size=16)
nonces = st.binary(min_size=12, max_size=12)


@given(keys, st.binary())
def test_hashes_are_those_of_the_other_library(key: bytes, data: bytes):
    assert sha256(data) == SHA256.new(data).digest()
    assert hmac_sha256(key, data) == hmac.new(key, data, hashlib.sha256).digest()


@given(st.binary(min_size=1), st.text(st.characters(codec="ascii"), max_size=20), st.integers(1, 64))
def test_derived_keys_are_those_of_the_other_library(key: bytes, label: str, length: int):
    assert hkdf_sha256(key, label, length) == HKDF(key, length, b"", SHA256, context=label.encode())
    assert hkdf_sha512(key, b"salt", label.encode(), length) == HKDF(
        key, length, b"salt", SHA512, context=label.encode()
    )


def test_derived_keys_are_those_of_rfc_5869():
    okm = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert hkdf_sha256(bytes([0x0B]) * 22, "", 42).hex() == okm  # test case 3: no salt, no info


@given(keys, nonces, st.binary(), st.binary())
def test_gcm_is_that_of_the_other_library(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes):
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
    cipher.update(associated)
    ciphertext, tag = cipher.encrypt_and_digest(plaintext)
    assert gcm_encrypt(key, nonce, plaintext, associated) == ciphertext + tag
    assert gcm_decrypt(key, nonce, ciphertext + tag, associated) == plaintext


@given(keys, st.binary(), st.binary(), st.data())
def test_gcm_opens_nothing_that_was_changed(key: bytes, plaintext: bytes, associated: bytes, data: st.DataObject):
    sealed = bytearray(gcm_encrypt(key, bytes(12), plaintext, associated))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    for attempt in (
        lambda: gcm_decrypt(key, bytes(12), bytes(sealed), associated),
        lambda: gcm_decrypt(key, bytes(12), gcm_encrypt(key, bytes(12), plaintext, associated), associated + b"x"),
        lambda: gcm_decrypt(key, bytes(12), b"short", associated),
    ):
        with pytest.raises(Tampered):
            attempt()


@given(st.sampled_from([16, 32]), st.data(), blocks, st.binary())
def test_cbc_is_that_of_the_other_library(length: int, data: st.DataObject, iv: bytes, plaintext: bytes):
    key = data.draw(st.binary(min_size=length, max_size=length))
    ciphertext = AES.new(key, AES.MODE_CBC, iv=iv).encrypt(pad(plaintext, 16))
    assert cbc_encrypt(key, iv, plaintext) == ciphertext
    assert cbc_decrypt(key, iv, ciphertext) == plaintext


@given(keys, blocks, st.binary(max_size=64))
def test_cbc_notices_wrong_padding(key: bytes, iv: bytes, ciphertext: bytes):
    try:
        expected = unpad(AES.new(key, AES.MODE_CBC, iv=iv).decrypt(ciphertext), 16)
    except ValueError:
        with pytest.raises(Tampered):
            cbc_decrypt(key, iv, ciphertext)
    else:
        assert cbc_decrypt(key, iv, ciphertext) == expected


@given(keys, st.binary())
def test_signatures_are_those_of_the_other_library(seed: bytes, message: bytes):
    key = SigningKey(seed)
    other = eddsa.import_private_key(seed)
    signature = eddsa.new(other, "rfc8032").sign(message)
    assert key.sign(message) == signature
    assert key.public == other.public_key().export_key(format="raw")
    assert key.seed() == seed
    assert signature_holds(key.public, signature, message)
    assert not signature_holds(key.public, signature, message + b"x")
    assert not signature_holds(key.public, signature[:-1], message)
    assert not signature_holds(b"short", signature, message)
    eddsa.new(ECC.construct(curve="Ed25519", seed=seed).public_key(), "rfc8032").verify(message, key.sign(message))


def test_a_signature_is_that_of_rfc_8032():
    key = SigningKey(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
    assert key.public.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert key.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_a_signature_has_one_form():
    key = SigningKey(bytes(32))
    signature = key.sign(b"m")
    order = 2**252 + 27742317777372353535851937790883648493
    twin = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert not signature_holds(key.public, twin, b"m")


def test_a_signing_key_has_32_bytes():
    with pytest.raises(WeakKey):
        SigningKey(bytes(31))


def other_private() -> RSAPrivateKey:
    key = load_der_private_key(bytes.fromhex(PARTY_KEYS[A]), None)
    assert isinstance(key, RSAPrivateKey)
    return key


def other_public(spki: bytes) -> RSAPublicKey:
    key = load_der_public_key(spki)
    assert isinstance(key, RSAPublicKey)
    return key


def oaep(algorithm: Callable[[], hashes.HashAlgorithm]) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(algorithm()), algorithm(), None)


def test_oaep_is_that_of_the_other_library_in_both_directions():
    ours, theirs = identity(A).party_key, other_private()
    public = other_public(ours.public.spki)
    assert theirs.decrypt(ours.public.encrypt(b"key", system_entropy), oaep(hashes.SHA256)) == b"key"
    assert theirs.decrypt(ours.public.encrypt_sha1(b"key", system_entropy), oaep(hashes.SHA1)) == b"key"
    assert ours.decrypt(public.encrypt(b"key", oaep(hashes.SHA256))) == b"key"
    assert ours.decrypt_sha1(public.encrypt(b"key", oaep(hashes.SHA1))) == b"key"


def test_rsa_decryptions_are_counted_and_failures_are_tampering():
    key = RsaPrivateKey(bytes.fromhex(PARTY_KEYS[A]))
    wrapped = key.public.encrypt(b"key", seeded("oaep"))
    assert key.public.encrypt(b"key", seeded("oaep")) == wrapped  # a function of the entropy alone
    assert key.decrypt(wrapped) == b"key"
    for other in (identity(B).party_key.public.encrypt(b"key", system_entropy), b"short", bytes(384)):
        with pytest.raises(Tampered):
            key.decrypt(other)
    with pytest.raises(Tampered):
        key.decrypt_sha1(wrapped)
    assert key.decryptions == 5


def test_a_new_key_pair_is_kept_as_pkcs8_and_spki():
    key = RsaPrivateKey.generate(system_entropy, 2048)
    kept = load_der_private_key(key.pkcs8(), None)
    assert isinstance(kept, RSAPrivateKey)
    assert (kept.key_size, kept.public_key().public_numbers().e) == (2048, 65537)
    assert other_public(key.public.spki).public_numbers() == kept.public_key().public_numbers()


def public_der(modulus: int, exponent: int = 65537) -> bytes:
    return RSA.construct((modulus, exponent), consistency_check=False).export_key("DER")


PRIVATE = bytes.fromhex(PARTY_KEYS[A])
MODULUS = RSA.import_key(PRIVATE).n


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"no key",
        PRIVATE,
        RSA.import_key(PRIVATE).public_key().export_key("PEM"),
        public_der(MODULUS) + b"\x00",
        public_der(2**1024 - 105),
        public_der(2**2047 - 19),
        public_der(2**RSA_BITS_MOST + 1),
        public_der(MODULUS, 3),
        public_der(MODULUS, 2**16000 + 1),  # Python refuses to print so large a number
        b"\x30" * (RSA_DER_BYTES_MOST * 100),
    ],
)
def test_weak_and_unusual_public_keys_are_refused(der: bytes):
    with pytest.raises(WeakKey):
        RsaPublicKey(der)


@pytest.mark.parametrize("der", [b"", public_der(MODULUS), RSA.generate(1024).export_key("DER", pkcs=8)])
def test_weak_and_unusual_private_keys_are_refused(der: bytes):
    with pytest.raises(WeakKey):
        RsaPrivateKey(der)


@settings(max_examples=300)
@given(st.sampled_from([PRIVATE, public_der(MODULUS)]), st.data())
def test_damaged_keys_are_refused_or_are_other_keys(der: bytes, data: st.DataObject):
    damaged = bytearray(der[: data.draw(st.integers(1, len(der)))])
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, min(len(damaged), 60) - 1))] = data.draw(st.integers(0, 255))
    for kind in (RsaPublicKey, RsaPrivateKey):
        try:
            kind(bytes(damaged))
        except WeakKey:
            continue


def test_comparison_and_entropy_are_the_library_s():
    assert equal(b"ab", b"ab")
    assert not equal(b"ab", b"ac")
    assert len(system_entropy(24)) == 24
    assert primitives.equal.__module__ == "icure_sync.crypto.primitives"


PASSPHRASE = "a long pässphrase"


@pytest.fixture(scope="module")
def locked() -> bytes:
    return lock_secret(b"the secret", PASSPHRASE, "identity", seeded("lock"))


def open_by_hand(file: bytes, passphrase: str) -> bytes:
    """As FORMAT.md says it, with the other library each time."""
    head = json.loads(file)
    salt = bytes.fromhex(head["salt"])
    key = Scrypt(salt, 32, head["n"], head["r"], head["p"]).derive(passphrase.encode())
    fields = [head[name] for name in ("label", "kdf", "n", "r", "p", "salt")]
    associated = msgpack.packb(["icure-sync/lock/1", *fields])
    assert head["checksum"] == SHA256.new(associated + head["locked"].encode()).hexdigest()
    sealed = base64.b64decode(head["locked"])
    cipher = AES.new(key, AES.MODE_GCM, nonce=bytes(12))
    cipher.update(associated)
    return cipher.decrypt_and_verify(sealed[:-16], sealed[-16:])


def test_a_locked_secret_opens_with_its_passphrase_however_it_is_composed(locked: bytes):
    assert unlock_secret(locked, "a long pa\u0308ssphrase", "identity") == b"the secret"
    assert open_by_hand(locked, PASSPHRASE) == b"the secret"
    assert locked.count(b"\n") == 1
    assert b"secret" not in locked


def test_a_wrong_passphrase_is_told_from_damage(locked: bytes):
    with pytest.raises(WrongPassphrase):
        unlock_secret(locked, "another", "identity")
    with pytest.raises(StoreCorrupt):
        unlock_secret(locked, PASSPHRASE, "database")
    with pytest.raises(StoreCorrupt):
        unlock_secret(locked.replace(b'"p":1', b'"p":2'), PASSPHRASE, "identity")


@pytest.mark.parametrize("passphrase", ["\ud800", "x\udcff"])
def test_a_passphrase_that_is_not_text_is_refused(passphrase: str, locked: bytes):
    for attempt in (
        lambda: lock_secret(b"", passphrase, "identity", system_entropy),
        lambda: unlock_secret(locked, passphrase, "identity"),
    ):
        with pytest.raises(InvalidEntity) as caught:
            attempt()
        assert caught.value.__context__ is None  # which would hold the passphrase


def relocked(file: bytes, **changed: Any) -> bytes:
    """With other members, and the checksum that fits them: an attacker's file, not a damaged one."""
    head = {**json.loads(file), **changed}
    fields = [head[name] for name in ("label", "kdf", "n", "r", "p", "salt")]
    data = msgpack.packb(["icure-sync/lock/1", *fields]) + str(head["locked"]).encode()
    return json.dumps({**head, "checksum": sha256(data).hex(), **changed}).encode()


@pytest.mark.parametrize("cost", [{"n": 2**10}, {"n": 2**16}, {"r": 4, "n": 2**18}, {"n": 1, "r": 8}])
def test_a_downgraded_cost_is_refused(cost: dict[str, int], locked: bytes):
    with pytest.raises(WeakKey):
        unlock_secret(relocked(locked, **cost), PASSPHRASE, "identity")


def test_the_cost_is_authenticated(locked: bytes):
    with pytest.raises(WrongPassphrase):
        unlock_secret(relocked(locked, p=2), PASSPHRASE, "identity")


@pytest.mark.parametrize(
    "changed",
    [
        {"n": SCRYPT_N + 2},
        {"n": 2**40},
        {"n": 2**62},
        {"r": 2**20},
        {"p": 9},
        {"n": -1},
        {"n": 0},
        {"n": True},
        {"kdf": "none"},
        {"label": "database"},
        {"salt": "00"},
        {"salt": "zz" * 16},
        {"locked": "%%%%"},
        {"locked": "é"},
        {"checksum": "0"},
        {"checksum": None},
        {"further": 1},
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_damaged(changed: dict[str, Any], locked: bytes):
    with pytest.raises(StoreCorrupt):
        unlock_secret(relocked(locked, **changed), PASSPHRASE, "identity")


@pytest.mark.parametrize(
    "file", [b"", b"{", b"[]", b'"x"', b"1", b"{}", b"\xff", b"[" * 100_000, b'{"locked":1,"locked":2}']
)
def test_a_file_of_another_kind_is_damaged(file: bytes):
    with pytest.raises(StoreCorrupt):
        unlock_secret(file, PASSPHRASE, "identity")


HUGE = st.integers().filter(lambda number: not 1 <= number <= 2**30)  # or negative: what lies between is only more work
JSON_VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just([]) | st.just({})


@given(st.sampled_from(["label", "kdf", "n", "r", "p", "salt", "locked", "checksum"]), JSON_VALUES)
def test_no_value_in_a_locked_file_stops_it_from_being_judged(locked: bytes, name: str, value: Any):
    genuine = json.loads(locked)
    assume((type(value), value) != (type(genuine[name]), genuine[name]))
    file = json.dumps({**genuine, name: value}).encode()
    with pytest.raises(StoreCorrupt):
        unlock_secret(file, PASSPHRASE, "identity")


@given(st.sampled_from(["n", "r", "p", "salt", "locked"]), HUGE | st.text(max_size=5))
def test_no_value_under_a_fitting_checksum_does_either(locked: bytes, name: str, value: Any):
    try:
        file = relocked(locked, **{name: value})
    except (OverflowError, UnicodeEncodeError):
        return  # an attacker has no checksum for it either
    with pytest.raises((StoreCorrupt, WeakKey)):
        unlock_secret(file, PASSPHRASE, "identity")


def test_private_keys_show_nothing():
    for key in (identity(A).party_key, identity(A).signing_key):
        assert repr(key).startswith("<icure_sync.crypto.primitives.")


CONTEXT = b"one pairing"
IDENTITY_POINT = b"B\x01" + bytes(31)  # the neutral element, as the second side would send it


def exchange(code: str, other: str, context: bytes = CONTEXT) -> tuple[bytes, bytes]:
    """The keys that two sides come to."""
    first = CodeExchange("first", code, CONTEXT, seeded("first"))
    second = CodeExchange("second", other, context, seeded("second"))
    assert len(first.element) == len(second.element) == CODE_ELEMENT
    return first.key(second.element), second.key(first.element)


def test_one_code_and_one_context_make_one_key():
    first, second = exchange("12345678", "12345678")
    assert first == second
    assert len(first) == 32


def test_another_code_or_context_makes_another_key():
    first, second = exchange("12345678", "12345679")
    assert first != second
    first, second = exchange("12345678", "12345678", b"another pairing")
    assert first != second


@pytest.mark.parametrize(
    "element",
    [b"", b"B", bytes(CODE_ELEMENT), b"A" + bytes(32), IDENTITY_POINT, b"B" + b"\xff" * 32, b"B\x02" + bytes(31)],
)
def test_what_is_no_half_of_the_other_side_makes_no_key(element: bytes):
    with pytest.raises(Tampered):
        CodeExchange("first", "12345678", CONTEXT, seeded("first")).key(element)


def test_a_half_that_is_sent_back_or_longer_makes_no_key():
    first = CodeExchange("first", "12345678", CONTEXT, seeded("first"))
    with pytest.raises(Tampered):
        first.key(first.element)
    second = CodeExchange("second", "12345678", CONTEXT, seeded("second"))
    with pytest.raises(Tampered):
        CodeExchange("first", "12345678", CONTEXT, seeded("first")).key(b"B" + first.element[1:])
    with pytest.raises(Tampered):
        CodeExchange("first", "12345678", CONTEXT, seeded("first")).key(second.element + b"\x00")


def test_a_side_of_a_code_shows_nothing():
    assert "12345678" not in repr(CodeExchange("first", "12345678", CONTEXT, seeded("first")))
