"""The end of the own identity, as a device sees it that has not taken over the next one.

Owns from when on the key that ended is believed of nothing new: once a handover is here, or the Hcp document states an
identity that names the key as lost. What came before is verified then, once, by that key: it is verified lazily
otherwise, and nobody could say later what was there before. What comes after, or with it, may be a thief's.
Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Iterator

from icure_sync.engine.handovers import Handovers
from icure_sync.engine.opening import Opener
from icure_sync.engine.parties import Parties
from icure_sync.store import Store

PAGE = 500  # documents looked at in one go
_SEEN = "engine/handover-seen"  # the setting that says since when, and up to which seq things came before
_THROUGH = "engine/looked-through"  # the setting with the seq up to which nothing here said that the identity has ended


class Ending:
    """Of the identity that a replica was opened with."""

    def __init__(self, store: Store, opener: Opener, parties: Parties, handovers: Handovers) -> None:
        self._store = store
        self._opener = opener
        self._parties = parties
        self._handovers = handovers
        self._seq: int = store.settings.get(_THROUGH) or 0

    def hear(self) -> None:
        """Believe the key no more if a handover is here: before anything is looked at that may have come with it."""
        if self._handovers.take_in():
            self._parties.end_own()

    def steps(self) -> Iterator[None]:
        """The same, and look at what came before. A step takes part of a second."""
        self.hear()
        if not self._parties.is_own_lost():
            self._go_on()
        elif not self._store.read_only:
            yield from self._look_back()

    def _go_on(self) -> None:
        """What is here now comes before whatever says that the key has ended."""
        seq = self._store.documents.update_seq()
        if self._store.read_only or seq == self._seq:
            return
        with self._store.transaction():
            self._store.settings.put(_THROUGH, seq)
            self._store.settings.remove(_SEEN)  # of what a person refused
        self._seq = seq

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
            with self._store.transaction(), self._parties.looking_back():
                for change in page:
                    if change.seq <= seen["before"] and self._opener.is_record(change.id):
                        self._opener.try_open(change.id)
            yield
            if since >= seen["before"]:
                break
        self._store.settings.put(_SEEN, {**seen, "done": True})
