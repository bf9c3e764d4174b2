"""The databases of a hub: one encrypted store file each, made, opened when first asked for, and deleted. Knows no HTTP.

A file is called after its database, percent-encoded; after a hash of the name, if that would be too long for a file
(the name is in the store's settings). The key of each file is derived from the hub's one key and the file's own random
salt, which is a part of its name; so a database that is deleted and made anew shares nothing with the old one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import time
from collections.abc import AsyncIterable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote, unquote

from icure_sync.discretion import logger
from icure_sync.errors import StoreError
from icure_sync.hub.compaction import BackgroundCompaction
from icure_sync.hub.definitions import RULES
from icure_sync.hub.drafts import is_history
from icure_sync.hub.errors import HttpRefusal, bad_request, database_missing
from icure_sync.hub.feeds import Feeds
from icure_sync.hub.limits import MAX_DOCUMENT_DEPTH, PURGED_INFOS_LIMIT, REVS_LIMIT
from icure_sync.hub.security import DEFAULT, Security
from icure_sync.store import Blob, Store, Upload, receive
from icure_sync.store.inserter import Rules

P = ParamSpec("P")
T = TypeVar("T")

log = logger(__name__)

SUFFIX = ".db"
_NAME, _FACTS = "hub.name", "hub.database"  # settings of each store
_SECURITY, _REVS_LIMIT = "hub.security", "hub.revs_limit"
_PURGED_INFOS_LIMIT = "hub.purged_infos_limit"
_MAX_STEM = 100  # bytes of a file name before its salt: some file systems take 143 in all, and SQLite adds to it
_DONE = object()
_HASHED = "~"  # before a hash: in no database's name


@dataclass(frozen=True, slots=True)
class Facts:
    """What never changes while a database lives. `created`: seconds since 1970; `epoch`: hex, in every seq."""

    created: int
    epoch: str


class Database:
    """One open database. Everything that touches its store goes through `run`."""

    def __init__(self, name: str, path: Path, store: Store, facts: Facts, security: Security) -> None:
        self.name = name
        self._path = path
        self.store = store
        self.facts = facts
        self.security = security
        self.feeds = Feeds(store)
        self.compaction = BackgroundCompaction(store)
        self.revs_limit = REVS_LIMIT
        self.closed = asyncio.Event()  # set once it is deleted, or the hub ends
        self.writes = 0  # since it was opened: tells caches that they are stale
        self._watch = contextlib.ExitStack()
        self._watch.enter_context(store.watch(self._changed))

    async def run(self, function: Callable[Concatenate[Store, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(store, …)` in the store's thread. Raises not_found once the database is deleted."""
        if self.closed.is_set():
            raise database_missing()
        return await self.store.run(lambda: function(self.store, *args, **kwargs))

    async def receive(self, pieces: AsyncIterable[bytes]) -> Blob:
        """Bytes into the store as they come. What breaks off leaves nothing. Raises not_found, as `run` does."""
        try:
            return await receive(self.store, pieces, Upload.finish)
        except StoreError:
            if self.closed.is_set():
                raise database_missing() from None
            raise
        finally:
            await self._drop_leftovers()

    async def _drop_leftovers(self) -> None:
        """Of uploads that broke off: usually there are none, and one look says so."""
        with contextlib.suppress(StoreError):  # what there is no room for now goes another time
            while not self.closed.is_set() and await self.store.run(self.store.attachments.drop):
                pass

    async def set_security(self, value: dict[str, Any]) -> None:
        """Raises bad_request for what is not a security object."""
        security = Security.parse(value)
        await self.run(lambda store: store.settings.put(_SECURITY, value))
        self.security = security

    async def set_revs_limit(self, limit: int) -> None:
        """How many generations of history are kept from now on; longer ones are cut."""
        await self.run(_limit_history, limit)
        is_lower, self.revs_limit = limit < self.revs_limit, limit
        if is_lower:
            steps = self.store.stemming(limit)
            while await self.run(lambda _: next(steps, _DONE)) is not _DONE:
                pass

    async def purged_infos_limit(self) -> int:
        """How many records of purges a compaction keeps."""
        limit: int | None = await self.run(lambda store: store.settings.get(_PURGED_INFOS_LIMIT))
        return limit or PURGED_INFOS_LIMIT

    async def set_purged_infos_limit(self, limit: int) -> None:
        """The same, from now on."""
        await self.run(lambda store: store.settings.put(_PURGED_INFOS_LIMIT, limit))

    def size(self) -> int:
        """Bytes of the file."""
        return self._path.stat().st_size

    def seq_text(self, seq: int) -> str:
        """A local seq as clients see it: opaque, and of this database's life only."""
        return f"{seq}-{self.facts.epoch}"

    def read_seq(self, text: str, update_seq: int) -> int:
        """Where a client's `since` stands here. Raises bad_request.

        A seq of another life of the database, or one that was never given, means the start: better too much than too
        little. (A hub put back from a backup sees seqs that it gave out and forgot.)
        """
        if text in {"0", ""}:
            return 0
        if text == "now":
            return update_seq
        number, dash, epoch = text.partition("-")
        if not (dash and epoch.isalnum() and number.isascii() and number.isdigit() and len(number) <= 18):
            raise bad_request("Malformed sequence supplied in 'since' parameter.")
        seq = int(number)
        return seq if epoch == self.facts.epoch and seq <= update_seq else 0

    async def close(self) -> None:
        await self.feeds.close()
        await self.compaction.end()
        self.closed.set()
        self._watch.close()
        await asyncio.to_thread(self.store.close)

    def _changed(self) -> None:
        self.writes += 1
        self.feeds.announce()


