"""Statements about `follow`: what is there comes at once, what is written comes as it is written."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from icure_sync.ids import HcpId
from icure_sync.peers.port import Peer
from icure_sync.replication.checkpoint import START
from icure_sync.replication.filters import device_selector
from icure_sync.testing.conformance.asking import OTHERS, OWN, PATIENCE, following, give, pages
from icure_sync.testing.revisions import rev, revision


class FollowStatements:
    """A followed feed sleeps and wakes, and costs nothing once it is closed."""

    async def test_what_is_there_comes_first_then_whatever_is_written(self, peer: Peer) -> None:
        await give(peer, *(revision(f"doc-{number}", rev(1, number)) for number in range(5)))
        async with asyncio.timeout(PATIENCE), aclosing(peer.follow(START)) as feed:
            found = await following(feed, *(f"doc-{number}" for number in range(5)))
            assert len(found) == 5
            for number in range(3):
                await give(peer, revision(f"late-{number}", rev(1, 1)))
                (row,) = await following(feed, f"late-{number}")
                assert (row.id, row.leaves) == (f"late-{number}", (rev(1, 1),))

    async def test_only_what_comes_after_the_seq_is_followed(self, peer: Peer) -> None:
        await give(peer, revision("early", rev(1, 1)))
        since = (await pages(peer))[-1].last_seq
        async with asyncio.timeout(PATIENCE), aclosing(peer.follow(since)) as feed:
            waiting = asyncio.ensure_future(following(feed, "late"))
            await asyncio.sleep(0)
            await give(peer, revision("late", rev(1, 1)))
            assert [row.id for row in await waiting] == ["late"]

    async def test_a_page_of_a_followed_feed_says_how_far_it_is(self, peer: Peer) -> None:
        await give(peer, *(revision(f"doc-{number}", rev(1, number)) for number in range(5)))
        async with asyncio.timeout(PATIENCE), aclosing(peer.follow(START)) as feed:
            left = {f"doc-{number}" for number in range(5)}
            while left:
                page = await anext(feed)
                left -= {row.id for row in page.rows}
        assert (await peer.changes(page.last_seq, limit=10)).rows == ()

    async def test_a_followed_feed_is_filtered_as_any_other(self, peer: Peer) -> None:
        selector = device_selector(HcpId("hcp-a"))
        async with asyncio.timeout(PATIENCE), aclosing(peer.follow(START, selector=selector)) as feed:
            waiting = asyncio.ensure_future(following(feed, "mine"))
            await asyncio.sleep(0)
            await give(peer, revision("theirs", rev(1, 1), body=OTHERS))
            await give(peer, revision("mine", rev(1, 1), body=OWN))
            assert [row.id for row in await waiting] == ["mine"]

    async def test_several_follow_at_once_and_each_sees_everything(self, peer: Peer) -> None:
        async with asyncio.timeout(PATIENCE), aclosing(peer.follow(START)) as one, aclosing(peer.follow(START)) as two:
            waiting = [asyncio.ensure_future(following(feed, "a", "b")) for feed in (one, two)]
            await asyncio.sleep(0)
            await give(peer, revision("a", rev(1, 1)))
            await give(peer, revision("b", rev(1, 1)))
            for each in waiting:
                assert {row.id for row in await each} == {"a", "b"}

    async def test_a_feed_that_sleeps_can_be_cancelled_and_the_peer_goes_on(self, peer: Peer) -> None:
        for _ in range(3):
            feed = peer.follow(START)
            waiting = asyncio.ensure_future(anext(feed))
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await feed.aclose()
        await give(peer, revision("a", rev(1, 1)))
        async with asyncio.timeout(PATIENCE), aclosing(peer.follow(START)) as feed:
            assert [row.id for row in await following(feed, "a")] == ["a"]

    async def test_a_feed_that_nobody_read_can_be_closed(self, peer: Peer) -> None:
        await peer.follow(START).aclose()
        assert (await peer.info()).update_seq
