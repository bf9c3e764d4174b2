"""A store: one encrypted file with its parts, its owner lock and its thread. Knows what belongs together, no tables."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from icure_sync.errors import StoreError
from icure_sync.store.alarms import Alarms
from icure_sync.store.arrivals import Arrivals
from icure_sync.store.attachments import Attachments
from icure_sync.store.checkup import find_problems
from icure_sync.store.compaction import Compaction
from icure_sync.store.contests import Contests
from icure_sync.store.database import Database
from icure_sync.store.device_heads import DeviceHeads
from icure_sync.store.documents import Documents
from icure_sync.store.files import create_database, is_writable, lock_path, require_whole
from icure_sync.store.indexes import Indexes
from icure_sync.store.limits import REVS_LIMIT, TIDY_SECONDS, TRAIL_SECONDS
from icure_sync.store.local import LocalDocuments
from icure_sync.store.lock import StoreLock, own, share
from icure_sync.store.lookups import Lookups
from icure_sync.store.purges import Purges
from icure_sync.store.reviews import Reviews
from icure_sync.store.scans import Scans
from icure_sync.store.search import Search
from icure_sync.store.set_aside import SetAside
from icure_sync.store.settings import Settings
from icure_sync.store.trail import Trail
from icure_sync.store.trust import HcpKeys, Pins
from icure_sync.store.withdrawals import Withdrawals
from icure_sync.store.writes import Writes

P = ParamSpec("P")
T = TypeVar("T")


class Store:
    """The database of one replica, or one database of a hub.

    Its parts are synchronous. SQLite work belongs to one thread: from asyncio, every use goes through `run`.
    """

    def __init__(self, database: Database, lock: StoreLock, *, read_only: bool) -> None:
        self._database = database
        self._lock = lock
        self.read_only = read_only
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="icure-sync-store")
        self.documents = Documents(database)
        self.lookups = Lookups(database)
        self.contests = Contests(database)
        self.reviews = Reviews(database)
        self.indexes = Indexes(database)
        self.scans = Scans(database)
        self.purges = Purges(database)
        self.withdrawals = Withdrawals(database, self.documents, self.purges)
        self.local = LocalDocuments(database)
        self.attachments = Attachments(database)
        self.arrivals = Arrivals(database)
        self.search = Search(database)
        self.settings = Settings(database)
        self.set_aside = SetAside(database)
        self.hcp_keys = HcpKeys(database)
        self.pins = Pins(database)
        self.trail = Trail(database)
        self.alarms = Alarms(database)
        self.writes = Writes(database)
        self.device_heads = DeviceHeads(database)
        self._watchers: tuple[Callable[[], object], ...] = ()
        self._announced: int | None = self.documents.update_seq()
        self._trail_due = 0.0  # when what waits for the trail is written, by the loop's clock
        database.committed = self._committed

    @classmethod
    def open(cls, path: Path, key: bytes) -> Store:
        """Open the file, or make it, under its 32-byte key.

        A file that may not be written, or in a folder that may not, is opened to be read (`read_only`): reads work,
        writes raise StoreFull. Raises StoreLocked (names the process that has it), StoreCorrupt (damaged, or another
        key), SchemaTooNew, StoreFull (no room, no folder).
        """
        read_only = path.exists() and not is_writable(path)
        with contextlib.ExitStack() as undo:
            held = (share if read_only else own)(lock_path(path))
            undo.callback(held.release)
            if not path.exists():  # asked under the lock: another may just have made it
                create_database(path, key)
            require_whole(path)
            database = Database(path, key, read_only=read_only)
            undo.callback(database.close)
            store = cls(database, held, read_only=read_only)
            undo.pop_all()
        return store

    def close(self) -> None:
        """Wait for the work under way, write what waits for the trail, and let go of the file."""
        self._thread.shutdown(wait=True)
        try:
            self._write_trail()
            self._database.close()
        finally:
            self._lock.release()

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in the store's thread, after what was asked for before.

        Cancelling the wait does not stop a call that has begun: its transaction ends as if nobody had looked away.
        Raises StoreError if the store is closed.
        """
        call = functools.partial(function, *args, **kwargs)
        try:
            running = asyncio.get_running_loop().run_in_executor(self._thread, call)
        except RuntimeError as error:  # the thread takes nothing any more
            raise StoreError(f"use the store {self._database.path}", "it is closed", "open it again") from error
        try:
            return await running
        finally:
            if self.trail.is_waiting:
                self._write_trail_soon()

    @contextlib.contextmanager
    def watch(self, changed: Callable[[], None]) -> Iterator[None]:
        """Inside, `changed` is called in the running event loop after each commit that changed a document.

        The call is made before the one who asked `run` for that commit gets his answer.
        """
        watcher = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, changed)
        self._watchers = (*self._watchers, watcher)  # replaced, never altered: the store's thread reads it
        try:
            yield
        finally:
            self._watchers = tuple(one for one in self._watchers if one is not watcher)

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """One durable commit for everything done inside; nothing of it if an exception leaves."""
        return self._database.transaction()

    def compaction(self, revs_limit: int = REVS_LIMIT, purges_kept: int | None = None) -> Iterator[None]:
        """Drop what nothing needs any more, step by step: see Compaction.steps."""
        return Compaction(self._database, self.attachments, self.purges).steps(revs_limit, purges_kept)

    def forget_pages(self) -> None:
        """Let go of what is cached of the file: in memory its pages are clear text."""
        self._database.rows("PRAGMA shrink_memory")

    def free_bytes(self) -> int:
        """Bytes of the file that nothing is in: a compaction gives them back."""
        return self._database.free_bytes()

    def stemming(self, revs_limit: int) -> Iterator[None]:
        """Cut every history to so many generations, step by step."""
        return Compaction(self._database, self.attachments, self.purges).stemming(revs_limit)

    def compact(self) -> None:
        """A compaction, all of it at once."""
        for _ in self.compaction():
            pass

    async def tidy(self) -> None:
        """Drop attachment bytes that nothing needs any more, little by little: others get their turn in between."""
        await self.run(self.arrivals.expire, int(time.time()))
        await self.run(self.attachments.release)
        while await self.run(self.attachments.drop):
            pass

    @contextlib.asynccontextmanager
    async def kept_tidy(self) -> AsyncIterator[None]:
        """Inside, `tidy` is done every TIDY_SECONDS."""

        async def keep() -> None:
            while True:
                await asyncio.sleep(TIDY_SECONDS)
                with contextlib.suppress(StoreError):  # whoever uses the store meets it, too
                    await self.tidy()

        keeping = asyncio.create_task(keep())
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    def _write_trail_soon(self) -> None:
        """Within TRAIL_SECONDS, unless another transaction takes it along: in the store's thread, and nobody waits."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._trail_due:
            self._trail_due = loop.time() + TRAIL_SECONDS
            loop.call_later(TRAIL_SECONDS, self._write_trail_now)

    def _write_trail_now(self) -> None:
        with contextlib.suppress(RuntimeError):  # the store has been closed, which wrote it
            self._thread.submit(self._write_trail)

    def _write_trail(self) -> None:
        """What the disk does not take waits on."""
        with contextlib.suppress(StoreError):
            self.trail.flush()

    def _committed(self) -> None:
        """In the store's thread, after a commit."""
        self.trail.settle()
        self._announce()

    def _announce(self) -> None:
        """After a commit. If that cannot be looked at, whoever is told will see for himself."""
        seq = None
        with contextlib.suppress(StoreError):
            seq = self.documents.update_seq()
        if seq is None or seq != self._announced:
            self._announced = seq
            for watcher in self._watchers:
                watcher()

    def check(self) -> list[str]:
        """What is wrong with the file, one line each; nothing if it is sound."""
        return find_problems(self._database)
