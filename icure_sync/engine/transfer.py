"""The pipeline of one attempt: reading, comparing, fetching and writing run at once over bounded queues.

Owns the tasks and the queues between them, and what is settled. How the feed is read is feed.py's; how far a checkpoint
may go is decided in replication/sequences.py; when one is written is the checkpointer's matter; what becomes of a batch
is the carrier's.

    _read ── pages ── _compare ── batches ── _carry, CARRIERS at once: fetch, write, settle
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from icure_sync.crypto.devices import is_head_id
from icure_sync.engine.carrier import Carrier, Wanted
from icure_sync.engine.echoes import Echoes
from icure_sync.engine.feed import SourceFeed
from icure_sync.engine.passage import Passage
from icure_sync.engine.progress import Phase
from icure_sync.engine.witnesses import Witnesses
from icure_sync.errors import PeerError
from icure_sync.ids import DocId, Rev, Seq
from icure_sync.peers.port import Selector
from icure_sync.replication.batching import next_batch_size, weight
from icure_sync.replication.limits import BATCHES_AHEAD, CARRIERS, FIRST_BATCH, MOST_ROWS, PAGES_AHEAD
from icure_sync.replication.policy import reason_against_rev
from icure_sync.replication.refused import Refused
from icure_sync.replication.sequences import SafeSeq
from icure_sync.replication.wire import Change, Changes, Missing, Refusal, Revision

Item = TypeVar("Item")

QUARANTINED = "quarantined"  # the `error` of a Refusal that is decided here, before anything is fetched


@dataclass(frozen=True, slots=True)
class _Page:
    """Rows of the feed, each with its ticket; a row that is only tried again has none."""

    rows: Sequence[tuple[Change, int | None]]


@dataclass(frozen=True, slots=True)
class _Lacking:
    """A row of which the target lacks these revisions."""

    id: DocId
    revs: Sequence[Rev]
    ticket: int | None


@dataclass(slots=True)
class _Batch:
    """What is fetched and written at once: the wanted revisions of whole rows."""

    wanted: list[Wanted] = field(default_factory=list)
    tickets: list[tuple[DocId, int | None]] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """What one attempt wrote. `size`: bytes of bodies. Heads of devices count there alone: they are nobody's work."""

    documents: int = 0
    revisions: int = 0
    size: int = 0

    def add(self, written: Iterable[Revision]) -> int:
        """A batch is there. Returns its bytes."""
        counted = [revision for revision in written if not is_head_id(revision.id)]
        size = sum(len(revision.body) for revision in written)
        self.documents += len({revision.id for revision in counted})
        self.revisions += len(counted)
        self.size += size
        return size


@dataclass(frozen=True, slots=True)
class Following:
    """What makes an attempt live: it goes on after the end of the feed, until `stop` is set.

    `brings`: where it says what it carries over, for the attempt in the other direction; `skips`: what that one says,
    of which the target need not be asked; nor if there are at most `unasked` revisions on a page: to send so few costs
    hardly more than to ask. `at_rest` is called when everything up to this seq of the source is settled, but for what
    is refused (if that is full, without room to record it), before that is told as Phase.IDLE.
    """

    stop: asyncio.Event
    brings: Echoes
    skips: Echoes
    unasked: int
    at_rest: Callable[[Seq, Refused], Awaitable[None]]


