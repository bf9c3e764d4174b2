"""The exchange of one replica with its peers: push, pull, both, or both live. Owns which plan each of them follows.

Knows no attempt from the inside (sync.py) and no records.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from icure_sync.engine.attempt import Outcome
from icure_sync.engine.audit import Audit, audit, given_back
from icure_sync.engine.clock import SYSTEM_CLOCK, Clock
from icure_sync.engine.custody import Custody
from icure_sync.engine.deletions import sift_unopened
from icure_sync.engine.keyed import Keyed
from icure_sync.engine.live import Ends, Live
from icure_sync.engine.local_peer import LocalPeer
from icure_sync.engine.patience import Patience
from icure_sync.engine.plan import Plan
from icure_sync.engine.progress import Report
from icure_sync.engine.reconciling import Reconciled
from icure_sync.engine.review import conflict_count
from icure_sync.engine.status import SyncFacts
from icure_sync.engine.sync import SyncReport, replicate
from icure_sync.engine.transfer import Following
from icure_sync.engine.withdrawing import is_told
from icure_sync.ids import Seq
from icure_sync.peers.port import Peer
from icure_sync.replication.checkpoint import Direction, read_log
from icure_sync.replication.filters import device_selector
from icure_sync.replication.limits import HEAD_SECONDS
from icure_sync.replication.refused import Refused
from icure_sync.replication.wire import Refusal, Revision
from icure_sync.store import Store
from icure_sync.store.withdrawals import Teller


class Exchange:
    """What replica.py's sync calls do.

    `now`: ms since 1970, for what is remembered of a sync; `gathering`: seconds that a live push waits after a change,
    for others to go with it.
    """

    def __init__(
        self, store: Store, device: str, custody: Custody | None, now: Callable[[], int], *, gathering: float = 0.0
    ) -> None:
        self._store = store
        self._device = device
        self._custody = custody
        self._now = now
        self._gathering = gathering
        self._hcp_id = custody.hcp_id if custody else None  # locked or not: what comes is the same
        self._asked: dict[str, float] = {}  # when servers that a live sync pulls from were, by their names
        self.facts = SyncFacts(store)

    @property
    def _keyed(self) -> Keyed | None:
        return self._custody.held if self._custody else None

    async def push(self, peer: Peer, report: Report | None) -> Outcome:
        """Send every local change. Then records go of which the Hcp was put out."""
        pushed, _ = await self._push(peer, report)
        return pushed

    async def pull(self, peer: Peer, report: Report | None, accepted: int = 0) -> Outcome:
        """Fetch what the Hcp may read; everything, if there is none. What was written concurrently is merged."""
        pulled, _ = await self._pull(peer, report, accepted)
        return pulled

    async def sync(self, peer: Peer, report: Report | None, accepted: int = 0) -> SyncReport:
        """Pull, merge, then push; and what the Hcp has no access to any more goes."""
        newest = await self._store.run(self._store.alarms.newest)
        pulled, reconciled = await self._pull(peer, report, accepted)
        pushed, withdrawn = await self._push(peer, report)
        await self._note_heads(pulled, pushed)
        await self._collect()
        conflicts = await conflict_count(self._store, self._keyed.review if self._keyed else None)
        refused = (*pulled.refused, *pushed.refused)
        return SyncReport(
            pulled=pulled.documents,
            pushed=pushed.documents,
            merged=reconciled.merged,
            undone=reconciled.undone,
            conflicts=conflicts,
            refused=refused,
            lacks_index=pulled.lacks_index,
            alarms=await self._store.run(self._store.alarms.count, newest),
            withdrawn=withdrawn,
        )

    async def audit(self, peer: Peer) -> Audit:
        """Does the other side really have what it said it has?"""
        async with _closing(peer):
            return await audit(LocalPeer(self._store), peer, Patience(SYSTEM_CLOCK, os.urandom))

    async def learn(self, accepted: int = 0) -> Reconciled:
        """Take in what came, and merge, as long as there are keys: what is left waits for them. `accepted`: so many
        deletions are right, a person says."""
        done = Reconciled()
        keyed = self._keyed
        if keyed is None:
            return done
        steps = keyed.learn(accepted)
        while self._keyed is keyed and (step := await self._store.run(next, steps, None)) is not None:
            done += step
        return done

    @asynccontextmanager
    async def live(self, peer: Peer, report: Report | None, clock: Clock, accepted: int = 0) -> AsyncIterator[Live]:
        """Both ways, until the context is left."""

        def once(direction: Direction) -> Callable[[Following, Report], Awaitable[Outcome]]:
            return lambda following, told: self._attempt(direction, peer, told, following, clock)

        async def learn() -> None:
            await self.learn(accepted)
            self._require_answer()

        async def sent(seq: Seq, refused: Refused) -> None:
            waiting = await self._store.run(self._store.withdrawals.waiting)
            if waiting and not refused.full:
                await peer.commit()
                await self._withdraw(peer, seq, refused.refusals, clock)

        ends = Ends(once(Direction.PULL), once(Direction.PUSH), learn, sent, self._newest)
        async with self._store.kept_tidy(), _closing(peer), Live(ends, report=report, clock=clock) as live:
            yield live
            await self._write_head()
        await self._collect()

    async def _pull(self, peer: Peer, report: Report | None, accepted: int) -> tuple[Outcome, Reconciled]:
        async with _closing(peer):
            try:
                pulled = await self._attempt(Direction.PULL, peer, report)
            finally:
                reconciled = await self.learn(accepted)  # what came before a failure counts
            self._require_answer()
            await self._ask(peer, pulled, SYSTEM_CLOCK)
            return pulled, reconciled

    async def _push(self, peer: Peer, report: Report | None) -> tuple[Outcome, int]:
        async with _closing(peer):
            pushed = await self._attempt(Direction.PUSH, peer, report)
            return pushed, await self._withdraw(peer, pushed.seq, pushed.refused, SYSTEM_CLOCK)

    async def _withdraw(self, peer: Peer, sent: Seq, refused: Sequence[Refusal], clock: Clock) -> int:
        """How many records went. `sent`: every change up to here was sent there, but for what is refused. What is to
        go is read back first: a server says of more that it has it than it gives."""
        keyed = self._keyed
        if keyed is None or not await self._store.run(self._store.withdrawals.waiting):
            return 0
        patience = Patience(clock, os.urandom)
        teller = await self._teller(peer, patience)
        ids = await self._store.run(keyed.withdrawing.ready, int(sent), {each.id for each in refused}, teller)
        given = await given_back(LocalPeer(self._store), peer, ids, patience)
        return await self._store.run(keyed.withdrawing.withdraw, given, int(sent))

    async def _note_tellers(self, revisions: Sequence[Revision], peer: Peer) -> None:
        """Which server a notice comes from, before it is here: locked or not."""
        told = [each.id for each in revisions if is_told(each)]
        if told:
            teller = await self._teller(peer, Patience(SYSTEM_CLOCK, os.urandom))
            await self._store.run(self._store.withdrawals.tell, told, teller)

    async def _teller(self, peer: Peer, patience: Patience) -> Teller:
        log_id = self._plan(Direction.PULL).log_id
        log = read_log(await patience.insist(lambda: peer.read_local(log_id)))
        info = await patience.insist(peer.info)
        return Teller(log.name or "", info.address)

    def _plan(self, direction: Direction) -> Plan:
        selector = device_selector(self._hcp_id) if self._hcp_id and direction is Direction.PULL else None
        return Plan(self._device, self._hcp_id, direction, selector)

    def _require_answer(self) -> None:
        """Raises MassDeletion."""
        if self._keyed is not None:
            self._keyed.deletions.require_answer()

    def _sift(self, revisions: Sequence[Revision]) -> Sequence[Revision]:
        """In the store's thread: which of those that came are taken in now."""
        keyed = self._keyed
        if keyed is not None:
            return keyed.deletions.sift(revisions)
        return sift_unopened(self._store, revisions) if self._hcp_id is not None else revisions

    async def _attempt(
        self,
        direction: Direction,
        peer: Peer,
        report: Report | None,
        following: Following | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> Outcome:
        async def remember(outcome: Outcome) -> None:
            await self._store.run(self.facts.keep, direction, outcome, self._now())
            if following is not None and direction is Direction.PULL:
                await self._keep_heads(peer, outcome, clock, following.stop)

        if direction is Direction.PUSH and following is None:
            await self._write_head()
        local = LocalPeer(self._store, gathering=self._gathering)
        if direction is Direction.PULL:
            note = self._note_tellers if self._hcp_id else None
            local = LocalPeer(self._store, gathering=self._gathering, sift=self._sift, note=note)
            await local.complete(peer)
        source, target = (peer, local) if direction is Direction.PULL else (local, peer)
        plan = self._plan(direction)
        return await replicate(source, target, plan, following=following, report=report, remember=remember, clock=clock)

    async def _newest(self) -> Seq:
        return Seq(str(await self._store.run(self._store.documents.update_seq)))

    async def _write_head(self) -> None:
        """What this device has written is signed before it goes."""
        keyed = self._keyed
        if keyed is not None and keyed.device_heads is not None:
            await self._store.run(keyed.device_heads.write)

    async def _ask(self, peer: Peer, pulled: Outcome, clock: Clock) -> None:
        """Whether that server still has the heads that it had."""
        keyed = self._keyed
        if keyed is not None and keyed.device_heads is not None:
            await keyed.lookout.ask(peer, pulled.peer, pulled.address, Patience(clock, os.urandom))

    async def _note_heads(self, pulled: Outcome, pushed: Outcome) -> None:
        """That server has them now, but for what it refused."""
        keyed = self._keyed
        if keyed is not None and keyed.device_heads is not None:
            await self._store.run(keyed.lookout.pushed, pulled.peer, {each.id for each in pushed.refused})

    async def _keep_heads(self, peer: Peer, pulled: Outcome, clock: Clock, stop: asyncio.Event) -> None:
        """In a live sync, every HEAD_SECONDS; the last head is written when it ends, before the push does."""
        now = clock.monotonic()
        if now - self._asked.get(pulled.peer, -HEAD_SECONDS) < HEAD_SECONDS:
            return
        self._asked[pulled.peer] = now
        await self._ask(peer, pulled, clock)
        if not stop.is_set():
            await self._write_head()

    async def _collect(self) -> None:
        await self._store.tidy()  # bytes of revisions that were displaced, or never came


@asynccontextmanager
async def _closing(peer: Peer) -> AsyncIterator[None]:
    """Inside, the peer may hold connections."""
    try:
        yield
    finally:
        await peer.close()
