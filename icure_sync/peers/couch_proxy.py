"""The proxy that this machine's environment names for a server, read as curl reads it. Pure: the environment comes in.

Owns the variables and their order. The environment is the one place: it is where a machine says it for every program,
and what is not written elsewhere cannot be forgotten there. A server on this machine is never asked for through one.
The proxy's credentials show nowhere.
Source: curl's manual, "ENVIRONMENT"; RFC 9110, section 11.7.1.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from icure_sync.errors import InvalidEntity
from icure_sync.peers.couch_address import Address

_DEFAULT_PORT = 1080  # curl's

_VARIABLES = {  # in upper case `HTTP_PROXY` is left out, as everywhere: in a CGI program a request's header sets it
    "http": ("http_proxy", "all_proxy", "ALL_PROXY"),
    "https": ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
}
_EXCEPTIONS = ("no_proxy", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class Proxy:
    """`server`: its URL, without credentials; `authorization`: the value of `Proxy-Authorization`, if it wants one."""

    server: str
    authorization: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.server


def proxy_for(address: Address, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy to use, or None. Raises InvalidEntity for one that cannot be used: nothing goes around it silently."""
    if address.is_loopback:
        return None
    named = _first(environment, _VARIABLES[address.scheme])
    if named is None:
        return None
    exceptions = _first(environment, _EXCEPTIONS)
    if exceptions is not None and _is_excepted(address.host, environment[exceptions]):
        return None
    return _parse(named, environment[named].strip())


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if environment.get(name, "").strip()), None)


def _parse(variable: str, value: str) -> Proxy:
    """The value is not repeated in an error: it may hold a password."""
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port = parts.port or _DEFAULT_PORT
    except ValueError:
        raise _unusable(variable, "it is not the address of a proxy") from None
    if parts.scheme != "http":
        raise _unusable(variable, "it is not an HTTP proxy")
    if not parts.hostname:
        raise _unusable(variable, "it names no host")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        authorization = "Basic " + base64.b64encode(pair).decode("ascii")
    return Proxy(f"http://{host}:{port}", authorization)


def _unusable(variable: str, wrong: str) -> InvalidEntity:
    right = "write it as http://host:port there, or name the server in no_proxy"
    return InvalidEntity(f"use the proxy that {variable} names", wrong, right)


def _is_excepted(host: str, listed: str) -> bool:
    """`*` is every host; `example.org` and `.example.org` are that domain and what is below; addresses, networks."""
    return any(entry == "*" or _matches(host, entry) for entry in listed.replace(",", " ").split())


def _matches(host: str, entry: str) -> bool:
    try:
        network = ipaddress.ip_network(entry.strip("[]"), strict=False)
        return ipaddress.ip_address(host) in network
    except ValueError:
        pass
    domain = entry.lower().strip(".")
    host = host.lower().rstrip(".")
    return bool(domain) and (host == domain or host.endswith("." + domain))
