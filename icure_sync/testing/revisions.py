"""Revisions made by hand, for tests of peers. Owns nothing but their form."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Attachment, Revision


def rev(generation: int, mark: int) -> Rev:
    """A revision id as CouchDB writes them."""
    return Rev(f"{generation}-{mark:032x}")


def revision(
    doc_id: str,
    *history: str,
    body: bytes = b'{"n":1}',
    deleted: bool = False,
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> Revision:
    """A revision with its history, newest first; `files` are attachments, described without their bytes."""
    described = {
        name: Attachment(name, "application/octet-stream", len(data), digest(data), len(history))
        for name, data in files.items()
    }
    return Revision(DocId(doc_id), tuple(Rev(each) for each in history), body, deleted, described)


def digest(data: bytes) -> str:
    """What a peer might state of these bytes."""
    return "sha256-" + hashlib.sha256(data).hexdigest()
