"""Everyone who can log in: administrators, from the settings; users, from the `_users` database. Knows no HTTP."""

from __future__ import annotations

import asyncio
import os

from icure_sync.hub.databases import Database
from icure_sync.hub.drafts import Draft
from icure_sync.hub.passwords import PasswordHash
from icure_sync.hub.security import ADMIN_ROLE, Caller
from icure_sync.hub.users import Account, hashed_draft, read_account, user_id
from icure_sync.hub.writing import members_of
from icure_sync.store import Store

_ADMINS, _SECRET, _UUID = "hub.admins", "hub.cookie_secret", "hub.uuid"


class Accounts:
    """`users`: the `_users` database, whose settings are the whole hub's. `rounds`: of password hashing."""

    def __init__(self, users: Database, rounds: int) -> None:
        self._users = users
        self._rounds = rounds
        self._admins: dict[str, Account] = {}
        self._cache: dict[str, Account] = {}
        self._cached_at = -1

    async def load(self) -> None:
        """Read the administrators."""
        stored = await self._users.run(lambda store: store.settings.get(_ADMINS)) or {}
        hashes = {name: PasswordHash.from_members(members) for name, members in stored.items()}
        self._admins = {name: _admin(name, one) for name, one in hashes.items() if one is not None}

    @property
    def has_admin(self) -> bool:
        return bool(self._admins)

    async def set_admin(self, name: str, password: str) -> None:
        """Make an administrator, or change his password; nothing is written if it is his already."""
        present = self._admins.get(name)
        if present is not None and await asyncio.to_thread(present.password.fits, password):
            return
        fresh = await asyncio.to_thread(PasswordHash.of, password, self._rounds, os.urandom)
        self._admins[name] = _admin(name, fresh)
        members = {one.name: one.password.to_members() for one in self._admins.values()}
        await self._users.run(lambda store: store.settings.put(_ADMINS, members))

    async def find(self, name: str) -> Account | None:
        """The account of this name; administrators come first."""
        if name in self._admins:
            return self._admins[name]
        if self._cached_at != self._users.writes:
            self._cache.clear()
            self._cached_at = self._users.writes
        if name in self._cache:
            return self._cache[name]
        account = await self._users.run(_read_account, name)
        if account is not None and self._cached_at == self._users.writes:  # strangers' names are not kept
            self._cache[name] = account
        return account

    async def hashed(self, draft: Draft, caller: Caller) -> Draft:
        """A draft for `_users` with its password hashed. Raises forbidden, conflict, bad_request."""
        before = await self._users.run(members_of, draft.id)
        return await asyncio.to_thread(hashed_draft, draft, caller, before, self._rounds)

    async def secret(self) -> bytes:
        """The key of login cookies, made once."""
        return bytes.fromhex(await self._users.run(_kept, _SECRET, 32))

    async def uuid(self) -> str:
        """The name of this hub, made once."""
        return await self._users.run(_kept, _UUID, 16)


def _admin(name: str, password: PasswordHash) -> Account:
    return Account(name, frozenset({ADMIN_ROLE}), password)


def _read_account(store: Store, name: str) -> Account | None:
    revision = store.documents.get(user_id(name))
    account = None if revision is None or revision.deleted else read_account(revision.body)
    return account if account is not None and account.name == name else None


def _kept(store: Store, setting: str, size: int) -> str:
    value = store.settings.get(setting)
    if not isinstance(value, str):
        value = os.urandom(size).hex()
        store.settings.put(setting, value)
    return value
