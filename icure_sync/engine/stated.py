"""What is stated of access to one record, in all that is here of it: what is proven, and what nobody can judge yet.

Owns the gathering. A statement is signed by itself, so it counts wherever it is found, in a revision that is not shown
too. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from icure_sync import strict_json
from icure_sync.crypto.access import Statement, Subject, carried, union
from icure_sync.engine.verdicts import Verdicts
from icure_sync.errors import InvalidEntity, Tampered
from icure_sync.ids import DocId
from icure_sync.store import Held, Store


@dataclass(frozen=True, slots=True)
class Stated:
    """`proven`: the signatures hold; `pending`: of an Hcp whose key is not known here (yet). In canonical order."""

    subject: Subject
    proven: list[Statement]
    pending: list[Statement]


def stated(store: Store, verdicts: Verdicts, doc_id: DocId) -> Stated | None:
    """From every revision that is here, looked at before or not. None if none of them is a record of that id."""
    proven = [*verdicts.statements(doc_id)]
    pending: list[Statement] = []
    found: Subject | None = None
    for document in map(members, held(store, doc_id)):
        with suppress(Tampered):
            subject = found = Subject.of(doc_id, document)
            for statement in carried(doc_id, document):
                with suppress(Tampered):
                    (proven if verdicts.holds(subject, statement) else pending).append(statement)
    if found is None:
        return None
    return Stated(found, union(proven), [each for each in union(pending) if each not in proven])


def held(store: Store, doc_id: DocId) -> tuple[Held, ...]:
    """Leaves, then what was displaced and is here still."""
    return (*store.documents.held_leaves(doc_id), *store.documents.displaced(doc_id))


def members(one: Held) -> dict[str, Any]:
    """Of the document; none if it cannot be read."""
    with suppress(InvalidEntity):
        found = strict_json.loads(one.revision.body, f"document {one.revision.id}")
        return found if isinstance(found, dict) else {}
    return {}
