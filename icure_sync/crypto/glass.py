"""Emergency access to a patient's records, behind glass that k of n people break together. Pure.

Owns two documents. A `BreakGlass` holds the identity of an emergency Hcp, which the records are shared with like with
any other, sealed under a secret that is split; its owner, who prepared it, signs it. A `GlassOpened` tells the owner
who opened it, and why; the emergency Hcp signs it. The key that seals this evidence comes from the secret too, and the
owner keeps it wrapped under {owner, owner}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icure_sync.canonical import canonical, check_canonical, unpack
from icure_sync.crypto.access import SUITE
from icure_sync.crypto.envelope import SALT_BYTES, check_padding, from_text, open_envelope, pad, seal, to_text
from icure_sync.crypto.hcp_keys import HcpKey
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.primitives import Entropy, SymmetricKey
from icure_sync.crypto.publishing import SEALED, check_members, malformed
from icure_sync.crypto.recovery import is_number, open_identity, read_split, seal_identity
from icure_sync.crypto.shares import SHARES_MOST, RecoverySecret, Split
from icure_sync.errors import InvalidEntity
from icure_sync.ids import DocId, HcpId, Kid, is_hcp_id, is_kid

GLASS_TYPE = "BreakGlass"
OPENED_TYPE = "GlassOpened"
GLASS_PREFIX = "glass-"  # of the ids of emergency Hcps
REASON_MOST, NAME_MOST = 300, 100  # characters: some sentences, and who says them; both go into the audit trail

_GLASS = frozenset({"glass", "glassKey", "ownerKey", "patient", "made", "shares", "evidence", SEALED})
_OPENED = frozenset({"glass", SEALED})
_EVIDENCE_USE = "evidence"  # of the secret


@dataclass(frozen=True, slots=True, repr=False)
class Glass:
    """What a BreakGlass document says in clear.

    `hcp`: the emergency Hcp, whose signing key is `signing_key`; `owner_key`: the owner's, when it was made, so that
    whoever opens it takes nobody else for the owner. `made`: ms since 1970. `evidence`: the kid of an Hcp key {owner,
    owner}, and the key of the evidence under it.
    """

    id: DocId
    owner: HcpId
    owner_key: bytes
    hcp: HcpId
    signing_key: bytes
    patient: DocId
    made: int
    split: Split
    evidence: tuple[Kid, str]

    @classmethod
    def of(cls, doc_id: DocId, document: Mapping[str, Any]) -> Glass:
        """Of a document, or of its withdrawal, whose signature has not been looked at. Raises Tampered."""
        owner = check_members(doc_id, document, GLASS_TYPE, _GLASS)
        hcp, evidence = document["glass"], document["evidence"]
        if (
            not (is_hcp_id(hcp) and hcp.startswith(GLASS_PREFIX))
            or document["delegations"] != {owner: [], hcp: []}
            or not isinstance(document["patient"], str)
            or not is_number(document["made"])
            or not isinstance(evidence, dict)
            or evidence.keys() != {"kid", "key"}
            or not is_kid(evidence["kid"])
            or not isinstance(evidence["key"], str)
        ):
            raise malformed(doc_id, GLASS_TYPE)
        return cls(
            id=doc_id,
            owner=HcpId(owner),
            owner_key=from_text(document["ownerKey"]),
            hcp=HcpId(hcp),
            signing_key=from_text(document["glassKey"]),
            patient=DocId(document["patient"]),
            made=document["made"],
            split=read_split(doc_id, GLASS_TYPE, document["shares"]),
            evidence=(Kid(evidence["kid"]), evidence["key"]),
        )

    def evidence_key(self, self_key: HcpKey) -> SymmetricKey:
        """For the owner: what the evidence is sealed with. `self_key`: of the kid that `evidence` names.

        Raises Tampered.
        """
        associated = _evidence_associated(self.id, self.owner, self.hcp, self.evidence[0])
        return SymmetricKey(open_envelope(self_key.key, from_text(self.evidence[1]), associated))


@dataclass(frozen=True, slots=True)
class GlassOpened:
    """The evidence: who opened the emergency access of `hcp`, as they say; why; when, ms since 1970 by their clock; and
    by which shares."""

    id: DocId
    hcp: HcpId
    by: str
    reason: str
    time: int
    shares: tuple[int, ...]


def glass_id(secret: RecoverySecret) -> DocId:
    """Where the document of a secret is."""
    return DocId(f"break-{GLASS_PREFIX}{secret.name}")


def glass_members(
    secret: RecoverySecret,
    glass: Identity,
    owner: Identity,
    self_key: HcpKey,
    *,
    patient: str,
    made: int,
    split: Split,
    entropy: Entropy,
) -> dict[str, Any]:
    """The members of a new document, for the owner to publish under `glass_id`. `self_key`: {owner, owner}."""
    doc_id = glass_id(secret)
    associated = _evidence_associated(doc_id, owner.hcp_id, glass.hcp_id, self_key.kid)
    wrapped = seal(self_key.key, evidence_key(secret), associated, entropy(SALT_BYTES))
    clear = {
        "type": GLASS_TYPE,
        "cryptoSuite": SUITE,
        "delegations": {owner.hcp_id: [], glass.hcp_id: []},
        "glass": glass.hcp_id,
        "glassKey": to_text(glass.signing_key.public),
        "ownerKey": to_text(owner.signing_key.public),
        "patient": patient,
        "made": made,
        "shares": {"threshold": split.threshold, "count": split.count},
        "evidence": {"kid": self_key.kid, "key": to_text(wrapped)},
    }
    return {**clear, SEALED: seal_identity(secret, glass, doc_id, clear, entropy)}


def open_glass(secret: RecoverySecret, doc_id: DocId, document: Mapping[str, Any]) -> tuple[Glass, Identity]:
    """What the document says, and the identity of the emergency Hcp. Raises Tampered; StoreCorrupt, WeakKey."""
    glass = Glass.of(doc_id, document)
    identity = open_identity(secret, doc_id, document)
    if (identity.hcp_id, identity.signing_key.public) != (glass.hcp, glass.signing_key):
        raise malformed(doc_id, GLASS_TYPE)
    return glass, identity


def evidence_key(secret: RecoverySecret) -> SymmetricKey:
    """For whoever opens it: what the evidence is sealed with."""
    return secret.key(_EVIDENCE_USE)


def opened_members(opened: GlassOpened, owner: str, key: SymmetricKey, entropy: Entropy) -> dict[str, Any]:
    """The members of the evidence, for the emergency Hcp to publish. Raises InvalidEntity for a text that is
    empty, too long, or of several lines."""
    for text, most, what in ((opened.by, NAME_MOST, "who opens it"), (opened.reason, REASON_MOST, "the reason")):
        if not _is_line(text, most):
            wrong = f"{what} is not 1 to {most} characters on one line"
            raise InvalidEntity("open the emergency access", wrong, "say it so")
    clear = {
        "type": OPENED_TYPE,
        "cryptoSuite": SUITE,
        "delegations": {owner: [], opened.hcp: []},
        "glass": opened.hcp,
    }
    said = {"by": opened.by, "reason": opened.reason, "time": opened.time, "shares": list(opened.shares)}
    sealed = seal(key, pad(canonical(said)), _opened_associated(opened.id, clear), entropy(SALT_BYTES))
    return {**clear, SEALED: to_text(sealed)}


def opened_hcp(doc_id: DocId, document: Mapping[str, Any], owner: str) -> HcpId:
    """Whose emergency access was opened, as a piece of evidence for `owner` says in clear. Raises Tampered."""
    by = check_members(doc_id, document, OPENED_TYPE, _OPENED)
    if document["glass"] != by or document["delegations"] != {owner: [], by: []}:
        raise malformed(doc_id, OPENED_TYPE)
    return HcpId(by)


def read_opened(doc_id: DocId, document: Mapping[str, Any], owner: str, key: SymmetricKey) -> GlassOpened:
    """What the evidence says, whose signature has been looked at. Raises Tampered, InvalidEntity."""
    hcp = opened_hcp(doc_id, document, owner)
    clear = {name: document[name] for name in ("type", "cryptoSuite", "delegations", "glass")}
    padded = open_envelope(key, from_text(document.get(SEALED)), _opened_associated(doc_id, clear))
    said, length = unpack(padded)
    check_canonical(padded, length, said)
    check_padding(padded, length)
    match said:
        case {"by": str(by), "reason": str(reason), "time": int(time), "shares": list(shares), **rest} if (
            not rest and _is_line(by, NAME_MOST) and _is_line(reason, REASON_MOST) and is_number(time)
        ) and _are_indexes(shares):
            return GlassOpened(doc_id, hcp, by, reason, time, tuple(shares))
    raise malformed(doc_id, OPENED_TYPE)


def _is_line(text: str, most: int) -> bool:
    return 0 < len(text) <= most and text.isprintable()


def _are_indexes(shares: list[Any]) -> bool:
    """Of different shares, and no more of them than there can be: whoever has the secret may write what he likes."""
    are_numbers = len(shares) <= SHARES_MOST and all(is_number(share, 1) for share in shares)
    return are_numbers and max(shares, default=1) <= SHARES_MOST and len(set(shares)) == len(shares)


def _evidence_associated(doc_id: str, owner: str, glass: str, kid: str) -> bytes:
    return canonical(["icure-sync/glass-evidence/1", doc_id, owner, glass, kid])


def _opened_associated(doc_id: str, clear: Mapping[str, Any]) -> bytes:
    return canonical(["icure-sync/glass-opened/1", doc_id, clear])
