"""A call made again and again, cancelled one await later each time, until it gets through."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

MOST_AWAITS = 400  # of one call: far more than any makes


async def cancel_everywhere(call: Callable[[], Awaitable[object]], after: Callable[[], Awaitable[object]]) -> int:
    """How many awaits the call makes. `after` is done after each cancellation."""

    async def made() -> None:
        await call()

    for which in range(MOST_AWAITS):
        task = asyncio.ensure_future(_as_coroutine(made(), which))
        done = await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 30)
        if done == [True]:
            return which
        assert isinstance(done[0], asyncio.CancelledError), done
        await after()
    raise AssertionError("it goes on and on")


async def _as_coroutine(call: Coroutine[Any, Any, object], which: int) -> bool:
    return await cancelled_at(call, which)


@types.coroutine
def cancelled_at(call: Coroutine[Any, Any, object], which: int) -> Generator[Any, Any, bool]:
    """Run a call, and cancel the task at its await number `which`. Whether it got through before that."""
    step: Callable[[], Any] = lambda: call.send(None)  # noqa: E731  it is replaced below
    for number in range(MOST_AWAITS):
        try:
            awaited = step()
        except StopIteration:
            return True
        if number == which:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        try:
            yield awaited
            step = lambda: call.send(None)  # noqa: E731
        except BaseException as error:  # noqa: BLE001  whatever it is, it is the call's to deal with
            step = _thrower(call, error)
    raise AssertionError("it goes on and on")


def _thrower(call: Coroutine[Any, Any, object], error: BaseException) -> Callable[[], Any]:
    return lambda: call.throw(error)