class Databases:
    """The folder of databases. One process owns it, guarded by the lock of each store."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._key = key
        self._open: dict[str, Database] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._paths = {stem: path for path in folder.iterdir() if (stem := _stem_of(path)) is not None}
        self._names = {stem: unquote(stem) for stem in self._paths if not stem.startswith(_HASHED)}

    async def load(self) -> None:
        """Read the names that are in no file name. A damaged database stays unlisted; who knows its name is told."""
        for stem in self._paths.keys() - self._names.keys():
            try:
                name = await asyncio.to_thread(self._read_name, self._paths[stem])
                if name is not None:  # else its making was cut short
                    self._names[stem] = name
            except StoreError as error:
                log.error("%s", error)  # noqa: TRY400  (the error says it all in one line)

    def names(self) -> list[str]:
        return sorted(self._names.values())

    def __contains__(self, name: str) -> bool:
        """A hash is no name: whoever opened the file of another database by it would lock that one out."""
        return not name.startswith(_HASHED) and _stem(name) in self._paths

    def __iter__(self) -> Iterator[Database]:
        """Those that are open."""
        return iter(tuple(self._open.values()))

    async def get(self, name: str) -> Database:
        """Opens it at need. Raises not_found."""
        if name in self._open:
            return self._open[name]
        async with self._turn(name):
            if name in self._open:
                return self._open[name]
            if name not in self:
                raise database_missing()
            return await self._open_path(name, self._paths[_stem(name)])

    async def create(self, name: str) -> Database:
        """Raises file_exists."""
        async with self._turn(name):
            if name in self:
                reason = "The database could not be created, the file already exists."
                raise HttpRefusal(412, "file_exists", reason)
            stem = _stem(name)
            path = self._folder / f"{stem}.{os.urandom(8).hex()}{SUFFIX}"
            database = await self._open_path(name, path)
            self._paths[stem] = path
            return database

    async def delete(self, name: str) -> None:
        """Ends its feeds and removes its files. Raises not_found."""
        database = await self.get(name)
        async with self._turn(name):
            path = self._paths.pop(_stem(name), None)
            if path is None:
                raise database_missing()
            self._names.pop(_stem(name), None)
            self._open.pop(name, None)
            await database.close()
            await asyncio.to_thread(_remove, path)

    async def end_feeds(self) -> None:
        """Whoever waits for changes gets his last line."""
        for database in self:
            await database.feeds.close()

    async def close(self) -> None:
        for database in self:
            await database.close()
        self._open.clear()

    async def _open_path(self, name: str, path: Path) -> Database:
        store = await asyncio.to_thread(self._open_store, path)
        try:
            facts, security, revs_limit = await store.run(_read_settings, store, name)
            await store.run(_limit_history, store, revs_limit)
            await store.run(_have_indexes, store)
        except BaseException:
            await asyncio.to_thread(store.close)  # else nobody could open it again
            raise
        database = Database(name, path, store, facts, security)
        database.revs_limit = revs_limit
        self._open[name] = database
        self._names[_stem(name)] = name
        return database

    def _open_store(self, path: Path) -> Store:
        key = hmac.digest(self._key, b"icure_sync hub database\0" + path.name.encode(), "sha256")
        return Store.open(path, key)

    def _read_name(self, path: Path) -> str | None:
        store = self._open_store(path)
        try:
            name = store.settings.get(_NAME)
            return name if isinstance(name, str) else None
        finally:
            store.close()

    def _turn(self, name: str) -> asyncio.Lock:
        return self._turns.setdefault(name, asyncio.Lock())


def _have_indexes(store: Store) -> None:
    if not store.read_only:
        store.indexes.set_rules(RULES)


def _limit_history(store: Store, limit: int) -> None:
    store.documents.set_rules(Rules(limit, is_history, MAX_DOCUMENT_DEPTH))
    if limit != store.settings.get(_REVS_LIMIT):
        store.settings.put(_REVS_LIMIT, limit)


def _read_settings(store: Store, name: str) -> tuple[Facts, Security, int]:
    facts = store.settings.get(_FACTS)
    if facts is None:
        facts = {"created": int(time.time()), "epoch": os.urandom(8).hex()}
        store.settings.put(_FACTS, facts)
    if store.settings.get(_NAME) is None:
        store.settings.put(_NAME, name)
    security = Security.parse(store.settings.get(_SECURITY) or DEFAULT)
    return Facts(facts["created"], facts["epoch"]), security, store.settings.get(_REVS_LIMIT) or REVS_LIMIT


def _stem(name: str) -> str:
    """What the file of a database is called before its salt."""
    quoted = quote(name, safe="")
    return quoted if len(quoted) <= _MAX_STEM else _HASHED + hashlib.sha256(name.encode()).hexdigest()


def _stem_of(path: Path) -> str | None:
    stem, dot, _ = path.name.removesuffix(SUFFIX).rpartition(".")
    return stem if dot and path.name.endswith(SUFFIX) else None


def _remove(path: Path) -> None:
    """The file and what SQLite and the lock keep beside it."""
    for companion in path.parent.glob(path.name + "*"):
        companion.unlink(missing_ok=True)
