"""The way to a server: certificates that are trusted or not, and proxies that the environment names."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web

from icure_sync.errors import BadAnswer, IcureSyncError, InvalidEntity, PeerError, TimedOut, Unauthorized, Unreachable
from icure_sync.hub import Hub
from icure_sync.hub import server as hub_server
from icure_sync.hub.limits import MIN_PASSWORD_ROUNDS
from icure_sync.ids import DocId
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.couch_requests import Timeouts
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Revision
from icure_sync.testing import ScriptedServer, json_answer, raw_answer
from tests.peers.cancelling import cancel_everywhere
from tests.replicas import rev, revision
from tests.tidiness import nothing_left

PASSWORD = "hub-pw-1"
PROXIES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """None but those that a test names."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> Path:
    """The file of the authority's certificate."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def speaking_as(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@asynccontextmanager
async def tls_hub(folder: Path, certificate: trustme.LeafCert, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """`https://admin:password@host:port` of a hub with this certificate; it listens on 127.0.0.1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub_server, "PASSWORD_ROUNDS", MIN_PASSWORD_ROUNDS)
        async with Hub(folder / "hub", admin=("admin", PASSWORD), tls=speaking_as(certificate)) as hub:
            yield f"https://admin:{PASSWORD}@{host}:{hub.port}"


async def make_database(url: str, context: ssl.SSLContext) -> None:
    """A database `clinic` on a hub that only TLS leads to."""
    name, _, server = url.removeprefix("https://").rpartition("@")
    headers = {"Authorization": aiohttp.encode_basic_auth(*name.split(":"))}
    connector = aiohttp.TCPConnector(ssl=context)
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers) as session,
        session.put(f"https://{server}/clinic") as answer,
    ):
        assert answer.status == 201


def trusting(ca: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


async def replicate_a_little(peer: CouchPeer) -> None:
    """Every kind of request: documents, an attachment streamed both ways, a feed."""
    data = bytes(range(256)) * 2_000
    source = MemoryPeer()
    sent = revision("a", rev(1, 1), files={"f": data})
    source.put(sent, {"f": data})
    assert await peer.write([sent, revision("b", rev(1, 1), body=b'{"x":"%s"}' % (b"y" * 200_000))], source) == []
    found = await peer.fetch({DocId("a"): [rev(1, 1)], DocId("b"): [rev(1, 1)]})
    assert all(isinstance(each, Revision) for each in found)
    assert b"".join([piece async for piece in peer.attachment(DocId("a"), rev(1, 1), "f")]) == data
    feed = peer.follow("0")
    seen: set[str] = set()
    while len(seen) < 2:
        seen |= {row.id for row in (await anext(feed)).rows}
    await feed.aclose()


async def failure(peer: CouchPeer) -> IcureSyncError:
    async with peer:
        with pytest.raises(IcureSyncError) as raised:
            await peer.info()
    shown = str(raised.value)
    assert PASSWORD not in shown
    assert "\n" not in shown
    return raised.value


async def test_a_hub_with_a_certificate_of_ones_own_authority_is_a_peer(authority, ca, tmp_path):
    async with tls_hub(tmp_path, authority.issue_cert("127.0.0.1")) as url:
        await make_database(url, trusting(ca))
        async with CouchPeer(url + "/clinic", ca=ca) as peer:
            await replicate_a_little(peer)


async def test_a_name_that_is_in_the_certificate_is_verified_as_well(authority, ca, tmp_path):
    async with tls_hub(tmp_path, authority.issue_cert("localhost"), "localhost") as url:
        await make_database(url, trusting(ca))
        async with CouchPeer(url + "/clinic", ca=str(ca)) as peer:
            assert (await peer.info()).name == "clinic"


async def test_the_servers_own_certificate_may_be_the_one_that_is_trusted(authority, ca, tmp_path):
    certificate = authority.issue_cert("127.0.0.1")
    pinned = tmp_path / "server.pem"
    certificate.cert_chain_pems[0].write_to_path(str(pinned))
    async with tls_hub(tmp_path, certificate) as url:
        await make_database(url, trusting(ca))
        async with CouchPeer(url + "/clinic", ca=pinned) as peer:
            assert (await peer.info()).name == "clinic"


NOW = datetime.now(UTC)
DAY = timedelta(days=1)


async def test_a_certificate_that_nobody_trusted_vouches_for_is_refused(authority, tmp_path):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    async with tls_hub(tmp_path, authority.issue_cert("127.0.0.1")) as url:
        for named in (None, other):
            found = await failure(CouchPeer(url + "/clinic", ca=named))
            assert type(found) is Unreachable
            assert "no certificate that can be trusted" in found.wrong
            assert "CA certificate" in found.next_step
            assert "this device's clock" in found.next_step


@pytest.mark.parametrize(
    ("start", "wrong"), [(-9, "is out of date"), (1, "is not valid yet")], ids=["expired", "not yet"]
)
async def test_a_certificate_that_is_not_valid_now_leads_to_the_clock(authority, ca, tmp_path, start, wrong):
    dated = authority.issue_cert("127.0.0.1", not_before=NOW + start * DAY, not_after=NOW + (start + 8) * DAY)
    async with tls_hub(tmp_path, dated) as url:
        found = await failure(CouchPeer(url + "/clinic", ca=ca))
    assert type(found) is Unreachable
    assert wrong in found.wrong
    assert "check this device's clock" in found.next_step


@pytest.mark.parametrize("name", ["hub.example", "127.0.0.2"])
async def test_the_certificate_of_another_host_is_refused(authority, ca, tmp_path, name: str):
    async with tls_hub(tmp_path, authority.issue_cert(name)) as url:
        found = await failure(CouchPeer(url + "/clinic", ca=ca))
    assert type(found) is Unreachable
    assert "certificate of another host" in found.wrong


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (None, "No such file"),
        (b"", "no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate"),
        (b"\x30\x82\x01\x00", "no certificate"),
    ],
    ids=["absent", "empty", "broken", "binary"],
)
def test_a_file_that_cannot_be_trusted_is_said_to_be_one(tmp_path: Path, content: bytes | None, wrong: str):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidEntity, match=r"cannot trust the certificates in .*ca\.pem") as raised:
        CouchPeer("https://nurse:secret-pw@hub.example/clinic", ca=path)
    assert wrong in raised.value.wrong
    assert "secret-pw" not in str(raised.value)


