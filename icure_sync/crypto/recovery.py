"""The identity of an Hcp, sealed under a recovery secret and kept on the server: document type `Recovery`. Pure.

Owns the layout, and how an identity is sealed under a secret. The id of the document is derived from the secret, so
whoever has the secret finds it with nothing else; the envelope binds the identity to all that the document says in
clear. Whoever reads the document without the secret learns when it was made and how many people share the secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icure_sync.canonical import MAX_INTEGER, canonical
from icure_sync.crypto.access import SUITE
from icure_sync.crypto.envelope import SALT_BYTES, check_padding, from_text, open_envelope, pad, seal, to_text
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.primitives import Entropy
from icure_sync.crypto.publishing import SEALED, check_members, malformed
from icure_sync.crypto.shares import RecoverySecret, Split
from icure_sync.errors import InvalidEntity
from icure_sync.ids import DocId, HcpId

RECOVERY_TYPE = "Recovery"
KEY_USE = "key"  # of the secret: it seals the identity

_MEMBERS = frozenset({"epoch", "made", "shares", SEALED})
_NOT_SEALED = (SEALED, "parents", "written")  # what associated data cannot cover: written again, a document has others


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a Recovery document says in clear. `made`: ms since 1970; `split`: None for a code."""

    id: DocId
    hcp: HcpId
    epoch: int
    made: int
    split: Split | None

    @classmethod
    def of(cls, doc_id: DocId, document: Mapping[str, Any]) -> Recovery:
        """Of a document, or of its withdrawal, whose signature has not been looked at. Raises Tampered."""
        by = check_members(doc_id, document, RECOVERY_TYPE, _MEMBERS)
        if (
            document["delegations"] != {by: []}
            or not is_number(document["epoch"], 1)
            or not is_number(document["made"])
        ):
            raise malformed(doc_id, RECOVERY_TYPE)
        split = None if document["shares"] is None else read_split(doc_id, RECOVERY_TYPE, document["shares"])
        return cls(doc_id, HcpId(by), document["epoch"], document["made"], split)


def recovery_id(secret: RecoverySecret) -> DocId:
    """Where the document of a secret is."""
    return DocId(f"recovery-{secret.name}")


def recovery_members(
    secret: RecoverySecret, identity: Identity, made: int, split: Split | None, entropy: Entropy
) -> dict[str, Any]:
    """The members of a new document, to be published under `recovery_id`. `made`: ms since 1970."""
    clear = {
        "type": RECOVERY_TYPE,
        "cryptoSuite": SUITE,
        "delegations": {identity.hcp_id: []},
        "epoch": identity.epoch,
        "made": made,
        "shares": None if split is None else {"threshold": split.threshold, "count": split.count},
    }
    return {**clear, SEALED: seal_identity(secret, identity, recovery_id(secret), clear, entropy)}


def open_recovery(secret: RecoverySecret, doc_id: DocId, document: Mapping[str, Any]) -> Identity:
    """The identity in a document. Raises Tampered; StoreCorrupt and WeakKey for what nobody sealed in good faith."""
    recovery = Recovery.of(doc_id, document)
    identity = open_identity(secret, doc_id, document)
    if (identity.hcp_id, identity.epoch) != (recovery.hcp, recovery.epoch):
        raise malformed(doc_id, RECOVERY_TYPE)
    return identity


def seal_identity(
    secret: RecoverySecret, identity: Identity, doc_id: DocId, clear: Mapping[str, Any], entropy: Entropy
) -> str:
    """An identity as an envelope under a secret, bound to the document's id and to what it says in clear."""
    return to_text(
        seal(secret.key(KEY_USE), pad(identity.secret()), _associated(secret, doc_id, clear), entropy(SALT_BYTES))
    )


def open_identity(secret: RecoverySecret, doc_id: DocId, document: Mapping[str, Any]) -> Identity:
    """What `seal_identity` sealed. Raises Tampered (of a withdrawal, too);
    StoreCorrupt, WeakKey."""
    sealed = from_text(document.get(SEALED))
    padded = open_envelope(secret.key(KEY_USE), sealed, _associated(secret, doc_id, document))
    text = padded.rstrip(b"\x00")
    check_padding(padded, len(text))
    return Identity.of_secret(text)


def read_split(doc_id: DocId, type_: str, stated: Any) -> Split:
    """`{"threshold", "count"}`. Raises Tampered."""
    if isinstance(stated, dict) and stated.keys() == {"threshold", "count"} and all(map(is_number, stated.values())):
        try:
            return Split(stated["threshold"], stated["count"])
        except InvalidEntity:
            pass
    raise malformed(doc_id, type_)


def is_number(value: Any, least: int = 0) -> bool:
    """An integer, and no boolean, of at least so much."""
    return type(value) is int and least <= value <= MAX_INTEGER


def _associated(secret: RecoverySecret, doc_id: DocId, document: Mapping[str, Any]) -> bytes:
    clear = {name: value for name, value in document.items() if name not in _NOT_SEALED}
    return canonical([f"icure-sync/{secret.purpose}/1", doc_id, clear])
