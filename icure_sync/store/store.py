"""A store: one encrypted file with its parts, its owner lock and its thread. Knows what belongs together, no tables."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ParamSpec, TypeVar

from icure_sync.errors import StoreFull
from icure_sync.store.attachments import Attachments
from icure_sync.store.checkup import find_problems
from icure_sync.store.database import Database
from icure_sync.store.documents import Documents
from icure_sync.store.local import LocalDocuments
from icure_sync.store.lock import OwnerLock
from icure_sync.store.search import Search
from icure_sync.store.settings import Settings
from icure_sync.store.trust import HcpKeys, Pins

P = ParamSpec("P")
T = TypeVar("T")


class Store:
    """The database of one replica, or one database of a hub.

    Its parts are synchronous. SQLite work belongs to one thread: from asyncio, every use goes through `run`.
    """

    def __init__(self, database: Database, lock: OwnerLock | None) -> None:
        """`lock` is None for a store that can only be read."""
        self._database = database
        self._lock = lock
        self.read_only = lock is None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="icure-sync-store")
        self.documents = Documents(database)
        self.local = LocalDocuments(database)
        self.attachments = Attachments(database)
        self.search = Search(database)
        self.settings = Settings(database)
        self.hcp_keys = HcpKeys(database)
        self.pins = Pins(database)

    @classmethod
    def open(cls, path: Path, key: bytes) -> Store:
        """Open the file, or make it, under its 32-byte key.

        A file that may not be written, or in a folder that may not, is opened to be read (`read_only`): reads work,
        writes raise StoreFull. Raises StoreLocked (names the process that has it), StoreCorrupt (damaged, or another
        key), SchemaTooNew, StoreFull (no room, no folder).
        """
        if path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            return cls(Database(path, key, read_only=True), None)
        lock = OwnerLock(path.with_name(path.name + ".lock"))
        try:
            _make_private(path)
            return cls(Database(path, key), lock)
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Wait for the work under way, and let go of the file."""
        self._thread.shutdown(wait=True)
        self._database.close()
        if self._lock is not None:
            self._lock.release()

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in the store's thread, after what was asked for before.

        Cancelling the wait does not stop a call that has begun: its transaction ends as if nobody had looked away.
        """
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def transaction(self) -> AbstractContextManager[None]:
        """One durable commit for everything done inside; nothing of it if an exception leaves."""
        return self._database.transaction()

    def compact(self) -> None:
        """Drop the bodies of displaced revisions, and the attachments that then belong to nothing."""
        with self._database.transaction():
            self.documents.prune_all()
            self.attachments.collect()

    def check(self) -> list[str]:
        """What is wrong with the file, one line each; nothing if it is sound."""
        return find_problems(self._database)


def _make_private(path: Path) -> None:
    """SQLite gives its other files the permissions of this one."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreFull(f"open the store {path}", error.strerror or "no access", "check its folder") from error
