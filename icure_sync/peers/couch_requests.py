"""One HTTP request to a CouchDB: login, deadlines, bounded answers, and every failure as a typed error.

Owns the tries of a request, and the connections. Redirects are refused, so credentials go nowhere but where they
belong; nothing is trusted that an intermediary may have put in an answer's place. Knows no document and no replication.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field

import aiohttp
import msgspec
from yarl import URL

from icure_sync.errors import BadAnswer, DatabaseMissing, NotFound
from icure_sync.peers.couch_address import Credentials
from icure_sync.peers.couch_bodies import JSON, Body, Upload, json_body
from icure_sync.peers.couch_failures import PROXY_LOGIN, Failures
from icure_sync.peers.couch_gzip import Compression
from icure_sync.peers.couch_login import COOKIE, LOGIN_STATUSES, Login, LoginAnswer, knows_nobody, wants_login
from icure_sync.peers.couch_refusals import Refused, error_of, redirected
from icure_sync.peers.couch_route import Route
from icure_sync.peers.limits import (
    CONNECT_SECONDS,
    CONNECTIONS,
    FEED_SILENCE_SECONDS,
    HEARTBEAT_SECONDS,
    MAX_ANSWER,
    MAX_REFUSAL,
    SENDING_SECONDS,
    SILENCE_SECONDS,
)
from icure_sync.replication.backoff import retry_after
from icure_sync.replication.policy import Step, decide
from icure_sync.replication.trouble import BatchRefused, Trouble

SESSION = "/_session"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `silence`: without a byte of the answer; `feed`: the same for a page of changes or of an index;
    `sending`: until the other side has taken one piece of what is sent; `heartbeat`: between two signs of life of a
    feed that is followed."""

    connect: float = CONNECT_SECONDS
    silence: float = SILENCE_SECONDS
    feed: float = FEED_SILENCE_SECONDS
    sending: float = SENDING_SECONDS
    heartbeat: float = HEARTBEAT_SECONDS


@dataclass(frozen=True, slots=True)
class Request:
    """`path`: below the server, percent-encoded; `attempted`: what it is for, in the words of an error.

    `silence`: seconds without a byte of the answer, where they are not the usual ones; `feed`: it lasts, and does not
    count as one of the requests at once.
    """

    method: str
    path: str
    attempted: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    accept: str = JSON
    silence: float | None = None
    feed: bool = False


