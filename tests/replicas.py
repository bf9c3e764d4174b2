"""Parts for tests of replication: revisions, edits, and a clock that never waits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from icure_sync.engine.clock import Clock
from icure_sync.ids import DocId, Rev
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Revision
from icure_sync.testing.revisions import digest, rev, revision

__all__ = ["digest", "edit", "rev", "revision", "seeded_entropy", "still_clock"]


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


def seeded_entropy(seed: int = 1) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes
