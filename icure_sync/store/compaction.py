"""Compaction: what nothing needs any more goes, and its room is given back to the file system.

Owns the order of the work, in steps so small that others get their turn between two of them. What it leaves: every
leaf, every tree (cut to the limit of generations), every byte that a revision, an arrival or an upload may need.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

from icure_sync.merge.revtree import RevTree
from icure_sync.store.attachments import Attachments
from icure_sync.store.batch import Batch
from icure_sync.store.database import Database
from icure_sync.store.limits import FREED_PAGES, PRUNED_BODIES, PRUNED_BYTES, STEMMED_TREES
from icure_sync.store.purges import Purges
from icure_sync.store.rows import read_tree


class Compaction:
    """One compaction of one store, to be run through once. Every step may raise StoreError kinds."""

    def __init__(self, database: Database, attachments: Attachments, purges: Purges) -> None:
        self._database = database
        self._attachments = attachments
        self._purges = purges

    def steps(self, revs_limit: int, purges_kept: int | None) -> Iterator[None]:
        """Each step is some hundredths of a second of work, durable when it is over.

        `revs_limit`: generations kept of each leaf's history; `purges_kept`: records of purges, None: all.
        """
        while self._prune():
            yield
        yield from self.stemming(revs_limit)
        if purges_kept is not None:
            self._purges.trim(purges_kept)
        self._attachments.release()
        while self._attachments.drop():
            yield
        while self._database.give_back(FREED_PAGES):
            yield
        self._database.write_back()

    def _prune(self) -> bool:
        """Drop some bodies of displaced revisions, and what they show of attachments; True if there may be more."""
        with self._database.transaction():
            rows = self._database.rows(
                "SELECT number, length(body) FROM revisions WHERE leaf = 0 LIMIT ?", (PRUNED_BODIES,)
            )
            before = itertools.accumulate((size for _, size in rows), initial=0)
            taken = [number for (number, _), size in zip(rows, before, strict=False) if size < PRUNED_BYTES]
            numbers = (json.dumps(taken),)
            for table, column in (("attachments", "revision"), ("revisions", "number")):
                self._database.run(
                    f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))",  # noqa: S608  (our names)
                    numbers,
                )
        return len(rows) == PRUNED_BODIES or len(taken) < len(rows)

    def stemming(self, revs_limit: int) -> Iterator[None]:
        """Cut the trees that were written under a higher limit. No leaf changes, so no document gets a new seq."""
        last = self._database.value("SELECT max(number) FROM documents") or 0
        for after in range(0, last, STEMMED_TREES):
            self._stem_some(after, revs_limit)
            yield

    def _stem_some(self, after: int, revs_limit: int) -> None:
        """The next trees after a document's number. A short one is told by its size: two bytes a revision at least."""
        with self._database.transaction():
            rows = self._database.rows(
                "SELECT number, rev, deleted, tree FROM documents "
                "WHERE number > ? AND number <= ? AND length(tree) > 2 * ?",
                (after, after + STEMMED_TREES, revs_limit),
            )
            for number, *packed in rows:
                tree = read_tree(*packed)
                stemmed = tree.stem(revs_limit)
                if stemmed != tree:
                    self._cut(number, stemmed)

    def _cut(self, document: int, tree: RevTree) -> None:
        """A document's tree from now on, and no bodies of what is not in it."""
        bodies = self._database.rows("SELECT number, rev FROM revisions WHERE doc = ? AND leaf = 0", (document,))
        batch = Batch(self._database)
        batch.put_tree(document, tree)
        for number, rev in bodies:
            if rev not in tree:
                batch.drop_revision(number)
        batch.write()
