"""How documents get into a store: edits (new revisions on a leaf) and revisions that were made elsewhere.

Runs in the store's thread, inside one transaction of the caller's. Knows no HTTP but refusals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from icure_sync import strict_json
from icure_sync.hub.drafts import Draft, Part
from icure_sync.hub.errors import HttpRefusal, bad_request, conflict, missing_stub
from icure_sync.hub.rev_ids import next_rev
from icure_sync.ids import DocId, Rev, generation
from icure_sync.merge.revtree import RevTree
from icure_sync.replication.wire import Attachment, Refusal, Revision
from icure_sync.store import Blob, Store

_BOUNDLESS = "a number in it is beyond what readers can hold"


@dataclass(frozen=True, slots=True)
class File:
    """Bytes that are in the store. `inside`: they are gzip, and hold so many bytes; None: they are what they are."""

    blob: Blob
    inside: int | None = None

    @classmethod
    def of(cls, stub: Attachment, blob: Blob) -> File:
        """The bytes of an attachment that is here."""
        return cls(blob, None if stub.gzip_length is None else stub.length)

    def stub(self, name: str, content_type: str, revpos: int) -> Attachment:
        """What a revision says of them."""
        blob = self.blob
        if self.inside is None:
            return Attachment(name, content_type, blob.length, blob.digest, revpos)
        return Attachment(name, content_type, self.inside, blob.digest, revpos, gzip_length=blob.length)


Uploads = Mapping[str, File]  # attachment name -> bytes that came beside the document


@dataclass(frozen=True, slots=True)
class _Files:
    """The attachments of a revision to be, and where their bytes are."""

    stubs: Mapping[str, Attachment]
    blobs: Mapping[str, Blob | None]


def edit(store: Store, draft: Draft, uploads: Uploads) -> Rev:
    """A new revision on a leaf (`new_edits=true`). Raises conflict, missing_stub, bad_request."""
    if strict_json.has_boundless_number(draft.body):
        raise bad_request(_BOUNDLESS)
    with store.transaction():
        tree = store.documents.tree(draft.id) or RevTree()
        parent = _parent(tree, draft)
        history = tree.history(parent) if parent is not None and parent in tree else (parent,) if parent else ()
        files = _as_new(_files(store, draft, uploads, history[:1], _child_generation(parent)), draft, parent)
        _check_ages(draft, files)
        rev = next_rev(draft, parent, files.stubs)
        _apply(store, Revision(draft.id, (rev, *history), draft.body, draft.deleted, files.stubs), files)
        return rev


def edit_all(store: Store, drafts: Sequence[Draft]) -> list[Rev | HttpRefusal]:
    """Several edits in one transaction, each with its own outcome; a missing stub refuses them all."""
    outcomes: list[Rev | HttpRefusal] = []
    with store.transaction():
        for draft in drafts:
            try:
                outcomes.append(edit(store, draft, {}))
            except HttpRefusal as refusal:
                if refusal.status == 412:
                    raise
                outcomes.append(refusal)
    return outcomes


def graft(store: Store, draft: Draft, uploads: Uploads) -> None:
    """A revision that was made elsewhere (`new_edits=false`). Raises missing_stub, bad_request."""
    refusals = graft_all(store, [draft], uploads)
    if refusals:
        raise bad_request(refusals[0].reason)


def graft_all(store: Store, drafts: Sequence[Draft], uploads: Uploads) -> list[Refusal]:
    """Revisions that were made elsewhere, in one transaction. Returns what the store refuses. Raises missing_stub."""
    refusals = [_boundless(draft) for draft in drafts if strict_json.has_boundless_number(draft.body)]
    if refusals:
        drafts = [draft for draft in drafts if not strict_json.has_boundless_number(draft.body)]
    with store.transaction():
        plain = [draft for draft in drafts if not draft.parts]
        if plain:
            refusals += store.documents.apply([_revision(draft) for draft in plain])
        for draft in drafts:
            if draft.parts:
                files = _files(store, draft, uploads, draft.history, generation(draft.history[0]))
                _check_ages(draft, files)
                refusals += _take(store, _revision(draft, files.stubs), files)
    return refusals


def attach(store: Store, doc_id: DocId, rev: Rev | None, name: str, file: tuple[str, File] | None) -> Rev:
    """A new revision with one attachment put (`content_type`, bytes) or, if None, removed. Raises conflict."""
    with store.transaction():
        tree = store.documents.tree(doc_id) or RevTree()
        draft = Draft(doc_id, (rev,) if rev else (), b"{}")
        parent = _parent(tree, draft)
        before = store.documents.get(doc_id, parent) if parent else None
        if before is not None and before.deleted and rev is None:
            before = None  # the document begins anew
        kept = () if before is None else before.attachments
        parts = {} if file is None else {name: Part("follows", file[0])}  # the new one first, as on CouchDB
        parts |= {one: Part("stub", "") for one in kept if one != name}
        body, deleted = (b"{}", False) if before is None else (before.body, before.deleted)
        new = Draft(doc_id, draft.history, body, deleted, parts=parts)
        return edit(store, new, {name: file[1]} if file else {})


def _child_generation(parent: Rev | None) -> int:
    """The generation of a child of `parent`."""
    return generation(parent) + 1 if parent else 1


def _parent(tree: RevTree, draft: Draft) -> Rev | None:
    """The leaf that an edit extends; None: it begins the document. Raises conflict.

    As on CouchDB, a tombstone beside a live leaf can be named; where all is deleted, only a draft that names none
    goes on. A revision of a document that was never here can be named (CouchDB refuses that in a database where it
    has not loaded validation functions yet, and takes it later).
    """
    if not tree:
        if draft.has_ancestry:
            raise conflict()
        return draft.rev
    winner = tree.winner()
    if draft.rev is None:
        if not winner.deleted or draft.deleted:
            raise conflict()
        return winner.rev
    if winner.deleted or all(leaf.rev != draft.rev for leaf in tree.leaves()):
        raise conflict()
    return draft.rev


def _revision(draft: Draft, stubs: Mapping[str, Attachment] | None = None) -> Revision:
    return Revision(draft.id, draft.history, draft.body, draft.deleted, stubs or {})


def _files(store: Store, draft: Draft, uploads: Uploads, ancestors: Sequence[Rev], generation_: int) -> _Files:
    """Resolves every part: inline bytes are stored, stubs are looked up in the nearest ancestor that is here."""
    stubs: dict[str, Attachment] = {}
    blobs: dict[str, Blob | None] = {}
    before: Revision | None = None
    if any(part.source == "stub" for part in draft.parts.values()):
        found = (store.documents.get(draft.id, rev) for rev in ancestors)
        before = next((revision for revision in found if revision is not None), None)
    for name, part in draft.parts.items():
        if part.source == "stub":
            old = before.attachments.get(name) if before is not None else None
            if old is None or before is None:
                raise missing_stub(draft.id, name)
            stubs[name] = old
            blobs[name] = store.attachments.find(draft.id, before.rev, name)
            continue
        file = uploads.get(name) if part.source == "follows" else File(store.attachments.put([part.data or b""]))
        if file is None:
            raise bad_request(f"the bytes of attachment {name[:80]!r} did not follow")
        revpos = generation_ if part.revpos is None else min(part.revpos, generation_)
        stubs[name] = file.stub(name, part.content_type, revpos)
        blobs[name] = file.blob
    return _Files(stubs, blobs)


def _as_new(files: _Files, draft: Draft, parent: Rev | None) -> _Files:
    """What an edit brings is as old as the edit, whatever the client says."""
    born = _child_generation(parent)
    stubs = {
        name: stub if draft.parts[name].source == "stub" else replace(stub, revpos=born)
        for name, stub in files.stubs.items()
    }
    return _Files(stubs, files.blobs)


def _check_ages(draft: Draft, files: _Files) -> None:
    """A stub that states another `revpos` is that of another attachment. Raises missing_stub."""
    for name, part in draft.parts.items():
        if part.source == "stub" and part.revpos not in {None, files.stubs[name].revpos}:
            raise missing_stub(draft.id, name)


def _apply(store: Store, revision: Revision, files: _Files) -> None:
    for refusal in _take(store, revision, files):
        raise bad_request(refusal.reason)


def _take(store: Store, revision: Revision, files: _Files) -> list[Refusal]:
    """A revision that is here already stays as it is; at most it gets bytes that it lacks and has the digest of."""
    known = store.documents.get(revision.id, revision.rev)
    refusals = store.documents.apply([revision])
    held = known or store.documents.get(revision.id, revision.rev)
    if held is None:  # refused, or older than all that is kept
        return refusals
    for name, blob in files.blobs.items():
        stub = held.attachments.get(name)
        if stub is None or blob is None:
            continue
        lacks = store.attachments.find(held.id, held.rev, name) is None
        if known is None or (lacks and (stub.digest, stub.gzip_length or stub.length) == (blob.digest, blob.length)):
            store.attachments.link(held.id, held.rev, name, blob)
    return refusals


def _boundless(draft: Draft) -> Refusal:
    return Refusal(draft.id, draft.rev, "bad_request", _BOUNDLESS)


def members_of(store: Store, doc_id: DocId) -> Mapping[str, Any] | None:
    """The members of the live winner's body, or None."""
    revision = store.documents.get(doc_id)
    return None if revision is None or revision.deleted else msgspec.json.decode(revision.body)