class Transfer:
    """One run from a seq to the end of the source's feed and, if it is live, on from there."""

    def __init__(
        self,
        passage: Passage,
        *,
        since: Seq,
        selector: Selector | None,
        refused: Refused,
        tally: Tally,
        following: Following | None,
        witnesses: Witnesses,
    ) -> None:
        self._passage = passage
        self._since = since
        self._feed = SourceFeed(passage.source, selector, passage.patience, passage.clock)
        self._following = following
        self._witnesses = witnesses
        self._carrier = Carrier(passage.source, passage.target, passage.patience)
        self._sequence = SafeSeq(since)
        self._limit = FIRST_BATCH
        self._read_to = since
        self._under_way = 0  # pages and batches
        self.refused = refused
        self.tally = tally
        self.is_caught_up = False  # the feed has been read to its end once

    @property
    def safe(self) -> Seq:
        """Everything up to here is durable on the target, or in `refused`."""
        return self._sequence.safe

    @property
    def broken(self) -> PeerError | None:
        """What ended a live feed before it was told to stop. What had come of it is settled."""
        return self._feed.broken

    async def run(self, on_settled: Callable[[], None]) -> None:
        """Run to the end of the feed; `on_settled` is called whenever something was settled.

        Raises the kinds of PeerError and StoreError, in an exception group.
        """
        pages: asyncio.Queue[_Page | None] = asyncio.Queue(PAGES_AHEAD)
        batches: asyncio.Queue[_Batch | None] = asyncio.Queue(BATCHES_AHEAD)

        async def compare(page: _Page) -> None:
            for batch in self._batches(await self._compare(page)):  # made one by one: sizes follow what was measured
                self._under_way += 1
                await batches.put(batch)
            self._under_way -= 1
            await self._look()
            on_settled()

        async def carry(batch: _Batch) -> None:
            await self._carry(batch)
            self._under_way -= 1
            await self._look()
            on_settled()

        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(pages, on_settled))
            group.create_task(_drain(pages, compare, then=batches))
            for _ in range(CARRIERS):
                group.create_task(_drain(batches, carry))

    async def _read(self, pages: asyncio.Queue[_Page | None], on_settled: Callable[[], None]) -> None:
        await self._drop_withdrawn()
        again = [(Change(doc_id, revs, None), None) for doc_id, revs in self.refused.revisions().items()]
        for start in range(0, len(again), MOST_ROWS):
            self._under_way += 1
            await pages.put(_Page(again[start : start + MOST_ROWS]))
        async with aclosing(self._changes()) as feed:
            async for changes in feed:
                tickets = self._sequence.read([row.seq for row in changes.rows], changes.last_seq)
                self._read_to = changes.last_seq
                self._passage.meter.read(len(changes.rows), changes.pending)
                if changes.rows:
                    self._under_way += 1
                    self._passage.meter.enter(Phase.TRANSFERRING)
                    await pages.put(_Page(list(zip(changes.rows, tickets, strict=True))))
                else:
                    await self._look()
                    on_settled()
        await pages.put(None)

    async def _changes(self) -> AsyncGenerator[Changes, None]:
        """The source's feed to its end; in a live attempt, until that is stopped."""
        since = self._since
        async with aclosing(self._feed.pages(since)) as pages:
            async for changes in pages:
                yield changes
                since = changes.last_seq
        self.is_caught_up = True
        if self._following is None:
            return
        await self._look()
        async with aclosing(self._feed.follow(since, self._following.stop)) as pages:
            async for changes in pages:
                yield changes

    async def _drop_withdrawn(self) -> None:
        """What was refused and the source offers no more: superseded there, or purged. Nothing is owed any more."""
        if questions := self.refused.questions():
            answer = await self._passage.patience.insist(partial(self._passage.source.missing, questions))
            self.refused = self.refused.without(self.refused.withdrawn(answer))

    async def _compare(self, page: _Page) -> list[_Lacking]:
        """The rows of a page of which the target lacks something. The others are settled at once."""
        announced: dict[DocId, dict[Rev, None]] = {}
        refusals: list[Refusal] = []
        for row, _ in page.rows:  # a server may name a document twice
            known = announced.setdefault(row.id, {})
            for rev in row.leaves:
                if self._following and self._following.skips.holds(row.id, rev):
                    continue
                if reason := reason_against_rev(rev):
                    refusals.append(Refusal(row.id, rev, QUARANTINED, reason))
                else:
                    known[rev] = None
        asked = {doc_id: tuple(revs) for doc_id, revs in announced.items() if revs}
        missing = await self._missing(asked)
        if self._following:
            self._following.brings.add((doc_id, rev) for doc_id, lacking in missing.items() for rev in lacking.revs)
        # With no room to record them, quarantined revisions leave their row unsettled: the checkpoint waits before it.
        unsettled = {refusal.id for refusal in refusals} if self.refused.full else set()
        absent = {doc_id: set(one.revs) for doc_id, one in missing.items()}
        lacking: list[_Lacking] = []
        done: list[int | None] = []
        for row, ticket in page.rows:
            held = None if row.id in unsettled else ticket
            left = absent.get(row.id, set())
            wanted = [rev for rev in dict.fromkeys(row.leaves) if rev in left]
            left.difference_update(wanted)  # a row that repeats them needs no more: no checkpoint passes this one
            if wanted:
                lacking.append(_Lacking(row.id, wanted, held))
            else:
                done.append(held)
        self._witnesses.found(_present(page, missing))
        self._settle(done, refusals, _known(asked, missing))
        return lacking

    async def _missing(self, announced: Mapping[DocId, Sequence[Rev]]) -> Mapping[DocId, Missing]:
        """What the target lacks of these, as it says."""
        revisions = sum(map(len, announced.values()))
        if self._following and self.is_caught_up and revisions <= self._following.unasked:
            return {doc_id: Missing(tuple(revs)) for doc_id, revs in announced.items()}
        if not announced:
            return {}
        return await self._passage.patience.insist(partial(self._passage.target.missing, announced))

    def _batches(self, lacking: Iterable[_Lacking]) -> Iterator[_Batch]:
        batch = _Batch()
        for row in lacking:
            batch.wanted += ((row.id, rev) for rev in row.revs)
            batch.tickets.append((row.id, row.ticket))
            if len(batch.wanted) >= self._limit:
                yield batch
                batch = _Batch()
        if batch.wanted:
            yield batch

    async def _carry(self, batch: _Batch) -> None:
        started = self._passage.clock.monotonic()
        carried = await self._carrier.carry(batch.wanted)
        seconds = self._passage.clock.monotonic() - started
        self._witnesses.wrote(carried.written)
        self._limit = next_batch_size(self._limit, len(batch.wanted), sum(map(weight, carried.written)), seconds)
        size = self.tally.add(carried.written)
        unsettled = {refusal.id for refusal in carried.refused} if self.refused.full else ()
        tickets = [ticket for doc_id, ticket in batch.tickets if doc_id not in unsettled]
        self._settle(tickets, carried.refused, ((revision.id, revision.rev) for revision in carried.written), size)

    def _settle(
        self, tickets: Sequence[int | None], refusals: Sequence[Refusal], resolved: Iterable[Wanted], size: int = 0
    ) -> None:
        if not self.refused.full:
            self.refused = self.refused.with_refusals(refusals)
        self.refused = self.refused.without(resolved)
        settled = [ticket for ticket in tickets if ticket is not None]
        self._sequence.settle(settled)
        self._passage.meter.settled(len(settled), size)

    async def _look(self) -> None:
        """After something was settled: tell a live sync whether there is anything left."""
        if self._following is None or not self.is_caught_up:
            return
        if not self._under_way:
            await self._following.at_rest(self._read_to, self.refused)
            self._passage.meter.refused(self.refused.refusals)
        self._passage.meter.enter(Phase.TRANSFERRING if self._under_way else Phase.IDLE)


async def _drain(
    inbox: asyncio.Queue[Item | None],
    work: Callable[[Item], Awaitable[None]],
    then: asyncio.Queue[_Batch | None] | None = None,
) -> None:
    """Work through a queue up to its end, None, which is left there for the others who drain it."""
    while (item := await inbox.get()) is not None:
        await work(item)
    await inbox.put(None)
    if then is not None:
        await then.put(None)


def _present(page: _Page, missing: Mapping[DocId, Missing]) -> Iterator[Wanted]:
    """The revisions of the last row of which the target has everything, as it says or as they came from there."""
    row = next((row for row, _ in reversed(page.rows) if row.id not in missing), None)
    return ((row.id, rev) for rev in row.leaves if not reason_against_rev(rev)) if row else iter(())


def _known(announced: Mapping[DocId, Sequence[Rev]], missing: Mapping[DocId, Missing]) -> Iterator[Wanted]:
    """The revisions that the target was asked about and has already."""
    for doc_id, revs in announced.items():
        lacking = set(missing[doc_id].revs) if doc_id in missing else set()
        yield from ((doc_id, rev) for rev in revs if rev not in lacking)
