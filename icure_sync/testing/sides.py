"""One side of a proxied connection: a socket that tells when its other end has gone, and that can be reset.

Owns the ways a connection may end. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from icure_sync.testing.faults import Ending
from icure_sync.testing.http_messages import MAX_HEAD

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time: closing sends RST


class _Reader(asyncio.StreamReader):
    """A reader that tells at once when nothing more will come, whatever is still to be read."""

    def __init__(self) -> None:
        super().__init__(limit=MAX_HEAD)
        self.ended = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.ended.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.ended.set()


class Side:
    """A connection to a client or to the server. Writing raises OSError when the other end has gone."""

    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer
        writer.transport.set_write_buffer_limits(high=0)  # what was written has gone to the socket when `give` returns

    @property
    def ended(self) -> bool:
        """The other end has said that it is done, or is gone."""
        return self.reader.ended.is_set()

    async def left(self) -> None:
        """Wait until then."""
        await self.reader.ended.wait()

    async def give(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def end(self, ending: Ending) -> None:
        """End the connection. SILENCE: once the other end has gone."""
        if ending is Ending.SILENCE:
            await self.left()
        if ending is Ending.RESET:
            self.reset()
        else:
            self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def reset(self) -> None:
        """End it at once: the other end sees a reset."""
        connected = self._writer.get_extra_info("socket")
        if connected is not None:
            with contextlib.suppress(OSError):
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()


async def connect(host: str, port: int) -> Side:
    """A connection to a server. Raises OSError."""
    loop = asyncio.get_running_loop()
    reader = _Reader()
    transport, protocol = await loop.create_connection(lambda: asyncio.StreamReaderProtocol(reader), host, port)
    return Side(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


async def accepted(connected: socket.socket) -> Side:
    """A connection that a client has made."""
    loop = asyncio.get_running_loop()
    reader = _Reader()
    transport, protocol = await loop.connect_accepted_socket(lambda: asyncio.StreamReaderProtocol(reader), connected)
    return Side(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


class Door:
    """A socket on loopback that takes connections until it is closed. `port` 0: any free one.

    Nothing is half accepted when it closes, as it may be with asyncio's own servers. Raises OSError.
    """

    def __init__(self, port: int, arrived: Callable[[socket.socket], None]) -> None:
        self._arrived = arrived
        self._loop = asyncio.get_running_loop()
        self._socket = socket.create_server(("127.0.0.1", port))
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._accept)
        self.port: int = self._socket.getsockname()[1]

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):  # it has gone again
            connected, _ = self._socket.accept()
            connected.setblocking(False)
            self._arrived(connected)
