"""Fault 12: 1 KB/s, 2 s latency, jitter: progress, and shown. Here both are a hundred times faster.

No limit is set to the whole of an answer, only to silence: whatever comes slowly, comes.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from icure_sync.engine.progress import Phase, Progress
from icure_sync.engine.sync import replicate
from icure_sync.testing import Fault, to
from tests.faults.lines import PULL, PUSH, Line, documents, give, leaves
from tests.replicas import rev, revision, seeded_entropy

SLOW = Fault(rate=100_000, latency=0.02, jitter=0.02)


@pytest.mark.parametrize("way", ["pull", "push"])
async def test_a_slow_line_makes_progress_and_shows_it(line: Line, way: str):
    source, target, plan = (line.peer, line.device, PULL) if way == "pull" else (line.device, line.peer, PUSH)
    await give(line.direct if way == "pull" else line.device, documents("doc", 150))
    held = await leaves(line.direct) | await leaves(line.device)
    rule = line.proxy.inject(SLOW)
    told: list[Progress] = []
    await replicate(source, target, plan, report=told.append, clock=line.clock, entropy=seeded_entropy(99))
    assert rule.applied >= 10
    done = [each.done for each in told if each.phase is Phase.TRANSFERRING]
    assert all(earlier <= later for earlier, later in pairwise(done))
    assert len(set(done)) >= 3, "the first documents move before everything was read"
    assert told[-1].done == 150
    await line.agree(held)


async def test_an_answer_may_take_longer_than_silence_may(line: Line):
    await give(line.direct, [revision("long", rev(1, 1), body=b'{"x":"' + b"y" * 30_000 + b'"}')])
    held = await leaves(line.direct)
    line.proxy.inject(Fault(rate=40_000), to("POST", "/_bulk_get"))  # most of a second, silence may last half of one
    outcome = await line.pull(line.hasty)
    assert (outcome.documents, outcome.refused) == (1, ())
    await line.agree(held)
