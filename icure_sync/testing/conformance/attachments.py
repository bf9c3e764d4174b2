"""Statements about attachments: bytes come whole from the source, or their revision does not come."""

from __future__ import annotations

import random
from contextlib import aclosing
from functools import partial

from icure_sync.errors import NotFound
from icure_sync.ids import DocId
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer
from icure_sync.replication.wire import BAD_ATTACHMENT, Attachment, Revision
from icure_sync.testing.conformance.asking import (
    NOWHERE,
    TURNS,
    cancelled,
    content,
    failure,
    give,
    got,
    refused,
    rows,
    same,
)
from icure_sync.testing.revisions import rev, revision

NAME = "dir/ü scan.bin"
SIZES = (0, 1_000, 300_000, 2_000_000)  # bytes: none, some in a document, more than that, many pieces


class AttachmentStatements:
    """What a revision says it carries, it carries."""

    async def test_attachment_bytes_come_from_the_source_and_go_out_again(self, peer: Peer) -> None:
        for size in SIZES:
            doc_id, data = f"doc-{size}", random.Random(size).randbytes(size)  # noqa: S311  # any bytes will do
            source = MemoryPeer()
            source.put(revision(doc_id, rev(1, 1), files={NAME: data}), {NAME: data})
            assert list(await peer.write([await got(source, doc_id, rev(1, 1))], source)) == []
            stub = (await got(peer, doc_id, rev(1, 1))).attachments[NAME]
            assert (stub.length, stub.revpos, stub.content_type) == (size, 1, "application/octet-stream")
            same(await content(peer, doc_id, rev(1, 1), NAME), data)

    async def test_an_attachment_that_compresses_well_comes_back_as_it_was(self, peer: Peer) -> None:
        """A server may keep it compressed; its digest is then not that of the bytes."""
        for size in (1_000, 400_000):
            doc_id, data = f"doc-{size}", b"text " * (size // 5)
            stub = Attachment("note.txt", "text/plain", size, "md5-AAAAAAAAAAAAAAAAAAAAAA==", 1)
            source = MemoryPeer()
            source.put(Revision(DocId(doc_id), (rev(1, 1),), b"{}", False, {"note.txt": stub}), {"note.txt": data})
            assert list(await peer.write([await got(source, doc_id, rev(1, 1))], source)) == []
            found = await got(peer, doc_id, rev(1, 1))
            assert found.attachments["note.txt"].length == size
            same(await content(peer, doc_id, rev(1, 1), "note.txt"), data)
            assert list(await MemoryPeer().write([found], peer)) == []

    async def test_a_later_revision_needs_no_bytes_again(self, peer: Peer) -> None:
        data = random.Random(1).randbytes(300_000)  # noqa: S311  # any bytes will do
        source = MemoryPeer()
        source.put(revision("a", rev(1, 1), files={"f": data}), {"f": data})
        assert list(await peer.write([await got(source, "a", rev(1, 1))], source)) == []
        stubs = (await got(peer, "a", rev(1, 1))).attachments
        await give(peer, Revision(DocId("a"), (rev(2, 1), rev(1, 1)), b'{"n":2}', False, stubs))
        same(await content(peer, "a", rev(2, 1), "f"), data)

    async def test_a_revision_whose_bytes_the_source_has_not_is_refused_and_the_others_are_taken(
        self, peer: Peer
    ) -> None:
        lacking = [revision(f"lacking-{size}", rev(1, 1), files={"f": bytes(size)}) for size in (10, 300_000)]
        refusals = await peer.write([*lacking, revision("good", rev(1, 1))], NOWHERE)
        assert refused(refusals) == {(each.id, each.rev, BAD_ATTACHMENT) for each in lacking}
        assert [row.id for row in await rows(peer)] == ["good"]

    async def test_an_attachment_of_another_length_is_refused(self, peer: Peer) -> None:
        for announced, given in ((10, 9), (10, 11), (300_000, 299_999), (300_000, 300_001)):
            source = MemoryPeer()
            sent = revision("a", rev(1, 1), files={"f": bytes(announced)})
            source.put(sent, {"f": bytes(given)})
            assert refused(await peer.write([sent], source)) == {("a", rev(1, 1), BAD_ATTACHMENT)}
            assert await rows(peer) == []

    async def test_an_attachment_that_is_not_there_is_not_found(self, peer: Peer) -> None:
        await give(peer, revision("a", rev(1, 1)))
        await failure(NotFound, content(peer, "a", rev(1, 1), "f"))

    async def test_an_attachment_need_not_be_read_to_its_end(self, peer: Peer) -> None:
        data = bytes(1_000_000)
        source = MemoryPeer()
        source.put(revision("a", rev(1, 1), files={"f": data}), {"f": data})
        assert list(await peer.write([await got(source, "a", rev(1, 1))], source)) == []
        for _ in range(20):  # more often than a peer has connections
            async with aclosing(peer.attachment(DocId("a"), rev(1, 1), "f")) as pieces:
                assert await anext(pieces)
        same(await content(peer, "a", rev(1, 1), "f"), data)

    async def test_a_write_cancelled_at_any_turn_leaves_the_revision_whole_or_not_at_all(self, peer: Peer) -> None:
        for size in (1_000, 300_000):
            doc_id, data = DocId(f"doc-{size}"), random.Random(size).randbytes(size)  # noqa: S311  # any bytes will do
            source = MemoryPeer()
            source.put(revision(doc_id, rev(1, 1), files={"f": data}), {"f": data})
            sent = await got(source, doc_id, rev(1, 1))
            for turns in TURNS:
                await cancelled(partial(peer.write, [sent], source), turns)
                if doc_id in {row.id for row in await rows(peer)}:
                    same(await content(peer, doc_id, rev(1, 1), "f"), data)
            assert list(await peer.write([sent], source)) == []
            same(await content(peer, doc_id, rev(1, 1), "f"), data)
