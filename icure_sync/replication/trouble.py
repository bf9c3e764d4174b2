"""What can go wrong between two peers: the kinds that the error policy tells apart.

Owns the kinds, the errors that name one more closely than the public hierarchy, and the reading of an HTTP refusal.
Does not know what is done about them: see policy.py.
"""

from __future__ import annotations

from enum import Enum, auto

from icure_sync.errors import (
    BadAnswer,
    DatabaseMissing,
    Forbidden,
    IcureSyncError,
    PeerError,
    Throttled,
    TimedOut,
    Unauthorized,
    Unreachable,
)


class Trouble(Enum):
    """One row of the error policy."""

    TRANSPORT = auto()  # refused, reset, timed out, cut off, undecodable
    BATCH_REFUSED = auto()  # 400, 412, 413, or an answer too large to take: because of one document, perhaps
    SERVER_FAILED = auto()  # a 5xx
    BUSY = auto()  # 429, 503: come back later
    LOGIN_NEEDED = auto()  # 401
    LOCKED = auto()  # 403: the account is locked for some minutes
    FORBIDDEN = auto()  # any other 403
    DATABASE_MISSING = auto()  # 404 for the database
    CHECKPOINT_CONFLICT = auto()  # 409 on a `_local` document
    BAD_ANSWER = auto()  # 200 with HTML, other JSON, another database
    INCOMPLETE = auto()  # fewer or other documents than asked for
    LOCAL = auto()  # the device's own store: never the peer's fault


class BatchRefused(BadAnswer):
    """A request with several documents was refused as a whole; nothing of it was taken.

    `error`, `reason`: the peer's own words, kept for the record of a document that is still refused alone.
    """

    def __init__(self, attempted: str, error: str, reason: str) -> None:
        super().__init__(
            attempted, f"the peer refuses the request ({error}: {reason})", "see what it refuses in the status"
        )
        self.error = error
        self.reason = reason


class ServerFailed(Throttled):
    """The peer failed inside (5xx). `error`, `reason` as in BatchRefused."""

    def __init__(self, attempted: str, error: str, reason: str, retry_after: float | None = None) -> None:
        super().__init__(attempted, f"the peer failed ({error}: {reason})", "try again later", retry_after)
        self.error = error
        self.reason = reason


class Undecodable(BadAnswer):
    """The answer breaks off or is not JSON although it says so: on a bad line, the next one may be whole."""


class CheckpointConflict(BadAnswer):
    """The peer keeps conflicts in `_local` documents (CouchDB does not), and this write met one."""


_KINDS: tuple[tuple[type[IcureSyncError], Trouble], ...] = (  # the first that fits
    (BatchRefused, Trouble.BATCH_REFUSED),
    (ServerFailed, Trouble.SERVER_FAILED),
    (Undecodable, Trouble.TRANSPORT),
    (CheckpointConflict, Trouble.CHECKPOINT_CONFLICT),
    (Unreachable, Trouble.TRANSPORT),
    (TimedOut, Trouble.TRANSPORT),
    (Throttled, Trouble.BUSY),
    (Unauthorized, Trouble.LOGIN_NEEDED),
    (Forbidden, Trouble.FORBIDDEN),
    (DatabaseMissing, Trouble.DATABASE_MISSING),
    (PeerError, Trouble.BAD_ANSWER),
)

_STATUS = {
    400: Trouble.BATCH_REFUSED,
    401: Trouble.LOGIN_NEEDED,
    403: Trouble.FORBIDDEN,
    404: Trouble.DATABASE_MISSING,
    409: Trouble.CHECKPOINT_CONFLICT,
    412: Trouble.BATCH_REFUSED,
    413: Trouble.BATCH_REFUSED,
    429: Trouble.BUSY,
    503: Trouble.BUSY,
}
_LOCKED = "locked"  # CouchDB: "Account is temporarily locked due to multiple authentication failures"


def trouble_of(error: IcureSyncError) -> Trouble:
    """The kind of trouble that an error stands for."""
    return next((trouble for kind, trouble in _KINDS if isinstance(error, kind)), Trouble.LOCAL)


def trouble_in_answer(status: int, reason: str) -> Trouble:
    """The kind of trouble in an HTTP status that is no success; `reason`: CouchDB's own words, if any."""
    if status == 403 and _LOCKED in reason.lower():
        return Trouble.LOCKED
    return _STATUS.get(status, Trouble.SERVER_FAILED if status >= 500 else Trouble.BAD_ANSWER)
