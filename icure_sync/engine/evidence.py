"""The evidence that an emergency access of this Hcp was opened: who says so, and what was new since the last look.

Knows what the own Hcp prepared; not how it is opened. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from icure_sync import strict_json
from icure_sync.crypto import publishing
from icure_sync.crypto.glass import GLASS_TYPE, OPENED_TYPE, Glass, GlassOpened, opened_hcp, read_opened
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.signers import Signer
from icure_sync.engine.alarms import AlarmKind, Bell
from icure_sync.engine.published import Published
from icure_sync.engine.trail import Action, Recorder
from icure_sync.errors import InvalidEntity, Tampered
from icure_sync.ids import DocId, HcpId
from icure_sync.store import Store

PAGE = 500  # documents read at a time
EVIDENCE_MOST = 100  # pieces, of each emergency access: whoever has enough shares may write without end
BODY_MOST = 16_384  # bytes of one: what is laid out as it must be takes a third of that
_NOTED = "engine/glass-opened"  # the setting with the ids that `take_in` has seen to


class Evidence:
    """What reached this device. A server can hide evidence; nobody can make it up but who opened the glass."""

    def __init__(self, store: Store, published: Published, keyring: Keyring, bell: Bell, recorder: Recorder) -> None:
        self._store = store
        self._published = published
        self._keyring = keyring
        self._bell = bell
        self._recorder = recorder

    def glasses(self, *, withdrawn: bool) -> list[Glass]:
        """The emergency accesses that stand, or those that were withdrawn, the newest first."""
        found = self._published.read(GLASS_TYPE, Glass.of, withdrawn=withdrawn)
        return sorted(found, key=lambda glass: (-glass.made, glass.id))

    def openings(self) -> list[GlassOpened]:
        """The evidence that holds, by the time that it states: EVIDENCE_MOST pieces of each emergency access, those
        that were noted here before the others."""
        glasses = {glass.hcp: glass for kind in (False, True) for glass in self.glasses(withdrawn=kind)}
        noted = self._noted()
        found: list[GlassOpened] = []
        counts: Counter[HcpId] = Counter()
        for doc_id in sorted(self._ids(), key=lambda each: (each not in noted, each)) if glasses else ():
            for opened in self._read(doc_id, glasses):
                found.append(opened)
                counts[opened.hcp] += 1
                if counts[opened.hcp] == EVIDENCE_MOST:
                    del glasses[opened.hcp]
        return sorted(found, key=lambda opened: (opened.time, opened.id))

    def take_in(self) -> None:
        """Raise an alarm for what has come since the last time, and record it."""
        if self._store.read_only:
            return
        noted, found = self._noted(), self.openings()
        new = [opened for opened in found if opened.id not in noted]
        if not new:
            return
        counts = Counter(opened.hcp for opened in found)
        with self._store.transaction():
            for opened in new:
                why = f"{opened.by} opened {opened.hcp}, and says why: {opened.reason}"
                self._bell.ring(AlarmKind.GLASS_OPENED, opened.id, why)
                self._recorder.did(Action.GLASS_OPENED, opened.id, OPENED_TYPE, told(opened))
            for hcp_id in {opened.hcp for opened in new if counts[opened.hcp] == EVIDENCE_MOST}:
                why = f"there is evidence that it was opened {EVIDENCE_MOST} times; more is not looked at: withdraw it"
                self._bell.ring(AlarmKind.GLASS_OPENED, hcp_id, why)
            self._store.settings.put(_NOTED, sorted({*noted, *(opened.id for opened in new)}))

    def _noted(self) -> set[str]:
        return set(self._store.settings.get(_NOTED) or ())

    def _read(self, doc_id: DocId, glasses: dict[HcpId, Glass]) -> Iterator[GlassOpened]:
        """One, or none if no live leaf of the document is what it says."""
        me = self._published.identity.hcp_id
        for held in self._store.documents.held_leaves(doc_id):
            if held.revision.deleted or len(held.revision.body) > BODY_MOST:
                continue
            try:
                document = strict_json.loads(held.revision.body, f"document {doc_id}")
                glass = glasses.get(opened_hcp(doc_id, document, me))
                key = self._keyring.get(me, me, glass.evidence[0]) if glass else None
                if (
                    glass is None
                    or key is None
                    or not publishing.holds(doc_id, held.revision.rev, document, Signer(glass.signing_key))
                ):
                    continue
                yield read_opened(doc_id, document, me, glass.evidence_key(key))
            except (InvalidEntity, Tampered):
                continue
            return

    def _ids(self) -> list[DocId]:
        found: list[DocId] = []
        while page := self._store.documents.ids_of_type(OPENED_TYPE, found[-1] if found else None, PAGE):
            found += page
        return found


def told(opened: GlassOpened) -> dict[str, Any]:
    """What the trail keeps of it, on both sides."""
    return {
        "glass": opened.hcp,
        "by": opened.by,
        "reason": opened.reason,
        "shares": list(opened.shares),
        "time": opened.time,
    }
