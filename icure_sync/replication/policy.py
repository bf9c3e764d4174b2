"""The error policy: what is done about each kind of trouble. Owns the table and the function that reads it.

The table is the whole policy; the parts that fetch, write and checkpoint ask it and obey. Waits are in backoff.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from icure_sync.errors import IcureSyncError, StoreFull
from icure_sync.ids import is_rev
from icure_sync.replication.limits import MAX_DOCUMENT, MAX_PATIENCE
from icure_sync.replication.trouble import Trouble, trouble_of


class Step(Enum):
    """What to do next."""

    RETRY = auto()  # the same again, after a wait
    LOG_IN = auto()  # a new login, then the same again
    READ_AGAIN = auto()  # read both logs again and decide anew
    FETCH_ALONE = auto()  # ask for each document that did not come, one by one
    BISECT = auto()  # try both halves of the batch by themselves
    RECORD = auto()  # record the one document as refused, go on with the rest
    STOP = auto()  # end the attempt with the error


@dataclass(frozen=True, slots=True)
class Rule:
    """`first` until `tries` tries have failed; then `batch` for several documents, `single` for one or none."""

    first: Step
    tries: int
    batch: Step = Step.STOP
    single: Step = Step.STOP


_STOP = Rule(Step.STOP, 1)

# Troubles that are a document's fault only if the peer answers other requests meanwhile.
DOUBTFUL = frozenset({Trouble.TRANSPORT, Trouble.SERVER_FAILED})

TABLE: Mapping[Trouble, Rule] = {
    Trouble.TRANSPORT: Rule(Step.RETRY, 5, Step.BISECT, Step.RECORD),
    Trouble.BATCH_REFUSED: Rule(Step.RETRY, 1, Step.BISECT, Step.RECORD),
    Trouble.SERVER_FAILED: Rule(Step.RETRY, 3, Step.BISECT, Step.RECORD),
    Trouble.BUSY: Rule(Step.RETRY, 5),
    Trouble.LOGIN_NEEDED: Rule(Step.LOG_IN, 2),
    Trouble.LOCKED: _STOP,
    Trouble.FORBIDDEN: _STOP,
    Trouble.DATABASE_MISSING: _STOP,
    Trouble.CHECKPOINT_CONFLICT: Rule(Step.READ_AGAIN, 3),
    Trouble.BAD_ANSWER: _STOP,
    Trouble.INCOMPLETE: Rule(Step.FETCH_ALONE, 2, Step.RECORD, Step.RECORD),
    Trouble.LOCAL: _STOP,
}


def decide(
    trouble: Trouble,
    tries: int,
    documents: int = 0,
    *,
    proven: bool = False,
    alive: bool = True,
    retry_after: float | None = None,
) -> Step:
    """What to do after `tries` failures of this kind in a row.

    `documents`: how many the request carried, 0 if none can be at fault. `proven`: it is a part of a batch that has
    used up its tries already, so a part that fails is halved at once. `alive`: the peer answers other requests (to be
    found out for DOUBTFUL troubles before a document is blamed). `retry_after`: the pause in seconds that it asked for.
    """
    rule = TABLE[trouble]
    if retry_after is not None and retry_after > MAX_PATIENCE:
        return Step.STOP
    if tries < rule.tries and not (proven and documents > 1 and rule.batch is Step.BISECT):
        return rule.first
    if documents == 0 or not alive:
        return Step.STOP
    return rule.batch if documents > 1 else rule.single


# Troubles that a later attempt may not meet again: the network, the server's load, a captive portal.
_PASSING = frozenset(Trouble) - {Trouble.LOGIN_NEEDED, Trouble.FORBIDDEN, Trouble.DATABASE_MISSING, Trouble.LOCAL}


def is_passing(error: IcureSyncError, *, worked: bool) -> bool:
    """May a live sync try again by itself after an attempt that ended so? Else somebody has to do something first.

    `worked`: earlier attempts got through. A database that was there may come back; one that never was is a wrong
    address. A disk that is full may get room.
    """
    if isinstance(error, StoreFull):
        return True
    trouble = trouble_of(error)
    return trouble in _PASSING or (worked and trouble is Trouble.DATABASE_MISSING)


def reason_against_rev(rev: str) -> str | None:
    """Why a revision id that a feed announced is quarantined, or None.

    CouchDB takes `99999999999999999999-…` from any member and lets it win; here it never gets in.
    """
    return None if is_rev(rev) else "not a revision id that a replica accepts (generation up to 2^53, lowercase hex)"


def reason_against_size(size: int) -> str | None:
    """Why a document of `size` bytes is refused, or None."""
    if size > MAX_DOCUMENT:
        return f"it weighs {size} bytes, a document may weigh {MAX_DOCUMENT}"
    return None
