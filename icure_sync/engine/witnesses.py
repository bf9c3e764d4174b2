"""Revisions that the other side said it has, lately: asked for again before a checkpoint says so for good.

A server put back from a backup that was made after the last checkpoint has the log that this attempt knows, and not
what came since. Whatever it lost, it lost the newest: so a few revisions stand for all. Owns their choice; asks nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from icure_sync.ids import DocId, Rev
from icure_sync.replication.limits import CARRIERS
from icure_sync.replication.wire import Revision


class Witnesses:
    """The newest of what was written and of what was found there. So many batches are written at once, so any of the
    last CARRIERS may be the last."""

    def __init__(self) -> None:
        self._written: deque[tuple[Revision, ...]] = deque(maxlen=CARRIERS)
        self._found: deque[tuple[DocId, Rev]] = deque(maxlen=CARRIERS)
        self._denied = False

    def wrote(self, revisions: Iterable[Revision]) -> None:
        """A batch is there. Those with files take a way of their own: the last of both kinds."""
        last = {bool(revision.attachments): revision for revision in revisions}
        if last:
            self._written.append(tuple(last.values()))

    def found(self, revisions: Iterable[tuple[DocId, Rev]]) -> None:
        """These need not be sent."""
        self._found.extend(revisions)

    def questions(self) -> Mapping[DocId, list[Rev]]:
        """What to ask it for (`_revs_diff`); nothing if there is none."""
        questions: dict[DocId, list[Rev]] = {}
        if not self._denied:
            named = [(revision.id, revision.rev) for batch in self._written for revision in batch]
            for doc_id, rev in dict.fromkeys([*named, *self._found]):
                questions.setdefault(doc_id, []).append(rev)
        return questions

    def deny(self) -> None:
        """It does not have one: everything since the last checkpoint is compared again. Once: a server that takes a
        document and drops it shall not hold up the others."""
        self._denied = True
