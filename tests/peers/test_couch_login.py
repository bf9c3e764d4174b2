"""The login: one cookie, one new login for a dead one, no password sent twice after it was refused."""

from __future__ import annotations

import asyncio
import base64
import traceback

import aiohttp
import pytest
from aiohttp import web

from icure_sync.errors import BadAnswer, IcureSyncError, Throttled, Unauthorized
from icure_sync.ids import DocId, Seq
from icure_sync.peers import couch_login
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.couch_bodies import json_body
from icure_sync.peers.memory import MemoryPeer
from icure_sync.testing import Answer, ScriptedServer, json_answer, raw_answer, refusal
from icure_sync.testing.scripted import INFO
from tests.replicas import rev, revision
from tests.servers import REAL_SERVERS, fresh_database

SESSION = "POST /_session"
DENIED = json_answer({"error": "unauthorized", "reason": "You are not authorized to access this db."}, 401)
WRONG = json_answer({"error": "unauthorized", "reason": "Name or password is incorrect."}, 401)


def cookie(value: str):
    return json_answer({"ok": True}, Set_Cookie=f"AuthSession={value}; Version=1; Path=/; HttpOnly")


async def test_the_password_goes_to_the_session_once_and_the_cookie_to_everything_else(server: ScriptedServer):
    server.on(SESSION, cookie("abc"))
    async with server.peer("nurse:p%40ss%2Fword") as peer:
        await asyncio.gather(*(peer.info() for _ in range(5)))
    assert server.count(SESSION) == 1
    assert server.last(SESSION).body == b'{"name":"nurse","password":"p@ss/word"}'
    assert server.last("GET /clinic").headers["Cookie"] == "AuthSession=abc"
    assert not any("Authorization" in seen.headers for seen in server.seen)


async def test_without_credentials_nobody_logs_in(server: ScriptedServer):
    async with server.peer() as peer:
        await peer.info()
    assert server.count(SESSION) == 0
    assert "Cookie" not in server.last("GET /clinic").headers


async def test_a_server_that_wants_credentials_and_gets_none_says_so(server: ScriptedServer):
    server.on("GET /clinic", DENIED)
    async with server.peer() as peer:
        with pytest.raises(Unauthorized, match="wants a user and a password"):
            await peer.info()


async def test_a_dead_cookie_leads_to_one_new_login_for_all_requests(server: ScriptedServer):
    server.on(SESSION, cookie("old"), cookie("new"))

    async def only_new(request: web.BaseRequest) -> Answer:
        return INFO if "new" in request.headers.get("Cookie", "") else DENIED

    server.on("GET /clinic", only_new)
    async with server.peer("nurse:pw") as peer:
        infos = await asyncio.gather(*(peer.info() for _ in range(6)))
    assert len(infos) == 6
    assert server.count(SESSION) == 2


async def test_a_cookie_that_the_server_renews_is_used_from_then_on(server: ScriptedServer):
    server.on(SESSION, cookie("first"))
    renewing = json_answer({"db_name": "clinic", "update_seq": "1"}, Set_Cookie="AuthSession=second; Path=/")
    server.on("GET /clinic", renewing)
    async with server.peer("nurse:pw") as peer:
        await peer.info()
        await peer.info()
    assert server.last("GET /clinic").headers["Cookie"] == "AuthSession=second"


async def test_who_may_not_in_after_a_new_login_is_unauthorized(server: ScriptedServer):
    server.on(SESSION, cookie("abc"))
    server.on("GET /clinic", DENIED)
    async with server.peer("nurse:pw") as peer:
        with pytest.raises(Unauthorized):
            await peer.info()
    assert server.count(SESSION) == 2


async def test_a_refused_password_is_never_sent_again(server: ScriptedServer):
    server.on(SESSION, WRONG)
    async with server.peer("nurse:wrong") as peer:
        for _ in range(3):
            with pytest.raises(Unauthorized, match="does not accept the user and password"):
                await peer.info()
        results = await asyncio.gather(*(peer.info() for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, Unauthorized) for result in results)
    assert server.count(SESSION) == 1


