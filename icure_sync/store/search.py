"""Full-text search over opened text, inside the encrypted file. Owns the index and how far it has come.

The text is given by whoever can open documents; it is cut into words here and not kept. What a person types is never
query syntax.
"""

from __future__ import annotations

from icure_sync.errors import NotFound
from icure_sync.ids import DocId
from icure_sync.store.database import Database
from icure_sync.store.limits import MAX_WORDS


class Search:
    """Every method may raise StoreError kinds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def index(self, doc_id: DocId, type_: str, text: str) -> None:
        """Make a document findable by `text`, instead of what it was found by. Raises NotFound for an unknown one."""
        with self._database.transaction():
            number, seq = self._number(doc_id)
            self._database.run("REPLACE INTO search (rowid, text) VALUES (?, ?)", (number, text))
            self._database.run("REPLACE INTO searchable VALUES (?, ?)", (number, type_))
            self._advance(seq)

    def remove(self, doc_id: DocId) -> None:
        """Make a document unfindable: it is deleted, or does not open. Raises NotFound for an unknown one."""
        with self._database.transaction():
            number, seq = self._number(doc_id)
            self._database.run("DELETE FROM search WHERE rowid = ?", (number,))
            self._database.run("DELETE FROM searchable WHERE doc = ?", (number,))
            self._advance(seq)

    def find(self, text: str, type_: str | None = None, limit: int = 50) -> list[DocId]:
        """Ids of documents that have all the words of `text`, the last one as a beginning; the best match first."""
        query = _query(text)
        if not query:
            return []
        rows = self._database.rows(
            "SELECT d.id FROM search JOIN searchable s ON s.doc = search.rowid JOIN documents d ON d.number = s.doc "
            "WHERE search MATCH ? AND (? IS NULL OR s.type = ?) ORDER BY search.rank, d.number LIMIT ?",
            (query, type_, type_, limit),
        )
        return [row[0] for row in rows]

    def pending(self, limit: int = 500) -> list[DocId]:
        """Documents changed since they were last indexed or removed, the oldest change first.

        Index or remove them in this order, and the next call goes on after them.
        """
        rows = self._database.rows(
            "SELECT id FROM documents WHERE seq > (SELECT through FROM searched) ORDER BY seq LIMIT ?", (limit,)
        )
        return [row[0] for row in rows]

    def restart(self) -> None:
        """Have every document indexed again: keys arrived that open more of them, say."""
        self._database.run("UPDATE searched SET through = 0")

    def _number(self, doc_id: DocId) -> tuple[int, int]:
        row = self._database.row("SELECT number, seq FROM documents WHERE id = ?", (doc_id,))
        if row is None:
            raise NotFound(f"index document {doc_id}", "it is not here", "read the list of documents again")
        return row[0], row[1]

    def _advance(self, seq: int) -> None:
        """The mark moves on only in turn: a document indexed out of turn will come up once more, which is harmless."""
        self._database.run(
            "UPDATE searched SET through = ? WHERE ? = (SELECT min(seq) FROM documents WHERE seq > through)", (seq, seq)
        )


def _query(text: str) -> str:
    """FTS5's query for words as typed: each one quoted, the last one a prefix."""
    words = ['"' + word.replace('"', '""') + '"' for word in text.replace("\0", " ").split()[:MAX_WORDS]]
    return " ".join(words) + "*" if words else ""
