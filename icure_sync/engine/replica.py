"""The replica: what an application holds. An asyncio face over records, parties and sync.

Owns opening, locking and closing, and what it says of itself. What it does is in `*_calls.py`. Knows no format, no
protocol and no SQL.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from icure_sync.crypto.devices import DEVICE_ID_BYTES, DEVICE_TYPE
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.primitives import Entropy, system_entropy
from icure_sync.discretion import withhold
from icure_sync.engine.acquaintances import Acquaintances
from icure_sync.engine.alarms import Alarms
from icure_sync.engine.calls import Clock
from icure_sync.engine.clock import Clock as WaitingClock
from icure_sync.engine.custody import IDLE_CLOCK, Custody
from icure_sync.engine.device_heads import DEVICE_SETTING
from icure_sync.engine.devices import Devices
from icure_sync.engine.glasses import Glasses
from icure_sync.engine.keyed import Keyed
from icure_sync.engine.pairing import Pairings
from icure_sync.engine.record_calls import RecordCalls
from icure_sync.engine.recoveries import Recoveries
from icure_sync.engine.review import conflict_count
from icure_sync.engine.review_calls import ReviewCalls
from icure_sync.engine.status import Status
from icure_sync.engine.succession import complete, succeeding
from icure_sync.engine.sync_calls import SyncCalls
from icure_sync.engine.trail import Recorder, Trail
from icure_sync.errors import InvalidEntity, NoAccess, StoreCorrupt
from icure_sync.ids import HcpId
from icure_sync.model.schema import SEALED_1
from icure_sync.store import Store
from icure_sync.store.keyfile import create_key, drop_draft, key_path, unlock_key

_HCP = "hcp"  # whose opened content the search index holds
_SUITES = (SEALED_1,)


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


class Replica(RecordCalls, SyncCalls, ReviewCalls):
    """The encrypted replica of one device. Open it with `Replica.open`; one process has it at a time.

    Without an identity it is *keyless*: it replicates, and can open or write nothing (NoAccess). Locked, it is the same
    until it is unlocked (Locked).
    """

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: str | Path,
        identity: Identity | None,
        *,
        passphrase: str,
        suites: Sequence[str] = _SUITES,
        lock_after: float | None = None,
        clock: Clock = _milliseconds,
        idle_clock: WaitingClock = IDLE_CLOCK,
        entropy: Entropy = system_entropy,
    ) -> AsyncIterator[Replica]:
        """Open the replica at `path`, or make it. `suites`: those accepted; the first is the one written.

        `lock_after`: seconds without a call that opens or writes records, which no sync is; then it locks by itself.
        Raises WrongPassphrase, StoreLocked, StoreCorrupt, StoreFull, SchemaTooNew.
        """
        if not passphrase:
            raise InvalidEntity("open a replica", "the passphrase is empty", "choose a long one")
        file = Path(path)
        store = await asyncio.to_thread(_open_store, file, passphrase, entropy)
        try:
            replica = await store.run(
                replica_over,
                store,
                identity,
                suites=suites,
                lock_after=lock_after,
                clock=clock,
                idle_clock=idle_clock,
                entropy=entropy,
            )
            del identity, passphrase  # this frame stays until the end, and would keep them after a lock
            async with replica._custody.watched():  # noqa: SLF001  # its own
                yield replica
        finally:
            await asyncio.to_thread(store.close)

    @property
    def hcp_id(self) -> HcpId | None:
        """Whose records it opens, once it is unlocked; None if it is keyless."""
        return self._custody.hcp_id

    @property
    def is_locked(self) -> bool:
        """Whether its keys were let go of."""
        return self._custody.is_locked

    async def lock(self) -> None:
        """Let go of the identity, of every key and of what was opened, until `unlock`.

        Sync goes on, also one under way, and merges nothing meanwhile. What needs keys raises Locked; a file that is
        being attached is finished, one that is being read is not. Python cannot wipe memory, the file stays open, and
        the application has to let go of its own Identity and entities.
        """
        await self._custody.let_go()

    async def unlock(self, identity: Identity) -> None:
        """Open and write records again, and take in what came meanwhile. Raises NoAccess for another Hcp's identity."""
        await self._custody.take(identity)
        await self._exchange.learn()

    @property
    def trail(self) -> Trail:
        """Who did what on this device."""
        return Trail(self._store, self._recorder)

    @property
    def alarms(self) -> Alarms:
        """What a person should know of the server or of others."""
        return Alarms(self._store, self._recorder, self._clock, self._look)

    @property
    def acquaintances(self) -> Acquaintances:
        """The Hcps that are known here, and by which keys."""
        return Acquaintances(self._store, self._custody.keyed, self._clock)

    @property
    def pairings(self) -> Pairings:
        """How this device gives the identity of its Hcp to a new one."""
        return Pairings(self._store, self._custody.keyed)

    @property
    def devices(self) -> Devices:
        """The devices of this Hcp."""
        return Devices(self._store, self._custody)

    @property
    def recovery(self) -> Recoveries:
        """Codes and shares that give this Hcp's identity back when no device is left."""
        return Recoveries(self._store, self._custody.keyed)

    @property
    def glass(self) -> Glasses:
        """Emergency access to patients' records, for k of n people."""
        return Glasses(self._store, self._custody.keyed)

    async def status(self) -> Status:
        """Counts, and what needs attention."""
        keyed = self._custody.held
        conflicts = await conflict_count(self._store, keyed.review if keyed else None)
        return await self._store.run(self._status, conflicts)

    async def check(self) -> list[str]:
        """What is wrong with the file, one line each; nothing if it is sound."""
        return await self._store.run(self._store.check)

    async def setting(self, name: str) -> Any:
        """A value that the application keeps inside the encrypted file; None if there is none."""
        return await self._store.run(self._store.settings.get, f"app/{name}")

    async def keep_setting(self, name: str, value: Any) -> None:
        """Keep a JSON value for the application: a server's address with its password, say."""
        await self._store.run(self._store.settings.put, f"app/{name}", value)

    @property
    def _recorder(self) -> Recorder:
        keyed = self._custody.held
        return keyed.recorder if keyed else Recorder(self._store, "", self.device, self._clock)

    def _look(self) -> bool:
        keyed = self._custody.held
        return keyed.look() if keyed else False

    def _status(self, conflicts: int) -> Status:
        facts = self._exchange.facts
        keyed = self._custody.held
        if keyed is not None:
            keyed.match_alarms()
        counts = self._store.documents.counts_by_type()
        return Status(
            hcp_id=self.hcp_id,
            device=self.device,
            suites=keyed.suites if keyed else (),
            documents={name: count for name, count in counts.items() if name != DEVICE_TYPE},
            conflicts=conflicts,
            alarms=self._store.alarms.count(),
            unsent=facts.unsent(),
            refused=facts.refused(),
            unreadable={**keyed.opener.unreadable} if keyed else {},
            untrusted=dict(keyed.parties.troubles) if keyed else {},
            last_sync=facts.last_sync(),
            rsa_decryptions=keyed.identity.party_key.decryptions if keyed else 0,
            locked=self.is_locked,
        )


