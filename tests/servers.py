"""Servers for tests: databases that last for one test, and a server that answers what a test tells it to."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from icure_sync.hub import Hub
from icure_sync.hub import server as hub_server
from icure_sync.hub.limits import MIN_PASSWORD_ROUNDS
from icure_sync.peers.couch import CouchPeer

REAL_SERVERS = ("couchdb",) if os.environ.get("COUCHDB_URL") else ()  # kinds of server to try beside the hub


@asynccontextmanager
async def fresh_database(server: str, prefix: str = "test-") -> AsyncIterator[str]:
    """The URL of a database of its own on `http://admin:password@host:port`; it is gone afterwards.

    `prefix`: the beginning of its name, percent-encoded.
    """
    name = prefix + uuid.uuid4().hex
    parts = urlsplit(server)
    plain = URL(f"{parts.scheme}://{parts.hostname}:{parts.port}/{name}", encoded=True)
    headers = {"Authorization": aiohttp.encode_basic_auth(parts.username or "", parts.password or "")}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.put(plain) as answer:
            assert answer.status in (201, 202), await answer.text()
        try:
            yield f"{server}/{name}"
        finally:
            async with session.delete(plain) as answer:
                await answer.read()


@asynccontextmanager
async def fresh_hub(folder: Path, password: str = "hub-pw-1") -> AsyncIterator[str]:
    """`http://admin:password@127.0.0.1:port` of a hub in that folder, with one of the cheap password hashes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub_server, "PASSWORD_ROUNDS", MIN_PASSWORD_ROUNDS)
        async with Hub(folder / "hub", admin=("admin", password)) as hub:
            yield hub.url.replace("//", f"//admin:{password}@")


@dataclass(frozen=True)
class Seen:
    """A request as the scripted server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Script:
    """Answers by "METHOD /path"; without one for a request: 404 as CouchDB says it of a document."""

    answers: dict[str, Answer | list[Answer]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    url: str = ""

    def on(self, request: str, *answers: Answer) -> None:
        """Give these answers in turn; the last one again and again."""
        self.answers[request] = list(answers)

    def count(self, request: str) -> int:
        return sum(f"{seen.method} {seen.path}" == request for seen in self.seen)

    def last(self, request: str) -> Seen:
        return [seen for seen in self.seen if f"{seen.method} {seen.path}" == request][-1]

    def peer(self, login: str = "", **named: Any) -> CouchPeer:
        """A peer for this server's database `clinic`."""
        return CouchPeer(self.url.replace("//", f"//{login}@" if login else "//") + "/clinic", **named)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append(Seen(request.method, request.path, dict(request.headers), body))
        found = self.answers.get(f"{request.method} {request.path}")
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if found is None:
            return web.json_response({"error": "not_found", "reason": "missing"}, status=404)
        return await found(request)


def json_answer(value: Any, status: int = 200, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        names = {name.replace("_", "-"): text for name, text in headers.items()}
        return web.json_response(value, status=status, headers=names)

    return answer


def raw_answer(body: bytes, status: int = 200, content_type: str = "application/json", **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        names = {name.replace("_", "-"): text for name, text in headers.items()}
        return web.Response(body=body, status=status, content_type=content_type, headers=names)

    return answer


INFO = json_answer({"db_name": "clinic", "update_seq": "5-abc", "instance_start_time": "170", "doc_count": 3})


@asynccontextmanager
async def scripted() -> AsyncIterator[Script]:
    """A server on loopback that follows a script; its database is `clinic`."""
    script = Script()
    script.on("GET /clinic", INFO)
    runner = web.ServerRunner(web.Server(script._answer), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    script.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    try:
        yield script
    finally:
        await runner.cleanup()
