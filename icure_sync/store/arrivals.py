"""Files of revisions that have not come whole: each has arrived, was checked, and waits for the others.

So a kill in the middle of a revision with many files costs those alone that were on the way. Owns which file waits for
which revision, and for how long; the bytes are blobs like any other (attachments.py).
"""

from __future__ import annotations

from icure_sync.ids import DocId, Rev
from icure_sync.store.attachments import Blob
from icure_sync.store.database import Database
from icure_sync.store.limits import ARRIVED_BYTES, ARRIVED_SECONDS


class Arrivals:
    """Every method may raise StoreError kinds. `now`: seconds since 1970."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, doc_id: DocId, rev: Rev, name: str, blob: Blob, now: int) -> None:
        """This file has come. Its bytes are kept until `forget` or `expire`."""
        self._database.run(
            "INSERT OR REPLACE INTO arrivals (id, rev, name, blob, since) "
            "SELECT ?, ?, ?, number, ? FROM blobs WHERE sha256 = ?",
            (doc_id, rev, name, now, blob.sha256),
        )

    def find(self, doc_id: DocId, rev: Rev, name: str) -> Blob | None:
        """The file, if it has come. What it was checked against is the caller's to ask again."""
        row = self._database.row(
            "SELECT b.sha256, b.digest, b.length FROM arrivals a JOIN blobs b ON b.number = a.blob "
            "WHERE a.id = ? AND a.rev = ? AND a.name = ?",
            (doc_id, rev, name),
        )
        return None if row is None else Blob(*row)

    def forget(self, doc_id: DocId, rev: Rev) -> None:
        """The revision is here, or never will be: its files wait no longer."""
        self._database.run("DELETE FROM arrivals WHERE id = ? AND rev = ?", (doc_id, rev))

    def expire(self, now: int) -> None:
        """Let go of files that have waited too long, or are too many, the oldest first.

        What is dated after `now` came under a clock that was wrong, and nobody knows when.
        """
        with self._database.transaction():
            self._database.run("DELETE FROM arrivals WHERE since < ? OR since > ?", (now - ARRIVED_SECONDS, now))
            self._database.run(
                "DELETE FROM arrivals WHERE (id, rev, name) IN (SELECT id, rev, name FROM ("
                "SELECT a.id, a.rev, a.name, sum(b.length) OVER (ORDER BY a.since DESC, a.blob DESC) AS size "
                "FROM arrivals a JOIN blobs b ON b.number = a.blob) WHERE size > ?)",
                (ARRIVED_BYTES,),
            )
