"""Revision ids of what this replica writes in `icure-classic`, where a server would choose them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icure_sync import strict_json
from icure_sync.canonical import pack
from icure_sync.crypto.primitives import sha256
from icure_sync.crypto.revision import REV_DIGITS
from icure_sync.engine.suite import Stored, Written
from icure_sync.ids import DocId, Rev, generation


def next_revision(doc_id: DocId, above: Stored | None, document: Mapping[str, Any]) -> Written:
    """The revision that extends `above` with this document: `N-` and 32 hex digits of SHA-256 of id, parent and the
    bytes of the body, which other software may have filled with what has no canonical form.

    Devices that write the same bytes under the same parent write the same revision.
    """
    parent = above.rev if above else None
    head = pack(["icure-sync/classic-revision-id/1", doc_id, parent])
    hashed = sha256(head + strict_json.dumps(document)).hex()
    rev = Rev(f"{generation(parent) + 1 if parent else 1}-{hashed[:REV_DIGITS]}")
    return Written(doc_id, rev, parent, document)
