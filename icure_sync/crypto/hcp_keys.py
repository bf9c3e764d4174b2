"""Hcp keys: the symmetric key {AB} of an ordered pair, wrapped and signed in A's Hcp document.

Owns the layout of `hcPartyKeys`, `hcPartyKeyIds`, `hcPartyKeySignatures` and `retiredKeys`. Knows no records and no
stores. A pair may hold several keys, one after the other by kid: two of A's devices minted {AB} while both were
offline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icure_sync.crypto.envelope import KEY_BYTES, from_text, kid, to_text
from icure_sync.crypto.identity import Identity, fingerprint, signed_by
from icure_sync.crypto.primitives import RSA_BITS, Entropy, RsaPublicKey, SymmetricKey, sha256
from icure_sync.errors import Tampered, UntrustedKey, WeakKey
from icure_sync.ids import HcpId, Kid, is_hcp_id, is_kid

HCP_TYPE = "HealthcareParty"
FIRST_EPOCH = 1  # of an identity whose keys were never changed

_MAPS = ("hcPartyKeys", "hcPartyKeyIds", "hcPartyKeySignatures")


@dataclass(frozen=True, slots=True, repr=False)
class HcpKey:
    """{owner, delegate}, unwrapped."""

    owner: HcpId
    delegate: HcpId
    kid: Kid
    key: SymmetricKey

    def __repr__(self) -> str:
        return f"HcpKey(owner={self.owner!r}, delegate={self.delegate!r}, kid={self.kid!r})"


@dataclass(frozen=True, slots=True)
class Party:
    """The public side of an Hcp, as its document states it."""

    hcp_id: HcpId
    public_key: bytes  # SPKI
    signing_key: bytes
    epoch: int

    @classmethod
    def of(cls, doc_id: str, document: Mapping[str, Any]) -> Party:
        """From an Hcp document; its identity signature is checked. Raises UntrustedKey, Tampered."""
        identity = document.get("identity")
        if (
            document.get("type") != HCP_TYPE
            or not is_hcp_id(doc_id)
            or not isinstance(identity, dict)
            or identity.keys() != {"epoch", "previous", "signature"}
        ):
            raise _untrusted(doc_id, "its identity is not stated as it must be")
        epoch, previous = identity["epoch"], identity["previous"]
        if type(epoch) is not int or epoch != FIRST_EPOCH or previous != []:
            raise _untrusted(doc_id, "its identity is of an epoch that this version cannot judge")
        public_key, signing_key = document.get("publicKey"), document.get("signingKey")
        party = cls(HcpId(doc_id), from_text(public_key), from_text(signing_key), epoch)
        fields = (doc_id, public_key, signing_key, epoch, previous)
        if not signed_by(party.signing_key, identity["signature"], "identity", *fields):
            raise _untrusted(doc_id, "the signature of its identity does not hold")
        return party

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.public_key)


@dataclass(frozen=True, slots=True)
class Wrapped:
    """One Hcp key as it stands in the owner's document: its ciphertexts (owner's, delegate's; one for {AA}), signed."""

    owner: HcpId
    delegate: HcpId
    kid: Kid
    ciphertexts: tuple[str, ...]
    signed: Mapping[str, Any]

    def check_signature(self, signing_key: bytes) -> None:
        """That the owner made it. Raises UntrustedKey, Tampered."""
        fields = _signed_fields(self, self.signed["epochs"], self.signed["fingerprints"])
        if not signed_by(signing_key, self.signed["signature"], "hcp-key", *fields):
            raise UntrustedKey(
                f"use the Hcp key {self.owner}→{self.delegate}",
                f"it is not signed by {self.owner}",
                f"ask {self.owner} to share again, and tell whoever runs the server",
            )

    def unwrap(self, identity: Identity) -> HcpKey:
        """The key itself: one RSA decryption. Raises Tampered."""
        ciphertext = self.ciphertexts[0 if self.owner == identity.hcp_id else -1]
        key = SymmetricKey(identity.party_key.decrypt(from_text(ciphertext)))
        if len(key) != KEY_BYTES or kid(key) != self.kid:
            raise Tampered(
                f"unwrap the Hcp key {self.owner}→{self.delegate}",
                "it is not the key that its kid promises",
                f"ask {self.owner} to share again",
            )
        return HcpKey(self.owner, self.delegate, self.kid, key)


def self_key(identity: Identity) -> HcpKey:
    """{AA}."""
    return HcpKey(identity.hcp_id, identity.hcp_id, kid(identity.self_key), identity.self_key)


def mint(identity: Identity, delegate: HcpId, entropy: Entropy) -> HcpKey:
    """A new {AB}."""
    key = SymmetricKey(entropy(KEY_BYTES))
    return HcpKey(identity.hcp_id, delegate, kid(key), key)


def wrap(identity: Identity, party: Party, hcp_key: HcpKey, entropy: Entropy) -> Wrapped:
    """{AB} wrapped for A and for B. Raises WeakKey for a public key of B below RSA_BITS."""
    theirs = RsaPublicKey(party.public_key)
    if theirs.bits < RSA_BITS:
        raise WeakKey(
            f"wrap a key for {party.hcp_id}", f"its public key has {theirs.bits} bits", "have it make a new identity"
        )
    for_owner = identity.party_key.public.encrypt(hcp_key.key, entropy)
    for_delegate = theirs.encrypt(hcp_key.key, entropy)
    return _signed(identity, party, hcp_key.kid, (to_text(for_owner), to_text(for_delegate)))