class Requests:
    """Requests to one server. Opens its connections with the first one, and again after `close`."""

    def __init__(self, route: Route, timeouts: Timeouts) -> None:
        self._route = route
        self._peer = str(route.address)
        self._timeouts = timeouts
        self._login = Login(route.address)
        self._compression = Compression(worth_it=not route.address.is_loopback)
        self._failures = Failures(route)
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._being_read: set[aiohttp.ClientResponse] = set()

    async def close(self) -> None:
        """Close all connections; the login stays. What is under way ends with Unreachable."""
        session, self._session = self._session, None
        for response in tuple(self._being_read):
            response.close()  # closing the session would leave its reader waiting for ever
        if session is not None:
            await session.close()

    async def answer(self, request: Request) -> bytes:
        """The whole body of a successful answer. Raises the kinds of PeerError, and NotFound."""
        async with self.open(request) as response:
            return await self._read(response, request)

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer whose body is still to be read. Raises as `answer` does, while it is read too."""
        tries = 0
        doubted = False
        while True:
            headers = await self._login.headers(self._post_credentials)
            turn = self._login.turn
            body = request.body if doubted else await self._compression.packed(request.body)
            async with self._exchange(request, headers, body) as response:
                if response.status < 300:
                    self._learn(response, body, doubted=doubted)
                    yield response
                    return
                refused = await self._refused(response, request.attempted)
            if not wants_login(refused) and self._compression.is_doubted(body, refused.status):
                doubted = True
                continue
            tries += 1
            if not wants_login(refused) or decide(Trouble.LOGIN_NEEDED, tries) is not Step.LOG_IN:
                raise error_of(refused, request.attempted, self._peer)
            await self._login.renew(turn, self._post_credentials)

    async def confirm_login(self) -> None:
        """Log in again if the server does not know the cookie any more: it may have an open database answer anybody."""
        if not self._login.is_doubtful:
            return
        turn = self._login.turn
        try:
            text = await self.answer(Request("GET", SESSION, f"log in at {self._peer}"))
        except (NotFound, DatabaseMissing, BadAnswer):
            return  # a server that says nothing of sessions; what is wrong with it otherwise, the next request tells
        if knows_nobody(text):
            await self._login.renew(turn, self._post_credentials)
        else:
            self._login.confirm()

    @asynccontextmanager
    async def _exchange(
        self, request: Request, headers: Mapping[str, str], body: Body | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One try. aiohttp's errors become ours; what reading the body raised goes before what came of that."""
        upload = Upload(body, self._timeouts.sending)
        try:
            async with self._slot(request), upload.watched(), self._send(request, headers, upload) as response:
                self._failures.answered()
                self._being_read.add(response)
                try:
                    yield response
                finally:
                    self._being_read.discard(response)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            if upload.failure is not None:
                raise upload.failure from error
            raise self._failures.error_of(error, request.attempted) from error

    def _send(
        self, request: Request, headers: Mapping[str, str], upload: Upload
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        sent = {"Accept": request.accept, **headers}
        for_the_proxy = self._route.for_the_proxy
        if upload.body is not None:
            sent |= {"Content-Type": upload.body.content_type, "Content-Length": str(upload.body.length)}
            if upload.body.encoding:
                sent["Content-Encoding"] = upload.body.encoding
        if request.accept != JSON or request.feed or self._route.address.is_loopback:
            # attachments as they are; feeds without waiting for a block to fill; nothing is won on this machine
            sent["Accept-Encoding"] = "identity"
        if self._route.address.scheme == "http":
            sent |= for_the_proxy  # the request itself goes to it
        silence = self._timeouts.silence if request.silence is None else request.silence
        return self._connected().request(
            request.method,
            URL(self._route.address.server + request.path, encoded=True).update_query(request.query),
            headers=sent,
            data=upload.pieces() if upload.body is not None else None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(connect=self._timeouts.connect, sock_read=silence),
            proxy=None if self._route.proxy is None else self._route.proxy.server,
            proxy_headers=for_the_proxy,
        )

    async def _post_credentials(self, credentials: Credentials) -> LoginAnswer:
        body = json_body([msgspec.json.encode({"name": credentials.user, "password": credentials.password})])
        attempted = f"log in at {self._peer}"
        async with self._exchange(Request("POST", SESSION, attempted), {}, body) as response:
            if response.status == 200:
                cookie = response.cookies.get(COOKIE)
                return LoginAnswer(200, cookie.value if cookie else None)
            if response.status in LOGIN_STATUSES:
                return LoginAnswer(response.status, None)
            raise error_of(await self._refused(response, attempted), attempted, self._peer)

    def _slot(self, request: Request) -> AbstractAsyncContextManager[object]:
        """One of the requests at once, to be waited for. Feeds that wait do not keep others waiting."""
        self._connected()
        return nullcontext() if request.feed else self._slots

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = self._route.session()
            self._slots = asyncio.Semaphore(CONNECTIONS)  # of the same event loop
        return self._session

    def _learn(self, response: aiohttp.ClientResponse, body: Body | None, *, doubted: bool) -> None:
        """What a success tells about the server: a renewed cookie, and the content codings that it takes."""
        cookie = response.cookies.get(COOKIE)
        if cookie and cookie.value:
            self._login.take_cookie(cookie.value)
        if doubted:
            self._compression.refused()
        else:
            self._compression.taken(body)

    async def _read(self, response: aiohttp.ClientResponse, request: Request) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > MAX_ANSWER:
                raise BatchRefused(request.attempted, "answer_too_large", f"more than {MAX_ANSWER} bytes")
            parts.append(part)
        return b"".join(parts)

    async def _refused(self, response: aiohttp.ClientResponse, attempted: str) -> Refused:
        """An answer that is no success, as far as it is read. Raises what a redirect and a proxy's refusal are."""
        if response.status < 400:
            raise redirected(attempted, self._peer)
        if response.status == PROXY_LOGIN and self._route.proxy is not None:
            raise self._failures.refused_by_proxy(response.status, attempted)
        wait = retry_after(response.headers.get("Retry-After"), time.time())
        beginning = bytearray()
        async for part in response.content.iter_any():
            beginning += part
            if len(beginning) >= MAX_REFUSAL:
                break
        refused = Refused(response.status, bytes(beginning), wait)
        if self._failures.is_of_proxy(refused):
            raise self._failures.refused_by_proxy(refused.status, attempted)
        return refused
