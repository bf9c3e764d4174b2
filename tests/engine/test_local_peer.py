"""The local store as a peer: attachment bytes are checked, applied with their revision, and never half."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from icure_sync.engine.local_peer import FETCH_TRIES, LocalPeer
from icure_sync.errors import Unreachable
from icure_sync.ids import DocId, Rev
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.checkpoint import START
from icure_sync.replication.wire import Attachment, Revision
from icure_sync.store import Store
from icure_sync.testing import Answer, ScriptedServer, json_answer, raw_answer
from icure_sync.testing.scripted import Responder
from tests.replicas import rev, revision
from tests.servers import REAL_SERVERS, fresh_database, fresh_hub

DATA = b"ciphertext" * 20_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store.open(tmp_path / "replica.db", bytes(32))
    yield opened
    opened.close()


class Serving(MemoryPeer):
    """Gives these bytes for any attachment, one after the other."""

    def __init__(self, *answers: bytes) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked = 0

    async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:  # noqa: ARG002  the port
        self.asked += 1
        data = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        for start in range(0, len(data), 50_000):
            yield data[start : start + 50_000]


def sealed(sha256: str, data: bytes = DATA) -> Revision:
    """A revision whose body says what its attachment must be."""
    body = json.dumps({"type": "Attachment", "files": {"content": {"length": len(data), "sha256": sha256}}}).encode()
    return revision("a", rev(1, 1), body=body, files={"content": data})


RIGHT = sealed(hashlib.sha256(DATA).hexdigest())


async def stored(peer: LocalPeer, name: str = "content", revision_id: Rev | None = None) -> bytes:
    return b"".join([piece async for piece in peer.attachment(DocId("a"), revision_id or rev(1, 1), name)])


async def test_bytes_that_the_document_names_are_taken(store: Store):
    peer = LocalPeer(store)
    assert await peer.write([RIGHT], Serving(DATA)) == []
    assert await stored(peer) == DATA


async def test_a_damaged_transfer_is_repeated(store: Store):
    peer, source = LocalPeer(store), Serving(b"x" * len(DATA), DATA)
    assert await peer.write([RIGHT], source) == []
    assert source.asked == FETCH_TRIES
    assert await stored(peer) == DATA


@pytest.mark.parametrize("wrong", [b"x" * len(DATA), DATA[:-1], DATA + b"x"])
async def test_bytes_that_are_wrong_twice_are_refused_and_nothing_of_the_revision_is_kept(store: Store, wrong: bytes):
    peer, source = LocalPeer(store), Serving(wrong)
    (refusal,) = await peer.write([RIGHT], source)
    assert refusal.error == "bad_attachment"
    assert source.asked == FETCH_TRIES
    assert await peer.missing({RIGHT.id: [RIGHT.rev]})
    assert (await peer.changes(START, limit=5)).rows == ()


@pytest.mark.parametrize(
    "body", [b'{"files":7}', b'{"files":{"content":{}}}', b'{"files":{"other":{"sha256":"00"}}}', b"{}"]
)
async def test_a_document_that_does_not_name_its_bytes_is_held_to_their_length_alone(store: Store, body: bytes):
    peer = LocalPeer(store)
    described = revision("a", rev(1, 1), body=body, files={"content": DATA})
    assert await peer.write([described], Serving(b"x" * len(DATA))) == []


async def test_a_digest_that_is_not_the_bytes_md5_is_no_obstacle(store: Store):
    """A CouchDB that compresses states the digest of the compressed bytes."""
    peer = LocalPeer(store)
    stub = Attachment("content", "text/plain", len(DATA), "md5-AAAAAAAAAAAAAAAAAAAAAA==", 1)
    first = Revision(DocId("a"), (rev(1, 1),), b"{}", False, {"content": stub})
    second = Revision(DocId("a"), (rev(2, 1), rev(1, 1)), b"{}", False, {"content": stub})
    assert await peer.write([first], Serving(DATA)) == []
    source = Serving(b"other")
    assert await peer.write([second], source) == []
    assert source.asked == 0
    assert await stored(peer, revision_id=rev(2, 1)) == DATA


PACKED = gzip.compress(DATA)
AS_COUCHDB_SAYS = {
    "content_type": "text/plain",
    "revpos": 1,
    "digest": "md5-" + base64.b64encode(hashlib.md5(PACKED, usedforsecurity=False).digest()).decode(),
    "length": len(PACKED),
    "stub": True,
    "encoding": "gzip",
    "encoded_length": len(PACKED),
}


def packed_there(document: dict[str, object]) -> Responder:
    """`_bulk_get` of a CouchDB: it says how an attachment is kept if it is asked to."""

    async def answer(request: web.BaseRequest) -> Answer:
        told = request.query.get("att_encoding_info") == "true"
        said = {name: value for name, value in AS_COUCHDB_SAYS.items() if told or not name.startswith("encod")}
        found = {**document, "_attachments": {"content": said}}
        return json_answer({"results": [{"id": "a", "docs": [{"ok": found}]}]})

    return answer


async def test_a_file_that_a_couchdb_got_packed_is_kept_as_it_is_inside(store: Store):
    """It announces the length of the gzip, and gives what is inside."""
    ids, answers = ["b" * 32, "a" * 32], []
    for start in (1, 2):
        head = {"_id": "a", "_rev": f"{start}-{ids[-start]}", "_revisions": {"start": start, "ids": ids[-start:]}}
        answers.append(packed_there(head))
    device = LocalPeer(store)
    async with ScriptedServer() as server, server.peer() as source:
        server.on("POST /clinic/_bulk_get", *answers)
        server.on("GET /clinic/a/content", raw_answer(DATA))
        for _ in answers:
            (revision_id,) = found = await source.fetch({DocId("a"): [Rev("any")]})
            assert await device.write(found, source) == []
        assert isinstance(revision_id, Revision)
        assert server.count("GET /clinic/a/content") == 1
    (leaf,) = await device.leaves([DocId("a")])
    assert isinstance(leaf, Revision)
    assert (leaf.attachments["content"].length, leaf.attachments["content"].gzip_length) == (len(DATA), None)
    assert await stored(device, revision_id=leaf.rev) == DATA
    elsewhere = MemoryPeer()
    assert await elsewhere.write([leaf], device) == []


async def test_bytes_that_a_server_keeps_packed_are_not_taken_for_what_is_inside(store: Store):
    """A hub's own store is a replica of the CouchDB that it stands before."""
    digest = str(AS_COUCHDB_SAYS["digest"])
    here = Attachment("content", "text/plain", len(DATA), digest, 1, len(PACKED))
    store.documents.apply([Revision(DocId("a"), (rev(1, 1),), b"{}", False, {"content": here})])
    store.attachments.link(DocId("a"), rev(1, 1), "content", store.attachments.put([PACKED]))
    there = Attachment("content", "text/plain", len(PACKED), digest, 1, len(PACKED))
    second = Revision(DocId("a"), (rev(2, 1), rev(1, 1)), b"{}", False, {"content": there})
    assert await LocalPeer(store).write([second], Serving(DATA)) == []
    assert await stored(LocalPeer(store), revision_id=rev(2, 1)) == DATA


