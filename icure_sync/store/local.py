"""`_local` documents: they never replicate, and hold replication logs above all. Knows nothing of their contents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icure_sync import strict_json
from icure_sync.store.database import Database


class LocalDocuments:
    """By id, without the `_local/` in front. Every method may raise StoreError kinds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, local_id: str) -> dict[str, Any] | None:
        """The document, or None."""
        body = self._database.value("SELECT body FROM local_documents WHERE id = ?", (local_id,))
        return None if body is None else strict_json.loads(body, f"_local/{local_id}")

    def put(self, local_id: str, document: Mapping[str, Any]) -> None:
        """Write it, whatever stood there. Raises InvalidEntity for what JSON cannot hold."""
        self._database.run("REPLACE INTO local_documents VALUES (?, ?)", (local_id, strict_json.dumps(document)))

    def remove(self, local_id: str) -> None:
        """Forget it, if it is there."""
        self._database.run("DELETE FROM local_documents WHERE id = ?", (local_id,))

    def ids(self) -> list[str]:
        """All ids, in order."""
        return [row[0] for row in self._database.rows("SELECT id FROM local_documents ORDER BY id")]
