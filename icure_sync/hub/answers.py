"""Answers: JSON, refusals and streams, with the headers that CouchDB sends. Knows no endpoint and no store."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from aiohttp import web

from icure_sync.hub.errors import HttpRefusal
from icure_sync.hub.limits import ANSWER_CHUNK
from icure_sync.hub.packing import packing_of

SERVER = "CouchDB/3.5.0 (icure_sync hub)"  # clients look for the version of the protocol that is spoken
JSON_HEADERS = {"Content-Type": "application/json", "Cache-Control": "must-revalidate", "Server": SERVER}

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,36}\Z")
_encoder = msgspec.json.Encoder()
encode = _encoder.encode  # compact UTF-8 JSON; msgspec.Raw members as they are


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """One JSON value with a line feed after it, as CouchDB ends its bodies."""
    return raw_answer(encode(value) + b"\n", status, headers)


def raw_answer(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """JSON that is bytes already."""
    return web.Response(body=body, status=status, headers={**JSON_HEADERS, **(headers or {})})


def refusal_answer(refusal: HttpRefusal) -> web.Response:
    return json_answer({"error": refusal.error, "reason": refusal.reason}, refusal.status, refusal.headers)


def etag(text: str) -> dict[str, str]:
    """The header for an entity tag."""
    return {"ETag": f'"{text}"'}


def entity_tags(request: web.BaseRequest, name: str) -> list[str]:
    """The tags in `If-Match` or `If-None-Match`, without quotes and weakness marks."""
    tags = request.headers.get(name, "").split(",")
    return [tag.strip().removeprefix("W/").strip('"') for tag in tags if tag.strip()]


async def stream_answer(
    request: web.BaseRequest, chunks: AsyncIterator[bytes], status: int = 200, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """Sends `chunks` gathered to larger ones; what fits into one goes out whole, with its length.

    A HEAD is answered without reading on once it is clear that the body is a long one.
    """
    headers = {**JSON_HEADERS, **(headers or {})}
    gathered = bytearray()
    packing = packing_of(request, headers)
    response: web.StreamResponse | None = None
    async for chunk in chunks:
        gathered += chunk
        if len(gathered) >= ANSWER_CHUNK:
            if response is None:
                response = await open_stream(request, status, {**headers, **packing.headers})
                if request.method == "HEAD":
                    await response.write_eof()
                    return response
            await response.write(await packing.pack(bytes(gathered)))
            gathered.clear()
    if response is None:
        return web.Response(body=bytes(gathered), status=status, headers=headers)
    await response.write(await packing.pack(bytes(gathered)) + packing.finish())
    await response.write_eof()
    return response


def about_request(request: web.BaseRequest) -> dict[str, str]:
    """The headers by which CouchDB's answers are told apart in logs: the client's own request id, or one made up."""
    given = request.headers.get("X-Couch-Request-ID", "")
    request_id = given if _REQUEST_ID.match(given) else os.urandom(5).hex()
    return {"X-Couch-Request-ID": request_id, "X-CouchDB-Body-Time": "0"}


async def open_stream(request: web.BaseRequest, status: int, headers: Mapping[str, str]) -> web.StreamResponse:
    """The head of an answer whose body follows piece by piece."""
    response = web.StreamResponse(status=status, headers={**headers, **about_request(request)})
    await response.prepare(request)
    return response
