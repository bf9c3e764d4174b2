"""`doctor`: checks the home, and says in plain words what a person should see to. Knows no records."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from icure_sync import Alarm, Replica, TrailState
from icure_sync.app.audit import state_as_json, state_text
from icure_sync.app.home import in_replica
from icure_sync.app.output import EXIT_FAILED, EXIT_OK, Answer, counted, local_time, printable


def doctor(args: argparse.Namespace) -> Answer:
    """The file, the trail and the alarms. The exit code is 1 if anything is wrong."""

    async def work(replica: Replica) -> Answer:
        if args.dismiss:
            return await _dismissed(replica, args.dismiss)
        problems = await replica.check()
        trail = await replica.trail.verify()
        await replica.alarms.look()
        return _answer(problems, trail, await replica.alarms.all())

    return in_replica(args, work)


async def _dismissed(replica: Replica, numbers: Sequence[int]) -> Answer:
    for number in numbers:
        await replica.alarms.dismiss(number)
    listed = ", ".join(map(str, numbers))
    return Answer({"dismissed": list(numbers)}, f"{'Alarms' if len(numbers) > 1 else 'Alarm'} {listed} dismissed.")


def _answer(problems: Sequence[str], trail: TrailState, alarms: Sequence[Alarm]) -> Answer:
    standing = [alarm for alarm in alarms if alarm.dismissed is None]
    is_well = not problems and trail.broken is None and not standing
    value = {
        "ok": is_well,
        "file": list(problems),
        "trail": state_as_json(trail),
        "alarms": [_as_json(alarm) for alarm in alarms],
    }
    lines = [f"The file is {'damaged' if problems else 'sound'}.", *(f"  {printable(line)}" for line in problems)]
    if problems:
        lines.append("  Put back a copy of the home, or make a new one and pull everything from the server.")
    lines.append(f"The audit trail: {state_text(trail)}.")
    if trail.broken is not None:
        lines.append(
            "  Somebody who knows the passphrase changed it, or an old copy of a part of the file was put back."
        )
    lines.append(f"{counted(len(standing), 'alarm') if standing else 'No alarms'}{_also(len(alarms) - len(standing))}.")
    for alarm in standing:
        lines += ["", *_page(alarm)]
    return Answer(value, "\n".join(lines), EXIT_OK if is_well else EXIT_FAILED)


def _also(dismissed: int) -> str:
    return f", besides {dismissed} dismissed" if dismissed else ""


def _page(alarm: Alarm) -> list[str]:
    """What happened, when, and what to do about it."""
    again = "" if alarm.last == alarm.first else f", last {local_time(alarm.last)}"
    lines = [
        f"{alarm.number}  {alarm.what}.",
        f"   {alarm.why} ({local_time(alarm.first)}{again}).",
        f"   What to do: {alarm.advice}. Then: icure-sync doctor --dismiss {alarm.number}",
    ]
    return [printable(line) for line in lines]


def _as_json(alarm: Alarm) -> dict[str, Any]:
    return {
        "number": alarm.number,
        "kind": alarm.kind,
        "subject": alarm.subject,
        "what": alarm.what,
        "why": alarm.why,
        "advice": alarm.advice,
        "first": alarm.first,
        "last": alarm.last,
        "dismissed": alarm.dismissed,
    }
