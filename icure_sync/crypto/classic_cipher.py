"""The ciphertexts of `icure-classic`: AES-CBC with the IV in front, over text, JSON or bytes; and its UUIDs.

Knows keys and bytes; no layout of documents. Nothing here authenticates: a wrong key shows as wrong padding, or as
text that is not what it should be.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from icure_sync import strict_json
from icure_sync.crypto.primitives import AES_BLOCK, Entropy, cbc_decrypt, cbc_encrypt
from icure_sync.errors import InvalidEntity, Tampered

Place = tuple[str, ...]  # where a ciphertext stands: pairs of a member and what names one of several in it
Seal = Callable[[Place, dict[str, Any]], str]  # makes the `encryptedSelf` of one place

UUID_BYTES = 16
AES_KEY_LENGTHS = (16, 32)  # content keys are UUIDs (16) or, in some data, 32 bytes; Hcp keys are 32

_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_PLAIN_DIGITS, _PLAIN_ZEROS = 21, 6  # beyond these ECMAScript writes an exponent


def new_uuid(entropy: Entropy) -> str:
    """A random UUID (RFC 9562, version 4), lowercase with dashes: the form of ids, secret ids and content keys."""
    drawn = bytearray(entropy(UUID_BYTES))
    drawn[6] = drawn[6] & 0x0F | 0x40
    drawn[8] = drawn[8] & 0x3F | 0x80
    digits = drawn.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def key_bytes(value: str) -> bytes:
    """The AES key that a content key's text stands for: its hex digits, dashes dropped. Raises Tampered."""
    try:
        key = bytes.fromhex(value.replace("-", ""))
    except ValueError:
        key = b""
    if len(key) not in AES_KEY_LENGTHS:
        raise Tampered("use a content key", "it is not 16 or 32 bytes in hex", "have the owner share the record again")
    return key


def encrypt(key: bytes, plaintext: bytes, entropy: Entropy) -> bytes:
    """`IV‖ciphertext`. Also the form of an attachment's bytes in CouchDB, under its Document's content key."""
    iv = entropy(AES_BLOCK)
    return iv + cbc_encrypt(key, iv, plaintext)


def decrypt(key: bytes, data: bytes) -> bytes:
    """The plaintext of `IV‖ciphertext`. Raises Tampered, though not for every damage: there is no MAC."""
    if len(data) < 2 * AES_BLOCK or len(data) % AES_BLOCK:
        raise Tampered("open a ciphertext", "its length is impossible", "fetch the document again")
    return cbc_decrypt(key, data[:AES_BLOCK], data[AES_BLOCK:])


def encrypt_json(key: bytes, value: dict[str, Any], entropy: Entropy) -> str:
    """An `encryptedSelf`: base64 of `IV‖ciphertext` over compact JSON, non-ASCII as `\\uXXXX`. Raises InvalidEntity."""
    return b64encode(encrypt(key, _ascii_json(value), entropy)).decode()


def random_seal(key: bytes, entropy: Entropy) -> Seal:
    """Makes each `encryptedSelf` with an IV of its own that was drawn for it."""
    return lambda _place, members: encrypt_json(key, members, entropy)


def settled_seal(key: bytes, iv: Callable[[Place, bytes], bytes]) -> Seal:
    """Makes the same `encryptedSelf` for the same members: one form of JSON, and an IV that follows from what is
    sealed where."""

    def seal(place: Place, members: dict[str, Any]) -> str:
        plaintext = settled_json(members)
        return b64encode(encrypt(key, plaintext, lambda _: iv(place, plaintext))).decode()

    return seal


def settled_json(value: Any) -> bytes:
    """JSON in one form: that of RFC 8785, its non-ASCII characters escaped (`\\uXXXX`). Raises InvalidEntity."""
    strict_json.dumps(value)
    return _settled(value).encode("ascii")


def decrypt_json(key: bytes, encrypted: Any) -> dict[str, Any]:
    """The members inside an `encryptedSelf`. Raises Tampered if this key gives no JSON object."""
    try:
        data = b64decode(encrypted, validate=True)
    except (ValueError, TypeError) as error:
        raise Tampered("open an encryptedSelf", "it is not base64", "fetch the document again") from error
    try:
        value = strict_json.loads(decrypt(key, data).rstrip(b"\0"))  # early SDKs padded with zero bytes as well
    except InvalidEntity as error:
        raise _no_object() from error
    if type(value) is not dict:
        raise _no_object()
    return value


class Parts:
    """The ciphertexts of one document: opened with any of its content keys. Its repr shows nothing.

    What was opened is remembered: an edit looks at each part several times.
    """

    __slots__ = ("_keys", "_opened")

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys
        self._opened: dict[str, tuple[bytes, dict[str, Any]]] = {}

    def open(self, encrypted: Any) -> dict[str, Any]:
        """The members inside an `encryptedSelf`. Raises Tampered."""
        return self._open(encrypted)[1]

    def opening_key(self, encrypted: Any) -> bytes:
        """The content key that opens an `encryptedSelf`. Raises Tampered."""
        return self._open(encrypted)[0]

    def _open(self, encrypted: Any) -> tuple[bytes, dict[str, Any]]:
        if type(encrypted) is not str:
            raise Tampered("open an encryptedSelf", "it is not text", "fetch the document again")
        found = self._opened.get(encrypted)
        if found is None:
            found = self._opened[encrypted] = self._first_opening(encrypted)
        return found

    def _first_opening(self, encrypted: str) -> tuple[bytes, dict[str, Any]]:
        failed: Tampered | None = None
        for key in self._keys:
            try:
                return key, decrypt_json(key, encrypted)
            except Tampered as error:
                failed = error
        raise failed or Tampered("open an encryptedSelf", "there is no content key", "have the record shared again")


def _ascii_json(value: dict[str, Any]) -> bytes:
    strict_json.dumps(value)  # refuses what is not plain JSON: infinite numbers, lone surrogates
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _settled(value: Any) -> str:
    if isinstance(value, str):
        return _NOT_ASCII.sub(_escape, json.dumps(value, ensure_ascii=False))
    if isinstance(value, float):
        return _ecmascript(value)
    if isinstance(value, dict):
        members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
        return "{" + ",".join(f"{_settled(name)}:{_settled(item)}" for name, item in members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_settled, value)) + "]"
    return json.dumps(value)


def _escape(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def _ecmascript(number: float) -> str:
    """As ECMAScript writes a number (RFC 8785, section 3.2.2.3): Python has the same digits, in another layout."""
    if number == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int)  # it is finite
    text = "".join(map(str, digits))
    point = len(text) + exponent  # where it stands among the digits
    if len(text) <= point <= _PLAIN_DIGITS:
        text = text.ljust(point, "0")
    elif 0 < point <= _PLAIN_DIGITS:
        text = f"{text[:point]}.{text[point:]}"
    elif -_PLAIN_ZEROS < point <= 0:
        text = f"0.{'0' * -point}{text}"
    else:
        text = f"{text[0]}{'.' * (len(text) > 1)}{text[1:]}e{point - 1:+d}"
    return "-" * sign + text


def _no_object() -> Tampered:
    return Tampered("open an encryptedSelf", "there is no JSON object inside", "look for another content key")
