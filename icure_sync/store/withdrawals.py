"""Records that this replica gives up, for its Hcp has no access to them any more: which wait for that, and which
revisions of them went; and which servers told of it.

Owns what goes, and that it does not come again by itself. Why a record is given up, and when it may go, is the engine's
to say. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Missing
from icure_sync.store.contests import window
from icure_sync.store.database import Database
from icure_sync.store.documents import Documents
from icure_sync.store.purges import Purges

_CONTENT = b'"encryptedSelf"'  # a tombstone without it tells nothing of what the record holds


@dataclass(frozen=True, slots=True)
class Teller:
    """A server. `name`: of the log that this device's pulls leave there; `address`: where it is. "": it has none."""

    name: str
    address: str

    def is_same(self, other: Teller) -> bool:
        """Both outlive something: a name that the server moves, an address that it is put back from a backup."""
        return bool(self.name and self.name == other.name) or bool(self.address and self.address == other.address)


class Withdrawals:
    """Every method may raise StoreError kinds; those that change something are one durable transaction each."""

    def __init__(self, database: Database, documents: Documents, purges: Purges) -> None:
        self._database = database
        self._documents = documents
        self._purges = purges

    def told(self, since: int, mark: bytes) -> tuple[list[DocId], int]:
        """Documents among the next changes after `since` that have a tombstone with `mark` in its body, beside a body
        that is none; and the seq looked through, `since` at the end."""
        through = window(self._database, since)
        if through is None:
            return [], since
        rows = self._database.rows(
            "SELECT id FROM documents d WHERE seq > ? AND seq <= ? AND EXISTS ("
            "SELECT 1 FROM revisions r WHERE r.doc = d.number AND r.deleted AND instr(r.body, ?) > 0) AND EXISTS ("
            "SELECT 1 FROM revisions r WHERE r.doc = d.number AND instr(r.body, ?) > 0) ORDER BY seq",
            (since, through, mark, _CONTENT),
        )
        return [row[0] for row in rows], through

    def tell(self, ids: Iterable[DocId], teller: Teller) -> None:
        """This server told of these documents that access to them was ended."""
        rows = [(doc_id, teller.name, teller.address) for doc_id in ids]
        self._database.run_many("INSERT OR IGNORE INTO tellers VALUES (?, ?, ?)", rows)

    def tellers(self, doc_id: DocId) -> list[Teller]:
        """Those that told of this one; none if it came from no server."""
        rows = self._database.rows("SELECT name, address FROM tellers WHERE id = ?", (doc_id,))
        return [Teller(name, address) for name, address in rows]

    def wait(self, doc_id: DocId) -> None:
        """This one is to go, as soon as it may."""
        self._database.run("INSERT OR IGNORE INTO withdrawing VALUES (?)", (doc_id,))

    def stay(self, doc_id: DocId) -> None:
        """This one is not to go (any more), and what had gone of it may come again."""
        with self._database.transaction():
            self._database.run("DELETE FROM withdrawing WHERE id = ?", (doc_id,))
            self._database.run("DELETE FROM withdrawn WHERE id = ?", (doc_id,))

    def waiting(self) -> list[DocId]:
        """Those that are to go, by id."""
        return [row[0] for row in self._database.rows("SELECT id FROM withdrawing ORDER BY id")]

    def is_waiting(self, doc_id: DocId) -> bool:
        """Is this one to go?"""
        return self._database.row("SELECT 1 FROM withdrawing WHERE id = ?", (doc_id,)) is not None

    def has_gone(self, doc_id: DocId) -> bool:
        """Did this one go, and nothing of it come since?"""
        return self._database.row("SELECT 1 FROM withdrawn WHERE id = ?", (doc_id,)) is not None

    def withdraw(self, doc_id: DocId) -> None:
        """Forget every body of this document but tombstones, its files, and what it was found by."""
        leaves = [leaf for leaf in self._documents.leaves(doc_id) if not leaf.deleted or _CONTENT in leaf.body]
        with self._database.transaction():
            displaced = [held.revision.rev for held in self._documents.displaced(doc_id)]
            gone = [(doc_id, rev) for rev in (*(leaf.rev for leaf in leaves), *displaced)]
            self._purges.purge({doc_id: [leaf.rev for leaf in leaves]})
            self._documents.prune(doc_id, displaced)
            for table, column in (("search", "rowid"), ("searchable", "doc"), ("reviews", "doc")):
                self._database.run(
                    f"DELETE FROM {table} WHERE {column} = (SELECT number FROM documents WHERE id = ?)",  # noqa: S608  # named above
                    (doc_id,),
                )
            for table in ("waiting", "arrivals", "set_aside", "withdrawing", "tellers"):
                self._database.run(f"DELETE FROM {table} WHERE id = ?", (doc_id,))  # noqa: S608  # likewise
            self._database.run_many("INSERT OR IGNORE INTO withdrawn VALUES (?, ?)", gone)

    def still_missing(self, missing: Mapping[DocId, Missing]) -> Mapping[DocId, Missing]:
        """Without the documents of which nothing is missing but what went: that comes again with something new only,
        a grant perhaps."""
        if not missing or self._database.row("SELECT 1 FROM withdrawn LIMIT 1") is None:
            return missing
        gone: dict[DocId, set[Rev]] = {}
        for doc_id, rev in self._database.rows(
            "SELECT w.id, w.rev FROM json_each(?) j JOIN withdrawn w ON w.id = j.value", (json.dumps(list(missing)),)
        ):
            gone.setdefault(doc_id, set()).add(rev)
        return {doc_id: each for doc_id, each in missing.items() if not gone.get(doc_id, set()).issuperset(each.revs)}
