"""The connections over which a server is provisioned: in place of couchdb-python's pool, which knows neither own
authorities nor proxies, and closes nothing.

Owns how a connection is opened, by a proxy or directly. Blocks; reads no environment.
"""

from __future__ import annotations

import re
import ssl
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from icure_sync import Proxy

_NO_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")  # how http.client says what a proxy answered
_NO_WAY = {407, 502, 503, 504}  # how a proxy says that it lets nobody through, or did not reach the server


class ProxyFailed(OSError):
    """The proxy is not reached, or refuses. `status`: its answer, None if there was none."""

    def __init__(self, proxy: Proxy, status: int | None) -> None:
        super().__init__(f"the proxy {proxy} failed")
        self.proxy = proxy
        self.status = status


class Connections:
    """As the library's own pool, for one server, given by its URL. `timeout`: seconds without an answer."""

    def __init__(self, server: str, proxy: Proxy | None, trusted: ssl.SSLContext | None, timeout: float) -> None:
        self._server = urlsplit(server)
        self._proxy = proxy
        self._trusted = trusted
        self._timeout = timeout
        self._idle: list[HTTPConnection] = []
        self._opened: list[HTTPConnection] = []

    def get(self, _: str) -> HTTPConnection:
        """One that is connected. Raises OSError kinds, ProxyFailed among them."""
        if self._idle:
            return self._idle.pop()
        connection = self._connection()
        self._opened.append(connection)
        try:
            connection.connect()
        except (TimeoutError, ssl.SSLError):
            raise
        except OSError as error:
            if self._proxy is None:
                raise
            said = _NO_TUNNEL.match(str(error))
            raise ProxyFailed(self._proxy, int(said[1]) if said else None) from error
        return connection

    def release(self, _: str, connection: HTTPConnection) -> None:
        """Take one back."""
        self._idle.append(connection)

    def close(self) -> None:
        """Close all that were opened."""
        for connection in self._opened:
            connection.close()

    def _connection(self) -> HTTPConnection:
        host, proxy = self._server.netloc, self._proxy
        if self._server.scheme == "https":
            tunnelled = HTTPSConnection(_host(proxy) or host, timeout=self._timeout, context=self._trusted)
            if proxy is not None:
                tunnelled.set_tunnel(host, headers=_for_the(proxy))
            return tunnelled
        if proxy is None:
            return HTTPConnection(host, timeout=self._timeout)
        return _ByProxy(proxy, host, self._timeout)


class _ByProxy(HTTPConnection):
    """Requests without TLS, which a proxy passes on. Source: RFC 9112, section 3.2.2."""

    def __init__(self, proxy: Proxy, host: str, timeout: float) -> None:
        super().__init__(_host(proxy), timeout=timeout)
        self._origin = f"http://{host}"
        self._proxy = proxy

    def putrequest(self, method: str, url: str, *args: Any, **options: Any) -> None:
        super().putrequest(method, self._origin + url, *args, **options)
        for name, value in _for_the(self._proxy).items():
            self.putheader(name, value)

    def getresponse(self) -> HTTPResponse:
        response = super().getresponse()
        if response.status in _NO_WAY and "json" not in response.getheader("Content-Type", ""):
            raise ProxyFailed(self._proxy, response.status)
        return response


def _host(proxy: Proxy | None) -> str:
    return "" if proxy is None else urlsplit(proxy.server).netloc


def _for_the(proxy: Proxy) -> dict[str, str]:
    """Headers that only the proxy gets to see."""
    return {} if proxy.authorization is None else {"Proxy-Authorization": proxy.authorization}
