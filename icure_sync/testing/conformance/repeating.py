"""Statements about `_local` documents, `commit`, `close`, and about calls that are repeated, crossed and cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from icure_sync.ids import DocId
from icure_sync.peers.port import Peer
from icure_sync.replication.checkpoint import START
from icure_sync.testing.conformance.asking import NOWHERE, PATIENCE, TURNS, cancelled, contents, give, rows
from icure_sync.testing.revisions import rev, revision


class RepetitionStatements:
    """Every call is safe to repeat and to cancel."""

    async def test_a_local_document_is_kept_and_overwritten_and_is_no_change(self, peer: Peer) -> None:
        before = (await peer.info()).update_seq
        assert await peer.read_local("log-1") is None
        await peer.write_local("log-1", {"history": [1, {"a": None}], "é": "日本"})
        assert await peer.read_local("log-1") == {"history": [1, {"a": None}], "é": "日本"}
        await peer.write_local("log-1", {"history": [2]})
        await peer.write_local("log-1", {"history": [2]})
        assert await peer.read_local("log-1") == {"history": [2]}
        assert await peer.read_local("log-2") is None
        assert await rows(peer, before) == []

    async def test_what_a_local_document_was_made_from_may_change_later(self, peer: Peer) -> None:
        history = [1]
        await peer.write_local("log-1", {"history": history})
        history.append(2)
        assert await peer.read_local("log-1") == {"history": [1]}

    async def test_what_was_committed_is_still_there(self, peer: Peer) -> None:
        await peer.commit()
        await give(peer, revision("a", rev(1, 1)))
        await peer.commit()
        await peer.commit()
        assert [row.id for row in await rows(peer)] == ["a"]

    async def test_after_closing_the_next_call_works(self, peer: Peer) -> None:
        await give(peer, revision("a", rev(1, 1)))
        await peer.close()
        await peer.close()
        assert [row.id for row in await rows(peer)] == ["a"]

    async def test_calls_at_once_do_not_disturb_each_other(self, peer: Peer) -> None:
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            for number in range(30):
                group.create_task(give(peer, revision(f"doc-{number}", rev(1, number))))
                group.create_task(peer.changes(START, limit=5))
                group.create_task(peer.missing({DocId(f"doc-{number}"): [rev(1, number)]}))
                group.create_task(peer.write_local(f"log-{number % 3}", {"n": number}))
        assert len(await rows(peer)) == 30

    async def test_the_same_written_at_once_is_written_once(self, peer: Peer) -> None:
        same = [revision("a", rev(2, 1), rev(1, 1)), revision("b", rev(1, 1))]
        await asyncio.gather(*(give(peer, *same) for _ in range(8)))
        assert (await contents(peer)).keys() == {("a", rev(2, 1)), ("b", rev(1, 1))}

    async def test_a_call_cancelled_at_any_turn_is_made_again_as_if_it_had_not_been(self, peer: Peer) -> None:
        await give(peer, *(revision(f"doc-{number}", rev(1, number)) for number in range(5)))
        before = await contents(peer)
        added = [revision(f"new-{number}", rev(1, number)) for number in range(5)]
        calls: list[Callable[[], Awaitable[object]]] = [
            peer.info,
            lambda: peer.changes(START, limit=10),
            lambda: peer.missing({DocId("doc-1"): [rev(1, 1), rev(2, 2)]}),
            lambda: peer.fetch({DocId("doc-1"): [rev(1, 1)]}),
            lambda: peer.leaves([DocId("doc-1")]),
            lambda: peer.write_local("log-1", {"n": 1}),
            lambda: peer.read_local("log-1"),
            lambda: peer.write(added, NOWHERE),
            peer.commit,
        ]
        for turns in TURNS:
            for call in calls:
                await cancelled(call, turns)
        for call in calls:
            await call()
        found = await contents(peer)
        assert {name: said for name, said in found.items() if name in before} == before
        assert len(found) == len(before) + len(added)
