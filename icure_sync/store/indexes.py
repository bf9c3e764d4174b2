"""Indexes over live winners: which there are, and that each is in step with the documents.

Owns the rows of all indexes. What an index is (where it is defined, what a document has in it) is told by `IndexRules`;
without them nothing is indexed, and writing costs nothing. An index is built in bounded steps, and from then on kept
in step within the very transaction that changes a document, whoever makes it. Reading is scans.py's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from icure_sync.ids import DocId, Rev
from icure_sync.merge.revtree import RevTree
from icure_sync.replication.wire import Revision
from icure_sync.store.collation import row_key
from icure_sync.store.database import Database
from icure_sync.store.limits import BUILD_BYTES, BUILD_ROWS, DROPPED_ROWS
from icure_sync.store.rows import NO_ATTACHMENTS, read_stubs, read_tree

DESIGN = "_design/"
_AFTER_DESIGN = "_design0"  # "0" follows "/"

Fields = Sequence[Any]
KeyOf = Callable[[Any], Fields | None]


@dataclass(frozen=True, slots=True)
class IndexRules:
    """How indexes are written down. All of it is pure, and raises nothing.

    `definitions`: the indexes that a design document defines, by name. `key_of`: for one definition, what a document
    has in that index, or None. `document`: a live winner (its history is its own revision alone), with the names of the
    other live leaves, as `key_of` takes it; None: it is in no index.
    """

    definitions: Callable[[Revision], Mapping[str, bytes]]
    key_of: Callable[[bytes], KeyOf]
    document: Callable[[Revision, Sequence[Rev]], Any]


@dataclass(frozen=True, slots=True)
class Index:
    """One index. `number` names it for as long as it lives; `built`: it is in step with the documents."""

    number: int
    design: DocId
    name: str
    definition: bytes
    built: bool


@dataclass(frozen=True, slots=True)
class _Part:
    """What one index needs to know to take documents in."""

    number: int
    key_of: KeyOf


class Indexes:
    """Every method may raise StoreError kinds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rules: IndexRules | None = None
        self._compiled: dict[bytes, KeyOf] = {}

    def set_rules(self, rules: IndexRules) -> None:
        """Have indexes from now on, until the store is closed. Those that fell behind meanwhile are built again."""
        self._rules = rules
        self._database.committing = self._follow
        with self._database.transaction():
            self._database.run(
                "UPDATE indexes SET built = 0 WHERE through < (SELECT coalesce(max(seq), 0) FROM documents)"
            )

    def all(self) -> list[Index]:
        """By design document (bytewise), then by name."""
        rows = self._database.rows(
            "SELECT number, design, name, definition, built FROM indexes WHERE design IS NOT NULL ORDER BY design, name"
        )
        return [Index(number, design, name, text, bool(built)) for number, design, name, text, built in rows]

    def has(self, number: int) -> bool:
        """Is this index still there?"""
        row = self._database.row("SELECT 1 FROM indexes WHERE number = ? AND design IS NOT NULL", (number,))
        return row is not None

    def reached(self, design: DocId) -> int:
        """The seq up to which every change is in all indexes of a design document."""
        through = self._database.value("SELECT min(through) FROM indexes WHERE design = ? AND NOT built", (design,))
        return int(self._database.value("SELECT update_seq FROM counters") if through is None else through)

    def build(self, number: int) -> bool:
        """Take the next documents into an index. True once it is in step, or is not there any more."""
        with self._database.transaction():
            row = self._database.row(
                "SELECT definition, through FROM indexes WHERE number = ? AND design IS NOT NULL AND NOT built",
                (number,),
            )
            if row is None:
                return True
            through, done = self._take_in([self._part(number, row[0])], row[1], BUILD_ROWS)
            self._database.run("UPDATE indexes SET through = ?, built = ? WHERE number = ?", (through, done, number))
        return done

    def sweep(self) -> bool:
        """Remove some rows of indexes that are no more. True if there are more of them."""
        with self._database.transaction():
            number = self._database.value("SELECT number FROM indexes WHERE design IS NULL")
            if number is None:
                return False
            removed = self._database.run(
                "DELETE FROM index_rows WHERE idx = ? AND (key, id) IN "
                "(SELECT key, id FROM index_rows WHERE idx = ? ORDER BY key, id LIMIT ?)",
                (number, number, DROPPED_ROWS),
            )
            if removed < DROPPED_ROWS:
                self._database.run("DELETE FROM indexes WHERE number = ?", (number,))
        return True

    def _follow(self) -> None:
        """Before a commit: read what design documents changed, and bring the indexes that are built into step."""
        self._read_designs()
        rows = self._database.rows("SELECT number, definition, through, built, design FROM indexes")
        if not rows:
            return
        together: dict[int, list[_Part]] = {}  # mostly one group: they are all in step
        for number, definition, through, built, design in rows:
            if built and design is not None:
                together.setdefault(through, []).append(self._part(number, definition))
        for through, parts in together.items():
            reached, _ = self._take_in(parts, through, -1)
            if reached > through:
                numbers = [(reached, part.number) for part in parts]
                self._database.run_many("UPDATE indexes SET through = ? WHERE number = ?", numbers)
        if any(design is None for *_, design in rows):
            self.sweep()

    def _read_designs(self) -> None:
        rows = self._database.rows(
            "SELECT id, seq, rev, deleted, head FROM documents "
            "WHERE id > ? AND id < ? AND seq > (SELECT through FROM indexed)",
            (DESIGN, _AFTER_DESIGN),
        )
        for doc_id, _, rev, deleted, head in rows:
            self._define(doc_id, {} if deleted else self._definitions(doc_id, rev, head))
        if rows:
            self._database.run("UPDATE indexed SET through = ?", (max(seq for _, seq, *_ in rows),))

    def _definitions(self, doc_id: DocId, rev: Rev, head: int) -> Mapping[str, bytes]:
        assert self._rules is not None  # set before this is called
        return self._rules.definitions(self._revision(doc_id, rev, head, 0))

    def _define(self, design: DocId, wanted: Mapping[str, bytes]) -> None:
        """The indexes of a design document as they are from now on; those that stay the same keep their rows."""
        held = {
            (name, definition): number
            for name, definition, number in self._database.rows(
                "SELECT name, definition, number FROM indexes WHERE design = ?", (design,)
            )
        }
        for key, number in held.items():
            if key not in wanted.items():
                self._database.run("UPDATE indexes SET design = NULL WHERE number = ?", (number,))
        for name, definition in wanted.items():
            if (name, definition) not in held:
                self._database.run(
                    "INSERT INTO indexes (design, name, definition, through, built) VALUES (?, ?, ?, 0, 0)",
                    (design, name, definition),
                )

    def _part(self, number: int, definition: bytes) -> _Part:
        key_of = self._compiled.get(definition)
        if key_of is None:
            assert self._rules is not None  # set before this is called
            key_of = self._compiled[definition] = self._rules.key_of(definition)
        return _Part(number, key_of)

    def _take_in(self, parts: Sequence[_Part], through: int, limit: int) -> tuple[int, bool]:
        """The documents that changed after `through`, at most `limit` (-1: all). Returns how far it came; True: all."""
        changed = self._database.rows(
            "SELECT d.seq, d.number, d.id, d.rev, d.deleted, d.head, iif(d.live > 1, d.tree, NULL), r.files, "
            "length(r.body) FROM documents d JOIN revisions r ON r.number = d.head "
            "WHERE d.seq > ? ORDER BY d.seq LIMIT ?",
            (through, limit),
        )
        numbers = json.dumps([part.number for part in parts])
        size = taken = 0
        for seq, number, doc_id, rev, deleted, head, tree, files, length in changed:
            if limit >= 0 and size > BUILD_BYTES:
                break
            size += length
            taken += 1
            through = seq
            if doc_id.startswith(DESIGN):
                continue
            self._database.run(
                "DELETE FROM index_rows WHERE doc = ? AND idx IN (SELECT value FROM json_each(?))", (number, numbers)
            )
            if not deleted:
                conflicts = () if tree is None else _conflicts(read_tree(rev, deleted, tree))
                self._index(parts, number, self._revision(doc_id, rev, head, files), conflicts)
        return through, limit < 0 or (taken == len(changed) and taken < limit)

    def _index(self, parts: Iterable[_Part], number: int, winner: Revision, conflicts: Sequence[Rev]) -> None:
        assert self._rules is not None  # set before this is called
        document = self._rules.document(winner, conflicts)
        if document is None:
            return
        for part in parts:
            fields = part.key_of(document)
            if fields is not None:
                self._database.run(
                    "INSERT INTO index_rows (idx, key, id, doc, fields) VALUES (?, ?, ?, ?, ?)",
                    (part.number, row_key(fields), winner.id, number, msgspec.json.encode(fields)),
                )

    def _revision(self, doc_id: DocId, rev: Rev, head: int, files: int) -> Revision:
        body = self._database.value("SELECT body FROM revisions WHERE number = ?", (head,))
        return Revision(doc_id, (rev,), body, False, read_stubs(self._database, head) if files else NO_ATTACHMENTS)


def _conflicts(tree: RevTree) -> tuple[Rev, ...]:
    return tuple(leaf.rev for leaf in tree.leaves()[1:] if not leaf.deleted)
