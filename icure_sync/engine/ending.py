"""The end of the own identity, as a device sees it that has not taken over the next one.

Owns from when on the key that ended is believed of nothing new. What came before the handover did is verified then,
once, by that key: it is verified lazily otherwise, and nobody could say later what was there before. What comes after
may be a thief's. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Iterator

from icure_sync.engine.handovers import Handovers
from icure_sync.engine.opening import Opener
from icure_sync.engine.parties import Parties
from icure_sync.store import Store

PAGE = 500  # documents looked at in one go
_SEEN = "engine/handover-seen"  # the setting that says since when, and up to which seq things came before


class Ending:
    """Of the identity that a replica was opened with."""

    def __init__(self, store: Store, opener: Opener, parties: Parties, handovers: Handovers) -> None:
        self._store = store
        self._opener = opener
        self._parties = parties
        self._handovers = handovers
        self._seq = store.documents.update_seq()  # what is here up to this one came before the next handover

    def steps(self) -> Iterator[None]:
        """Look for handovers, at what came before one, and believe the key no more. A step takes part of a second."""
        if not self._handovers.take_in():
            self._seq = self._store.documents.update_seq()
            return
        if not self._store.read_only:
            yield from self._look_back()
        self._parties.end_own()

    def _look_back(self) -> Iterator[None]:
        epoch = self._parties.own.epoch
        seen = self._store.settings.get(_SEEN)
        if seen is None or seen["epoch"] != epoch:
            seen = {"epoch": epoch, "before": self._seq, "done": False}
            self._store.settings.put(_SEEN, seen)
        if seen["done"]:
            return
        since = 0
        while page := self._store.documents.changes(since, PAGE):
            since = page[-1].seq
            with self._store.transaction():
                for change in page:
                    if change.seq <= seen["before"] and self._opener.is_record(change.id):
                        self._opener.try_open(change.id)
            yield
            if since >= seen["before"]:
                break
        self._store.settings.put(_SEEN, {**seen, "done": True})
