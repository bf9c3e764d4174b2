"""Many clients, and slow ones: deadlines for heads and bodies, a limit of connections, hundreds of feeds that wait."""

import asyncio
import io
import json
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from icure_sync.hub import bodies, connections
from icure_sync.hub.server import Hub
from tests.hub.conftest import ADMIN, Browser

FEEDS = 300
LOGIN = f"Authorization: {aiohttp.encode_basic_auth(*ADMIN)}\r\nHost: hub\r\n"


async def connect(hub: Hub) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", hub.port)


async def closed(reader: asyncio.StreamReader) -> bytes:
    """What comes before the hub ends the connection."""
    async with asyncio.timeout(30):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize("head", [b"", b"GE", b"GET / HTTP/1.1\r\nHost: hub\r\nX-Slow: "])
async def test_who_never_ends_the_head_of_a_request_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes
):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.2)
    async with Hub(tmp_path / "slow", admin=ADMIN) as hub:
        reader, writer = await connect(hub)
        writer.write(head)
        assert await closed(reader) == b""
        writer.close()


async def test_an_idle_connection_ends_also_in_the_middle_of_a_later_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.3)
    async with Hub(tmp_path / "slow", admin=ADMIN) as hub:
        reader, writer = await connect(hub)
        writer.write(b"GET /_up HTTP/1.1\r\nHost: hub\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.write(b"GET /_up HT")
        assert b'"status":"ok"' in await closed(reader)
        writer.close()


async def test_a_request_under_way_outlives_the_deadline_of_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 1.0)
    async with Hub(tmp_path / "slow", admin=ADMIN) as hub:
        reader, writer = await connect(hub)
        target = "/_users/_changes?feed=continuous&since=now&timeout=1500"
        writer.write(f"GET {target} HTTP/1.1\r\n{LOGIN}Connection: close\r\n\r\n".encode())
        assert b"last_seq" in await closed(reader)
        writer.close()


async def test_a_body_that_trickles_is_refused_and_a_slow_one_taken(
    browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bodies, "BODY_SECONDS", 1.5)

    async def send(path: str, pieces: list[bytes], pause: float) -> bytes:
        reader, writer = await connect(browse.hub)
        length = sum(map(len, pieces))
        head = f"PUT {clinic}/{path} HTTP/1.1\r\n{LOGIN}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        answer = asyncio.create_task(closed(reader))
        for piece in pieces:
            if not answer.done():
                writer.write(piece)
                await asyncio.sleep(pause)
        writer.close()
        return await answer

    trickle = send("john", [b'{"v":', b"1"] + [b" "] * 30 + [b"}"], 0.1)
    slow = send("ann", [b'{"v":"'] + [b"x" * 100] * 8 + [b'"}'], 0.1)
    burst = send("burst", [b'{"v":"' + b"x" * 10_000] + [b"x"] * 30 + [b'"}'], 0.1)  # fast first: nothing is saved up
    refused, taken, hasty, waiting = await asyncio.gather(trickle, slow, burst, never_ends(browse, clinic))
    for one in (refused, hasty, waiting):
        assert one.startswith(b"HTTP/1.1 408")
        assert b'"error":"timeout"' in one
    assert taken.startswith(b"HTTP/1.1 201")
    assert (await browse("GET", f"{clinic}/john")).status == 404


async def never_ends(browse: Browser, clinic: str) -> bytes:
    """An attachment of which only the first bytes come."""
    reader, writer = await connect(browse.hub)
    writer.write(f"PUT {clinic}/john/file HTTP/1.1\r\n{LOGIN}Content-Length: 999\r\n\r\nx".encode())
    answer = await closed(reader)
    writer.close()
    return answer


async def test_who_takes_nothing_of_a_long_answer_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.2)
    async with Hub(tmp_path / "stalled", admin=ADMIN) as hub, aiohttp.ClientSession() as session:
        login = {"Authorization": aiohttp.encode_basic_auth(*ADMIN)}
        await session.put(f"{hub.url}/clinic", headers=login)
        docs = [{"_id": f"{number:03d}", "v": "x" * 100_000} for number in range(200)]
        body = io.BytesIO(json.dumps({"docs": docs}).encode())
        await session.post(
            f"{hub.url}/clinic/_bulk_docs", data=body, headers=login | {"Content-Type": "application/json"}
        )
        reader, writer = await connect(hub)
        target = "/clinic/_all_docs?include_docs=true"
        writer.write(f"GET {target} HTTP/1.1\r\n{LOGIN}\r\n".encode())
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # nothing is taken off the socket
        async with asyncio.timeout(30):
            while hub._runner.server.connections[1:]:  # type: ignore[union-attr]  # noqa: ASYNC110  (the other end's)
                await asyncio.sleep(0.05)
        writer.close()


async def test_one_connection_too_many_is_told_so_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    async with Hub(tmp_path / "full", admin=ADMIN) as hub:
        open_ones = [await connect(hub) for _ in range(3)]
        for reader, writer in open_ones:
            writer.write(b"GET /_up HTTP/1.1\r\nHost: hub\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        reader, writer = await connect(hub)
        answer = await closed(reader)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"Retry-After" in answer
        writer.close()
        open_ones[0][1].close()
        async with asyncio.timeout(30):
            while len(hub._runner.server.connections) > 2:  # type: ignore[union-attr]  # noqa: ASYNC110  (as above)
                await asyncio.sleep(0.01)
        reader, writer = await connect(hub)
        writer.write(b"GET /_up HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
        assert (await closed(reader)).startswith(b"HTTP/1.1 200")
        for _, one in (*open_ones, (reader, writer)):
            one.close()


def test_there_are_never_more_connections_than_files(monkeypatch: pytest.MonkeyPatch):
    for files, most in ((1_024, 924), (10, 1), (10**6, connections.MAX_CONNECTIONS), (resource.RLIM_INFINITY, 5_000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert connections.most_connections() == most


@pytest.fixture
async def feeds(
    browse: Browser, clinic: str, request: pytest.FixtureRequest
) -> AsyncIterator[list[asyncio.StreamReader]]:
    """So many clients on one kind of feed of an empty database, all waiting."""
    await browse("GET", clinic)  # the password has been judged once
    opened = []
    for _ in range(FEEDS):
        reader, writer = await connect(browse.hub)
        target = f"{clinic}/_changes?feed={request.param}&heartbeat=60000&since=now"
        writer.write(f"GET {target} HTTP/1.1\r\n{LOGIN}\r\n".encode())
        opened.append((reader, writer))
    for reader, _ in opened:
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await reader.readuntil(b"\r\n\r\n")
    yield [reader for reader, _ in opened]
    for _, writer in opened:
        writer.close()


@pytest.mark.parametrize("feeds", ["longpoll", "continuous"], indirect=True)
async def test_hundreds_of_feeds_that_wait_all_get_the_row_in_bounded_memory(
    browse: Browser, clinic: str, feeds: list[asyncio.StreamReader]
):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await browse("PUT", f"{clinic}/john", {"v": 1})
    async with asyncio.timeout(60):
        for reader in feeds:
            text = await reader.readuntil(b'"id":"john"')
            assert b'"seq"' in text
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # kilobytes
    assert grown < 50 * FEEDS
    found = (await browse("GET", f"{clinic}/_changes")).json
    assert json.dumps(found["results"]).count("john") == 1
