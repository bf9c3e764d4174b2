"""One HTTP request to a CouchDB: login, deadlines, bounded answers, and every failure as a typed error.

Owns the aiohttp session. Redirects are refused, so credentials go nowhere but where they belong; nothing is trusted
that an intermediary may have put in an answer's place. Knows no document and no replication.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import aiohttp
import msgspec
from yarl import URL

from icure_sync.errors import IcureSyncError, TimedOut, Unreachable
from icure_sync.peers.couch_address import Address, Credentials
from icure_sync.peers.couch_login import COOKIE, LOGIN_STATUSES, Login, LoginAnswer
from icure_sync.peers.couch_refusals import Refused, error_of, not_a_couchdb, redirected
from icure_sync.peers.limits import (
    CONNECT_SECONDS,
    CONNECTIONS,
    FEED_SILENCE_SECONDS,
    HEARTBEAT_SECONDS,
    MAX_ANSWER,
    MAX_REFUSAL,
    PIECE,
    SENDING_SECONDS,
    SILENCE_SECONDS,
)
from icure_sync.replication.backoff import retry_after
from icure_sync.replication.policy import Step, decide
from icure_sync.replication.trouble import BatchRefused, Trouble, Undecodable

JSON = "application/json"


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
class Body:
    """What is sent: `length` bytes that `pieces` gives, anew for each try."""

    length: int
    pieces: Callable[[], AsyncGenerator[bytes, None]]
    content_type: str = JSON


@dataclass(frozen=True, slots=True)
class Request:
    """`path`: below the server, percent-encoded; `attempted`: what it is for, in the words of an error.

    `silence`: seconds without a byte of the answer, where they are not the usual ones; `feed`: it lasts, and has a
    connection of its own.
    """

    method: str
    path: str
    attempted: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    accept: str = JSON
    silence: float | None = None
    feed: bool = False


def json_body(pieces: Iterable[bytes]) -> Body:
    """A JSON text in pieces that are in memory already."""
    blocks = _blocks(pieces)

    async def again() -> AsyncGenerator[bytes, None]:
        for block in blocks:
            yield block

    return Body(sum(map(len, blocks)), again)


def _blocks(pieces: Iterable[bytes]) -> list[bytes]:
    """The same bytes in blocks of PIECE: a write to a socket for each document would cost more than the rest, and a
    large one would take a slow line longer than a piece may."""
    whole = b"".join(pieces)
    return [whole[start : start + PIECE] for start in range(0, len(whole), PIECE)]


class Requests:
    """Requests to one server. Opens its connections with the first one, and again after `close`."""

    def __init__(self, address: Address, timeouts: Timeouts) -> None:
        self._address = address
        self._timeouts = timeouts
        self._login = Login(address)
        self._session: aiohttp.ClientSession | None = None
        self._feeds: aiohttp.ClientSession | None = None  # apart: feeds that wait shall not keep requests waiting

    async def close(self) -> None:
        """Close all connections; the login stays."""
        sessions = (self._session, self._feeds)
        self._session = self._feeds = None
        for session in filter(None, sessions):
            await session.close()

    async def answer(self, request: Request) -> bytes:
        """The whole body of a successful answer. Raises the kinds of PeerError, and NotFound."""
        async with self.open(request) as response:
            return await self._read(response, request)

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful answer whose body is still to be read. Raises as `answer` does, while it is read too."""
        upload = _Upload(request.body, self._timeouts.sending)
        with self._typed(request.attempted, upload):
            tries = 0
            while True:
                headers = await self._login.headers(self._post_credentials)
                turn = self._login.turn
                async with upload.watched(), self._send(request, headers, upload) as response:
                    if response.status < 300:
                        self._keep_cookie(response)
                        yield response
                        return
                    if response.status < 400:
                        raise redirected(request.attempted, str(self._address))
                    refused = await _refused(response)
                tries += 1
                if refused.status != 401 or decide(Trouble.LOGIN_NEEDED, tries) is not Step.LOG_IN:
                    raise error_of(refused, request.attempted, str(self._address))
                await self._login.renew(turn, self._post_credentials)

    def _send(
        self, request: Request, headers: Mapping[str, str], upload: _Upload
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        sent = {"Accept": request.accept, **headers}
        if request.body is not None:
            sent |= {"Content-Type": request.body.content_type, "Content-Length": str(request.body.length)}
        if request.accept != JSON or request.feed:
            sent["Accept-Encoding"] = "identity"  # attachments as they are; feeds without waiting for a block to fill
        silence = self._timeouts.silence if request.silence is None else request.silence
        return self._connected(request).request(
            request.method,
            URL(self._address.server + request.path, encoded=True).update_query(request.query),
            headers=sent,
            data=upload.pieces() if request.body is not None else None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(sock_connect=self._timeouts.connect, sock_read=silence),
        )

    async def _post_credentials(self, credentials: Credentials) -> LoginAnswer:
        body = msgspec.json.encode({"name": credentials.user, "password": credentials.password})
        attempted = f"log in at {self._address}"
        request = Request("POST", "/_session", attempted, body=json_body([body]))
        with self._typed(attempted, upload := _Upload(request.body, self._timeouts.sending)):
            async with upload.watched(), self._send(request, {}, upload) as response:
                if response.status == 200:
                    cookie = response.cookies.get(COOKIE)
                    return LoginAnswer(200, cookie.value if cookie else None)
                if response.status in LOGIN_STATUSES:
                    return LoginAnswer(response.status, None)
                if response.status < 400:
                    raise redirected(attempted, str(self._address))
                raise error_of(await _refused(response), attempted, str(self._address))

    def _connected(self, request: Request) -> aiohttp.ClientSession:
        if request.feed:
            if self._feeds is None:
                self._feeds = _session(connections=0)  # without a limit: as many as are followed
            return self._feeds
        if self._session is None:
            self._session = _session(CONNECTIONS)
        return self._session

    def _keep_cookie(self, response: aiohttp.ClientResponse) -> None:
        cookie = response.cookies.get(COOKIE)
        if cookie and cookie.value:
            self._login.take_cookie(cookie.value)

    async def _read(self, response: aiohttp.ClientResponse, request: Request) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > MAX_ANSWER:
                raise BatchRefused(request.attempted, "answer_too_large", f"more than {MAX_ANSWER} bytes")
            parts.append(part)
        return b"".join(parts)

    @contextmanager
    def _typed(self, attempted: str, upload: _Upload) -> Iterator[None]:
        """aiohttp's errors as ours. What the request's own body raised goes before what came of that."""
        peer = str(self._address)
        try:
            yield
        except TimeoutError as error:
            raise TimedOut(
                attempted, f"{peer} does not answer in time", "check the network, then sync again"
            ) from error
        except aiohttp.ClientSSLError as error:
            check = "check the certificate, and this device's clock"
            raise Unreachable(attempted, f"{peer} shows no certificate that can be trusted", check) from error
        except aiohttp.ClientPayloadError as error:
            if isinstance(error.__cause__, aiohttp.http_exceptions.ContentEncodingError):
                raise Undecodable(attempted, f"the answer of {peer} does not decompress", "sync again") from error
            raise Unreachable(attempted, f"the answer of {peer} broke off", "sync again") from error
        except aiohttp.ClientResponseError as error:
            raise not_a_couchdb(attempted, peer, "what is no HTTP") from error
        except (aiohttp.ClientError, OSError) as error:
            if upload.failure is not None:
                raise upload.failure from error
            check = "check the address and the network, then sync again"
            raise Unreachable(attempted, f"there is no connection to {peer}", check) from error


def _session(connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),  # the login keeps the one cookie there is
        headers={"User-Agent": "icure-sync"},
        timeout=aiohttp.ClientTimeout(total=None),
    )


class _Upload:
    """The body of a request under way, and the deadline for each of its pieces.

    Remembers what reading the body raised, which aiohttp wraps.
    """

    def __init__(self, body: Body | None, seconds: float) -> None:
        self._body = body
        self._seconds = seconds
        self._deadline = asyncio.timeout(None)
        self.failure: IcureSyncError | None = None

    def watched(self) -> asyncio.Timeout:
        """Raises TimeoutError from within if the other side takes too long over one piece."""
        self._deadline = asyncio.timeout(None)
        return self._deadline

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        assert self._body is not None
        try:
            async with aclosing(self._body.pieces()) as pieces:
                async for piece in pieces:
                    self._deadline.reschedule(asyncio.get_running_loop().time() + self._seconds)
                    yield piece
                    self._deadline.reschedule(None)  # taken; reading the next one has deadlines of its own
        except IcureSyncError as error:
            self.failure = error
            raise


async def _refused(response: aiohttp.ClientResponse) -> Refused:
    wait = retry_after(response.headers.get("Retry-After"), time.time())
    beginning = bytearray()
    async for part in response.content.iter_any():
        beginning += part
        if len(beginning) >= MAX_REFUSAL:
            break
    return Refused(response.status, bytes(beginning), wait)
