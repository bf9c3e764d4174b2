"""The login: one cookie, one new login for a dead one, no password sent twice after it was refused."""

from __future__ import annotations

import asyncio
import base64
import traceback

import pytest
from aiohttp import web

from icure_sync.errors import BadAnswer, IcureSyncError, Throttled, Unauthorized
from icure_sync.peers.couch import CouchPeer
from icure_sync.testing import Answer, ScriptedServer, json_answer, raw_answer
from icure_sync.testing.scripted import INFO

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