async def test_a_locked_account_is_waited_out_and_not_hammered(server: ScriptedServer):
    reason = "Account is temporarily locked due to multiple authentication failures"
    server.on(SESSION, json_answer({"error": "forbidden", "reason": reason}, 403))
    async with server.peer("nurse:pw") as peer:
        with pytest.raises(Throttled) as raised:
            await peer.info()
    assert raised.value.retry_after == 300


@pytest.mark.parametrize("status", [404, 405])
async def test_where_there_is_no_session_basic_is_used(server: ScriptedServer, status: int):
    server.on(SESSION, json_answer({"error": "not_found", "reason": "missing"}, status))
    async with server.peer("nurse:pw") as peer:
        await peer.info()
        await peer.info()
    assert server.count(SESSION) == 1
    assert server.last("GET /clinic").headers["Authorization"] == "Basic " + base64.b64encode(b"nurse:pw").decode()


async def test_a_password_refused_by_basic_is_never_sent_again(server: ScriptedServer):
    server.on(SESSION, json_answer({"error": "not_found", "reason": "missing"}, 404))
    server.on("GET /clinic", DENIED)
    async with server.peer("nurse:pw") as peer:
        for _ in range(2):
            with pytest.raises(Unauthorized):
                await peer.info()
    assert server.count("GET /clinic") == 1


@pytest.mark.parametrize(
    "answer",
    [
        raw_answer(b"<html>Welcome to our Wi-Fi</html>", content_type="text/html"),
        json_answer({"ok": True}),
        json_answer({}, 302, Location="https://elsewhere.example/"),
        json_answer({"error": "teapot"}, 418),
    ],
)
async def test_a_login_that_gives_no_session_is_a_bad_answer(server: ScriptedServer, answer):
    server.on(SESSION, answer)
    async with server.peer("nurse:pw") as peer:
        with pytest.raises(BadAnswer):
            await peer.info()
    assert server.count("GET /clinic") == 0


@pytest.mark.parametrize("moved", ["http://127.0.0.1:1/clinic", "https://elsewhere.example/clinic"])
async def test_a_redirect_is_not_followed(server: ScriptedServer, moved: str):
    server.on(SESSION, cookie("abc"))
    server.on("GET /clinic", json_answer({}, 301, Location=moved))
    async with server.peer("nurse:pw") as peer:
        with pytest.raises(BadAnswer, match="redirects"):
            await peer.info()


async def test_the_password_shows_in_no_error_no_repr_and_no_traceback(server: ScriptedServer):
    secret = "hunter2-hunter2"
    shown = []
    addresses = [
        server.url.replace("//", f"//nurse:{secret}@") + "/clinic",
        f"http://nurse:{secret}@127.0.0.1:1/clinic",
    ]
    for answer in (WRONG, DENIED, raw_answer(b"<html>", content_type="text/html")):
        server.on(SESSION, answer)
        for address in addresses:
            async with CouchPeer(address) as peer:
                shown += [repr(peer), str(peer), repr(vars(peer))]
                try:
                    await peer.info()
                except IcureSyncError as error:
                    shown += [str(error), repr(error), "".join(traceback.format_exception(error))]
    for wrong in (f"ftp://nurse:{secret}@h/db", f"http://nurse:{secret}@h", f"http://nurse:{secret}@h:x/db"):
        with pytest.raises(IcureSyncError) as raised:
            CouchPeer(wrong)
        shown.append("".join(traceback.format_exception(raised.value)))
    shown += [repr(json_body([secret.encode()])), repr(couch_login.LoginAnswer(200, secret))]
    assert len(shown) > 20
    assert not [text for text in shown if secret in text]


async def test_closing_keeps_the_login_and_the_next_call_connects_anew(server: ScriptedServer):
    server.on(SESSION, cookie("abc"))
    peer = server.peer("nurse:pw")
    await peer.info()
    await peer.close()
    await peer.info()
    await peer.close()
    assert server.count(SESSION) == 1


