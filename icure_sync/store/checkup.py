"""The checkup of a store's file: SQLite's own, then whether the tables agree with each other. Changes nothing.

It reads every page, so it authenticates every page.
"""

from __future__ import annotations

from icure_sync.errors import StoreCorrupt
from icure_sync.store.database import Database
from icure_sync.store.rows import read_tree

MOST = 100  # problems of one kind that are listed; the first says it all

_DISAGREEMENTS = (
    (
        "document {}: its winner is not among its revisions",
        (
            "SELECT d.id FROM documents d LEFT JOIN revisions r ON r.number = d.head AND r.doc = d.number "
            "AND r.rev = d.rev AND r.deleted = d.deleted AND r.leaf WHERE r.number IS NULL"
        ),
    ),
    (
        "revision {} belongs to no document",
        "SELECT rev FROM revisions WHERE doc NOT IN (SELECT number FROM documents)",
    ),
    (
        "index term of document number {} belongs to no document",
        "SELECT DISTINCT doc FROM terms WHERE doc NOT IN (SELECT number FROM documents)",
    ),
    (
        "index row of document number {} belongs to no live document",
        (
            "SELECT DISTINCT doc FROM index_rows WHERE doc NOT IN (SELECT number FROM documents WHERE NOT deleted) "
            "AND idx IN (SELECT number FROM indexes WHERE built AND through >= (SELECT max(seq) FROM documents))"
        ),
    ),
    (
        "revision {}: its attachments are not listed",
        "SELECT rev FROM revisions WHERE files <> (SELECT count(*) FROM attachments WHERE revision = revisions.number)",
    ),
    (
        "attachment {}: its bytes are gone",
        "SELECT name FROM attachments WHERE blob IS NOT NULL AND blob NOT IN (SELECT number FROM blobs)",
    ),
    (
        "attachment bytes of {}: some are missing",
        (
            "SELECT digest FROM blobs WHERE sha256 IS NOT NULL "
            "AND length <> (SELECT coalesce(sum(length(bytes)), 0) FROM chunks WHERE blob = blobs.number)"
        ),
    ),
    (
        "the counts of documents are wrong by {}",
        (
            "SELECT c.live - count(CASE WHEN d.deleted = 0 THEN 1 END) || ' and ' || (c.deleted - total(d.deleted)) "
            "FROM counters c LEFT JOIN documents d GROUP BY c.live, c.deleted "
            "HAVING c.live <> count(CASE WHEN d.deleted = 0 THEN 1 END) OR c.deleted <> total(d.deleted)"
        ),
    ),
    (
        "the counts of index terms are wrong by {}",
        (
            "SELECT (c.delegates - n.delegates) || ' and ' || (c.foreign_keys - n.foreign_keys) FROM counters c, "
            "(SELECT count(CASE kind WHEN 2 THEN 1 END) AS delegates, "
            "count(CASE kind WHEN 1 THEN 1 END) AS foreign_keys FROM terms) n "
            "WHERE c.delegates <> n.delegates OR c.foreign_keys <> n.foreign_keys"
        ),
    ),
    (
        "document {}: its seq was never given",
        "SELECT id FROM documents WHERE seq > (SELECT update_seq FROM counters)",
    ),
)


def find_problems(database: Database) -> list[str]:
    """What is wrong, one line each."""
    try:
        problems = [text for (text,) in database.rows(f"PRAGMA integrity_check({MOST})") if text != "ok"]
        for line, query in _DISAGREEMENTS:
            problems += [line.format(row[0]) for row in database.rows(f"{query} LIMIT {MOST}")]
        problems += _wrong_leaves(database)[:MOST]
    except StoreCorrupt as error:
        return [error.wrong]
    return problems


def _wrong_leaves(database: Database) -> list[str]:
    """Documents whose tree and whose rows name different leaves."""
    leaves: dict[int, set[tuple[str, bool]]] = {}
    for number, rev, deleted in database.rows("SELECT doc, rev, deleted FROM revisions WHERE leaf"):
        leaves.setdefault(number, set()).add((rev, bool(deleted)))
    problems = []
    for number, doc_id, live, *tree in database.rows("SELECT number, id, live, rev, deleted, tree FROM documents"):
        expected = {(leaf.rev, leaf.deleted) for leaf in read_tree(*tree).leaves()}
        if leaves.get(number) != expected or live != sum(not deleted for _, deleted in expected):
            problems.append(f"document {doc_id}: its revision tree and its bodies disagree")
    return problems
