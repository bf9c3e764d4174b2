"""Interleaved rounds: each candidate runs once a round, and medians are compared, so that noise hits all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this process, all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def wall_seconds(work: Callable[[], object]) -> float:
    """Time on the clock."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def medians(candidates: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of what each candidate measured, after one round that does not count."""
    measured: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, measure in candidates.items():
            value = measure()
            if number:
                measured[name].append(value)
    return {name: statistics.median(values) for name, values in measured.items()}
