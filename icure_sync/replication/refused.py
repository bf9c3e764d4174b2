"""The record of refused documents: what a target did not take, or a source did not give, kept until it is resolved.

Owns the record as a value and its form as a `_local` document of the device; there is one for each other side. A
revision in it is tried again in every sync; it leaves the record when the target has it, or when the source offers it
no more. Does not know who refuses, nor why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from icure_sync.ids import MAX_GENERATION, DocId, Rev, is_rev
from icure_sync.replication.limits import MAX_REASON, MAX_RECORDED
from icure_sync.replication.wire import Missing, Refusal

Named = tuple[DocId, Rev | None]  # one revision of one document

NEWEST = Rev(f"{MAX_GENERATION}-{0:032x}")  # nobody has it, and it may descend from every leaf that there is


@dataclass(frozen=True, slots=True)
class Refused:
    """Refusals by document and revision, the oldest first."""

    entries: Mapping[Named, Refusal] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """No room for more: what is refused now keeps the checkpoint from advancing instead."""
        return len(self.entries) >= MAX_RECORDED

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        return tuple(self.entries.values())

    def revisions(self) -> dict[DocId, tuple[Rev, ...]]:
        """What to try again."""
        found: dict[DocId, tuple[Rev, ...]] = {}
        for doc_id, rev in self.entries:
            if rev is not None:
                found[doc_id] = (*found.get(doc_id, ()), rev)
        return found

    def with_refusals(self, refusals: Iterable[Refusal]) -> Refused:
        """This record and more, or newer words for the same."""
        added = {(refusal.id, refusal.rev): _shortened(refusal) for refusal in refusals}
        return Refused({**self.entries, **added}) if added else self

    def without(self, resolved: Iterable[Named]) -> Refused:
        """This record less those that the target has now."""
        gone = {named for named in resolved if named in self.entries} if self.entries else None
        return Refused({named: self.entries[named] for named in self.entries if named not in gone}) if gone else self

    def questions(self) -> dict[DocId, tuple[Rev, ...]]:
        """What to ask the source (`_revs_diff`) before it is tried again: does it still offer these?"""
        found = {doc_id: tuple(filter(is_rev, revs)) for doc_id, revs in self.revisions().items()}
        return {doc_id: (*revs, NEWEST) for doc_id, revs in found.items() if revs}

    def withdrawn(self, answer: Mapping[DocId, Missing]) -> list[Named]:
        """Those that the source, by its answer to `questions`, does not have or has as no leaf any more.

        Leaves are what a revision above them all may descend from; a server that names none is not asked further.
        """
        gone: list[Named] = []
        for doc_id, revs in self.questions().items():
            lacking, leaves = (answer[doc_id].revs, answer[doc_id].possible_ancestors) if doc_id in answer else ((), ())
            gone += ((doc_id, rev) for rev in revs[:-1] if rev in lacking or (leaves and rev not in leaves))
        return gone

    def document(self) -> dict[str, Any]:
        """The `_local` document."""
        return {"refused": [[entry.id, entry.rev, entry.error, entry.reason] for entry in self.entries.values()]}


def read_refused(document: Mapping[str, Any] | None) -> Refused:
    """The record in the device's own `_local` document."""
    entries = document.get("refused", []) if document else []
    return Refused().with_refusals(Refusal(DocId(entry[0]), *entry[1:]) for entry in entries)


def _shortened(refusal: Refusal) -> Refusal:
    """A server's own words may be long; some hundred characters of them are enough."""
    if len(refusal.error) <= MAX_REASON and len(refusal.reason) <= MAX_REASON:
        return refusal
    return Refusal(refusal.id, refusal.rev, refusal.error[:MAX_REASON], refusal.reason[:MAX_REASON])
