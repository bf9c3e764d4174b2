"""Revisions that came, and are not taken in before somebody has said what they are: deletions of many records at once.

Owns that they are durable, and that they need not come again. Why one is set aside, and when it is taken in, is the
engine's to say (engine/deletions.py). Synchronous: runs in the store's thread.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence

from icure_sync.ids import DocId
from icure_sync.replication.wire import Attachment, Missing, Revision
from icure_sync.store.database import Database


class SetAside:
    """Every method may raise StoreError kinds; those that change something are one durable transaction each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, revisions: Iterable[Revision]) -> None:
        """These wait, behind those that do. One that waits already stays as it is."""
        rows = [
            (each.id, each.rev, json.dumps(each.history), each.body, each.deleted, _written(each.attachments))
            for each in revisions
        ]
        self._database.run_many(
            "INSERT OR IGNORE INTO set_aside (id, rev, history, body, deleted, attachments) VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )

    def page(self, after: int, limit: int) -> list[tuple[int, Revision]]:
        """Those that wait with a number above `after`, in the order in which they came, each with its number."""
        rows = self._database.rows(
            "SELECT number, id, history, body, deleted, attachments FROM set_aside WHERE number > ? "
            "ORDER BY number LIMIT ?",
            (after, limit),
        )
        return [
            (number, Revision(doc_id, tuple(json.loads(history)), body, bool(deleted), _read(attachments)))
            for number, doc_id, history, body, deleted, attachments in rows
        ]

    def ids(self, after: str, limit: int) -> list[DocId]:
        """The documents of which some wait, by id, from the one after `after` on."""
        rows = self._database.rows("SELECT DISTINCT id FROM set_aside WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
        return [row[0] for row in rows]

    def of(self, doc_id: DocId) -> list[tuple[int, Revision]]:
        """Those of one document, in the order in which they came, each with its number."""
        rows = self._database.rows(
            "SELECT number, history, body, deleted, attachments FROM set_aside WHERE id = ? ORDER BY number", (doc_id,)
        )
        return [
            (number, Revision(doc_id, tuple(json.loads(history)), body, bool(deleted), _read(attachments)))
            for number, history, body, deleted, attachments in rows
        ]

    def get(self, number: int) -> Revision | None:
        """One of them."""
        found = self.page(number - 1, 1)
        return found[0][1] if found and found[0][0] == number else None

    def drop(self, numbers: Sequence[int]) -> None:
        """These wait no longer."""
        self._database.run(
            "DELETE FROM set_aside WHERE number IN (SELECT value FROM json_each(?))", (json.dumps(list(numbers)),)
        )

    def still_missing(self, missing: Mapping[DocId, Missing]) -> Mapping[DocId, Missing]:
        """Without what waits here."""
        if not missing or self._database.row("SELECT 1 FROM set_aside LIMIT 1") is None:
            return missing
        here: dict[DocId, set[str]] = {}
        for doc_id, rev in self._database.rows(
            "SELECT a.id, a.rev FROM json_each(?) j JOIN set_aside a ON a.id = j.value", (json.dumps(list(missing)),)
        ):
            here.setdefault(doc_id, set()).add(rev)
        left = {
            doc_id: dataclasses.replace(each, revs=tuple(rev for rev in each.revs if rev not in here.get(doc_id, ())))
            for doc_id, each in missing.items()
        }
        return {doc_id: each for doc_id, each in left.items() if each.revs}


def _written(attachments: Mapping[str, Attachment]) -> str:
    return json.dumps([dataclasses.asdict(each) for each in attachments.values()]) if attachments else "[]"


def _read(text: str) -> dict[str, Attachment]:
    return {each["name"]: Attachment(**each) for each in json.loads(text)}
