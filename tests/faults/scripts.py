"""A scripted server that has documents no real one would keep: raw texts, given as they are."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from icure_sync.testing import Answer, ScriptedServer, json_answer, raw_answer, refusal

Texts = Mapping[str, bytes]  # the members of a document behind its `_` members, by id

PIECE = 1024 * 1024  # bytes


@asynccontextmanager
async def serving(texts: Texts) -> AsyncIterator[ScriptedServer]:
    """Its database `clinic` has these documents, all in their first revision `1-a`, and keeps logs."""
    logs: dict[str, Answer] = {}

    async def bulk_get(request: web.BaseRequest) -> web.StreamResponse:
        wanted = [each["id"] for each in json.loads(await request.read())["docs"]]
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"results":[')
        for number, doc_id in enumerate(wanted):
            name = json.dumps(doc_id).encode()
            await response.write(b"," * bool(number) + b'{"id":%b,"docs":[{"ok":{"_id":%b,"_rev":"1-a"' % (name, name))
            text = memoryview(texts[doc_id])
            await response.write(b"," * bool(text))
            for start in range(0, len(text), PIECE):
                await response.write(bytes(text[start : start + PIECE]))
            await response.write(b"}}]}")
        await response.write(b"]}")
        return response

    async def keep(request: web.BaseRequest) -> Answer:
        logs[request.path] = raw_answer(await request.read())
        return json_answer({"ok": True, "rev": "0-1"}, 201)

    async def log(request: web.BaseRequest) -> Answer:
        return logs.get(request.path, refusal(404, "not_found", "missing"))

    async with ScriptedServer() as server:
        rows = [{"id": doc_id, "seq": f"{n}-x", "changes": [{"rev": "1-a"}]} for n, doc_id in enumerate(texts, 1)]
        feed = {"results": rows, "last_seq": f"{len(rows)}-x", "pending": 0}
        server.on("GET /clinic/_changes", json_answer(feed))
        server.on("POST /clinic/_bulk_get", bulk_get)
        server.otherwise("GET", log)
        server.otherwise("PUT", keep)
        yield server
