"""The way to a server: whose certificates are trusted, and through which proxy. Owns how an aiohttp session is made.

A file of CA certificates is trusted instead of the system's authorities, not besides them: who names one runs an
authority of his own, and then none of the hundred others may vouch for his server. Host names are always verified.
No `.netrc` is read.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from icure_sync.errors import InvalidEntity
from icure_sync.peers.couch_address import Address
from icure_sync.peers.couch_proxy import Proxy, proxy_for


@dataclass(frozen=True, slots=True)
class Route:
    """`trusted`: the TLS context, or True: what the system trusts."""

    address: Address
    proxy: Proxy | None
    trusted: ssl.SSLContext | bool

    def session(self) -> aiohttp.ClientSession:
        """As many connections as there are requests at once: whoever asks keeps count."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self.trusted),
            cookie_jar=aiohttp.DummyCookieJar(),  # the login keeps the one cookie there is
            headers={"User-Agent": "icure-sync"},
            timeout=aiohttp.ClientTimeout(total=None),
        )

    @property
    def for_the_proxy(self) -> Mapping[str, str]:
        """Headers that only the proxy gets to see."""
        if self.proxy is None or self.proxy.authorization is None:
            return {}
        return {"Proxy-Authorization": self.proxy.authorization}


def route_to(address: Address, ca: str | Path | None) -> Route:
    """`ca`: a PEM file with the certificates of the authorities to trust; None: the system's.

    Raises InvalidEntity for a file that does not serve, or a proxy in the environment that does not.
    """
    return Route(address, proxy_for(address, os.environ), True if ca is None else _trusting(Path(ca), address))


def _trusting(ca: Path, address: Address) -> ssl.SSLContext:
    if address.scheme != "https":
        raise _useless(ca, f"{address} is reached without TLS", "write its address with https://, or name no file")
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise _useless(ca, "it holds no certificate in PEM form", "name the file of the CA certificate") from None
    except OSError as error:
        raise _useless(ca, error.strerror or "it cannot be opened", "name a file that can be read") from None
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what is in the file is trusted, an intermediate one as well
    return context


def _useless(ca: Path, wrong: str, right: str) -> InvalidEntity:
    return InvalidEntity(f"trust the certificates in {ca}", wrong, right)