@pytest.mark.parametrize("kind", ["hub", *REAL_SERVERS])
async def test_a_file_that_was_put_packed_comes_from_a_real_server(
    kind: str, store: Store, tmp_path: Path, request: pytest.FixtureRequest
):
    async with AsyncExitStack() as opened:
        if kind == "hub":
            server = await opened.enter_async_context(fresh_hub(tmp_path / "hub"))
        else:
            server = request.getfixturevalue("couchdb_url")
        source = await opened.enter_async_context(
            CouchPeer(url := await opened.enter_async_context(fresh_database(server)))
        )
        session = await opened.enter_async_context(aiohttp.ClientSession())
        headers = {"Content-Type": "application/octet-stream", "Content-Encoding": "gzip"}
        async with session.put(f"{url}/a/content", data=PACKED, headers=headers) as answer:
            assert answer.status in (201, 202)
        (leaf,) = await source.leaves([DocId("a")])
        assert isinstance(leaf, Revision)
        device = LocalPeer(store)
        assert await device.write([leaf], source) == []
        assert await stored(device, revision_id=leaf.rev) == DATA


def saying(doc_id: str, *history: Rev, data: bytes, digest: str) -> Revision:
    """A revision that names its bytes itself, and that the peer describes by this digest."""
    body = json.dumps({"files": {"content": {"sha256": hashlib.sha256(data).hexdigest()}}}).encode()
    stub = Attachment("content", "text/plain", len(data), digest, len(history))
    return Revision(DocId(doc_id), history, body, False, {"content": stub})


MD5_OF_ONES = "md5-sLrunSedNPod/XGq25CMPw=="


