"""Hubs for tests: real files, real HTTP on loopback, cheap password hashes."""

import io
import json as json_text
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from icure_sync.hub import server
from icure_sync.hub.limits import MIN_PASSWORD_ROUNDS
from icure_sync.hub.server import Hub

ADMIN = ("admin", "a long password")
Login = tuple[str, str]


class Answer:
    """Status, headers and body of one exchange."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = body

    @property
    def json(self) -> Any:
        return json_text.loads(self.body)


class Browser:
    """Requests to one hub; as the administrator unless `auth` says otherwise (None: as nobody)."""

    def __init__(self, session: aiohttp.ClientSession, hub: Hub) -> None:
        self.session = session
        self.hub = hub

    async def __call__(
        self, method: str, path: str, json: Any = None, *, auth: Login | None = ADMIN, **more: Any
    ) -> Answer:
        headers = more.pop("headers", {})
        if json is not None:
            more["data"] = io.BytesIO(json_text.dumps(json).encode())
            headers = {"Content-Type": "application/json", **headers}
        if auth is not None:
            headers = {"Authorization": aiohttp.encode_basic_auth(*auth), **headers}
        url = URL(self.hub.url + path, encoded=True)
        async with self.session.request(method, url, headers=headers, **more) as response:
            return Answer(response, await response.read())

    async def make_user(self, name: str, password: str, *roles: str) -> Login:
        """A user who can log in."""
        body = {"name": name, "password": password, "type": "user", "roles": list(roles)}
        assert (await self("PUT", f"/_users/org.couchdb.user:{name}", body)).status == 201
        return name, password


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PASSWORD_ROUNDS", MIN_PASSWORD_ROUNDS)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with Hub(tmp_path / "hub", admin=ADMIN) as running:
        yield running


@pytest.fixture
async def browse(hub: Hub) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Browser(session, hub)


@pytest.fixture
async def clinic(browse: Browser) -> str:
    """The path of an empty database."""
    assert (await browse("PUT", "/clinic")).status == 201
    return "/clinic"
