"""What a command answers, and how it is printed: one JSON object for machines, lines for people. Knows no records.

Standard output carries the answer and nothing else; progress and errors go to standard error, an error as one line.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icure_sync import strict_json
from icure_sync.errors import IcureSyncError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count

COLUMN_GAP = "  "
GROUPS_A_LINE = 4  # of the twelve groups of a number that people compare
JOINERS = "\u200c\u200d"  # invisible, and needed by some scripts


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found or did: `value` for `--json`, `text` for a person (lines, no final newline)."""

    value: Mapping[str, Any]
    text: str
    code: int = EXIT_OK


def show(answer: Answer, *, as_json: bool) -> None:
    """Print the answer on standard output."""
    text = strict_json.dumps(answer.value).decode() if as_json else answer.text
    if text:
        sys.stdout.write(text + "\n")
    sys.stdout.flush()


def show_error(error: IcureSyncError) -> None:
    """Print the error as one line on standard error."""
    sys.stderr.write(f"icure-sync: {printable(str(error))}\n")


def printable(text: str) -> str:
    """The text on one line, without control characters: what others wrote must not steer this terminal."""
    return "".join(_printable(letter) for letter in text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under their headings, columns aligned."""
    cells = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "\n".join(
        COLUMN_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def fields(pairs: Mapping[str, str]) -> str:
    """One `name: value` line for each pair, values aligned."""
    width = max((len(name) for name in pairs), default=0)
    return "\n".join(f"{name + ':':<{width + 1}} {printable(value)}" for name, value in pairs.items())


def counted(number: int, noun: str) -> str:
    """`1 document`, `2 documents`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def number_lines(number: str) -> list[str]:
    """The groups of a number that people compare, in lines that are easy to read out."""
    groups = number.split()
    return ["    " + " ".join(groups[place : place + GROUPS_A_LINE]) for place in range(0, len(groups), GROUPS_A_LINE)]


def local_time(milliseconds: int) -> str:
    """Ms since 1970 as this machine's date and time; a clock may have been as wrong as it likes."""
    try:
        moment = dt.datetime.fromtimestamp(milliseconds / 1000, tz=dt.UTC)
        return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "at no time that a calendar has"


def _printable(letter: str) -> str:
    if letter.isprintable() or letter in JOINERS:
        return letter
    return " " if letter.isspace() else "�"


class ProgressLine:
    """One line on standard error that is written over and over, if a person looks at it."""

    def __init__(self, *, wanted: bool) -> None:
        self._shown = wanted and sys.stderr.isatty()
        self._width = 0

    def show(self, text: str) -> None:
        """Write `text` over what the line showed before."""
        if self._shown:
            sys.stderr.write("\r" + printable(text).ljust(self._width))
            sys.stderr.flush()
            self._width = len(text)

    def clear(self) -> None:
        """Leave the line empty."""
        if self._shown and self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
            self._width = 0
