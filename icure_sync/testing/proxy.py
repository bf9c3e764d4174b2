"""A proxy on loopback that breaks connections as it is told: latency, cuts, resets, silence, wrong answers, no network.

Owns its sockets, the rules in force, and a note of what passed. It works on TCP and reads of HTTP only as much as it
takes to tell one request from the next. Logs nothing, and notes neither headers nor bodies: they hold credentials.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from icure_sync.errors import InvalidEntity
from icure_sync.testing.exchange import Ended, Exchange, Passage
from icure_sync.testing.faults import NO_FAULT, Ending, Fault, Picks, Rule, anything
from icure_sync.testing.http_messages import BadMessage, Head, read_head
from icure_sync.testing.sides import Door, Side, accepted, connect

REMEMBERED = 10_000  # exchanges that are noted, the last ones: a bound on memory


class FaultProxy:
    """`async with FaultProxy("http://user:password@host:5984/clinic") as proxy: CouchPeer(proxy.url)`.

    Without a rule everything passes as it is. `seed`: of the jitter. Rules change at once; `offline` and `online` touch
    sockets, and are awaited. Raises InvalidEntity for what is no http:// URL.
    """

    def __init__(self, upstream: str, *, seed: int = 0) -> None:
        parts = urlsplit(upstream)
        if parts.scheme != "http" or not parts.hostname:
            raise InvalidEntity("put a proxy before a server", "its address is no http:// URL", "give it one")
        self._parts = parts
        self._host, self._upstream_port = parts.hostname, parts.port or 80
        self._chance = random.Random(seed)  # noqa: S311  # how long a delay is keeps no secret
        self._rules: list[Rule] = []
        self._door: Door | None = None
        self._port = 0
        self._sides: set[Side] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._exchanges: deque[Exchange] = deque(maxlen=REMEMBERED)

    def __repr__(self) -> str:
        return f"FaultProxy(127.0.0.1:{self._port} -> {self._host}:{self._upstream_port})"

    async def __aenter__(self) -> Self:
        await self.online()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.offline()

    @property
    def url(self) -> str:
        """Where clients go: credentials and path are the upstream's."""
        login, at, _ = self._parts.netloc.rpartition("@")
        return urlunsplit(self._parts._replace(netloc=f"{login}{at}127.0.0.1:{self._port}"))

    @property
    def exchanges(self) -> Sequence[Exchange]:
        """What has passed so far, the oldest first; REMEMBERED at most."""
        return tuple(self._exchanges)

    @property
    def connections(self) -> int:
        """How many sockets are open, those to the server included."""
        return len(self._sides)

    def inject(self, fault: Fault, picks: Picks = anything, *, first: int = 1, times: int | None = None) -> Rule:
        """Put a fault on the requests that `picks` names: from the `first` of them on, `times` times (None: always).

        A rule made later goes before an earlier one. `rule.applied` tells how often it was used.
        """
        rule = Rule(fault, picks, first, times)
        self._rules.insert(0, rule)
        return rule

    def heal(self) -> None:
        """Forget all rules: the line is good again."""
        self._rules.clear()

    async def offline(self) -> None:
        """Refuse connections, and cut those that there are."""
        door, self._door = self._door, None
        if door is not None:
            door.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for side in list(self._sides):
            side.reset()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def online(self) -> None:
        """Take connections (again), at the same port."""
        if self._door is None:
            self._door = Door(self._port, self._arrived)
            self._port = self._door.port

    def _arrived(self, connected: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(connected))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: connected.close())  # a task that is cancelled at once never sees it

    async def _serve(self, connected: socket.socket) -> None:
        """All requests of one connection, each with the fault that its rule says."""
        client = await accepted(connected)
        self._sides.add(client)
        line = _Line(client, self._sides)
        try:
            while (request := await read_head(client.reader)) is not None and await self._pass(request, line):
                pass
        except Ended as cut:
            await line.end(cut.ending)
        except (OSError, BadMessage):
            pass  # one of the two has gone: so does the other
        finally:
            await line.end(Ending.CLOSE)

    async def _pass(self, request: Head, line: _Line) -> bool:
        method, target, _ = request.words
        path = target.partition("?")[0]
        fault = next((rule.fault for rule in self._rules if rule.takes(method, path)), NO_FAULT)
        exchange = Exchange(method, path, fault)
        self._exchanges.append(exchange)
        passage = Passage(line.client, request, exchange)
        if (fault.latency or fault.jitter) and await self._leaves(line.client, fault):
            return False
        if fault.answer is not None:
            return await passage.say()
        return await passage.carry(await line.server(self._host, self._upstream_port))

    async def _leaves(self, client: Side, fault: Fault) -> bool:
        """Wait as long as the fault says; True if the client goes meanwhile."""
        try:
            async with asyncio.timeout(fault.latency + fault.jitter * self._chance.random()):
                await client.left()
        except TimeoutError:
            return False
        return True


class _Line:
    """A client's connection and the one to the server that goes with it."""

    def __init__(self, client: Side, sides: set[Side]) -> None:
        self.client = client
        self._server: Side | None = None
        self._sides = sides

    async def server(self, host: str, port: int) -> Side:
        """The connection to the server, made anew if it has ended. Raises OSError."""
        if self._server is not None and self._server.ended:
            self._drop(self._server)
            self._server = None
        if self._server is None:
            self._server = await connect(host, port)
            self._sides.add(self._server)
        return self._server

    async def end(self, ending: Ending) -> None:
        """End both connections, the client's in this way. In silence: once the client has gone."""
        await self.client.end(ending)
        self._sides.discard(self.client)
        if self._server is not None:
            self._drop(self._server)

    def _drop(self, side: Side) -> None:
        side.reset()
        self._sides.discard(side)
