"""The audit trail of a replica: what is recorded, by whom it is said to be done, and how an application looks at it.

Owns the words for what was done. Knows the rows (store/trail.py), no records and no content: a row has ids, types and
counts. What sync reads for itself is not recorded; what it writes in the name of the Hcp is. See TRAIL.md.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from icure_sync import strict_json
from icure_sync.errors import InvalidEntity
from icure_sync.model import Entity
from icure_sync.store import Act, Gathered, Store, Verified, Wanted

DETAIL_BYTES = 1_000  # of a note: ids, counts and a reason, no record
NOTHING_MORE: Mapping[str, Any] = MappingProxyType({})
WORD = re.compile(r"[a-z][a-z-]{0,31}")


class Action(StrEnum):
    """What the replica records by itself."""

    OPENED = "opened"  # one record, or the content of a file
    LISTED = "listed"
    SEARCHED = "searched"
    WROTE = "wrote"  # a new record, or a change of one
    DELETED = "deleted"
    RESTORED = "restored"
    SHARED = "shared"
    REVOKED = "revoked"
    RESOLVED = "resolved"
    ADOPTED = "adopted"
    ATTACHED = "attached"
    MERGED = "merged"  # after a sync: what was written concurrently
    UNDONE = "undone"  # after a sync: what somebody had hidden was written again
    REPAIRED = "repaired"  # after a sync: those who have access and lacked the key have it
    WITHDRAWN = "withdrawn"  # after a sync: a record of which this Hcp was put out went from this device
    ACCEPTED = "accepted"  # that many records were deleted at once
    DISMISSED = "dismissed"  # an alarm
    VERIFIED = "verified"  # a person has compared the keys of an Hcp with it
    PAIRED = "paired"  # the identity was given to a new device
    DEVICES_REVOKED = "devices-revoked"  # by this device, which gave its Hcp a new identity
    TAKEN_OVER = "taken-over"  # the new identity that another device made
    RECOVERED = "recovered"  # this home was made from a code or shares
    RECOVERY_MADE = "recovery-made"  # a code, or shares
    RECOVERY_WITHDRAWN = "recovery-withdrawn"
    GLASS_PREPARED = "glass-prepared"  # emergency access to a patient's records
    GLASS_OPENED = "glass-opened"  # in the first row of the home that it made; and where the evidence of it came
    GLASS_WITHDRAWN = "glass-withdrawn"
    UNRECORDED = "unrecorded"  # reads that had no room in memory while the disk took nothing


@dataclass(frozen=True, slots=True)
class Deed:
    """What a write is for. `detail`: beside its revision."""

    action: Action
    detail: Mapping[str, Any] = field(default_factory=dict)


WROTE = Deed(Action.WROTE)


@dataclass(frozen=True, slots=True)
class TrailRow:
    """One row. `time`: ms since 1970, by the clock of `device`; `subject`: the id of what `action` was done to, of that
    `type` and filed `under` that id, or ""; `detail`: counts and ids that say more."""

    number: int
    time: int
    hcp: str
    device: str
    action: str
    subject: str
    type: str
    under: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrailState:
    """`rows` from the first on are as they were written. `broken`: the number of the first that is not, and `why`."""

    rows: int
    broken: int | None = None
    why: str = ""


class Recorder:
    """Adds to the trail, in the store's thread. `hcp`: whose identity is unlocked, "" if none is."""

    def __init__(self, store: Store, hcp: str, device: str, clock: Callable[[], int]) -> None:
        self._store = store
        self._hcp = hcp
        self._device = device
        self._clock = clock
        self._lists: dict[tuple[str, str, str], Gathered] = {}

    def did(self, action: str, subject: str, type_: str, detail: Mapping[str, Any], under: str = "") -> None:
        """It is durable with the transaction that this is in. Raises StoreError kinds, InvalidEntity."""
        self._store.trail.append([self._act(action, subject, type_, detail, under)])

    def saw(
        self, action: Action, subject: str, type_: str, detail: Mapping[str, Any] = NOTHING_MORE, under: str = ""
    ) -> Gathered | None:
        """It is written within a second, or with the next transaction; None if the file cannot be written."""
        if self._store.read_only:
            return None
        return self._store.trail.gather(self._act(action, subject, type_, detail, under))

    def listed(self, subject: str, type_: str, what: str, count: int, *, goes_on: bool) -> None:
        """Some records of a list were read. What `goes_on` adds to the row of the same list, if that still waits.

        `what`: which list of this type and subject, in a word.
        """
        key = (subject, type_, what)
        before = self._lists.get(key)
        if goes_on and before is not None and not before.is_written:
            count += int(strict_json.loads(before.act.detail.encode(), "a row of the trail")["count"])
            before.act = replace(before.act, detail=_detail({"of": what, "count": count}))
            return
        gathered = self.saw(Action.LISTED, subject, type_, {"of": what, "count": count})
        if gathered is not None:
            self._lists = {name: each for name, each in self._lists.items() if not each.is_written} | {key: gathered}

    def _act(self, action: str, subject: str, type_: str, detail: Mapping[str, Any], under: str) -> Act:
        return Act(self._clock(), self._hcp, self._device, action, subject, type_, under, _detail(detail))


