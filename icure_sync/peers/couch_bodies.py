"""What is sent with a request, and the deadline for each piece of it. Owns its two forms: a text in memory, a stream.

Knows no request and no document.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

from icure_sync.errors import IcureSyncError
from icure_sync.peers.limits import PIECE

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Body:
    """`length` bytes that `pieces` gives, anew for each try. `text`: all of them, if they are in memory anyway.

    `encoding`: the content coding that they are in, "" for none. The bytes, a password perhaps, show in no repr.
    """

    length: int
    pieces: Callable[[], AsyncGenerator[bytes, None]]
    content_type: str = JSON
    text: bytes | None = field(default=None, repr=False)
    encoding: str = ""


def json_body(pieces: Iterable[bytes]) -> Body:
    """A JSON text in pieces that are in memory already."""
    return text_body(b"".join(pieces))


def text_body(text: bytes, encoding: str = "") -> Body:
    """A JSON text, or what a content coding made of one.

    Given in blocks of PIECE: a write to a socket for each document would cost more than the rest, and a large one would
    take a slow line longer than a piece may.
    """

    async def blocks() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(text), PIECE):
            yield text[start : start + PIECE]

    return Body(len(text), blocks, JSON, text, encoding)


class Upload:
    """The body of a request under way, and the deadline for each of its pieces.

    Remembers what reading the body raised, which aiohttp wraps.
    """

    def __init__(self, body: Body | None, seconds: float) -> None:
        self.body = body
        self._seconds = seconds
        self._deadline = asyncio.timeout(None)
        self.failure: IcureSyncError | None = None

    def watched(self) -> asyncio.Timeout:
        """Raises TimeoutError from within if the other side takes too long over one piece."""
        return self._deadline

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        assert self.body is not None
        try:
            async with aclosing(self.body.pieces()) as pieces:
                async for piece in pieces:
                    self._deadline.reschedule(asyncio.get_running_loop().time() + self._seconds)
                    yield piece
                    self._deadline.reschedule(None)  # taken; reading the next one has deadlines of its own
        except IcureSyncError as error:
            self.failure = error
            raise
