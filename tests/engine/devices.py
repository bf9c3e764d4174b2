"""Devices that are killed: a process that forks one per line of input, so that starting costs little.

Run as `python -m tests.engine.devices`; each line is `PATH IDENTITY_FILE URL SEED SECONDS`. A device saves and syncs
for so long, then it is killed; it says on standard output what has returned: `saved ID REV`, `synced`.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

from icure_sync.crypto.identity import Identity
from icure_sync.engine.replica import replica_over
from icure_sync.errors import PeerError
from icure_sync.model import Patient
from icure_sync.peers.couch import CouchPeer
from icure_sync.store import Store

KEY = bytes(range(32))  # test only


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def live(path: Path, identity: Identity, url: str, seed: int) -> None:
    chance = random.Random(seed)
    store = Store.open(path, KEY)
    replica = await store.run(replica_over, store, identity)
    while True:
        if chance.random() < 0.25:
            try:
                await replica.sync(CouchPeer(url))
            except PeerError as error:
                say("failed", type(error).__name__)
            else:
                say("synced")
        else:
            saved = await replica.save(Patient(first_name=f"P{seed}", note="x" * chance.randrange(2000)))
            if chance.random() < 0.5:
                saved = await replica.save(saved.replace(note="edited"))
            say("saved", saved.id, saved.rev)


def main() -> None:
    identities: dict[str, Identity] = {}
    for line in sys.stdin:
        path, identity_file, url, seed, delay = line.split()
        if identity_file not in identities:
            identities[identity_file] = Identity.unlock(Path(identity_file).read_bytes(), "test only")
        device = os.fork()
        if device == 0:
            try:
                asyncio.run(live(Path(path), identities[identity_file], url, int(seed)))
            finally:
                os._exit(1)  # a device lives until it is killed
        time.sleep(float(delay))
        os.kill(device, signal.SIGKILL)
        _, status = os.waitpid(device, 0)
        say("killed" if os.WIFSIGNALED(status) else "died")


if __name__ == "__main__":
    main()
