"""Live sync: attempts in both directions that follow their feeds, and the supervision that begins them again.

Owns when an attempt begins, what is waited for after it failed, and the end. What an attempt does is sync.py's; which
errors are worth another one is decided in replication/policy.py.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import NoReturn, Self

from icure_sync.engine.clock import SYSTEM_CLOCK, Clock
from icure_sync.engine.echoes import Echoes
from icure_sync.engine.patience import Entropy
from icure_sync.engine.progress import Phase, Progress, Report
from icure_sync.engine.transfer import Following
from icure_sync.engine.waiting import first_of
from icure_sync.errors import IcureSyncError, Throttled
from icure_sync.ids import Seq
from icure_sync.peers.network import network_change
from icure_sync.replication.backoff import delay
from icure_sync.replication.checkpoint import Direction
from icure_sync.replication.limits import LINGER_SECONDS, STEADY_SECONDS, UNASKED
from icure_sync.replication.policy import is_passing
from icure_sync.replication.refused import Refused

TOLD_SECONDS = 60.0  # a trouble is told in the same words: what both directions say of one failure differs each time
_AGAIN = (", then sync again", ", then try again", "sync again", "try again")  # it does that by itself

AttemptOnce = Callable[[Following, Report], Awaitable[object]]  # raises IcureSyncError kinds


@dataclass(frozen=True, slots=True)
class Ends:
    """What a live sync runs, and what it asks the device.

    `pull`, `push`: one attempt each. `learn`: takes in what was pulled, before that counts as here. `sent`: hears that
    everything up to a seq of the device is with the other side, but for what that refuses. `newest`: the seq of the
    device's last change.
    """

    pull: AttemptOnce
    push: AttemptOnce
    learn: Callable[[], Awaitable[None]]
    sent: Callable[[Seq, Refused], Awaitable[None]]
    newest: Callable[[], Awaitable[Seq]]


class Live:
    """A live sync in both directions, for as long as its context lasts: `async with Live(ends, …) as live`.

    Leaving it finishes what is under way, for LINGER_SECONDS at most. An error that no waiting mends ends it early:
    `ended` raises that, and so does leaving the context.
    """

    def __init__(
        self, ends: Ends, *, report: Report | None, clock: Clock = SYSTEM_CLOCK, entropy: Entropy = os.urandom
    ) -> None:
        self._ends = ends
        self._report = report
        self._clock = clock
        self._entropy = entropy
        self._stop = asyncio.Event()
        self._try_now = asyncio.Event()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._under_way = 0  # directions that have not ended
        self._failure: BaseException | None = None
        self._trouble = ""  # told since `_troubled`; none since all was well
        self._troubled = 0.0
        pulled, pushed = Echoes(), Echoes()
        self._pull = _Way(ends.pull, pulled, pushed, 0, self._pull_rests, Progress(Direction.PULL))
        self._push = _Way(ends.push, pushed, pulled, UNASKED, self._push_rests, Progress(Direction.PUSH))
        self._sent: Seq | None = None  # a seq of the device: everything up to here is with the other side
        self._refused = Refused()  # but for this
        self._learnt: Seq | None = None  # a seq of the other side: everything up to here is here, and taken in

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._keep(way)) for way in (self._pull, self._push)]
        self._under_way = len(self._tasks)
        for task in self._tasks:
            task.add_done_callback(self._look_after)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        try:
            await asyncio.wait(self._tasks, timeout=LINGER_SECONDS)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if error is None and self._failure is not None:
            raise self._failure

    def progress(self, direction: Direction) -> Progress:
        """How far this direction is, and the `trouble` that it waits for to pass."""
        return (self._pull if direction is Direction.PULL else self._push).progress

    def try_now(self) -> None:
        """Wait no longer before the next attempt: an application may know that the network is back.

        A pause that the server asked for is kept all the same.
        """
        self._try_now.set()
        self._try_now = asyncio.Event()

    async def events(self) -> AsyncGenerator[Progress, None]:
        """What happens, as it happens: how far each direction is, first how it stands now.

        Nothing is kept for who is slow: he gets the newest of each direction. Ends with the live sync; raises the error
        that ended it.
        """
        told: dict[Direction, Progress] = {}
        while True:
            under_way, news = self._under_way, self._news
            for way in (self._pull, self._push):
                progress = way.progress
                if told.get(progress.direction) != progress:
                    told[progress.direction] = progress
                    yield progress
            if not under_way:
                break
            await news.wait()
        if self._failure is not None:
            raise self._failure

    async def caught_up(self) -> None:
        """Wait until what was saved here is sent, and what the other side announced is here.

        Raises the error that ended the live sync.
        """
        while not await self._is_caught_up():
            if self._stop.is_set():
                await self.ended()
            await self._news.wait()

    async def ended(self) -> NoReturn:
        """Wait until an error ends the live sync, and raise it."""
        done, _ = await asyncio.wait(self._tasks)
        errors = [error for task in done if not task.cancelled() and (error := task.exception())]
        raise self._failure or (errors[0] if errors else asyncio.CancelledError())

    async def _is_caught_up(self) -> bool:
        newest = await self._ends.newest()
        return self._sent == newest and self._pull.is_idle and self._push.is_idle

    async def _keep(self, way: _Way) -> None:
        """Attempt after attempt, until told to stop or an error stays."""
        while not self._stop.is_set():
            trouble: IcureSyncError | None = None
            way.begin()
            following = Following(way.stop, way.brings, way.skips, way.unasked, way.at_rest)
            try:
                await way.attempt(following, lambda progress: self._tell(way, progress))
            except IcureSyncError as error:
                if not is_passing(error, worked=way.worked):
                    raise
                trouble = error
            way.end(self._clock.monotonic())
            if way is self._pull:
                self._push.stop.set()  # the server may not be what it was: the push has to look at it anew, too
            if not self._stop.is_set() and (trouble or not way.stop.is_set()):
                await self._pause(way, trouble)

    async def _pause(self, way: _Way, trouble: IcureSyncError | None) -> None:
        """Before the next attempt: longer each time, unless the last one waited for changes for a while."""
        way.failures += 1
        asked = trouble.retry_after if isinstance(trouble, Throttled) else None
        words = "" if trouble is None or (asked is None and way.was_well) else self._words_of(trouble)
        self._tell(way, replace(way.progress, phase=Phase.WAITING, trouble=words))
        pause = self._clock.sleep(delay(way.failures, int.from_bytes(self._entropy(4)) / 2**32, asked))
        earlier = () if asked is not None else (self._try_now.wait(), network_change())
        await first_of(pause, self._stop.wait(), *earlier)

    def _words_of(self, trouble: IcureSyncError) -> str:
        """One failure is told once: both directions fail of it, in words of their own, and again at each attempt.

        That a feed broke off is not told: the next attempt fails too, and knows better why, or nothing was lost.
        """
        now = self._clock.monotonic()
        if not self._trouble or now - self._troubled >= TOLD_SECONDS:
            self._trouble, self._troubled = _in_passing(trouble), now
        return self._trouble

    async def _pull_rests(self, seq: Seq, _: Refused) -> None:
        if seq != self._learnt:
            await self._ends.learn()
            self._learnt = seq
            if self._sent is not None:
                await self._ends.sent(self._sent, self._refused)

    async def _push_rests(self, seq: Seq, refused: Refused) -> None:
        self._sent, self._refused = seq, refused
        await self._ends.sent(seq, refused)

    def _tell(self, way: _Way, progress: Progress) -> None:
        if progress.phase is Phase.IDLE:
            way.worked = True
            if way.resting_since is None:
                way.resting_since = self._clock.monotonic()
        way.progress = progress
        if self._pull.is_idle and self._push.is_idle:
            self._trouble = ""
        self._tell_all()
        if self._report is not None:
            self._report(progress)

    def _look_after(self, task: asyncio.Task[None]) -> None:
        """A direction has ended: told to, or by an error, which ends the other one too."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
        self._under_way -= 1
        self._end()
        self._tell_all()

    def _tell_all(self) -> None:
        """Wake whoever waits for news. The next news is another event's: one that stays set would never rest."""
        self._news.set()
        self._news = asyncio.Event()

    def _end(self) -> None:
        """No more attempts; those under way finish."""
        self._stop.set()
        self._pull.stop.set()
        self._push.stop.set()


