"""An evil server: a real hub on loopback, run by somebody with an interest.

He has two powers. He can write into the database whatever he likes, without asking anybody (`plant`); and he can answer
each device as he likes: what the hub says passes through his hands, document by document and row by row (`rewrites`).
What he cannot do is sign or open anything.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from yarl import URL

from icure_sync.peers.couch import CouchPeer
from icure_sync.replication.wire import Revision
from icure_sync.testing import Answer, ScriptedServer
from tests.servers import fresh_database, fresh_hub

Document = dict[str, Any]
Rewrite = Callable[[str, Any], Any]  # of the path and the JSON of an answer, as it will be said

METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD")


class EvilServer:
    """Between devices and a database. `peer()` is that database as devices see it, in the name of that server."""

    def __init__(self, database: str, script: ScriptedServer, session: aiohttp.ClientSession) -> None:
        parts = urlsplit(database)
        self._origin = f"{parts.scheme}://{parts.hostname}:{parts.port}"
        self._path = parts.path
        self._login = aiohttp.encode_basic_auth(parts.username or "", parts.password or "")
        self._script = script
        self._session = session
        self.rewrites: list[Rewrite] = []
        self.url = script.url.replace("//", f"//{parts.username}:{parts.password}@") + parts.path
        for method in METHODS:
            script.otherwise(method, self._pass)

    def peer(self) -> CouchPeer:
        return CouchPeer(self.url)

    async def _pass(self, request: web.BaseRequest) -> Answer:
        headers = {name: text for name, text in request.headers.items() if name in ("Content-Type", "Authorization")}
        kept = {"Cookie": request.headers["Cookie"]} if "Cookie" in request.headers else {}
        url = URL(self._origin + request.path_qs, encoded=True)
        body = await request.read()
        async with self._session.request(request.method, url, data=body, headers={**headers, **kept}) as answer:
            said = await answer.read()
            if self.rewrites and answer.content_type == "application/json" and answer.status < 400:
                value = json.loads(said)
                for rewrite in self.rewrites:
                    value = rewrite(request.path, value)
                said = json.dumps(value).encode()
            passed = ("Content-Type", "Set-Cookie", "ETag", "Server")
            return Answer(
                answer.status, said, {name: answer.headers[name] for name in passed if name in answer.headers}
            )

    # What he can do

    async def read(self, doc_id: str, rev: str | None = None) -> Document:
        """A document with its history, as the database holds it."""
        query = {"revs": "true", **({"rev": rev} if rev else {})}
        async with self._request("GET", f"/{doc_id}", params=query) as answer:
            assert answer.status == 200, await answer.text()
            return json.loads(await answer.read())

    async def read_all(self, ids: Iterable[str]) -> list[Document]:
        """The same of the winners of many."""
        body = json.dumps({"docs": [{"id": doc_id} for doc_id in ids]})
        headers = {"Content-Type": "application/json"}
        async with self._request("POST", "/_bulk_get?revs=true", data=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return [result["docs"][0]["ok"] for result in json.loads(await answer.read())["results"]]

    async def ids(self) -> list[str]:
        async with self._request("GET", "/_all_docs") as answer:
            return [row["id"] for row in json.loads(await answer.read())["rows"]]

    async def plant(self, documents: Iterable[Document]) -> None:
        """Write these as they are, with the `_revisions` that they state, each where it says."""
        body = json.dumps({"new_edits": False, "docs": list(documents)})
        headers = {"Content-Type": "application/json"}
        async with self._request("POST", "/_bulk_docs", data=body, headers=headers) as answer:
            assert answer.status == 201, await answer.text()
            assert json.loads(await answer.read()) == []

    def rewrite_documents(self, rewrite: Callable[[Document], Document | None]) -> None:
        """Have each document go through this before a device gets it; None: it is said not to be there."""

        def documents(path: str, value: Any) -> Any:
            if not path.endswith("/_bulk_get"):
                return value
            for result in value["results"]:
                for each in result["docs"]:
                    if "ok" in each:
                        changed = rewrite(each["ok"])
                        if changed is None:
                            rev = each.pop("ok")["_rev"]
                            each["error"] = {"id": result["id"], "rev": rev, "error": "not_found", "reason": "missing"}
                        else:
                            each["ok"] = changed
            return value

        self.rewrites.append(documents)

    def hide(self, ids: Sequence[str]) -> None:
        """Name these in no feed and no index."""

        def rows(path: str, value: Any) -> Any:
            for name in ("results", "rows"):
                if path.endswith(("/_changes", "/by_delegate")) and isinstance(value.get(name), list):
                    value[name] = [row for row in value[name] if row.get("id") not in ids]
            return value

        self.rewrites.append(rows)

    def _request(self, method: str, path: str, **named: Any) -> Any:
        headers = {"Authorization": self._login, **named.pop("headers", {})}
        return self._session.request(method, self._origin + self._path + path, headers=headers, **named)


def below(document: Document, members: Document, digits: str = "f" * 32, *, deleted: bool = False) -> Document:
    """A revision with these members that extends this one in the tree, under an id that nobody computed."""
    above = document["_revisions"]
    return {
        **{name: value for name, value in members.items() if not name.startswith("_")},
        "_id": document["_id"],
        "_rev": f"{above['start'] + 1}-{digits}",
        "_revisions": {"start": above["start"] + 1, "ids": [digits, *above["ids"]]},
        **({"_deleted": True} if deleted else {}),
    }


def planted(revision: Revision) -> Document:
    """A revision as `plant` takes it."""
    number = int(revision.rev.split("-")[0])
    return {
        **json.loads(revision.body),
        "_id": revision.id,
        "_rev": revision.rev,
        "_revisions": {"start": number, "ids": [rev.split("-")[1] for rev in revision.history]},
        **({"_deleted": True} if revision.deleted else {}),
    }


@asynccontextmanager
async def evil_server(folder: Path) -> AsyncIterator[EvilServer]:
    async with (
        fresh_hub(folder) as hub,
        fresh_database(hub) as database,
        ScriptedServer() as script,
        aiohttp.ClientSession(auto_decompress=True) as session,
    ):
        yield EvilServer(database, script, session)
