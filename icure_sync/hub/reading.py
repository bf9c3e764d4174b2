"""Which revisions a request for a document means: the winner, one by name, several leaves. Runs in the store's thread.

Source: CouchDB's documentation of GET /{db}/{docid}, and what it answers (tests/hub/wire). Knows no HTTP but refusals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from icure_sync.hub.drafts import parse_rev
from icure_sync.hub.errors import bad_request, not_found
from icure_sync.hub.queries import Query
from icure_sync.hub.rendering import Bytes, Rendered, Shape, render
from icure_sync.ids import DocId, Rev
from icure_sync.merge.revtree import RevTree
from icure_sync.replication.wire import Revision
from icure_sync.store import Store

Found = Rendered | Rev  # a revision, or the name of one that is not here


def parse_revs(value: object, what: str) -> tuple[Rev, ...]:
    """A JSON list of revision ids. Raises bad_request."""
    if not isinstance(value, list):
        raise bad_request(f"{what} must be a JSON array of revisions")
    return tuple(parse_rev(text) for text in value)


def parse_shape(query: Query, inline: Bytes) -> Shape:
    """What a query asks of a document; `inline`: how attachment bytes come, if it asks for them. Raises bad_request."""
    meta = query.flag("meta")
    since: Any = query.json("atts_since")
    with_bytes = query.flag("attachments") or since is not None
    return Shape(
        revs=query.flag("revs"),
        revs_info=meta or query.flag("revs_info"),
        conflicts=meta or query.flag("conflicts"),
        deleted_conflicts=meta or query.flag("deleted_conflicts"),
        local_seq=query.flag("local_seq"),
        attachments=inline if with_bytes else "stub",
        atts_since=() if since is None else parse_revs(since, "atts_since"),
        att_encoding_info=query.flag("att_encoding_info"),
    )


def read_winner(store: Store, doc_id: DocId, shape: Shape) -> Rendered:
    """Raises not_found: "missing", or "deleted" if all leaves are tombstones."""
    revision = winner(store, doc_id)
    return render(store, revision, shape, store.documents.tree(doc_id) if _asks_of_tree(shape) else None)


def winner(store: Store, doc_id: DocId) -> Revision:
    """Raises not_found, as `read_winner`."""
    revision = store.documents.get(doc_id)
    if revision is None:
        raise not_found("missing")
    if revision.deleted:
        raise not_found("deleted")
    return revision


def read_rev(store: Store, doc_id: DocId, rev: Rev, shape: Shape) -> Rendered:
    """One revision whose body is still here. Raises not_found."""
    found = find_rev(store, doc_id, rev, shape.of_revision())
    if not isinstance(found, Rendered):
        raise not_found("missing")
    return found


def read_latest(store: Store, doc_id: DocId, _: Rev, shape: Shape) -> Rendered:
    """The winner, whether `rev` is known or not (`rev` with `latest=true`), as on CouchDB. Raises not_found."""
    revision = store.documents.get(doc_id)
    if revision is None:
        raise not_found("missing")
    return render(store, revision, shape, store.documents.tree(doc_id))


def find_rev(store: Store, doc_id: DocId, rev: Rev, shape: Shape) -> Found:
    """This revision, or its name if it is not here."""
    revision = store.documents.get(doc_id, rev)
    return rev if revision is None else render(store, revision, shape)


def leaf_revs(store: Store, doc_id: DocId) -> tuple[Rev, ...]:
    """All leaves, tombstones too (`open_revs=all`). Raises not_found."""
    tree = store.documents.tree(doc_id)
    if tree is None:
        raise not_found("missing")
    return tuple(leaf.rev for leaf in tree.leaves())


def latest_revs(store: Store, doc_id: DocId, revs: Sequence[Rev]) -> tuple[Rev, ...]:
    """The leaves that these revisions are, or have become (`latest=true`); unknown ones as they are."""
    tree = store.documents.tree(doc_id) or RevTree()
    return tuple(dict.fromkeys(leaf for rev in revs for leaf in (_descendants(tree, rev) or (rev,))))


def _descendants(tree: RevTree, rev: Rev) -> tuple[Rev, ...]:
    if rev not in tree:
        return ()
    return tuple(leaf.rev for leaf in tree.leaves() if rev in tree.history(leaf.rev))


def _asks_of_tree(shape: Shape) -> bool:
    return shape.conflicts or shape.deleted_conflicts or shape.local_seq