def test_a_folder_is_no_file_of_certificates(tmp_path: Path):
    with pytest.raises(InvalidEntity, match="cannot trust the certificates"):
        CouchPeer("https://hub.example/clinic", ca=tmp_path)


def test_trusting_certificates_means_to_use_tls(ca: Path):
    with pytest.raises(InvalidEntity, match="https://"):
        CouchPeer("http://hub.example/clinic", ca=ca)


async def test_https_where_no_tls_is_spoken_is_told_so(server: ScriptedServer):
    found = await failure(CouchPeer(server.url.replace("http:", "https:") + "/clinic"))
    assert type(found) is Unreachable
    assert "does not speak TLS" in found.wrong
    assert not server.seen


async def test_https_at_a_server_that_keeps_silent_about_it_is_told_so():
    """As a CouchDB without TLS does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"https://127.0.0.1:{listening.getsockname()[1]}/clinic"
        found = await failure(CouchPeer(address, timeouts=Timeouts(connect=0.2)))
    assert type(found) is TimedOut
    assert "no connection" in found.wrong


async def test_http_where_tls_is_spoken_gets_the_hint(authority, tmp_path):
    async with tls_hub(tmp_path, authority.issue_cert("127.0.0.1")) as url:
        found = await failure(CouchPeer(url.replace("https:", "http:") + "/clinic"))
    assert type(found) is Unreachable
    assert "https:// if the server speaks TLS" in found.next_step


async def test_a_tls_alert_in_answer_to_http_gets_the_hint():
    """As OpenSSL and Erlang's ssl send one."""

    async def alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\x15\x03\x01\x00\x02\x02\x46")
        writer.close()

    listening = await asyncio.start_server(alert, "127.0.0.1", 0)
    async with listening:
        found = await failure(CouchPeer(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/clinic"))
    assert type(found) is BadAnswer
    assert "https:// if the server speaks TLS" in found.next_step


async def test_words_in_answer_to_http_that_name_https_get_the_hint(server: ScriptedServer):
    """As nginx and Go's servers say it."""
    words = b"<html>400 The plain HTTP request was sent to HTTPS port</html>"
    server.on("GET /clinic", raw_answer(words, 400, "text/html"))
    found = await failure(server.peer())
    assert type(found) is BadAnswer
    assert "https://" in found.next_step


async def test_a_redirect_from_https_to_http_is_refused_and_no_credentials_follow_it(
    authority, ca, server: ScriptedServer
):
    async def moved(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=301, headers={"Location": server.url + "/_session"})

    runner = web.ServerRunner(web.Server(moved))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=speaking_as(authority.issue_cert("127.0.0.1")))
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]
    try:
        found = await failure(CouchPeer(f"https://nurse:{PASSWORD}@127.0.0.1:{port}/clinic", ca=ca))
    finally:
        await runner.cleanup()
    assert type(found) is BadAnswer
    assert "redirects" in found.wrong
    assert not server.seen


