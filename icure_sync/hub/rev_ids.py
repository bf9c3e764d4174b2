"""The revision ids of edits: the same edit gets the same id on a hub as on a CouchDB, so that both need not be merged.

Source: CouchDB's `couch_db:new_revid`: MD5 over an Erlang list of what is written. No secret depends on it. Knows no
store. A CouchDB compresses attachments of some types before it takes their MD5: with such ones the ids differ.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import msgspec

from icure_sync.hub.drafts import Draft
from icure_sync.hub.erlang import Triple, pack_term
from icure_sync.ids import Rev, generation, rev_hash
from icure_sync.replication.wire import Attachment

_MD5_DIGITS = 32  # of an id that CouchDB holds as the bytes these stand for


def next_rev(draft: Draft, parent: Rev | None, attachments: Mapping[str, Attachment]) -> Rev:
    """The id of the child of `parent` that this draft is. `attachments`: by name, in the order of the draft."""
    start = generation(parent) if parent else 0
    files = [
        Triple(one.name, one.content_type, base64.b64decode(one.digest.removeprefix("md5-")))
        for one in reversed(list(attachments.values()))
    ]
    body = msgspec.json.decode(draft.body)
    term = pack_term([draft.deleted, start, _hash_of(parent), body, files])
    return Rev(f"{start + 1}-{hashlib.md5(term, usedforsecurity=False).hexdigest()}")


def _hash_of(parent: Rev | None) -> bytes | str | int:
    if parent is None:
        return 0
    digits = rev_hash(parent)
    try:
        return bytes.fromhex(digits) if len(digits) == _MD5_DIGITS else digits
    except ValueError:
        return digits
