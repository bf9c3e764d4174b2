"""Answers as gzip, for clients that take it, where it is worth it: large JSON. Knows no endpoint and no store.

Never attachments (nearly all are ciphertext), and never a feed that waits: its rows must go out as they come.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Mapping

from aiohttp import web

from icure_sync.hub.limits import MIN_PACKED, PACKED_INLINE, PACKING_LEVEL

_GZIP = 16 + zlib.MAX_WBITS
_REFUSED = re.compile(r"q=0(?:\.0{0,3})?\Z")
_HEADERS = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}


class Plain:
    """An answer that goes out as it is."""

    headers: Mapping[str, str] = {}

    async def pack(self, data: bytes) -> bytes:
        """What to send for these bytes, perhaps less, perhaps later."""
        return data

    async def flush(self, data: bytes) -> bytes:
        """The same, and nothing later."""
        return data

    def finish(self) -> bytes:
        """The last bytes."""
        return b""


class Packed(Plain):
    """An answer that goes out as one gzip stream."""

    headers = _HEADERS

    def __init__(self) -> None:
        self._stream = zlib.compressobj(PACKING_LEVEL, zlib.DEFLATED, _GZIP)

    async def pack(self, data: bytes) -> bytes:
        if len(data) < PACKED_INLINE:
            return self._stream.compress(data)
        return await asyncio.to_thread(self._stream.compress, data)  # others get their turn meanwhile

    async def flush(self, data: bytes) -> bytes:
        return await self.pack(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._stream.flush()


def packing_of(request: web.BaseRequest, headers: Mapping[str, str]) -> Plain:
    """How a long answer with these headers goes out."""
    is_json = headers.get("Content-Type", "").startswith("application/json")
    return Packed() if is_json and request.method != "HEAD" and takes_gzip(request) else Plain()


async def pack_whole(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Packs an answer that is whole and not under way yet, if it is worth it."""
    body = response.body if isinstance(response, web.Response) and not response.prepared else None
    if not isinstance(body, bytes) or len(body) < MIN_PACKED or "Content-Encoding" in response.headers:
        return
    packing = packing_of(request, response.headers)
    if isinstance(packing, Packed):
        assert isinstance(response, web.Response)  # it has a body
        response.body = await packing.pack(body) + packing.finish()
        response.headers.update(packing.headers)


def takes_gzip(request: web.BaseRequest) -> bool:
    """Whether the client says that it takes gzip (RFC 9110, 12.5.3). Saying nothing is no."""
    for one in request.headers.get("Accept-Encoding", "").lower().split(","):
        coding, _, parameters = one.partition(";")
        if coding.strip() in {"gzip", "x-gzip", "*"}:
            return not _REFUSED.match(parameters.replace(" ", ""))
    return False
