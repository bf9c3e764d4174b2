"""Parts for tests of replication: revisions, edits, kills, and a clock that never waits."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Any

from icure_sync.engine.clock import Clock
from icure_sync.ids import DocId, Rev
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Revision
from icure_sync.testing.revisions import digest, rev, revision

__all__ = ["digest", "edit", "killed", "rev", "revision", "seeded_entropy", "still_clock"]


def edit(peer: MemoryPeer, doc_id: str, mark: int, *, deleted: bool = False, parent: Rev | None = None) -> Rev:
    """A write as a device makes it: under the winner, or under `parent`."""
    tree = peer.tree(DocId(doc_id))
    above = tree.history(parent or tree.winner().rev) if tree else ()
    new = rev(len(above) + 1, mark)
    peer.put(Revision(DocId(doc_id), (new, *above), b'{"mark":%d}' % mark, deleted))
    return new


def still_clock() -> Clock:
    """Time that passes a little with every look, and sleep that takes none."""
    moment = 1_700_000_000.0

    def now() -> float:
        nonlocal moment
        moment += 0.01
        return moment

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    return Clock(now, now, sleep)


async def killed(replication: Coroutine[Any, Any, object], turns: int) -> bool:
    """A kill: the task goes no further at its n-th turn of the loop; what the peers had done by then stays done.

    True if it was finished by then.
    """
    task = asyncio.ensure_future(replication)
    for _ in range(turns):
        await asyncio.sleep(0)
    finished = task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a task outlived its replication"
    return finished


def seeded_entropy(seed: int = 1) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes
