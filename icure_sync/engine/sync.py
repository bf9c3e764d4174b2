"""One attempt of a replication between two peers, and the report of a sync. Owns the order of its steps.

An attempt finishes or fails with one typed error; it never gives up halfway in silence, and what it has written stays.
See replication/PROTOCOL.md.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from icure_sync.engine.checkpointer import Checkpointer, LogChanged
from icure_sync.engine.clock import SYSTEM_CLOCK, Clock
from icure_sync.engine.echoes import Echoes
from icure_sync.engine.first_pull import FirstPull
from icure_sync.engine.patience import Entropy, Patience
from icure_sync.engine.plan import Plan
from icure_sync.engine.progress import Meter, Phase, Report
from icure_sync.engine.transfer import Following, Transfer
from icure_sync.engine.waiting import first_of
from icure_sync.errors import BadAnswer, IcureSyncError
from icure_sync.ids import Seq
from icure_sync.peers.port import Peer
from icure_sync.replication.limits import (
    CHECKPOINT_SECONDS,
    INDEX_PAYS,
    LIVE_CHECKPOINT_SECONDS,
    MAX_LOG_RESTARTS,
    TRICKLE,
)
from icure_sync.replication.wire import Refusal


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one replication did. `since`: where it started; `seq`: its last checkpoint; `size`: bytes of bodies.

    `refused` lists everything that is on record as refused now between these two, from earlier attempts too; `peer` is
    the name under which it is: the random one of the other side's log. `by_index`: it was a first sync, by the source's
    index; `lacks_index`: it would have been much faster by one.
    """

    documents: int
    revisions: int
    size: int
    since: Seq
    seq: Seq
    refused: tuple[Refusal, ...]
    peer: str
    by_index: bool = False
    lacks_index: bool = False


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync in both directions came to. `conflicts`: documents with several live leaves now; `lacks_index`: as
    in Outcome, for the pull."""

    pulled: int
    pushed: int
    merged: int
    conflicts: int
    refused: tuple[Refusal, ...]
    lacks_index: bool = False


Remember = Callable[[Outcome], Awaitable[None]]


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
    for _ in range(MAX_LOG_RESTARTS):
        attempt = Attempt(source, target, plan, following, meter, remember, clock, entropy)
        try:
            return await attempt.run()
        except LogChanged:
            continue
        except BaseExceptionGroup as group:
            error = _first(group)
            if not isinstance(error, LogChanged):
                raise error from None
    raise BadAnswer(
        "record how far the sync came",
        "the replication log keeps changing under it: another copy of this replica, or a database made anew, uses it",
        "make sure that this replica exists once, then sync again",
    )


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt, from the first look at both ends to the last checkpoint."""

    source: Peer
    target: Peer
    plan: Plan
    following: Following | None
    meter: Meter
    remember: Remember
    clock: Clock
    entropy: Entropy

    async def run(self) -> Outcome:
        """Raises as `replicate`, and LogChanged; all perhaps in an exception group."""
        self.meter.enter(Phase.CONNECTING)
        if self.following:
            self.following.brings.clear()
            self.following.skips.clear()
        patience = Patience(self.clock, self.entropy, self.following.stop if self.following else None)
        checkpointer = await Checkpointer.open(
            self.source, self.target, self.plan, patience=patience, clock=self.clock, entropy=self.entropy
        )
        since = checkpointer.saved
        first = FirstPull(
            self.source,
            self.target,
            self.plan,
            checkpointer=checkpointer,
            refused=await checkpointer.read_refused(),
            patience=patience,
            meter=self.meter,
            clock=self.clock,
            brings=self.following.brings if self.following else Echoes(),
        )
        self.meter.enter(Phase.TRANSFERRING)
        await first.run()
        await checkpointer.introduce()
        transfer = Transfer(
            self.source,
            self.target,
            since=checkpointer.saved,
            selector=self.plan.selector,
            refused=first.refused,
            patience=patience,
            meter=self.meter,
            clock=self.clock,
            following=self.following,
        )
        transfer.tally = first.tally
        lacks_index = first.is_due and not first.by_index and checkpointer.source_documents >= INDEX_PAYS

        async def save() -> Outcome:
            await checkpointer.save(transfer.safe, transfer.refused)
            tally, refused = transfer.tally, transfer.refused.refusals
            outcome = Outcome(
                tally.documents,
                tally.revisions,
                tally.size,
                since,
                checkpointer.saved,
                refused,
                checkpointer.name,
                by_index=first.by_index,
                lacks_index=lacks_index,
            )
            await self.remember(outcome)
            return outcome

        await self._transfer(transfer, save)
        if transfer.broken is not None:
            raise transfer.broken
        self.meter.enter(Phase.FINISHING)
        outcome = await save()
        self.meter.enter(Phase.DONE)
        return outcome

    async def _transfer(self, transfer: Transfer, save: Callable[[], Awaitable[Outcome]]) -> None:
        """Run the transfer, with checkpoints beside it."""
        settled, finished = asyncio.Event(), asyncio.Event()

        async def keep_checkpoints() -> None:
            last, documents = self.clock.monotonic(), 0
            while await settled.wait() and not finished.is_set():
                settled.clear()  # before the save: what is settled while it runs must not be missed
                trickle = transfer.is_caught_up and transfer.tally.documents - documents < TRICKLE
                due = last + (LIVE_CHECKPOINT_SECONDS if trickle else CHECKPOINT_SECONDS)
                if (pause := due - self.clock.monotonic()) > 0:
                    if not (self.following and transfer.is_caught_up):
                        continue  # there is more to come, or the end
                    await first_of(self.clock.sleep(pause), finished.wait())
                if finished.is_set():
                    return
                last, documents = self.clock.monotonic(), transfer.tally.documents
                await save()

        async with asyncio.TaskGroup() as group:
            group.create_task(keep_checkpoints())
            await transfer.run(settled.set)
            finished.set()
            settled.set()


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
