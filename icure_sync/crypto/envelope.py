"""Envelopes: the bytes of one `sealed-1` ciphertext. Knows keys and associated data; not what is inside.

    byte    0        version, 0x01
    bytes   1-24     salt
    bytes  25-56     commitment
    bytes  57-       AES-256-GCM ciphertext, tag (16) last

HKDF-SHA-512(key, salt, `icure-sync/envelope/1`) gives a one-time AES key and the commitment. No derived key is used
twice, so the nonce is zero; the commitment is compared first, so that a ciphertext opens under one key only.
"""

from __future__ import annotations

from base64 import b64encode
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from typing import NoReturn

from icure_sync.canonical import canonical_set, pack
from icure_sync.crypto.primitives import (
    GCM_NONCE,
    GCM_TAG,
    SymmetricKey,
    equal,
    gcm_decrypt,
    gcm_encrypt,
    hkdf_sha256,
    hkdf_sha512,
    hmac_sha256,
)
from icure_sync.errors import Tampered
from icure_sync.ids import Kid, Rev

KEY_BYTES = 32
KID_BYTES = 16
SALT_BYTES = 24

_VERSION = b"\x01"
_INFO = b"icure-sync/envelope/1"
_NONCE = bytes(GCM_NONCE)
_SALT_END = 1 + SALT_BYTES
_COMMITMENT_END = _SALT_END + 32
_LEAST = _COMMITMENT_END + GCM_TAG
_DERIVED = 64  # bytes: one-time AES key and commitment


def kid(key: bytes) -> Kid:
    """Names a key without showing it: 32 hex digits."""
    return Kid(hkdf_sha256(key, "icure-sync/kid/1", KID_BYTES).hex())


def joint_key(keys: Sequence[tuple[Kid, SymmetricKey]]) -> SymmetricKey:
    """The key that takes all of these to make; the one key itself if there is only one."""
    if len(keys) == 1:
        return keys[0][1]
    together = b"".join(key for _, key in sorted(keys))
    return SymmetricKey(hkdf_sha256(together, "icure-sync/joint/1", KEY_BYTES))


def seal(key: bytes, plaintext: bytes, associated: bytes, salt: bytes) -> bytes:
    """One envelope. `salt`: 24 bytes, random, or `merge_salt` in a merge; never the same for two plaintexts."""
    if len(salt) != SALT_BYTES:
        raise ValueError("a salt has 24 bytes")
    derived = hkdf_sha512(key, salt, _INFO, _DERIVED)
    return b"".join((_VERSION, salt, derived[32:], gcm_encrypt(derived[:32], _NONCE, plaintext, associated)))


def open_envelope(key: bytes, envelope: bytes, associated: bytes) -> bytes:
    """The plaintext. Raises Tampered."""
    if len(envelope) < _LEAST or envelope[:1] != _VERSION:
        _tampered("it is too short or of another version")
    derived = hkdf_sha512(key, envelope[1:_SALT_END], _INFO, _DERIVED)
    if not equal(derived[32:], envelope[_SALT_END:_COMMITMENT_END]):
        _tampered("it was made with another key")
    return gcm_decrypt(derived[:32], _NONCE, envelope[_COMMITMENT_END:], associated)


def merge_salt(key: bytes, leaves: Sequence[Rev], associated: bytes, padded: bytes) -> bytes:
    """The salt of a merge, a function of what is merged: devices that merge the same leaves write the same bytes.

    `padded`: the plaintext as it will be sealed. Leaves are taken in canonical order.
    """
    mac_key = hkdf_sha256(key, "icure-sync/merge-salt/1", 32)
    return hmac_sha256(mac_key, pack([canonical_set(leaves), associated, padded]))[:SALT_BYTES]


def to_text(data: bytes) -> str:
    """Standard base64, padded."""
    return b64encode(data).decode("ascii")


def from_text(text: object) -> bytes:
    """The bytes of `to_text`, and of nothing else. Raises Tampered."""
    if not isinstance(text, str):
        _tampered("it is not text")
    try:
        data = a2b_base64(text, strict_mode=True)
    except ValueError:  # binascii.Error is one
        _tampered("it is not base64")
    if b2a_base64(data, newline=False).decode("ascii") != text:
        _tampered("it is not base64 in its one form")  # the spare bits of the last digit are not zero
    return data


def padded_length(length: int) -> int:
    """Padmé: the next length with few significant bits, at most 12 % more, so that a size tells little."""
    if length < 2:  # the logarithms below need at least 2
        return length
    exponent = length.bit_length() - 1
    kept = exponent.bit_length()
    mask = (1 << (exponent - kept)) - 1 if exponent > kept else 0
    return (length + mask) & ~mask


def pad(data: bytes) -> bytes:
    """Zero bytes up to `padded_length`."""
    return data.ljust(padded_length(len(data)), b"\x00")


def check_padding(padded: bytes, length: int) -> None:
    """That `padded` is `pad` of its first `length` bytes. Raises Tampered."""
    if len(padded) != padded_length(length) or padded.count(0, length) != len(padded) - length:
        _tampered("its padding is wrong")


def _tampered(wrong: str) -> NoReturn:
    raise Tampered("open an envelope", wrong, "have the document sent again by someone who has it whole")
