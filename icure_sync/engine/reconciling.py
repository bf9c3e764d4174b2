"""Writing what concurrent revisions come to: merges, the ends of leaves, and again what somebody hid.

Owns who writes a merge, and when. What a merge is, is the suite's; what may be shown, opening.py's. Runs after each
pull, in the store's thread, step by step, so that others get their turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from icure_sync.engine.alarms import AlarmKind, Bell
from icure_sync.engine.hidden import Hidden, Look
from icure_sync.engine.opening import UNREADABLE, Leaves, Opener
from icure_sync.engine.records import Records
from icure_sync.engine.sealed import SealedSuite
from icure_sync.engine.suite import Stored, Written
from icure_sync.engine.trail import Action, Deed
from icure_sync.engine.verdicts import VERIFIED
from icure_sync.ids import DocId, HcpId
from icure_sync.store import Store
from icure_sync.store.contests import Merge

PATIENCE_MS = 86_400_000  # a day, in which the Hcps who wrote the leaves merge them; then anyone does
PAGE = 64  # documents between two commits: some 20 ms

# In a sealed document; what was never merged has an empty one. A merge may be all that comes here of a share that
# crossed a revocation, and who shared may have no other device that saw the leaves.
_MERGE = Merge(member=b'"merged":[', empty=b'"merged":[]')

_LOOKED_THROUGH = "engine/reconciled"  # the setting that holds the seq


@dataclass(frozen=True, slots=True)
class Reconciled:
    """`merged`: records of which a merge was written; `undone`: hidden revisions that were written again."""

    merged: int = 0
    undone: int = 0

    def __add__(self, other: Reconciled) -> Reconciled:
        return Reconciled(self.merged + other.merged, self.undone + other.undone)


class Reconciler:
    """`me`: the Hcp whose devices write here. `clock`: ms since 1970, which decides when a merge is written, never what
    is in it."""

    def __init__(
        self,
        store: Store,
        me: HcpId,
        *,
        opener: Opener,
        hidden: Hidden,
        records: Records,
        sealed: SealedSuite,
        bell: Bell,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._me = me
        self._opener = opener
        self._records = records
        self._hidden = hidden
        self._sealed = sealed
        self._bell = bell
        self._clock = clock

    def steps(self, *, learnt: bool) -> Iterator[Reconciled]:
        """Everything there is to do now, a page of documents at a time. `learnt`: keys or Hcps became known, so all
        that waits is looked at again; else what has waited for long."""
        if self._store.read_only:
            return
        now = self._clock()
        self._store.contests.begin(now)
        after = ""
        while waiting := self._store.contests.waiting(now if learnt else now - PATIENCE_MS, after, PAGE):
            yield self._page(waiting)
            self._store.contests.postpone(waiting, now - PATIENCE_MS, now)
            after = waiting[-1]
        since = self._store.settings.get(_LOOKED_THROUGH) or 0
        through = None
        while through != since:
            since = since if through is None else through
            contested, through = self._store.contests.changed(since, VERIFIED, _MERGE)
            for start in range(0, len(contested), PAGE):
                yield self._page(contested[start : start + PAGE])
            if through != since:
                self._store.settings.put(_LOOKED_THROUGH, through)

    def _page(self, page: Sequence[DocId]) -> Reconciled:
        ids = [each for each in page if not self._store.withdrawals.is_waiting(each)]  # who was put out merges nothing
        done = Reconciled()
        with self._store.transaction():
            for doc_id in ids:
                done += self._reconcile(doc_id)
        for doc_id in ids:  # each durable by itself: a key that was made for it must not be rolled back
            self._repair(doc_id)
        return done

    def _reconcile(self, doc_id: DocId) -> Reconciled:
        """All that one record needs, or nothing of it: none may keep the others from their turn."""
        try:
            with self._store.transaction():
                return self._reconciled(doc_id)
        except UNREADABLE as error:
            self._pass_over(doc_id, error.wrong)
            return Reconciled()

    def _reconciled(self, doc_id: DocId) -> Reconciled:
        leaves = self._opener.leaves(doc_id)
        look = self._hidden.look(doc_id, leaves)
        undone = sum(self._write_again(hidden) for hidden in look.hidden if self._is_ours(hidden, look))
        if undone:
            leaves = self._opener.leaves(doc_id)
        merged = self._merge(leaves)
        if look.is_waiting or undone < len(look.hidden) or not self._is_settled(doc_id):
            since = self._store.contests.wait(doc_id, self._clock())
            if look.is_waiting and self._clock() - since >= PATIENCE_MS:
                self._bell.ring(AlarmKind.UNJUDGED, doc_id, "nothing that came for a day says whether it counts")
            self._keep_listed(doc_id)
        else:
            self._store.contests.settle(doc_id)
        if not look.is_waiting:
            self._store.alarms.clear(AlarmKind.UNJUDGED, doc_id)
        return Reconciled(merged, undone)

    def _keep_listed(self, doc_id: DocId) -> None:
        """What is shown is in the lists, whatever stands on top of it says that it is."""
        shown = self._opener.try_open(doc_id)
        if shown is not None and not any(leaf.rev == shown.stored.rev for leaf in self._store.documents.leaves(doc_id)):
            self._store.documents.find_by(doc_id, shown.stored.rev)

    def _merge(self, leaves: Leaves) -> int:
        """1 if a merge was written. A leaf that another one covers is only ended."""
        alike = leaves.alike
        if not alike or (len(alike) == 1 and not leaves.known):
            return 0
        suite = leaves.opened[0].suite
        joined = suite.join(alike, leaves.known)
        merges = [written for written in joined.written or () if not written.deleted]
        if merges and not self._is_due(alike):
            return 0
        for written in joined.written or ():
            if written.deleted:
                self._records.end(written)
            else:
                self._records.keep(written, suite, Deed(Action.MERGED))
        return len(merges)

    def _is_ours(self, hidden: Stored, look: Look) -> bool:
        """Whoever wrote it writes it again, unless he is not given what hides it."""
        return hidden.rev in look.unseen or self._is_due([hidden])

    def _write_again(self, hidden: Stored) -> int:
        self._records.keep(self._sealed.again(hidden), self._sealed, Deed(Action.UNDONE, {"hidden": hidden.rev}))
        why = f"revision {hidden.rev} was deleted or overwritten by what does not count, and was written again"
        self._bell.ring(AlarmKind.UNDONE, hidden.id, why)
        return 1

    def _repair(self, doc_id: DocId) -> None:
        """Whoever has access, and by the merge of a share with a revocation lacks the key, gets it; and a merge gets a
        new one if somebody who is out may know all that its leaves have."""
        if not self._opener.is_record(doc_id):
            return
        opened = self._opener.try_open(doc_id)
        if opened is None or opened.suite is not self._sealed:
            return
        stored = opened.stored
        try:
            repaired = self._rekeyed(stored) if stored.leaves else self._sealed.repair(stored)
            if repaired is not None:
                self._records.keep(repaired, self._sealed, Deed(Action.REPAIRED))
        except UNREADABLE as error:  # an entry that is junk, say
            self._pass_over(doc_id, error.wrong)

    def _rekeyed(self, shown: Stored) -> Written | None:
        """Devices that do this at once draw different keys; what comes of it merges under one of these."""
        if shown.is_safe or not self._is_due(self._opener.leaves(shown.id).alike):
            return None
        return self._sealed.rekeyed(shown)

    def _pass_over(self, doc_id: DocId, why: str) -> None:
        self._opener.unreadable[doc_id] = why
        self._store.contests.wait(doc_id, self._clock())

    def _is_due(self, written: Sequence[Stored]) -> bool:
        """Devices of the Hcps who wrote one of these write what comes of them; others do once that has not happened for
        long."""
        if any(writer_of(stored) in (None, self._me) for stored in written):
            return True
        now = self._clock()
        return now - self._store.contests.wait(written[0].id, now) >= PATIENCE_MS

    def _is_settled(self, doc_id: DocId) -> bool:
        """Nothing is left that more keys, more statements or more time could merge."""
        tree = self._store.documents.tree(doc_id)
        return tree is None or sum(not leaf.deleted for leaf in tree.leaves()) == 1


def writer_of(stored: Stored) -> HcpId | None:
    """Who wrote a revision, as a verified one says; None in a suite that does not say."""
    mark = stored.document.get("written")
    return HcpId(mark["by"]) if isinstance(mark, dict) else None
