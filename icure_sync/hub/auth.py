"""Who makes a request: Basic credentials or a login cookie, against administrators and users.

A wrong name or password is refused whatever is asked for, as CouchDB does; no credentials at all make a caller without
a name, who is refused where a name is needed. Knows no documents.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

from aiohttp import web

from icure_sync.hub.errors import HttpRefusal, bad_request, unauthorized
from icure_sync.hub.limits import KNOWN_LOGINS
from icure_sync.hub.passwords import KnownLogins, Lockout, PasswordHash
from icure_sync.hub.security import Caller
from icure_sync.hub.sessions import COOKIE, Session
from icure_sync.hub.users import Account

FindAccount = Callable[[str], Awaitable[Account | None]]

_HASHERS = 2  # passwords hashed at a time: more would starve everyone else
_NOBODY = PasswordHash("sha256", 600_000, "", bytes(32))  # costs a stranger's guess as much time as a user's


class Gate:
    """Authenticates. `find_account` looks a name up; `secret` is the server's key for cookies."""

    def __init__(self, find_account: FindAccount, secret: bytes, entropy: Callable[[int], bytes]) -> None:
        self._find_account = find_account
        self._secret = secret
        self._known = KnownLogins(entropy(32))
        self._lockout = Lockout(time.monotonic)
        self._hashers = asyncio.Semaphore(_HASHERS)
        self._sessions: dict[str, tuple[Session, str]] = {}  # by the header they came in: genuine under that salt
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()  # those in use

    async def identify(self, request: web.BaseRequest) -> Caller:
        """Raises unauthorized (wrong name or password), forbidden (locked out), bad_request (a malformed cookie)."""
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            name, password = _basic(credentials)
            account = await self.login(name, password, request.remote or "")
            return Caller(account.name, account.roles, "default")
        session = self._session(request)
        if session is None:
            return Caller()
        holder = await self._find_account(session.name)
        if holder is None or not self._holds(request, session, holder):
            return Caller()
        return Caller(holder.name, holder.roles, "cookie")

    async def login(self, name: str, password: str, address: str) -> Account:
        """The account, if the password is right. Raises unauthorized, or forbidden after too many wrong ones.

        Guesses for one name from one address take turns: none is judged before the earlier ones have been counted.
        """
        self._lockout.check(name, address)
        account = await self._find_account(name)
        stored = account.password if account else _NOBODY
        if (name, password, stored) not in self._known:
            async with self._turns.setdefault((name, address), asyncio.Lock()):
                self._lockout.check(name, address)
                fits = (name, password, stored) in self._known or await self._fits(stored, password)
                if account is None or not fits:
                    self._lockout.failed(name, address)
                    raise unauthorized("Name or password is incorrect.")
                self._known.add((name, password, stored))
        assert account is not None  # nothing under _NOBODY is ever known
        self._lockout.succeeded(name, address)
        return account

    async def _fits(self, stored: PasswordHash, password: str) -> bool:
        async with self._hashers:
            return await asyncio.to_thread(stored.fits, password)

    def issue(self, account: Account) -> str:
        """The value of a fresh login cookie."""
        return Session.issue(account.name, time.time(), self._secret, account.password.salt).text()

    async def renewed(self, request: web.BaseRequest) -> str | None:
        """A fresh cookie for a valid one that has been used for a while, so that active users stay logged in."""
        try:
            session = self._session(request)
        except HttpRefusal:
            return None
        if session is None or not session.is_ageing(time.time()):
            return None
        account = await self._find_account(session.name)
        if account is None or not self._holds(request, session, account):
            return None
        return self.issue(account)

    def _session(self, request: web.BaseRequest) -> Session | None:
        """What the request's cookie claims. Raises bad_request."""
        header = request.headers.get("Cookie")
        if header is None:
            return None
        known = self._sessions.get(header)
        return known[0] if known else Session.parse(request.cookies.get(COOKIE, ""))

    def _holds(self, request: web.BaseRequest, session: Session, account: Account) -> bool:
        """Whether it is true: a device sends the same cookie for minutes, so its MAC is worked out once."""
        proof = (session, account.password.salt)
        header = request.headers["Cookie"]
        if self._sessions.get(header) != proof:
            if not session.is_genuine(self._secret, account.password.salt):
                return False
            if len(self._sessions) >= KNOWN_LOGINS:
                self._sessions.clear()
            self._sessions[header] = proof
        return session.is_alive(time.time())


def _basic(credentials: str) -> tuple[str, str]:
    """RFC 7617. Raises bad_request for what is not `name:password` in base64."""
    try:
        name, colon, password = base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as error:
        raise bad_request("Malformed Authorization header") from error
    if not colon:
        raise bad_request("Malformed Authorization header")
    return name, password
