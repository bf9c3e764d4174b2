"""Trying again: asks the error policy after each failure, and obeys. Owns the waiting; decides nothing itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from icure_sync.engine.clock import Clock
from icure_sync.engine.waiting import first_of
from icure_sync.errors import IcureSyncError, PeerError, Throttled
from icure_sync.peers.port import Peer
from icure_sync.replication.backoff import delay
from icure_sync.replication.policy import DOUBTFUL, Step, decide
from icure_sync.replication.trouble import BatchRefused, ServerFailed, Trouble, trouble_of

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")

Entropy = Callable[[int], bytes]

_BLAMES = (Step.BISECT, Step.RECORD)  # steps that put a failure down to a document


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The policy's last word on a request that carried documents: BISECT or RECORD, and the peer's own words."""

    step: Step
    error: str
    reason: str


class Patience:
    """Repeats what failed for as long as the policy says so, and until `hurry` is set."""

    def __init__(self, clock: Clock, entropy: Entropy, hurry: asyncio.Event | None = None) -> None:
        self._clock = clock
        self._entropy = entropy
        self._hurry = hurry or asyncio.Event()

    async def insist(self, action: Callable[[], Awaitable[T]]) -> T:
        """The action's result, after as many tries as its errors allow. Raises the last error."""
        failures: Counter[Trouble] = Counter()
        while True:
            try:
                return await action()
            except PeerError as error:
                if await self._next_step(error, failures) is not Step.RETRY:
                    raise

    async def apart(
        self,
        items: Sequence[Item],
        action: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        refuse: Callable[[Item, GivenUp], Result],
        peers: Sequence[Peer],
        *,
        proven: bool = False,
    ) -> list[Result]:
        """The action's results for all items; when the items are refused as a whole, those of both halves.

        An item that is refused alone becomes `refuse(item, why)`. `peers`, those that take part, are asked whether they
        still answer before a failure is put down to an item.
        """
        outcome = await self._attempt(items, action, peers, proven=proven)
        if not isinstance(outcome, GivenUp):
            return list(outcome)
        if outcome.step is Step.RECORD:
            return [refuse(items[0], outcome)]
        middle = len(items) // 2
        first = await self.apart(items[:middle], action, refuse, peers, proven=True)
        return first + await self.apart(items[middle:], action, refuse, peers, proven=True)

    async def _attempt(
        self,
        items: Sequence[Item],
        action: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        peers: Sequence[Peer],
        *,
        proven: bool,
    ) -> Sequence[Result] | GivenUp:
        failures: Counter[Trouble] = Counter()
        while True:
            try:
                return await action(items)
            except PeerError as error:
                step = await self._next_step(error, failures, len(items), peers, proven=proven)
                if step in _BLAMES:
                    return _given_up(step, error)
                if step is not Step.RETRY:
                    raise

    async def _next_step(
        self,
        error: PeerError,
        failures: Counter[Trouble],
        documents: int = 0,
        peers: Sequence[Peer] = (),
        *,
        proven: bool = False,
    ) -> Step:
        trouble = trouble_of(error)
        failures[trouble] += 1
        tries = failures[trouble]
        pause = error.retry_after if isinstance(error, Throttled) else None
        step = decide(trouble, tries, documents, proven=proven, retry_after=pause)
        if step in _BLAMES and trouble in DOUBTFUL and not await _answer(peers):
            step = decide(trouble, tries, documents, alive=False)
        if step is Step.RETRY:
            await self._pause(delay(tries, int.from_bytes(self._entropy(4)) / 2**32, pause))
            return Step.STOP if self._hurry.is_set() else step
        return step

    async def _pause(self, seconds: float) -> None:
        if not self._hurry.is_set():
            await first_of(self._clock.sleep(seconds), self._hurry.wait())


async def _answer(peers: Sequence[Peer]) -> bool:
    try:
        for peer in peers:
            await peer.info()
    except IcureSyncError:
        return False
    return True


def _given_up(step: Step, error: PeerError) -> GivenUp:
    if isinstance(error, BatchRefused | ServerFailed):
        return GivenUp(step, error.error, error.reason)
    return GivenUp(step, type(error).__name__, error.wrong)
