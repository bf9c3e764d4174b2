"""`status`: what the replica holds, and how it stands with its server. Knows no records."""

from __future__ import annotations

import argparse
from typing import Any

from icure_sync import Replica, Status, parse_address
from icure_sync.app.home import SERVER_SETTING, in_replica
from icure_sync.app.output import Answer, fields, local_time
from icure_sync.app.syncing import refusals_as_json


def status(args: argparse.Namespace) -> Answer:
    """Counts, and what needs attention."""

    async def work(replica: Replica) -> Answer:
        server: str | None = await replica.setting(SERVER_SETTING)
        found = await replica.status()
        return _answer(found, None if server is None else str(parse_address(server)))

    return in_replica(args, work)


def _answer(status: Status, server: str | None) -> Answer:
    value: dict[str, Any] = {
        "hcpId": status.hcp_id,
        "device": status.device,
        "suites": list(status.suites),
        "server": server,
        "lastSync": status.last_sync,
        "documents": dict(status.documents),
        "unsent": status.unsent,
        "conflicts": status.conflicts,
        "alarms": status.alarms,
        "refused": refusals_as_json(status.refused),
        "unreadable": dict(status.unreadable),
        "untrusted": dict(status.untrusted),
    }
    lines = {
        "Hcp": str(status.hcp_id),
        "device": status.device,
        "server": server or "none yet: icure-sync sync --server URL",
        "last sync": "never" if status.last_sync is None else local_time(status.last_sync),
        "documents": ", ".join(f"{count} {name}" for name, count in sorted(status.documents.items())) or "none",
        "not sent yet": str(status.unsent) + (", besides what is refused" if status.refused else ""),
    }
    if status.conflicts:
        lines["conflicts"] = f"{status.conflicts}: see icure-sync conflicts list"
    if status.alarms:
        lines["alarms"] = f"{status.alarms}: see icure-sync doctor"
    lines |= {f"refused {one.id}": f"{one.error}: {one.reason}; tried again at the next sync" for one in status.refused}
    lines |= {f"unreadable {doc_id}": why for doc_id, why in status.unreadable.items()}
    lines |= {f"untrusted {hcp_id}": why for hcp_id, why in status.untrusted.items()}
    return Answer(value, fields(lines))
