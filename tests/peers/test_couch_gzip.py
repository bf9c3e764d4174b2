"""Text goes compressed to a server elsewhere that takes it, and as it is to any other; nothing is lost in finding out.

0.0.0.0 leads to this machine, and is not taken for it.
"""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
from aiohttp import web

from icure_sync.errors import Unauthorized
from icure_sync.ids import DocId
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.limits import GZIP_BYTES
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.checkpoint import START
from icure_sync.replication.trouble import BatchRefused, ServerFailed, Undecodable
from icure_sync.replication.wire import Revision
from icure_sync.testing import ScriptedServer, json_answer, raw_answer
from icure_sync.testing.scripted import INFO
from tests.replicas import rev, revision

BULK = "POST /clinic/_bulk_docs"
MIB = 1024 * 1024
NOWHERE = MemoryPeer()
LARGE = revision("a", rev(1, 1), body=b'{"x":"%s"}' % (b"abc" * GZIP_BYTES))
TAKEN = json_answer([], 201)


def elsewhere(server: ScriptedServer, login: str = "") -> CouchPeer:
    """A peer for the same server, which does not seem to be on this machine."""
    return CouchPeer(server.url.replace("//127.0.0.1", f"//{login}@0.0.0.0" if login else "//0.0.0.0") + "/clinic")


def codings(server: ScriptedServer, request: str = BULK) -> list[str]:
    return [
        seen.headers.get("Content-Encoding", "plain") for seen in server.seen if f"{seen.method} {seen.path}" == request
    ]


def refusing_gzip(status: int, then=TAKEN):
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if "Content-Encoding" in request.headers:
            return web.json_response({"error": "refused", "reason": "what is this"}, status=status)
        return web.Response(status=then.status, body=then.body, headers=then.headers)

    return answer


async def test_text_is_sent_compressed(server: ScriptedServer):
    server.on(BULK, TAKEN)
    async with elsewhere(server) as peer:
        assert await peer.write([LARGE], NOWHERE) == []
    seen = server.last(BULK)
    assert seen.headers["Content-Encoding"] == "gzip"
    assert int(seen.headers["Content-Length"]) < len(seen.body) / 10  # what the server has made of it
    assert json.loads(seen.body)["docs"][0]["_id"] == "a"


async def test_on_this_machine_nothing_is_compressed(server: ScriptedServer):
    server.on(BULK, TAKEN)
    async with server.peer() as peer:
        assert await peer.write([LARGE], NOWHERE) == []
    assert codings(server) == ["plain"]


async def test_little_is_sent_as_it_is(server: ScriptedServer):
    server.on(BULK, TAKEN)
    async with elsewhere(server) as peer:
        assert await peer.write([revision("a", rev(1, 1))], NOWHERE) == []
    assert codings(server) == ["plain"]


async def test_attachments_are_streamed_as_they_are(server: ScriptedServer):
    server.on("PUT /clinic/a", json_answer({"ok": True, "id": "a", "rev": rev(1, 1)}, 201))
    source, data = MemoryPeer(), bytes(300_000)
    sent = revision("a", rev(1, 1), files={"f": data})
    source.put(sent, {"f": data})
    async with elsewhere(server) as peer:
        assert await peer.write([sent], source) == []
    assert codings(server, "PUT /clinic/a") == ["plain"]


@pytest.mark.parametrize("status", [400, 415, 500, 501])
async def test_a_server_that_does_not_take_it_gets_the_same_as_it_is_from_then_on(server: ScriptedServer, status: int):
    server.on(BULK, refusing_gzip(status))
    async with elsewhere(server) as peer:
        for _ in range(3):
            assert await peer.write([LARGE], NOWHERE) == []
    assert codings(server) == ["gzip", "plain", "plain", "plain"]
    assert len({seen.body for seen in server.seen}) == 1


@pytest.mark.parametrize(("status", "kind"), [(400, BatchRefused), (500, ServerFailed)])
async def test_what_is_refused_either_way_is_the_documents_fault(server: ScriptedServer, status: int, kind):
    server.on(BULK, *[json_answer({"error": "bad_request", "reason": "invalid rev format"}, status)] * 2, TAKEN)
    async with elsewhere(server) as peer:
        with pytest.raises(kind):
            await peer.write([LARGE], NOWHERE)
        assert codings(server) == ["gzip", "plain"]
        assert await peer.write([LARGE], NOWHERE) == []
    assert codings(server) == ["gzip", "plain", "gzip"]


