"""Laws of a replication, on random schedules: whatever failed in between, both sides agree in the end."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icure_sync.engine.local_peer import LocalPeer
from icure_sync.engine.plan import Plan
from icure_sync.engine.sync import replicate
from icure_sync.errors import PeerError, Unreachable
from icure_sync.ids import DocId
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer
from icure_sync.replication.checkpoint import START, Direction
from icure_sync.store import Store
from icure_sync.testing import FaultyPeer
from tests.replicas import edit, killed, seeded_entropy, still_clock

PULL = Plan("device-1", None, Direction.PULL)
PUSH = Plan("device-1", None, Direction.PUSH)

writes = st.tuples(st.sampled_from(["here", "there"]), st.sampled_from("abcde"), st.integers(1, 9), st.booleans())
faults = st.tuples(st.just("sync"), st.sampled_from(["pull", "push"]), st.integers(1, 60))
schedules = st.lists(st.one_of(writes, faults), max_size=14)


async def both_ways(here: Peer, there: Peer) -> None:
    for plan, source, target in ((PULL, there, here), (PUSH, here, there)):
        await replicate(source, target, plan, clock=still_clock(), entropy=seeded_entropy(7))


def dying(peer: MemoryPeer, at: int) -> FaultyPeer:
    """A connection that breaks at its `at`-th step, and stays broken."""

    def fail(_: str, number: int) -> None:
        if number >= at:
            raise Unreachable("talk to the other side", "the connection is gone", "try again")

    return FaultyPeer(peer, fail)


async def play(schedule: list[tuple]) -> tuple[MemoryPeer, MemoryPeer]:
    here, there = MemoryPeer("here", "h"), MemoryPeer("there", "t")
    sides = {"here": here, "there": there}
    for step, (action, *rest) in enumerate(schedule):
        if action != "sync":
            doc_id, mark, deleted = rest
            edit(sides[action], doc_id, mark * 1000 + step, deleted=deleted)
            continue
        way, at = rest
        broken = dying(there, at)
        plan, source, target = (PULL, broken, here) if way == "pull" else (PUSH, here, broken)
        with contextlib.suppress(PeerError):
            await replicate(source, target, plan, clock=still_clock(), entropy=seeded_entropy(step))
    return here, there


@settings(max_examples=150, deadline=None)
@given(schedules)
def test_two_peers_agree_after_replicating_both_ways_whatever_failed_before(schedule: list[tuple]) -> None:
    async def scenario() -> None:
        here, there = await play(schedule)
        await both_ways(here, there)
        assert here.all_leaves() == there.all_leaves()
        assert await contents(here) == await contents(there)

    asyncio.run(scenario())


async def contents(peer: Peer) -> list[object]:
    """All leaves, the winner of each document first."""
    rows = sorted((await peer.changes(START, limit=1_000)).rows, key=lambda row: row.id)
    return list(await peer.fetch({row.id: row.leaves for row in rows}))


@settings(max_examples=20, deadline=None)
@given(schedules, st.integers(1, 60))
def test_an_encrypted_store_agrees_with_its_peer_whatever_failed_before(schedule: list[tuple], at: int) -> None:
    async def scenario(folder: Path) -> None:
        here, there = await play(schedule)
        store = Store.open(folder / "replica.db", bytes(32))
        device = LocalPeer(store)
        for source in (here, there):
            with contextlib.suppress(PeerError):
                await replicate(dying(source, at), device, PULL, clock=still_clock(), entropy=seeded_entropy(at))
        with contextlib.suppress(PeerError):
            await replicate(device, dying(there, at), PUSH, clock=still_clock(), entropy=seeded_entropy(at + 1))
        await replicate(here, device, PULL, clock=still_clock(), entropy=seeded_entropy(at + 2))
        await both_ways(device, there)
        assert await contents(device) == await contents(there)
        assert {*here.all_leaves()} <= {*there.all_leaves()}
        store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder)))


def prepared() -> tuple[MemoryPeer, MemoryPeer]:
    here, there = MemoryPeer("here", "h"), MemoryPeer("there", "t")
    for number in range(12):
        edit(there, f"doc-{number}", number)
        edit(here, f"doc-{number % 4}", 100 + number)
    return here, there


@pytest.mark.parametrize("way", [PULL, PUSH])
async def test_a_replication_killed_at_any_await_is_finished_by_the_next_one(way: Plan) -> None:
    turns = 0
    while True:
        turns += 1
        here, there = prepared()
        remote = FaultyPeer(there)
        source, target = (remote, here) if way is PULL else (here, remote)
        finished = await killed(replicate(source, target, way, clock=still_clock(), entropy=seeded_entropy(3)), turns)
        await both_ways(here, there)
        assert here.all_leaves() == there.all_leaves()
        if finished:
            break
    assert turns > 10


async def test_every_step_of_the_other_side_may_fail_once(  # the attempt itself repeats it, or the next one does
) -> None:
    steps = 0
    while True:
        steps += 1
        here, there = prepared()

        def fail(_: str, number: int, at: int = steps) -> None:
            if number == at:
                raise Unreachable("talk to the other side", "the connection is gone", "try again")

        remote = FaultyPeer(there, fail)
        for plan, source, target in ((PULL, remote, here), (PUSH, here, remote)):
            with contextlib.suppress(PeerError):
                await replicate(source, target, plan, clock=still_clock(), entropy=seeded_entropy(5))
        if len(remote.calls) < steps:
            break
        await both_ways(here, there)
        assert here.all_leaves() == there.all_leaves()
    assert steps > 20


async def test_a_second_replication_finds_nothing_to_do() -> None:
    here, there = prepared()
    await both_ways(here, there)
    await both_ways(here, there)
    watched = FaultyPeer(there)
    await both_ways(here, watched)
    assert not {"fetch", "write", "missing", "write_local"} & set(watched.calls)


async def test_what_one_side_forgot_comes_back_from_the_other() -> None:
    """A database put back from a backup has an older log, and gets everything since."""
    here, there = prepared()
    await both_ways(here, there)
    backup = MemoryPeer("there", "t")
    backup.__dict__.update(
        {name: dict(value) if isinstance(value, dict) else value for name, value in vars(there).items()}
    )
    edit(here, "later", 77)
    await both_ways(here, there)
    await both_ways(here, backup)
    assert backup.all_leaves() == here.all_leaves()
    assert DocId("later") in backup.all_leaves()