class Trail:
    """What an application sees of the trail: `replica.trail`."""

    def __init__(self, store: Store, recorder: Recorder) -> None:
        self._store = store
        self._recorder = recorder

    async def rows(
        self,
        *,
        subject: str | None = None,
        action: str | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> AsyncIterator[TrailRow]:
        """Rows in the order in which they were written, those that agree with all that is given.

        `subject`: of it, or of what is filed under it, a patient's contacts, say. `since` and `until` in ms since 1970,
        the latter not included.
        """
        await self._store.run(self._flush)
        wanted = Wanted(subject, action, since, until)
        after: int | None = 0
        while after is not None:
            found, after = await self._store.run(self._store.trail.rows, after, wanted)
            for number, act in found:
                detail = strict_json.loads(act.detail.encode(), f"row {number} of the trail")
                yield TrailRow(
                    number, act.time, act.hcp, act.device, act.action, act.subject, act.type, act.under, detail
                )

    async def verify(self) -> TrailState:
        """Whether every row is as it was written, and none is missing, at the end either."""
        await self._store.run(self._flush)
        found = Verified()
        while not found.is_done:
            found = await self._store.run(self._store.trail.verify, found)
        return TrailState(found.rows, found.broken, found.why)

    async def note(
        self,
        action: str,
        subject: str = "",
        *,
        type: str = "",  # noqa: A002  # the row's own word
        detail: Mapping[str, Any] = NOTHING_MORE,
    ) -> None:
        """Record what the application did: "exported", "printed". Durable on return.

        `action`: a word of small letters and hyphens, none of those that the replica records by itself; `detail`: ids
        and counts, no content. Raises InvalidEntity.
        """
        attempted = f"note {action} in the trail"
        if not WORD.fullmatch(action):
            raise InvalidEntity("note in the trail", "its action is no short word", "use small letters and hyphens")
        if action in set(Action):
            raise InvalidEntity(attempted, "the replica records that by itself", "use another word")
        if len(_detail(detail)) > DETAIL_BYTES or len(subject) + len(type) > DETAIL_BYTES:
            raise InvalidEntity(attempted, f"it is larger than {DETAIL_BYTES} bytes", "note ids and counts, no content")
        await self._store.run(self._recorder.did, action, subject, type, detail)

    def _flush(self) -> None:
        if not self._store.read_only:
            self._store.trail.flush()


def _detail(detail: Mapping[str, Any]) -> str:
    return strict_json.dumps(detail).decode() if detail else "{}"


def filed_under(entity: Entity) -> str:
    """The id of the record that it is filed under; "" if it is under none."""
    return next(iter(entity.parent_ids), "")
