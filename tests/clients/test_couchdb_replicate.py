"""CouchDB's own replicator with a hub as its source and as its target, where there is a CouchDB (COUCHDB_URL)."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from json import dumps as encode_json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
from yarl import URL

from tests.servers import fresh_database, fresh_hub

DOCUMENTS = 1_000
GLANCE, PATIENCE = 0.05, 60.0  # seconds between two looks, and until what must come counts as lost
EVERY_BYTE = bytes(range(256))
FILES: Mapping[str, tuple[str, bytes]] = {  # none is empty: CouchDB 3.5's replicator never ends after such a one
    "every byte.bin": ("application/octet-stream", EVERY_BYTE),
    "large.bin": ("application/octet-stream", os.urandom(2_000_000)),
    "compressed.txt": ("text/plain", b"a text that CouchDB compresses\r\n" * 2_000),
    "small.txt": ("text/plain; charset=utf-8", "äöü€".encode()),
    "folder/in ner.json": ("application/json", b'{"_id":"no document"}'),
    "üñî+c%20ø?d&#\U0001f600.bin": ("application/x-odd", b"odd"),
}


class Database:
    """A database by its URL, `http://name:password@host:port/name`."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        parts = urlsplit(url)
        self.url = url
        self.name = parts.path.strip("/")
        self._session = session
        self._server = f"{parts.scheme}://{parts.hostname}:{parts.port}"
        self._headers = {"Authorization": aiohttp.encode_basic_auth(parts.username or "", parts.password or "")}

    async def bytes_of(self, path: str) -> bytes:
        async with self._request("GET", f"/{self.name}/{path}") as answer:
            assert answer.status == 200, path
            return await answer.read()

    async def ask(self, method: str, path: str, json: Any = None) -> Any:
        """The answer's JSON; `path` below the database, or of the server if it begins with a slash."""
        target = path if path.startswith("/") else f"/{self.name}/{path}".rstrip("/")
        async with self._request(method, target, json) as answer:
            return await answer.json()

    def _request(self, method: str, target: str, json: Any = None) -> Any:
        url = URL(self._server + target, encoded=True)
        if json is None:
            return self._session.request(method, url, headers=self._headers)
        headers = self._headers | {"Content-Type": "application/json"}
        return self._session.request(method, url, data=io.BytesIO(encode_json(json).encode()), headers=headers)

    async def write(self, *docs: Mapping[str, Any], new_edits: bool = True) -> list[Any]:
        return list(await self.ask("POST", "_bulk_docs", {"docs": docs, "new_edits": new_edits}))

    async def leaves(self) -> dict[str, list[str]]:
        """Every document's leaves, tombstones too."""
        rows = (await self.ask("GET", "_changes?style=all_docs"))["results"]
        return {row["id"]: sorted(change["rev"] for change in row["changes"]) for row in rows}

    async def revisions(self) -> dict[tuple[str, str], Any]:
        """Every leaf with its body and its history, attachments apart."""
        wanted = [{"id": doc_id, "rev": rev} for doc_id, revs in (await self.leaves()).items() for rev in revs]
        results = (await self.ask("POST", "_bulk_get?revs=true", {"docs": wanted}))["results"]
        docs = [one["ok"] for result in results for one in result["docs"]]
        return {(doc["_id"], doc["_rev"]): {k: v for k, v in doc.items() if k != "_attachments"} for doc in docs}


class Pair:
    """A database on a hub and one on CouchDB; `source` and `target` are either of them."""

    def __init__(self, couchdb: Database, source: Database, target: Database) -> None:
        self._couchdb = couchdb
        self.source = source
        self.target = target

    async def replicate(self, **options: Any) -> Any:
        ends = {"source": self.source.url, "target": self.target.url}
        return await self._couchdb.ask("POST", "/_replicate", ends | options)


@pytest.fixture(params=["from the hub", "to the hub"])
async def pair(request: pytest.FixtureRequest, couchdb_url: str, tmp_path: Path) -> AsyncIterator[Pair]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with (
        fresh_hub(tmp_path) as hub_url,
        fresh_database(hub_url) as on_hub,
        fresh_database(couchdb_url) as on_couchdb,
        aiohttp.ClientSession(timeout=timeout) as session,
    ):
        hub, couchdb = Database(session, on_hub), Database(session, on_couchdb)
        ends = (hub, couchdb) if request.param == "from the hub" else (couchdb, hub)
        yield Pair(couchdb, *ends)


