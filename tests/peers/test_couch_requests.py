"""Every failure of a request as a typed error; nothing half-read, nothing unbounded, nothing left open."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from icure_sync.errors import (
    BadAnswer,
    DatabaseMissing,
    Forbidden,
    IcureSyncError,
    NotFound,
    PeerError,
    Throttled,
    TimedOut,
    Unreachable,
)
from icure_sync.ids import DocId, Rev, Seq
from icure_sync.peers import couch_requests
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.couch_requests import Timeouts
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.trouble import (
    BatchRefused,
    CheckpointConflict,
    ServerFailed,
    Trouble,
    Undecodable,
    trouble_of,
)
from icure_sync.testing import ScriptedServer, json_answer, raw_answer
from tests.replicas import rev, revision

CHANGES = "GET /clinic/_changes"
FEED = b'{"results":[{"seq":"1-x","id":"a","changes":[{"rev":"1-a"}]},{"seq":null,"id":"b","changes":[]}],"last_seq":7}'


async def failure(peer: CouchPeer) -> IcureSyncError:
    async with peer:
        with pytest.raises(IcureSyncError) as raised:
            await peer.changes(Seq("0"), limit=10)
    return raised.value


@pytest.mark.parametrize(
    ("status", "error", "reason", "kind"),
    [
        (400, "bad_request", "invalid rev format", BatchRefused),
        (403, "forbidden", "You are not allowed to access this db.", Forbidden),
        (404, "not_found", "Database does not exist.", DatabaseMissing),
        (404, "not_found", "no_db_file", DatabaseMissing),
        (404, "not_found", "missing", NotFound),
        (405, "method_not_allowed", "Only GET,HEAD allowed", NotFound),
        (409, "conflict", "Document update conflict.", CheckpointConflict),
        (412, "missing_stub", "Id: a Name: f", BatchRefused),
        (413, "document_too_large", "a", BatchRefused),
        (429, "too_many_requests", "slow down", Throttled),
        (500, "unknown_error", "function_clause", ServerFailed),
        (503, "service_unavailable", "later", Throttled),
        (418, "teapot", "short and stout", BadAnswer),
    ],
)
async def test_a_refusal_becomes_its_kind_of_error(server: ScriptedServer, status, error, reason, kind):
    server.on(CHANGES, json_answer({"error": error, "reason": reason}, status))
    found = await failure(server.peer())
    assert type(found) is kind
    assert str(found).startswith(("cannot read the changes of http://127.0.0.1:", "cannot "))
    assert "\n" not in str(found)


async def test_the_pause_that_a_server_asks_for_is_kept(server: ScriptedServer):
    server.on(CHANGES, json_answer({"error": "busy", "reason": ""}, 503, Retry_After="17"))
    found = await failure(server.peer())
    assert isinstance(found, Throttled)
    assert found.retry_after == 17


@pytest.mark.parametrize("status", [404, 405, 418])
async def test_a_web_server_that_is_no_couchdb_is_said_to_be_one(server: ScriptedServer, status: int):
    server.on(CHANGES, raw_answer(b"<html><h1>nginx</h1></html>", status, "text/html"))
    found = await failure(server.peer())
    assert type(found) is BadAnswer
    assert "CouchDB" in str(found)


@pytest.mark.parametrize("status", [413, 500, 503])
async def test_an_intermediarys_refusal_counts_by_its_status(server: ScriptedServer, status: int):
    server.on(CHANGES, raw_answer(b"<html>too large</html>", status, "text/html"))
    kinds = {413: BatchRefused, 500: ServerFailed, 503: Throttled}
    assert type(await failure(server.peer())) is kinds[status]


@pytest.mark.parametrize(
    "body", [b"<html>log in to our Wi-Fi</html>", b"", b"OK", b"[1,2]", b'{"results":7,"last_seq":1}', b"{}", b"null"]
)
async def test_a_success_that_is_something_else_is_a_bad_answer(server: ScriptedServer, body: bytes):
    server.on(CHANGES, raw_answer(body))
    found = await failure(server.peer())
    assert type(found) is BadAnswer
    assert trouble_of(found) is Trouble.BAD_ANSWER


@pytest.mark.parametrize("cut", range(1, len(FEED), 7))
async def test_json_that_breaks_off_is_tried_again_as_a_broken_line_is(server: ScriptedServer, cut: int):
    server.on(CHANGES, raw_answer(FEED[:cut]))
    found = await failure(server.peer())
    assert type(found) is Undecodable
    assert trouble_of(found) is Trouble.TRANSPORT


async def test_an_answer_cut_by_the_connection_is_unreachable(server: ScriptedServer):
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(FEED))})
        await response.prepare(request)
        await response.write(FEED[:20])
        assert request.transport is not None
        request.transport.abort()
        return response

    server.on(CHANGES, cut)
    assert type(await failure(server.peer())) is Unreachable


async def test_a_connection_reset_before_the_answer_is_unreachable(server: ScriptedServer):
    async def reset(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    server.on(CHANGES, reset)
    assert type(await failure(server.peer())) is Unreachable


async def test_an_answer_in_pieces_of_one_byte_is_read_whole(server: ScriptedServer):
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for byte in FEED:
            await response.write(bytes([byte]))
        return response

    server.on(CHANGES, drip)
    async with server.peer() as peer:
        page = await peer.changes(Seq("0"), limit=10)
    assert [(row.id, row.seq) for row in page.rows] == [("a", "1-x"), ("b", None)]
    assert page.last_seq == "7"


async def test_a_compressed_answer_is_read(server: ScriptedServer):
    server.on(CHANGES, raw_answer(gzip.compress(FEED), Content_Encoding="gzip"))
    async with server.peer() as peer:
        assert len((await peer.changes(Seq("0"), limit=10)).rows) == 2


async def test_an_answer_that_does_not_decompress_is_a_bad_answer(server: ScriptedServer):
    server.on(CHANGES, raw_answer(b"\x1f\x8b nonsense", Content_Encoding="gzip"))
    assert isinstance(await failure(server.peer()), BadAnswer)


async def test_an_answer_that_would_fill_the_memory_is_given_up(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(couch_requests, "MAX_ANSWER", 100_000)
    bomb = gzip.compress(b"[" + b" " * 50_000_000)
    server.on(CHANGES, raw_answer(bomb, Content_Encoding="gzip"))
    found = await failure(server.peer())
    assert type(found) is BatchRefused
    assert trouble_of(found) is Trouble.BATCH_REFUSED  # so it is asked for in smaller parts


async def test_silence_has_an_end(server: ScriptedServer):
    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        return web.Response()

    server.on(CHANGES, silent)
    assert type(await failure(server.peer(timeouts=Timeouts(connect=5, silence=0.2, feed=0.2)))) is TimedOut


@asynccontextmanager
async def deaf_server() -> AsyncIterator[str]:
    """Takes connections and never reads from them; its URL."""
    accepted: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
        accepted.append(writer)
        await asyncio.Event().wait()
        assert reader

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/clinic"
    finally:
        for writer in accepted:
            writer.transport.abort()
        server.close()


MUCH = 24 * 1024 * 1024  # bytes: more than the sockets of both ends hold


@pytest.mark.parametrize("files", [{}, {"f": bytes(MUCH)}])
async def test_a_server_that_does_not_take_what_is_sent_has_an_end(files: dict[str, bytes]):
    source = MemoryPeer()
    body = b"{}" if files else b'{"x":"' + b"y" * MUCH + b'"}'
    sent = revision("a", rev(1, 1), body=body, files=files)
    source.put(sent, files)
    async with deaf_server() as url, CouchPeer(url, timeouts=Timeouts(sending=0.3)) as peer:
        with pytest.raises(TimedOut):
            await peer.write([sent], source)


async def test_a_source_that_takes_its_time_is_not_the_servers_fault(server: ScriptedServer):
    class Slow(MemoryPeer):
        async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:
            async for piece in super().attachment(doc_id, rev, name):
                yield piece[:1]
                await asyncio.sleep(0.3)
                yield piece[1:]

    server.on("PUT /clinic/a", json_answer({"ok": True, "id": "a", "rev": rev(1, 1)}, 201))
    source, data = Slow(), bytes(300_000)
    sent = revision("a", rev(1, 1), files={"f": data})
    source.put(sent, {"f": data})
    async with server.peer(timeouts=Timeouts(sending=0.1)) as peer:
        assert await peer.write([sent], source) == []


@pytest.mark.parametrize(
    "answer", [{"error": "not_found", "reason": "missing"}, {"error": "not_found", "reason": "no_db_file"}]
)
async def test_a_slash_that_is_not_encoded_gets_a_hint(server: ScriptedServer, answer: dict[str, str]):
    server.on("GET /clinic/north", json_answer(answer, 404))
    async with CouchPeer(server.url + "/clinic/north") as peer:
        with pytest.raises(DatabaseMissing, match="write it as %2F"):
            await peer.info()


async def test_silence_can_be_cancelled_and_leaves_no_task_and_no_socket(server: ScriptedServer):
    arrived = asyncio.Event()

    async def silent(_: web.Request) -> web.StreamResponse:
        arrived.set()
        await asyncio.sleep(3600)
        return web.Response()

    server.on(CHANGES, silent)
    before = asyncio.all_tasks()
    async with server.peer() as peer:
        waiting = asyncio.ensure_future(peer.changes(Seq("0"), limit=10))
        await arrived.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert waiting not in asyncio.all_tasks() - before


async def test_where_nobody_listens_is_unreachable():
    found = await failure(CouchPeer("http://127.0.0.1:1/clinic"))
    assert type(found) is Unreachable
    assert "there is no connection to http://127.0.0.1:1/clinic" in str(found)


def self_signed() -> bytes:
    """A key and a certificate for it that it signed itself, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(pem, form, serialization.NoEncryption()) + certificate.public_bytes(pem)


