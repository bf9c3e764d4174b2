"""The connections of a hub: how many there may be, and how slow. Knows no request.

A client that sends the head of its first request too slowly, or takes what it is sent too slowly, is cut off; one that
comes when there are too many is told so. What is slow about a body is bodies.py's. aiohttp itself ends connections that
idle between two requests.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from icure_sync.hub.limits import HEADER_SECONDS, IDLE_SECONDS, MAX_CONNECTIONS, RESERVED_FILES, STALL_SECONDS

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"
    b'{"error":"service_unavailable","reason":"too many connections; try again"}\n'
)


class Connections(web.Server):
    """A server of requests that watches over its connections. `more`: keyword arguments of aiohttp's own."""

    def __init__(self, handler: Handler, **more: Any) -> None:
        super().__init__(self._served, keepalive_timeout=IDLE_SECONDS, **more)
        self._handler = handler
        self._most = most_connections()
        self._silent: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}  # nothing whole has come of these yet
        self._unread: dict[asyncio.BaseTransport, int] = {}  # bytes that waited for these at the last look
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Called by aiohttp."""
        super().connection_made(handler, transport)
        if len(self._connections) > self._most:
            transport.write(_FULL)
            transport.close()
            return
        loop = asyncio.get_running_loop()
        self._silent[transport] = loop.call_later(HEADER_SECONDS, transport.abort)
        if self._watch is None:
            self._watch = loop.call_later(STALL_SECONDS, self._cut_stalled)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Called by aiohttp."""
        transport = self._connections.get(handler)
        super().connection_lost(handler, exc)
        if transport is not None:
            self._heard(transport)
            self._unread.pop(transport, None)

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  (aiohttp's own signature)
        """Called by aiohttp."""
        if self._watch is not None:
            self._watch.cancel()
        await super().shutdown(timeout)

    async def _served(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.transport is not None:
            self._heard(request.transport)
        return await self._handler(request)

    def _heard(self, transport: asyncio.BaseTransport) -> None:
        timer = self._silent.pop(transport, None)
        if timer is not None:
            timer.cancel()

    def _cut_stalled(self) -> None:
        """Cut off those who have taken nothing since the last look, of what waits for them."""
        for transport in tuple(self._connections.values()):
            waiting = transport.get_write_buffer_size()
            if waiting and waiting == self._unread.get(transport):
                transport.abort()
            self._unread[transport] = waiting
        self._watch = (
            asyncio.get_running_loop().call_later(STALL_SECONDS, self._cut_stalled) if self._connections else None
        )


def most_connections() -> int:
    """How many there may be at once: each takes an open file, of which a process has only so many."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, files - RESERVED_FILES))
