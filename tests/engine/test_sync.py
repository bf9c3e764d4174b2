"""A replication of real parts: an encrypted store on one side, another peer or a server on the other."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from icure_sync.engine.attempt import Outcome
from icure_sync.engine.local_peer import LocalPeer
from icure_sync.engine.plan import Plan
from icure_sync.engine.progress import Phase, Progress
from icure_sync.engine.sync import replicate
from icure_sync.hub import Hub
from icure_sync.ids import DocId, HcpId
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer
from icure_sync.replication.checkpoint import START, Direction
from icure_sync.replication.filters import device_selector
from icure_sync.replication.wire import Revision
from icure_sync.store import Store
from icure_sync.testing import FaultyPeer
from tests.replicas import rev, revision
from tests.servers import REAL_SERVERS, fresh_database

PULL = Plan("device-1", "hcp-a", Direction.PULL)
PUSH = Plan("device-1", "hcp-a", Direction.PUSH)
OWN = Plan("device-1", "hcp-a", Direction.PULL, device_selector(HcpId("hcp-a")))

PAIRS = ["memory-memory", "store-memory", "store-store", "store-hub", *(f"store-{kind}" for kind in REAL_SERVERS)]
ADMIN = ("admin", "hub-pw-1")


@dataclass
class Pair:
    """`device`: the side that owns the replication; `remote`: the other one, with a note of every call."""

    device: Peer
    remote: FaultyPeer

    async def pull(self, plan: Plan = PULL) -> Outcome:
        return await replicate(self.remote, self.device, plan)

    async def push(self) -> Outcome:
        return await replicate(self.device, self.remote, PUSH)

    async def sync(self) -> None:
        await self.pull()
        await self.push()


@pytest.fixture(params=PAIRS)
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    kinds = request.param.split("-")
    async with AsyncExitStack() as stack:
        sides = [await make(kind, name, stack, tmp_path, request) for name, kind in zip("ab", kinds, strict=True)]
        yield Pair(sides[0], FaultyPeer(sides[1]))


async def make(kind: str, name: str, stack: AsyncExitStack, folder: Path, request: pytest.FixtureRequest) -> Peer:
    if kind == "memory":
        return MemoryPeer(name, name)
    if kind == "store":
        store = Store.open(folder / f"{name}.db", bytes(32))
        stack.callback(store.close)
        return LocalPeer(store)
    if kind == "hub":
        hub = await stack.enter_async_context(Hub(folder / "hub", admin=ADMIN))
        server = hub.url.replace("//", "//{}:{}@".format(*ADMIN))
    else:
        server = request.getfixturevalue("couchdb_url")
    return await stack.enter_async_context(CouchPeer(await stack.enter_async_context(fresh_database(server))))


NOWHERE = MemoryPeer()


async def give(peer: Peer, *revisions: Revision) -> None:
    assert await peer.write(revisions, NOWHERE) == []


async def everything(peer: Peer) -> dict[tuple[str, str], Any]:
    """All leaves with what they say."""
    found = {}
    since = START
    while (page := await peer.changes(since, limit=100)).rows:
        since = page.last_seq
        for each in await peer.fetch({row.id: row.leaves for row in page.rows}):
            assert isinstance(each, Revision)
            stubs = {name: (stub.length, stub.revpos) for name, stub in each.attachments.items()}
            found[each.id, each.rev] = (each.history, json.loads(each.body), each.deleted, stubs)
    return found


async def agree(pair: Pair) -> bool:
    return await everything(pair.device) == await everything(pair.remote)


async def test_documents_conflicts_and_tombstones_go_both_ways(pair: Pair):
    await give(
        pair.device,
        revision("mine", rev(2, 1), rev(1, 1), body=b'{"a":1.0,"b":[1e3,"\\u00e9"]}'),
        revision("both", rev(2, 1), rev(1, 1), body=b'{"from":"device"}'),
        revision("ended", rev(2, 9), rev(1, 1), body=b'{"why":"mine"}', deleted=True),
    )
    await give(
        pair.remote.inner,
        revision("theirs", rev(1, 2)),
        revision("both", rev(2, 2), rev(1, 1), body=b'{"from":"remote"}'),
        revision("both", rev(3, 3), rev(2, 3), rev(1, 1), body=b"{}", deleted=True),
        revision("ended", rev(2, 3), rev(1, 1)),
    )
    await pair.sync()
    found = await everything(pair.device)
    assert await agree(pair)
    assert set(found) == {
        ("mine", rev(2, 1)),
        ("theirs", rev(1, 2)),
        ("both", rev(2, 1)),
        ("both", rev(2, 2)),
        ("both", rev(3, 3)),
        ("ended", rev(2, 9)),
        ("ended", rev(2, 3)),
    }
    rows = {row.id: row for row in (await pair.device.changes(START, limit=100)).rows}
    assert rows[DocId("both")].leaves[0] == rev(2, 2)
    assert rows[DocId("ended")].leaves[0] == rev(2, 3)
    assert not rows[DocId("ended")].deleted


async def test_the_outcome_counts_what_was_written(pair: Pair):
    await give(pair.remote.inner, *(revision(f"doc-{number}", rev(1, number)) for number in range(7)))
    await give(pair.remote.inner, revision("doc-0", rev(1, 99)))
    first = await pair.pull()
    assert (first.documents, first.revisions, first.since, first.refused) == (7, 8, START, ())
    assert first.size == 8 * len(b'{"n":1}')
    await give(pair.remote.inner, revision("late", rev(1, 1)))
    second = await pair.pull()
    assert (second.documents, second.revisions, second.since) == (1, 1, first.seq)


async def test_a_second_sync_goes_on_from_the_checkpoint(pair: Pair):
    await give(pair.remote.inner, *(revision(f"doc-{number}", rev(1, number)) for number in range(20)))
    await pair.sync()
    pair.remote.calls.clear()
    await pair.sync()
    assert not {"fetch", "write", "missing", "write_local"} & set(pair.remote.calls)


async def test_both_sides_keep_the_log(pair: Pair):
    await give(pair.remote.inner, revision("a", rev(1, 1)))
    await pair.pull()
    ours, theirs = await pair.device.read_local(PULL.own_log_id), await pair.remote.inner.read_local(PULL.log_id)
    assert ours is not None
    assert theirs is not None
    assert ours["history"][0]["session_id"] == theirs["history"][0]["session_id"]


async def test_a_log_that_was_lost_on_either_side_means_comparing_again_and_nothing_worse(pair: Pair):
    await give(pair.remote.inner, *(revision(f"doc-{number}", rev(1, number)) for number in range(5)))
    await pair.sync()
    for side, log_id in ((pair.device, PULL.own_log_id), (pair.remote.inner, PULL.log_id)):
        await side.write_local(log_id, {})
        outcome = await pair.pull()
        assert (outcome.since, outcome.documents) == (START, 0)


async def test_more_documents_than_one_page_arrive_in_several_batches(pair: Pair):
    await give(pair.remote.inner, *(revision(f"doc-{number:05}", rev(1, number)) for number in range(2_300)))
    outcome = await pair.pull()
    assert outcome.documents == 2_300
    assert pair.remote.calls.count("changes") == 4
    assert len(await everything(pair.device)) == 2_300


async def test_a_device_pulls_its_own_documents_only_and_pushes_everything(pair: Pair):
    await give(
        pair.remote.inner,
        revision("own", rev(1, 1), body=b'{"delegations":{"hcp-a":[]}}'),
        revision("others", rev(1, 1), body=b'{"delegations":{"hcp-b":[]}}'),
        revision("hcp-b", rev(1, 1), body=b'{"type":"HealthcareParty"}'),
    )
    await give(pair.device, revision("local", rev(1, 1), body=b'{"delegations":{"hcp-c":[]}}'))
    await pair.pull(OWN)
    assert {doc_id for doc_id, _ in await everything(pair.device)} == {"own", "hcp-b", "local"}
    await pair.push()
    assert {doc_id for doc_id, _ in await everything(pair.remote.inner)} == {"own", "others", "hcp-b", "local"}


@pytest.mark.parametrize("size", [0, 5_000, 400_000, 2_000_000])
@pytest.mark.parametrize("way", [Direction.PULL, Direction.PUSH])
async def test_attachments_arrive_whole_and_later_revisions_do_not_send_them_again(
    pair: Pair, size: int, way: Direction
):
    data = os.urandom(size)
    origin = MemoryPeer()
    origin.put(revision("a", rev(1, 1), files={"content": data}), {"content": data})
    source, target = (pair.remote.inner, pair.device) if way is Direction.PULL else (pair.device, pair.remote.inner)
    run = pair.pull if way is Direction.PULL else pair.push
    (first,) = await origin.fetch({DocId("a"): [rev(1, 1)]})
    assert isinstance(first, Revision)
    assert await source.write([first], origin) == []
    await run()
    pieces = [piece async for piece in target.attachment(DocId("a"), rev(1, 1), "content")]
    assert b"".join(pieces) == data
    (stored,) = await source.fetch({DocId("a"): [rev(1, 1)]})
    assert isinstance(stored, Revision)
    second = Revision(DocId("a"), (rev(2, 1), rev(1, 1)), b'{"n":2}', False, stored.attachments)
    origin.put(second, {"content": data})
    assert await source.write([second], origin) == []
    pair.remote.calls.clear()
    await run()
    assert "attachment" not in pair.remote.calls
    pieces = [piece async for piece in target.attachment(DocId("a"), rev(2, 1), "content")]
    assert b"".join(pieces) == data


@pytest.mark.parametrize("pair", [f"memory-{kind}" for kind in ("hub", *REAL_SERVERS)], indirect=True)
async def test_a_server_that_refuses_a_whole_batch_because_of_some_gets_the_others(pair: Pair):
    source = pair.device
    assert isinstance(source, MemoryPeer)
    for number in range(60):
        source.put(revision(f"doc-{number}", rev(1, number)))
    source.put(revision("_bad", rev(1, 1)))
    source.put(revision("heavy", rev(1, 1), body=b'{"x":"' + b"y" * 7_999_980 + b'"}'))
    outcome = await pair.push()
    assert "_bad" in {refusal.id for refusal in outcome.refused}
    assert {refusal.id for refusal in outcome.refused} <= {"_bad", "heavy"}
    found = await everything(pair.remote.inner)
    assert {doc_id for doc_id, _ in found} >= {f"doc-{number}" for number in range(60)}


async def test_progress_is_told_from_the_first_look_to_the_end(pair: Pair):
    await give(pair.remote.inner, *(revision(f"doc-{number}", rev(1, number)) for number in range(30)))
    told: list[Progress] = []
    await replicate(pair.remote, pair.device, PULL, report=told.append)
    assert [each.phase for each in told if each.phase is not Phase.TRANSFERRING] == [
        Phase.CONNECTING,
        Phase.FINISHING,
        Phase.DONE,
    ]
    last = told[-1]
    assert (last.direction, last.done, last.known, last.size) == (Direction.PULL, 30, 30, 30 * len(b'{"n":1}'))
    assert last.rate > 0
    assert all(earlier.done <= later.done for earlier, later in pairwise(told))
