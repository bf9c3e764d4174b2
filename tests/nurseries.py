"""Processes that fork others, which are killed: starting one each time would take most of a test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GONE = "gone\n"  # what a nursery says after the end of each child


class Nursery:
    """A running `python -m <module>`, which forks a child for each line that it reads."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def raised(self, *order: object) -> Iterator[list[str]]:
        """One child, by these words: what it says, a line at a time, until it is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, order)) + "\n")
        self._process.stdin.flush()
        yield from (line.split() for line in iter(self._process.stdout.readline, GONE))


@contextmanager
def nursery_of(module: str) -> Iterator[Nursery]:
    with subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    ) as process:
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()
