"""The same upkeep here and on a real CouchDB: purging, limits, compaction, gzip, with the same answers step by step."""

import asyncio
import gzip
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from yarl import URL

from tests.hub.conftest import ADMIN, Browser
from tests.servers import fresh_database

A, B, C, D = (letter * 32 for letter in "abcd")
JSON = {"Content-Type": "application/json"}
GZIP = {"Content-Encoding": "gzip"}
TEXT = b"hello " * 1_000
Step = tuple[str, str, Any, dict[str, str]]
Send = Callable[[Step], Awaitable[tuple[int, Any]]]


def document(doc_id: str, *ids: str, **members: Any) -> dict[str, Any]:
    """A revision with its history, newest first, so that both servers have the same one."""
    return {
        "_id": doc_id,
        "_rev": f"{len(ids)}-{ids[0]}",
        "_revisions": {"start": len(ids), "ids": list(ids)},
        **members,
    }


def steps() -> list[Step]:
    """Method, path, body (JSON, or bytes as they are), headers."""
    docs = [document("john", B, A), document("john", C, A), document("ann", D, C, B, A), document("gone", A)]
    purges = (
        {"john": [f"1-{A}"]},
        {"john": [f"2-{C}", "9-nope"]},
        {"john": [f"2-{B.upper()}"], "never": [f"1-{A}"]},
        {},
        [],
        {"a": "text"},
        {"a": None},
        {"a": ["nope"]},
        {"a": ["1-"]},
        {"a": []},
        {"a": [1]},
        {"_local/x": ["0-1"], "": [f"1-{A}"]},
        {f"doc-{number}": [f"1-{A}"] for number in range(101)},
        {"x": [f"{number}-{A}" for number in range(1, 1002)]},
    )
    found: list[Step] = [("POST", "/_bulk_docs", {"new_edits": False, "docs": docs}, {})]
    for body in purges:
        found += [("POST", "/_purge", body, {}), ("GET", "/john?revs=true&conflicts=true", None, {})]
    found += [
        ("GET", "/_purged_infos", None, {}),
        ("POST", "/_purge", b"{bad", JSON),
        ("POST", "/_purge", b"{}", {"Content-Type": "text/plain"}),
        ("GET", "/_purge", None, {}),
        *(("PUT", "/_purged_infos_limit", value, {}) for value in (0, -1, 1.5, "x", {}, 2)),
        ("GET", "/_purged_infos_limit", None, {}),
        ("PUT", "/_revs_limit", 2, {}),
        ("GET", "/_revs_limit", None, {}),
        ("GET", "/ann?revs=true", None, {}),
        ("PUT", "/ann", {"_rev": f"4-{D}", "n": 1}, {}),
        ("POST", "/_revs_diff", {"ann": [f"1-{A}", f"2-{B}", f"3-{C}", f"4-{D}"]}, {}),
        ("POST", "/_compact", {}, {}),
        ("POST", "/_compact", b"", {"Content-Type": "text/plain"}),
        ("POST", "/_compact/nosuch", {}, {}),
        ("GET", "/_compact", None, {}),
        ("POST", "/_view_cleanup", {}, {}),
        ("GET", "/gone?rev=2-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", None, {}),
        ("GET", f"/gone?rev=9-{A}&latest=true", None, {}),
    ]
    packed = gzip.compress(b'{"v":1}', mtime=0)
    found += [
        ("PUT", "/packed?new_edits=false", gzip.compress(json.dumps(document("packed", A)).encode()), JSON | GZIP),
        *(("PUT", "/wrong", data, JSON | GZIP) for data in (b'{"v":1}', packed[:-5])),
        ("PUT", "/wrong", packed, JSON | {"Content-Encoding": "deflate"}),
        ("GET", "/wrong", None, {}),
        ("PUT", "/text/file", gzip.compress(TEXT, mtime=0), GZIP | {"Content-Type": "text/plain"}),
        ("GET", "/text/file", None, {"Accept-Encoding": "identity"}),
        ("GET", "/text/file", None, {"Accept-Encoding": "gzip"}),
        ("PUT", "/text/other", b"x", {"Content-Encoding": "deflate"}),
        ("GET", "/_local_docs?limit=x", None, {}),
        ("POST", "/_sync_shards", {}, {}),
    ]
    return found


async def test_every_step_is_answered_alike(browse: Browser, clinic: str, couchdb_url: str):
    async with fresh_database(couchdb_url) as url, aiohttp.ClientSession(auto_decompress=False) as session:
        here = sender(session, URL(browse.hub.url + clinic), aiohttp.encode_basic_auth(*ADMIN))
        address = URL(url)
        login = aiohttp.encode_basic_auth(address.user or "", address.password or "")
        there = sender(session, address.with_user(None), login)
        for step in steps():
            assert await here(step) == await there(step), step[:3]
        for send in (here, there):
            async with asyncio.timeout(20):
                while (await send(("GET", "", None, {})))[1]["compact_running"]:  # noqa: ASYNC110  (a server's to say)
                    await asyncio.sleep(0.05)
        for step in (("GET", f"/ann?rev=4-{D}", None, {}), ("GET", f'/ann?open_revs=["4-{D}"]', None, {})):
            assert await here(step) == await there(step), step[:2]


def sender(session: aiohttp.ClientSession, base: URL, login: str) -> Send:
    async def send(step: Step) -> tuple[int, Any]:
        method, path, body, headers = step
        data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode()) if body is not None else None
        kind = JSON if body is not None and not isinstance(body, bytes) else {}
        address = URL(str(base) + path.replace('"', "%22"), encoded=True)
        sent = {"Authorization": login, "Accept": "application/json", **kind, **headers}
        async with session.request(method, address, data=data, headers=sent) as answer:
            text = await answer.read()
            is_json = answer.content_type == "application/json"
            return answer.status, bare(json.loads(text)) if is_json and text else text

    return send


def bare(value: Any) -> Any:
    """Without what two servers cannot agree on: names, seqs, sizes, and revisions of their own making."""
    own = {
        "db_name",
        "update_seq",
        "purge_seq",
        "instance_start_time",
        "sizes",
        "cluster",
        "props",
        "rev",
        "_rev",
        "ref",
    }
    if isinstance(value, dict):
        return {name: bare(one) for name, one in value.items() if name not in own}
    return [bare(one) for one in value] if isinstance(value, list) else value
