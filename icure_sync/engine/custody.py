"""Who has the keys of an open replica: nobody, if it is keyless or locked, else the `Keyed` of an unlocked identity.

Owns letting go of them, by word or after idle time, and taking them back. Knows no records and no sync. What the
application does with keys is a use; what sync does is none. The idle clock should go on while the machine sleeps: who
closes the lid for the night finds the replica locked.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator

from icure_sync.crypto.identity import Identity
from icure_sync.engine.clock import Clock
from icure_sync.engine.keyed import Keyed
from icure_sync.errors import InvalidEntity, Locked, NoAccess, StoreError
from icure_sync.ids import HcpId
from icure_sync.store import Store

_AWAKE_OR_ASLEEP = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # elsewhere than on Linux the latter does both

IDLE_CLOCK = Clock(monotonic=lambda: time.clock_gettime(_AWAKE_OR_ASLEEP))


class Custody:
    """The keys of one replica. `unlocked`: makes them of an identity, in the store's thread.

    `lock_after`: seconds without a use until they are let go of; None: never by itself. Raises InvalidEntity.
    """

    def __init__(
        self,
        store: Store,
        keyed: Keyed | None,
        unlocked: Callable[[Identity], Keyed],
        *,
        lock_after: float | None,
        clock: Clock,
    ) -> None:
        if lock_after is not None and not lock_after > 0:
            raise InvalidEntity("open a replica", "lock_after is not above 0", "give it in seconds, or leave it out")
        self.hcp_id: HcpId | None = keyed.identity.hcp_id if keyed else None
        self.held = keyed  # looking at it is no use
        self._store = store
        self._unlocked = unlocked
        self._lock_after = lock_after
        self._clock = clock
        self._uses = 0  # under way
        self._used = clock.monotonic()
        self._taken = asyncio.Event()
        self._let_go = 0  # times

    @property
    def is_locked(self) -> bool:
        """Whether there were keys, and they have been let go of."""
        return self.held is None and self.hcp_id is not None

    def keyed(self) -> Keyed:
        """The keys, for a use that begins now. Raises NoAccess if the replica is keyless, Locked."""
        if self.held is not None and self._is_idle():
            self.held = None  # the machine may have been asleep, and so may have been whoever keeps the time
        if self.held is None:
            if self.hcp_id is None:
                raise NoAccess("open or write records", "the replica is keyless", "open it with an identity")
            raise Locked("open or write records", "the replica is locked", "unlock it: replica.unlock(identity)")
        self._used = self._clock.monotonic()
        return self.held

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside, the replica is not idle, however long it takes."""
        self._uses += 1
        try:
            yield
        finally:
            self._uses -= 1
            self._used = self._clock.monotonic()

    async def let_go(self) -> None:
        """Have no keys from now on. On return nothing in the store's thread has any."""
        self._let_go += 1
        self.held = None
        await self._store.run(self._forget)

    async def take(self, identity: Identity) -> None:
        """Have those of this identity. Raises NoAccess if it is another Hcp's, or the replica is keyless; Locked if
        they were to be let go of meanwhile."""
        if self.hcp_id is None:
            raise NoAccess("unlock the replica", "it was opened without an identity", "open it again with one")
        if identity.hcp_id != self.hcp_id:
            raise NoAccess("unlock the replica", f"it is that of {self.hcp_id}", f"give the identity of {self.hcp_id}")
        let_go = self._let_go
        keyed = await self._store.run(self._unlocked, identity)
        if let_go != self._let_go:
            del keyed, identity
            await self._store.run(self._forget)
            raise Locked("unlock the replica", "it was locked again meanwhile", "unlock it: replica.unlock(identity)")
        self._used = self._clock.monotonic()
        self.held = keyed
        self._taken.set()

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Inside, keys that are not used are let go of."""
        if self._lock_after is None or self.hcp_id is None:
            yield
            return
        watching = asyncio.create_task(self._watch(self._lock_after))
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self, lock_after: float) -> None:
        while True:
            if self.held is None:
                self._taken.clear()
                await self._taken.wait()
            left = lock_after if self._uses else self._used + lock_after - self._clock.monotonic()
            if left > 0:
                await self._clock.sleep(left)
            else:
                with contextlib.suppress(StoreError):  # they are gone, even if the store could not be told
                    await self.let_go()

    def _is_idle(self) -> bool:
        if self._lock_after is None or self._uses:
            return False
        return self._clock.monotonic() - self._used >= self._lock_after

    def _forget(self) -> None:
        """In the store's thread: whatever was asked of it before has ended. What cycles still hold goes now."""
        gc.collect()
        self._store.forget_pages()
