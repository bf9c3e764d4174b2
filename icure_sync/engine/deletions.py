"""Many deletions at once: before they are taken in, a person is asked.

A deletion by an Hcp with access is genuine, and what was deleted can be restored; a tombstone that nobody signed ends
nothing, and is written over. Both may come in thousands: from a mistake, a stolen device, a server with an interest. So
what deletes a record that is shown here is set aside as it comes, in the transaction in which anything else is taken
in; and so is what nobody can judge yet, whose keys may come next. Once all has come, few deletions by one author are
taken in; if there are many, all of his wait, until somebody has said a number that covers them. The records stay shown
meanwhile, and nothing is undone.

Owns what counts as a deletion, whose it is, and how many are many. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property

from icure_sync import strict_json
from icure_sync.crypto import sealing
from icure_sync.crypto.access import Statement, Subject, parties
from icure_sync.crypto.layout import check_layout
from icure_sync.crypto.revision import check_written, writer_of
from icure_sync.engine.alarms import AlarmKind, Bell
from icure_sync.engine.opening import UNREADABLE, Opener
from icure_sync.engine.parties import Parties
from icure_sync.engine.stated import stated
from icure_sync.engine.suite import Stored, Suite
from icure_sync.engine.trail import Action, Recorder
from icure_sync.engine.verdicts import Verdicts
from icure_sync.errors import InvalidEntity, MassDeletion, NoAccess, NotFound, Tampered
from icure_sync.ids import DocId
from icure_sync.merge import registers
from icure_sync.merge.revtree import RevTree
from icure_sync.model import ENTITY_CLASSES
from icure_sync.model.schema import CLASSIC, SEALED_1, java_type
from icure_sync.replication.wire import Revision
from icure_sync.store import Store

MOST_DELETIONS = 50  # by one author: a practice deletes a few records a week, a slip of the hand hundreds
WITHIN_MS = 86_400_000  # a day: so they do not come in unasked 50 with each sync
PAGE = 64  # documents, or revisions, between two commits: some 50 ms

NOBODY = ""  # who deleted by a tombstone, which nobody signs, or in a suite without signatures

_UNJUDGED = (NoAccess, NotFound)  # keys, or whom it is by, may still come
_RECENT = "engine/deletions"  # the setting that holds what was taken in of late: [ms since 1970, author, how many]
_RECORDS = [cls for cls in ENTITY_CLASSES if not cls.CLEAR_DOCUMENT]
_RECORD_TYPES = {*(cls.TYPE for cls in _RECORDS), *(java_type(cls.TYPE) for cls in _RECORDS if cls.CLASSIC_TYPE)}


class Deletions:
    """Of one replica. `classic`: the suite without signatures, if the replica takes it. `clock`: ms since 1970."""

    def __init__(
        self,
        store: Store,
        parties_: Parties,
        *,
        opener: Opener,
        verdicts: Verdicts,
        classic: Suite | None,
        recorder: Recorder,
        bell: Bell,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._parties = parties_
        self._me = parties_.keyring.identity.hcp_id
        self._opener = opener
        self._verdicts = verdicts
        self._classic = classic
        self._recorder = recorder
        self._bell = bell
        self._clock = clock
        self._waiting: dict[str, int] = {}

    def sift(self, revisions: Sequence[Revision]) -> list[Revision]:
        """Those that may be taken in now; the others are set aside, in the transaction under way."""
        known = {held.revision.id for held in self._store.documents.winners({each.id for each in revisions})}
        came: dict[DocId, list[Revision]] = {}
        for each in revisions:
            if each.id in known:
                came.setdefault(each.id, []).append(each)
        aside: list[Revision] = []
        for of_one in came.values():
            record = self._record(of_one)
            aside += (each for each in of_one if self._waits(each, record))
        return _set_aside(self._store, revisions, aside)

    def settle(self, accepted: int) -> Iterator[None]:
        """Take in what was set aside and is not many, step by step, or all if a person accepted so many deletions.
        What nobody can judge here yet stays aside."""
        if self._store.read_only:
            return
        found: dict[str, dict[DocId, list[int]]] = {}
        after = ""
        while page := self._store.set_aside.ids(after, PAGE):
            after = page[-1]
            with self._store.transaction():
                for doc_id in page:
                    self._settle(doc_id, found)
            yield
        recent = self._recent()
        many = {by for by, ids in found.items() if len(ids) + recent.get(by, 0) > MOST_DELETIONS}
        asked = {by: len(ids) for by, ids in found.items() if by in many}
        if 0 < sum(asked.values()) <= accepted:
            with self._store.transaction():
                self._recorder.did(Action.ACCEPTED, "", "", {"deletions": asked})
            asked = {}
        for by, ids in found.items():
            if by not in asked:
                yield from self._take_in(by, ids, counted=by not in many)
        self._waiting = asked
        self._bell.match(AlarmKind.MASS_DELETION, {by or "nobody": _said(by, count) for by, count in asked.items()})

    def require_answer(self) -> None:
        """Raises MassDeletion if a person has to say something first."""
        if self._waiting:
            said = "; ".join(_said(by, count) for by, count in sorted(self._waiting.items()))
            count = sum(self._waiting.values())
            raise MassDeletion(
                "go on with the sync",
                f"{said}; nothing of it has been taken in",
                f"find out why; to take it in, accept {count} deletions (icure-sync sync --accept-deletions {count})",
                self._waiting,
            )

    def _take_in(self, by: str, ids: Mapping[DocId, Sequence[int]], *, counted: bool) -> Iterator[None]:
        numbers = [number for each in ids.values() for number in each]
        for start in range(0, len(numbers), PAGE):
            with self._store.transaction():
                self._take(numbers[start : start + PAGE])
                if counted and start == 0:
                    self._count(by, len(ids))
            yield

    def _settle(self, doc_id: DocId, found: dict[str, dict[DocId, list[int]]]) -> None:
        """Take in what is no deletion of one document; what is goes to `found`, by whose it is."""
        waiting = self._store.set_aside.of(doc_id)
        record = self._record([revision for _, revision in waiting])
        innocent: list[int] = []
        for number, revision in waiting:
            with suppress(*_UNJUDGED):
                whose = self._whose(revision, record)
                if whose is None:
                    innocent.append(number)
                else:
                    found.setdefault(whose, {}).setdefault(doc_id, []).append(number)
        self._take(innocent)

    def _take(self, numbers: Sequence[int]) -> None:
        waiting = [each for number in numbers if (each := self._store.set_aside.get(number)) is not None]
        self._store.documents.apply(waiting)
        self._store.set_aside.drop(numbers)
        for each in waiting:
            if each.attachments and self._store.documents.get(each.id, each.rev) is not None:
                self._link(each)

    def _link(self, revision: Revision) -> None:
        """Its files have come with it, and waited as it did; those that have not are fetched another time."""
        for name in revision.attachments:
            blob = self._store.arrivals.find(revision.id, revision.rev, name)
            if blob is not None:
                self._store.attachments.link(revision.id, revision.rev, name, blob)
        self._store.arrivals.forget(revision.id, revision.rev)

    def _record(self, came: Sequence[Revision]) -> _Record | None:
        tree = self._store.documents.tree(came[0].id)
        if tree is None:
            return None
        return _Record(tree, came, store=self._store, opener=self._opener, verdicts=self._verdicts)

    def _waits(self, revision: Revision, record: _Record | None) -> bool:
        try:
            return self._whose(revision, record) is not None
        except _UNJUDGED:
            return True

    def _whose(self, revision: Revision, record: _Record | None) -> str | None:
        """Whose deletion of a record that is shown here this is; None: it is none. Raises NoAccess or NotFound if that
        cannot be said yet: its keys, or who wrote it, may come with what comes next."""
        if record is None or revision.rev in record.tree:
            return None
        try:
            whose = self._ends(revision, record) if revision.deleted else self._deletes(revision)
        except _UNJUDGED:
            if record.is_shown:
                raise
            return None
        except UNREADABLE:
            return None
        return whose if whose is not None and record.is_shown else None

    def _ends(self, revision: Revision, record: _Record) -> str | None:
        return NOBODY if record.ends_all and not self._is_notice(revision, record) else None

    def _deletes(self, revision: Revision) -> str | None:
        """Whose deletion a live revision is. What does not verify deletes nothing; what cannot be verified yet may."""
        document = _document(revision)
        if document.get("cryptoSuite", CLASSIC) == CLASSIC:
            if self._classic is None or not _is_record_type(document.get("java_type")):
                return None
            return NOBODY if self._classic.open(Stored(revision.id, revision.rev, document)).deleted else None
        if document.get("cryptoSuite") != SEALED_1 or not _is_record_type(document.get("type")):
            return None
        subject = Subject.of(revision.id, document)
        check_layout(revision.id, document)
        by = writer_of(revision.id, document)
        signer = self._parties.signer(by)
        if signer is not None:
            check_written(revision.id, revision.rev, document, signer)
        try:
            body = sealing.open_body(subject, document, self._parties.keyring)
        except _UNJUDGED:
            if not self._verdicts.may_have_access(subject, document, by):
                return None  # whatever it says
            raise
        registers.check_body(body)
        return by if registers.is_deleted(body) else None

    def _is_notice(self, revision: Revision, record: _Record) -> bool:
        """Whether this Hcp was put out, by what it proves and all that is here: the record goes then, and its alarm
        tells. One that a later grant overrides is none any more."""
        with suppress(Tampered, InvalidEntity):
            document = _document(revision)
            if document.get("notice") is True:
                subject = Subject.of(revision.id, document)
                return self._me not in parties(subject, [*self._verdicts.proven(subject, document), *record.stated])
        return False

    def _recent(self) -> dict[str, int]:
        now = self._clock()
        counts: dict[str, int] = {}
        for time, by, count in self._store.settings.get(_RECENT) or ():
            if abs(now - time) < WITHIN_MS:
                counts[by] = counts.get(by, 0) + count
        return counts

    def _count(self, by: str, count: int) -> None:
        now = self._clock()
        kept = [each for each in self._store.settings.get(_RECENT) or () if abs(now - each[0]) < WITHIN_MS]
        self._store.settings.put(_RECENT, [*kept, [now, by, count]])


class _Record:
    """One document as it stands here, and what `came` of it, one or more: looked at once, however many these are."""

    def __init__(
        self, tree: RevTree, came: Sequence[Revision], *, store: Store, opener: Opener, verdicts: Verdicts
    ) -> None:
        self.tree = tree
        self._id = came[0].id
        self._came = came
        self._store = store
        self._opener = opener
        self._verdicts = verdicts

    @cached_property
    def ends_all(self) -> bool:
        """Whether no leaf is left alive, as one is when a merge ends those that it took in."""
        grafted = self.tree.graft_all([(each.history, each.deleted) for each in self._came])
        return all(leaf.deleted for leaf in grafted.leaves())

    @cached_property
    def is_shown(self) -> bool:
        """Whether a person sees it here."""
        with suppress(*UNREADABLE):
            return self._opener.is_record(self._id) and not self._opener.open(self._id).content.deleted
        return False

    @cached_property
    def stated(self) -> Sequence[Statement]:
        """The proven statements of access in all that is here of it."""
        found = stated(self._store, self._verdicts, self._id)
        return found.proven if found else ()


def sift_unopened(store: Store, revisions: Sequence[Revision]) -> list[Revision]:
    """As `Deletions.sift`, while the replica is locked: whatever changes a record that is here waits to be looked at.

    Nobody sees records meanwhile. The files of what waits wait with it.
    """
    winners = store.documents.winners({each.id for each in revisions})
    known = {held.revision.id for held in winners if _is_record(held.revision)}
    return _set_aside(store, revisions, [each for each in revisions if each.id in known])


def _set_aside(store: Store, revisions: Sequence[Revision], aside: Sequence[Revision]) -> list[Revision]:
    if not aside:
        return list(revisions)
    store.set_aside.add(aside)
    waiting = {(each.id, each.rev) for each in aside}
    return [each for each in revisions if (each.id, each.rev) not in waiting]


def _is_record(revision: Revision) -> bool:
    with suppress(*UNREADABLE):
        document = _document(revision)
        return not revision.deleted and any(_is_record_type(document.get(name)) for name in ("type", "java_type"))
    return False


def _is_record_type(name: object) -> bool:
    return isinstance(name, str) and name in _RECORD_TYPES


def _document(revision: Revision) -> Mapping[str, object]:
    """Raises InvalidEntity."""
    document: Mapping[str, object] = strict_json.loads(revision.body, f"document {revision.id}")
    return document


def _said(by: str, count: int) -> str:
    return f"{by} deleted {count} records" if by else f"{count} records were deleted, and nobody signed for it"
