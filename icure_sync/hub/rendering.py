"""Documents as clients read them: the stored body, with the `_` members that were asked for, as pieces of JSON.

Bodies are joined as text, never decoded. An attachment's bytes are not in memory: a `Blob` stands where they go.
Runs in the store's thread; knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from icure_sync.hub.answers import encode
from icure_sync.ids import DocId, Rev, generation, rev_hash
from icure_sync.merge.revtree import RevTree
from icure_sync.replication.wire import Attachment, Revision
from icure_sync.store import Store

Bytes = Literal["stub", "data", "follows"]


@dataclass(frozen=True, slots=True)
class Blob:
    """Where the bytes of one attachment go. `base64`: inside JSON; else as they are."""

    doc_id: DocId
    rev: Rev
    attachment: Attachment
    base64: bool = True


Piece = bytes | Blob


@dataclass(frozen=True, slots=True)
class Shape:
    """Which members of a document are wanted besides its body.

    `attachments`: what to do with those newer than `atts_since` (the rest are stubs). `att_encoding_info`: how they are
    packed.
    """

    revs: bool = False
    revs_info: bool = False
    conflicts: bool = False
    deleted_conflicts: bool = False
    local_seq: bool = False
    attachments: Bytes = "stub"
    atts_since: tuple[Rev, ...] = ()
    att_encoding_info: bool = False

    def of_revision(self) -> Shape:
        """What is shown of a revision asked for by name: not what belongs to the document as a whole."""
        return replace(self, revs_info=False, conflicts=False, deleted_conflicts=False, local_seq=False)


PLAIN = Shape()


@dataclass(frozen=True, slots=True)
class Rendered:
    """One document as JSON. `extra`: it shows more than the revision itself, so its rev is no entity tag.

    `following`: the attachments whose bytes are to follow the document (`follows`).
    """

    revision: Revision
    pieces: tuple[Piece, ...]
    extra: bool
    following: tuple[Attachment, ...]


def render(store: Store, revision: Revision, shape: Shape, tree: RevTree | None = None) -> Rendered:
    """`tree` is what `conflicts` and the like are read from; without it those are left out (an older revision)."""
    head: dict[str, Any] = {"_id": revision.id, "_rev": revision.rev}
    if revision.deleted:
        head["_deleted"] = True
    if shape.revs:
        head["_revisions"] = revisions_member(revision.history)
    meta = _meta(store, revision, shape, tree)
    head |= meta
    newer = _newer(revision, shape) if revision.attachments else ()
    pieces = _with_attachments(revision, head, shape, newer)
    following = newer if shape.attachments == "follows" else ()
    return Rendered(revision, pieces, bool(meta), following)


def revisions_member(history: tuple[Rev, ...]) -> dict[str, Any]:
    """`_revisions`: the generation of the newest and the hashes down from it."""
    return {"start": generation(history[0]), "ids": [rev_hash(rev) for rev in history]}


def splice(head: bytes, body: bytes) -> bytes:
    """One JSON object of the members of two."""
    rest = body[1:]
    if len(rest) < 16 and rest.strip() == b"}":
        return head
    return head[:-1] + b"," + rest


def _meta(store: Store, revision: Revision, shape: Shape, tree: RevTree | None) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    if shape.revs_info:
        meta["_revs_info"] = [
            {"rev": rev, "status": _status(store, revision, rev, depth)} for depth, rev in enumerate(revision.history)
        ]
    if tree is None:
        return meta
    others = tree.leaves()[1:]
    conflicts = [leaf.rev for leaf in others if not leaf.deleted] if shape.conflicts else []
    gone = [leaf.rev for leaf in others if leaf.deleted] if shape.deleted_conflicts else []
    if conflicts:
        meta["_conflicts"] = conflicts
    if gone:
        meta["_deleted_conflicts"] = gone
    if shape.local_seq:
        meta["_local_seq"] = store.documents.seq_of(revision.id)
    return meta


def _status(store: Store, revision: Revision, rev: Rev, depth: int) -> str:
    found = revision if depth == 0 else store.documents.get(revision.id, rev)
    if found is None:
        return "missing"
    return "deleted" if found.deleted else "available"


def _newer(revision: Revision, shape: Shape) -> tuple[Attachment, ...]:
    """The attachments that came after the newest of `atts_since` in this history; all, if none of them is in it.

    `revpos` 0 is what came inline without one, as a CouchDB keeps it: there is no telling what that is newer than.
    """
    if shape.attachments == "stub":
        return ()
    known = set(shape.atts_since)
    since = next((generation(rev) for rev in revision.history if rev in known), 0)
    return tuple(one for _, one in sorted(revision.attachments.items()) if one.revpos > since or not one.revpos)


def _with_attachments(
    revision: Revision, head: dict[str, Any], shape: Shape, newer: tuple[Attachment, ...]
) -> tuple[Piece, ...]:
    if not revision.attachments:
        return (splice(encode(head), revision.body),)
    inline = set(newer) if shape.attachments == "data" else set()
    stubs = {
        name: _entry(one, "follows" if one in newer else "stub", shape)
        for name, one in sorted(revision.attachments.items())
        if one not in inline
    }
    if not inline:
        return (splice(encode({**head, "_attachments": stubs}), revision.body),)
    pieces: list[Piece] = [encode(head)[:-1] + b',"_attachments":' + encode(stubs)[:-1]]
    comma = b"," if stubs else b""
    for one in newer:
        facts = encode(_entry(one, "data", shape))[:-1]
        pieces += [comma + encode(one.name) + b":" + facts + b',"data":"', Blob(revision.id, revision.rev, one), b'"}']
        comma = b","
    pieces.append(splice(b"}}", revision.body))
    return tuple(pieces)


def _entry(one: Attachment, how: Bytes, shape: Shape) -> Mapping[str, Any]:
    facts: dict[str, Any] = {"content_type": one.content_type, "revpos": one.revpos, "digest": one.digest}
    if how != "data":
        facts |= {"length": one.length, how: True}
    if one.gzip_length is not None and (how == "follows" or shape.att_encoding_info):
        facts |= {"encoding": "gzip", "encoded_length": one.gzip_length}
    return facts
