"""The proxy does to a connection what a fault says, and nothing else."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web

from icure_sync.errors import InvalidEntity
from icure_sync.testing import (
    CAPTIVE_PORTAL,
    RESET_AFTER,
    RESET_BEFORE,
    SILENCE,
    Ending,
    Fault,
    FaultProxy,
    ScriptedServer,
    json_answer,
    raw_answer,
    refusal,
    to,
    within,
)
from tests.tidiness import nothing_left, until

BODY = b'{"rows":[' + b"1," * 500 + b"1]}"
READ = "GET /clinic/a"
WRITE = "POST /clinic/_bulk_docs"


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as running:
        running.on(READ, raw_answer(BODY))
        running.on(WRITE, json_answer([], 201))
        yield running


@pytest.fixture
async def proxy(server: ScriptedServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(server.url.replace("//", "//nurse:sesame@") + "/clinic") as running:
        yield running


@asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.mark.parametrize(
    "parts",
    [
        {"rate": 0},
        {"rate": -1},
        {"rate": float("nan")},
        {"piece": 0},
        {"latency": -1},
        {"latency": float("inf")},
        {"jitter": -0.1},
        {"cut_request": -1},
        {"cut_answer": -5},
    ],
    ids=str,
)
def test_what_no_line_can_do_is_refused(parts: dict[str, float]):
    (name,) = parts
    with pytest.raises(InvalidEntity, match=f"{name} is "):
        Fault(**parts)  # type: ignore[arg-type]  # whole numbers where they are wanted


async def test_rules_that_could_never_hold_are_refused(proxy: FaultProxy):
    for rule in ({"first": 0}, {"times": -1}):
        with pytest.raises(InvalidEntity, match=f"{next(iter(rule))} is "):
            proxy.inject(RESET_BEFORE, **rule)


async def test_what_passed_is_a_sequence(proxy: FaultProxy):
    for _ in range(3):
        await read(proxy)
    assert [each.path for each in proxy.exchanges[:2]] == ["/clinic/a"] * 2


async def read(proxy: FaultProxy) -> bytes:
    async with client() as session, session.get(proxy.url + "/a") as answer:
        return await answer.read()


async def write(proxy: FaultProxy, data: bytes = BODY) -> int:
    async with client() as session, session.post(proxy.url + "/_bulk_docs", data=io.BytesIO(data)) as answer:
        await answer.read()
        return answer.status


async def test_without_a_fault_everything_passes_as_it_is(proxy: FaultProxy, server: ScriptedServer):
    assert await read(proxy) == BODY
    assert await write(proxy) == 201
    assert server.last(WRITE).body == BODY
    first, second = proxy.exchanges
    assert (first.method, first.path, first.status) == ("GET", "/clinic/a", 200)
    assert (second.method, second.path, second.status) == ("POST", "/clinic/_bulk_docs", 201)
    assert first.received > len(BODY)
    assert second.sent > len(BODY)


async def test_chunked_bodies_pass_both_ways_on_one_connection(proxy: FaultProxy, server: ScriptedServer):
    async def chunked(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for start in range(0, len(BODY), 100):
            await response.write(BODY[start : start + 100])
        return response

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(BODY), 77):
            yield BODY[start : start + 77]

    server.on(READ, chunked)
    async with client() as session:
        for _ in range(3):
            async with session.get(proxy.url + "/a") as answer:
                assert await answer.read() == BODY
            async with session.post(proxy.url + "/_bulk_docs", data=pieces()) as answer:
                assert answer.status == 201
        assert proxy.connections == 2
    assert server.last(WRITE).body == BODY


async def test_answers_without_a_body_leave_the_connection_usable(proxy: FaultProxy, server: ScriptedServer):
    server.on("HEAD /clinic/a", raw_answer(BODY))
    server.on("DELETE /clinic/a", raw_answer(b"", 204))
    async with client() as session:
        for method in ("HEAD", "DELETE", "GET"):
            async with session.request(method, proxy.url + "/a") as answer:
                assert await answer.read() == (BODY if method == "GET" else b"")
        assert proxy.connections == 2


async def test_an_answer_that_ends_with_its_connection_passes_whole(proxy: FaultProxy, server: ScriptedServer):
    async def unframed(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)
        request.transport.close()
        return web.Response()

    server.on(READ, unframed)
    assert await read(proxy) == BODY


async def test_a_server_that_answers_before_it_has_read_everything_is_heard():
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await asyncio.sleep(0.05)
        writer.transport.abort()
        ended.set()

    ended = asyncio.Event()
    hasty = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = hasty.sockets[0].getsockname()[1]
    async with FaultProxy(f"http://127.0.0.1:{port}/clinic") as through:
        assert await write(through, bytes(3_000_000)) == 413
        await ended.wait()
    hasty.close()
    await hasty.wait_closed()


async def test_a_request_is_delayed(proxy: FaultProxy):
    proxy.inject(Fault(latency=0.2, jitter=0.05))
    clock = asyncio.get_running_loop()
    start = clock.time()
    await read(proxy)
    assert clock.time() - start >= 0.2


async def test_a_line_has_a_rate(proxy: FaultProxy):
    proxy.inject(Fault(rate=20_000))
    clock = asyncio.get_running_loop()
    start = clock.time()
    assert await write(proxy, bytes(5_000)) == 201
    assert clock.time() - start >= 5_000 / 20_000 * 0.9


async def test_an_answer_comes_in_pieces(proxy: FaultProxy):
    proxy.inject(Fault(piece=1))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rsplit(":", 1)[1].split("/")[0]))
    writer.write(b"GET /clinic/a HTTP/1.1\r\nHost: x\r\n\r\n")
    first = await reader.read(100_000)
    assert len(first) < 100
    whole = first + await reader.readuntil(BODY[-2:])
    assert whole.endswith(BODY)
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.RESET])
@pytest.mark.parametrize("after", [0, 1, 20, 100])
async def test_an_answer_is_cut_after_so_many_bytes(proxy: FaultProxy, server: ScriptedServer, ending, after):
    rule = proxy.inject(Fault(cut_answer=after, ending=ending), times=1)
    with pytest.raises(aiohttp.ClientError):
        await write(proxy)
    assert rule.applied == 1
    assert proxy.exchanges[-1].received == after
    assert server.count(WRITE) == 1
    assert await read(proxy) == BODY


@pytest.mark.parametrize("ending", [Ending.CLOSE, Ending.RESET])
@pytest.mark.parametrize("after", [0, 30, 500])
async def test_a_request_that_is_cut_is_never_done(proxy: FaultProxy, server: ScriptedServer, ending, after):
    proxy.inject(Fault(cut_request=after, ending=ending), to("POST", "/_bulk_docs"), times=1)
    with pytest.raises((aiohttp.ClientError, OSError)):
        await write(proxy)
    assert server.count(WRITE) == 0
    assert proxy.exchanges[-1].sent == after
    assert await write(proxy) == 201


async def test_a_cut_behind_the_end_changes_nothing(proxy: FaultProxy):
    proxy.inject(Fault(cut_answer=1_000_000, cut_request=1_000_000, ending=Ending.RESET))
    assert await read(proxy) == BODY


async def test_a_reset_is_one(proxy: FaultProxy):
    for fault in (RESET_BEFORE, RESET_AFTER):
        proxy.inject(fault, times=1)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rsplit(":", 1)[1].split("/")[0]))
        writer.write(b"GET /clinic/a HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.transport.abort()


@pytest.mark.parametrize("fault", [SILENCE, Fault(cut_answer=30, ending=Ending.SILENCE)])
async def test_silence_lasts_until_the_client_goes(proxy: FaultProxy, fault: Fault):
    proxy.inject(fault, times=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await read(proxy)
    await quiet(proxy)
    assert await read(proxy) == BODY


async def quiet(proxy: FaultProxy) -> None:
    await until(lambda: not proxy.connections)


async def test_an_answer_in_the_servers_stead(proxy: FaultProxy, server: ScriptedServer):
    proxy.inject(Fault(answer=refusal(429, "slow_down", "please", Retry_After="3")), to("POST", "/_bulk_docs"), times=1)
    async with client() as session:
        async with session.post(proxy.url + "/_bulk_docs", data=bytes(500_000)) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
            assert (await answer.json())["error"] == "slow_down"
        async with session.post(proxy.url + "/_bulk_docs", data=BODY) as answer:
            assert answer.status == 201
    assert server.count(WRITE) == 1


async def test_rules_count_and_the_latest_goes_first(proxy: FaultProxy):
    always = proxy.inject(Fault(answer=CAPTIVE_PORTAL), within("GET", "/a"))
    third = proxy.inject(Fault(answer=raw_answer(b"third")), to("GET", "/a"), first=3, times=2)
    found = [await read(proxy) for _ in range(5)]
    assert found == [CAPTIVE_PORTAL.body, CAPTIVE_PORTAL.body, b"third", b"third", CAPTIVE_PORTAL.body]
    assert (always.applied, third.applied, third.met) == (3, 2, 5)
    proxy.heal()
    assert await read(proxy) == BODY


async def test_offline_refuses_and_cuts_and_online_is_at_the_same_place(proxy: FaultProxy):
    url = proxy.url
    async with client() as session:
        async with session.get(url + "/a") as answer:
            await answer.read()
        assert proxy.connections == 2
        await proxy.offline()
        assert proxy.connections == 0
        with pytest.raises(aiohttp.ClientError):
            await session.get(url + "/a")
        await proxy.online()
        assert proxy.url == url
        async with session.get(url + "/a") as answer:
            assert await answer.read() == BODY


async def test_going_offline_ends_what_is_under_way(proxy: FaultProxy):
    proxy.inject(Fault(cut_answer=200, ending=Ending.SILENCE))
    waiting = asyncio.ensure_future(read(proxy))
    await asyncio.sleep(0.1)
    await proxy.offline()
    with pytest.raises(aiohttp.ClientError):
        await waiting


async def test_a_server_that_is_not_there_is_a_connection_that_breaks():
    async with FaultProxy("http://127.0.0.1:1/clinic") as through:
        with pytest.raises(aiohttp.ClientError):
            await read(through)


async def test_a_feed_passes_as_it_comes_and_ends_upstream_when_the_client_goes(
    proxy: FaultProxy, server: ScriptedServer
):
    gone = asyncio.Event()

    async def beats(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"\n")
                await asyncio.sleep(0.01)
        finally:
            gone.set()

    server.on(READ, beats)
    async with client() as session, session.get(proxy.url + "/a") as answer:
        for _ in range(3):
            assert await answer.content.readany()
    async with asyncio.timeout(10):
        await gone.wait()
    await quiet(proxy)


async def test_no_socket_and_no_task_outlives_the_proxy(server: ScriptedServer):
    async with nothing_left():
        async with FaultProxy(server.url + "/clinic") as through:
            through.inject(SILENCE, first=3)
            await read(through)
            await write(through)
            waiting = [asyncio.ensure_future(read(through)) for _ in range(5)]
            await until(lambda: through.connections >= 5)
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_what_is_no_http_ends_the_connection(proxy: FaultProxy):
    port = int(proxy.url.rsplit(":", 1)[1].split("/")[0])
    for garbage in (b"\x00" * 200_000, b"half a head", b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(garbage)
        writer.write_eof()
        with suppress(OSError):
            assert await reader.read() == b""
        writer.transport.abort()
    assert await read(proxy) == BODY


async def test_credentials_go_with_the_url_and_show_nowhere_else(proxy: FaultProxy, caplog: pytest.LogCaptureFixture):
    caplog.set_level("DEBUG")
    assert "nurse:sesame@127.0.0.1" in proxy.url
    await read(proxy)
    assert "sesame" not in repr(proxy) + repr(proxy.exchanges) + caplog.text


async def test_only_plain_http_can_be_proxied():
    for url in ("https://127.0.0.1/clinic", "nothing"):
        with pytest.raises(InvalidEntity):
            FaultProxy(url)
