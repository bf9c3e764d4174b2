"""The compaction of one database, in the background: step by step, so that clients get their turn. Knows no HTTP."""

from __future__ import annotations

import asyncio

from icure_sync.discretion import logger
from icure_sync.errors import StoreError
from icure_sync.store import Store

log = logger(__name__)

_DONE = object()


class BackgroundCompaction:
    """At most one runs at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    @property
    def is_running(self) -> bool:
        return self._task is not None

    def start(self, revs_limit: int, purges_kept: int) -> None:
        """Begin, unless one is under way. `revs_limit`, `purges_kept`: as Store.compaction."""
        if self._task is None and not self._ended:
            self._task = asyncio.create_task(self._run(revs_limit, purges_kept))

    async def end(self) -> None:
        """Stop after the step under way, for good: the store is about to be closed."""
        self._ended = True
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self, revs_limit: int, purges_kept: int) -> None:
        try:
            steps = self._store.compaction(revs_limit, purges_kept)
            while not self._ended and await self._store.run(next, steps, _DONE) is not _DONE:
                pass
        except StoreError as error:
            log.error("%s", error)  # noqa: TRY400  (the error says it all in one line)
        finally:
            self._task = None
