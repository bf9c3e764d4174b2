"""The login at a CouchDB: one cookie for all requests, Basic where there is no `_session`.

Owns the credentials in use, and how often they may be tried: five wrong passwords lock an account, the right one
included, so a password that was refused once is never sent again. Knows no documents.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

from icure_sync.errors import BadAnswer, Unauthorized
from icure_sync.peers.couch_address import Address, Credentials

COOKIE = "AuthSession"
_NO_SESSIONS = {404, 405, 501}  # a server without `_session`
LOGIN_STATUSES = {401, *_NO_SESSIONS}  # answers of `_session` that the login decides about itself


@dataclass(frozen=True, slots=True)
class LoginAnswer:
    """What `POST /_session` gave: the status, and the cookie's value if one came."""

    status: int
    cookie: str | None


Post = Callable[[Credentials], Awaitable[LoginAnswer]]  # maps everything but 200, 401 and "no sessions" to errors


class Login:
    """The state of one login. `turn` counts the logins made, so that one dead cookie leads to one new login."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._headers: dict[str, str] | None = None if address.credentials else {}
        self._refused = False
        self._lock = asyncio.Lock()
        self.turn = 0

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
            else:
                raise BadAnswer(
                    f"log in at {self._address}", "the answer holds no session", "check that this is a CouchDB or a hub"
                )
            self.turn += 1

    def take_cookie(self, cookie: str) -> None:
        """The server has renewed the cookie before it ran out."""
        if self._headers and "Cookie" in self._headers:
            self._headers = {"Cookie": f"{COOKIE}={cookie}"}

    def _refuse(self) -> NoReturn:
        self._refused = True
        self._stop("it does not accept the user and password")

    def _stop(self, wrong: str) -> NoReturn:
        raise Unauthorized(f"log in at {self._address}", wrong, "check the user and password in the server's address")


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.user}:{credentials.password}".encode()
    return "Basic " + base64.b64encode(pair).decode("ascii")
