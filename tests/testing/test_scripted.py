"""A scripted server says what its script says, in turn, and notes what it was asked."""

from __future__ import annotations

import aiohttp
from aiohttp import web

from icure_sync.testing import Answer, ScriptedServer, json_answer, raw_answer, redirect, refusal


async def test_answers_come_in_turn_and_the_last_one_again_and_again():
    async with ScriptedServer() as server, aiohttp.ClientSession() as session:
        server.on("GET /clinic/a", refusal(503, Retry_After="7"), raw_answer(b"x", 201, "text/plain", X_Odd="y"))
        found = []
        for _ in range(3):
            async with session.get(server.url + "/clinic/a?rev=1-a") as answer:
                found.append((answer.status, answer.headers.get("Retry-After"), answer.headers.get("X-Odd")))
        assert found == [(503, "7", None), (201, None, "y"), (201, None, "y")]
        assert server.count("GET /clinic/a") == 3


async def test_what_is_not_in_the_script_is_missing_as_couchdb_says_it():
    async with ScriptedServer() as server, aiohttp.request("GET", server.url + "/clinic/b") as answer:
        assert (answer.status, await answer.json()) == (404, {"error": "not_found", "reason": "missing"})


async def test_a_function_answers_where_a_value_cannot():
    async def by_method(request: web.BaseRequest) -> Answer:
        return json_answer({"method": request.method})

    async def streamed(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"piece")
        return response

    async with ScriptedServer() as server, aiohttp.ClientSession() as session:
        server.on("PUT /clinic/a", by_method)
        server.on("GET /clinic/a", streamed)
        async with session.put(server.url + "/clinic/a", json={}) as answer:
            assert await answer.json() == {"method": "PUT"}
        async with session.get(server.url + "/clinic/a") as answer:
            assert await answer.read() == b"piece"


async def test_requests_are_noted_and_show_no_credentials():
    async with ScriptedServer() as server:
        server.on("POST /_session", json_answer({"ok": True}, Set_Cookie="AuthSession=secret; Path=/"))
        async with server.peer("nurse:sesame") as peer:
            assert (await peer.info()).name == "clinic"
        assert server.last("POST /_session").body == b'{"name":"nurse","password":"sesame"}'
        assert server.last("GET /clinic").headers["Cookie"] == "AuthSession=secret"
        assert not any(word in repr(server.seen) for word in ("sesame", "secret"))


def test_an_answer_says_its_own_length():
    head = Answer(418, b"abc", {"Content-Length": "7", "X-Odd": "y"}).head()
    assert head.startswith(b"HTTP/1.1 418 ")
    assert head.endswith(b"X-Odd: y\r\nContent-Length: 3\r\n\r\n")
    assert redirect("http://elsewhere/").headers["Location"] == "http://elsewhere/"
