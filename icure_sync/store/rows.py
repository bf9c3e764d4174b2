"""What a store hands out about documents, and how it is read from rows. Knows the tables' columns, decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgpack

from icure_sync.ids import DocId, Rev
from icure_sync.merge.revtree import Leaf, RevTree
from icure_sync.replication.wire import Attachment, Revision
from icure_sync.store.database import Database

_WIDE = 2_000  # bytes of a packed tree; one with so many leaves is read once for each of them, one after the other

NO_ATTACHMENTS: Mapping[str, Attachment] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """One row of the local feed: the document at its newest seq. `leaves`: the winner first, tombstones included."""

    seq: int
    id: DocId
    leaves: tuple[Leaf, ...]

    @property
    def rev(self) -> Rev:
        return self.leaves[0].rev

    @property
    def deleted(self) -> bool:
        return self.leaves[0].deleted


@dataclass(frozen=True, slots=True)
class Held:
    """One revision as the store holds it.

    `number`: of the document, ascending in order of first arrival; where to go on after. `state`, `why`: the outcome
    of verification (0: not looked at). `live`: live leaves of the document; more than one is a conflict.
    """

    number: int
    revision: Revision
    state: int
    why: str
    live: int


def read_tree(rev: Rev, deleted: int, packed: bytes | None) -> RevTree:
    """The tree of a `documents` row."""
    if packed is None:
        return RevTree().graft((rev,), bool(deleted))
    return _wide_tree(packed) if len(packed) > _WIDE else _unpack(packed)


def _unpack(packed: bytes) -> RevTree:
    return RevTree.from_value(msgpack.unpackb(packed))


_wide_tree = lru_cache(maxsize=4)(_unpack)


def pack_tree(tree: RevTree) -> bytes | None:
    """The `tree` column: NULL for a single revision, which the row names anyway."""
    if len(tree.paths) == 1 and len(tree.paths[0]) == 1:
        return None
    return msgpack.packb(tree.to_value())  # type: ignore[no-any-return]  # msgpack has no types


def read_stubs(database: Database, revision: int) -> Mapping[str, Attachment]:
    """The attachments of one `revisions` row, by name."""
    rows = database.rows(
        "SELECT name, content_type, length, digest, revpos, gzip_length FROM attachments WHERE revision = ?",
        (revision,),
    )
    return {row[0]: Attachment(*row) for row in rows}


def read_held(database: Database, row: tuple[Any, ...]) -> Held:
    """A row of HELD_COLUMNS."""
    number, doc_id, winner, gone, packed, live, revision, rev, deleted, files, state, why, body = row
    history = (rev,) if packed is None else read_tree(winner, gone, packed).history(rev)
    stubs = read_stubs(database, revision) if files else NO_ATTACHMENTS
    return Held(number, Revision(doc_id, history, body, bool(deleted), stubs), state, why, live)


HELD_COLUMNS = """
    d.number, d.id, d.rev, d.deleted, d.tree, d.live,
    r.number, r.rev, r.deleted, r.files, r.state, r.why, r.body
"""