async def fill(database: Database) -> None:
    """A thousand documents, some with conflicts, some deleted, and design documents."""
    docs: list[dict[str, Any]] = [
        {"_id": f"d{n:04d}", "n": n, "text": "é\U0001f600", "f": 1.5} for n in range(DOCUMENTS)
    ]
    docs += [{"_id": doc_id} for doc_id in ("a/b", "a b", "a+b", "ä%2F", '"', "_design/views/inner", "_design/d")]
    outcomes = await database.write(*docs)
    assert all(outcome["ok"] for outcome in outcomes)
    await database.write(
        *({"_id": one["id"], "_rev": one["rev"], "_deleted": True, "why": "gone"} for one in outcomes[:50]),
        *({"_id": one["id"], "_rev": one["rev"], "changed": True} for one in outcomes[50:100]),
    )
    await database.write(
        *({"_id": f"d{n:04d}", "_rev": f"1-{uuid.uuid4().hex}", "other": n} for n in range(60, 90)),
        *({"_id": f"d{n:04d}", "_rev": f"1-{uuid.uuid4().hex}", "_deleted": True} for n in range(90, 95)),
        new_edits=False,
    )


async def until_equal(pair: Pair) -> None:
    async with asyncio.timeout(PATIENCE):
        while await pair.source.leaves() != await pair.target.leaves():  # noqa: ASYNC110  (servers tell nobody)
            await asyncio.sleep(GLANCE)


async def test_both_ends_agree_after_one_replication_and_the_next_begins_where_it_ended(pair: Pair) -> None:
    await fill(pair.source)
    security = {"members": {"names": ["someone"], "roles": []}, "admins": {"names": [], "roles": ["boss"]}}
    await pair.target.ask("PUT", "_security", security)
    first = await pair.replicate()
    assert first["ok"], first
    assert first["history"][0]["doc_write_failures"] == 0
    assert await pair.source.revisions() == await pair.target.revisions()
    assert await pair.target.ask("GET", "_security") == security

    await pair.source.write({"_id": "later"})
    second = await pair.replicate()
    counted = [answer["history"][0] for answer in (first, second)]  # its counts go on from one session to the next
    assert [counted[1][what] - counted[0][what] for what in ("docs_read", "docs_written")] == [1, 1]
    assert second["history"][0]["start_last_seq"] == first["source_last_seq"]
    assert (await pair.replicate())["no_changes"]
    assert await pair.source.revisions() == await pair.target.revisions()

    logs = [await end.ask("GET", "_local_docs?include_docs=true") for end in (pair.source, pair.target)]
    sessions = [[row["doc"]["session_id"] for row in log["rows"]] for log in logs]
    assert sessions[0] == sessions[1] == [second["session_id"]]


async def test_attachments_of_no_known_age_arrive(pair: Pair) -> None:
    file = {"content_type": "text/plain", "data": base64.b64encode(b"ageless").decode(), "revpos": 0}
    for generation, ids in ((1, ["a"]), (2, ["b", "a"])):
        files = dict.fromkeys(("first", "second")[:generation], file)
        revisions = {"start": generation, "ids": ids}
        assert (
            await pair.source.write({"_id": "a", "_revisions": revisions, "_attachments": files}, new_edits=False) == []
        )
        assert (await pair.replicate())["history"][0]["doc_write_failures"] == 0
        for name in files:
            assert await pair.target.bytes_of(f"a/{name}") == b"ageless"


async def test_attachments_arrive_byte_for_byte_whatever_their_size_and_name(pair: Pair) -> None:
    parts = {
        name: {"content_type": kind, "data": base64.b64encode(data).decode()} for name, (kind, data) in FILES.items()
    }
    await pair.source.write(
        {"_id": "all of them", "_attachments": parts},
        *({"_id": f"only {number}", "_attachments": {name: part}} for number, (name, part) in enumerate(parts.items())),
    )
    assert (await pair.replicate())["history"][0]["doc_write_failures"] == 0
    assert await pair.source.revisions() == await pair.target.revisions()
    for number, (name, (kind, data)) in enumerate(FILES.items()):
        for doc_id in ("all of them", f"only {number}"):
            stub = (await pair.target.ask("GET", quote(doc_id)))["_attachments"][name]
            assert (stub["content_type"], stub["length"], stub["revpos"]) == (kind, len(data), 1)
            assert await pair.target.bytes_of(f"{quote(doc_id)}/{quote(name, safe='')}") == data

    before = await pair.source.ask("GET", "all%20of%20them")
    stubs = {name: stub for name, stub in before["_attachments"].items() if name != "every byte.bin"}
    new = {"content_type": "text/plain", "data": base64.b64encode(b"new").decode()}
    await pair.source.write({**before, "edited": True, "_attachments": {**stubs, "new.txt": new}})
    assert (await pair.replicate())["history"][0]["doc_write_failures"] == 0
    after = (await pair.target.ask("GET", "all%20of%20them"))["_attachments"]
    assert sorted(after) == sorted((FILES.keys() - {"every byte.bin"}) | {"new.txt"})
    assert await pair.target.bytes_of("all%20of%20them/new.txt") == b"new"
    assert await pair.target.bytes_of("all%20of%20them/large.bin") == FILES["large.bin"][1]


