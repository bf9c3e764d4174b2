"""A server that answers what a script tells it to: real HTTP on loopback, one database called `clinic`.

Owns its sockets and a note of every request. Knows no documents: what it answers is the script's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from icure_sync.peers.couch import CouchPeer
from icure_sync.testing.answers import Answer, json_answer, refusal

LINGER = 0.1  # seconds that requests under way get when the server closes
REMEMBERED = 10_000  # requests that are noted, the last ones: a bound on memory

Responder = Callable[[web.BaseRequest], Awaitable[web.StreamResponse | Answer]]  # for answers that no value can give

INFO = json_answer({"db_name": "clinic", "update_seq": "5-abc", "instance_start_time": "170", "doc_count": 3})
UNSCRIPTED = refusal(404, "not_found", "missing")  # as CouchDB says it of a document


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the server got it. The headers and the body hold credentials, so neither shows in a repr."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class ScriptedServer:
    """`async with ScriptedServer() as server: server.on("GET /clinic/_changes", json_answer(...))`.

    A request that the script does not know is answered as `otherwise` says, or as CouchDB does for a missing document.
    """

    def __init__(self) -> None:
        self._script: dict[str, list[Answer | Responder]] = {"GET /clinic": [INFO]}
        self._otherwise: dict[str, Answer | Responder] = {}
        self._runner: web.ServerRunner | None = None
        self._seen: deque[Seen] = deque(maxlen=REMEMBERED)
        self.url = ""

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=LINGER)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def seen(self) -> Sequence[Seen]:
        """The requests that came, the oldest first; REMEMBERED at most."""
        return tuple(self._seen)

    def on(self, request: str, *answers: Answer | Responder) -> None:
        """Answer "METHOD /path" with these in turn; the last one again and again."""
        self._script[request] = list(answers)

    def otherwise(self, method: str, answer: Answer | Responder) -> None:
        """Answer every other request of this method with this."""
        self._otherwise[method] = answer

    def count(self, request: str) -> int:
        """How often "METHOD /path" came."""
        return sum(f"{seen.method} {seen.path}" == request for seen in self._seen)

    def last(self, request: str) -> Seen:
        """The latest "METHOD /path". Raises IndexError if none came."""
        return [seen for seen in self._seen if f"{seen.method} {seen.path}" == request][-1]

    def peer(self, login: str = "", **named: Any) -> CouchPeer:
        """A peer for the database `clinic`. `login`: `user:password`; `named`: as CouchPeer takes them."""
        return CouchPeer(self.url.replace("//", f"//{login}@" if login else "//") + "/clinic", **named)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self._seen.append(Seen(request.method, request.path, dict(request.headers), body))
        rest = self._otherwise.get(request.method, UNSCRIPTED)
        script = self._script.get(f"{request.method} {request.path}", [rest])
        found = script.pop(0) if len(script) > 1 else script[0]
        answer = found if isinstance(found, Answer) else await found(request)
        if isinstance(answer, Answer):
            return web.Response(body=answer.body, status=answer.status, headers=answer.headers)
        return answer
