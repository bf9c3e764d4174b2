"""One attempt of a replication, from the first look at both ends to the last checkpoint. Owns the order of its steps.

An attempt finishes or fails; it never gives up halfway in silence, and what it has written stays. How it is tried again
is sync.py's matter, and live.py's. See replication/PROTOCOL.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from icure_sync.engine.checkpointer import Checkpointer
from icure_sync.engine.clock import Clock
from icure_sync.engine.echoes import Echoes
from icure_sync.engine.first_pull import FirstPull
from icure_sync.engine.passage import Passage
from icure_sync.engine.patience import Entropy, Patience
from icure_sync.engine.plan import Plan
from icure_sync.engine.progress import Meter, Phase
from icure_sync.engine.transfer import Following, Transfer
from icure_sync.engine.waiting import first_of
from icure_sync.engine.witnesses import Witnesses
from icure_sync.errors import PeerError
from icure_sync.ids import Seq
from icure_sync.peers.port import Peer
from icure_sync.replication.limits import (
    CHECKPOINT_SECONDS,
    ECHO_CHECKPOINT_SECONDS,
    INDEX_PAYS,
    LINGER_SECONDS,
    LIVE_CHECKPOINT_SECONDS,
    TRICKLE,
)
from icure_sync.replication.refused import Refused
from icure_sync.replication.wire import Refusal


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one replication did. `since`: where it started; `seq`: its last checkpoint; `size`: bytes of bodies.

    `refused` lists everything that is on record as refused now between these two, from earlier attempts too; `peer` is
    the name under which it is: the random one of the other side's log. `by_index`: it was a first sync, by the source's
    index; `lacks_index`: it would have been much faster by one. `address`: where the other side is, "" if nowhere.
    Heads of devices are counted in `size` alone.
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
    address: str = ""


Remember = Callable[[Outcome], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: make it, `run` it once. `remember` gets the outcome so far with each checkpoint; `witnesses` are
    those of all attempts between these two peers that follow each other at once."""

    source: Peer
    target: Peer
    plan: Plan
    following: Following | None
    meter: Meter
    remember: Remember
    clock: Clock
    entropy: Entropy
    witnesses: Witnesses

    async def run(self) -> Outcome:
        """Raises the kinds of PeerError and StoreError, and LogChanged; all perhaps in an exception group."""
        self.meter.enter(Phase.CONNECTING)
        if self.following:
            self.following.brings.clear()
            self.following.skips.clear()
        patience = Patience(self.clock, self.entropy, self.following.stop if self.following else None)
        checkpointer = await Checkpointer.open(
            self.source, self.target, self.plan, patience=patience, clock=self.clock, entropy=self.entropy
        )
        since = checkpointer.saved
        self.meter.enter(Phase.TRANSFERRING)
        passage = Passage(self.source, self.target, patience, self.meter, self.clock)
        first = await self._pull_first(passage, checkpointer)
        await checkpointer.introduce()
        transfer = self._transfer(passage, checkpointer.saved, first)

        async def save() -> Outcome:
            await checkpointer.save(transfer.safe, transfer.refused, self.witnesses)
            outcome = _outcome(since, checkpointer, first, transfer)
            await self.remember(outcome)
            return outcome

        await self._with_checkpoints(transfer, save)
        if transfer.broken is not None:
            await self._save_once(save)
            raise transfer.broken
        self.meter.enter(Phase.FINISHING)
        outcome = await save()
        self.meter.enter(Phase.DONE)
        return outcome

    async def _save_once(self, save: Callable[[], Awaitable[Outcome]]) -> None:
        """After the source has failed: if it takes a checkpoint all the same, less is to be compared again."""
        assert self.following is not None  # only a live feed breaks
        self.following.stop.set()
        with contextlib.suppress(PeerError, TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await save()

    async def _pull_first(self, passage: Passage, checkpointer: Checkpointer) -> FirstPull:
        refused = await checkpointer.read_refused()
        brings = self.following.brings if self.following else Echoes()
        first = FirstPull(passage, self.plan, checkpointer=checkpointer, refused=refused, brings=brings)
        await first.run()
        return first

    def _transfer(self, passage: Passage, since: Seq, first: FirstPull) -> Transfer:
        return Transfer(
            passage,
            since=since,
            selector=self.plan.selector,
            refused=first.refused,
            tally=first.tally,
            following=self.following,
            witnesses=self.witnesses,
        )

    async def _with_checkpoints(self, transfer: Transfer, save: Callable[[], Awaitable[Outcome]]) -> None:
        """Run the transfer, with checkpoints beside it."""
        settled, finished = asyncio.Event(), asyncio.Event()

        async def keep_checkpoints() -> None:
            last, documents, refused = self.clock.monotonic(), 0, transfer.refused
            while await settled.wait() and not finished.is_set():
                settled.clear()  # before the save: what is settled while it runs must not be missed
                while (pause := last + _interval(transfer, documents, refused) - self.clock.monotonic()) > 0:
                    if not (self.following and transfer.is_caught_up):
                        break  # there is more to come, or the end
                    await first_of(self.clock.sleep(pause), settled.wait(), finished.wait())
                    if finished.is_set():
                        return
                    settled.clear()
                else:
                    last, documents, refused = self.clock.monotonic(), transfer.tally.documents, transfer.refused
                    await save()

        async with asyncio.TaskGroup() as group:
            group.create_task(keep_checkpoints())
            await transfer.run(settled.set)
            finished.set()
            settled.set()


def _interval(transfer: Transfer, documents: int, refused: Refused) -> float:
    """Seconds from the last checkpoint, which covered so many `documents`, to the next one."""
    new = transfer.tally.documents - documents
    if not transfer.is_caught_up or new >= TRICKLE:
        return CHECKPOINT_SECONDS
    return LIVE_CHECKPOINT_SECONDS if new or transfer.refused != refused else ECHO_CHECKPOINT_SECONDS


def _outcome(since: Seq, checkpointer: Checkpointer, first: FirstPull, transfer: Transfer) -> Outcome:
    tally = transfer.tally
    return Outcome(
        documents=tally.documents,
        revisions=tally.revisions,
        size=tally.size,
        since=since,
        seq=checkpointer.saved,
        refused=transfer.refused.refusals,
        peer=checkpointer.name,
        by_index=first.by_index,
        lacks_index=first.is_due and not first.by_index and (checkpointer.source_documents or 0) >= INDEX_PAYS,
        address=checkpointer.address,
    )
