"""What a replica knows of itself, by name: its device id, its server. Values are JSON. Knows no names."""

from __future__ import annotations

from typing import Any

from icure_sync import strict_json
from icure_sync.store.database import Database


class Settings:
    """Every method may raise StoreError kinds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> Any:
        """The value, or None."""
        value = self._database.value("SELECT value FROM settings WHERE name = ?", (name,))
        return None if value is None else strict_json.loads(value, f"setting {name}")

    def put(self, name: str, value: Any) -> None:
        """Keep a value, durable on return. Raises InvalidEntity for what JSON cannot hold."""
        self._database.run("REPLACE INTO settings VALUES (?, ?)", (name, strict_json.dumps(value)))

    def remove(self, name: str) -> None:
        """Forget a value, if it is there."""
        self._database.run("DELETE FROM settings WHERE name = ?", (name,))
