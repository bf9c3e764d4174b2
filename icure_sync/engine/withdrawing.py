"""Records of which this Hcp was put out: whether that is proven, and that they go once nothing of them is unsent.

A notice is looked at, and believed for what is signed in it: a revocation by whoever may put this Hcp out, with no
grant after it in anything that is here. Owns that decision and what is noted of it; what goes is the store's.
Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from enum import Enum, auto

from icure_sync.crypto.access import Statement, Subject, parties
from icure_sync.engine.alarms import AlarmKind, Bell
from icure_sync.engine.stated import Stated, held, members, stated
from icure_sync.engine.trail import Action, Recorder
from icure_sync.engine.verdicts import Verdicts
from icure_sync.errors import Tampered
from icure_sync.ids import DocId, HcpId
from icure_sync.replication.wire import Revision
from icure_sync.store import Store
from icure_sync.store.withdrawals import Teller

_NOTICE = b'"notice":true'
_LOOKED_THROUGH = "engine/withdrawn"  # the setting that holds the seq


class _Standing(Enum):
    IN = auto()
    OUT = auto()
    UNSURE = auto()  # a grant may count whose signature nobody can judge yet


class Withdrawing:
    """Of one Hcp, `me`, in one store."""

    def __init__(self, store: Store, me: HcpId, *, verdicts: Verdicts, recorder: Recorder, bell: Bell) -> None:
        self._store = store
        self._me = me
        self._verdicts = verdicts
        self._recorder = recorder
        self._bell = bell

    def look(self, *, learnt: bool) -> None:
        """Find what is to go among what came. `learnt`: Hcps became known, so everything is looked at again."""
        if self._store.read_only:
            return
        since = 0 if learnt else self._store.settings.get(_LOOKED_THROUGH) or 0
        through = None
        while through != since:
            since = since if through is None else through
            told, through = self._store.withdrawals.told(since, _NOTICE)
            with self._store.transaction():
                for doc_id in told:
                    if self._standing(doc_id) is _Standing.OUT:
                        self._store.withdrawals.wait(doc_id)
                    else:
                        self._stay(doc_id)
                if through != since:
                    self._store.settings.put(_LOOKED_THROUGH, through)

    def ready(self, sent: int, refused: Collection[DocId], teller: Teller) -> list[DocId]:
        """Those that may go if the server `teller` really has them: every change up to the seq `sent` was sent there,
        but for the documents `refused`.

        Who put this Hcp out reads on that server that told of it. What is on another one, a stick or a hub, may never
        reach him. What no server told of was put here by its writer, who reads here.
        """
        found: list[DocId] = []
        for doc_id in self._store.withdrawals.waiting():
            tellers = self._store.withdrawals.tellers(doc_id)
            is_here = not tellers or any(map(teller.is_same, tellers))
            if is_here and doc_id not in refused and self._is_sent(doc_id, sent):
                found.append(doc_id)
        return found

    def withdraw(self, ids: Sequence[DocId], sent: int) -> int:
        """Let these go, of which the server has every change up to the seq `sent`. Returns how many went."""
        gone = 0
        for doc_id in ids:
            with self._store.transaction():
                if self._standing(doc_id) is not _Standing.OUT:
                    self._stay(doc_id)
                elif self._is_sent(doc_id, sent):
                    self._withdraw(doc_id)
                    gone += 1
        return gone

    def _is_sent(self, doc_id: DocId, sent: int) -> bool:
        return (self._store.documents.seq_of(doc_id) or 0) <= sent

    def _stay(self, doc_id: DocId) -> None:
        self._store.withdrawals.stay(doc_id)
        self._store.alarms.clear(AlarmKind.WITHDRAWN, doc_id)

    def _withdraw(self, doc_id: DocId) -> None:
        found = self._stated(doc_id)
        assert found is not None  # or nobody would be out
        by = sorted({each["by"] for each in found.proven if each.get("revoke") == self._me})
        self._store.withdrawals.withdraw(doc_id)
        self._recorder.did(Action.WITHDRAWN, doc_id, found.subject.type, {"by": by})
        who = ", ".join(by) or "whoever put out those who had shared it"
        self._bell.ring(AlarmKind.WITHDRAWN, doc_id, f"{who} ended the access of {self._me}")

    def _standing(self, doc_id: DocId) -> _Standing:
        """Out is who had access, and has none by all that is here, if a notice tells him so."""
        found = self._stated(doc_id)
        if found is None or self._has_access(found, found.proven) or not self._is_told(found.subject):
            return _Standing.IN
        if self._has_access(found, [*found.proven, *_grants(found.pending)]):
            return _Standing.UNSURE
        return _Standing.OUT if self._has_access(found, _grants(found.proven)) else _Standing.IN

    def _has_access(self, found: Stated, statements: Iterable[Statement]) -> bool:
        return self._me in parties(found.subject, statements)

    def _is_told(self, subject: Subject) -> bool:
        for document in map(members, held(self._store, subject.id)):
            named = document.get("delegations")
            if document.get("notice") is True and isinstance(named, dict) and self._me in named:
                with suppress(Tampered):
                    if self._me not in parties(subject, self._verdicts.proven(subject, document)):
                        return True
        return False

    def _stated(self, doc_id: DocId) -> Stated | None:
        return stated(self._store, self._verdicts, doc_id)


def is_told(revision: Revision) -> bool:
    """Whether this may be a notice: what it proves is not looked at."""
    return revision.deleted and _NOTICE in revision.body


def _grants(statements: Iterable[Statement]) -> list[Statement]:
    return [each for each in statements if "grant" in each]
