"""Servers for tests: hubs and databases that last for one test."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from icure_sync.hub import Hub
from icure_sync.hub import server as hub_server
from icure_sync.hub.limits import MIN_PASSWORD_ROUNDS

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


async def change_database(url: str, *methods: str) -> None:
    """DELETE or PUT the database itself."""
    parts = urlsplit(url)
    headers = {"Authorization": aiohttp.encode_basic_auth(parts.username or "", parts.password or "")}
    plain = f"http://{parts.hostname}:{parts.port}{parts.path}"
    async with aiohttp.ClientSession(headers=headers) as session:
        for method in methods:
            async with session.request(method, plain) as answer:
                assert answer.status in (200, 201, 202), await answer.text()
