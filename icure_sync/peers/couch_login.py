"""The login at a CouchDB: one cookie for all requests, Basic where there is no `_session`.

Owns the credentials in use, and how often they may be tried: five wrong passwords lock an account, the right one
included, so a password that was refused once is never sent again. A cookie dies without a word where everybody may
read: the server then answers to nobody in particular. Knows no documents.
Source: docs.couchdb.org, "Authentication", "/_session".
"""

from __future__ import annotations

import asyncio
import base64
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import quote

import msgspec

from icure_sync.discretion import withhold
from icure_sync.errors import BadAnswer, Unauthorized
from icure_sync.peers.couch_address import Address, Credentials
from icure_sync.peers.couch_refusals import Refused
from icure_sync.peers.limits import SESSION_SECONDS

COOKIE = "AuthSession"
_NO_SESSIONS = {404, 405, 501}  # a server without `_session`
LOGIN_STATUSES = {401, *_NO_SESSIONS}  # answers of `_session` that the login decides about itself


@dataclass(frozen=True, slots=True)
class LoginAnswer:
    """What `POST /_session` gave: the status, and the cookie's value if one came."""

    status: int
    cookie: str | None = field(repr=False)


Post = Callable[[Credentials], Awaitable[LoginAnswer]]  # maps everything but 200, 401 and "no sessions" to errors


class _User(msgspec.Struct):
    name: str | None


class _Session(msgspec.Struct):
    userCtx: _User  # noqa: N815  CouchDB's word


def knows_nobody(session: bytes) -> bool:
    """Whether this answer of `GET /_session` says that whoever asked is nobody. Other servers may say other things."""
    try:
        return msgspec.json.decode(session, type=_Session).userCtx.name is None
    except msgspec.MsgspecError:
        return False


def wants_login(refused: Refused) -> bool:
    """Whether a new login may help. A server that took another's place says 400 of a cookie that it cannot read."""
    return refused.status == 401 or (refused.status == 400 and COOKIE.encode() in refused.body)


class Login:
    """The state of one login. `turn` counts the logins made, so that one dead cookie leads to one new login."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._headers: dict[str, str] | None = None if address.credentials else {}
        self._refused = False
        self._lock = asyncio.Lock()
        self._alive_at = 0.0  # when the server last showed that it knows the cookie; device clock, asleep or not
        self.turn = 0
        if address.credentials:
            password = address.credentials.password
            weakref.finalize(self, withhold(password, quote(password, safe="")))

    async def headers(self, post: Post) -> dict[str, str]:
        """The headers that a request needs; logs in first, once, however many ask at the same time.

        Raises Unauthorized, and what `post` raises.
        """
        if self._refused:
            self._refuse()
        if self._headers is None:
            await self.renew(self.turn, post)
        return self._headers or {}

    async def renew(self, turn: int, post: Post) -> None:
        """A request of login `turn` was answered with 401. Raises Unauthorized if a new login cannot help."""
        async with self._lock:
            if self.turn != turn:
                return  # another request has logged in meanwhile
            credentials = self._address.credentials
            if credentials is None:
                self._stop("it wants a user and a password")
            if self._refused or "Authorization" in (self._headers or {}):
                self._refuse()
            answer = await post(credentials)
            if answer.status in _NO_SESSIONS:
                self._headers = {"Authorization": _basic(credentials)}
            elif answer.status == 401:
                self._refuse()
            elif answer.cookie:
                self._headers = {"Cookie": f"{COOKIE}={answer.cookie}"}
                self.confirm()
            else:
                raise BadAnswer(
                    f"log in at {self._address}", "the answer holds no session", "check that this is a CouchDB or a hub"
                )
            self.turn += 1

    def take_cookie(self, cookie: str) -> None:
        """The server has renewed the cookie before it ran out."""
        if self._headers and "Cookie" in self._headers:
            self._headers = {"Cookie": f"{COOKIE}={cookie}"}
            self.confirm()

    def confirm(self) -> None:
        """The server knows the cookie now."""
        self._alive_at = time.time()

    @property
    def is_doubtful(self) -> bool:
        """Whether there is a cookie, and the server has not shown for a while that it knows it."""
        has_cookie = "Cookie" in (self._headers or {})
        return has_cookie and abs(time.time() - self._alive_at) > SESSION_SECONDS

    def _refuse(self) -> NoReturn:
        self._refused = True
        self._stop("it does not accept the user and password")

    def _stop(self, wrong: str) -> NoReturn:
        raise Unauthorized(f"log in at {self._address}", wrong, "check the user and password in the server's address")


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.user}:{credentials.password}".encode()
    return "Basic " + base64.b64encode(pair).decode("ascii")
