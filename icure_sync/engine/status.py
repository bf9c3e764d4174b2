"""What a replica says of itself: values for people and programs. Knows the store, no keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from icure_sync.engine.attempt import Outcome
from icure_sync.ids import HcpId
from icure_sync.replication.checkpoint import Direction
from icure_sync.replication.wire import Refusal
from icure_sync.store import Store


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a replica.

    `documents`: live ones by type. `conflicts`: records that a person should look at. `alarms`: those that nobody has
    dismissed. `unsent`: changes since the last push. `refused`: by a server, kept for retry.
    `unreadable`: records passed over since the replica was opened, and why. `untrusted`: Hcps whose document is not
    believed, and why. `last_sync`: ms since 1970, None before the first. `rsa_decryptions`: since it was unlocked.
    `locked`: its keys were let go of; what only they can tell is left out.
    """

    hcp_id: HcpId | None
    device: str
    suites: tuple[str, ...]
    documents: Mapping[str, int]
    conflicts: int
    alarms: int
    unsent: int
    refused: tuple[Refusal, ...]
    unreadable: Mapping[str, str]
    untrusted: Mapping[str, str]
    last_sync: int | None
    rsa_decryptions: int
    locked: bool


class SyncFacts:
    """What is remembered of the last syncs, in the store's settings."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, direction: Direction, outcome: Outcome, time: int) -> None:
        """So far a push or pull had come at this time, ms since 1970."""
        before = self._last(direction)
        refused = dict(before["refused"]) if before else {}
        refused[outcome.peer] = [asdict(refusal) for refusal in outcome.refused]
        kept = {peer: each for peer, each in refused.items() if each}
        self._store.settings.put(f"last/{direction}", {"time": time, "seq": outcome.seq, "refused": kept})

    def unsent(self) -> int:
        """Documents that changed since the last push, what came from elsewhere included."""
        last = self._last(Direction.PUSH)
        return self._store.documents.count_changes(int(last["seq"]) if last else 0)

    def refused(self) -> tuple[Refusal, ...]:
        """What each server, or this replica, would not take the last time that the two met."""
        outcomes = (self._last(direction) for direction in Direction)
        return tuple(
            Refusal(**each)
            for outcome in outcomes
            if outcome
            for refused in outcome["refused"].values()
            for each in refused
        )

    def last_sync(self) -> int | None:
        """When the last push or pull ended, ms since 1970."""
        times = [outcome["time"] for outcome in (self._last(Direction.PULL), self._last(Direction.PUSH)) if outcome]
        return max(times, default=None)

    def _last(self, direction: Direction) -> Any:
        return self._store.settings.get(f"last/{direction}")
