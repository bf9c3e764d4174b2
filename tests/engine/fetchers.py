"""Devices that are killed while a revision with several files comes: a process that forks one per line of input.

Run as `python -m tests.engine.fetchers`; each line is `PATH SECONDS`. A device says on standard output which file it
asks for, `asked NAME`, and when the revision is there, `whole`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from icure_sync.engine.local_peer import LocalPeer
from icure_sync.ids import DocId, Rev
from icure_sync.peers.memory import MemoryPeer
from icure_sync.store import Store
from tests.replicas import rev, revision

KEY = bytes(range(32))  # test only
FILES = {f"file-{number}": f"{number}".encode() * (40_000 * number) for number in range(1, 13)}
SEVERAL = revision("scans", rev(1, 1), files=FILES)


class Speaking(MemoryPeer):
    """A source that says what it is asked for."""

    async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:
        say("asked", name)
        async for piece in super().attachment(doc_id, rev, name):
            yield piece


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def fetch(path: Path) -> None:
    source = Speaking()
    source.put(SEVERAL, FILES)
    store = Store.open(path, KEY)
    assert await LocalPeer(store).write([SEVERAL], source) == []
    say("whole")


def main() -> None:
    for line in sys.stdin:
        path, delay = line.split()
        device = os.fork()
        if device == 0:
            try:
                asyncio.run(fetch(Path(path)))
            finally:
                os._exit(1)
        time.sleep(float(delay))
        os.kill(device, signal.SIGKILL)
        os.waitpid(device, 0)
        say("gone")


if __name__ == "__main__":
    main()
