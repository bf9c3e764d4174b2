"""Request bodies: read in bounded memory, unpacked, checked to be JSON. Knows no endpoint.

Documents on their way through stay text: `decode` fills msgspec types whose members may be raw. What the hub itself
acts upon is read strictly (`strict_body`).
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from icure_sync import strict_json
from icure_sync.errors import InvalidEntity
from icure_sync.hub.errors import HttpRefusal, bad_content_type, bad_request, request_timeout, too_large
from icure_sync.hub.limits import ANSWER_CHUNK, BODY_SECONDS, GOODBYE_SECONDS, MAX_JSON_BODY, MAX_VALUES, MIN_BODY_RATE

T = TypeVar("T")

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_GZIP = 16 + zlib.MAX_WBITS
_BLANKS = b" \t\r\n"  # that JSON takes before a value


def require_json(request: web.BaseRequest) -> None:
    """Raises bad_content_type unless the request says that it carries JSON."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise bad_content_type("Content-Type must be application/json")


async def pieces(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """The body as it comes, unpacked; asks for it first where the client waits (`Expect: 100-continue`).

    Raises bad_content_type (an encoding other than gzip), bad_request (not gzip, cut short).
    """
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in {"identity", "gzip", ""}:
        raise bad_content_type(f"{coding[:40]} is not a supported content encoding.")
    packed = raw_pieces(request)
    async for piece in inflated(packed) if coding == "gzip" else packed:
        yield piece


async def raw_pieces(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """The same, but packed as it came. Raises request_timeout for one that comes too slowly to be honest."""
    await _invite(request)
    loop = asyncio.get_running_loop()
    patience = BODY_SECONDS
    while True:
        begun = loop.time()
        try:
            piece = request.content.read_nowait(ANSWER_CHUNK)  # most bodies came with their head: no timer for these
            if not piece and not request.content.at_eof():
                async with asyncio.timeout(patience):
                    piece = await request.content.read(ANSWER_CHUNK)
        except TimeoutError as error:
            if request.transport is not None:
                loop.call_later(GOODBYE_SECONDS, request.transport.close)  # the rest of the body is not waited for
            raise request_timeout() from error
        if not piece:
            return
        patience = min(BODY_SECONDS, patience - (loop.time() - begun) + len(piece) / MIN_BODY_RATE)
        yield piece


class Inflater:
    """The inside of one gzip stream, in small steps: a bomb is noticed before it is in memory.

    Raises bad_request for what is not exactly that: something else, cut short, something after it.
    """

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What the next packed bytes hold, at most ANSWER_CHUNK at a time."""
        try:
            while piece:
                yield self._stream.decompress(piece, ANSWER_CHUNK)
                piece = self._stream.unconsumed_tail
        except zlib.error as error:
            raise _not_gzip() from error
        if self._stream.unused_data:
            raise _not_gzip()

    def finish(self) -> bytes:
        """The rest."""
        try:
            rest = self._stream.flush()
        except zlib.error as error:
            raise _not_gzip() from error
        if not self._stream.eof:
            raise _not_gzip()
        return rest


async def inflated(packed: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The inside of a gzip stream as it comes. Raises bad_request."""
    inflater = Inflater()
    async for piece in packed:
        for chunk in inflater.feed(piece):
            yield chunk
            await asyncio.sleep(0)  # a small piece may hold much
    yield inflater.finish()


async def read(request: web.BaseRequest, limit: int = MAX_JSON_BODY) -> bytes:
    """The whole body. Raises too_large beyond `limit` bytes, and what `pieces` raises."""
    declared = request.content_length
    if declared is not None and declared > limit:
        raise too_large("request body")
    gathered = bytearray()
    async for piece in pieces(request):
        gathered += piece
        if len(gathered) > limit:
            raise too_large("request body")
    return bytes(gathered)


def check_text(data: bytes) -> None:
    """Raises bad_request for what is not UTF-8 or escapes half of a surrogate pair: msgspec skips over both."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise bad_request("invalid UTF-8 JSON") from error
    if _SURROGATE.search(data):
        strict_value(data)


def decode(data: bytes, decoder: msgspec.json.Decoder[T], what: str = "Request body") -> T:
    """`data` as the decoder's type, raw members as they were sent. Raises bad_request, too_large.

    `what`: named by the refusal of a value that is no object.
    """
    _check_count(data)
    check_text(data)
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        is_object = data.lstrip(_BLANKS).startswith(b"{")
        raise bad_request(str(error) if is_object else f"{what} must be a JSON object") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise bad_request("invalid UTF-8 JSON") from error


def strict_value(data: bytes) -> Any:
    """Any JSON value, nothing left undecoded. Raises bad_request, too_large."""
    _check_count(data)
    try:
        return strict_json.loads(data, "the request body")
    except InvalidEntity as error:
        raise bad_request("invalid UTF-8 JSON") from error


async def strict_body(request: web.BaseRequest, limit: int = MAX_JSON_BODY) -> Any:
    """The whole body as one JSON value. Raises bad_request, too_large."""
    return strict_value(await read(request, limit))


async def strict_object(request: web.BaseRequest, limit: int = MAX_JSON_BODY) -> dict[str, Any]:
    """The whole body as one JSON object. Raises bad_request, too_large."""
    value = await strict_body(request, limit)
    if not isinstance(value, dict):
        raise bad_request("Request body must be a JSON object")
    return value


def _not_gzip() -> HttpRefusal:
    return bad_request("Request body is not properly gzipped.")


def _check_count(data: bytes) -> None:
    """Raises too_large for more values than may be made of one request: small ones take many times their text.

    Every value but the first comes after one of these four; within strings they count too, which is near enough.
    """
    if sum(map(data.count, (b",", b":", b"{", b"["))) > MAX_VALUES:
        raise too_large("number of values in the JSON")


async def _invite(request: web.BaseRequest) -> None:
    """RFC 9110, 10.1.1: the body is asked for only once the request is known to be welcome."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # what counts is the answer proper
