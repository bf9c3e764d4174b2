"""Records that a person should look at: which are known to be such, and which changes may have made one.

Knows the rows, and nothing of why one is there: what is to be said of a record comes from whoever opens it.
"""

from __future__ import annotations

from collections.abc import Iterable

from icure_sync.ids import DocId
from icure_sync.store.contests import window
from icure_sync.store.database import Database


class Reviews:
    """Every method may raise StoreError kinds; those that change something are one durable transaction each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def changed(self, since: int, plain: bytes, limit: int) -> tuple[list[DocId], int]:
        """Documents among the next changes after `since` that have several live leaves, keep a displaced body, or have
        a live leaf in whose body `plain` does not stand, `limit` at most; and the seq looked through, `since` at the
        end."""
        through = window(self._database, since)
        if through is None:
            return [], since
        rows = self._database.rows(
            "SELECT id, seq FROM documents d WHERE seq > ? AND seq <= ? AND (live > 1 "
            "OR EXISTS (SELECT 1 FROM revisions r WHERE r.doc = d.number AND (NOT r.leaf "
            "OR (NOT r.deleted AND instr(r.body, ?) = 0)))) ORDER BY seq LIMIT ?",
            (since, through, plain, limit),
        )
        return [row[0] for row in rows], int(rows[-1][1]) if len(rows) == limit else through

    def through(self) -> int:
        """Every change up to this seq has been looked at."""
        return int(self._database.value("SELECT through FROM reviewed"))

    def put(self, through: int, ids: Iterable[DocId]) -> None:
        """The changes up to this seq have been looked at: of the documents changed by them, these are to be listed."""
        with self._database.transaction():
            self._database.run(
                "DELETE FROM reviews WHERE doc IN (SELECT number FROM documents WHERE seq > ? AND seq <= ?)",
                (self.through(), through),
            )
            for doc_id in ids:
                self._database.run("INSERT INTO reviews SELECT number FROM documents WHERE id = ?", (doc_id,))
            self._database.run("UPDATE reviewed SET through = ?", (through,))

    def ids(self) -> list[DocId]:
        """Those that are listed, by first arrival."""
        return [
            row[0] for row in self._database.rows("SELECT d.id FROM reviews v JOIN documents d ON d.number = v.doc")
        ]

    def restart(self) -> None:
        """Have every document looked at again: keys arrived that open more of them, say."""
        self._database.run("UPDATE reviewed SET through = 0")
