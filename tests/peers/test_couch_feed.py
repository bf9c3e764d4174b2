"""A feed that is followed: what comes together is a page, silence has an end, and closing gives everything back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from icure_sync.errors import (
    BadAnswer,
    DatabaseMissing,
    Forbidden,
    IcureSyncError,
    NotFound,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from icure_sync.ids import Seq
from icure_sync.peers import couch_feed
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.couch_requests import Timeouts
from icure_sync.peers.limits import CONNECTIONS
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.checkpoint import START
from icure_sync.replication.filters import device_selector
from icure_sync.replication.trouble import BatchRefused, ServerFailed, Undecodable
from icure_sync.replication.wire import Changes
from icure_sync.testing import ScriptedServer, json_answer
from tests.replicas import rev, revision
from tests.tidiness import nothing_left, open_files, until

CHANGES = "GET /clinic/_changes"
BRISK = Timeouts(heartbeat=0.1)  # the watchdog bites after a quarter of a second
NOWHERE = MemoryPeer()

Writing = Callable[[web.StreamResponse], object]


def line(number: int) -> bytes:
    return b'{"seq":"%d-x","id":"doc-%d","changes":[{"rev":"1-a"}]}\n' % (number, number)


def feed(*pieces: bytes, open_end: bool = False, pause: float = 0.02):
    """A continuous feed in these pieces, with pauses between them."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(pause)
        if open_end:
            await asyncio.sleep(3600)
        return response

    return answer


async def silent(_: web.BaseRequest) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return web.Response()


def page(*numbers: int, last: int | None = None):
    """An answer to a longpoll."""
    rows = [json.loads(line(number)) for number in numbers]
    return json_answer({"results": rows, "last_seq": f"{last if last is not None else numbers[-1]}-x", "pending": 0})


async def followed(peer: CouchPeer, since: str = "0") -> list[Changes]:
    """Everything until the feed ends by itself."""
    async with asyncio.timeout(20), aclosing(peer.follow(Seq(since))) as pages:
        return [page async for page in pages]


async def failure(server: ScriptedServer, *pieces: bytes) -> IcureSyncError:
    server.on(CHANGES, feed(*pieces))
    async with server.peer() as peer:
        with pytest.raises(IcureSyncError) as raised:
            await followed(peer)
    assert str(raised.value).startswith("cannot follow the changes of http://127.0.0.1:")
    return raised.value


def ids(pages: list[Changes]) -> list[list[str]]:
    return [[row.id for row in page.rows] for page in pages]


async def test_what_cuts_a_quiet_feed_twice_alike_is_given_more_signs_of_life(monkeypatch):
    """A proxy between the two, which ends what is silent for 0.3 seconds."""
    monkeypatch.setattr(couch_feed, "SHORTEST_HEARTBEAT_SECONDS", 0.01)
    heartbeats: list[float] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        heartbeats.append(int(request.query["heartbeat"]) / 1000)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"\n")
        while heartbeats[-1] < 0.3:
            await asyncio.sleep(heartbeats[-1])
            await response.write(b"\n")
        await asyncio.sleep(0.3)
        assert request.transport is not None
        request.transport.close()
        return response

    async with ScriptedServer() as server, server.peer(timeouts=Timeouts(heartbeat=5.0)) as peer:
        server.on(CHANGES, answer)
        for _ in range(2):
            with pytest.raises(Unreachable):
                await anext(peer.follow(START))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await anext(peer.follow(START))
    assert heartbeats[:2] == [5.0, 5.0]
    assert len(heartbeats) == 3
    assert heartbeats[2] < 0.2


async def test_lines_that_come_together_make_one_page(server: ScriptedServer):
    server.on(CHANGES, feed(line(1) + line(2) + line(3), line(4), b"\n", line(5) + b'{"last_seq":"5-x","pending":0}\n'))
    async with server.peer() as peer:
        pages = await followed(peer)
    assert ids(pages) == [["doc-1", "doc-2", "doc-3"], ["doc-4"], ["doc-5"]]
    assert [page.last_seq for page in pages] == ["3-x", "4-x", "5-x"]


async def test_the_feed_is_asked_for_with_heartbeats_and_uncompressed(server: ScriptedServer):
    asked = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(dict(request.query))
        return await feed(b'{"last_seq":"9-x"}\n')(request)

    server.on(CHANGES, answer)
    async with server.peer() as peer:
        assert await followed(peer, "7-abc") == []
    assert asked == [{"feed": "continuous", "style": "all_docs", "since": "7-abc", "heartbeat": "20000"}]
    assert server.last(CHANGES).headers["Accept-Encoding"] == "identity"


