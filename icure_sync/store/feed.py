"""The local feed of one delegate: what changed of the documents that concern an Hcp. Answers from the index.

Knows the rule of partial replication (a leaf counts by its own head; a tombstone that names nobody concerns
everybody), and no server's filter syntax.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from icure_sync.ids import DocId, HcpId
from icure_sync.merge.revtree import Leaf
from icure_sync.store.database import Database
from icure_sync.store.heads import BARE_TOMBSTONE, DELEGATE, TOMBSTONE_DELEGATE, TYPE, Term, read_head
from icure_sync.store.limits import SCAN_DOCUMENTS
from icure_sync.store.rows import DocumentChange, read_tree


@dataclass(frozen=True, slots=True)
class DelegateChanges:
    """One page. `rows`: by seq, with those leaves that concern the delegate. `last_seq`: where the next page starts;
    there is one as long as `last_seq` grows."""

    rows: tuple[DocumentChange, ...]
    last_seq: int


def changes_for(database: Database, delegate: HcpId, types: Collection[str], since: int, limit: int) -> DelegateChanges:
    """See `Documents.changes_for`."""
    wanted = {(DELEGATE, delegate), (TOMBSTONE_DELEGATE, delegate), (TOMBSTONE_DELEGATE, BARE_TOMBSTONE)}
    wanted.update((TYPE, type_) for type_ in types)
    last_seq = database.value(
        "SELECT max(seq) FROM (SELECT seq FROM documents WHERE seq > ? ORDER BY seq LIMIT ?)", (since, SCAN_DOCUMENTS)
    )
    if last_seq is None:
        return DelegateChanges((), since)
    marks = ", ".join(["(?, ?)"] * len(wanted))
    found = database.rows(
        "SELECT seq, id, rev, deleted, tree FROM documents d WHERE seq > ? AND seq <= ? AND EXISTS "  # noqa: S608  marks only
        f"(SELECT 1 FROM terms t WHERE t.doc = d.number AND (t.kind, t.term) IN (VALUES {marks})) ORDER BY seq LIMIT ?",
        (since, last_seq, *(value for term in sorted(wanted) for value in term), limit),
    )
    rows = []
    for seq, doc_id, *tree in found:
        leaves = read_tree(*tree).leaves()
        if len(leaves) > 1:
            leaves = tuple(leaf for leaf in leaves if _concerns(database, doc_id, leaf, wanted))
        rows.append(DocumentChange(seq, doc_id, leaves))
    return DelegateChanges(tuple(rows), rows[-1].seq if len(rows) == limit else last_seq)


def _concerns(database: Database, doc_id: DocId, leaf: Leaf, wanted: set[Term]) -> bool:
    body = database.value(
        "SELECT r.body FROM documents d JOIN revisions r ON r.doc = d.number WHERE d.id = ? AND r.rev = ?",
        (doc_id, leaf.rev),
    )
    return not wanted.isdisjoint(read_head(body).terms(deleted=leaf.deleted))
