"""Documents that an Hcp writes about itself, beside its records: they are signed as a whole, and can be withdrawn.

Owns their signature, and the tombstone that withdraws one. What they say is for the modules of each kind. Pure.

CouchDB lets whoever may write delete them; only a tombstone that their Hcp signed withdraws them, and any other is
undone by writing them again above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icure_sync.crypto.access import SUITE
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.revision import check_written, writer_of, written
from icure_sync.crypto.signers import Signer
from icure_sync.errors import InvalidEntity, Tampered
from icure_sync.ids import DocId, Rev

SEALED = "sealed"  # the member that a withdrawal leaves out
_COMMON = frozenset({"type", "cryptoSuite", "parents", "delegations", "written"})
_WITHDRAWN = "withdrawn"


def publish(
    doc_id: DocId, members: Mapping[str, Any], identity: Identity, above: Rev | None = None
) -> tuple[Rev, dict[str, Any]]:
    """A document of these members, `type`, `cryptoSuite` and `delegations` among them; with `above`, over that
    revision."""
    unsigned = {name: value for name, value in members.items() if name != "written"}
    return written(doc_id, {**unsigned, "parents": [above] if above else []}, identity)


def withdraw(doc_id: DocId, document: Mapping[str, Any], above: Rev, identity: Identity) -> tuple[Rev, dict[str, Any]]:
    """The tombstone of a published document, which says all that it said but what was sealed."""
    kept = {name: value for name, value in document.items() if name != SEALED}
    return publish(doc_id, {**kept, _WITHDRAWN: True}, identity, above)


def is_withdrawal(document: Mapping[str, Any]) -> bool:
    """Whether a deleted revision says to withdraw a document; not whether that holds."""
    return document.get(_WITHDRAWN) is True


def holds(doc_id: DocId, rev: Rev, document: Mapping[str, Any], signer: Signer) -> bool:
    """Whether a published document, or its withdrawal, is signed by who it says wrote it, and `signer` is known of."""
    try:
        return check_written(doc_id, rev, document, signer)
    except (Tampered, InvalidEntity):
        return False


def check_members(doc_id: DocId, document: Mapping[str, Any], type_: str, members: frozenset[str]) -> str:
    """Who says to have written a document of this type, which has these members beside the common ones and no others;
    a withdrawal has all but the sealed one. Raises Tampered."""
    expected = _COMMON | ((members - {SEALED}) | {_WITHDRAWN} if is_withdrawal(document) else members)
    parents = document.get("parents")
    if (
        document.keys() != expected
        or document["type"] != type_
        or document["cryptoSuite"] != SUITE
        or not isinstance(parents, list)
        or len(parents) > 1
    ):
        raise malformed(doc_id, type_)
    return writer_of(doc_id, document)


def malformed(doc_id: str, type_: str) -> Tampered:
    """It is not laid out as a document of this type."""
    return Tampered(
        f"read the {type_} document {doc_id}", "it is not laid out as it must be", "tell whoever runs the server"
    )