# Proxies. Names under `example` are known to the proxy alone: what arrives has come through it.

LOGIN = "user:proxy-pw"
LOGIN_HEADER = "Basic dXNlcjpwcm94eS1wdw=="


@dataclass
class Proxy:
    """A small HTTP proxy: it tunnels, and forwards requests in absolute form. It takes every host for 127.0.0.1."""

    wants_login: bool = False
    is_deaf: bool = False
    refuses: int = 0
    asked: list[str] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    address: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._serve(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        method, target, _ = head.split(b" ", 2)
        self.asked.append(f"{method.decode()} {target.decode()}")
        if self.is_deaf:
            await reader.read()  # until the other side goes
            return None
        if self.refuses:
            return await self._say(writer, f"{self.refuses} No")
        if self.wants_login and f"Proxy-Authorization: {LOGIN_HEADER}".encode() not in head:
            return await self._say(writer, "407 Proxy Authentication Required")
        if method == b"CONNECT":
            there = await asyncio.open_connection("127.0.0.1", int(target.rpartition(b":")[2]))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            host, _, path = target.removeprefix(b"http://").partition(b"/")
            there = await asyncio.open_connection("127.0.0.1", int(host.rpartition(b":")[2]))
            lines = [line for line in head.split(b"\r\n")[1:-2] if not line.lower().startswith(b"proxy-")]
            lines.append(b"Connection: close")  # one request, so that all of them are seen
            there[1].write(b"\r\n".join([method + b" /" + path + b" HTTP/1.1", *lines, b"", b""]))
        await asyncio.gather(_pour(reader, there[1]), _pour(there[0], writer))
        return None

    async def _say(self, writer: asyncio.StreamWriter, status: str) -> None:
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    running = Proxy()
    listening = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield running


@pytest.fixture
def proxied(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", proxy.address)


async def test_https_goes_through_a_tunnel_that_the_proxy_cannot_look_into(authority, ca, proxy, tmp_path, monkeypatch):
    proxy.wants_login = True
    async with tls_hub(tmp_path, authority.issue_cert("hub.example", "127.0.0.1"), "hub.example") as url:
        await make_database(url.replace("hub.example", "127.0.0.1"), trusting(ca))
        monkeypatch.setenv("HTTPS_PROXY", f"http://{LOGIN}@{proxy.address}/")
        async with CouchPeer(url + "/clinic", ca=ca) as peer:
            await replicate_a_little(peer)
    port = url.rpartition(":")[2]
    assert set(proxy.asked) == {f"CONNECT hub.example:{port}"}
    assert not any(b"AuthSession" in head or b"clinic" in head for head in proxy.heads)


@pytest.mark.parametrize("host", ["127.0.0.1", "hub.example"], ids=["directly", "through a tunnel"])
@pytest.mark.usefixtures("proxied")
async def test_a_connection_cancelled_at_any_await_leaves_nothing_behind(authority, ca, tmp_path, host):
    async with tls_hub(tmp_path, authority.issue_cert("hub.example", "127.0.0.1"), host) as url:
        await make_database(url.replace(host, "127.0.0.1"), trusting(ca))
        peers: list[CouchPeer] = []

        async def first_call() -> None:
            peers.append(CouchPeer(url + "/clinic", ca=ca))
            await peers[-1].info()

        async def goes_on() -> None:
            assert (await peers[-1].info()).doc_count == 0
            await peers[-1].close()

        async with nothing_left():
            assert await cancel_everywhere(first_call, goes_on) > 3
            await peers[-1].close()
            gc.collect()


async def test_http_is_asked_of_the_proxy(proxy, server: ScriptedServer, monkeypatch):
    proxy.wants_login = True
    monkeypatch.setenv("http_proxy", f"{LOGIN}@{proxy.address}")
    port = server.url.rpartition(":")[2]
    async with CouchPeer(f"http://server.example:{port}/clinic") as peer:
        await peer.info()
    assert proxy.asked == [f"GET http://server.example:{port}/clinic"]
    assert "Proxy-Authorization" not in server.last("GET /clinic").headers


async def test_a_server_on_this_machine_is_never_asked_for_through_a_proxy(proxy, server: ScriptedServer, monkeypatch):
    monkeypatch.setenv("http_proxy", proxy.address)
    for host in ("127.0.0.1", "localhost"):
        async with CouchPeer(server.url.replace("127.0.0.1", host) + "/clinic") as peer:
            await peer.info()
    assert proxy.asked == []


async def test_a_server_that_no_proxy_names_is_reached_directly(proxy, server: ScriptedServer, monkeypatch):
    monkeypatch.setenv("http_proxy", proxy.address)
    monkeypatch.setenv("no_proxy", "0.0.0.0")
    async with CouchPeer(server.url.replace("127.0.0.1", "0.0.0.0") + "/clinic") as peer:
        await peer.info()
    assert proxy.asked == []


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_wants_another_login_stops_with_its_name_and_without_its_password(
    proxy, monkeypatch, scheme
):
    proxy.wants_login = True
    monkeypatch.setenv("all_proxy", f"http://user:wrong-pw@{proxy.address}")
    found = await failure(CouchPeer(f"{scheme}://nurse:{PASSWORD}@server.example:5984/clinic"))
    assert type(found) is Unauthorized
    assert proxy.address in found.wrong
    assert "environment" in found.next_step
    assert "wrong-pw" not in str(found)


@pytest.mark.parametrize("status", [403, 502])
async def test_a_proxy_that_makes_no_tunnel_is_unreachable(proxy, monkeypatch, status: int):
    proxy.refuses = status
    monkeypatch.setenv("https_proxy", proxy.address)
    found = await failure(CouchPeer(f"https://nurse:{PASSWORD}@server.example/clinic"))
    assert type(found) is Unreachable
    assert f"({status})" in found.wrong


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_never_answers_has_an_end(proxy, monkeypatch, scheme: str):
    proxy.is_deaf = True
    monkeypatch.setenv("all_proxy", proxy.address)
    peer = CouchPeer(f"{scheme}://server.example:5984/clinic", timeouts=Timeouts(connect=0.3, silence=0.3))
    async with nothing_left():
        assert type(await failure(peer)) is TimedOut


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_not_there_is_named(monkeypatch, scheme: str):
    monkeypatch.setenv("ALL_PROXY", "http://user:proxy-pw@127.0.0.1:1")
    found = await failure(CouchPeer(f"{scheme}://server.example/clinic"))
    assert type(found) is Unreachable
    assert "no connection to the proxy http://127.0.0.1:1" in found.wrong
    assert "proxy-pw" not in str(found)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_whose_name_nobody_knows_is_named(monkeypatch, scheme: str):
    monkeypatch.setenv("ALL_PROXY", "http://user:proxy-pw@no-such-proxy.invalid:3128")
    found = await failure(CouchPeer(f"{scheme}://server.example/clinic"))
    assert type(found) is Unreachable
    assert "no connection to the proxy http://no-such-proxy.invalid:3128" in found.wrong
    assert "proxy-pw" not in str(found)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_wants_a_login_and_got_none_says_so(proxy, monkeypatch, scheme: str):
    proxy.wants_login = True
    monkeypatch.setenv("all_proxy", proxy.address)
    found = await failure(CouchPeer(f"{scheme}://server.example/clinic"))
    assert type(found) is Unauthorized
    assert f"the proxy http://{proxy.address} wants a user and a password" in found.wrong


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_server_that_is_down_behind_a_proxy_is_told_from_one_that_fails(proxy, monkeypatch, status: int):
    proxy.refuses = status
    monkeypatch.setenv("http_proxy", proxy.address)
    found = await failure(CouchPeer(f"http://nurse:{PASSWORD}@server.example:5984/clinic"))
    assert type(found) is Unreachable
    assert f"the proxy http://{proxy.address} makes no connection to http://server.example:5984" in found.wrong
    assert f"({status})" in found.wrong


async def test_credentials_in_a_netrc_are_not_used(proxy, server: ScriptedServer, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    port = server.url.rpartition(":")[2]
    netrc.write_text("default login stolen password netrc-pw\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", proxy.address)
    for host in ("127.0.0.1", "server.example"):
        async with CouchPeer(f"http://{host}:{port}/clinic") as peer:
            await peer.info()
    assert not any("Authorization" in seen.headers for seen in server.seen)
    assert not any(b"uthorization" in head for head in proxy.heads)


async def test_the_answer_of_a_server_behind_a_proxy_is_its_own(proxy, server: ScriptedServer, monkeypatch):
    server.on("GET /clinic", json_answer({"error": "busy", "reason": "later"}, 503))
    monkeypatch.setenv("http_proxy", proxy.address)
    with pytest.raises(PeerError, match=r"server\.example"):
        async with CouchPeer(f"http://server.example:{server.url.rpartition(':')[2]}/clinic") as peer:
            await peer.info()
