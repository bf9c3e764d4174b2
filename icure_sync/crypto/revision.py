"""Revision ids, and the signature that binds a revision to its writer. Knows documents as plain values only.

A document here is the JSON object without its members that begin with `_` (CouchDB's own). The id of a revision is a
function of what was written, so devices that write the same bytes write the same revision.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from icure_sync.canonical import canonical
from icure_sync.crypto.access import SUITE
from icure_sync.crypto.identity import Identity, signed_bytes
from icure_sync.crypto.primitives import sha256
from icure_sync.crypto.signers import Judgement, Signer
from icure_sync.errors import Misplaced, Tampered
from icure_sync.ids import DocId, Rev, generation, is_hcp_id, is_rev, rev_order

REV_DIGITS = 32

_NEXT_STEP = "keep it aside and tell whoever runs the server"


def extended(parents: Sequence[Rev]) -> Rev | None:
    """The parent under which a revision stands in the tree: the winner among its parents by CouchDB's rule."""
    return max(parents, key=rev_order, default=None)


def revision_id(doc_id: str, document: Mapping[str, Any], by: str) -> Rev:
    """`N-` and 32 hex digits of SHA-256 of `C["icure-sync/revision-id/1", type, id, parents, written.by, body]`.

    body: the document without `written` and members that begin with `_`. N = 1 + the generation of the parent that it
    extends.
    """
    parents = document["parents"]
    body = {name: value for name, value in document.items() if name != "written" and name[:1] != "_"}
    hashed = canonical(["icure-sync/revision-id/1", document["type"], doc_id, parents, by, body])
    above = extended(parents)
    return Rev(f"{generation(above) + 1 if above else 1}-{sha256(hashed).hex()[:REV_DIGITS]}")


def written(doc_id: DocId, document: Mapping[str, Any], identity: Identity) -> tuple[Rev, dict[str, Any]]:
    """The revision id of this document, and the document with `written`: signed over (suite, type, id, revision id)."""
    rev = revision_id(doc_id, document, identity.hcp_id)
    signature = identity.sign("written", SUITE, document["type"], doc_id, rev)
    return rev, {**document, "written": {"by": identity.hcp_id, "signature": signature}}


def written_message(doc_id: str, rev: Rev, document: Mapping[str, Any]) -> bytes:
    """What the writer of this revision signed."""
    return signed_bytes("written", (SUITE, document["type"], doc_id, rev))


def writer_of(doc_id: str, document: Mapping[str, Any]) -> str:
    """Who says to have written it. Raises Tampered if that is not stated as it must be."""
    mark = document.get("written")
    if (
        not isinstance(mark, dict)
        or mark.keys() != {"by", "signature"}
        or not is_hcp_id(mark["by"])
        or not isinstance(mark["signature"], str)
    ):
        raise _tampered(doc_id, "its writer is not stated as it must be")
    return str(mark["by"])


def check_revision_id(doc_id: str, rev: Rev, document: Mapping[str, Any]) -> None:
    """That the revision id is the computed one. Raises Tampered; InvalidEntity for what has no canonical form."""
    parents = document.get("parents")
    if not isinstance(parents, list) or not all(is_rev(parent) for parent in parents) or "type" not in document:
        raise _tampered(doc_id, "its parents are not revision ids, or it has no type")
    if revision_id(doc_id, document, writer_of(doc_id, document)) != rev:
        raise _tampered(doc_id, "its revision id is not that of its content")


def check_written(doc_id: str, rev: Rev, document: Mapping[str, Any], signer: Signer) -> bool:
    """That the revision id is the computed one and the writer signed it: False if that cannot be said yet (*pending*).

    Raises as `check_revision_id`.
    """
    check_revision_id(doc_id, rev, document)
    by, signature = document["written"]["by"], document["written"]["signature"]
    found = signer.check(signature, "written", SUITE, document["type"], doc_id, rev)
    if found is Judgement.FORGED:
        raise _tampered(doc_id, f"the signature of {by} does not hold")
    return found is Judgement.HOLDS


def check_place(doc_id: str, document: Mapping[str, Any], tree_parents: Collection[Rev]) -> None:
    """That it stands in the tree under the parent that it extends.

    `tree_parents`: none at the root or past stemming; several if somebody claims a second parent, which must not make a
    genuine revision look moved.

    Raises Tampered.
    """
    if tree_parents and extended(document["parents"]) not in tree_parents:
        raise Misplaced(
            f"trust document {doc_id}", "it stands in the revision tree where its writer did not put it", _NEXT_STEP
        )


def _tampered(doc_id: str, wrong: str) -> Tampered:
    return Tampered(f"trust document {doc_id}", wrong, _NEXT_STEP)
