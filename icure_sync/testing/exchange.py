"""One request and its answer on their way through a proxy, and what a fault does to them.

Owns the obeying of a Fault. Holds one piece of a body at a time; a body that is counted is never kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from icure_sync.testing.faults import Ending, Fault
from icure_sync.testing.http_messages import (
    PIECE,
    BadMessage,
    Head,
    answer_body,
    has_body,
    read_head,
    request_body,
    status_of,
)
from icure_sync.testing.sides import Side

_TICK = 0.02  # seconds between two pieces on a throttled line


@dataclass(slots=True)
class Exchange:
    """What passed, or is passing. `status`: None as long as no answer has begun; `sent`, `received`: bytes that were
    given to the server and to the client."""

    method: str
    path: str
    fault: Fault
    status: int | None = None
    sent: int = 0
    received: int = 0


class Ended(Exception):
    """The fault ends the connection here."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


class _Way:
    """One direction: slices, slows and cuts what is given to one side, and counts it."""

    def __init__(
        self, side: Side, fault: Fault, *, cut: int | None, piece: int | None, count: Callable[[int], None]
    ) -> None:
        self._side = side
        self._cut = cut
        self._ending = fault.ending
        self._rate = fault.rate
        self._step = min(PIECE, piece or PIECE, max(1, int(fault.rate * _TICK)) if fault.rate else PIECE)
        self._count = count
        self._passed = 0

    async def give(self, data: bytes) -> None:
        """Raises Ended where the fault cuts, OSError if nobody takes it."""
        room = len(data) if self._cut is None else min(len(data), self._cut - self._passed)
        for start in range(0, room, self._step):
            part = data[start : min(room, start + self._step)]
            self._passed += len(part)
            self._count(len(part))
            await self._side.give(part)
            await asyncio.sleep(len(part) / self._rate if self._rate else 0)
        if room < len(data):
            raise Ended(self._ending)


class Passage:
    """Carries one request from a client to the server, and the answer back. `record`: what has passed."""

    def __init__(self, client: Side, request: Head, record: Exchange) -> None:
        self._client = client
        self._request = request
        self.record = record
        self._goes_on = True
        fault = record.fault
        self._to_client = _Way(client, fault, cut=fault.cut_answer, piece=fault.piece, count=self._received)

    def _received(self, size: int) -> None:
        self.record.received += size

    def _sent(self, size: int) -> None:
        self.record.sent += size

    async def say(self) -> bool:
        """Answer in the server's stead. True: the connection goes on."""
        answer = self.record.fault.answer
        assert answer is not None
        async with aclosing(request_body(self._client.reader, self._request)) as body:
            async for _ in body:
                pass
        self.record.status = answer.status
        await self._to_client.give(answer.head())
        if self._request.words[0] != "HEAD":
            await self._to_client.give(answer.body)
        return not self._request.closes

    async def carry(self, server: Side) -> bool:
        """Pass on the request and the answer, at once: a server may answer before it has read everything.

        True: both connections go on. Raises Ended, BadMessage, OSError.
        """
        fault = self.record.fault
        to_server = _Way(server, fault, cut=fault.cut_request, piece=None, count=self._sent)
        sending = asyncio.ensure_future(self._send(to_server))
        relaying = asyncio.ensure_future(self._relay(server))
        leaving = asyncio.ensure_future(self._client.left())
        pending: set[asyncio.Future[None]] = {sending, relaying, leaving}
        try:
            while not leaving.done() and not (sending.done() and relaying.done()):
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            return self._goes_on and not leaving.done()
        finally:
            for task in (sending, relaying, leaving):
                task.cancel()
            await asyncio.gather(sending, relaying, leaving, return_exceptions=True)

    async def _send(self, way: _Way) -> None:
        """A server that has answered and takes no more is no reason to stop the client before it has read that."""
        refused = False
        async with aclosing(self._whole_request()) as pieces:
            async for piece in pieces:
                try:
                    await way.give(b"" if refused else piece)
                except OSError:
                    refused = True
                    self._goes_on = False

    async def _whole_request(self) -> AsyncGenerator[bytes, None]:
        yield self._request.raw
        async with aclosing(request_body(self._client.reader, self._request)) as pieces:
            async for piece in pieces:
                yield piece

    async def _relay(self, server: Side) -> None:
        while True:
            head = await read_head(server.reader)
            if head is None:
                raise BadMessage
            self.record.status = status = status_of(head)
            await self._to_client.give(head.raw)
            if status >= 200:  # others only say that it is under way
                break
        body = has_body(self._request, head)
        if head.closes or self._request.closes or (body and head.lasts):
            self._goes_on = False
        if body:
            async with aclosing(answer_body(server.reader, head)) as pieces:
                async for piece in pieces:
                    await self._to_client.give(piece)
