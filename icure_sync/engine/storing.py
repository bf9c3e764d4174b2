"""How a revision that was written here enters the store. Knows no suite. Synchronous: runs in the store's thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from icure_sync import strict_json
from icure_sync.engine.suite import Written
from icure_sync.errors import InvalidEntity
from icure_sync.merge.revtree import RevTree
from icure_sync.replication.wire import Attachment, Revision
from icure_sync.store import Store


def store_written(store: Store, written: Written, attachments: Mapping[str, Attachment] | None = None) -> None:
    """Store it under its parent, and what goes with it, all or nothing; counted among what this device has written.

    `attachments`: of a first revision; later ones have those of their parent. Raises StaleRevision; InvalidEntity for
    what is too large.
    """
    with store.transaction():
        store_uncounted(store, written, attachments)
        _graft(store, written.beside)
        for each in (written, *written.beside):
            store.writes.add(each.id, each.rev)


def store_uncounted(store: Store, written: Written, attachments: Mapping[str, Attachment] | None = None) -> None:
    """A revision by itself, as `store_written`, that is not among what the device's head counts: the head itself."""
    documents = store.documents
    body = strict_json.dumps(written.document)
    if written.parent is None:
        documents.write(written.id, written.rev, body, None, attachments=attachments or {})
        return
    above = documents.get(written.id, written.parent)
    stubs = above.attachments if above else {}
    tree = documents.tree(written.id) or RevTree()
    if any(leaf.rev == written.parent for leaf in tree.leaves()):
        documents.write(written.id, written.rev, body, written.parent, deleted=written.deleted, attachments=stubs)
        return
    _graft(store, [written], stubs)  # what was displaced by something that cannot be shown is extended beside it


def _graft(store: Store, written: Sequence[Written], stubs: Mapping[str, Attachment] | None = None) -> None:
    """Each below its parent, whatever stands there already; of one document, which may have hundreds of leaves. A
    revision that is here stays as it is."""
    if not written:
        return
    tree = store.documents.tree(written[0].id) or RevTree()
    revisions = []
    for each in written:
        assert each.parent is not None  # it ends or tells of a revision
        history = (each.rev, *tree.history(each.parent))
        files = {} if each.deleted else stubs or {}
        revisions.append(Revision(each.id, history, strict_json.dumps(each.document), each.deleted, files))
    for refusal in store.documents.apply(revisions):
        raise InvalidEntity(f"write document {refusal.id}", refusal.reason, "correct it and repeat")
