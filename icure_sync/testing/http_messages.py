"""HTTP/1.1 messages as a proxy needs them: where a head ends, what it says of its body, where the body ends.

Owns the framing (RFC 9112 sections 2 to 7). Bytes are handed on as they came; nothing is decoded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

MAX_HEAD = 64 * 1024  # bytes of one head: four times what a hub takes
PIECE = 64 * 1024  # bytes of a body held at once

_NO_BODY = {204, 304}


class BadMessage(Exception):
    """What came is no HTTP/1.1, or ends too early."""


@dataclass(frozen=True, slots=True)
class Head:
    """`raw`: all its bytes, the empty line included; `words`: the three of the first line; `fields`: in lower case."""

    raw: bytes
    words: tuple[str, str, str]
    fields: Mapping[str, str]

    @property
    def chunked(self) -> bool:
        return "chunked" in self.fields.get("transfer-encoding", "").lower()

    @property
    def closes(self) -> bool:
        """Its sender closes the connection after it."""
        return "close" in self.fields.get("connection", "").lower()

    @property
    def length(self) -> int | None:
        """Of its body, in bytes, if it says so."""
        text = self.fields.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() else None

    @property
    def lasts(self) -> bool:
        """An answer that says nothing of its length: the end of the connection is its end."""
        return not self.chunked and self.length is None


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next head, or None if the other side has ended. Raises BadMessage."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            raise BadMessage from error
        return None
    except asyncio.LimitOverrunError as error:
        raise BadMessage from error
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    words = (*first.split(" ", 2), "", "")
    fields = {name.strip().lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    return Head(raw, (words[0], words[1], words[2]), fields)


def has_body(request: Head, answer: Head) -> bool:
    """Does a body follow this answer's head?"""
    status = status_of(answer)
    return request.words[0] != "HEAD" and status >= 200 and status not in _NO_BODY


def status_of(answer: Head) -> int:
    """Raises BadMessage if it has none."""
    if not answer.words[1].isdigit():
        raise BadMessage
    return int(answer.words[1])


async def request_body(reader: asyncio.StreamReader, head: Head) -> AsyncGenerator[bytes, None]:
    """The bytes of a request's body, its chunk marks included. Raises BadMessage if it breaks off."""
    if head.chunked:
        async for piece in _chunks(reader):
            yield piece
    else:
        async for piece in _counted(reader, head.length or 0):
            yield piece


async def answer_body(reader: asyncio.StreamReader, head: Head) -> AsyncGenerator[bytes, None]:
    """The same of an answer; one that says nothing of its length lasts until the connection ends."""
    if head.lasts:
        while piece := await reader.read(PIECE):
            yield piece
    else:
        async for piece in request_body(reader, head):
            yield piece


async def _counted(reader: asyncio.StreamReader, length: int) -> AsyncGenerator[bytes, None]:
    while length:
        piece = await reader.read(min(PIECE, length))
        if not piece:
            raise BadMessage
        length -= len(piece)
        yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    while True:
        line = await _line(reader)
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError as error:
            raise BadMessage from error
        yield line
        if not size:
            break
        async for piece in _counted(reader, size + 2):  # with the line end behind it
            yield piece
    while True:  # trailers, then an empty line
        line = await _line(reader)
        yield line
        if line == b"\r\n":
            return


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise BadMessage from error
