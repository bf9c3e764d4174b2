"""The rows that one batch of revisions changes. Owns the statements that write documents, revisions and terms.

Collected in memory first, then written table by table: many statements of one kind in a row are what SQLite does
fastest. Decides nothing: the inserter does.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from icure_sync.ids import DocId
from icure_sync.merge.revtree import RevTree
from icure_sync.replication.wire import Attachment, Revision
from icure_sync.store.database import Database
from icure_sync.store.heads import DELEGATE, FOREIGN_KEY, Term
from icure_sync.store.rows import pack_tree


class Batch:
    """One use within one transaction: made, filled, written."""

    def __init__(self, database: Database) -> None:
        self._database = database
        row = database.row(
            "SELECT update_seq, live, deleted, delegates, foreign_keys, (SELECT max(number) FROM documents), "
            "(SELECT max(number) FROM revisions) FROM counters"
        )
        assert row is not None  # the first migration wrote it
        self._seq, self._live, self._deleted = row[:3]
        self._shown = {DELEGATE: row[3], FOREIGN_KEY: row[4]}  # how many terms of these kinds there are
        self._document, self._revision = row[5] or 0, row[6] or 0  # the last numbers given
        self._documents: list[tuple[Any, ...]] = []
        self._moved: list[tuple[Any, ...]] = []
        self._dropped: list[tuple[int]] = []
        self._revisions: list[tuple[Any, ...]] = []
        self._displaced: list[tuple[int]] = []
        self._cut: list[tuple[int]] = []
        self._terms: list[tuple[Any, ...]] = []
        self._lost_terms: list[tuple[Any, ...]] = []
        self._stubs: list[tuple[int, int, Attachment]] = []

    def add_revision(self, document: int, revision: Revision, *, leaf: bool) -> int:
        """A body that is kept from now on. Returns its number."""
        self._revision += 1
        stubs = revision.attachments
        self._revisions.append(
            (self._revision, document, revision.history[0], leaf, revision.deleted, len(stubs), revision.body)
        )
        if stubs:
            self._stubs += [(document, self._revision, stub) for stub in stubs.values()]
        return self._revision

    def add_document(self, doc_id: DocId, revision: Revision, tree: RevTree) -> int:
        """A document that is new here, by its one leaf. Returns its number."""
        self._document += 1
        self._seq += 1
        number, live = self._document, not revision.deleted
        head = self.add_revision(number, revision, leaf=True)
        self._count(live, 1)
        self._documents.append(
            (number, doc_id, self._seq, revision.history[0], revision.deleted, head, live, pack_tree(tree))
        )
        return number

    def reserve_document(self) -> int:
        """The number of a document that is new here by several leaves."""
        self._document += 1
        return self._document

    def put_document(self, number: int, doc_id: DocId, tree: RevTree, head: int, *, was_live: bool | None) -> None:
        """A document whose leaves have changed: it moves to a new seq. `was_live`: its winner was; None: it is new."""
        self._seq += 1
        leaves = tree.leaves()
        winner = leaves[0]
        live = sum(not leaf.deleted for leaf in leaves)
        state = (self._seq, winner.rev, winner.deleted, head, live, pack_tree(tree))
        self._count(not winner.deleted, 1)
        if was_live is None:
            self._documents.append((number, doc_id, *state))
        else:
            self._count(was_live, -1)
            self._moved.append((*state, number))

    def put_tree(self, number: int, tree: RevTree) -> None:
        """A document of which only older history became known: no new seq."""
        self._database.run("UPDATE documents SET tree = ? WHERE number = ?", (pack_tree(tree), number))

    def displace(self, revision: int) -> None:
        """A leaf that is none any more. Its body stays until it is pruned."""
        self._displaced.append((revision,))

    def drop_revision(self, revision: int) -> None:
        """A body that is not kept any more."""
        self._cut.append((revision,))

    def put_terms(self, document: int, terms: set[Term], before: AbstractSet[Term] = frozenset()) -> None:
        """What a document is found by from now on."""
        if before:
            lost = before - terms
            self._lost_terms += [(document, *term) for term in lost]
            self._count_terms(lost, -1)
            terms = terms - before
        self._terms += [(document, *term) for term in terms]
        self._count_terms(terms, 1)

    def drop_document(self, number: int, terms: AbstractSet[Term], *, was_live: bool) -> None:
        """A document of which nothing is left. The seq moves on, so that whoever watches it notices."""
        self._seq += 1
        self._count(was_live, -1)
        self.put_terms(number, set(), terms)
        self._dropped.append((number,))

    def write(self) -> None:
        """Everything collected, into the tables."""
        many = self._database.run_many
        if self._displaced:
            many("UPDATE revisions SET leaf = 0 WHERE number = ?", self._displaced)
        if self._documents:
            many("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._documents)
        if self._moved:
            many(
                "UPDATE documents SET seq = ?, rev = ?, deleted = ?, head = ?, live = ?, tree = ? WHERE number = ?",
                self._moved,
            )
        if self._revisions:
            many(
                "INSERT INTO revisions (number, doc, rev, leaf, deleted, files, state, why, body) "
                "VALUES (?, ?, ?, ?, ?, ?, 0, '', ?)",
                self._revisions,
            )
        if self._lost_terms:
            many("DELETE FROM terms WHERE doc = ? AND kind = ? AND term = ?", self._lost_terms)
        if self._terms:
            many("INSERT INTO terms (doc, kind, term) VALUES (?, ?, ?)", self._terms)
        if self._dropped:
            many("DELETE FROM documents WHERE number = ?", self._dropped)
        self._write_stubs()
        if self._cut:
            many("DELETE FROM attachments WHERE revision = ?", self._cut)
            many("DELETE FROM revisions WHERE number = ?", self._cut)
        if self._documents or self._moved or self._dropped:
            self._database.run(
                "UPDATE counters SET update_seq = ?, live = ?, deleted = ?, delegates = ?, foreign_keys = ?",
                (self._seq, self._live, self._deleted, self._shown[DELEGATE], self._shown[FOREIGN_KEY]),
            )

    def _write_stubs(self) -> None:
        """Stubs find their bytes by what the same document had under that name, digest and length before.

        Never by the digest of bytes elsewhere: it is what a peer says, and would open one document's bytes to another.
        """
        for document, revision, stub in self._stubs:
            blob = self._database.value(
                "SELECT a.blob FROM revisions r JOIN attachments a ON a.revision = r.number "
                "WHERE r.doc = ? AND r.files AND a.name = ? AND a.digest = ? AND a.length = ? AND a.blob IS NOT NULL",
                (document, stub.name, stub.digest, stub.length),
            )
            self._database.run(
                "INSERT INTO attachments (revision, name, content_type, length, digest, revpos, blob, gzip_length) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    revision,
                    stub.name,
                    stub.content_type,
                    stub.length,
                    stub.digest,
                    stub.revpos,
                    blob,
                    stub.gzip_length,
                ),
            )

    def _count_terms(self, terms: AbstractSet[Term], change: int) -> None:
        for kind, _ in terms:
            if kind in self._shown:
                self._shown[kind] += change

    def _count(self, live: bool, change: int) -> None:
        if live:
            self._live += change
        else:
            self._deleted += change
