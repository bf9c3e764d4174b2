"""Records that were written concurrently, or hidden: which have changed since they were looked at, and which wait.

Knows the rows, and nothing of why one waits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from icure_sync.ids import DocId
from icure_sync.store.database import Database

WINDOW = 5_000  # changes looked through at a time: some milliseconds


def window(database: Database, since: int) -> int | None:
    """The seq of the last of the next changes after `since`, WINDOW at most; None at the end."""
    through = database.value(
        "SELECT max(seq) FROM (SELECT seq FROM documents WHERE seq > ? ORDER BY seq LIMIT ?)", (since, WINDOW)
    )
    return None if through is None else int(through)


@dataclass(frozen=True, slots=True)
class Merge:
    """How a body says that it is a merge, or descends from one: `member` stands in it, and `empty` does not."""

    member: bytes
    empty: bytes


class Contests:
    """Every method may raise StoreError kinds; those that change something are one durable transaction each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def changed(self, since: int, verified: int, merge: Merge) -> tuple[list[DocId], int]:
        """Documents among the next changes after `since` that have several live leaves, or a live leaf that says that
        it is a merge, or keep a displaced body below a tombstone or a revision in another state than `verified`; and
        the seq looked through, `since` at the end."""
        through = window(self._database, since)
        if through is None:
            return [], since
        rows = self._database.rows(
            "SELECT id FROM documents d WHERE seq > ? AND seq <= ? AND (live > 1 OR ("
            "EXISTS (SELECT 1 FROM revisions r WHERE r.doc = d.number AND NOT r.leaf) AND "
            "EXISTS (SELECT 1 FROM revisions r WHERE r.doc = d.number AND r.leaf AND (r.deleted OR r.state <> ?))) OR "
            "EXISTS (SELECT 1 FROM revisions r WHERE r.doc = d.number AND r.leaf AND NOT r.deleted AND "
            "instr(r.body, ?) > 0 AND instr(r.body, ?) = 0)) "
            "ORDER BY seq",
            (since, through, verified, merge.member, merge.empty),
        )
        return [row[0] for row in rows], through

    def begin(self, now: int) -> None:
        """What waits since later than now waits since now: the clock was ahead, perhaps by years."""
        self._database.run("UPDATE waiting SET since = ? WHERE since > ?", (now, now))

    def wait(self, doc_id: DocId, now: int) -> int:
        """Have this document looked at again later. Returns since when it waits; `now` if it did not."""
        self._database.run("INSERT OR IGNORE INTO waiting VALUES (?, ?)", (doc_id, now))
        return int(self._database.value("SELECT since FROM waiting WHERE id = ?", (doc_id,)))

    def postpone(self, ids: Sequence[DocId], before: int, now: int) -> None:
        """Those of these that have waited since `before` or longer, and wait still, begin to wait anew."""
        self._database.run(
            "UPDATE waiting SET since = ? WHERE since <= ? AND id IN (SELECT value FROM json_each(?))",
            (now, before, json.dumps(list(ids))),
        )

    def settle(self, doc_id: DocId) -> None:
        """It waits no longer."""
        self._database.run("DELETE FROM waiting WHERE id = ?", (doc_id,))

    def waiting(self, before: int, after: str = "", limit: int = 500) -> list[DocId]:
        """Those that have waited since then or longer, by id, from the one after `after` on."""
        rows = self._database.rows(
            "SELECT id FROM waiting WHERE since <= ? AND id > ? ORDER BY id LIMIT ?", (before, after, limit)
        )
        return [row[0] for row in rows]
