"""Hcp keys: the symmetric key {AB} of an ordered pair, wrapped and signed in A's Hcp document.

Owns the layout of `hcPartyKeys`, `hcPartyKeyIds` and `hcPartyKeySignatures`. Knows no records and no stores. A pair may
hold several keys, one after the other by kid: two of A's devices minted {AB} while both were offline, or one of them
was retired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from icure_sync.crypto.envelope import KEY_BYTES, from_text, kid, to_text
from icure_sync.crypto.identity import FIRST_EPOCH, Identity, signed_by
from icure_sync.crypto.party import Party, untrusted
from icure_sync.crypto.primitives import RSA_BITS, Entropy, RsaPublicKey, SymmetricKey, sha256
from icure_sync.errors import NoAccess, Tampered, UntrustedKey, WeakKey
from icure_sync.ids import HcpId, Kid, is_hcp_id, is_kid

DRAWS_MOST = 64  # of a ciphertext that is to be lower than another: one in two is, unless that was drawn so, too

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
class Wrapped:
    """One Hcp key as it stands in the owner's document: its ciphertexts (owner's, delegate's; one for {AA}), signed."""

    owner: HcpId
    delegate: HcpId
    kid: Kid
    ciphertexts: tuple[str, ...]
    signed: Mapping[str, Any]

    @property
    def epochs(self) -> tuple[int, int]:
        """Of the party keys that it is wrapped for: the owner's, and the delegate's."""
        owner, delegate = self.signed["epochs"]
        return owner, delegate

    def check_signature(self, party: Party) -> None:
        """That the owner, as its document states it, made it. Raises UntrustedKey, Tampered."""
        fields = _signed_fields(self, self.signed["epochs"], self.signed["fingerprints"])
        signed = signed_by(party.signing_key, self.signed["signature"], "hcp-key", *fields)
        if not signed or not FIRST_EPOCH <= self.epochs[0] <= party.epoch:
            raise UntrustedKey(
                f"use the Hcp key {self.owner}→{self.delegate}",
                f"it is not signed by {self.owner}",
                f"ask {self.owner} to share again, and tell whoever runs the server",
            )

    def unwrap(self, identity: Identity) -> HcpKey:
        """The key itself: one RSA decryption. Raises Tampered; NoAccess if it is for a party key that is not here."""
        place = 0 if self.owner == identity.hcp_id else -1
        private = identity.party_key_of(self.signed["fingerprints"][place])
        if private is None:
            raise NoAccess(
                f"unwrap the Hcp key {self.owner}→{self.delegate}",
                "it was wrapped for a party key that this identity does not have",
                f"sync, and ask {self.owner} to share again",
            )
        key = SymmetricKey(private.decrypt(from_text(self.ciphertexts[place])))
        if len(key) != KEY_BYTES or kid(key) != self.kid:
            raise Tampered(
                f"unwrap the Hcp key {self.owner}→{self.delegate}",
                "it is not the key that its kid promises",
                f"ask {self.owner} to share again",
            )
        return HcpKey(self.owner, self.delegate, self.kid, key)


def self_key(identity: Identity) -> HcpKey:
    """{AA}, of the epoch that stands."""
    return HcpKey(identity.hcp_id, identity.hcp_id, kid(identity.self_key), identity.self_key)


def former_self_keys(identity: Identity) -> list[HcpKey]:
    """{AA} of the epochs before it."""
    me = identity.hcp_id
    return [HcpKey(me, me, kid(each.self_key), each.self_key) for each in identity.former]


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


def wrap_again(identity: Identity, party: Party, before: Wrapped, hcp_key: HcpKey, entropy: Entropy) -> Wrapped | None:
    """As `wrap`, in place of `before`, which was for another party key: of the two it is the one that stays.

    Where epochs do not tell, the lowest bytes stay: so drawn until they are lower, which takes a few draws. None if it
    would not stay: `before` is of a later epoch (an Hcp that lost everything begins again with epoch 1; an impostor
    says what he likes), or DRAWS_MOST draws did not do.
    """
    if [-identity.epoch, -party.epoch] > _preference(before)[0]:
        return None
    for _ in range(DRAWS_MOST):
        wrapped = wrap(identity, party, hcp_key, entropy)
        if _preference(wrapped) < _preference(before):
            return wrapped
    return None


def born(identity: Identity) -> Wrapped:
    """{AA} as the identity was born with it: the same bytes on every device."""
    own = Party.of_identity(identity)
    return _signed(identity, own, kid(identity.self_key), (to_text(identity.birth.wrapped),))


def wrapped_keys(doc_id: str, document: Mapping[str, Any]) -> Iterator[Wrapped]:
    """Every Hcp key in an Hcp document, signatures not checked yet. Raises UntrustedKey if the layout is broken."""
    maps: list[Any] = [document.get(name) for name in _MAPS]
    if not all(isinstance(each, dict) and each.keys() == maps[0].keys() for each in maps):
        raise untrusted(doc_id, "its Hcp keys are not laid out as they must be")
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
            raise untrusted(doc_id, f"its Hcp keys for {delegate!r} are not laid out as they must be")
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


def signed_anew(identity: Identity, wrapped: Wrapped) -> Wrapped:
    """The same ciphertexts under this identity's signature: what its Hcp carries on from an epoch before it.

    Ed25519 draws nothing, so all its devices sign alike.
    """
    fields = _signed_fields(wrapped, wrapped.signed["epochs"], wrapped.signed["fingerprints"])
    return replace(wrapped, signed={**wrapped.signed, "signature": identity.sign("hcp-key", *fields)})


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
