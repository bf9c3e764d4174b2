"""Statements about `info`, `changes` and `listed`: what is announced, in which order, and from where it goes on."""

from __future__ import annotations

from icure_sync.ids import DocId, HcpId
from icure_sync.peers.port import Peer
from icure_sync.replication.checkpoint import START
from icure_sync.replication.filters import device_selector
from icure_sync.testing.conformance.asking import OTHERS, OWN, give, pages, rows
from icure_sync.testing.revisions import rev, revision


class FeedStatements:
    """A feed announces every document once, at its last change, with all its leaves."""

    async def test_an_empty_peer_announces_nothing(self, peer: Peer) -> None:
        info = await peer.info()
        assert info.name
        assert info.update_seq
        assert info.doc_count in (0, None)
        page = await peer.changes(START, limit=10)
        assert page.rows == ()
        assert page.pending in (0, None)

    async def test_all_leaves_are_announced_the_winner_first(self, peer: Peer) -> None:
        await give(
            peer,
            revision("a", rev(2, 1), rev(1, 1)),
            revision("a", rev(2, 3), rev(1, 1)),
            revision("a", rev(3, 2), rev(2, 2), rev(1, 1), deleted=True),
        )
        (row,) = await rows(peer)
        assert row.leaves[0] == rev(2, 3)
        assert set(row.leaves) == {rev(2, 1), rev(2, 3), rev(3, 2)}
        assert len(row.leaves) == 3
        assert not row.deleted

    async def test_a_document_whose_winner_is_a_tombstone_is_announced_as_deleted(self, peer: Peer) -> None:
        await give(peer, revision("gone", rev(2, 1), rev(1, 1), deleted=True), revision("here", rev(1, 1)))
        assert {row.id: row.deleted for row in await rows(peer)} == {"gone": True, "here": False}
        assert (await peer.info()).doc_count in (1, None)

    async def test_a_feed_is_read_in_pages_that_join_without_a_gap_or_a_repetition(self, peer: Peer) -> None:
        names = [f"doc-{number}" for number in range(10)]
        await give(peer, *(revision(name, rev(1, number)) for number, name in enumerate(names)))
        await give(peer, revision("doc-3", rev(2, 1), rev(1, 3)))
        for limit in (1, 4, 10, 11):
            read = await pages(peer, limit=limit)
            assert sorted(row.id for page in read for row in page.rows) == names
            assert read[-1].pending in (0, None)
            left = [page.pending for page in read if page.pending is not None]
            assert left == sorted(left, reverse=True), "what is pending grows while nothing is written"

    async def test_what_changed_after_a_seq_comes_after_it_and_nothing_else(self, peer: Peer) -> None:
        await give(peer, *(revision(f"doc-{number}", rev(1, number)) for number in range(5)))
        (before,) = [page for page in await pages(peer) if page.rows]
        assert await rows(peer, before.last_seq) == []
        assert await rows(peer, (await peer.info()).update_seq) == []
        await give(peer, revision("doc-2", rev(2, 1), rev(1, 2)), revision("late", rev(1, 1)))
        assert {row.id: row.leaves for row in await rows(peer, before.last_seq)} == {
            "doc-2": (rev(2, 1),),
            "late": (rev(1, 1),),
        }

    async def test_every_seq_that_a_feed_names_is_one_to_go_on_from(self, peer: Peer) -> None:
        """Seqs are opaque, and not every row has one; what is behind one stays behind it, in whatever order."""
        await give(peer, *(revision(f"doc-{number}", rev(1, number)) for number in range(12)))
        page = await peer.changes(START, limit=100)
        for index, row in enumerate(page.rows):
            if row.seq is not None:
                after = {later.id for later in page.rows[index + 1 :]}
                assert after <= {found.id for found in await rows(peer, row.seq)}

    async def test_the_same_question_has_the_same_answer(self, peer: Peer) -> None:
        await give(peer, *(revision(f"doc-{number}", rev(1, number)) for number in range(6)))
        first, second = await rows(peer), await rows(peer)
        assert {row.id: row.leaves for row in first} == {row.id: row.leaves for row in second}

    async def test_a_filtered_feed_judges_each_leaf_by_its_own_body(self, peer: Peer) -> None:
        await give(
            peer,
            revision("mine", rev(1, 1), body=OWN),
            revision("theirs", rev(1, 1), body=OTHERS),
            revision("hcp-b", rev(1, 1), body=b'{"type":"HealthcareParty"}'),
            revision("gone", rev(1, 1), body=b"{}", deleted=True),
            revision("put-out", rev(2, 2), rev(1, 1), body=OTHERS),
            revision("put-out", rev(2, 1), rev(1, 1), body=OWN, deleted=True),
        )
        selector = device_selector(HcpId("hcp-a"))
        read = await pages(peer, selector=selector)
        assert {row.id: row.leaves for page in read for row in page.rows} == {
            "mine": (rev(1, 1),),
            "hcp-b": (rev(1, 1),),
            "gone": (rev(1, 1),),
            "put-out": (rev(2, 1),),
        }
        assert await rows(peer, read[-1].last_seq, selector=selector) == []

    async def test_a_filtered_feed_gets_past_what_it_leaves_out(self, peer: Peer) -> None:
        await give(peer, *(revision(f"theirs-{number}", rev(1, number), body=OTHERS) for number in range(20)))
        selector = device_selector(HcpId("hcp-a"))
        read = await pages(peer, limit=5, selector=selector)
        assert [row for page in read for row in page.rows] == []
        assert await rows(peer, read[-1].last_seq) == [], "its last seq is before what was judged already"

    async def test_an_index_names_what_the_filter_passes_and_where_the_feed_goes_on(self, peer: Peer) -> None:
        """A peer without an index gives no page at all."""
        await give(
            peer,
            revision("mine", rev(1, 1), body=OWN),
            revision("theirs", rev(1, 1), body=OTHERS),
            revision("hcp-b", rev(1, 1), body=b'{"type":"HealthcareParty"}'),
            revision("put-out", rev(2, 2), rev(1, 1), body=OTHERS),
            revision("put-out", rev(2, 1), rev(1, 1), body=OWN),
        )
        listings = [page async for page in peer.listed(HcpId("hcp-a"))]
        if not listings:
            return
        assert len({page.seq for page in listings}) == 1
        named = {doc_id for page in listings for doc_id in page.ids}
        assert named >= {DocId("mine"), DocId("hcp-b"), DocId("put-out")}
        assert DocId("theirs") not in named
        await give(peer, revision("late", rev(1, 1), body=OWN))
        assert DocId("late") in {row.id for row in await rows(peer, listings[0].seq)}