def _in_passing(trouble: IcureSyncError) -> str:
    """What is wrong, and what to do about it but to begin again."""
    advice = trouble.next_step
    for again in _AGAIN:
        advice = advice.removesuffix(again)
    said = f"cannot {trouble.attempted}: {trouble.wrong}"
    return f"{said}; {advice}" if advice else said


@dataclass(slots=True)
class _Way:
    """One direction. `stop`: of the attempt under way; `resting_since`: when that first waited for changes;
    `failures`: pauses in a row, since one did so for long; `worked`: one ever did."""

    attempt: AttemptOnce
    brings: Echoes
    skips: Echoes
    unasked: int
    at_rest: Callable[[Seq, Refused], Awaitable[None]]
    progress: Progress
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    resting_since: float | None = None
    failures: int = 0
    worked: bool = False

    def begin(self) -> None:
        """An attempt begins."""
        self.stop.clear()
        self.resting_since = None

    def end(self, now: float) -> None:
        """It has ended; if it had waited for a while, what failed before it counts no more."""
        if self.resting_since is not None and now - self.resting_since >= STEADY_SECONDS:
            self.failures = 0

    @property
    def was_well(self) -> bool:
        """All was well until the last attempt failed, and for a while: by itself that says little."""
        return self.resting_since is not None and self.failures == 1

    @property
    def is_idle(self) -> bool:
        return self.progress.phase is Phase.IDLE
