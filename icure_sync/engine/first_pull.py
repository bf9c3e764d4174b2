"""The first sync of a new replica, by the source's index: it costs in proportion to one's own documents.

Owns the order: the index names documents, all leaves of them and of the little that is here are fetched, those that the
filter passes are written; then the filtered feed goes on from where the index was read. What becomes of a leaf is the
carrier's matter, how long something is tried again that of patience.py. Knows no live feed.

The seq that the first page of the index pins is kept on the device, under a name that is left in the other side's log
after it: an interrupted first sync reads the index again, fetches what is not whole here, and lets the feed begin at
the *first* pin. A database made anew, or put back as it was before the pin, does not know the name. One that was put
back between the page and the name knows it, but not the mark that was left before the page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from functools import partial

from icure_sync.engine.carrier import Carrier, Wanted
from icure_sync.engine.checkpointer import Checkpointer, LogChanged
from icure_sync.engine.echoes import Echoes
from icure_sync.engine.feed import SourceFeed
from icure_sync.engine.passage import Passage
from icure_sync.engine.patience import GivenUp
from icure_sync.engine.plan import Plan
from icure_sync.engine.transfer import QUARANTINED, Tally
from icure_sync.errors import BadAnswer, NotFound, TimedOut
from icure_sync.ids import DocId, HcpId, Rev, Seq
from icure_sync.peers.port import Peer
from icure_sync.replication.batching import next_batch_size, weight
from icure_sync.replication.checkpoint import START, Direction
from icure_sync.replication.filters import passes_leaf
from icure_sync.replication.limits import CARRIERS, FIRST_BATCH, INDEX_LEAST, MOST_ROWS, OWN_MOST, PAGES_AHEAD
from icure_sync.replication.policy import reason_against_rev
from icure_sync.replication.refused import NEWEST, Refused
from icure_sync.replication.trouble import ServerFailed
from icure_sync.replication.wire import Refusal, Revision

_NOT_FOUND = "not_found"  # the `error` of a Refusal: the document is not there (any more)


class FirstPull:
    """One attempt's part before the feed. `brings`: where it says what it carries over."""

    def __init__(
        self, passage: Passage, plan: Plan, *, checkpointer: Checkpointer, refused: Refused, brings: Echoes
    ) -> None:
        self._passage = passage
        self._plan = plan
        self._checkpointer = checkpointer
        self._brings = brings
        self._carrier = Carrier(passage.source, passage.target, passage.patience)
        self._limit = FIRST_BATCH
        self._room = asyncio.Semaphore(CARRIERS)
        self._pin: Seq | None = None
        self._is_whole = True  # nothing that the index named is owed any more, save what `refused` says
        self.is_due = False
        self.by_index = False
        self.refused = refused
        self.tally = Tally()

    async def run(self) -> None:
        """Bring over what the index names, if this is a first sync and the source has one; then write the checkpoint
        from which the feed goes on. Where that is not so, the feed has to bring everything.

        Raises the kinds of PeerError and StoreError, and LogChanged, perhaps in an exception group.
        """
        if self._checkpointer.saved == START and self._pays():
            self._pin = await self._interrupted()
            self.is_due = self._pin is not None or await self._begins()
        if not self.is_due:
            return
        pages: asyncio.Queue[Sequence[DocId] | None] = asyncio.Queue(PAGES_AHEAD)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(pages))
            while (page := await pages.get()) is not None:
                await self._take(page, group)
        if self.by_index and self._is_whole and self._pin is not None:
            await self._checkpointer.save(self._pin, self.refused)

    def _pays(self) -> bool:
        """Is this a pull for an Hcp, from a source that is not small?"""
        if self._plan.direction is not Direction.PULL or self._plan.hcp is None or self._plan.selector is None:
            return False
        documents = self._checkpointer.source_documents
        return documents is None or documents >= INDEX_LEAST

    async def _interrupted(self) -> Seq | None:
        """The pin of an earlier attempt between these two, which has not come to a checkpoint."""
        match await self._passage.target.read_local(self._plan.pin_id):
            case {"name": self._checkpointer.name, "seq": str(seq)}:
                return Seq(seq)
        return None

    async def _begins(self) -> bool:
        """Is there no session with this source, and next to nothing here? A replica begins with its Hcp's document."""
        held = await self._passage.target.changes(START, limit=OWN_MOST + 1)
        return self._checkpointer.is_first and len(held.rows) <= OWN_MOST

    async def _read(self, pages: asyncio.Queue[Sequence[DocId] | None]) -> None:
        try:
            await self._passage.patience.insist(partial(self._list, pages))
        except (NotFound, ServerFailed, BadAnswer):  # broken, or taken away meanwhile: as good as none
            self._is_whole = False
        await pages.put(None)

    async def _list(self, pages: asyncio.Queue[Sequence[DocId] | None]) -> None:
        """The index from its beginning: after a failure, what came before it comes again."""
        assert self._plan.hcp is not None
        if self._pin is None:
            await self._checkpointer.mark()
        try:
            async with aclosing(self._passage.source.listed(HcpId(self._plan.hcp))) as listed:
                async for listing in listed:
                    if self._pin is None:
                        await self._keep(listing.seq)
                    if not self.by_index:
                        await self._list_held(pages)
                    self.by_index = True
                    self._passage.meter.read(len(listing.ids), None)
                    for start in range(0, len(listing.ids), MOST_ROWS):
                        await pages.put(listing.ids[start : start + MOST_ROWS])
        except TimedOut:  # it is being built, and the feed is there sooner
            self._is_whole = False

    async def _list_held(self, pages: asyncio.Queue[Sequence[DocId] | None]) -> None:
        """What is here already, of one's own, from an interrupted attempt or from elsewhere: it may be deleted there,
        and no index says so."""
        async with aclosing(SourceFeed(self._passage.target, None, self._passage.patience).pages(START)) as held:
            async for page in held:
                self._passage.meter.read(len(page.rows), None)
                await pages.put([row.id for row in page.rows])

    async def _keep(self, seq: Seq) -> None:
        """Leave the name on the other side, then make it and the pin durable on the device. Raises LogChanged if the
        other side was put back meanwhile: the pin is none of its seqs."""
        self._checkpointer.rename()
        await self._checkpointer.leave_name()
        if not await self._checkpointer.is_marked():
            raise LogChanged
        record = {"name": self._checkpointer.name, "seq": seq}
        await self._passage.patience.insist(partial(self._passage.target.write_local, self._plan.pin_id, record))
        self._pin = seq

    async def _take(self, page: Sequence[DocId], group: asyncio.TaskGroup) -> None:
        ids = await self._lacking(page)
        self._passage.meter.settled(len(page) - len(ids))
        while ids:
            await self._room.acquire()
            batch, ids = ids[: self._limit], ids[self._limit :]
            group.create_task(self._carry(batch))

    async def _lacking(self, page: Sequence[DocId]) -> Sequence[DocId]:
        """Those that are not whole here. What is here at all came after the pin: it lacks leaves only if it was cut
        off between two of them."""
        known = [doc_id for doc_id, revs in (await self._leaf_revs(self._passage.target, page)).items() if revs]
        if not known:
            return page
        there = {doc_id: revs for doc_id, revs in (await self._leaf_revs(self._passage.source, known)).items() if revs}
        lacking = await self._passage.patience.insist(partial(self._passage.target.missing, there)) if there else {}
        whole = {doc_id for doc_id in there if doc_id not in lacking}
        return [doc_id for doc_id in page if doc_id not in whole]

    async def _leaf_revs(self, peer: Peer, ids: Sequence[DocId]) -> dict[DocId, tuple[Rev, ...]]:
        """The leaves that a peer has of each document: all of them might be ancestors of a revision above them all."""
        questions = dict.fromkeys(ids, (NEWEST,))
        answer = await self._passage.patience.insist(partial(peer.missing, questions))
        return {doc_id: answer[doc_id].possible_ancestors if doc_id in answer else () for doc_id in questions}

    async def _carry(self, ids: Sequence[DocId]) -> None:
        try:
            started = self._passage.clock.monotonic()
            leaves, refused = await self._fetch(ids)
            kept, unsound = self._passing(leaves)
            refused += unsound + await self._carrier.write(kept)
            seconds = self._passage.clock.monotonic() - started
            self._limit = next_batch_size(self._limit, len(ids), sum(map(weight, leaves)), seconds)
        finally:
            self._room.release()
        without = {(refusal.id, refusal.rev) for refusal in refused}
        written = [leaf for leaf in kept if (leaf.id, leaf.rev) not in without]
        size = self.tally.add(written)
        if refused and self.refused.full:
            self._is_whole = False  # no room to record them
        else:
            self.refused = self.refused.with_refusals(refused)
        self._passage.meter.settled(len(ids), size)

    def _passing(self, leaves: Sequence[Revision]) -> tuple[list[Revision], list[Refusal]]:
        """The leaves that the filter passes, each by its own body, as the feed does it; and those that nobody takes."""
        assert self._plan.selector is not None
        passing = [leaf for leaf in leaves if passes_leaf(self._plan.selector, leaf)]
        unsound = _quarantined((leaf.id, leaf.rev) for leaf in passing)
        refused = {(refusal.id, refusal.rev) for refusal in unsound}
        kept = [leaf for leaf in passing if (leaf.id, leaf.rev) not in refused]
        self._brings.add((leaf.id, leaf.rev) for leaf in kept)
        return kept, unsound

    async def _fetch(self, ids: Sequence[DocId]) -> tuple[list[Revision], list[Refusal]]:
        """All leaves of these documents; what the source does not give, as refusals."""

        async def ask(part: Sequence[DocId]) -> Sequence[Revision | Refusal]:
            return await self._passage.source.leaves(part)

        def refuse(doc_id: DocId, why: GivenUp) -> Revision | Refusal:
            return Refusal(doc_id, None, why.error, why.reason)

        asked = set(ids)
        came = await self._passage.patience.apart(ids, ask, refuse, [self._passage.source])
        answers = [one for one in came if one.id in asked]
        leaves = [one for one in answers if isinstance(one, Revision)]
        refusals = [one for one in answers if isinstance(one, Refusal)]
        doubtful = {refusal.id for refusal in refusals} | (asked - {leaf.id for leaf in leaves})
        if not doubtful:
            return leaves, []
        gone = {refusal.id for refusal in refusals if refusal.error == _NOT_FOUND and refusal.rev is None}
        return await self._fetch_alone(leaves, refusals, sorted(doubtful), gone)

    async def _fetch_alone(
        self, leaves: list[Revision], refusals: Sequence[Refusal], doubtful: Sequence[DocId], gone: set[DocId]
    ) -> tuple[list[Revision], list[Refusal]]:
        """What did not come with the others, revision by revision. `gone`: of which the source says that they are not
        there: purged since the index named them, if it knows no leaf of theirs either."""
        came = {(leaf.id, leaf.rev) for leaf in leaves}
        wanted = {(refusal.id, refusal.rev) for refusal in refusals if refusal.rev is not None}
        for doc_id, revs in (await self._leaf_revs(self._passage.source, doubtful)).items():
            wanted |= {(doc_id, rev) for rev in revs}
            if not revs and doc_id not in gone:
                self._is_whole = False  # nobody can say what is lacking: the feed has to bring it
        lacking = sorted(wanted - came)
        unsound = _quarantined(lacking)
        refused = {(refusal.id, refusal.rev) for refusal in unsound}
        found = await self._carrier.fetch([named for named in lacking if named not in refused])
        leaves += (one for one in found if isinstance(one, Revision))
        return leaves, unsound + [one for one in found if isinstance(one, Refusal)]


def _quarantined(named: Iterable[Wanted]) -> list[Refusal]:
    return [Refusal(doc_id, rev, QUARANTINED, reason) for doc_id, rev in named if (reason := reason_against_rev(rev))]
