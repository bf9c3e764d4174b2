"""A second reading of the format, to check the published vectors: bytes, envelopes, files, locked secrets.

Written from FORMAT.md alone; imports nothing of the package, and does with pycryptodome what the package does with
OpenSSL. It is plain rather than fast. `Refused` is its one error.
"""

from __future__ import annotations

import base64
import json
import math
import unicodedata
from typing import Any, NoReturn

import msgpack
from Crypto.Cipher import AES
from Crypto.Hash import HMAC, SHA256, SHA512
from Crypto.Protocol.KDF import HKDF, scrypt

SUITE = "sealed-1"


class Refused(Exception):
    """What a reader must not accept."""


def need(holds: object, why: str) -> None:
    if not holds:
        raise Refused(why)


# Bytes


def plain(value: Any, depth: int = 64) -> Any:
    """The value in its one form."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        need(not any("\ud800" <= c <= "\udfff" for c in value), "lone surrogate")
        return value
    if isinstance(value, int):
        need(abs(value) <= 2**53, "integer")
        return value
    if isinstance(value, float):
        need(math.isfinite(value), "number")
        return int(value) if value == int(value) and abs(value) <= 2**53 else value
    need(depth > 0, "depth")
    if isinstance(value, dict):
        need(all(type(key) is str for key in value), "key")
        return {
            plain(key): plain(value[key], depth - 1)
            for key in sorted(value, key=lambda k: k.encode("utf-8", "replace"))
        }
    need(isinstance(value, list), "kind")
    return [plain(item, depth - 1) for item in value]


def C(*values: Any) -> bytes:  # noqa: N802 - its name in the format
    packed: bytes = msgpack.packb(plain(list(values)))
    return packed


def canonical(value: Any) -> bytes:
    packed: bytes = msgpack.packb(plain(value))
    return packed


def is_set(value: Any) -> bool:
    return isinstance(value, list) and [canonical(i) for i in value] == sorted({canonical(i) for i in value})


def authored(value: Any) -> Any:
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, list):
        return [authored(item) for item in value]
    if isinstance(value, dict):
        changed = {authored(key): authored(item) for key, item in value.items()}
        need(len(changed) == len(value), "two keys become one")
        return changed
    return value


def strict_json(text: str) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        need(len(dict(items)) == len(items), "duplicate key")
        return dict(items)

    def constant(_: str) -> NoReturn:
        raise Refused("constant")

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except ValueError as error:
        raise Refused("JSON") from error
    plain(value)
    return value


def text(value: Any) -> bytes:
    """The bytes of standard, padded base64."""
    need(isinstance(value, str), "text")
    try:
        data = base64.b64decode(value, validate=True)
    except ValueError as error:
        raise Refused("base64") from error
    need(base64.b64encode(data).decode() == value, "base64")
    return data


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sha256(data: bytes) -> bytes:
    return SHA256.new(data).digest()


# Envelopes


def kid(key: bytes) -> str:
    derived: bytes = HKDF(key, 16, b"", SHA256, context=b"icure-sync/kid/1")  # type: ignore[assignment]
    return derived.hex()


def joint(keys: list[bytes]) -> bytes:
    if len(keys) == 1:
        return keys[0]
    parts = b"".join(sorted(keys, key=kid))
    return HKDF(parts, 32, b"", SHA256, context=b"icure-sync/joint/1")  # type: ignore[return-value]


def derived(key: bytes, salt: bytes) -> tuple[bytes, bytes]:
    both: bytes = HKDF(key, 64, salt, SHA512, context=b"icure-sync/envelope/1")  # type: ignore[assignment]
    return both[:32], both[32:]


def gcm_open(key: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
    need(len(sealed) >= 16, "short")
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
    cipher.update(associated)
    try:
        return cipher.decrypt_and_verify(sealed[:-16], sealed[-16:])
    except ValueError as error:
        raise Refused("tag") from error


def gcm_seal(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
    cipher.update(associated)
    return b"".join(cipher.encrypt_and_digest(plaintext))


def envelope_seal(key: bytes, plaintext: bytes, associated: bytes, salt: bytes) -> bytes:
    once, commitment = derived(key, salt)
    return b"\x01" + salt + commitment + gcm_seal(once, bytes(12), plaintext, associated)


def envelope_open(key: bytes, envelope: bytes, associated: bytes) -> bytes:
    need(envelope[:1] == b"\x01" and len(envelope) >= 73, "version or length")
    once, commitment = derived(key, envelope[1:25])
    need(commitment == envelope[25:57], "commitment")
    return gcm_open(once, bytes(12), envelope[57:], associated)


def merge_salt(key: bytes, leaves: list[str], associated: bytes, padded: bytes) -> bytes:
    mac_key: bytes = HKDF(key, 32, b"", SHA256, context=b"icure-sync/merge-salt/1")  # type: ignore[assignment]
    packed = msgpack.packb([sorted(leaves, key=canonical), associated, padded])
    return HMAC.new(mac_key, packed, SHA256).digest()[:24]


def padded_length(length: int) -> int:
    """Padmé, with the logarithms of its paper."""
    if length < 2:
        return length
    e = math.floor(math.log2(length))
    s = math.floor(math.log2(e)) + 1 if e > 0 else 1
    unit = 2 ** max(0, e - s)
    return math.ceil(length / unit) * unit


# Files and locked secrets


def open_file(doc_id: str, creator: dict[str, str], key: bytes, sealed: bytes) -> bytes:
    size = 64 * 1024 + 16
    count = max(1, -(-len(sealed) // size))
    content = b""
    for index in range(count):
        data = C("icure-sync/chunk/1", SUITE, doc_id, creator, index, index == count - 1)
        content += gcm_open(key, index.to_bytes(12, "big"), sealed[index * size : (index + 1) * size], data)
    return content


def seal_file(doc_id: str, creator: dict[str, str], key: bytes, content: bytes) -> bytes:
    size = 64 * 1024
    count = max(1, -(-len(content) // size))
    sealed = b""
    for index in range(count):
        data = C("icure-sync/chunk/1", SUITE, doc_id, creator, index, index == count - 1)
        sealed += gcm_seal(key, index.to_bytes(12, "big"), content[index * size : (index + 1) * size], data)
    return sealed


def unlock(file: str, passphrase: str, label: str) -> bytes:
    """Refused says why in the words of the errors: StoreCorrupt, WeakKey, WrongPassphrase."""
    head = strict_json(file)
    fields = [head[name] for name in ("label", "kdf", "n", "r", "p", "salt")]
    associated = C("icure-sync/lock/1", *fields)
    sound = head["checksum"] == sha256(associated + head["locked"].encode()).hex()
    possible = head["n"] & (head["n"] - 1) == 0 and 128 * head["n"] * head["r"] <= 2**30 and head["p"] <= 8
    need(sound and possible and fields[:2] == [label, "scrypt"], "StoreCorrupt")
    need(head["n"] >= 2**17 and head["r"] >= 8 and head["p"] >= 1, "WeakKey")
    words = unicodedata.normalize("NFC", passphrase).encode()
    key = scrypt(words, bytes.fromhex(head["salt"]), 32, head["n"], head["r"], head["p"])
    assert isinstance(key, bytes)
    try:
        return gcm_open(key, bytes(12), text(head["locked"]), associated)
    except Refused as error:
        raise Refused("WrongPassphrase") from error
