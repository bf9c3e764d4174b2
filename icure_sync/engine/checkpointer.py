"""The two replication logs of an attempt: reads them before it, writes them while it runs.

Owns when a log may be written and in what order; what a log says and where an attempt starts is decided in
replication/checkpoint.py. Does not know what was transferred.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from icure_sync.engine.clock import Clock
from icure_sync.engine.patience import Entropy, Patience
from icure_sync.engine.plan import Plan
from icure_sync.engine.witnesses import Witnesses
from icure_sync.ids import Seq
from icure_sync.peers.port import Peer
from icure_sync.replication.checkpoint import Direction, Log, Session, common_point, peer_mark, read_log
from icure_sync.replication.refused import Refused, read_refused
from icure_sync.replication.trouble import CheckpointConflict
from icure_sync.replication.wire import PeerInfo

_NAME_BYTES = 16  # random bytes of a log's name and of a session id: nobody draws the same twice


class LogChanged(Exception):
    """One side is not what it was when the attempt began: restored, made anew, or its log was overwritten."""


@dataclass(slots=True)
class _Side:
    peer: Peer
    log_id: str
    info: PeerInfo
    log: Log  # as it is there
    mark: str  # of the other side
    name: str | None = None  # of its log, from the next checkpoint on


class Checkpointer:
    """Keeper of one attempt's logs. Make it with `open`. `name`: that of the other side's log; `address`: where that
    side is."""

    def __init__(
        self, device: _Side, other: _Side, plan: Plan, *, patience: Patience, clock: Clock, entropy: Entropy
    ) -> None:
        pull = plan.direction is Direction.PULL
        self._source, self._target = (other, device) if pull else (device, other)
        self._device = device.peer  # keeps the record of refused documents
        self._other = other
        self._plan = plan
        self._clock = clock
        self._entropy = entropy
        self._patience = patience
        self._saved_refused = Refused()
        self._mark = ""
        self.saved: Seq = common_point(device.log, other.log)
        self.name = other.name = other.log.name or entropy(_NAME_BYTES).hex()
        self.address = other.info.address

    @classmethod
    async def open(
        cls, source: Peer, target: Peer, plan: Plan, *, patience: Patience, clock: Clock, entropy: Entropy
    ) -> Checkpointer:
        """Look at both ends and read their logs. A peer that does not answer now is not waited for.

        Raises what `Peer.info` raises.
        """
        pull = plan.direction is Direction.PULL
        ids = (plan.log_id, plan.own_log_id) if pull else (plan.own_log_id, plan.log_id)
        infos = [await source.info(), await target.info()]
        logs = [read_log(await peer.read_local(log_id)) for peer, log_id in zip((source, target), ids, strict=True)]
        marks = [peer_mark(info.name, info.instance) for info in infos]
        sides = (
            _Side(source, ids[0], infos[0], logs[0], marks[1]),
            _Side(target, ids[1], infos[1], logs[1], marks[0]),
        )
        other, device = sides if pull else reversed(sides)
        return cls(device, other, plan, patience=patience, clock=clock, entropy=entropy)

    @property
    def is_first(self) -> bool:
        """The other side remembers no session: the two have never come to a checkpoint, or one of them forgot it."""
        return not self._other.log.sessions

    @property
    def source_documents(self) -> int | None:
        """How many documents the source says it has, None if it does not say."""
        return self._source.info.doc_count

    def rename(self) -> None:
        """Draw a new name for the other side's log, in which there is no session yet."""
        self.name = self._other.name = self._entropy(_NAME_BYTES).hex()

    async def leave_name(self) -> None:
        """Write that name there, without a session. Who finds it again finds the database as it is now, or later."""
        await self._write(self._other, Log((), self.name))

    async def mark(self) -> None:
        """Leave a mark on the other side, beside its log: see `is_marked`."""
        await self.is_marked()  # other servers let only those write who have seen what is there
        self._mark = self._entropy(_NAME_BYTES).hex()
        record = {"mark": self._mark}
        await self._patience.insist(lambda: self._other.peer.write_local(self._plan.first_id, record))

    async def is_marked(self) -> bool:
        """Is the other side still the database on which the mark was left, as it was then, or later?"""
        record = await self._patience.insist(lambda: self._other.peer.read_local(self._plan.first_id))
        return record is not None and record.get("mark") == self._mark

    async def introduce(self) -> None:
        """Leave the name where nobody has left one: a database made anew under this attempt does not have it then.

        Two lives of a database that begin in the same second look alike, and other servers never say when one began.
        """
        if self._other.log.name is None and self.is_first:
            await self.leave_name()

    async def read_refused(self) -> Refused:
        """What earlier attempts between these two recorded as refused."""
        self._saved_refused = read_refused(await self._device.read_local(self._plan.refused_id(self.name)))
        return self._saved_refused

    async def save(self, safe: Seq, refused: Refused, witnesses: Witnesses | None = None) -> None:
        """Record that everything up to `safe` is on the target or in `refused`. Raises LogChanged.

        The record of refused documents is durable before a checkpoint covers them, and so is the target. `witnesses`:
        what the target has to have still.
        """
        if refused != self._saved_refused:
            record = self._plan.refused_id(self.name)
            await self._patience.insist(lambda: self._device.write_local(record, refused.document()))
            self._saved_refused = refused
        if safe == self.saved:
            return
        await self._patience.insist(self._target.peer.commit)
        for side in (self._source, self._target):
            await self._check(side)
        if witnesses is not None and self._target is self._other:  # the device's own store is open, and stays
            await self._question(witnesses)
        now = int(self._clock.now() * 1000)
        identity = self._entropy(_NAME_BYTES).hex()
        for side in (self._source, self._target):
            log = Log(side.log.sessions, side.name)
            await self._write(side, log.with_session(Session(identity, safe, now, side.mark)))
        self.saved = safe

    async def _check(self, side: _Side) -> None:
        """The same database, and the log that this attempt knows: else nothing may be recorded in it."""
        info = await self._patience.insist(side.peer.info)
        log = read_log(await self._patience.insist(lambda: side.peer.read_local(side.log_id)))
        if info.instance != side.info.instance or (log.head, log.name) != (side.log.head, side.log.name):
            raise LogChanged

    async def _question(self, witnesses: Witnesses) -> None:
        """A log that is as it was does not say that the documents are."""
        questions = witnesses.questions()
        lacking = await self._patience.insist(partial(self._target.peer.missing, questions)) if questions else {}
        if lacking:
            witnesses.deny()
            raise LogChanged

    async def _write(self, side: _Side, log: Log) -> None:
        try:
            await self._patience.insist(lambda: side.peer.write_local(side.log_id, log.document()))
        except CheckpointConflict as error:
            raise LogChanged from error
        side.log = log