async def test_documents_may_be_fetched_one_by_one_as_older_replicators_do(pair: Pair) -> None:
    data = base64.b64encode(EVERY_BYTE).decode()
    docs = [{"_id": f"d {n}/+%", "n": n, "_attachments": {"f +%": {"data": data}} if n % 2 else {}} for n in range(20)]
    outcomes = await pair.source.write(*docs)
    await pair.source.write(*({"_id": one["id"], "_rev": one["rev"], "_deleted": True} for one in outcomes[:5]))
    twins = ({"_id": one["id"], "_rev": f"1-{uuid.uuid4().hex}", "twin": True} for one in outcomes[10:15])
    await pair.source.write(*twins, new_edits=False)
    assert (await pair.replicate(use_bulk_get=False))["history"][0]["doc_write_failures"] == 0
    assert await pair.source.revisions() == await pair.target.revisions()
    assert await pair.target.bytes_of(f"{quote('d 19/+%', safe='')}/{quote('f +%')}") == EVERY_BYTE


async def test_a_filter_lets_through_what_it_names(pair: Pair) -> None:
    await pair.source.write(*({"_id": f"d{n}", "n": n, "in": {"even": n % 2 == 0}} for n in range(20)))
    chosen = await pair.replicate(selector={"in.even": True, "n": {"$lt": 7}})
    assert chosen["ok"], chosen
    assert sorted(await pair.target.leaves()) == ["d0", "d2", "d4", "d6"]
    assert (await pair.replicate(doc_ids=["d1", "d2", "nobody"]))["ok"]
    assert sorted(await pair.target.leaves()) == ["d0", "d1", "d2", "d4", "d6"]


async def test_a_continuous_replication_carries_what_is_written_until_it_is_cancelled(pair: Pair) -> None:
    await pair.source.write(*({"_id": f"before{n}"} for n in range(5)))
    started = await pair.replicate(continuous=True)
    assert started["ok"], started
    await until_equal(pair)
    for n in range(5):
        (outcome,) = await pair.source.write({"_id": f"during{n}"})
        await until_equal(pair)
    await pair.source.ask("DELETE", f"during4?rev={outcome['rev']}")
    await until_equal(pair)
    assert (await pair.replicate(continuous=True, cancel=True))["ok"]
    assert await pair.source.revisions() == await pair.target.revisions()


async def test_a_conflict_made_on_both_sides_is_there_on_both_and_so_is_its_end(pair: Pair) -> None:
    back = Pair(pair._couchdb, pair.target, pair.source)
    await pair.source.write({"_id": "doc", "v": 0})
    await pair.replicate()
    for end, text in ((pair.source, "here"), (pair.target, "there")):
        doc = await end.ask("GET", "doc")
        await end.write({**doc, "v": text})
    await pair.replicate()
    await back.replicate()
    docs = [await end.ask("GET", "doc?conflicts=true") for end in (pair.source, pair.target)]
    assert docs[0] == docs[1]
    (loser,) = docs[0]["_conflicts"]
    await pair.target.ask("DELETE", f"doc?rev={loser}")
    await back.replicate()
    docs = [await end.ask("GET", "doc?conflicts=true") for end in (pair.source, pair.target)]
    assert docs[0] == docs[1]
    assert "_conflicts" not in docs[0]
    assert await pair.source.revisions() == await pair.target.revisions()


async def test_the_replicator_makes_its_target_if_it_may(pair: Pair) -> None:
    await pair.source.write({"_id": "a"})
    gone = await pair.target.ask("DELETE", "")
    assert gone["ok"]
    refused = await pair.replicate()
    assert refused["error"] == "db_not_found"
    assert (await pair.replicate(create_target=True))["ok"]
    assert await pair.source.leaves() == await pair.target.leaves()
