"""What this device has written: how many revisions, and the digest of their chain.

Knows the row; what a device signs of it is the engine's (crypto/devices.py has the chain). Synchronous.
"""

from __future__ import annotations

from icure_sync.crypto.devices import Count
from icure_sync.ids import DocId, Rev
from icure_sync.store.database import Database


class Writes:
    """Every method may raise StoreError kinds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, doc_id: DocId, rev: Rev) -> None:
        """One more was written, in the transaction that the caller has begun: it wrote the revision itself."""
        count = self.count().then(doc_id, rev)
        self._database.run("UPDATE counters SET writes = ?, writes_digest = ?", (count.counter, count.digest))

    def count(self) -> Count:
        """Of all that was written."""
        row = self._database.row("SELECT writes, writes_digest FROM counters")
        assert row is not None  # the first migration wrote it
        return Count(*row)