def born(identity: Identity) -> Wrapped:
    """{AA} as the identity was born with it: the same bytes on every device."""
    own = Party(identity.hcp_id, identity.party_key.public.spki, identity.signing_key.public, identity.epoch)
    return _signed(identity, own, kid(identity.self_key), (to_text(identity.birth.wrapped),))


def identity_members(identity: Identity) -> dict[str, Any]:
    """`publicKey`, `signingKey` and `identity` of the Hcp document."""
    public_key, signing_key = to_text(identity.party_key.public.spki), to_text(identity.signing_key.public)
    previous: list[Any] = []
    signature = identity.sign("identity", identity.hcp_id, public_key, signing_key, identity.epoch, previous)
    return {
        "publicKey": public_key,
        "signingKey": signing_key,
        "identity": {"epoch": identity.epoch, "previous": previous, "signature": signature},
    }


def wrapped_keys(doc_id: str, document: Mapping[str, Any]) -> Iterator[Wrapped]:
    """Every Hcp key in an Hcp document, signatures not checked yet. Raises UntrustedKey if the layout is broken."""
    maps: list[Any] = [document.get(name) for name in _MAPS]
    if not all(isinstance(each, dict) and each.keys() == maps[0].keys() for each in maps):
        raise _untrusted(doc_id, "its Hcp keys are not laid out as they must be")
    for delegate in maps[0]:
        texts, kids, signatures = (each[delegate] for each in maps)
        each = 1 if delegate == doc_id else 2
        if not (
            is_hcp_id(delegate)
            and _are_texts(texts)
            and _are_kids(kids)
            and isinstance(signatures, list)
            and len(texts) == each * len(kids) == each * len(signatures)
            and all(_is_signed(signed) for signed in signatures)
        ):
            raise _untrusted(doc_id, f"its Hcp keys for {delegate!r} are not laid out as they must be")
        for place, (name, signed) in enumerate(zip(kids, signatures, strict=True)):
            ciphertexts = tuple(texts[each * place : each * (place + 1)])
            yield Wrapped(HcpId(doc_id), HcpId(delegate), Kid(name), ciphertexts, signed)


def key_members(keys: Sequence[Wrapped]) -> dict[str, Any]:
    """The three maps of the Hcp document that hold these keys (their signatures checked), each pair's by kid.

    Where one kid comes with several ciphertexts, those of the highest epochs stay, then the lowest bytes.
    """
    members: dict[str, dict[str, list[Any]]] = {name: {} for name in _MAPS}
    unique = {(wrapped.delegate, wrapped.kid): wrapped for wrapped in sorted(keys, key=_preference, reverse=True)}
    for (delegate, name), wrapped in sorted(unique.items()):
        members["hcPartyKeys"].setdefault(delegate, []).extend(wrapped.ciphertexts)
        members["hcPartyKeyIds"].setdefault(delegate, []).append(name)
        members["hcPartyKeySignatures"].setdefault(delegate, []).append(dict(wrapped.signed))
    return members


def retired_kids(document: Mapping[str, Any]) -> frozenset[Kid]:
    """Keys of which the owner of this Hcp document makes no new entry. Of a document that verifies."""
    return frozenset(Kid(item["kid"]) for item in document["retiredKeys"])


def check_retired(doc_id: str, document: Mapping[str, Any], signing_key: bytes) -> None:
    """That the owner retired each of the `retiredKeys`. Raises UntrustedKey, Tampered."""
    retired = document.get("retiredKeys")
    if not isinstance(retired, list) or not all(
        isinstance(item, dict) and item.keys() == {"kid", "signature"} and _are_kids([item["kid"]]) for item in retired
    ):
        raise _untrusted(doc_id, "its retired keys are not laid out as they must be")
    for item in retired:
        if not signed_by(signing_key, item["signature"], "retired-key", doc_id, item["kid"]):
            raise _untrusted(doc_id, "it retires a key without the signature of its owner")


def _signed(identity: Identity, party: Party, name: Kid, ciphertexts: tuple[str, ...]) -> Wrapped:
    epochs, fingerprints = [identity.epoch, party.epoch], [identity.fingerprint, party.fingerprint]
    unsigned = Wrapped(identity.hcp_id, party.hcp_id, name, ciphertexts, {})
    signature = identity.sign("hcp-key", *_signed_fields(unsigned, epochs, fingerprints))
    signed = {"epochs": epochs, "fingerprints": fingerprints, "signature": signature}
    return Wrapped(identity.hcp_id, party.hcp_id, name, ciphertexts, signed)


def _signed_fields(wrapped: Wrapped, epochs: Any, fingerprints: Any) -> tuple[Any, ...]:
    hashes = [sha256(from_text(text)).hex() for text in wrapped.ciphertexts]
    return (wrapped.owner, wrapped.delegate, wrapped.kid, hashes, epochs, fingerprints)


def _preference(wrapped: Wrapped) -> tuple[list[int], list[bytes]]:
    return [-epoch for epoch in wrapped.signed["epochs"]], [from_text(text) for text in wrapped.ciphertexts]


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _are_kids(value: Any) -> bool:
    return _are_texts(value) and all(map(is_kid, value)) and value == sorted(set(value))


def _is_signed(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"epochs", "fingerprints", "signature"}
        and isinstance(value["epochs"], list)
        and [type(epoch) for epoch in value["epochs"]] == [int, int]
        and _are_texts(value["fingerprints"])
        and len(value["fingerprints"]) == 2
    )


def _untrusted(doc_id: str, wrong: str) -> UntrustedKey:
    return UntrustedKey(
        f"trust the Hcp document {doc_id}",
        wrong,
        "compare fingerprints with that Hcp, and tell whoever runs the server",
    )
