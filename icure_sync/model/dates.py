"""iCure's fuzzy dates: integers YYYYMMDD or YYYYMMDDhhmmss whose unknown parts are zero. Knows no entity.

A fuzzy date says what a person said: it has no time zone.
"""

from __future__ import annotations

import datetime as dt
import re

from icure_sync.errors import InvalidEntity

_ISO = re.compile(
    r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?)?)?\Z",
    re.ASCII,
)
_DIGITS = re.compile(r"(\d{4})(\d{2})(\d{2})(?:(\d{2})(\d{2})(\d{2}))?\Z", re.ASCII)
_LONGEST_MONTH = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


def fuzzy_date(when: str | dt.date | dt.datetime) -> int:
    """The fuzzy date of a date, a time, or a text: `1795`, `1795-10`, `1795-10-31`, `1795-10-31T12:30`, `17951031`.

    An offset in the text is dropped: a fuzzy date is the clock on the wall. Raises InvalidEntity.
    """
    if isinstance(when, dt.datetime):
        return int(f"{when.year:04}{when:%m%d%H%M%S}")
    if isinstance(when, dt.date):
        return int(f"{when.year:04}{when:%m%d}")
    match = _ISO.match(when) or _DIGITS.match(when)
    if match is None:
        raise _no_date("the text is not a date")
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
    _check_calendar(year, month, day)
    if match[4] is None:
        return (year * 100 + month) * 100 + day
    if hour > 24 or minute > 59 or second > 60:
        raise _no_date("there is no such time of day")
    return ((((year * 100 + month) * 100 + day) * 100 + hour) * 100 + minute) * 100 + second


def iso_text(fuzzy: int) -> str:
    """A fuzzy date for people: `1795-10-31`, `1795-10`, `1795`, `1795-10-31T12:30:00`. Odd integers as they are."""
    match = _DIGITS.match(str(fuzzy))
    if match is None:
        return str(fuzzy)
    year, month, day, hour, minute, second = match.groups()
    known = [year]
    if month != "00":
        known.append(month)
        if day != "00":
            known.append(day)
    return "-".join(known) + (f"T{hour}:{minute}:{second}" if hour and len(known) == 3 else "")


def _check_calendar(year: int, month: int, day: int) -> None:
    """A day is known only in a known month."""
    if not year or month > 12 or (day and not month) or day > _LONGEST_MONTH.get(month, 31):
        raise _no_date("there is no such day")
    if month == 2 and day == 29 and (year % 4 or (year % 100 == 0 and year % 400)):
        raise _no_date("there is no such day")


def _no_date(wrong: str) -> InvalidEntity:
    return InvalidEntity("read a date", wrong, "write it as 1795-10-31, or 1795-10 or 1795 if no more is known")