async def test_a_server_that_has_taken_it_means_the_documents_when_it_refuses(server: ScriptedServer):
    server.on(BULK, TAKEN, json_answer({"error": "bad_request", "reason": "invalid rev format"}, 400), TAKEN)
    async with elsewhere(server) as peer:
        await peer.write([LARGE], NOWHERE)
        with pytest.raises(BatchRefused):
            await peer.write([LARGE], NOWHERE)
        await peer.write([LARGE], NOWHERE)
    assert codings(server) == ["gzip", "gzip", "gzip"]


async def test_a_server_that_takes_it_no_more_gets_the_same_as_it_is(server: ScriptedServer):
    """Another server behind the same name."""
    server.on(BULK, TAKEN, refusing_gzip(415))
    async with elsewhere(server) as peer:
        for _ in range(3):
            assert await peer.write([LARGE], NOWHERE) == []
    assert codings(server) == ["gzip", "gzip", "plain", "plain"]


async def test_a_login_in_between_changes_nothing(server: ScriptedServer):
    server.on("POST /_session", json_answer({"ok": True}, Set_Cookie="AuthSession=abc"))
    server.on(BULK, json_answer({"error": "unauthorized", "reason": "expired"}, 401), refusing_gzip(415))
    async with elsewhere(server, "nurse:pw") as peer:
        assert await peer.write([LARGE], NOWHERE) == []
        server.on(BULK, json_answer({"error": "unauthorized", "reason": "no"}, 401))
        with pytest.raises(Unauthorized):
            await peer.write([LARGE], NOWHERE)
    assert codings(server)[:3] == ["gzip", "gzip", "plain"]
    assert server.count("POST /_session") == 3
    assert not any("Content-Encoding" in seen.headers for seen in server.seen if seen.path == "/_session")


async def test_real_servers_take_it_wherever_text_is_sent(url: str, monkeypatch: pytest.MonkeyPatch):
    names = [DocId(f"document-{number:03}") for number in range(200)]
    async with CouchPeer(url.replace("@127.0.0.1", "@0.0.0.0")) as peer:
        await peer.info()
        doubts = []
        compression = peer._requests._compression
        is_doubted = compression.is_doubted
        monkeypatch.setattr(
            compression, "is_doubted", lambda body, status: doubts.append(status) or is_doubted(body, status)
        )
        assert await peer.write([revision(name, rev(1, 1)) for name in names], NOWHERE) == []
        assert len(await peer.missing({name: [rev(1, 1), rev(2, 2)] for name in names})) == 200
        assert all(isinstance(each, Revision) for each in await peer.fetch({name: [rev(1, 1)] for name in names}))
        assert len(await peer.leaves(names)) == 200
        await peer.write_local("log", {"history": ["x" * 50] * 100})
        assert doubts == []
        assert compression._known.name == "TAKES"


async def test_answers_are_asked_for_compressed(server: ScriptedServer):
    server.on("GET /clinic", INFO)
    async with elsewhere(server) as peer:
        assert (await peer.info()).name == "clinic"
    assert server.last("GET /clinic").headers["Accept-Encoding"].startswith("gzip")


WHOLE = gzip.compress(b'{"results":[],"last_seq":"1"}')


@pytest.mark.parametrize(
    "broken", [b"\x1f\x8b nonsense", WHOLE[:-12], WHOLE[:-8] + b"12345678", b"{}"], ids=["bad", "cut", "sum", "plain"]
)
async def test_an_answer_that_does_not_decompress_is_tried_again_as_a_broken_line_is(server: ScriptedServer, broken):
    server.on("GET /clinic/_changes", raw_answer(broken, Content_Encoding="gzip"))
    async with server.peer() as peer:
        with pytest.raises(Undecodable):
            await peer.changes(START, limit=5)


async def test_an_answer_counts_by_what_it_is_when_it_is_decompressed(server: ScriptedServer):
    packing = zlib.compressobj(wbits=31)
    bomb = b"".join([packing.compress(b'{"results":['), *(packing.compress(bytes(MIB)) for _ in range(64))])
    server.on("GET /clinic/_changes", raw_answer(bomb + packing.flush(), Content_Encoding="gzip"))
    async with server.peer() as peer:
        with pytest.raises(BatchRefused, match="answer_too_large"):
            await peer.changes(START, limit=5)
    assert len(bomb) < MIB
