"""A peer in front of another one fails where it is told to, and nowhere else."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from icure_sync.errors import Unreachable
from icure_sync.ids import DocId
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.checkpoint import START
from icure_sync.replication.wire import Changes
from icure_sync.testing import FaultyPeer
from tests.replicas import rev, revision

GONE = Unreachable("talk to the other side", "the connection is gone", "try again")


async def test_the_chosen_calls_fail_before_anything_was_done():
    peer = FaultyPeer(MemoryPeer())
    peer.fail("write", GONE, first=2, times=1)
    for number in range(4):
        if number == 1:
            with pytest.raises(Unreachable):
                await peer.write([revision(f"doc-{number}", rev(1, 1))], MemoryPeer())
        else:
            await peer.write([revision(f"doc-{number}", rev(1, 1))], MemoryPeer())
    assert {row.id for row in (await peer.changes(START, limit=9)).rows} == {"doc-0", "doc-2", "doc-3"}
    assert peer.calls.count("write") == 4
    assert peer.calls.count("write done") == 3


async def test_a_call_may_be_done_and_its_caller_not_know():
    peer = FaultyPeer(MemoryPeer())
    peer.fail("write done", GONE, times=1)
    with pytest.raises(Unreachable):
        await peer.write([revision("a", rev(1, 1))], MemoryPeer())
    assert await peer.missing({DocId("a"): [rev(1, 1)]}) == {}


async def test_an_answer_is_changed_on_its_way():
    inner = MemoryPeer()
    inner.put(revision("a", rev(1, 1)))
    peer = FaultyPeer(inner)
    peer.change("changes", lambda page: Changes((), page.last_seq, 0), times=1)
    assert (await peer.changes(START, limit=9)).rows == ()
    assert len((await peer.changes(START, limit=9)).rows) == 1


async def test_pieces_are_changed_one_by_one_and_may_break_off():
    inner = MemoryPeer()
    inner.put(revision("a", rev(1, 1), files={"f": bytes(200_000)}), {"f": bytes(200_000)})
    peer = FaultyPeer(inner)
    peer.change("attachment", lambda piece: piece[:1], times=2)
    peer.fail("attachment done", GONE, first=3)
    async with aclosing(peer.attachment(DocId("a"), rev(1, 1), "f")) as pieces:
        assert [len(await anext(pieces)) for _ in range(2)] == [1, 1]
        with pytest.raises(Unreachable):
            await anext(pieces)


async def test_every_step_is_told():
    steps: list[tuple[str, int]] = []
    peer = FaultyPeer(MemoryPeer(), lambda call, number: steps.append((call, number)))
    await peer.info()
    await peer.commit()
    assert steps == [("info", 1), ("info done", 2), ("commit", 3), ("commit done", 4)]
