"""A storm: many devices edit one record offline, then sync in random order. No merge chases another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.storm import storm

DEVICES = 12


@pytest.mark.parametrize("seed", range(2))
async def test_devices_that_come_one_after_the_other_write_one_merge_each_at_most(tmp_path: Path, seed: int):
    come = await storm(tmp_path, DEVICES, seed)
    assert come.merges <= DEVICES - 1
    assert come.tombstones <= DEVICES - 1
    assert come.rounds <= 2
    assert (come.live, come.kept, come.alike) == (1, DEVICES, True)


async def test_what_all_have_sent_before_is_merged_in_one_step(tmp_path: Path):
    come = await storm(tmp_path, DEVICES, 1, early=DEVICES)
    assert come.merges == 1
    assert come.tombstones == DEVICES - 1
    assert come.rounds <= 2
    assert (come.live, come.kept, come.alike) == (1, DEVICES, True)
