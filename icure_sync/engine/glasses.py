"""Emergency access to a patient's records, for k of n people: prepared, kept up to date, withdrawn.

Owns the emergency Hcp of a patient: its document is written here, the records are shared with it like with any other,
and its identity goes sealed under a secret that is split. What cannot be enforced: k people who come together can leave
out the evidence, and what they read they may keep. The server cannot open anything; without k shares, nobody can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from icure_sync.crypto.glass import GLASS_PREFIX, Glass, GlassOpened, glass_id, glass_members
from icure_sync.crypto.hcp_keys import self_key
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.shares import Purpose, RecoverySecret, Share, Split
from icure_sync.engine import hcp_document
from icure_sync.engine.evidence import told
from icure_sync.engine.keyed import Keyed
from icure_sync.engine.opening import UNREADABLE, Opened
from icure_sync.engine.rescue import Broken
from icure_sync.engine.storing import store_written
from icure_sync.engine.trail import Action
from icure_sync.errors import NoAccess, NotFound
from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.model import Patient
from icure_sync.store import Store

ID_BYTES = 8  # of an emergency Hcp
_REFRESHED = "engine/glasses"  # the setting with the seq up to which everything has been shared


@dataclass(frozen=True, slots=True)
class Shared:
    """What was shared with emergency Hcps: how many records, and those that could not be, with the reason."""

    records: int
    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Prepared:
    """A new emergency access. `shares`: to be handed out, and shown once; they are kept nowhere."""

    glass: Glass
    shares: tuple[Share, ...]
    shared: Shared


class Glasses:
    """Of the Hcp of one replica."""

    def __init__(self, store: Store, keyed: Callable[[], Keyed]) -> None:
        self._store = store
        self._keyed = keyed

    async def standing(self) -> list[Glass]:
        """The emergency accesses that stand, the newest first."""
        return await self._store.run(self._keyed().evidence.glasses, withdrawn=False)

    async def openings(self) -> list[GlassOpened]:
        """All evidence that has come: who opened one, why and when, by their own word. Of withdrawn ones too."""
        return await self._store.run(self._keyed().evidence.openings)

    async def prepare(self, patient: Patient, count: int, threshold: int) -> Prepared:
        """Let any `threshold` of `count` people open this patient's records, all that is linked to them included.

        What cannot be shared is in `shared.failed`. Killed on the way, it stands, and is listed, without anybody having
        a share: withdraw it and prepare another. So if the replica is locked on the way. Raises InvalidEntity for
        numbers as in `Recoveries.split`, NotFound, NoAccess, Locked.
        """
        split = Split(threshold, count)
        await self._store.run(_opened, self._keyed(), DocId(patient.id))
        entropy, owner = self._keyed().published.entropy, self._keyed().identity.name
        hcp_id = GLASS_PREFIX + entropy(ID_BYTES).hex()
        identity = await asyncio.to_thread(Identity.create, hcp_id, f"Emergency access ({owner})", entropy=entropy)
        secret = RecoverySecret.draw(Purpose.GLASS, entropy)
        # The keys are asked for anew each time: they may have been let go of meanwhile.
        glass = await self._store.run(self._publish, self._keyed(), secret, identity, DocId(patient.id), split)
        shared = await self._store.run(_share, self._keyed(), [glass])
        return Prepared(glass, secret.shares(split), shared)

    async def refresh(self) -> Shared:
        """Share with all emergency Hcps what has come to their patients' records since. What was revoked from one of
        them stays so. Cheap if nothing has changed. An Hcp that is known here by another key than its BreakGlass
        document states gets nothing, and there is an alarm."""
        return await self._store.run(self._refresh, self._keyed())

    async def withdraw(self, id_: str) -> Glass:
        """Let nobody open this one any more, and put its Hcp out of the records. What was read stays read.

        `id_`: the document's, or the Hcp's. Killed on the way, it is listed still: do it again. Raises NotFound;
        NoAccess if it could not be put out of some record, and then it stands.
        """
        return await self._store.run(self._withdraw, self._keyed(), id_)

    async def begin(self, broken: Broken) -> None:
        """In the home of an emergency Hcp, before its first sync: record who opened it and why, and take nobody for the
        owner but who prepared it."""
        await self._store.run(self._begin, self._keyed(), broken)

    def _begin(self, keyed: Keyed, broken: Broken) -> None:
        glass = broken.glass
        with self._store.transaction():
            keyed.recorder.did(Action.GLASS_OPENED, glass.patient, Patient.TYPE, told(broken.opened))
            self._store.pins.pin(glass.owner, glass.owner_key, Rev(""))

    def _publish(self, keyed: Keyed, secret: RecoverySecret, identity: Identity, patient: DocId, split: Split) -> Glass:
        published = keyed.published
        members = glass_members(
            secret,
            identity,
            published.identity,
            self_key(published.identity),
            patient=patient,
            made=published.now(),
            split=split,
            entropy=published.entropy,
        )
        with self._store.transaction():
            store_written(self._store, hcp_document.first(identity))
            published.publish(glass_id(secret), members)
            detail = {"glass": identity.hcp_id, "shares": members["shares"]}
            keyed.recorder.did(Action.GLASS_PREPARED, patient, Patient.TYPE, detail)
        keyed.parties.refresh()
        return _glass(keyed, glass_id(secret))

    def _refresh(self, keyed: Keyed) -> Shared:
        seq = self._store.documents.update_seq()
        if self._store.settings.get(_REFRESHED) == seq:
            return Shared(0, ())
        glasses = keyed.evidence.glasses(withdrawn=False)
        shared = _share(keyed, glasses)
        if glasses and not self._store.read_only:
            self._store.settings.put(_REFRESHED, self._store.documents.update_seq())
        return shared

    def _withdraw(self, keyed: Keyed, id_: str) -> Glass:
        glass = _glass(keyed, id_)
        failed = []
        for opened in _records(keyed, glass):
            if glass.hcp in opened.content.shared_with:
                try:
                    keyed.records.revoke(opened, glass.hcp)
                except UNREADABLE as error:
                    failed.append(f"{opened.stored.id}: {error.wrong}")
        if failed:
            attempted = f"withdraw the emergency access {glass.hcp}"
            wrong = f"it could not be put out of {len(failed)} records"
            raise NoAccess(attempted, wrong, "have those who gave it access do that, then try again", tuple(failed))
        with self._store.transaction():
            keyed.published.withdraw(glass.id)
            keyed.recorder.did(Action.GLASS_WITHDRAWN, glass.patient, Patient.TYPE, {"glass": glass.hcp})
        return glass


def _share(keyed: Keyed, glasses: Sequence[Glass]) -> Shared:
    records, failed = 0, []
    keyed.vouch()
    for glass in glasses:
        for opened in _records(keyed, glass):
            if glass.hcp in opened.content.shared_with or _was_put_out(opened, glass.hcp):
                continue
            try:
                keyed.records.share(opened, glass.hcp)
                records += 1
            except UNREADABLE as error:
                failed.append(f"{opened.stored.id}: {error.wrong}")
    keyed.match_alarms()
    return Shared(records, tuple(failed))


def _records(keyed: Keyed, glass: Glass) -> list[Opened]:
    """The patient and what is linked to him; none if he can be opened here no more, whose access has ended then."""
    try:
        patient = _opened(keyed, glass.patient)
    except UNREADABLE:
        return []
    return [patient, *keyed.family(patient)]


def _glass(keyed: Keyed, id_: str) -> Glass:
    for glass in keyed.evidence.glasses(withdrawn=False):
        if id_ in (glass.id, glass.hcp):
            return glass
    raise NotFound(f"find the emergency access {id_}", "none of this name stands", "see break-glass list")


def _opened(keyed: Keyed, patient: DocId) -> Opened:
    """Raises NotFound for what is no patient."""
    opened = keyed.opener.open(patient)
    if opened.content.type != Patient.TYPE:
        raise NotFound(f"find the patient {patient}", f"it is a {opened.content.type}", "name the patient")
    return opened


def _was_put_out(opened: Opened, hcp_id: HcpId) -> bool:
    """Whether somebody revoked it: then only a person's word lets it in again."""
    return any(statement.get("revoke") == hcp_id for statement in opened.stored.document.get("access", ()))