async def test_a_peer_that_names_another_documents_digest_gets_its_own_bytes_stored(store: Store):
    peer = LocalPeer(store)
    first = saying("other", rev(1, 1), data=b"11111", digest=MD5_OF_ONES)
    assert await peer.write([first], Serving(b"11111")) == []
    assert await peer.write([saying("a", rev(1, 1), data=b"22222", digest=MD5_OF_ONES)], Serving(b"22222")) == []
    assert await stored(peer) == b"22222"


async def test_a_peer_that_names_an_earlier_revisions_digest_gets_its_own_bytes_stored(store: Store):
    peer = LocalPeer(store)
    assert await peer.write([saying("a", rev(1, 1), data=b"11111", digest="md5-x")], Serving(b"11111")) == []
    second = saying("a", rev(2, 1), rev(1, 1), data=b"22222", digest="md5-x")
    assert await peer.write([second], Serving(b"22222")) == []
    assert await stored(peer) == b"11111"
    assert await stored(peer, revision_id=rev(2, 1)) == b"22222"


async def test_writing_again_asks_for_no_bytes_again_and_repairs_wrong_ones(store: Store):
    peer, source = LocalPeer(store), Serving(DATA)
    for _ in range(2):
        assert await peer.write([RIGHT], source) == []
    assert source.asked == 1
    wrong = store.attachments.put([b"x" * len(DATA)])
    store.attachments.link(RIGHT.id, RIGHT.rev, "content", wrong)
    assert await peer.write([RIGHT], source) == []
    assert await stored(peer) == DATA


async def test_a_revision_whose_bytes_are_here_is_kept_when_a_later_transfer_breaks(store: Store):
    class Failing(Serving):
        async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:
            if doc_id == "last":
                raise Unreachable("read", "gone", "again")
            async for piece in super().attachment(doc_id, rev, name):
                yield piece

    peer, source = LocalPeer(store), Failing(DATA)
    batch = [revision(name, rev(1, 1), files={"content": DATA}) for name in ("a", "b", "last")]
    for _ in range(4):
        with pytest.raises(Unreachable):
            await peer.write([*batch, revision("plain", rev(1, 1))], source)
    assert source.asked == 2
    assert {row.id for row in (await peer.changes(START, limit=9)).rows} == {"a", "b", "plain"}


async def test_a_revision_with_several_files_asks_again_only_for_what_did_not_come(store: Store):
    class Failing(Serving):
        asked_last = 0

        async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:
            if name == "last":
                self.asked_last += 1
                if self.asked_last < 4:
                    raise Unreachable("read", "gone", "again")
            async for piece in super().attachment(doc_id, rev, name):
                yield piece

    peer, source = LocalPeer(store), Failing(DATA)
    several = revision("a", rev(1, 1), files=dict.fromkeys(("first", "second", "last"), DATA))
    for _ in range(3):
        with pytest.raises(Unreachable):
            await peer.write([several], source)
    assert await peer.write([several], source) == []
    assert source.asked == 3
    assert [await stored(peer, name) == DATA for name in several.attachments] == [True, True, True]


async def test_a_revision_older_than_all_that_is_kept_brings_no_attachment(store: Store):
    peer = LocalPeer(store)
    history = [rev(generation, 1) for generation in range(1_200, 0, -1)]
    assert await peer.write([revision("a", *history)], MemoryPeer()) == []
    old = revision("a", rev(1, 1), files={"content": DATA})
    assert await peer.write([old], Serving(DATA)) == []


async def test_a_transfer_that_breaks_leaves_no_revision_and_no_bytes(store: Store):
    class Breaking(MemoryPeer):
        async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:  # noqa: ARG002  the port
            yield DATA[:100_000]
            raise Unreachable("read", "gone", "again")

    peer = LocalPeer(store)
    with pytest.raises(Unreachable):
        await peer.write([RIGHT], Breaking())
    assert (await peer.changes(START, limit=5)).rows == ()
    assert await peer.write([RIGHT], Serving(DATA)) == []
    assert await stored(peer) == DATA


async def test_a_cancelled_transfer_leaves_no_revision_and_no_bytes(store: Store):
    begun = asyncio.Event()

    class Waiting(MemoryPeer):
        async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:  # noqa: ARG002  the port
            yield DATA[:1_000]
            begun.set()
            await asyncio.Event().wait()

    peer = LocalPeer(store)
    writing = asyncio.ensure_future(peer.write([RIGHT], Waiting()))
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert (await peer.changes(START, limit=5)).rows == ()
