"""SIGKILL in the middle of a revision with several files: a file that had come is not asked for again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from icure_sync.engine.local_peer import LocalPeer
from icure_sync.store import Store
from tests.engine.fetchers import FILES, KEY, SEVERAL, Speaking
from tests.nurseries import Nursery, nursery_of

LIVES = 60
LONGEST = 0.05  # seconds of one life: a few files come in that, on a machine at leisure


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    with nursery_of("tests.engine.fetchers") as opened:
        yield opened


def live_once(nursery: Nursery, path: Path, delay: float) -> list[str]:
    """What a device asked for before it was killed; "whole" at the end if it was done."""
    return [words[-1] for words in nursery.raised(path, delay)]


async def test_a_file_that_had_come_is_not_fetched_again_after_a_kill(
    nursery: Nursery, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    chance = random.Random(3)
    fetched = interrupted = 0
    longest = LONGEST
    for number in range(LIVES // 4):
        path = tmp_path / f"device-{number}.db"
        here: set[str] = set()
        for _ in range(4):
            asked = live_once(nursery, path, chance.uniform(0.0, longest))
            assert here.isdisjoint(asked), (here, asked)
            here.update(asked[:-1])  # the next one was asked for, so these had come
            interrupted += bool(asked) and asked[-1] != "whole"
        store = Store.open(path, KEY)
        source = Speaking()
        source.put(SEVERAL, FILES)
        assert await LocalPeer(store).write([SEVERAL], source) == []
        last = {line.split()[-1] for line in capfd.readouterr().out.splitlines()}
        assert here.isdisjoint(last)
        fetched += len(here)
        if not fetched:  # a busy machine: no life was long enough
            longest *= 2
        assert store.check() == []
        for name, content in FILES.items():
            pieces = LocalPeer(store).attachment(SEVERAL.id, SEVERAL.rev, name)
            assert b"".join([piece async for piece in pieces]) == content
        store.close()
    assert fetched
    assert interrupted
