"""One-shot replication between two peers, and the report of a sync. Owns the order of an attempt's steps.

An attempt finishes or fails with one typed error; it never gives up halfway in silence, and what it has written stays.
See replication/PROTOCOL.md.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from icure_sync.engine.checkpointer import Checkpointer, LogChanged
from icure_sync.engine.clock import SYSTEM_CLOCK, Clock
from icure_sync.engine.patience import Entropy, Patience
from icure_sync.engine.plan import Plan
from icure_sync.engine.progress import Meter, Phase, Report
from icure_sync.engine.transfer import Transfer
from icure_sync.errors import BadAnswer, IcureSyncError
from icure_sync.ids import Seq
from icure_sync.peers.port import Peer
from icure_sync.replication.limits import CHECKPOINT_SECONDS, MAX_LOG_RESTARTS
from icure_sync.replication.wire import Refusal


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one replication did. `since`: where it started; `seq`: its last checkpoint; `size`: bytes of bodies.

    `refused` lists everything that is on record as refused now between these two, from earlier attempts too; `peer` is
    the name under which it is: the random one of the other side's log.
    """

    documents: int
    revisions: int
    size: int
    since: Seq
    seq: Seq
    refused: tuple[Refusal, ...]
    peer: str


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync in both directions came to. `conflicts`: documents with several live leaves now."""

    pulled: int
    pushed: int
    merged: int
    conflicts: int
    refused: tuple[Refusal, ...]


async def replicate(
    source: Peer,
    target: Peer,
    plan: Plan,
    *,
    report: Report | None = None,
    clock: Clock = SYSTEM_CLOCK,
    entropy: Entropy = os.urandom,
) -> Outcome:
    """Bring the target everything that the source has and the plan's selector passes.

    Raises one error of the kinds that the two peers raise: the peer's that stopped the attempt, or the local store's.
    Safe to repeat and to cancel at any moment: the next attempt goes on from the last checkpoint.
    """
    meter = Meter(plan.direction, report, clock)
    for _ in range(MAX_LOG_RESTARTS):
        try:
            return await _attempt(source, target, plan, meter=meter, clock=clock, entropy=entropy)
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


async def _attempt(source: Peer, target: Peer, plan: Plan, *, meter: Meter, clock: Clock, entropy: Entropy) -> Outcome:
    meter.enter(Phase.CONNECTING)
    checkpointer = await Checkpointer.open(source, target, plan, clock, entropy)
    since = checkpointer.saved
    transfer = Transfer(
        source,
        target,
        since=since,
        selector=plan.selector,
        refused=await checkpointer.read_refused(),
        patience=Patience(clock, entropy),
        meter=meter,
        clock=clock,
    )
    meter.enter(Phase.TRANSFERRING)
    await _run(transfer, checkpointer, clock)
    meter.enter(Phase.FINISHING)
    await checkpointer.save(transfer.safe, transfer.refused)
    meter.enter(Phase.DONE)
    tally = transfer.tally
    refused = transfer.refused.refusals
    return Outcome(tally.documents, tally.revisions, tally.size, since, checkpointer.saved, refused, checkpointer.name)


async def _run(transfer: Transfer, checkpointer: Checkpointer, clock: Clock) -> None:
    """Transfer, with a checkpoint beside it begun every CHECKPOINT_SECONDS."""
    due = asyncio.Event()
    last = clock.monotonic()

    def on_batch() -> None:
        if clock.monotonic() - last >= CHECKPOINT_SECONDS:
            due.set()

    async def keep_checkpoints() -> None:
        nonlocal last
        while await due.wait() and not finished:
            due.clear()  # before the save: the end may come while it runs, and must not be missed
            last = clock.monotonic()
            await checkpointer.save(transfer.safe, transfer.refused)

    finished = False
    async with asyncio.TaskGroup() as group:
        group.create_task(keep_checkpoints())
        await transfer.run(on_batch)
        finished = True
        due.set()


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
