"""Hcp keys in `icure-classic`: the exchange key of an ordered pair, in the owner's Hcp document.

Owns the layout of `hcPartyKeys` and `aesExchangeKeys`; knows no records. Documents are JSON objects without `_`
members, their ids stand beside them.

    hcPartyKeys:     {delegate: [hex for the owner, hex for the delegate]}
    aesExchangeKeys: {owner's SPKI in hex: {delegate: {fingerprint of a public key: hex}}}

A pair's further keys (two devices minted one each, offline) stand in `aesExchangeKeys` under fake owners' keys that
begin with `x`: released SDKs read them there, and `hcPartyKeys` has room for one only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from icure_sync.crypto.envelope import kid
from icure_sync.crypto.primitives import Entropy, RsaPrivateKey, RsaPublicKey, SymmetricKey
from icure_sync.errors import InvalidEntity, Tampered

EXCHANGE_KEY_BYTES = 32
FINGERPRINT_DIGITS = 32
FAKE_OWNER = "x"

_OWNER, _DELEGATE = 0, 1  # positions in hcPartyKeys; readers use no others


@dataclass(frozen=True, slots=True)
class ClassicParty:
    """The public side of an Hcp. `oaep_sha256`: whether it wants SHA-256 in OAEP; SHA-1 otherwise."""

    id: str
    spki: bytes
    oaep_sha256: bool

    @property
    def fingerprint(self) -> str:
        """The last 32 hex digits of the SPKI, which name this public key."""
        return self.spki.hex()[-FINGERPRINT_DIGITS:]

    @classmethod
    def of(cls, hcp_id: str, document: Mapping[str, Any]) -> ClassicParty:
        """From an Hcp document: its `publicKey`, else the first one in `aesExchangeKeys`. Raises InvalidEntity."""
        for name in (document.get("publicKey"), *_exchange_maps(document)):
            if isinstance(name, str) and name and not name.startswith(FAKE_OWNER):
                try:
                    spki = bytes.fromhex(name)
                except ValueError as error:
                    raise _invalid(hcp_id, "its public key is not hex") from error
                listed = document.get("publicKeysForOaepWithSha256")
                return cls(hcp_id, spki, isinstance(listed, list) and name in listed)
        raise _invalid(hcp_id, "it has no public key")


def wrapped_keys(
    owner_id: str, owner_document: Mapping[str, Any], delegate: str, reader: ClassicParty
) -> tuple[bytes, ...]:
    """Ciphertexts of the pair owner→delegate for `reader`, one of the two; likeliest first, malformed ones left out."""
    found: dict[bytes, None] = {}
    for text in _wrapped_texts(owner_id, owner_document, delegate, reader):
        try:
            found[bytes.fromhex(text)] = None
        except (ValueError, TypeError):
            continue
    return tuple(found)


def unwrap_exchange_key(wrapped: bytes, reader: ClassicParty, private_key: RsaPrivateKey) -> bytes:
    """The exchange key, 32 bytes. One RSA decryption: keep what it gives. Raises Tampered."""
    key = private_key.decrypt(wrapped) if reader.oaep_sha256 else private_key.decrypt_sha1(wrapped)
    if len(key) != EXCHANGE_KEY_BYTES:
        raise Tampered("unwrap an Hcp key", "what it wraps is no AES-256 key", "have the owner share again")
    return key


def with_exchange_key(
    owner_document: Mapping[str, Any], owner: ClassicParty, delegate: ClassicParty, key: bytes, entropy: Entropy
) -> dict[str, Any]:
    """The owner's document with `key` for the pair owner→delegate: the pair's first key, or one more.

    Raises WeakKey for a public key below the minimum, InvalidEntity for a malformed document.
    """
    for_owner = _wrap(key, owner, entropy)
    for_delegate = for_owner if owner.spki == delegate.spki else _wrap(key, delegate, entropy)
    legacy = key_map(owner.id, owner_document, "hcPartyKeys")
    exchange = key_map(owner.id, owner_document, "aesExchangeKeys")
    has_one = delegate.id in legacy or any(delegate.id in pairs for pairs in _exchange_maps(owner_document).values())
    place = FAKE_OWNER + kid(SymmetricKey(key)) if has_one else owner.spki.hex()
    pairs = {**exchange.get(place, {}), delegate.id: {owner.fingerprint: for_owner, delegate.fingerprint: for_delegate}}
    changed = {**owner_document, "aesExchangeKeys": {**exchange, place: pairs}}
    if not has_one:
        changed["hcPartyKeys"] = {**legacy, delegate.id: [for_owner, for_delegate]}
    return changed


def key_map(hcp_id: str, document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A map that is going to be written back. Raises InvalidEntity rather than lose what is there."""
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _invalid(hcp_id, f"its {name} is not a map")
    return value


def _wrapped_texts(owner_id: str, document: Mapping[str, Any], delegate: str, reader: ClassicParty) -> Iterator[Any]:
    pair = document.get("hcPartyKeys")
    pair = pair.get(delegate) if isinstance(pair, dict) else None
    if isinstance(pair, list):
        if reader.id == owner_id:
            yield from pair[_OWNER : _OWNER + 1]
        if reader.id == delegate:
            yield from pair[_DELEGATE : _DELEGATE + 1]
    for pairs in _exchange_maps(document).values():
        wrapped = pairs.get(delegate)
        if isinstance(wrapped, dict):  # some software names the key by its whole SPKI
            yield from (text for name, text in wrapped.items() if name[-FINGERPRINT_DIGITS:] == reader.fingerprint)


def _exchange_maps(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`aesExchangeKeys` as far as it is well formed: what others wrote must not hide what is readable."""
    maps = document.get("aesExchangeKeys")
    return {name: pairs for name, pairs in maps.items() if isinstance(pairs, dict)} if isinstance(maps, dict) else {}


def _wrap(key: bytes, party: ClassicParty, entropy: Entropy) -> str:
    public_key = RsaPublicKey(party.spki)
    wrapped = public_key.encrypt(key, entropy) if party.oaep_sha256 else public_key.encrypt_sha1(key, entropy)
    return wrapped.hex()


def _invalid(hcp_id: str, wrong: str) -> InvalidEntity:
    return InvalidEntity(f"read the keys of {hcp_id}", wrong, "have it written again by its own software")
