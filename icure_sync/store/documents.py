"""The documents of a store: revision trees with all their leaves, bodies, the local feed, lookups.

Owns reading, and the public face of writing (inserter.py). Bodies are raw JSON; nothing here opens them.
"""

# ruff: noqa: S608  statements are put together from fragments written here; values are always bound

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from icure_sync.errors import InvalidEntity, NotFound, StaleRevision
from icure_sync.ids import DocId, Rev, generation, rev_order
from icure_sync.merge.revtree import RevTree
from icure_sync.replication.wire import Attachment, Missing, Refusal, Revision
from icure_sync.store.database import Database
from icure_sync.store.heads import FOREIGN_KEY, TYPE, stored_head
from icure_sync.store.inserter import Inserter, Rules
from icure_sync.store.rows import (
    HELD_COLUMNS,
    NO_ATTACHMENTS,
    DocumentChange,
    Held,
    read_held,
    read_tree,
)


class Documents:
    """Every method may raise StoreError kinds; those that change something are one durable transaction each."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._inserter = Inserter(database)

    # Writing

    def apply(self, revisions: Sequence[Revision]) -> list[Refusal]:
        """Take revisions as another peer made them (`new_edits=false`): graft them, keep their bodies.

        Idempotent. Returns those that cannot be taken, each with the reason: a bad id or history, a generation more
        than MAX_GENERATION_JUMP past what is known, a body that is not a JSON object or is over MAX_DOCUMENT bytes.
        Everything else is durable on return. Documents get their seqs in the order given.
        """
        with self._database.transaction():
            return self._inserter.insert(revisions)

    def write(
        self,
        doc_id: DocId,
        rev: Rev,
        body: bytes,
        parent: Rev | None,
        *,
        deleted: bool = False,
        attachments: Mapping[str, Attachment] = NO_ATTACHMENTS,
    ) -> None:
        """A local edit: `rev`, computed by the caller, extends the leaf `parent`, or begins a document.

        Raises StaleRevision unless `parent` is a leaf, or None where no live document is; InvalidEntity for what
        `apply` refuses.
        """
        with self._database.transaction():
            tree = self.tree(doc_id) or RevTree()
            history: tuple[Rev, ...] = (rev,)
            if parent is None:
                stale = bool(tree) and not tree.winner().deleted
            else:
                stale = all(leaf.rev != parent for leaf in tree.leaves())
                history = history if stale else (rev, *tree.history(parent))
            if stale:
                raise StaleRevision(
                    f"write document {doc_id}", f"{parent or 'no revision'} is not a leaf of it", "read it again"
                )
            if parent is None and not rev.startswith("1-"):
                raise InvalidEntity(f"write document {doc_id}", f"{rev} needs a parent", "name the leaf it extends")
            refusals = self._inserter.insert([Revision(doc_id, history, body, deleted, attachments)])
            if refusals:
                raise InvalidEntity(f"write document {doc_id}", refusals[0].reason, "correct it and repeat")

    def prune(self, doc_id: DocId, revs: Iterable[Rev]) -> None:
        """Drop the bodies of these revisions of a document, as far as they are displaced."""
        which = (
            "SELECT number FROM revisions WHERE leaf = 0 AND doc = (SELECT number FROM documents WHERE id = ?) "
            "AND rev IN (SELECT value FROM json_each(?))"
        )
        with self._database.transaction():
            values = (doc_id, json.dumps(list(revs)))
            self._database.run(f"DELETE FROM attachments WHERE revision IN ({which})", values)
            self._database.run(f"DELETE FROM revisions WHERE number IN ({which})", values)

    def find_by(self, doc_id: DocId, rev: Rev) -> None:
        """Have a document looked up by what this revision says, too, until more of it comes: it was displaced by what
        cannot be shown."""
        row = self._database.row(
            "SELECT r.doc, r.body FROM documents d JOIN revisions r ON r.doc = d.number WHERE d.id = ? AND r.rev = ?",
            (doc_id, rev),
        )
        if row is None:
            return
        number, body = row
        known = {tuple(term) for term in self._database.rows("SELECT kind, term FROM terms WHERE doc = ?", (number,))}
        new = {term for term in stored_head(body).terms() - known if term[0] in (TYPE, FOREIGN_KEY)}
        with self._database.transaction():
            self._database.run_many(
                "INSERT INTO terms (doc, kind, term) VALUES (?, ?, ?)", [(number, *term) for term in new]
            )
            links = sum(kind == FOREIGN_KEY for kind, _ in new)
            self._database.run("UPDATE counters SET foreign_keys = foreign_keys + ?", (links,))

    def forget_verified(self, state: int) -> None:
        """Have every revision in this state looked at anew: what made it so has changed."""
        self._database.run("UPDATE revisions SET state = 0, why = '' WHERE state = ?", (state,))

    def set_rules(self, rules: Rules) -> None:
        """For a server, which takes what CouchDB takes. In force until the store is closed."""
        self._inserter = Inserter(self._database, rules)

    def mark_verified(self, doc_id: DocId, rev: Rev, state: int, why: str = "") -> None:
        """Keep the outcome of verifying a revision. Nothing happens if it is not here any more."""
        self._database.run(
            "UPDATE revisions SET state = ?, why = ? "
            "WHERE doc = (SELECT number FROM documents WHERE id = ?) AND rev = ?",
            (state, why, doc_id, rev),
        )

    # One document

    def tree(self, doc_id: DocId) -> RevTree | None:
        """The revision tree, or None for an unknown document."""
        row = self._database.row("SELECT rev, deleted, tree FROM documents WHERE id = ?", (doc_id,))
        return None if row is None else read_tree(*row)

    def get(self, doc_id: DocId, rev: Rev | None = None) -> Revision | None:
        """A revision with its history, the winner by default; None if it or its body is not here."""
        if rev is not None:
            found = self.held(doc_id, rev)
            return found.revision if found else None
        held = self._held("r.number = d.head", doc_id)
        return held[0].revision if held else None

    def held(self, doc_id: DocId, rev: Rev) -> Held | None:
        """A revision, with what is known of it; None if it or its body is not here."""
        held = self._held("r.doc = d.number AND r.rev = ?", rev, doc_id)
        return held[0] if held else None

    def leaves(self, doc_id: DocId) -> tuple[Revision, ...]:
        """All leaves, the winner first, tombstones included; empty for an unknown document."""
        return tuple(held.revision for held in self.held_leaves(doc_id))

    def held_leaves(self, doc_id: DocId) -> tuple[Held, ...]:
        """As `leaves`, with what is known of each."""
        held = {each.revision.rev: each for each in self._held("r.doc = d.number AND r.leaf", doc_id)}
        tree = self.tree(doc_id)
        return tuple(held[leaf.rev] for leaf in tree.leaves()) if tree else ()

    def displaced(self, doc_id: DocId) -> tuple[Held, ...]:
        """The displaced revisions whose bodies are still here, the highest first."""
        held = self._held("r.doc = d.number AND NOT r.leaf", doc_id)
        return tuple(sorted(held, key=lambda each: rev_order(each.revision.rev), reverse=True))

    def verification(self, doc_id: DocId, rev: Rev) -> tuple[int, str] | None:
        """What `mark_verified` kept: state and reason; (0, "") before it; None if the revision is not here."""
        row = self._database.row(
            "SELECT r.state, r.why FROM documents d JOIN revisions r ON r.doc = d.number WHERE d.id = ? AND r.rev = ?",
            (doc_id, rev),
        )
        return None if row is None else (row[0], row[1])

    # Many documents

    def winners(self, ids: Iterable[DocId]) -> list[Held]:
        """The winners of these documents, in the order given; unknown ones are left out."""
        rows = self._database.rows(
            f"SELECT {HELD_COLUMNS} FROM json_each(?) j JOIN documents d ON d.id = j.value "
            "JOIN revisions r ON r.number = d.head ORDER BY j.key",
            (json.dumps(list(ids)),),
        )
        return [read_held(self._database, row) for row in rows]

    def winners_of_type(self, type_: str, after: int = 0, limit: int = 500) -> list[Held]:
        """Documents with a live leaf of this type, by `Held.number`, from the one after `after` on."""
        rows = self._database.rows(
            f"SELECT {HELD_COLUMNS} FROM terms t "
            "JOIN documents d ON d.number = t.doc JOIN revisions r ON r.number = d.head "
            "WHERE t.kind = ? AND t.term = ? AND t.doc > ? ORDER BY t.doc LIMIT ?",
            (TYPE, type_, after, limit),
        )
        return [read_held(self._database, row) for row in rows]

    def ids_of_type(self, type_: str, after: DocId | None = None, limit: int = 500) -> list[DocId]:
        """Ids of documents with a live leaf of this type, in order of first arrival; `after`: the last id seen.

        Raises NotFound if `after` is not here any more.
        """
        return self._ids_by(TYPE, type_, self._number(after), limit)

    def ids_linked_by(self, secret_foreign_key: str) -> list[DocId]:
        """Ids of documents of which a live leaf shows this secret id."""
        return self._ids_by(FOREIGN_KEY, secret_foreign_key, 0, -1)

    def conflicted_ids(self) -> list[DocId]:
        """Documents with more than one live leaf."""
        return [row[0] for row in self._database.rows("SELECT id FROM documents WHERE live > 1 ORDER BY number")]

    def ids(
        self,
        start: str = "",
        end: str | None = None,
        *,
        limit: int = 500,
        skip: int = 0,
        descending: bool = False,
    ) -> list[DocumentChange]:
        """Live documents with start <= id <= end, by id (bytewise), for `_all_docs`.

        `descending` reads the same range from its end. `limit` -1: all.
        """
        order = "DESC" if descending else "ASC"
        bound = "" if end is None else "AND id <= ?"
        return self._changes(
            f"id >= ? {bound} AND NOT deleted ORDER BY id {order} LIMIT ? OFFSET ?",
            (start, *(() if end is None else (end,)), limit, skip),
        )

    def changes(self, since: int = 0, limit: int = 500) -> list[DocumentChange]:
        """Documents changed after `since`, by seq. `limit` -1: all."""
        return self._changes("seq > ? ORDER BY seq LIMIT ?", (since, limit))

    def changes_before(self, before: int, limit: int = 500) -> list[DocumentChange]:
        """Documents changed before `before` and not since, the newest first."""
        return self._changes("seq < ? ORDER BY seq DESC LIMIT ?", (before, limit))

    def missing(self, revs: Mapping[DocId, Sequence[Rev]]) -> dict[DocId, Missing]:
        """Which of these revisions are not known here (`_revs_diff`). Documents that lack nothing are left out."""
        result = {}
        for doc_id, wanted in revs.items():
            tree = self.tree(doc_id)  # one at a time: some are large
            if tree is None:
                result[doc_id] = Missing(tuple(wanted))
            elif lacking := tree.missing(wanted):
                highest = max(lacking, key=generation)
                result[doc_id] = Missing(lacking, tree.possible_ancestors(highest))
        return result

    def fetch(self, revs: Mapping[DocId, Sequence[Rev]]) -> list[Revision | Refusal]:
        """These revisions with their histories (`_bulk_get`), in the order given; a Refusal for each not here."""
        return [
            self.get(doc_id, rev) or Refusal(doc_id, rev, "not_found", "missing")
            for doc_id, wanted in revs.items()
            for rev in wanted
        ]

    # Counts

    def update_seq(self) -> int:
        """The seq of the newest change, 0 at first."""
        return int(self._database.value("SELECT update_seq FROM counters"))

    def count(self) -> int:
        """How many documents are live."""
        return int(self._database.value("SELECT live FROM counters"))

    def seq_of(self, doc_id: DocId) -> int | None:
        """The seq of a document's newest change (`_local_seq`), or None for an unknown one."""
        seq: int | None = self._database.value("SELECT seq FROM documents WHERE id = ?", (doc_id,))
        return seq

    def counts_by_type(self) -> dict[str, int]:
        """How many documents have a live leaf of each type."""
        return dict(self._database.rows("SELECT term, count(*) FROM terms WHERE kind = ? GROUP BY term", (TYPE,)))

    def count_changes(self, since: int) -> int:
        """How many documents changed after `since`."""
        return int(self._database.value("SELECT count(*) FROM documents WHERE seq > ?", (since,)))

    def count_before(self, doc_id: str) -> int:
        """How many live documents come before this id."""
        return int(self._database.value("SELECT count(*) FROM documents WHERE id < ? AND NOT deleted", (doc_id,)))

    def deleted_count(self) -> int:
        """How many documents are deleted: their winner is a tombstone."""
        return int(self._database.value("SELECT deleted FROM counters"))

    # Queries

    def _held(self, joined: str, *values: str) -> list[Held]:
        rows = self._database.rows(
            f"SELECT {HELD_COLUMNS} FROM documents d JOIN revisions r ON {joined} WHERE d.id = ?", values
        )
        return [read_held(self._database, row) for row in rows]

    def _ids_by(self, kind: int, term: str, after: int, limit: int) -> list[DocId]:
        rows = self._database.rows(
            "SELECT d.id FROM terms t JOIN documents d ON d.number = t.doc "
            "WHERE t.kind = ? AND t.term = ? AND t.doc > ? ORDER BY t.doc LIMIT ?",
            (kind, term, after, limit),
        )
        return [row[0] for row in rows]

    def _changes(self, where: str, values: Sequence[Any]) -> list[DocumentChange]:
        rows = self._database.rows(f"SELECT seq, id, rev, deleted, tree FROM documents WHERE {where}", values)
        return [DocumentChange(seq, doc_id, read_tree(*tree).leaves()) for seq, doc_id, *tree in rows]

    def _number(self, doc_id: DocId | None) -> int:
        if doc_id is None:
            return 0
        number = self._database.value("SELECT number FROM documents WHERE id = ?", (doc_id,))
        if number is None:
            raise NotFound(f"go on after document {doc_id}", "it is not here any more", "begin again")
        return int(number)
