"""Many devices of a few Hcps edit one record offline, then all sync with one server in random order."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from icure_sync.crypto.devices import DEVICE_TYPE
from icure_sync.engine.reconciling import PATIENCE_MS
from icure_sync.ids import DocId
from icure_sync.model import Patient
from tests.keys import A
from tests.simulation.clinic import Clinic
from tests.simulation.quiet import leaves
from tests.simulation.steps import shown

MOST_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Storm:
    """`merges`: distinct revisions with several parents that were written anywhere; `tombstones`: of all kinds.

    `rounds`: of syncs of every device until nothing changed, the last one, which changed nothing, not counted.
    `live`: leaves in the end. `kept`: edits that are shown or among the alternatives. `alike`: whether every device
    shows the same.
    """

    devices: int
    merges: int
    tombstones: int
    rounds: int
    live: int
    kept: int
    alike: bool


async def storm(folder: Path, devices: int, seed: int, *, early: int = 0) -> Storm:
    """Every device writes a value of its own into one of two fields. `early`: how many push before anybody pulls."""
    clinic = Clinic(folder, seed, servers=1, devices=devices)
    try:
        return await _storm(clinic, random.Random(seed), early)
    finally:
        clinic.close()


async def _storm(clinic: Clinic, chance: random.Random, early: int) -> Storm:
    await clinic.open()
    first, server = clinic.devices[0], clinic.servers[0]
    john = await first.replica.save(Patient(first_name="John"))
    for hcp in sorted({device.hcp for device in clinic.devices} - {A}):
        john = await first.replica.share(john, with_=hcp)
    for device in clinic.devices:
        await device.replica.sync(server)
    written = set(clinic.written)
    for number, device in enumerate(clinic.devices):
        place = chance.choice(["note", "last_name"])
        await device.replica.save((await device.replica.get(Patient, john.id)).replace(**{place: f"v{number}"}))
    for device in clinic.devices[:early]:
        await device.replica.push(server)
    rounds, before = -1, None
    while (after := [await device.run(leaves, device) for device in clinic.devices]) != before:
        before = after
        rounds += 1
        assert rounds <= MOST_ROUNDS, "merges chase one another"
        for device in chance.sample(clinic.devices, len(clinic.devices)):
            await clinic.sync(device, server)
            clinic.now += PATIENCE_MS // 10_000
    bodies = [json.loads(clinic.written[each]) for each in clinic.written.keys() - written]
    seen = [await shown(device, john.id) for device in clinic.devices]
    values = [*seen[0].alternatives.get("note", ()), *seen[0].alternatives.get("last_name", ())]
    return Storm(
        devices=len(clinic.devices),
        merges=sum("encryptedSelf" in each and len(each["parents"]) > 1 for each in bodies),
        tombstones=sum("encryptedSelf" not in each and each["type"] != DEVICE_TYPE for each in bodies),
        rounds=rounds,
        live=sum(not leaf.deleted for leaf in server.tree(DocId(john.id)).leaves()),
        kept=len({*values, seen[0].note, seen[0].last_name}),
        alike=all(each == seen[0] for each in seen),
    )
