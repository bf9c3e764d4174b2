"""What one direction of a live sync has just carried over: the other finds it in its feed, and need not ask for it.

Owns a bounded memory of revisions. Forgetting one costs a question, nothing else; knowing one is only safe while both
ends are what they were, so every attempt begins with none.
"""

from __future__ import annotations

from collections.abc import Iterable

from icure_sync.ids import DocId, Rev
from icure_sync.replication.limits import MAX_ECHOES


class Echoes:
    """Revisions that one end announced and the other lacked, the newest MAX_ECHOES of them."""

    def __init__(self) -> None:
        self._came: dict[tuple[DocId, Rev], None] = {}

    def add(self, revisions: Iterable[tuple[DocId, Rev]]) -> None:
        """These are being carried over: where they are announced again, they come from there."""
        self._came.update(dict.fromkeys(revisions))
        while len(self._came) > MAX_ECHOES:
            del self._came[next(iter(self._came))]

    def holds(self, doc_id: DocId, rev: Rev) -> bool:
        """Is it known to be at the end that announced it?"""
        return (doc_id, rev) in self._came

    def clear(self) -> None:
        """Nothing is known of either end any more."""
        self._came.clear()
