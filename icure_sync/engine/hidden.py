"""What of a record is hidden by something that does not count: tombstones that no merge wrote, revisions that do not
verify. And which tombstones do count, so that what they end can go.

CouchDB lets whoever may write put a tombstone, or anything else, on any leaf. So an end of a leaf counts only if what
is signed says so. What is hidden of those who are in is to be written again; of those who are out, to be looked at.
Decides; reconciling.py writes, review.py lists. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from icure_sync.crypto.access import Subject, parties
from icure_sync.crypto.merging import ended_by
from icure_sync.engine.opening import UNREADABLE, Leaves, Opened, Opener
from icure_sync.engine.outs import Outs, carries, sort_outs
from icure_sync.engine.sealed import SealedSuite
from icure_sync.engine.suite import Stored
from icure_sync.engine.verdicts import REFUSED, Verdicts
from icure_sync.errors import Misplaced, NoAccess, NotFound, Tampered, UnsupportedSuite, WriterOut
from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.merge.registers import Body
from icure_sync.merge.revtree import RevTree
from icure_sync.replication.filters import device_selector, passes_leaf
from icure_sync.store import Held, Store

_MAY_BE_GENUINE = (NotFound, NoAccess, UnsupportedSuite, Misplaced)  # keys, Hcps or revisions may still be missing


@dataclass(frozen=True, slots=True, repr=False)
class Look:
    """`hidden`: revisions that nothing which counts has displaced. `is_waiting`: of some that cannot be said yet.

    `out`: as `hidden`, by those who are out: the last that each of them wrote. `earlier`: by their revision, and that
    of live leaves by those who are out, what the same Hcp replaced by it and is here still. `unseen`: of `hidden`,
    those whose writers are not given what hides them: it names others.
    """

    hidden: tuple[Stored, ...] = ()
    is_waiting: bool = False
    out: tuple[Stored, ...] = ()
    earlier: Mapping[Rev, Sequence[Stored]] = field(default_factory=dict)
    unseen: frozenset[Rev] = frozenset()


class Hidden:
    """Looks at one record at a time."""

    def __init__(self, store: Store, *, opener: Opener, verdicts: Verdicts, sealed: SealedSuite) -> None:
        self._store = store
        self._opener = opener
        self._verdicts = verdicts
        self._sealed = sealed

    def look(self, doc_id: DocId, leaves: Leaves) -> Look:
        """Bodies of what counts as displaced are dropped on the way."""
        bodies = self._store.documents.displaced(doc_id)
        if not bodies:
            return Look()
        tree = self._store.documents.tree(doc_id) or RevTree()
        held = {each.revision.rev: each for each in self._store.documents.held_leaves(doc_id)}
        lines = {rev: tree.history(rev) for rev in held}
        below = {rev for opened in leaves.opened for rev in lines[opened.stored.rev]}
        done: set[Rev] = set()
        hidden: list[Stored] = []
        out: list[Stored] = []
        is_waiting = False
        for displaced in bodies:
            rev = displaced.revision.rev
            if rev in done or displaced.state == REFUSED:
                continue
            try:
                opened = self._opener.open_held(displaced)
            except WriterOut:
                out.append(self._opener.read(displaced))
                continue
            except UNREADABLE as error:
                is_waiting |= rev not in below and isinstance(error, _MAY_BE_GENUINE)
                continue
            if not opened.suite.is_authenticated:
                continue  # there, a deletion is a deletion
            if not self._is_in(opened.stored):
                out.append(opened.stored)
            elif self._is_taken_in(opened, [held[leaf] for leaf in _above(rev, lines)], leaves.opened):
                self._drop(opened.stored)
            else:
                done.update(tree.history(rev)[1:])
                hidden.append(opened.stored)
        outs = self._outs(out, leaves, held)
        waiting = {
            each.rev
            for each in (*hidden, *outs.left)
            if self._awaits(each, [held[leaf] for leaf in _above(each.rev, lines)], leaves)
        }
        left = tuple(each for each in hidden if each.rev not in waiting)
        return Look(
            hidden=left,
            is_waiting=is_waiting or bool(waiting),
            out=tuple(each for each in outs.left if each.rev not in waiting),
            earlier=outs.earlier,
            unseen=frozenset(each.rev for each in left if _is_unseen(each, [held[r] for r in _above(each.rev, lines)])),
        )

    def _outs(self, displaced: Sequence[Stored], leaves: Leaves, held: Mapping[Rev, Held]) -> Outs:
        if not displaced:
            return Outs((), {}, ())
        live = [self._opener.read(held[rev]) for rev, error in leaves.others.items() if isinstance(error, WriterOut)]
        shown: list[Stored] = []
        for leaf in leaves.opened:
            if leaf.suite is self._sealed:
                (shown if self._is_in(leaf.stored) else live).append(leaf.stored)
        opened: dict[Rev, Body | None] = {}

        def body_of(stored: Stored) -> Body | None:
            if stored.rev not in opened:
                opened[stored.rev] = None
                with suppress(*UNREADABLE):
                    opened[stored.rev] = self._sealed.checked_body(stored)
            return opened[stored.rev]

        outs = sort_outs(displaced, live, shown, body_of)
        for each in outs.gone:
            self._drop(each)
        return outs

    def _is_taken_in(self, opened: Opened, above: Sequence[Held], leaves: Sequence[Opened]) -> bool:
        """Whether what displaced this revision counts: a tombstone of a leaf that a merge took in, or a leaf that shows
        and has seen all that it does. That the revision tree has it below a leaf proves nothing: a server made that."""
        if any(self._ends(each, opened, leaves) for each in above):
            return True
        shown_above = {each.revision.rev for each in above if not each.revision.deleted}
        return any(self._covers(leaf, opened.stored) for leaf in leaves if leaf.stored.rev in shown_above)

    def _is_in(self, stored: Stored) -> bool:
        """Whether who wrote this has access by all that is stated here now: else nobody signs it again for him."""
        subject = Subject.of(stored.id, stored.document)
        return stored.document["written"]["by"] in parties(subject, self._verdicts.statements(stored.id))

    def _ends(self, held: Held, opened: Opened, leaves: Sequence[Opened]) -> bool:
        """Whether this is a tombstone of the revision, and a leaf that verifies took it in with all it states."""
        if not held.revision.deleted:
            return False
        stored = opened.stored
        document = self._opener.read(held).document
        return ended_by(document) == stored.rev and any(self._took_in(leaf, stored) for leaf in leaves)

    def _took_in(self, leaf: Opened, ended: Stored) -> bool:
        document = leaf.stored.document
        return self._stands_for(leaf, ended) and (
            ended.rev in (*document["parents"], *document["merged"]) or self._sealed.covers(leaf.stored, ended)
        )

    def _covers(self, leaf: Opened, other: Stored) -> bool:
        return self._stands_for(leaf, other) and self._sealed.covers(leaf.stored, other)

    def _stands_for(self, leaf: Opened, other: Stored) -> bool:
        """What an end by this leaf takes before anything else: it states all that the other states of access."""
        return leaf.suite is self._sealed and carries(leaf.stored.document, other.document)

    def _drop(self, stored: Stored) -> None:
        if not self._store.read_only:
            self._store.documents.prune(stored.id, [stored.rev])

    def _awaits(self, stored: Stored, above: Sequence[Held], leaves: Leaves) -> bool:
        """Whether what stands above may yet turn out to count: a revision that cannot be judged here yet, or a notice,
        which says that there is one."""
        return any(
            self._is_notice(held, stored)
            if held.revision.deleted
            else isinstance(leaves.others.get(held.revision.rev), _MAY_BE_GENUINE)
            for held in above
        )

    def _is_notice(self, held: Held, above: Stored) -> bool:
        """It counts if what it states puts those out whom it names, of whom this Hcp may be one, and who were in by
        what stands above it: anybody may write one that names somebody else. One that a grant overrides which is here
        counts no more, however it came to stand there."""
        document = self._opener.read(held).document
        named = document.get("delegations")
        if document.get("notice") is not True or not isinstance(named, dict) or not named:
            return False
        subject = Subject.of(above.id, above.document)
        try:
            stated = self._verdicts.proven(subject, document)
        except Tampered:
            return False
        known = above.document["access"]
        after = parties(subject, [*stated, *known, *self._verdicts.statements(above.id)])
        return parties(subject, known) >= named.keys() and after.isdisjoint(named)


def _is_unseen(stored: Stored, above: Sequence[Held]) -> bool:
    """Whether who wrote this is given nothing of what stands above it, by the filter of his devices."""
    selector = device_selector(HcpId(stored.document["written"]["by"]))
    return not any(passes_leaf(selector, each.revision) for each in above)


def _above(rev: Rev, lines: Mapping[Rev, Sequence[Rev]]) -> list[Rev]:
    """The leaves that stand above a revision, each in its line."""
    return [leaf for leaf, line in lines.items() if rev in line]
