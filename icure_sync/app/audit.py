"""`audit`: who did what on this device, and whether that record is whole. Knows no records."""

from __future__ import annotations

import argparse
from typing import Any

from icure_sync import Replica, TrailRow, TrailState, strict_json
from icure_sync.app.home import in_replica
from icure_sync.app.output import EXIT_FAILED, EXIT_OK, Answer, counted, local_time, table

HEAD = ("NO", "WHEN", "WHO", "DEVICE", "ACTION", "TYPE", "ID", "DETAIL")


def audit(args: argparse.Namespace) -> Answer:
    """The rows of the trail; with `--verify`, whether they are as they were written."""

    async def work(replica: Replica) -> Answer:
        if args.verify:
            return _verified(await replica.trail.verify())
        rows = [row async for row in replica.trail.rows(subject=args.of, action=args.action, since=args.since)]
        cells = [_cells(row) for row in rows]
        return Answer({"items": [_as_json(row) for row in rows]}, table(HEAD, cells) if cells else "None.")

    return in_replica(args, work)


def state_as_json(state: TrailState) -> dict[str, Any]:
    """Whether the trail is whole, for machines."""
    return {"rows": state.rows, "broken": state.broken, "why": state.why}


def state_text(state: TrailState) -> str:
    """The same for people, in a line."""
    rows = counted(state.rows, "row")
    if state.broken is None:
        return f"{rows}, as written"
    return f"broken: {state.why}; {rows} before that {'is' if state.rows == 1 else 'are'} as written"


def _verified(state: TrailState) -> Answer:
    code = EXIT_OK if state.broken is None else EXIT_FAILED
    return Answer(state_as_json(state), f"The audit trail: {state_text(state)}.", code)


def _cells(row: TrailRow) -> list[str]:
    detail = ", ".join(f"{name} {_text(value)}" for name, value in row.detail.items())
    return [str(row.number), local_time(row.time), row.hcp, row.device, row.action, row.type, row.subject, detail]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else strict_json.dumps(value).decode()


def _as_json(row: TrailRow) -> dict[str, Any]:
    return {
        "number": row.number,
        "time": row.time,
        "hcpId": row.hcp,
        "device": row.device,
        "action": row.action,
        "id": row.subject,
        "type": row.type,
        "under": row.under,
        "detail": dict(row.detail),
    }
