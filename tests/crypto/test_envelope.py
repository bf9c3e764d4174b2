"""Envelopes: what opens, under one key, in one place; kids, joint keys, merge salts, padding."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.crypto.envelope import (
    KEY_BYTES,
    SALT_BYTES,
    check_padding,
    from_text,
    joint_key,
    kid,
    merge_salt,
    open_envelope,
    pad,
    padded_length,
    seal,
    to_text,
)
from icure_sync.crypto.primitives import SymmetricKey, gcm_encrypt, hkdf_sha512
from icure_sync.errors import Tampered
from icure_sync.ids import Rev, is_kid

MUTATED = 2_000

keys = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES).map(SymmetricKey)
salts = st.binary(min_size=SALT_BYTES, max_size=SALT_BYTES)
revs = st.builds(lambda n, digits: Rev(f"{n}-{digits:032x}"), st.integers(1, 200), st.integers(0, 2**128 - 1))

KEY, SALT = bytes(range(32)), bytes(SALT_BYTES)


@given(keys, st.binary(), st.binary(), salts)
def test_an_envelope_opens_with_its_key_in_its_place(
    key: SymmetricKey, plaintext: bytes, associated: bytes, salt: bytes
):
    envelope = seal(key, plaintext, associated, salt)
    assert len(envelope) == len(plaintext) + 73
    assert open_envelope(key, envelope, associated) == plaintext
    assert seal(key, plaintext, associated, salt) == envelope


@given(keys, keys, st.binary(), st.binary())
def test_an_envelope_opens_with_nothing_else(key: SymmetricKey, other: SymmetricKey, one: bytes, another: bytes):
    envelope = seal(key, b"plaintext", one, SALT)
    if one != another:
        with pytest.raises(Tampered):
            open_envelope(key, envelope, another)
    if key != other:
        with pytest.raises(Tampered, match="made with another key"):
            open_envelope(other, envelope, one)


def test_no_mutated_envelope_is_accepted():
    chance = random.Random(1)
    whole = seal(KEY, b"a short plaintext", b"place", SALT)
    accepted = 0
    for _ in range(MUTATED):
        try:
            open_envelope(KEY, MUTATIONS[chance.randrange(len(MUTATIONS))](whole, chance), b"place")
            accepted += 1
        except Tampered:
            continue
    assert accepted == 0


def flipped(envelope: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(envelope))
    return envelope[:place] + bytes([envelope[place] ^ 1 << chance.randrange(8)]) + envelope[place + 1 :]


def cut(envelope: bytes, chance: random.Random) -> bytes:
    return envelope[: chance.randrange(len(envelope))]


def lengthened(envelope: bytes, chance: random.Random) -> bytes:
    return envelope + chance.randbytes(chance.randrange(1, 20))


def spliced(envelope: bytes, chance: random.Random) -> bytes:
    other = seal(KEY, b"another plaintext", b"place", chance.randbytes(SALT_BYTES))
    place = chance.randrange(8, len(envelope))  # both halves are needed: before it, the other one is whole
    return envelope[:place] + other[place:]


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [flipped, cut, lengthened, spliced]


def test_a_ciphertext_cannot_be_made_for_two_keys():
    """AES-GCM alone does not commit to its key: what a second key would open must fail before it is tried."""
    other = bytes(32)
    ours, theirs = (hkdf_sha512(key, SALT, b"icure-sync/envelope/1", 64) for key in (KEY, other))
    head = b"\x01" + SALT + ours[32:]
    assert seal(KEY, b"plaintext", b"", SALT) == head + gcm_encrypt(ours[:32], bytes(12), b"plaintext", b"")
    forged = head + gcm_encrypt(theirs[:32], bytes(12), b"plaintext", b"")
    for key in (KEY, other):
        with pytest.raises(Tampered):
            open_envelope(key, forged, b"")


def test_a_salt_has_24_bytes():
    with pytest.raises(ValueError, match="24 bytes"):
        seal(KEY, b"", b"", bytes(23))


@given(keys, keys)
def test_a_kid_names_a_key_and_does_not_show_it(one: SymmetricKey, other: SymmetricKey):
    assert is_kid(kid(one))
    assert (kid(one) == kid(other)) == (one == other)
    assert kid(one) not in one.hex()


@given(st.lists(keys, min_size=2, max_size=4, unique=True), st.randoms())
def test_a_joint_key_takes_all_its_parts_in_any_order(parts: list[SymmetricKey], chance: random.Random):
    named = [(kid(key), key) for key in parts]
    joint = joint_key(named)
    assert joint not in parts
    assert joint != joint_key(named[1:])
    chance.shuffle(named)
    assert joint_key(named) == joint
    assert joint_key(named[:1]) == named[0][1]


@given(keys, st.lists(revs, unique=True, max_size=5), st.binary(), st.binary(), st.randoms())
def test_a_merge_salt_is_a_function_of_what_is_merged(
    key: SymmetricKey, leaves: list[Rev], associated: bytes, padded: bytes, chance: random.Random
):
    salt = merge_salt(key, leaves, associated, padded)
    assert len(salt) == SALT_BYTES
    shuffled = leaves[:]
    chance.shuffle(shuffled)
    assert merge_salt(key, shuffled, associated, padded) == salt
    for other in (
        merge_salt(SymmetricKey(bytes(byte ^ 1 for byte in key)), leaves, associated, padded),
        merge_salt(key, [*leaves, Rev("1-0")], associated, padded),
        merge_salt(key, leaves, associated + b"x", padded),
        merge_salt(key, leaves, associated, padded + b"\x00"),
    ):
        assert other != salt


@given(st.integers(0, 2**24))
def test_padding_costs_at_most_twelve_percent_and_hides_the_low_digits(length: int):
    padded = padded_length(length)
    assert length <= padded <= max(length * 1.12, length + 1)
    assert padded_length(padded) == padded
    assert padded <= padded_length(length + 1)
    if length >= 2:
        exponent = padded.bit_length() - 1
        assert padded % (1 << max(0, exponent - exponent.bit_length())) == 0


@given(st.integers(1, 300), st.binary(max_size=300))
def test_padding_is_checked_on_reading(length: int, data: bytes):
    padded = pad(data)
    check_padding(padded, len(data))
    for wrong in (padded + b"\x00", padded[:-1], padded[:-1] + b"\x01"):
        if wrong[: len(data)] == data and wrong != padded:
            with pytest.raises(Tampered):
                check_padding(wrong, len(data))
    if padded_length(length) != len(padded):
        with pytest.raises(Tampered):
            check_padding(padded, length)


@given(st.binary())
def test_text_is_standard_base64(data: bytes):
    assert from_text(to_text(data)) == data


@pytest.mark.parametrize(
    "text",
    [
        "QQ",
        "Q===",
        "QR==",
        "QQ==\n",
        " QQ==",
        "QQ==QQ==",
        "Q-Q=",
        "Q_Q=",
        "é",
        "\ud800",
        "=",
        None,
        1,
        b"QQ==",
        ["QQ=="],
    ],
)
def test_only_one_text_stands_for_some_bytes(text: object):
    with pytest.raises(Tampered):
        from_text(text)


@given(st.text("ABab01+/=", max_size=12))
def test_text_that_is_accepted_is_what_would_be_written(text: str):
    try:
        data = from_text(text)
    except Tampered:
        return
    assert to_text(data) == text