def session(name: str | None) -> Answer:
    """What `GET /_session` says of whoever asks."""
    return json_answer({"ok": True, "userCtx": {"name": name, "roles": []}, "info": {}})


OPEN_SESSION = "GET /_session"


async def test_a_cookie_that_died_at_a_database_open_to_everybody_is_noticed(server: ScriptedServer, monkeypatch):
    """The server answers on, to nobody: only `_session` tells."""
    monkeypatch.setattr(couch_login, "SESSION_SECONDS", -1)
    server.on(SESSION, cookie("first"), cookie("second"))
    server.on(OPEN_SESSION, session("nurse"), session(None), session("nurse"))
    async with server.peer("nurse:pw") as peer:
        for _ in range(2):
            await peer.info()
        assert server.count(SESSION) == 1
        await peer.info()
        assert server.last("GET /clinic").headers["Cookie"] == "AuthSession=second"
        await peer.info()
    assert server.count(SESSION) == 2


async def test_a_cookie_that_was_given_lately_is_not_asked_about(server: ScriptedServer):
    server.on(SESSION, cookie("abc"))
    async with server.peer("nurse:pw") as peer:
        for _ in range(3):
            await peer.info()
    assert server.count(OPEN_SESSION) == 0


@pytest.mark.parametrize(
    "answer",
    [
        raw_answer(b"<html>"),
        raw_answer(b"<html>", 405, "text/html"),
        json_answer({}),
        json_answer({}, 302, Location="/login"),
        json_answer({"error": "not_found", "reason": "missing"}, 404),
        json_answer({"error": "not_found", "reason": "no_db_file"}, 404),
    ],
)
async def test_a_server_that_tells_nothing_of_sessions_is_believed(server: ScriptedServer, monkeypatch, answer):
    monkeypatch.setattr(couch_login, "SESSION_SECONDS", -1)
    server.on(SESSION, cookie("abc"))
    server.on(OPEN_SESSION, answer)
    async with server.peer("nurse:pw") as peer:
        for _ in range(3):
            await peer.info()
    assert server.count(SESSION) == 1


async def test_who_uses_no_cookie_is_not_asked_about(server: ScriptedServer, monkeypatch):
    monkeypatch.setattr(couch_login, "SESSION_SECONDS", -1)
    async with server.peer() as peer:
        await peer.info()
        await peer.info()
    async with server.peer("nurse:pw") as peer:  # by Basic: this server has no `_session`
        await peer.info()
        await peer.info()
    assert server.count(OPEN_SESSION) == 0


async def test_a_session_that_ended_leads_to_a_login_wherever_it_is_noticed(server: ScriptedServer, monkeypatch):
    monkeypatch.setattr(couch_login, "SESSION_SECONDS", -1)
    server.on(SESSION, cookie("old"), cookie("new"))
    server.on(OPEN_SESSION, session("nurse"), DENIED, session("nurse"))
    async with server.peer("nurse:pw") as peer:
        for _ in range(4):
            await peer.info()
    assert server.count(SESSION) == 2


async def test_a_login_in_the_middle_of_a_write_loses_nothing(server: ScriptedServer):
    server.on(SESSION, cookie("old"), cookie("new"))
    bulk = "POST /clinic/_bulk_docs"
    server.on(bulk, DENIED, json_answer([], 201))
    sent = revision("a", rev(1, 1))
    async with server.peer("nurse:pw") as peer:
        assert await peer.write([sent], MemoryPeer()) == []
    assert server.count(bulk) == 2
    assert len({seen.body for seen in server.seen if seen.path == "/clinic/_bulk_docs"}) == 1


async def test_a_login_before_an_attachment_streams_it_again_from_its_start(server: ScriptedServer):
    server.on(SESSION, cookie("old"), cookie("new"))
    server.on("PUT /clinic/a", DENIED, json_answer({"ok": True, "id": "a", "rev": rev(1, 1)}, 201))
    source, data = MemoryPeer(), bytes(range(256)) * 2_000
    sent = revision("a", rev(1, 1), files={"f": data})
    source.put(sent, {"f": data})
    async with server.peer("nurse:pw") as peer:
        assert await peer.write([sent], source) == []
    assert data in server.last("PUT /clinic/a").body
    assert server.count(SESSION) == 2