def _open_store(path: Path, passphrase: str, entropy: Entropy) -> Store:
    release = withhold(passphrase)
    try:
        key = _database_key(path, passphrase, entropy)
    finally:
        release()
    store = Store.open(path, key)
    drop_draft(path)
    return store


def _database_key(path: Path, passphrase: str, entropy: Entropy) -> bytes:
    if key_path(path).exists() or path.exists():
        key = unlock_key(path, passphrase)
        if not path.exists():  # another process that is making it has had half a second
            raise StoreCorrupt(
                f"open the replica {path}",
                "its file is gone, and only its key is here",
                f"put its copy back; or remove {key_path(path)} to begin anew with what the server has",
            )
        return key
    return create_key(path, passphrase, entropy=entropy)


def replica_over(
    store: Store,
    identity: Identity | None,
    *,
    suites: Sequence[str] = _SUITES,
    lock_after: float | None = None,
    clock: Clock = _milliseconds,
    idle_clock: WaitingClock = IDLE_CLOCK,
    entropy: Entropy = system_entropy,
) -> Replica:
    """The replica over an open store. Runs in the store's thread."""
    device = store.settings.get(DEVICE_SETTING)
    if device is None and not store.read_only:
        device = entropy(DEVICE_ID_BYTES).hex()
        store.settings.put(DEVICE_SETTING, device)
    owner = store.settings.get(_HCP)
    if identity is not None and owner is None and not store.read_only:
        store.settings.put(_HCP, identity.hcp_id)
    elif identity is not None and owner not in (None, identity.hcp_id):
        raise NoAccess("open the replica", f"it is that of {owner}", f"open it as {owner}, or make another replica")

    def unlocked(given: Identity) -> Keyed:
        with succeeding(store, given) as its:
            keyed = Keyed(store, its, suites=suites, device=device, entropy=entropy, clock=clock)
            complete(store, keyed)
        return keyed

    keyed = None if identity is None else unlocked(identity)
    return Replica(store, Custody(store, keyed, unlocked, lock_after=lock_after, clock=idle_clock), device, clock)
