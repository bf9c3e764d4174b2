"""The public side of an Hcp, as its document states it: its keys, its epoch, and what became of its keys before.

Owns the layout of `publicKey`, `signingKey` and `identity`. Knows no Hcp keys and no pins: a document that is in itself
sound may still be somebody else's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icure_sync.crypto.envelope import from_text
from icure_sync.crypto.identity import ENDINGS, FIRST_EPOCH, PLANNED, Identity, Previous, fingerprint, signed_by
from icure_sync.crypto.primitives import SIGNING_KEY_BYTES
from icure_sync.errors import UntrustedKey
from icure_sync.ids import HcpId, is_hcp_id

HCP_TYPE = "HealthcareParty"
EPOCHS_MOST = 1_000  # a key that nobody believes is tried against all: more is only a way to waste our time


@dataclass(frozen=True, slots=True)
class Party:
    """`previous`: its former signing keys, one for each epoch before. If the last ended as planned, it endorsed this
    identity."""

    hcp_id: HcpId
    public_key: bytes  # SPKI
    signing_key: bytes
    epoch: int
    previous: tuple[Previous, ...] = ()

    @classmethod
    def of(cls, doc_id: str, document: Mapping[str, Any]) -> Party:
        """From an Hcp document; the signatures of its identity are checked. Raises UntrustedKey, Tampered."""
        stated = document.get("identity")
        if document.get("type") != HCP_TYPE or not is_hcp_id(doc_id) or not isinstance(stated, dict):
            raise untrusted(doc_id, "its identity is not stated as it must be")
        previous = former_keys(doc_id, stated.get("previous"))
        epoch = stated.get("epoch")
        if type(epoch) is not int or epoch != FIRST_EPOCH + len(previous) or epoch > EPOCHS_MOST:
            raise untrusted(doc_id, "its epoch is not that of its former keys")
        is_endorsed = bool(previous) and previous[-1].ended == PLANNED
        if stated.keys() != {"epoch", "previous", "signature", *(["endorsement"] if is_endorsed else [])}:
            raise untrusted(doc_id, "its identity is not stated as it must be")
        public_key, signing_key = document.get("publicKey"), document.get("signingKey")
        party = cls(HcpId(doc_id), from_text(public_key), from_text(signing_key), epoch, previous)
        if any(each.signing_key == party.signing_key for each in previous):
            raise untrusted(doc_id, "its signing key is one that ended")
        fields = (doc_id, public_key, signing_key, epoch, stated["previous"])
        if not signed_by(party.signing_key, stated["signature"], "identity", *fields):
            raise untrusted(doc_id, "the signature of its identity does not hold")
        if is_endorsed and not signed_by(previous[-1].signing_key, stated["endorsement"], "endorsement", *fields):
            raise untrusted(doc_id, "the key before it did not endorse its identity")
        return party

    @classmethod
    def of_identity(cls, identity: Identity) -> Party:
        """The public side of an own identity."""
        public_key = identity.party_key.public.spki
        return cls(identity.hcp_id, public_key, identity.signing_key.public, identity.epoch, identity.previous)

    def is_endorsed_by(self, signing_key: bytes) -> bool:
        """Whether the Hcp planned this change when this was its signing key."""
        return bool(self.previous) and self.previous[-1] == Previous(signing_key, PLANNED)

    def comes_after(self, signing_key: bytes) -> bool:
        """Whether it states that this was a key of its own before."""
        return any(each.signing_key == signing_key for each in self.previous)

    @property
    def fingerprint(self) -> str:
        """Of the party key: 32 hex digits."""
        return fingerprint(self.public_key)


def identity_members(identity: Identity) -> dict[str, Any]:
    """`publicKey`, `signingKey` and `identity` of the Hcp document."""
    fields = identity.stated()
    _, public_key, signing_key, epoch, previous = fields
    stated = {"epoch": epoch, "previous": previous, "signature": identity.sign("identity", *fields)}
    if identity.endorsement:
        stated["endorsement"] = identity.endorsement
    return {"publicKey": public_key, "signingKey": signing_key, "identity": stated}


def untrusted(doc_id: str, wrong: str) -> UntrustedKey:
    """Of an Hcp document that is not sound in itself."""
    return UntrustedKey(
        f"trust the Hcp document {doc_id}",
        wrong,
        "compare fingerprints with that Hcp, and tell whoever runs the server",
    )


def former_keys(doc_id: str, stated: Any) -> tuple[Previous, ...]:
    """One for each epoch before, as `Previous.stated` has them. Raises UntrustedKey, Tampered."""
    if not isinstance(stated, list) or not all(map(_is_previous, stated)):
        raise untrusted(doc_id, "its former keys, one for each epoch before, are not stated as they must be")
    keys = [from_text(each["signingKey"]) for each in stated]
    if any(len(key) != SIGNING_KEY_BYTES for key in keys) or len(set(keys)) < len(keys):
        raise untrusted(doc_id, "its former keys, one for each epoch before, are no such keys")
    return tuple(Previous(key, each["ended"]) for key, each in zip(keys, stated, strict=True))


def _is_previous(stated: Any) -> bool:
    return isinstance(stated, dict) and stated.keys() == {"signingKey", "ended"} and stated["ended"] in ENDINGS
