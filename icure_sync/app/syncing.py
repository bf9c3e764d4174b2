"""`sync`: exchanges everything new with the server, and remembers which server that was. Knows no records."""

from __future__ import annotations

import argparse
from typing import Any

from icure_sync import CouchPeer, Direction, Progress, Replica, SyncReport
from icure_sync.app.home import SERVER_SETTING, in_replica
from icure_sync.app.output import Answer, ProgressLine, counted, table
from icure_sync.errors import InvalidEntity

MEGABYTE = 1_000_000


def sync(args: argparse.Namespace) -> Answer:
    """Pull, then push. `--server` is remembered once it has worked."""

    async def work(replica: Replica) -> Answer:
        known = await replica.setting(SERVER_SETTING)
        server: str | None = args.server or known
        if server is None:
            raise InvalidEntity(
                "sync", "no server is known", "name one: --server http://user:password@host:5984/database"
            )
        line = ProgressLine(wanted=not getattr(args, "json", False))
        try:
            async with CouchPeer(server) as peer:
                report = await replica.sync(peer, progress=lambda progress: line.show(_progress(progress)))
        finally:
            line.clear()
        if server != known:
            await replica.keep_setting(SERVER_SETTING, server)
        return Answer(as_json(report), _text(report))

    return in_replica(args, work)


def as_json(report: SyncReport) -> dict[str, Any]:
    """The report of a sync for machines."""
    return {
        "pulled": report.pulled,
        "pushed": report.pushed,
        "merged": report.merged,
        "conflicts": report.conflicts,
        "refused": [
            {"id": refusal.id, "rev": refusal.rev, "error": refusal.error, "reason": refusal.reason}
            for refusal in report.refused
        ],
    }


def _text(report: SyncReport) -> str:
    lines = [f"{counted(report.pulled, 'document')} pulled, {report.pushed} pushed."]
    if report.conflicts:
        verb = "has" if report.conflicts == 1 else "have"
        lines.append(f"{counted(report.conflicts, 'record')} {verb} several versions: see icure-sync conflicts list.")
    if report.refused:
        lines.append("Refused, and tried again at the next sync:")
        lines.append(table(["ID", "ERROR", "REASON"], [[one.id, one.error, one.reason] for one in report.refused]))
    return "\n".join(lines)


def _progress(progress: Progress) -> str:
    verb = "pulling" if progress.direction is Direction.PULL else "pushing"
    return (
        f"{verb}: {progress.phase}, {progress.done} of {counted(progress.known, 'document')}, "
        f"{progress.size / MEGABYTE:.1f} MB, {progress.rate:.0f}/s"
    )