async def test_a_feed_and_an_attachment_log_in_again_as_every_request_does(server: ScriptedServer):
    server.on(SESSION, cookie("old"), cookie("new"), cookie("newest"))
    server.on("GET /clinic/_changes", DENIED, raw_answer(b'{"seq":"1","id":"a","changes":[]}\n{"last_seq":"1"}\n'))
    server.on("GET /clinic/a/f", DENIED, raw_answer(b"bytes"))
    async with server.peer("nurse:pw") as peer:
        assert [row.id async for page in peer.follow(Seq("0")) for row in page.rows] == ["a"]
        assert [piece async for piece in peer.attachment(DocId("a"), rev(1, 1), "f")] == [b"bytes"]
    assert server.count(SESSION) == 3


async def test_an_account_that_is_locked_in_the_middle_is_waited_out(server: ScriptedServer):
    server.on(SESSION, cookie("abc"))
    reason = "Account is temporarily locked due to multiple authentication failures"
    server.on("GET /clinic", json_answer({"error": "forbidden", "reason": reason}, 403))
    async with server.peer("nurse:pw") as peer:
        with pytest.raises(Throttled) as raised:
            await peer.info()
    assert raised.value.retry_after == 300
    assert server.count(SESSION) == 1


async def test_a_cookie_that_another_server_gave_leads_to_a_new_login(server: ScriptedServer):
    """A CouchDB and a hub say 400 of what they cannot read."""
    server.on(SESSION, cookie("other's"), cookie("own"))
    reason = "Malformed AuthSession cookie. Please clear your cookies."
    server.on("POST /clinic/_bulk_docs", refusal(400, "bad_request", reason), json_answer([], 201))
    async with server.peer("nurse:pw") as peer:
        assert await peer.write([revision("a", rev(1, 1))], MemoryPeer()) == []
    assert server.last("POST /clinic/_bulk_docs").headers["Cookie"] == "AuthSession=own"


async def test_the_login_is_looked_at_before_a_large_body_is_sent(server: ScriptedServer, monkeypatch):
    """A CouchDB that does not want it closes the connection upon it: its 401 would be lost."""
    monkeypatch.setattr(couch_login, "SESSION_SECONDS", -1)
    server.on(SESSION, cookie("old"), cookie("new"))
    server.on(OPEN_SESSION, session(None), session("nurse"))
    server.on("PUT /clinic/a", json_answer({"ok": True, "id": "a", "rev": rev(1, 1)}, 201))
    source, data = MemoryPeer(), bytes(300_000)
    sent = revision("a", rev(1, 1), files={"f": data})
    source.put(sent, {"f": data})
    async with server.peer("nurse:pw") as peer:
        await peer.info()
        assert await peer.write([sent], source) == []
    assert server.last("PUT /clinic/a").headers["Cookie"] == "AuthSession=new"


if REAL_SERVERS:

    async def test_a_real_server_tells_nobody_of_a_dead_cookie_and_is_found_out(couchdb_url: str, monkeypatch):
        monkeypatch.setattr(couch_login, "SESSION_SECONDS", -1)
        async with fresh_database(couchdb_url) as url, CouchPeer(url) as peer:
            assert (await peer.info()).doc_count == 0
            peer._requests._login.take_cookie("bnVyc2U6NjAwMDAwMDA6AAAA")  # long expired, and signed by nobody
            assert (await peer.info()).doc_count == 0
            async with aiohttp.ClientSession() as session:  # open to everybody
                everybody = {"admins": {"names": [], "roles": []}, "members": {"names": [], "roles": []}}
                assert (await session.put(url + "/_security", json=everybody)).status == 200
            turn = peer._requests._login.turn
            peer._requests._login.take_cookie("bnVyc2U6NjAwMDAwMDA6AAAA")
            assert (await peer.changes(Seq("0"), limit=1)).rows == ()  # answered to nobody
            await peer.info()
            assert peer._requests._login.turn == turn + 1
