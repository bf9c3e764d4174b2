"""What it means when there is no answer: aiohttp's and OpenSSL's errors as ours. Owns the words for what to do next.

Refusals that a server puts in words are read in couch_refusals.py.
"""

from __future__ import annotations

import ssl

import aiohttp

from icure_sync.errors import IcureSyncError, TimedOut, Unauthorized, Unreachable
from icure_sync.peers.couch_refusals import not_a_couchdb
from icure_sync.peers.couch_route import Route
from icure_sync.replication.trouble import Undecodable

PROXY_LOGIN = 407

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
                check = "check the proxy that the environment names, and the network, then sync again"
                found = Unreachable(attempted, f"there is no connection to the proxy {self._route.proxy}", check)
            case aiohttp.ClientPayloadError():
                found = self._broken(error, attempted)
            case aiohttp.ClientResponseError():
                may_be = self._check if self._may_be_tls else None
                found = not_a_couchdb(attempted, self._peer, "what is no HTTP", may_be)
            case _:
                found = Unreachable(attempted, f"there is no connection to {self._peer}", self._check)
        return found

    def refused_by_proxy(self, status: int, attempted: str) -> IcureSyncError:
        """The proxy's own refusal, of a tunnel or, with 407, of a request."""
        proxy = self._route.proxy
        if status == PROXY_LOGIN:
            check = "check the user and password in the proxy's address in the environment"
            return Unauthorized(attempted, f"the proxy {proxy} does not accept them", check)
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
            return TimedOut(attempted, f"no connection to {self._peer} came about in time", self._check)
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
