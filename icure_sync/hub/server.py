"""The hub as a whole: its folder, its key, its listening socket, its beginning and its end. Knows no endpoint.

A hub owns one folder: `hub.key` (the key of everything, plain with mode 0600, or locked by a passphrase) and one
encrypted store for each database; `_users` holds users, administrators and settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import secrets
import ssl
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from icure_sync.discretion import logger, withhold
from icure_sync.errors import InvalidEntity, StoreError
from icure_sync.hub.accounts import Accounts
from icure_sync.hub.auth import Gate
from icure_sync.hub.call import House
from icure_sync.hub.connections import Connections
from icure_sync.hub.databases import Database, Databases
from icure_sync.hub.dispatch import answer
from icure_sync.hub.errors import HttpRefusal
from icure_sync.hub.hub_key import open_key
from icure_sync.hub.limits import FEED_LINGER, MAX_HEADER, PASSWORD_ROUNDS
from icure_sync.hub.paths import check_database_name
from icure_sync.hub.upstreams import Describe
from icure_sync.hub.users import USERS

_FIRST_ADMIN = "admin"
_HTTP_LOG = "icure_sync.hub.http"  # of the HTTP library, which quotes malformed requests in its exceptions


class Hub:
    """A CouchDB-protocol server over encrypted stores: `async with Hub(folder) as hub: hub.url`.

    `data`: its folder, made on first use. `port` 0: any free one. `admin`: (name, password) of an administrator, made
    or brought up to date; without one, and with none there yet, one is made up: `new_admin`, to be shown once.
    `passphrase`: locks the folder's key. Anything but a loopback `host` needs `tls`, or `expose=True`.

    Starting raises StoreError kinds (WrongPassphrase, StoreLocked, StoreFull, …), and StoreError if it cannot listen.
    """

    def __init__(
        self,
        data: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        admin: tuple[str, str] | None = None,
        passphrase: str | None = None,
        tls: ssl.SSLContext | None = None,
        expose: bool = False,
    ) -> None:
        if tls is None and not expose and not _is_loopback(host):
            raise StoreError(
                f"start a hub on {host}",
                "others could read passwords on the way, since it has no TLS",
                "give it a certificate, listen on 127.0.0.1, or say that it is to be exposed",
            )
        self._data = data
        self._host = host
        self._wanted_port = port
        self._admin = admin
        self._passphrase = passphrase
        weakref.finalize(self, withhold(passphrase or "", *(admin or ())[1:]))
        self._tls = tls
        self._databases: Databases | None = None
        self._runner: web.ServerRunner | None = None
        self._upstreams: dict[str, Describe] = {}
        self.port = port
        self.new_admin: tuple[str, str] | None = None

    @property
    def url(self) -> str:
        """Where it listens, without credentials."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Open the folder and listen."""
        key = await asyncio.to_thread(open_key, self._data, self._passphrase)
        self._databases = Databases(self._data, key)
        try:
            await self._databases.load()
            house = await self._furnish(self._databases)
            await self._listen(house)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the feeds, let requests under way finish, close every database. May be called twice."""
        databases, self._databases = self._databases, None
        runner, self._runner = self._runner, None
        if databases is not None:
            await databases.end_feeds()
        if runner is not None:
            await runner.cleanup()
        if databases is not None:
            await databases.close()

    async def database(self, name: str) -> Database:
        """The database of this name, made if it is not there: for what runs beside the server, in its process.

        Raises InvalidEntity for what is no name of a database, StoreError kinds.
        """
        if self._databases is None:
            raise StoreError(f"open the database {name!r}", "the hub is not running", "start it")
        try:
            check_database_name(name)
            if name not in self._databases:
                return await self._databases.create(name)
            return await self._databases.get(name)
        except HttpRefusal as refusal:
            raise InvalidEntity(f"open the database {name!r} of the hub", refusal.reason, "choose another") from refusal

    @contextlib.contextmanager
    def upstream(self, name: str, describe: Describe) -> Iterator[None]:
        """Inside, administrators are told at `/_upstreams` how this database stands with its upstream.

        Raises InvalidEntity if it has one already.
        """
        if name in self._upstreams:
            raise InvalidEntity(f"give {name!r} an upstream", "it has one already", "name each database once")
        self._upstreams[name] = describe
        try:
            yield
        finally:
            del self._upstreams[name]

    async def _furnish(self, databases: Databases) -> House:
        """The users, the administrators and the secrets that every request needs."""
        users: Database = await (databases.get(USERS) if USERS in databases else databases.create(USERS))
        accounts = Accounts(users, PASSWORD_ROUNDS)
        await accounts.load()
        if self._admin is None and not accounts.has_admin:
            self.new_admin = (_FIRST_ADMIN, secrets.token_urlsafe(18))
            weakref.finalize(self, withhold(self.new_admin[1]))
        given = self._admin or self.new_admin
        if given is not None:
            await accounts.set_admin(*given)
        gate = Gate(accounts.find, await accounts.secret(), os.urandom)
        return House(databases, accounts, gate, await accounts.uuid(), self._tls is not None, self._upstreams)

    async def _listen(self, house: House) -> None:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await answer(request, house)

        server = Connections(
            handle,
            access_log=None,
            logger=logger(_HTTP_LOG),
            auto_decompress=False,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=FEED_LINGER)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._wanted_port, ssl_context=self._tls)
        try:
            await site.start()
        except OSError as error:
            raise StoreError(
                f"listen on {self._host}:{self._wanted_port}",
                error.strerror or "the address cannot be used",
                "choose another address or port",
            ) from error
        self.port = self._runner.addresses[0][1]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
