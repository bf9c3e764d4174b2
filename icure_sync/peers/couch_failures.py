"""What it means when there is no answer: aiohttp's and OpenSSL's errors as ours. Owns the words for what to do next.

Refusals that a server puts in words are read in couch_refusals.py.
"""

from __future__ import annotations

import ssl

import aiohttp

from icure_sync.errors import IcureSyncError, TimedOut, Unauthorized, Unreachable
from icure_sync.peers.couch_refusals import Refused, has_words, not_a_couchdb
from icure_sync.peers.couch_route import Route
from icure_sync.replication.trouble import Undecodable

PROXY_LOGIN = 407
_NO_WAY = {502, 503, 504}  # how a proxy says that it did not reach the server, if the words are not a CouchDB's

_CLOCK = {9, 10}  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED
_OTHER_HOST = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}

_NETWORK = "check the address and the network, then sync again"
_OR_TLS = "check the address (https:// if the server speaks TLS there) and the network, then sync again"


class Failures:
    """The errors on one way to one server."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._peer = str(route.address)
        self._answered = False

    def answered(self) -> None:
        """The server is one that speaks HTTP here: what fails from now on has another reason."""
        self._answered = True

    def error_of(self, error: BaseException, attempted: str) -> IcureSyncError:
        """The error to raise for one of aiohttp's, a TimeoutError or an OSError."""
        found: IcureSyncError
        match error:
            case TimeoutError():
                found = self._timed_out(error, attempted)
            case aiohttp.ClientConnectorCertificateError():
                found = self._certificate(error.certificate_error, attempted)
            case aiohttp.ClientSSLError():
                found = self._no_tls(error.os_error, attempted)
            case aiohttp.ClientHttpProxyError():
                found = self.refused_by_proxy(error.status, attempted)
            case aiohttp.ClientProxyConnectionError():
                found = self.no_proxy(attempted)
            case aiohttp.ClientConnectorDNSError() if self._route.proxy is not None:
                found = self.no_proxy(attempted)  # the server's name is the proxy's to look up
            case aiohttp.ClientPayloadError():
                found = self._broken(error, attempted)
            case aiohttp.ClientResponseError():
                may_be = self._check if self._may_be_tls else None
                found = not_a_couchdb(attempted, self._peer, "what is no HTTP", may_be)
            case _:
                found = Unreachable(attempted, f"there is no connection to {self._peer}", self._check)
        return found

    def no_proxy(self, attempted: str) -> IcureSyncError:
        """The proxy itself is not reached, or its name is not known."""
        check = "check the proxy that the environment names, and the network, then sync again"
        return Unreachable(attempted, f"there is no connection to the proxy {self._route.proxy}", check)

    def is_of_proxy(self, refused: Refused) -> bool:
        """Is this a proxy's answer to a request that it should have passed on? A tunnel's come as errors."""
        if self._route.proxy is None or self._route.address.scheme != "http":
            return False
        return refused.status in _NO_WAY and refused.retry_after is None and not has_words(refused)

    def refused_by_proxy(self, status: int, attempted: str) -> IcureSyncError:
        """The proxy's own refusal, of a tunnel or of a request."""
        proxy = self._route.proxy
        if status == PROXY_LOGIN and (proxy is None or proxy.authorization is None):
            add = "write them into the proxy's address in the environment: http://user:password@host:port"
            return Unauthorized(attempted, f"the proxy {proxy} wants a user and a password", add)
        if status == PROXY_LOGIN:
            check = "check them in the proxy's address in the environment"
            return Unauthorized(attempted, f"the proxy {proxy} does not accept the user and password", check)
        check = "check the address, and whether the proxy lets this device through, then sync again"
        return Unreachable(attempted, f"the proxy {proxy} makes no connection to {self._peer} ({status})", check)

    @property
    def _may_be_tls(self) -> bool:
        return self._route.address.scheme == "http" and not self._answered

    @property
    def _check(self) -> str:
        return _OR_TLS if self._may_be_tls else _NETWORK

    def _timed_out(self, error: TimeoutError, attempted: str) -> IcureSyncError:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            way = "" if self._route.proxy is None else f" by the proxy {self._route.proxy}"
            return TimedOut(attempted, f"no connection to {self._peer}{way} came about in time", self._check)
        return TimedOut(attempted, f"{self._peer} does not answer in time", "check the network, then sync again")

    def _broken(self, error: aiohttp.ClientPayloadError, attempted: str) -> IcureSyncError:
        if isinstance(error.__cause__, aiohttp.http_exceptions.ContentEncodingError):
            return Undecodable(attempted, f"the answer of {self._peer} does not decompress", "sync again")
        return Unreachable(attempted, f"the answer of {self._peer} broke off", "sync again")

    def _certificate(self, error: Exception, attempted: str) -> IcureSyncError:
        code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else 0
        if code in _CLOCK:
            wrong = f"the certificate of {self._peer} is {'not valid yet' if code == min(_CLOCK) else 'out of date'}"
            return Unreachable(attempted, wrong, "check this device's clock, then have the certificate renewed")
        if code in _OTHER_HOST:
            wrong = f"the server at {self._peer} shows the certificate of another host"
            return Unreachable(attempted, wrong, "use the name that its certificate is for")
        check = "name its CA certificate if it has one of its own, and check this device's clock"
        return Unreachable(attempted, f"{self._peer} shows no certificate that can be trusted", check)

    def _no_tls(self, error: Exception, attempted: str) -> IcureSyncError:
        reason = (error.reason if isinstance(error, ssl.SSLError) else None) or "no reason given"
        if reason in _NO_TLS:
            right = "correct the port, or write http:// if it has no TLS"
            return Unreachable(attempted, f"the server at {self._peer} does not speak TLS there", right)
        return Unreachable(attempted, f"no TLS connection to {self._peer} comes about ({reason})", self._check)
