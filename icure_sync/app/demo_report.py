"""What the demo found out: checks, counts and rates, told while it runs and given as one answer in the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

from icure_sync.app.output import printable


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, and how it came out."""

    name: str
    ok: bool
    detail: str


@dataclass(slots=True)
class Report:
    """Collects while the story goes on. `told`: where the story is printed, None for nowhere.

    `rates` in things per second.
    """

    told: TextIO | None = field(default_factory=lambda: sys.stdout)
    checks: list[Check] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)

    def scene(self, title: str) -> None:
        """Begin a part of the story."""
        self._print(f"\n{title}\n{'-' * len(title)}")

    def tell(self, line: str) -> None:
        """One line of the story."""
        self._print(line)

    def check(self, name: str, *, ok: bool, detail: str) -> None:
        """Record one check and say how it came out."""
        self.checks.append(Check(name, ok, detail))
        self._print(f"  {'ok    ' if ok else 'FAILED'}  {name}: {detail}")

    @contextmanager
    def timed(self, rate: str, count: int) -> Iterator[None]:
        """Take the time of `count` things done inside."""
        start = time.perf_counter()
        yield
        self.add_rate(rate, count, time.perf_counter() - start)

    def add_rate(self, rate: str, count: int, seconds: float) -> None:
        """So many things in so many seconds."""
        self.rates[rate] = round(count / max(seconds, 1e-9), 1)

    @property
    def ok(self) -> bool:
        """Whether every check held."""
        return all(check.ok for check in self.checks)

    def value(self, folder: str) -> dict[str, Any]:
        """The report for machines."""
        checks = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in self.checks]
        return {"checks": checks, "counts": self.counts, "rates": self.rates, "folder": folder}

    def _print(self, line: str) -> None:
        if self.told is not None:
            self.told.write("\n".join(printable(part) for part in line.split("\n")) + "\n")
            self.told.flush()
