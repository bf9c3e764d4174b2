"""One world from its beginning to its proof."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.simulation.clinic import Clinic, in_world
from tests.simulation.proof import check
from tests.simulation.quiet import calm
from tests.simulation.steps import take


@dataclass(frozen=True, slots=True)
class Life:
    """`merged`: merges that were written; `rounds`: of syncs of everybody until nothing changed any more."""

    seed: int
    steps: int
    merged: int
    rounds: int


async def lived(folder: Path, seed: int, steps: int) -> Life:
    """Raises AssertionError with the first thing that is not as it must be."""
    rounds = 0

    async def scenario(clinic: Clinic) -> None:
        nonlocal rounds
        for _ in range(steps):
            await take(clinic)
        rounds = await calm(clinic)
        await check(clinic)

    clinic = await in_world(folder, seed, scenario)
    return Life(seed, steps, clinic.merged, rounds)
