"""What an HTTP refusal of a CouchDB means, as a typed error. Owns the reading of statuses, error words and headers.

The server's own words are kept short and on one line: they go into errors and reports.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from icure_sync.errors import (
    BadAnswer,
    DatabaseMissing,
    Forbidden,
    IcureSyncError,
    NotFound,
    Throttled,
    Unauthorized,
)
from icure_sync.peers.limits import MAX_WORDS
from icure_sync.replication.limits import LOCKED_SECONDS
from icure_sync.replication.trouble import BatchRefused, CheckpointConflict, ServerFailed, Trouble, trouble_in_answer

_ABSENT = {404, 405}  # 405: the endpoint is not there

_NAMES_TLS = re.compile(rb"HTTPS (port|server)")  # nginx's and Go's words for a request without TLS
_STATUS_OF = {"unauthorized": 401, "forbidden": 403, "not_found": 404}  # of error words that come without a status

_NOT_A_COUCHDB = "check that the address is that of a database on a CouchDB or a hub"


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that is no success. `body`: its beginning; `retry_after`: seconds that it asks to wait."""

    status: int
    body: bytes
    retry_after: float | None = None


class _Words(msgspec.Struct):
    error: str = ""
    reason: str | None = None


def error_of(refused: Refused, attempted: str, peer: str) -> IcureSyncError:
    """The error to raise. `peer`: the address, without credentials."""
    words = _words(refused.body)
    if refused.status in _ABSENT:
        return _absent(words, attempted, peer)
    if words is None and refused.status == 400 and _NAMES_TLS.search(refused.body):
        return BadAnswer(attempted, f"{peer} speaks TLS there", "write its address with https://")
    error = _short(words.error) if words else str(refused.status)
    reason = _short(words.reason or "") if words else "no explanation"
    found: IcureSyncError
    match trouble_in_answer(refused.status, reason):
        case Trouble.LOGIN_NEEDED:
            found = Unauthorized(attempted, f"{peer} asks for another login ({reason})", "check user and password")
        case Trouble.LOCKED:
            wait = f"wait {LOCKED_SECONDS / 60:.0f} minutes, and check the password"
            found = Throttled(attempted, f"the account is locked at {peer} for a while", wait, LOCKED_SECONDS)
        case Trouble.FORBIDDEN:
            found = Forbidden(attempted, f"{peer} forbids it ({reason})", "ask the server's administrator for access")
        case Trouble.CHECKPOINT_CONFLICT:
            found = CheckpointConflict(attempted, f"{peer} has another revision of it", "try again")
        case Trouble.BUSY:
            busy = f"{peer} is busy ({refused.status} {reason})"
            found = Throttled(attempted, busy, "try again later", refused.retry_after)
        case Trouble.BATCH_REFUSED:
            found = BatchRefused(attempted, error, reason)
        case Trouble.SERVER_FAILED:
            found = ServerFailed(attempted, error, reason, refused.retry_after)
        case _:
            found = BadAnswer(attempted, f"{peer} answers {refused.status} ({error}: {reason})", _NOT_A_COUCHDB)
    return found


def has_words(refused: Refused) -> bool:
    """Does it say why, as a CouchDB does?"""
    return _words(refused.body) is not None


def error_in_feed(line: bytes, word: str, attempted: str, peer: str) -> IcureSyncError:
    """The error that a CouchDB writes among the rows of a feed: its status, 200, was sent before."""
    return error_of(Refused(_STATUS_OF.get(word, 500), line), attempted, peer)


def redirected(attempted: str, peer: str) -> BadAnswer:
    """A redirect, which is never followed: the credentials would go with it."""
    use = "use the address that it redirects to"
    return BadAnswer(attempted, f"{peer} redirects to another address, which is not followed", use)


def _absent(words: _Words | None, attempted: str, peer: str) -> IcureSyncError:
    """CouchDB says 404 for a missing database, document and attachment; a web server for anything."""
    if words is None:
        return BadAnswer(attempted, f"{peer} answers that there is nothing, and not as a CouchDB does", _NOT_A_COUCHDB)
    reason = (words.reason or "").lower()
    if "database" in reason or reason == "no_db_file":
        return DatabaseMissing(attempted, f"there is no database at {peer}", "create it there, or correct the address")
    return NotFound(attempted, f"{peer} does not have it ({_short(reason)})", "sync again")


def not_a_couchdb(attempted: str, peer: str, what: str, check: str | None = None) -> BadAnswer:
    """A success, but not the protocol's: a captive portal, another kind of server."""
    return BadAnswer(attempted, f"{peer} answers with {what}, not as a CouchDB does", check or _NOT_A_COUCHDB)


def _words(body: bytes) -> _Words | None:
    try:
        words = msgspec.json.decode(body, type=_Words)
    except (msgspec.DecodeError, RecursionError):
        return None
    return words if words.error else None


def _short(text: str) -> str:
    return " ".join(text.split())[:MAX_WORDS]
