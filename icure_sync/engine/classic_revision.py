"""Revision ids of what this replica writes in `icure-classic`, where a server would choose them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icure_sync import strict_json
from icure_sync.canonical import pack
from icure_sync.crypto.primitives import sha256
from icure_sync.crypto.revision import REV_DIGITS, extended
from icure_sync.engine.suite import Stored, Written
from icure_sync.ids import DocId, Rev, generation


def next_revision(doc_id: DocId, above: Stored | None, document: Mapping[str, Any]) -> Written:
    """The revision that extends `above` with this document: `N-` and 32 hex digits of SHA-256 of id, parent and the
    bytes of the body, which other software may have filled with what has no canonical form.

    Of a merge that is not stored, it extends the winner among the leaves, and is stored with what ends the others.
    Devices that write the same bytes under the same parent write the same revision.
    """
    parent = (extended(above.leaves) or above.rev) if above else None
    return Written(doc_id, _revision(doc_id, parent, document), parent, document, beside=above.beside if above else ())


def tombstone(leaf: Stored) -> Written:
    """What ends a leaf: the same from everybody, empty as other software writes it."""
    return Written(leaf.id, _revision(leaf.id, leaf.rev, {}), leaf.rev, {}, deleted=True)


def _revision(doc_id: DocId, parent: Rev | None, document: Mapping[str, Any]) -> Rev:
    head = pack(["icure-sync/classic-revision-id/1", doc_id, parent])
    hashed = sha256(head + strict_json.dumps(document)).hex()
    return Rev(f"{generation(parent) + 1 if parent else 1}-{hashed[:REV_DIGITS]}")
