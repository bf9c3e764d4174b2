"""Purging: leaves forgotten as if they had never been here, and the record of what was to be purged.

Source: CouchDB's `_purge` (couch_db_updater, couch_key_tree): only leaves go, with the ancestors that nothing else
descends from. Unlike a tombstone a purge does not replicate: a peer that has the revision brings it back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from icure_sync.ids import DocId, Rev
from icure_sync.merge.revtree import RevTree
from icure_sync.store.batch import Batch
from icure_sync.store.database import Database
from icure_sync.store.heads import Term, stored_head
from icure_sync.store.rows import read_tree


@dataclass(frozen=True, slots=True)
class Purge:
    """One document of one request to purge. `revs`: as asked for, whether they were here or not."""

    seq: int
    id: DocId
    revs: tuple[Rev, ...]


class Purges:
    """Every method may raise StoreError kinds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def purge(self, wanted: Mapping[DocId, Sequence[Rev]]) -> dict[DocId, tuple[Rev, ...]]:
        """Forget these leaves, in one transaction, and record the request. Returns those that went.

        What is no leaf stays, with its descendants. A document with other leaves moves to a new seq, with the winner
        among these; one without is gone, with all that it was found by. No seq is given again.
        """
        with self._database.transaction():
            seq = self.seq()
            records = [
                (seq + place, doc_id, json.dumps(revs)) for place, (doc_id, revs) in enumerate(wanted.items(), 1)
            ]
            self._database.run_many("INSERT INTO purges (seq, id, revs) VALUES (?, ?, ?)", records)
            self._database.run("UPDATE counters SET purge_seq = ?", (seq + len(records),))
            return {doc_id: self._purge(doc_id, revs) for doc_id, revs in wanted.items()}

    def seq(self) -> int:
        """How many purges there have been, 0 at first."""
        return int(self._database.value("SELECT purge_seq FROM counters"))

    def records(self) -> list[Purge]:
        """Those on record, the oldest first."""
        rows = self._database.rows("SELECT seq, id, revs FROM purges ORDER BY seq")
        return [Purge(seq, doc_id, tuple(json.loads(revs))) for seq, doc_id, revs in rows]

    def trim(self, limit: int) -> None:
        """Keep the newest `limit` records."""
        self._database.run("DELETE FROM purges WHERE seq <= (SELECT purge_seq FROM counters) - ?", (limit,))

    def _purge(self, doc_id: DocId, revs: Iterable[Rev]) -> tuple[Rev, ...]:
        row = self._database.row("SELECT number, rev, deleted, tree FROM documents WHERE id = ?", (doc_id,))
        if row is None:
            return ()
        number, tree = row[0], read_tree(*row[1:])
        leaves = {leaf.rev for leaf in tree.leaves()}
        gone = tuple(rev for rev in dict.fromkeys(revs) if rev in leaves)
        if gone:
            self._replace(number, doc_id, tree, tree.without(gone))
        return gone

    def _replace(self, number: int, doc_id: DocId, tree: RevTree, left: RevTree) -> None:
        """`left` is what remains of a document's tree."""
        run = self._database.run
        numbers = dict(self._database.rows("SELECT rev, number FROM revisions WHERE doc = ?", (number,)))
        gone = json.dumps([held for rev, held in numbers.items() if rev not in left])
        run("DELETE FROM attachments WHERE revision IN (SELECT value FROM json_each(?))", (gone,))
        terms = {
            (kind, term) for kind, term in self._database.rows("SELECT kind, term FROM terms WHERE doc = ?", (number,))
        }
        was_live = not tree.winner().deleted
        batch = Batch(self._database)
        if left:
            head = numbers[left.winner().rev]
            batch.put_document(number, doc_id, left, head, was_live=was_live)
            batch.put_terms(number, self._terms(left, numbers), terms)
        else:
            batch.drop_document(number, terms, was_live=was_live)
            run("DELETE FROM search WHERE rowid = ?", (number,))
            run("DELETE FROM searchable WHERE doc = ?", (number,))
        batch.write()
        run("DELETE FROM revisions WHERE number IN (SELECT value FROM json_each(?))", (gone,))

    def _terms(self, tree: RevTree, numbers: Mapping[Rev, int]) -> set[Term]:
        terms: set[Term] = set()
        for leaf in tree.leaves():
            if not leaf.deleted:
                body = self._database.value("SELECT body FROM revisions WHERE number = ?", (numbers[leaf.rev],))
                terms |= stored_head(body).terms()
        return terms
