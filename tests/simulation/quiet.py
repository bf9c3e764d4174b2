"""Everybody meets everybody until nothing changes any more."""

from __future__ import annotations

from typing import Any

from icure_sync.engine.reconciling import PATIENCE_MS
from tests.simulation.clinic import Clinic, Device

MOST_ROUNDS = 16  # of syncs of every device with every other side, before it is said that they chase one another


async def calm(clinic: Clinic) -> int:
    """Sync until quiet, at once and again after merges that are left to others are due. Returns the rounds it took."""
    rounds = await _until_quiet(clinic)
    clinic.now += 2 * PATIENCE_MS
    return rounds + await _until_quiet(clinic)


async def _until_quiet(clinic: Clinic) -> int:
    before: Any = None
    for rounds in range(MOST_ROUNDS):
        after = await _leaves(clinic)
        if after == before:
            return rounds
        before = after
        await _round(clinic)
    raise AssertionError(f"not quiet after {MOST_ROUNDS} rounds")


async def _round(clinic: Clinic) -> None:
    order = list(clinic.devices)
    clinic.chance.shuffle(order)
    for device in order:
        for server in clinic.servers:
            await clinic.sync(device, server)
    for device in order:
        if neighbours := clinic.neighbours(device):
            await clinic.sync(device, clinic.chance.choice(neighbours).peer)


async def _leaves(clinic: Clinic) -> Any:
    held = [server.all_leaves() for server in clinic.servers]
    return held, [await device.run(leaves, device) for device in clinic.devices]


def leaves(device: Device) -> dict[str, Any]:
    """All leaves that a device has, of every document. In the thread of its store."""
    assert device.store is not None
    documents = device.store.documents
    return {change.id: change.leaves for change in sorted(documents.changes(limit=-1), key=lambda each: each.id)}
