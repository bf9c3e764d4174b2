"""Six devices of three Hcps, servers that lie, kills, backups, wrong clocks: in the end all agree and nothing is lost.

The long profile of the same is scripts/merging; a world that fails is repeated by its seed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.lives import lived

WORLDS = 14
STEPS = 150


@pytest.mark.parametrize("seed", range(WORLDS))
async def test_a_world_that_becomes_quiet_agrees_has_lost_nothing_and_gave_nothing_away(tmp_path: Path, seed: int):
    await lived(tmp_path, seed, STEPS)
