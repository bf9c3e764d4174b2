"""Progress of a replication: what is shown while it runs. Owns the counting; decides nothing, and prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from icure_sync.engine.clock import Clock
from icure_sync.replication.checkpoint import Direction
from icure_sync.replication.limits import PROGRESS_SECONDS
from icure_sync.replication.wire import Refusal


class Phase(StrEnum):
    """What an attempt is doing."""

    CONNECTING = "connecting"
    TRANSFERRING = "transferring"
    IDLE = "idle"  # live: everything is settled, the next change is waited for
    WAITING = "waiting"  # live: the attempt failed, the next one comes after a pause
    FINISHING = "finishing"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `known` documents are settled; `known` grows while the feed is read. `size` in bytes of bodies;
    `rate` in documents per second since the start; `trouble`: what a live sync waits for to pass, in the words of what
    failed first; `refused`: everything that is on record as refused, as far as this attempt has come."""

    direction: Direction
    phase: Phase = Phase.CONNECTING
    done: int = 0
    known: int = 0
    size: int = 0
    rate: float = 0.0
    trouble: str = ""
    refused: tuple[Refusal, ...] = ()


Report = Callable[[Progress], None]


class Meter:
    """Counts for one attempt, and reports at most every PROGRESS_SECONDS, and at each change of phase."""

    def __init__(self, direction: Direction, report: Report | None, clock: Clock) -> None:
        self._direction = direction
        self._report = report
        self._clock = clock
        self._started = clock.monotonic()
        self._reported = self._started
        self._phase: Phase | None = None
        self._read = 0
        self._pending = 0
        self._done = 0
        self._size = 0
        self._refused: tuple[Refusal, ...] = ()

    def enter(self, phase: Phase) -> None:
        """A phase begins, or goes on."""
        if phase is not self._phase:
            self._phase = phase
            self._send()

    def read(self, documents: int, pending: int | None) -> None:
        """A page of the feed came; `pending` are still behind it, if the source says so."""
        self._read += documents
        self._pending = pending or 0
        self._send_if_due()

    def settled(self, documents: int, size: int = 0) -> None:
        """These documents are done with: durable on the target, known there before, or recorded as refused."""
        self._done += documents
        self._size += size
        self._send_if_due()

    def refused(self, refused: tuple[Refusal, ...]) -> None:
        """What is on record as refused now. Told with what is told next."""
        self._refused = refused

    def _send_if_due(self) -> None:
        if self._clock.monotonic() - self._reported >= PROGRESS_SECONDS:
            self._send()

    def _send(self) -> None:
        if self._report is None or self._phase is None:
            return
        self._reported = self._clock.monotonic()
        elapsed = self._reported - self._started
        rate = self._done / elapsed if elapsed > 0 else 0.0
        known = self._read + self._pending
        progress = Progress(self._direction, self._phase, self._done, known, self._size, rate, refused=self._refused)
        self._report(progress)
