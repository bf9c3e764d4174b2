"""SIGKILL at random moments of saves and syncs with a hub: no save that had returned is lost, here or there."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import aiohttp

from icure_sync.engine.replica import replica_over
from icure_sync.hub import Hub
from icure_sync.model import Patient
from icure_sync.peers.couch import CouchPeer
from icure_sync.store import Store
from tests.engine.devices import KEY

KILLS = 200
LONGEST = 0.12  # seconds from the fork to the kill: long enough for some saves and a sync, on a machine at leisure
GENERATION = 20  # lives after which they get longer, if none was long enough for a sync
ADMIN = ("admin", "test-only")


async def _lives(nursery: asyncio.subprocess.Process, order: str) -> list[list[str]]:
    """What a device said had returned, before it was killed."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(order.encode())
    said: list[list[str]] = []
    while line := await nursery.stdout.readline():
        words = line.decode().split()
        if words == ["killed"]:
            return said
        assert words[0] in ("saved", "synced"), words
        said.append(words)
    raise AssertionError("the nursery has ended")


async def test_no_save_that_had_returned_is_lost_when_devices_are_killed(tmp_path, identities):
    chance = random.Random(7)
    (tmp_path / "identity").write_bytes(identities["hcp-a"].lock("test only"))
    paths = [tmp_path / "laptop.db", tmp_path / "phone.db"]
    returned: dict[str, str] = {}
    events: dict[str, int] = {}
    async with Hub(tmp_path / "hub", admin=ADMIN) as hub:
        url = hub.url.replace("//", f"//{ADMIN[0]}:{ADMIN[1]}@") + "/clinic"
        async with aiohttp.ClientSession() as session, session.put(url) as answer:
            assert answer.status == 201
        nursery = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.engine.devices"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        longest = LONGEST
        for seed in range(KILLS):
            path = paths[seed % 2]
            if seed % GENERATION == 0 and seed and "synced" not in events:
                longest *= 2
            order = f"{path} {tmp_path / 'identity'} {url} {seed} {chance.uniform(0.0, longest)}\n"
            for words in await _lives(nursery, order):
                events[words[0]] = events.get(words[0], 0) + 1
                if words[0] == "saved":
                    returned[words[1]] = words[2]
            if seed % 10 >= 8:
                store = Store.open(path, KEY)
                assert store.check() == []
                store.close()
        assert nursery.stdin is not None
        nursery.stdin.close()
        await nursery.wait()
        assert events.keys() == {"saved", "synced"}, events
        await _agree(paths, url, identities["hcp-a"], returned)


async def _agree(paths, url, identity, returned):
    """After a last sync both devices show every save that had returned, and hold the same leaves."""
    stores = [Store.open(path, KEY) for path in paths]
    try:
        replicas = [await store.run(replica_over, store, identity) for store in stores]
        for replica in (*replicas, *replicas):
            await replica.sync(CouchPeer(url))
        held = []
        for store, replica in zip(stores, replicas, strict=True):
            assert store.check() == []
            for doc_id, rev in returned.items():
                assert rev in store.documents.tree(doc_id)
                await replica.get(Patient, doc_id)
            held.append({change.id: change.leaves for change in store.documents.changes(0, -1)})
        assert held[0] == held[1]
    finally:
        for store in stores:
            store.close()
