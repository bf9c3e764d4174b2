"""Bytes that only one device can open, sealed to its exchange key by anybody who knows the public half. Pure.

    bytes   0-31     the public half of an X25519 key pair that was drawn for this
    bytes  32-       envelope under HKDF(X25519 ‖ that public half ‖ the recipient's, "icure-sync/sealed-to/1", 32)

It says nothing of who sealed it: what must be known to be somebody's is signed inside, or around it.
"""

from __future__ import annotations

from typing import Any

from icure_sync.canonical import canonical
from icure_sync.crypto.envelope import KEY_BYTES, SALT_BYTES, open_envelope, seal
from icure_sync.crypto.primitives import EXCHANGE_KEY_BYTES, Entropy, ExchangeKey, SymmetricKey, hkdf_sha256
from icure_sync.errors import Tampered

_LABEL = "icure-sync/sealed-to/1"


def seal_to(recipient: bytes, plaintext: bytes, use: str, *fields: Any, entropy: Entropy) -> bytes:
    """`recipient`: the public half of an exchange key. `use` and `fields`: what it is, and in which place; who opens it
    names the same. Raises Tampered for a recipient that is no public key."""
    drawn = ExchangeKey(entropy(EXCHANGE_KEY_BYTES))
    key = _key(drawn.agree(recipient), drawn.public, recipient)
    return drawn.public + seal(key, plaintext, _associated(use, fields), entropy(SALT_BYTES))


def open_from(own: ExchangeKey, sealed: bytes, use: str, *fields: Any) -> bytes:
    """The plaintext of `seal_to`. Raises Tampered."""
    drawn, envelope = sealed[:EXCHANGE_KEY_BYTES], sealed[EXCHANGE_KEY_BYTES:]
    if len(drawn) < EXCHANGE_KEY_BYTES:
        raise Tampered("open what was sealed to this device", "it is too short", "have it sent again by who made it")
    return open_envelope(_key(own.agree(drawn), drawn, own.public), envelope, _associated(use, fields))


def _key(agreed: bytes, drawn: bytes, recipient: bytes) -> SymmetricKey:
    return SymmetricKey(hkdf_sha256(agreed + drawn + recipient, _LABEL, KEY_BYTES))


def _associated(use: str, fields: tuple[Any, ...]) -> bytes:
    return canonical([_LABEL, use, *fields])
