"""`break-glass`: emergency access to a patient's records, by k of n people together. Knows no keys.

What cryptography enforces: fewer than k people, the server and whoever steals a share open nothing; whoever opens it
reads this patient's records, and no others; the owner shuts it again, and nothing written later can be read. What it
cannot: make k people leave the evidence, if they write a program of their own that does not; make a server deliver it;
show what was read; check the reason; take back what was read.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import time
from collections.abc import Sequence
from typing import Any

from icure_sync import Broken, CouchPeer, Glass, GlassOpened, Patient, Replica, break_glass
from icure_sync.app.codes import Given, given_shares
from icure_sync.app.home import in_replica
from icure_sync.app.output import Answer, counted, local_time, printable, table
from icure_sync.app.recovery import shares_text, shares_value
from icure_sync.app.restoring import require_room, restore_home
from icure_sync.app.source import named_server


def prepare(args: argparse.Namespace) -> Answer:
    """An emergency Hcp for a patient's records, its identity split among people."""

    async def work(replica: Replica) -> Answer:
        patient = await replica.get(Patient, args.patient)
        prepared = await replica.glass.prepare(patient, args.shares, args.threshold)
        shared = prepared.shared
        text = (
            f"{shares_text(prepared.shares)}\n\nAny {args.threshold} of them together open "
            f"{counted(shared.records, 'record')} of patient {patient.id}, once this device has synced, by\n"
            "icure-sync break-glass open. You will see that they did, who says so and why, and not what they read:\n"
            "people who agree to it can read without leaving that evidence, and what they read they may keep."
        )
        value = {**_as_json(prepared.glass, ()), **shares_value(prepared.shares)}
        return Answer(
            {**value, "shared": shared.records, "failed": list(shared.failed)}, _with_failed(text, shared.failed)
        )

    return in_replica(args, work)


def refresh(args: argparse.Namespace) -> Answer:
    """Share what has come since with the emergency Hcps; every sync does that first."""

    async def work(replica: Replica) -> Answer:
        shared = await replica.glass.refresh()
        text = f"{counted(shared.records, 'record')} shared with emergency Hcps."
        return Answer({"shared": shared.records, "failed": list(shared.failed)}, _with_failed(text, shared.failed))

    return in_replica(args, work)


def list_all(args: argparse.Namespace) -> Answer:
    """Which emergency accesses stand, and which were opened, by whom and why."""

    async def work(replica: Replica) -> Answer:
        glasses, openings = await replica.glass.standing(), await replica.glass.openings()
        items = [_as_json(glass, [one for one in openings if one.hcp == glass.hcp]) for glass in glasses]
        rows = [
            [glass.hcp, glass.patient, f"{glass.split.threshold} of {glass.split.count}", local_time(glass.made)]
            for glass in glasses
        ]
        lines = [table(["ID", "PATIENT", "SHARES", "MADE"], rows) if rows else "None stands."]
        lines += [_opening_line(one) for one in openings]
        return Answer({"items": items, "openings": [_opening(one) for one in openings]}, "\n".join(lines))

    return in_replica(args, work)


def withdraw(args: argparse.Namespace) -> Answer:
    """Shut an emergency access for good, and put out whoever opened it."""

    async def work(replica: Replica) -> Answer:
        glass = await replica.glass.withdraw(args.id)
        return Answer(
            {"id": glass.hcp, "patient": glass.patient},
            f"{glass.hcp} is withdrawn with the next sync: its shares open nothing, and whoever opened it before\n"
            f"reads nothing that is written from then on of patient {glass.patient}. What was read stays read.",
        )

    return in_replica(args, work)


def open_access(args: argparse.Namespace) -> Answer:
    """A home of the emergency Hcp on this device, once the evidence is on the server. Interrupted, it is run again, and
    leaves evidence again."""
    args.server = named_server(args)
    folder = require_room(args)
    given = given_shares(args)
    broken = asyncio.run(_broken(args, given))

    async def begin(replica: Replica) -> None:
        await replica.glass.begin(broken)

    restored = restore_home(args, folder, broken.identity, begin)
    glass = broken.glass
    return Answer(
        {
            "home": str(restored.home.folder),
            "hcpId": glass.hcp,
            "patient": glass.patient,
            "owner": glass.owner,
            "evidence": broken.opened.id,
            "pulled": restored.report.pulled,
        },
        f"{restored.home.folder} is a home for this emergency: icure-sync --home {restored.home.folder} patient show "
        f"{glass.patient}\n{glass.owner} learns at its next sync who opened it and why.",
    )


async def _broken(args: argparse.Namespace, given: Given) -> Broken:
    async with CouchPeer(args.server, ca=args.ca) as peer:
        return await break_glass(
            peer,
            given.secret,
            given.shares,
            by=args.by or getpass.getuser(),
            reason=args.reason,
            time=time.time_ns() // 1_000_000,
        )


def _as_json(glass: Glass, openings: Sequence[GlassOpened]) -> dict[str, Any]:
    return {
        "id": glass.hcp,
        "patient": glass.patient,
        "made": glass.made,
        "threshold": glass.split.threshold,
        "count": glass.split.count,
        "opened": len(openings),
    }


def _opening(opened: GlassOpened) -> dict[str, Any]:
    return {
        "id": opened.hcp,
        "by": opened.by,
        "reason": opened.reason,
        "time": opened.time,
        "shares": list(opened.shares),
        "evidence": opened.id,
    }


def _opening_line(opened: GlassOpened) -> str:
    shares = ", ".join(map(str, opened.shares))
    said = printable(f"{opened.by}: {opened.reason}")
    return f"{opened.hcp} was opened {local_time(opened.time)}, with shares {shares}, by their word by {said}"


def _with_failed(text: str, failed: Sequence[str]) -> str:
    return "\n".join([text, *(f"Not shared: {printable(each)}" for each in failed)])
