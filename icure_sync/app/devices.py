"""`device list` and `device name`: which devices an Hcp has. Knows no keys."""

from __future__ import annotations

import argparse
from typing import Any

from icure_sync import Device, Replica
from icure_sync.app.home import in_replica
from icure_sync.app.output import Answer, local_time, table

HEAD = ("ID", "NAME", "SINCE", "WRITTEN", "LAST HEARD OF", "BEHIND ON")


def list_all(args: argparse.Namespace) -> Answer:
    """The devices that have synced, and this one, as far as this one has heard of them."""

    async def work(replica: Replica) -> Answer:
        devices = await replica.devices.all()
        return Answer({"items": [_as_json(each) for each in devices]}, table(HEAD, [_cells(each) for each in devices]))

    return in_replica(args, work)


def name(args: argparse.Namespace) -> Answer:
    """Call this device something."""

    async def work(replica: Replica) -> Answer:
        await replica.devices.rename(args.text)
        this = (await replica.devices.all())[0]
        text = f"This device is called {this.name}. The others hear it after the next sync."
        return Answer({"id": this.id, "name": this.name}, text)

    return in_replica(args, work)


def _cells(device: Device) -> list[str]:
    since = "" if device.added is None else local_time(device.added)
    seen = "now" if device.is_this else local_time(device.seen or 0)
    marks = [mark for mark, holds in (("this one", device.is_this), ("revoked", device.is_revoked)) if holds]
    called = f"{device.name} ({', '.join(marks)})".lstrip() if marks else device.name
    return [device.id, called, since, str(device.written), seen, ", ".join(device.behind)]


def _as_json(device: Device) -> dict[str, Any]:
    return {
        "id": device.id,
        "hcpId": device.hcp,
        "name": device.name,
        "this": device.is_this,
        "revoked": device.is_revoked,
        "since": device.added,
        "written": device.written,
        "lastHeardOf": device.seen,
        "behindOn": list(device.behind),
    }
