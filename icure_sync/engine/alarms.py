"""Alarms: what a person should know of the server or of others, and what to do about it.

Owns the kinds and their advice. Knows the rows (store/alarms.py); what gives rise to an alarm is for others to see, and
an alarm changes nothing of what they do about it. See ALARMS.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from icure_sync.engine.trail import Action, Recorder
from icure_sync.errors import NotFound
from icure_sync.store import AlarmRow, Store


class AlarmKind(StrEnum):
    """What happened. `subject` is the id of a document, or of an Hcp where the kind says so."""

    TAMPERED = "tampered"  # a revision does not verify
    UNDONE = "undone"  # what somebody had hidden without being allowed to was written again
    UNJUDGED = "unjudged"  # a revision hides another one, and nobody can say here whether it counts
    GLASS_OPENED = "glass-opened"  # an emergency access that this Hcp prepared; of the evidence
    MASS_DELETION = "mass-deletion"  # of the Hcp who signed for it, or of nobody: it waits for a person
    UNTRUSTED_KEY = "untrusted-key"  # of an Hcp: its document is not believed
    IMPOSTOR = "impostor"  # of an Hcp: what somebody else signed was shown as its own, until a person compared
    STALE_SERVER = "stale-server"  # of a server, by its address: it has no more what it had
    FORKED_DEVICE = "forked-device"  # of a device: it signed two states, of which neither comes after the other
    COPIED_DEVICE = "copied-device"  # of the device that this one was: somebody else wrote as it
    WITHDRAWN = "withdrawn"  # this Hcp was put out of a record, which is no longer here
    NEW_IDENTITY = "new-identity"  # of the own Hcp: another device made it, and nobody has said here that it is right
    DEVICE_REVOKED = "device-revoked"  # of this device: another one of its Hcp shut it out


# What each kind says of its subject, and what a person should do.
MEANINGS: Mapping[str, tuple[str, str]] = {
    AlarmKind.TAMPERED: (
        "record {} has a version that is forged or damaged",
        "nothing: it is kept aside and never shown; if there are more, tell whoever runs the server",
    ),
    AlarmKind.UNDONE: (
        "somebody deleted or overwrote record {} without being allowed to",
        "nothing is lost; tell whoever runs the server that this happens there",
    ),
    AlarmKind.UNJUDGED: (
        "record {} has a version on top of it that cannot be verified here",
        "sync again; if it is by a new identity, compare numbers and confirm it; if not, tell whoever runs the server",
    ),
    AlarmKind.GLASS_OPENED: (
        "an emergency access was opened: evidence {}",
        "ask whoever opened it; icure-sync break-glass withdraw shuts it",
    ),
    AlarmKind.WITHDRAWN: (
        "record {} is no longer on this device, for you have no access to it any more",
        "what you had written of it was sent before; if you need it still, ask to have it shared again",
    ),
    AlarmKind.IMPOSTOR: (
        "somebody else passed for Hcp {}, and what he wrote was shown as that Hcp's",
        "do not rely on it: it is not shown any more; ask that Hcp what is missing, and tell whoever runs the server",
    ),
    AlarmKind.STALE_SERVER: (
        "server {} shows an older state than it did",
        "ask whoever runs it whether it was put back from a backup or made anew; what is here was sent to it again",
    ),
    AlarmKind.FORKED_DEVICE: (
        "device {} has two lives: it was put back from a backup, or somebody has a copy of it",
        "ask whose device it is; if nobody put it back, the copy is in other hands: revoke the device",
    ),
    AlarmKind.COPIED_DEVICE: (
        "this device is no longer device {}",
        "if you put it back from a backup, all is well; if not, somebody has a copy of it: revoke that device",
    ),
    AlarmKind.MASS_DELETION: (
        "many records were deleted at once, by {}",
        "ask why; they are shown until the next sync is told to accept the deletions, and the sync stops until then",
    ),
    AlarmKind.NEW_IDENTITY: (
        "there is a new identity of {}, your Hcp, which this device does not have yet",
        "look at the number that the device shows which made it, then run icure-sync device adopt here",
    ),
    AlarmKind.DEVICE_REVOKED: (
        "this device, {}, was revoked",
        "nothing: what it has is removed from it",
    ),
    AlarmKind.UNTRUSTED_KEY: (
        "the keys of Hcp {} are not trusted",
        "compare fingerprints with that Hcp, in person or by phone; nothing new is shared with it until they agree",
    ),
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """`number` names it for `dismiss`. `what` happened, `why` that is known, and `advice`, what to do: a line each.
    `first` and `last`: when it was raised, ms since 1970; `dismissed`: when a person said that it is seen to, None if
    nobody has."""

    number: int
    kind: str
    subject: str
    what: str
    why: str
    advice: str
    first: int
    last: int
    dismissed: int | None


class Bell:
    """Raises alarms, in the store's thread and the transaction under way. `clock`: ms since 1970."""

    def __init__(self, store: Store, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock

    def ring(self, kind: AlarmKind, subject: str, why: str) -> None:
        """Something happened. The same once more is the same alarm."""
        if not self._store.read_only:
            self._store.alarms.raise_(kind, subject, why, self._clock())

    def match(self, kind: AlarmKind, found: Mapping[str, str]) -> None:
        """This is how things are now, reasons by subject: what is not so any more clears its alarm."""
        if not self._store.read_only:
            self._store.alarms.match(kind, found, self._clock())


class Alarms:
    """What an application sees of the alarms: `replica.alarms`.

    `look`: looks at some of what nobody has looked at yet, and says whether there was any.
    """

    def __init__(self, store: Store, recorder: Recorder, clock: Callable[[], int], look: Callable[[], bool]) -> None:
        self._store = store
        self._recorder = recorder
        self._clock = clock
        self._look = look

    async def all(self) -> list[Alarm]:
        """Each, those that were dismissed too, in the order in which they were raised first."""
        return [_alarm(row) for row in await self._store.run(self._store.alarms.all)]

    async def look(self) -> None:
        """Look at what came and nobody has opened yet, page by page: what is wrong with it is among the alarms then."""
        while await self._store.run(self._look):
            pass

    async def dismiss(self, number: int) -> None:
        """A person has seen to it. It is not raised again for the same reason. Raises NotFound."""
        await self._store.run(self._dismiss, number)

    def _dismiss(self, number: int) -> None:
        with self._store.transaction():
            if not self._store.alarms.dismiss(number, self._clock()):
                raise NotFound(f"dismiss alarm {number}", "there is none of that number", "see the list of alarms")
            self._recorder.did(Action.DISMISSED, "", "", {"alarm": number})


def _alarm(row: AlarmRow) -> Alarm:
    what, advice = MEANINGS.get(row.kind, (f"{row.kind}: {{}}", "tell whoever runs the server"))
    what = what.format(row.subject)
    return Alarm(row.number, row.kind, row.subject, what, row.why, advice, row.first, row.last, row.dismissed)