async def test_a_selector_goes_with_the_request(server: ScriptedServer):
    asked = "POST /clinic/_changes"
    server.on(asked, feed(line(1)))
    selector = device_selector("hcp-a")
    async with server.peer() as peer, aclosing(peer.follow(START, selector=selector)) as pages:
        assert ids([page async for page in pages]) == [["doc-1"]]
    assert json.loads(server.last(asked).body) == {"selector": selector}


async def test_lines_in_pieces_of_one_byte_are_read_whole(server: ScriptedServer):
    text = line(1) + b"\n\n" + line(2).replace(b"\n", b"\r\n")
    server.on(CHANGES, feed(*(bytes([byte]) for byte in text), pause=0))
    async with server.peer() as peer:
        pages = await followed(peer)
    assert [row.id for page in pages for row in page.rows] == ["doc-1", "doc-2"]


async def test_rows_without_a_seq_count_up_to_the_last_one_that_has_one(server: ScriptedServer):
    without = b'{"seq":null,"id":"b","changes":[{"rev":"1-b"}],"deleted":true}\n'
    server.on(CHANGES, feed(without, line(1) + without))
    async with server.peer() as peer:
        first, second = await followed(peer, "0-x")
    assert (first.last_seq, first.rows[0].seq, first.rows[0].deleted) == ("0-x", None, True)
    assert second.last_seq == "1-x"


async def test_what_a_server_says_at_the_end_is_no_place_to_go_on_from(server: ScriptedServer):
    """A database that is deleted ends its feed so, too."""
    server.on(CHANGES, feed(b'{"last_seq":"99-x","pending":0}\n' + line(100)))
    async with server.peer() as peer:
        assert await followed(peer) == []


async def test_a_server_that_closes_ends_the_feed(server: ScriptedServer):
    server.on(CHANGES, feed(line(1), b"\n"))
    async with server.peer() as peer:
        assert ids(await followed(peer)) == [["doc-1"]]


@pytest.mark.parametrize(
    ("error", "reason", "kind"),
    [
        ("unauthorized", "You are not authorized", Unauthorized),
        ("forbidden", "You are not allowed", Forbidden),
        ("not_found", "Database does not exist.", DatabaseMissing),
        ("not_found", "missing", NotFound),
        ("timeout", "The request could not be processed in a reasonable amount of time.", ServerFailed),
        ("badmatch", "", ServerFailed),
    ],
)
async def test_an_error_among_the_rows_becomes_its_kind(server: ScriptedServer, error: str, reason: str, kind):
    words = json.dumps({"error": error, "reason": reason}).encode() + b"\n"
    assert type(await failure(server, line(1), words)) is kind


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        (line(2)[:20], Undecodable),  # the feed ends in the middle of a line
        (line(2)[:20] + b"\n" + line(3), Undecodable),
        (b'{"seq":"2-x","id":"a"}\n', BadAnswer),
        (b'{"seq":"2-x","id":7,"changes":[]}\n', BadAnswer),
        (b"<html>log in to our Wi-Fi</html>\n", BadAnswer),
        (b"[]\n", BadAnswer),
        (b'{"seq":' + b"[" * 5_000 + b"]" * 5_000 + b',"id":"a","changes":[]}\n', BatchRefused),
    ],
)
async def test_a_broken_line_is_an_error_and_what_came_before_it_was_given(server: ScriptedServer, broken: bytes, kind):
    server.on(CHANGES, feed(line(1), broken))
    async with server.peer() as peer, aclosing(peer.follow(START)) as pages:
        assert [row.id for row in (await anext(pages)).rows] == ["doc-1"]
        with pytest.raises(IcureSyncError) as raised:
            await anext(pages)
    assert type(raised.value) is kind


