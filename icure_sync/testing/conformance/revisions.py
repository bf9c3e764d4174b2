"""Statements about `write`, `missing`, `fetch` and `leaves`: revisions are kept as they came, with their histories."""

from __future__ import annotations

import json

from icure_sync.ids import DocId
from icure_sync.peers.port import Peer
from icure_sync.replication.checkpoint import START
from icure_sync.replication.wire import Missing, Revision
from icure_sync.testing.conformance.asking import contents, give, got, refused, rows
from icure_sync.testing.revisions import rev, revision

ODD_IDS = ("a/b", "é ?#%+&", '"quoted"', "x" * 200, "日本", "a\tb", "a:b@c", "..", "%2F")


class RevisionStatements:
    """What was written comes out as it went in."""

    async def test_what_was_written_is_announced_missing_nowhere_and_fetched_with_its_history(self, peer: Peer) -> None:
        body = b'{"type":"Patient","z":[1,2.5,{"x":null}],"e\xc3\xa9":"\xf0\x9f\x98\x80"}'
        await give(peer, revision("a", rev(3, 1), rev(2, 1), rev(1, 1), body=body))
        assert [(row.id, row.leaves, row.deleted) for row in await rows(peer)] == [("a", (rev(3, 1),), False)]
        assert await peer.missing({DocId("a"): [rev(3, 1), rev(2, 1)]}) == {}
        found = await got(peer, "a", rev(3, 1))
        assert found.history == (rev(3, 1), rev(2, 1), rev(1, 1))
        assert json.loads(found.body) == json.loads(body)
        assert not found.deleted
        assert (await peer.info()).doc_count in (1, None)

    async def test_writing_the_same_again_changes_nothing(self, peer: Peer) -> None:
        await give(peer, revision("a", rev(2, 1), rev(1, 1)))
        before = await peer.changes(START, limit=10)
        for _ in range(2):
            await give(peer, revision("a", rev(2, 1), rev(1, 1)))
        assert (await peer.changes(before.last_seq, limit=10)).rows == ()
        assert (await contents(peer)).keys() == {("a", rev(2, 1))}

    async def test_an_ancestor_of_what_is_here_changes_no_leaf(self, peer: Peer) -> None:
        await give(peer, revision("a", rev(3, 1), rev(2, 1), rev(1, 1)))
        await give(peer, revision("a", rev(1, 1)))
        assert (await contents(peer)).keys() == {("a", rev(3, 1))}

    async def test_in_whatever_order_revisions_come_the_leaves_are_the_same(self, peer: Peer) -> None:
        tree = [
            revision("a", rev(1, 1)),
            revision("a", rev(2, 1), rev(1, 1)),
            revision("a", rev(3, 1), rev(2, 1), rev(1, 1)),
            revision("a", rev(2, 2), rev(1, 1)),
            revision("a", rev(4, 3), rev(3, 3), rev(2, 2), rev(1, 1), deleted=True),
            revision("a", rev(1, 9)),
        ]
        for name, order in (("up", tree), ("down", tree[::-1]), ("mixed", [*tree[3:], *tree[:3]])):
            for each in order:
                await give(peer, Revision(DocId(name), each.history, each.body, each.deleted))
        leaves = {str(row.id): row.leaves for row in await rows(peer)}
        assert set(leaves["up"]) == {rev(3, 1), rev(4, 3), rev(1, 9)}
        assert leaves["up"] == leaves["down"] == leaves["mixed"]

    async def test_a_tombstone_keeps_its_body(self, peer: Peer) -> None:
        await give(peer, revision("a", rev(2, 1), rev(1, 1), body=b'{"erased":{"by":"x"}}', deleted=True))
        found = await got(peer, "a", rev(2, 1))
        assert found.deleted
        assert json.loads(found.body) == {"erased": {"by": "x"}}

    async def test_what_is_missing_names_the_leaves_that_it_may_descend_from(self, peer: Peer) -> None:
        await give(peer, revision("a", rev(2, 1), rev(1, 1)))
        missing = await peer.missing({DocId("a"): [rev(3, 1), rev(2, 1)], DocId("b"): [rev(1, 9)]})
        assert missing == {DocId("a"): Missing((rev(3, 1),), (rev(2, 1),)), DocId("b"): Missing((rev(1, 9),))}
        assert await peer.missing({}) == {}

    async def test_what_is_not_there_is_a_refusal_and_what_is_there_comes_with_it(self, peer: Peer) -> None:
        await give(peer, revision("a", rev(1, 1)))
        found = await peer.fetch({DocId("a"): [rev(1, 1), rev(7, 7)], DocId("never"): [rev(1, 1)]})
        assert [each.rev for each in found if isinstance(each, Revision)] == [rev(1, 1)]
        assert refused(found) == {("a", rev(7, 7), "not_found"), ("never", rev(1, 1), "not_found")}

    async def test_several_revisions_of_one_document_are_fetched_at_once(self, peer: Peer) -> None:
        await give(peer, *(revision("a", rev(2, mark), rev(1, 1), body=b'{"n":%d}' % mark) for mark in range(1, 6)))
        found = await peer.fetch({DocId("a"): [rev(2, mark) for mark in range(1, 6)]})
        said = {each.rev: json.loads(each.body) for each in found if isinstance(each, Revision)}
        assert said == {rev(2, mark): {"n": mark} for mark in range(1, 6)}

    async def test_all_leaves_of_a_document_come_by_its_id_alone_deleted_ones_too(self, peer: Peer) -> None:
        await give(
            peer,
            revision("a", rev(2, 1), rev(1, 1), body=b'{"n":1}'),
            revision("a", rev(3, 2), rev(2, 2), rev(1, 1), body=b'{"n":2}', deleted=True),
            revision("b", rev(1, 5)),
        )
        found = await peer.leaves([DocId("a"), DocId("never"), DocId("b")])
        came = {(each.id, each.history, each.deleted) for each in found if isinstance(each, Revision)}
        assert came == {
            ("a", (rev(2, 1), rev(1, 1)), False),
            ("a", (rev(3, 2), rev(2, 2), rev(1, 1)), True),
            ("b", (rev(1, 5),), False),
        }
        assert refused(found) == {("never", None, "not_found")}
        assert list(await peer.leaves([])) == []

    async def test_odd_ids_come_through(self, peer: Peer) -> None:
        await give(peer, *(revision(doc_id, rev(1, 1)) for doc_id in ODD_IDS))
        assert {row.id for row in await rows(peer)} == set(ODD_IDS)
        for doc_id in ODD_IDS:
            assert (await got(peer, doc_id, rev(1, 1))).id == doc_id

    async def test_nothing_is_written_by_writing_nothing(self, peer: Peer) -> None:
        before = (await peer.info()).update_seq
        await give(peer)
        assert await rows(peer, before) == []
