"""`sync`: exchanges everything new with the server, once or live, and remembers the server. Knows no records."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from icure_sync import Audit, CouchPeer, Direction, Phase, Progress, Refusal, Replica, SyncReport
from icure_sync.app.home import CA_SETTING, SERVER_SETTING, in_replica
from icure_sync.app.output import Answer, ProgressLine, counted, printable, show, table
from icure_sync.errors import InvalidEntity

MEGABYTE = 1_000_000
_PROVISION = "icure-sync server provision URL"
IN_SYNC, WAITING = "in sync", "waiting"  # the states of a live sync


def sync(args: argparse.Namespace) -> Answer:
    """Pull, then push; with `--live`, both until Ctrl-C. `--server` is remembered once it has worked."""

    async def work(replica: Replica) -> Answer:
        server = await server_of(args, replica)
        await replica.glass.refresh()
        async with CouchPeer(server.url, ca=server.ca) as peer:
            if args.live:
                return await _stay(args, replica, peer, server)
            line = ProgressLine(wanted=not getattr(args, "json", False))
            try:
                report = await replica.sync(
                    peer,
                    progress=lambda progress: line.show(_progress(progress)),
                    accept_deletions=args.accept_deletions,
                )
            finally:
                line.clear()
            audit = await replica.audit(peer) if args.audit else None
        await _remember(replica, server)
        if audit is None:
            return Answer(as_json(report), as_text(report))
        found = {"documents": audit.documents, "sent": audit.sent, "refused": refusals_as_json(audit.refused)}
        return Answer({**as_json(report), "audit": found}, as_text(report) + "\n" + _audited(audit))

    return in_replica(args, work)


@dataclass(frozen=True, slots=True)
class Server:
    """Where to sync, and the file with the CA that vouches for it, if that is not a public one."""

    url: str = field(repr=False)
    ca: str | None


async def server_of(args: argparse.Namespace, replica: Replica) -> Server:
    """The one given, else the one that worked last. Raises InvalidEntity."""
    if args.server is not None:
        return Server(args.server, args.ca)
    known = await replica.setting(SERVER_SETTING)
    if known is None:
        raise InvalidEntity("sync", "no server is known", "name one: --server http://user:password@host:5984/database")
    return Server(known, args.ca or await replica.setting(CA_SETTING))


async def _remember(replica: Replica, server: Server) -> None:
    for name, value in ((SERVER_SETTING, server.url), (CA_SETTING, server.ca)):
        if value != await replica.setting(name):
            await replica.keep_setting(name, value)


async def _stay(args: argparse.Namespace, replica: Replica, peer: CouchPeer, server: Server) -> Answer:
    """Live, until SIGINT or SIGTERM, or an error that stays."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(ending, stop.set)
    told = _Told(as_json=getattr(args, "json", False))

    async def remember() -> None:
        await told.worked.wait()
        await _remember(replica, server)

    async with replica.live(peer, progress=told.hear, accept_deletions=args.accept_deletions) as live:
        remembering = asyncio.create_task(remember())
        ends = (stop.wait(), live.ended(), _shut_out(replica, told))
        waiting = [asyncio.create_task(end) for end in ends]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (remembering, *waiting):
                task.cancel()
            await asyncio.gather(remembering, *waiting, return_exceptions=True)
    if told.worked.is_set():
        await _remember(replica, server)
    return Answer({"state": "stopped"}, "Stopped.")


async def _shut_out(replica: Replica, told: _Told) -> None:
    """Until this device has learnt that it was revoked, and what it had was sent."""
    while await replica.devices.shut_out() is None:
        told.calm.clear()
        await told.calm.wait()


class _Told:
    """What a live sync says: a line, or an object, for each change of its state."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._ways: dict[Direction, Progress] = {}
        self._said: tuple[str, str, tuple[Refusal, ...]] | None = None
        self._refused: tuple[Refusal, ...] = ()  # the last time that it was in sync
        self.worked = asyncio.Event()
        self.calm = asyncio.Event()  # it is in sync, again and again

    def hear(self, progress: Progress) -> None:
        """A direction has come further."""
        self._ways[progress.direction] = progress
        state, trouble = self._state()
        if state == IN_SYNC:
            self.worked.set()
            self.calm.set()
            self._refused = tuple(each for way in Direction for each in self._ways[way].refused)
        if state is None or (state, trouble, self._refused) == self._said:
            return
        self._said = state, trouble, self._refused
        text = f"Waiting: {printable(trouble)}" if trouble else "\n".join(["In sync.", *refused_lines(self._refused)])
        value = {"state": state, "trouble": trouble, "refused": refusals_as_json(self._refused)}
        show(Answer(value, text), as_json=self._as_json)

    def _state(self) -> tuple[str | None, str]:
        """What both directions come to; no state as long as they are only getting there."""
        trouble = next((one.trouble for one in self._ways.values() if one.trouble), "")
        if trouble:
            return WAITING, trouble
        idle = len(self._ways) == len(Direction) and all(one.phase is Phase.IDLE for one in self._ways.values())
        return (IN_SYNC if idle else None), ""


def as_json(report: SyncReport) -> dict[str, Any]:
    """The report of a sync for machines."""
    value: dict[str, Any] = {
        "pulled": report.pulled,
        "pushed": report.pushed,
        "merged": report.merged,
        "conflicts": report.conflicts,
        "refused": refusals_as_json(report.refused),
    }
    more = {"alarms": report.alarms, "withdrawn": report.withdrawn}
    return {**value, **{name: count for name, count in more.items() if count}}


def refusals_as_json(refused: Sequence[Refusal]) -> list[dict[str, Any]]:
    """What is refused, for machines."""
    return [{"id": one.id, "rev": one.rev, "error": one.error, "reason": one.reason} for one in refused]


def refused_lines(refused: Sequence[Refusal]) -> list[str]:
    """The same for people; nothing if there is none."""
    if not refused:
        return []
    rows = [[one.id, one.error, one.reason] for one in refused]
    return ["Refused, and tried again at the next sync:", table(["ID", "ERROR", "REASON"], rows)]


def _audited(audit: Audit) -> str:
    looked = f"The server was asked for {counted(audit.documents, 'document')}"
    if not audit.sent and not audit.refused:
        return f"{looked}, and gave them all."
    return f"{looked}; {audit.sent} that it did not have were sent again, {len(audit.refused)} it does not take."


def as_text(report: SyncReport) -> str:
    """The same for people."""
    lines = [f"{counted(report.pulled, 'document')} pulled, {report.pushed} pushed."]
    if report.lacks_index:
        lines.append(
            "This large database has no index, and was read whole. Its administrator can make one: " + _PROVISION
        )
    if report.conflicts:
        verb = "needs" if report.conflicts == 1 else "need"
        lines.append(f"{counted(report.conflicts, 'record')} {verb} a look: see icure-sync conflicts list.")
    if report.withdrawn:
        lines.append(f"{counted(report.withdrawn, 'record')} went from this device: your access was ended.")
    if report.alarms:
        lines.append(f"{counted(report.alarms, 'new alarm')}: see icure-sync doctor.")
    lines += refused_lines(report.refused)
    return "\n".join(lines)


def _progress(progress: Progress) -> str:
    verb = "pulling" if progress.direction is Direction.PULL else "pushing"
    return (
        f"{verb}: {progress.phase}, {progress.done} of {counted(progress.known, 'document')}, "
        f"{progress.size / MEGABYTE:.1f} MB, {progress.rate:.0f}/s"
    )
