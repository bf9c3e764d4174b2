"""`demo`: sets the stage, plays the story, and says how one can go on. Knows no scene."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
import time
from datetime import datetime
from pathlib import Path

from icure_sync import Identity
from icure_sync.app.demo_report import Report
from icure_sync.app.demo_secrecy import search_the_files, search_the_records, search_the_server, show_a_document
from icure_sync.app.demo_stage import HUB_FOLDER, PASSPHRASE, USUAL_FOLDER, Device, Stage, open_stage
from icure_sync.app.demo_story import (
    A,
    B,
    C,
    Story,
    all_records,
    day_at_the_clinic,
    nothing_more,
    offline_evening,
    second_device,
    second_opinion,
    two_at_once,
)
from icure_sync.app.demo_words import ClearWords
from icure_sync.app.output import EXIT_FAILED, EXIT_OK, Answer

PARTIES = ((A, "Dr William Lambe"), (B, "Dr Robert Bree"), (C, "Dr James Clark"))


def demo(args: argparse.Namespace) -> Answer:
    """Play it all. The answer's code is 1 if a check failed."""
    if args.patients < 1:
        args.usage_error("--patients takes a number from 1 on")
    folder = (
        Path(args.folder) if args.folder else Path(USUAL_FOLDER) / datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    )
    folder = folder.absolute()
    report = Report(None if getattr(args, "json", False) else sys.stdout)
    started = time.perf_counter()
    going_on = asyncio.run(_play(folder, args.server, args.patients, report))
    failed = sum(not check.ok for check in report.checks)
    result = f"{failed} of {len(report.checks)} checks FAILED" if failed else f"All {len(report.checks)} checks hold"
    text = "\n".join(
        [
            "",
            f"{result}, in {time.perf_counter() - started:.0f} s.",
            *(f"  {count:>9,}  {name}" for name, count in report.counts.items()),
            *(f"  {rate:>9,.0f}  {name} per second" for name, rate in report.rates.items()),
            "",
            going_on,
        ]
    )
    return Answer(report.value(str(folder)), text, EXIT_OK if report.ok else EXIT_FAILED)


async def _play(folder: Path, server: str | None, patients: int, report: Report) -> str:
    """All scenes. Returns what is said in the end."""
    async with open_stage(folder, server) as stage:
        story = await _cast(stage, report)
        chart = await offline_evening(story)
        await second_device(story, chart)
        await second_opinion(story, chart)
        await nothing_more(story, chart)
        await day_at_the_clinic(story, patients)
        search_the_records(report, story.words, await all_records(story.laptop))
        await two_at_once(story, chart)
        report.scene("7  What the server knows")
        await show_a_document(stage, report, chart.john)
        await search_the_server(stage, report, story.words)
        await search_the_files(stage, report, story.words)
        return _going_on(stage)


async def _cast(stage: Stage, report: Report) -> Story:
    """Three healthcare parties with their keys, four devices with their homes."""
    report.scene("The cast")
    where = "a hub of its own" if stage.hub else "the server that was named"
    report.tell(f"Homes are made in {stage.folder}; syncing goes through {where}.")
    report.tell("Making keys for three healthcare parties, and encrypted replicas for four devices ...")
    identities = await asyncio.gather(
        *(asyncio.to_thread(Identity.create, hcp_id=hcp_id, name=name) for hcp_id, name in PARTIES)
    )
    laptop, phone, bree, clark = [
        await _enter(stage, report, name, identity)
        for name, identity in zip(("a-laptop", "a-phone", "b", "c"), (identities[0], *identities), strict=True)
    ]
    return Story(laptop, phone, bree, clark, report, ClearWords())


async def _enter(stage: Stage, report: Report, name: str, identity: Identity) -> Device:
    device = await stage.device(name, identity)
    report.tell(f"  {name:9} {identity.name}")
    return device


def _going_on(stage: Stage) -> str:
    """The ordinary commands that go on from here."""
    laptop = f"icure-sync --home {shlex.quote(str(stage.folder / 'a-laptop'))}"
    hub_data = shlex.quote(str(stage.folder / HUB_FOLDER))
    lines = [
        f"The homes are in {stage.folder}. Go on with them:",
        "",
        f'  export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"',
        f"  export ICURE_SYNC_PASSPHRASE={shlex.quote(PASSPHRASE)}",
        f"  {laptop} patient list",
        f"  {laptop} search consumption",
        f"  {laptop} conflicts list",
    ]
    if stage.hub is not None:
        lines.append(f"  icure-sync hub --listen 127.0.0.1:{stage.hub.port} --data {hub_data} &")
    lines.append(f"  {laptop} sync")
    return "\n".join(lines)
