"""Where a database is, and who asks: the URL of a peer, taken apart. Owns the rule that credentials are never shown."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from icure_sync.errors import InvalidEntity


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's name and password. Neither shows in a repr."""

    user: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Address:
    """`server`: the URL of the server without a slash at the end; `database`: the name, decoded."""

    server: str
    database: str
    credentials: Credentials | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.server}/{quote(self.database, safe='')}"

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return urlsplit(self.server).scheme

    @property
    def host(self) -> str:
        return urlsplit(self.server).hostname or ""

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this very machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.rstrip(".") == "localhost" or self.host.rstrip(".").endswith(".localhost")

    @property
    def advice(self) -> str:
        """What to check when there is no such database."""
        if urlsplit(self.server).path:
            return "if the slash is part of the database's name, write it as %2F; else correct the address"
        return "create it there, or correct the address"


def parse_address(url: str) -> Address:
    """`http://user:password@host:5984/database`, the database's name percent-encoded where it must be.

    Raises InvalidEntity. What was given is not repeated in the error: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _invalid("it is not a URL") from None
    if parts.scheme not in ("http", "https"):
        raise _invalid("it does not begin with http:// or https://")
    if not parts.hostname or not _is_host(parts.hostname):
        raise _invalid("it names no host")
    if parts.query or parts.fragment:
        raise _invalid("it has a ? or # in it")
    above, _, database = parts.path.rstrip("/").rpartition("/")
    if not database:
        raise _invalid("it names no database")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    server = f"{parts.scheme}://{host}" + (f":{port}" if port else "") + above
    credentials = None
    if parts.username is not None:
        credentials = Credentials(unquote(parts.username), unquote(parts.password or ""))
    return Address(server, unquote(database), credentials)


def _is_host(name: str) -> bool:
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return True


def _invalid(wrong: str) -> InvalidEntity:
    return InvalidEntity("read the address of a peer", wrong, "write it as http://user:password@host:5984/database")
