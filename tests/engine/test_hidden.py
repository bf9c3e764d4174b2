"""What a server put on the last edit of somebody who was put out meanwhile: it is neither lost nor taken in unasked."""

from __future__ import annotations

import json

import pytest

from icure_sync.engine.reconciling import PATIENCE_MS
from icure_sync.engine.replica import Replica
from icure_sync.ids import Rev
from icure_sync.model import Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Revision
from tests.replicas import rev

NOW = 1_800_000_000_000


async def body_of(replica: Replica, doc_id: str, wanted: Rev) -> bytes | None:
    held = await replica._store.run(replica._store.documents.get, doc_id, wanted)
    return held.body if held else None


async def live(replica: Replica, doc_id: str) -> set[str]:
    leaves = await replica._store.run(replica._store.documents.leaves, doc_id)
    return {each.rev for each in leaves if not each.deleted}


@pytest.mark.parametrize("is_retirement", [True, False])
async def test_a_tombstone_on_a_leaf_by_somebody_who_is_out_drops_nothing_and_brings_nothing_back(
    open_replica, is_retirement: bool
):
    server, time = MemoryPeer("clinic"), [NOW]
    laptop, phone, b = [
        await open_replica(hcp_id, name, clock=lambda: time[0])
        for hcp_id, name in (("hcp-a", "laptop"), ("hcp-a", "phone"), ("hcp-b", "laptop"))
    ]
    john = await laptop.save(Patient(first_name="John"))
    for replica in (laptop, phone, b, laptop):
        await replica.sync(server)
    await laptop.share(john, with_="hcp-b")
    for replica in (laptop, phone, b):
        await replica.sync(server)
    edited = await b.save((await b.get(Patient, john.id)).replace(note="by B"))
    await b.push(server)
    await laptop.pull(server)
    assert (await laptop.get(Patient, john.id)).note == "by B"
    ended = await phone.revoke(await phone.get(Patient, john.id), from_="hcp-b")
    await phone.push(server)
    await laptop.sync(server)
    assert await live(laptop, john.id) == {edited.rev, ended.rev}
    [genuine] = await server.fetch({john.id: [edited.rev]})
    forged = {"retired": True, "parents": [edited.rev]} if is_retirement else {}
    server.put(Revision(john.id, (rev(4, 1), *genuine.history), json.dumps(forged).encode(), deleted=True))
    await laptop.sync(server)
    time[0] += 2 * PATIENCE_MS
    await laptop.sync(server)
    assert (await laptop.get(Patient, john.id)).note is None
    assert await live(laptop, john.id) == {ended.rev}
    assert await body_of(laptop, john.id, edited.rev) == genuine.body