async def test_a_certificate_that_nobody_vouches_for_is_refused_before_any_credentials_are_sent(tmp_path: Path):
    (tmp_path / "server.pem").write_bytes(self_signed())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    requests = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        requests.append(request)
        return web.Response()

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]
    found = await failure(CouchPeer(f"https://nurse:pw@127.0.0.1:{port}/clinic"))
    await runner.cleanup()
    assert type(found) is Unreachable
    assert "clock" in str(found)
    assert requests == []


async def test_another_database_under_the_address_is_a_bad_answer(server: ScriptedServer):
    server.on("GET /clinic", json_answer({"db_name": "other", "update_seq": "1"}))
    async with server.peer() as peer:
        with pytest.raises(BadAnswer, match="another name"):
            await peer.info()


async def test_an_attachment_cut_by_the_connection_is_an_error_and_not_a_short_attachment(server: ScriptedServer):
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 500)
        assert request.transport is not None
        request.transport.abort()
        return response

    server.on("GET /clinic/a/f", cut)
    async with server.peer() as peer:
        with pytest.raises(PeerError):
            _ = [piece async for piece in peer.attachment(DocId("a"), Rev("1-a"), "f")]


async def test_a_server_without_ensure_full_commit_needs_no_asking(server: ScriptedServer):
    async with server.peer() as peer:
        await peer.commit()
    assert server.count("POST /clinic/_ensure_full_commit") == 1


@pytest.mark.parametrize("begun", [b"", b'{"results":['], ids=["before the answer", "in the middle of it"])
async def test_closing_the_peer_ends_what_is_under_way(server: ScriptedServer, begun: bytes):
    arrived = asyncio.Event()

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        if begun:
            await response.prepare(request)
            await response.write(begun)
        arrived.set()
        await asyncio.sleep(3600)
        return response

    server.on(CHANGES, endless)
    async with server.peer() as peer:
        waiting = asyncio.ensure_future(peer.changes(Seq("0"), limit=10))
        await arrived.wait()
        await asyncio.sleep(0.05)
        await peer.close()
        with pytest.raises(Unreachable):
            await asyncio.wait_for(waiting, 20)
        assert (await peer.info()).name == "clinic"
