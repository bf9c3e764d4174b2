"""The connection over which a server is provisioned. Uses couchdb-python, which blocks: it is imported when it is
wanted, and has no part in syncing.

Owns requests, and the errors that their failures become. Knows nothing of what is asked for. A redirect is refused: the
library would send the password after it.
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from icure_sync import Proxy, strict_json
from icure_sync.app.server_connections import Connections, ProxyFailed
from icure_sync.app.server_login import Login
from icure_sync.errors import (
    BadAnswer,
    ConflictError,
    Forbidden,
    IcureSyncError,
    InvalidEntity,
    PeerError,
    Throttled,
    TimedOut,
    Unauthorized,
    Unreachable,
)

TIMEOUT = 60.0  # seconds without an answer: making a database on a busy cluster takes some
LOCKED_SECONDS = 300.0  # CouchDB locks an account for so long after five wrong passwords
_NO_REDIRECT = -1  # fewer than none, in the library's way of counting
_JSON = {"Content-Type": "application/json"}
_BROKEN = (ValueError, TypeError, AttributeError, HTTPException)  # how the library fails at what is no CouchDB's answer


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such thing on the server, or it offers none."""


class Link:
    """Requests to one server. `attempted`: what they are for, in errors."""

    def __init__(self, couchdb: Any, resource: Any, attempted: str) -> None:
        self._couchdb = couchdb
        self._resource = resource
        self._attempted = attempted

    def log_in(self, login: Login) -> None:
        """Send this login from now on."""
        self._resource.credentials = (login.user, login.password)

    def get(self, *path: str, **query: str | int) -> Any:
        """The JSON value there, or Missing. Raises the kinds of PeerError."""
        return self._answer(lambda: self._resource.get_json(list(path), **query))

    def put(self, *path: str, body: Any) -> Any:
        """As get. Raises ConflictError if somebody else wrote it meanwhile, InvalidEntity for what cannot be put."""
        text = None if body is None else strict_json.dumps(body)  # bytes: of a str, the library counts the characters
        return self._answer(lambda: self._resource.put_json(list(path), body=text, headers=dict(_JSON)))

    def delete(self, *path: str, rev: str) -> Any:
        """As put."""
        return self._answer(lambda: self._resource.delete_json(list(path), rev=rev))

    def _answer(self, ask: Callable[[], tuple[int, Any, Any]]) -> Any:
        try:
            _, headers, data = ask()
        except self._couchdb.HTTPError as error:
            return self._missing_or_error(error)
        except self._couchdb.http.RedirectLimit as error:
            raise BadAnswer(self._attempted, "the server sends elsewhere", "give the address it sends to") from error
        except ssl.SSLCertVerificationError as error:
            wrong = f"its certificate is not trusted ({error.verify_message})"
            raise Unreachable(self._attempted, wrong, "name its CA with --ca") from error
        except ProxyFailed as error:
            raise self._without_proxy(error) from error
        except TimeoutError as error:
            raise TimedOut(self._attempted, "the server does not answer in time", "try again") from error
        except OSError as error:
            wrong, advice = "the server does not answer", "check the address, and that it runs"
            raise Unreachable(self._attempted, wrong, advice) from error
        except _BROKEN as error:
            raise self._not_couchdb() from error
        if "application/json" not in headers.get("content-type", ""):
            raise self._not_couchdb()
        return data

    def _without_proxy(self, failed: ProxyFailed) -> PeerError:
        proxy = f"the proxy {failed.proxy}, which the environment names,"
        if failed.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            wanted = "http://user:password@host:port"
            wrong = f"{proxy} wants a user and a password, or others than it was given"
            return Unauthorized(self._attempted, wrong, f"write its address as {wanted}")
        if failed.status is not None:
            wrong = f"{proxy} makes no connection to the server ({failed.status})"
            return Unreachable(
                self._attempted, wrong, "check the address, and whether the proxy lets this device through"
            )
        return Unreachable(
            self._attempted, f"{proxy} does not answer", "check its address, or name the server in no_proxy"
        )

    def _missing_or_error(self, error: Exception) -> Missing:
        """What couchdb-python says of a status from 400 on: `args[0]` is (error, reason), or (status, that)."""
        known = self._couchdb
        if isinstance(error, known.ResourceNotFound):
            return Missing()
        if isinstance(error, known.Unauthorized):
            raise Unauthorized(self._attempted, "the server does not accept the login", "use an administrator's")
        if isinstance(error, known.PreconditionFailed | known.ResourceConflict):
            raise ConflictError(self._attempted, "somebody else changes it at the same time", "run it again")
        if isinstance(error, known.ServerError):
            status, said = error.args[0]
            if status == HTTPStatus.NOT_IMPLEMENTED:
                return Missing()
            raise self._refused(status, _reason(said))
        raise self._forbidden(_reason(error.args[0]))

    def _refused(self, status: int, reason: str) -> IcureSyncError:
        if status == HTTPStatus.FORBIDDEN:
            return self._forbidden(reason)
        if status == HTTPStatus.BAD_REQUEST:
            return InvalidEntity(self._attempted, f"the server does not take it: {reason}", "correct that")
        return BadAnswer(self._attempted, f"the server answered {status}", "look into its log")

    def _forbidden(self, reason: str) -> PeerError:
        if "locked" in reason.lower():
            wrong = "the account is locked after wrong passwords"
            return Throttled(self._attempted, wrong, "try again in five minutes", LOCKED_SECONDS)
        return Forbidden(self._attempted, f"the account may not do that ({reason})", "use an administrator's")

    def _not_couchdb(self) -> BadAnswer:
        return BadAnswer(self._attempted, "it does not answer like a CouchDB server", "check address and port")


@contextmanager
def connected(server: str, proxy: Proxy | None, attempted: str, ca: str | None = None) -> Iterator[Link]:
    """A link to `server`, a URL without login, by `proxy` if there is one.

    `ca`: a file with the certificates to trust (PEM), else the system's. Raises InvalidEntity for a file that holds
    none.
    """
    couchdb = _couchdb()
    connections = Connections(server, proxy, _trusting(ca), TIMEOUT)
    session = couchdb.Session(timeout=TIMEOUT, max_redirects=_NO_REDIRECT)
    session.connection_pool = connections
    try:
        yield Link(couchdb, couchdb.Server(server, session=session).resource, attempted)
    finally:
        connections.close()


def _trusting(ca: str | None) -> ssl.SSLContext | None:
    if ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise InvalidEntity(f"read the certificates in {ca}", "there are none", "give a PEM file") from error


def _couchdb() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports cgi, and maybe pkg_resources
        import couchdb
    return couchdb


def _reason(said: object) -> str:
    """CouchDB's own words."""
    if isinstance(said, tuple):
        return " ".join(str(said[-1]).split())
    return said.decode(errors="replace")[:200] if isinstance(said, bytes) else str(said)[:200]
