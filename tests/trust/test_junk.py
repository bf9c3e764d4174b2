"""Documents of every kind with any value anywhere: a device takes them all in, names what is wrong, and loses nothing.

More of them, for as long as one likes: scripts/trust.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trust.junk import junk_round

ROUNDS, EACH = 4, 40


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_junk_of_every_kind_is_taken_in_and_takes_nothing_away(tmp_path: Path, seed: int):
    await junk_round(tmp_path, seed, EACH)
