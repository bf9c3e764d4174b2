"""How long to wait before the next try. Owns the arithmetic; draws no random number and reads no clock.

Exponential with jitter ("equal jitter": half fixed, half random, so that many devices do not return in step, and none
at once). A pause that the peer asks for (`Retry-After`, RFC 9110 section 10.2.3) is honoured, up to an hour.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from icure_sync.replication.limits import ASKED_MOST, BACKOFF_FIRST, BACKOFF_MOST

_MOST_DOUBLINGS = 32  # far beyond BACKOFF_MOST; keeps the power finite


def delay(tries: int, jitter: float, retry_after: float | None = None) -> float:
    """Seconds to wait after `tries` failures in a row (from 1 on). `jitter`: a random number in [0, 1).

    Of `retry_after`, ASKED_MOST seconds are kept: a wrong date or number would hold a live sync off for ever.
    """
    wait = min(BACKOFF_MOST, BACKOFF_FIRST * 2.0 ** min(tries - 1, _MOST_DOUBLINGS))
    spread = wait / 2 * (1 + jitter)
    return spread if retry_after is None else min(max(retry_after, 0.0), ASKED_MOST) + spread / 2


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for, or None. `now`: seconds since 1970."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter: a number that no date has
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.fromtimestamp(now, UTC)).total_seconds())