async def test_a_line_without_an_end_is_given_up(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(couch_feed, "MAX_ANSWER", 100_000)
    found = await failure(server, b'{"seq":"1","id":"' + b"x" * 300_000)
    assert type(found) is BatchRefused


async def test_a_feed_cut_by_the_connection_is_unreachable(server: ScriptedServer):
    async def cut(request: web.BaseRequest) -> web.StreamResponse:
        response = await feed(line(1))(request)
        assert request.transport is not None
        request.transport.abort()
        return response

    server.on(CHANGES, cut)
    async with server.peer() as peer:
        with pytest.raises(Unreachable):
            await followed(peer)


async def test_heartbeats_that_stop_mean_a_dead_connection(server: ScriptedServer):
    server.on(CHANGES, feed(line(1), b"\n", open_end=True))
    async with server.peer(timeouts=BRISK) as peer:
        before = open_files()
        with pytest.raises(TimedOut):
            await followed(peer)
        await until(lambda: open_files() <= before)
    assert server.count(CHANGES) == 1


async def test_heartbeats_keep_a_quiet_feed_open(server: ScriptedServer):
    server.on(CHANGES, feed(*[b"\n"] * 8, line(1), pause=0.1))
    async with server.peer(timeouts=BRISK) as peer:
        assert ids(await followed(peer)) == [["doc-1"]]


async def test_a_refusal_of_the_feed_is_its_kind_of_error(server: ScriptedServer):
    server.on(CHANGES, json_answer({"error": "not_found", "reason": "Database does not exist."}, 404))
    async with server.peer() as peer:
        with pytest.raises(DatabaseMissing):
            await followed(peer)


# Something on the way holds continuous feeds back


def by_kind(kinds: list[str], continuous, *longpolls):
    """Answers to a continuous feed, to each longpoll in turn, and to a normal question."""
    left = list(longpolls)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        kind = request.query.get("feed", "normal")
        kinds.append(kind)
        said = continuous if kind == "continuous" else left.pop(0) if len(left) > 1 else left[0]
        if callable(said):
            return await said(request)
        return web.Response(body=said.body, headers=said.headers)

    return answer


async def rest(request: web.BaseRequest) -> web.StreamResponse:
    """A longpoll that runs its whole time and has nothing."""
    await asyncio.sleep(int(request.query["timeout"]) / 1000)
    return web.json_response({"results": [], "last_seq": "4-x"})


async def test_where_a_feed_gives_no_byte_it_is_asked_for_by_longpoll_from_then_on(server: ScriptedServer):
    kinds: list[str] = []
    server.on(CHANGES, by_kind(kinds, silent, page(1, 2), page(3), rest, page(5)))
    async with server.peer(timeouts=BRISK) as peer:
        async with aclosing(peer.follow(START)) as pages:
            found = [await anext(pages) for _ in range(4)]
        assert ids(found) == [["doc-1", "doc-2"], ["doc-3"], [], ["doc-5"]]
        assert [each.last_seq for each in found] == ["2-x", "3-x", "4-x", "5-x"]
        assert kinds == ["continuous", *["longpoll"] * 4]
        async with aclosing(peer.follow(START)) as pages:
            await anext(pages)
    assert kinds == ["continuous", *["longpoll"] * 5]


async def test_headers_alone_are_no_sign_of_life(server: ScriptedServer):
    kinds: list[str] = []
    server.on(CHANGES, by_kind(kinds, feed(open_end=True), page(1)))
    async with server.peer(timeouts=BRISK) as peer, aclosing(peer.follow(START)) as pages:
        assert ids([await anext(pages)]) == [["doc-1"]]
    assert kinds == ["continuous", "longpoll"]


async def test_where_nothing_answers_at_all_a_continuous_feed_is_tried_again(server: ScriptedServer):
    server.on(CHANGES, silent)
    async with server.peer(timeouts=Timeouts(heartbeat=0.05, silence=0.1)) as peer:
        with pytest.raises(TimedOut):
            await followed(peer)
        server.on(CHANGES, feed(line(1)))
        assert ids(await followed(peer)) == [["doc-1"]]


async def test_a_longpoll_that_ends_at_once_without_rows_is_the_end_of_the_feed_and_does_not_spin(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(couch_feed, "FEED_PAUSE_SECONDS", 0.3)
    kinds: list[str] = []
    server.on(CHANGES, by_kind(kinds, silent, page(1), page(last=1)))
    async with server.peer(timeouts=BRISK) as peer:
        start = asyncio.get_running_loop().time()
        assert ids(await followed(peer)) == [["doc-1"]]
        for _ in range(2):
            assert await followed(peer) == []
        assert asyncio.get_running_loop().time() - start >= 3 * 0.3
    assert kinds == ["continuous", *["longpoll"] * 4]


async def test_a_longpoll_that_the_filter_keeps_silent_is_followed_by_a_normal_question(server: ScriptedServer):
    """CouchDB starts a longpoll's time anew with every write, whether the filter passes it or not."""
    kinds: list[str] = []
    server.on(CHANGES, by_kind(kinds, silent, page(1), silent, page(last=7), page(8)))
    async with server.peer(timeouts=BRISK) as peer, aclosing(peer.follow(START)) as pages:
        found = [await anext(pages) for _ in range(3)]
    assert [each.last_seq for each in found] == ["1-x", "7-x", "8-x"]
    assert kinds == ["continuous", "longpoll", "longpoll", "normal", "longpoll"]


# Real servers


@asynccontextmanager
async def following(peer: CouchPeer, since: str = START) -> AsyncIterator[list[str]]:
    """The ids that come, while it lasts."""
    seen: list[str] = []

    async def collect() -> None:
        async with aclosing(peer.follow(Seq(since))) as pages:
            async for page in pages:
                seen.extend(row.id for row in page.rows)

    task = asyncio.ensure_future(collect())
    yield seen
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_long_backlog_streams_in_pages(url: str):
    names = {f"doc-{number}" for number in range(6_000)}
    async with CouchPeer(url) as peer:
        assert await peer.write([revision(name, rev(1, 1)) for name in names], NOWHERE) == []
        left, pages = set(names), 0
        async with asyncio.timeout(60), aclosing(peer.follow(START)) as feed:
            async for page in feed:
                left -= {row.id for row in page.rows}
                pages += 1
                if not left:
                    break
    assert pages > 1


async def test_more_feeds_than_connections_leave_room_for_requests(url: str):
    async with CouchPeer(url) as peer:
        feeds = [following(peer) for _ in range(CONNECTIONS + 2)]
        seen = [await each.__aenter__() for each in feeds]
        async with asyncio.timeout(60):
            await asyncio.gather(*(peer.info() for _ in range(CONNECTIONS)))
            assert await peer.write([revision("a", rev(1, 1))], NOWHERE) == []
            await until(lambda: all("a" in each for each in seen))
        for each in feeds:
            await each.__aexit__(None, None, None)


async def test_deleting_the_database_ends_its_feed(url: str):
    async with CouchPeer(url, timeouts=Timeouts(heartbeat=0.5)) as peer:
        assert await peer.write([revision("a", rev(1, 1))], NOWHERE) == []
        async with asyncio.timeout(30), aclosing(peer.follow(START)) as feed:
            assert ids([await anext(feed)]) == [["a"]]
            async with aiohttp.ClientSession() as session:
                assert (await session.delete(url)).status == 200
            with pytest.raises((StopAsyncIteration, DatabaseMissing)):
                await anext(feed)


async def test_a_feed_closed_or_cancelled_anywhere_gives_its_connection_back(url: str):
    async with CouchPeer(url, timeouts=Timeouts(heartbeat=0.3)) as peer:
        assert await peer.write([revision(f"doc-{number}", rev(1, 1)) for number in range(50)], NOWHERE) == []
        async with nothing_left():
            for pages in range(3):
                feed = peer.follow(START)
                for _ in range(min(pages, 1)):
                    await anext(feed)
                await feed.aclose()
            for turns in range(0, 60, 3):
                feed = peer.follow(START)
                waiting = asyncio.ensure_future(anext(feed))
                for _ in range(turns):
                    await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                await feed.aclose()
            async with aclosing(peer.follow(START)) as feed:
                await anext(feed)
                sleeping = asyncio.ensure_future(anext(feed))
                await asyncio.sleep(0.05)
                sleeping.cancel()
                await asyncio.gather(sleeping, return_exceptions=True)
            await peer.close()
        assert (await peer.info()).doc_count == 50


async def test_closing_the_peer_ends_the_feeds_that_are_followed(url: str):
    async with CouchPeer(url) as peer:
        assert await peer.write([revision("a", rev(1, 1))], NOWHERE) == []
        async with aclosing(peer.follow(START)) as feed:
            await anext(feed)
            waiting = asyncio.ensure_future(anext(feed))
            await asyncio.sleep(0.05)
            await peer.close()
            with pytest.raises(Unreachable):
                await asyncio.wait_for(waiting, 20)
        assert (await peer.info()).doc_count == 1
