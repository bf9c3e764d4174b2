"""Replication between two peers: an attempt, begun again where the logs changed under it; and the report of a sync."""

from __future__ import annotations

import os
from dataclasses import dataclass

from icure_sync.engine.attempt import Attempt, Outcome, Remember
from icure_sync.engine.checkpointer import LogChanged
from icure_sync.engine.clock import SYSTEM_CLOCK, Clock
from icure_sync.engine.patience import Entropy
from icure_sync.engine.plan import Plan
from icure_sync.engine.progress import Meter, Report
from icure_sync.engine.transfer import Following
from icure_sync.engine.witnesses import Witnesses
from icure_sync.errors import BadAnswer, IcureSyncError
from icure_sync.peers.port import Peer
from icure_sync.replication.limits import LOG_FIGHT_SECONDS, MAX_LOG_RESTARTS
from icure_sync.replication.wire import Refusal


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync in both directions came to.

    `merged`: records of which a merge was written; `undone`: revisions that somebody had hidden, written again;
    `conflicts`: records that a person should look at now; `lacks_index`: as in Outcome, for the pull; `alarms`: those
    that were raised meanwhile; `withdrawn`: records that went, for this Hcp was put out of them.
    """

    pulled: int
    pushed: int
    merged: int
    undone: int
    conflicts: int
    refused: tuple[Refusal, ...]
    lacks_index: bool = False
    alarms: int = 0
    withdrawn: int = 0


async def _nobody(outcome: Outcome) -> None:
    """For whom an outcome is kept, if nobody says so."""


async def replicate(
    source: Peer,
    target: Peer,
    plan: Plan,
    *,
    following: Following | None = None,
    report: Report | None = None,
    remember: Remember = _nobody,
    clock: Clock = SYSTEM_CLOCK,
    entropy: Entropy = os.urandom,
) -> Outcome:
    """Bring the target everything that the source has and the plan's selector passes; if `following`, also what comes.

    `remember` gets the outcome so far with each checkpoint. Raises one error of the kinds that the two peers raise: the
    peer's that stopped the attempt, or the local store's. Safe to repeat and to cancel at any moment: the next attempt
    goes on from the last checkpoint.
    """
    meter = Meter(plan.direction, report, clock)
    witnesses = Witnesses()
    restarts: list[float] = []
    while len(restarts) < MAX_LOG_RESTARTS:
        attempt = Attempt(source, target, plan, following, meter, remember, clock, entropy, witnesses)
        try:
            return await attempt.run()
        except LogChanged:
            pass
        except BaseExceptionGroup as group:
            error = _first(group)
            if not isinstance(error, LogChanged):
                raise error from None
        now = clock.monotonic()
        restarts = [*(moment for moment in restarts if now - moment < LOG_FIGHT_SECONDS), now]
    raise BadAnswer(
        "record how far the sync came",
        "the replication log keeps changing under it: another copy of this replica, or a database made anew, uses it",
        "make sure that this replica exists once, then sync again",
    )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error that a group stands for: a typed one if there is one."""
    leaves: list[BaseException] = []
    groups = [group]
    while groups:
        for error in groups.pop().exceptions:
            if isinstance(error, BaseExceptionGroup):
                groups.append(error)
            else:
                leaves.append(error)
    return next((error for error in leaves if isinstance(error, IcureSyncError | LogChanged)), leaves[0])
