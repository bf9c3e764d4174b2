"""What a test leaves behind: open files and tasks, counted and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

PATIENCE = 20.0  # seconds until what should have ended counts as left behind


def open_files() -> int:
    """Files and sockets of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that tells nobody when it happens. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # closed sockets set no event
            await asyncio.sleep(0.01)


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Whatever was opened or begun inside is closed and over soon after. Raises TimeoutError."""
    files, tasks = open_files(), asyncio.all_tasks()
    yield
    await until(lambda: open_files() <= files and not asyncio.all_tasks() - tasks - {asyncio.current_task()})
