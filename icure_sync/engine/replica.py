"""The replica: what an application holds. An asyncio face over records, parties and sync.

Owns opening and closing, and the hop into the store's thread. Knows no format, no protocol and no SQL.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from icure_sync.crypto.devices import DEVICE_ID_BYTES, DEVICE_TYPE
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.primitives import Entropy, system_entropy
from icure_sync.discretion import withhold
from icure_sync.engine.access_list import AccessList
from icure_sync.engine.acquaintances import Acquaintances
from icure_sync.engine.alarms import Alarms
from icure_sync.engine.attempt import Outcome
from icure_sync.engine.audit import Audit
from icure_sync.engine.clock import SYSTEM_CLOCK
from icure_sync.engine.clock import Clock as WaitingClock
from icure_sync.engine.conflict import Conflict
from icure_sync.engine.custody import IDLE_CLOCK, Custody
from icure_sync.engine.device_heads import DEVICE_SETTING
from icure_sync.engine.devices import Devices
from icure_sync.engine.exchange import Exchange
from icure_sync.engine.glasses import Glasses
from icure_sync.engine.keyed import Keyed
from icure_sync.engine.live import Live
from icure_sync.engine.pairing import Pairings
from icure_sync.engine.progress import Report
from icure_sync.engine.reading import Reading
from icure_sync.engine.recoveries import Recoveries
from icure_sync.engine.review import conflict_count, conflict_ids, live_leaves
from icure_sync.engine.status import Status
from icure_sync.engine.succession import complete, succeeding
from icure_sync.engine.sync import SyncReport
from icure_sync.engine.trail import Recorder, Trail
from icure_sync.errors import InvalidEntity, NoAccess, StoreCorrupt
from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.model import Attachment, Contact, Document, Entity, Form, Hcp, HealthcareElement, Patient
from icure_sync.model.schema import SEALED_1
from icure_sync.peers.port import Peer
from icure_sync.store import Store
from icure_sync.store.keyfile import create_key, drop_draft, key_path, unlock_key

E = TypeVar("E", bound=Entity)
P = ParamSpec("P")
T = TypeVar("T")

SEARCH_MOST = 200  # hits of one search: more than a person reads
_HCP = "hcp"  # whose opened content the search index holds
_SUITES = (SEALED_1,)

Clock = Callable[[], int]  # ms since 1970, possibly wrong: decides nothing


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


class Replica:
    """The encrypted replica of one device. Open it with `Replica.open`; one process has it at a time.

    Without an identity it is *keyless*: it replicates, and can open or write nothing (NoAccess). Locked, it is the same
    until it is unlocked (Locked).
    """

    def __init__(self, store: Store, custody: Custody, device: str, clock: Clock) -> None:
        self._store = store
        self._custody = custody
        self._clock = clock
        self._exchange = Exchange(store, device, custody, clock)
        self.device = device

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

    # Records

    async def save(self, entity: E, *, patient: Patient | None = None, document: Document | None = None) -> E:
        """Keep an entity, durably, and return it as it is stored: with its id and revision.

        A new one is filed under `patient` (or `document`). Raises StaleRevision if it has been written since it was
        read; InvalidEntity; NoAccess.
        """
        if patient is not None and document is not None:
            raise InvalidEntity(f"save a {entity.TYPE}", "it can have one parent", "name the patient or the document")
        return await self._call(self._keyed.save, entity, patient or document)

    async def get(self, cls: type[E], id: str) -> E:  # noqa: A002  # the entity's own word
        """One record. Raises NotFound (unknown, deleted, or of another type), NoAccess, Tampered."""
        return await self._call(self._reading.get, cls, DocId(id))

    async def find(self, cls: type[E], *, text: str | None = None) -> AsyncIterator[E]:
        """The records of one type; with `text`, those that have all its words, the best matches
        first, 200 at most.

        Works offline. Records that cannot be opened are passed over: `status` lists them.
        """
        if issubclass(cls, Hcp):
            for hcp in await self._call(self._keyed.all_hcps, cls):
                yield hcp
            return
        if text is not None:
            for entity in await self._call(self._reading.search, cls, text, SEARCH_MOST):
                yield entity
            return
        async for entity in self._pages(cls, deleted=False):
            yield entity

    async def find_deleted(self, cls: type[E]) -> AsyncIterator[E]:
        """The records of one type that were deleted, to be looked at and restored."""
        async for entity in self._pages(cls, deleted=True):
            yield entity

    async def search(self, text: str) -> AsyncIterator[Entity]:
        """Records of every type that have all these words, the best matches first, 200 at most."""
        for entity in await self._call(self._reading.search, Entity, text, SEARCH_MOST):
            yield entity

    async def delete(self, entity: E) -> E:
        """Hide a record on all devices. Its content stays, and `restore` shows it again. Raises StaleRevision."""
        return await self._call(self._keyed.delete, entity)

    async def restore(self, entity: E) -> E:
        """Show a deleted record again."""
        return await self._call(self._keyed.restore, entity)

    async def share(self, entity: E, *, with_: str, include_linked: bool = False) -> E:
        """Let another Hcp open this record, and with `include_linked` everything filed under it.

        What is linked and cannot be shared does not stop the rest: NoAccess names it at the end. Raises NotFound until
        that Hcp's document has been synced here; UntrustedKey; NoAccess.
        """
        share = self._keyed.share_all if include_linked else self._keyed.share
        return await self._call(share, entity, HcpId(with_))

    async def revoke(self, entity: E, *, from_: str, include_linked: bool = False) -> E:
        """Put another Hcp out: what is written from now on it cannot open, nor can those whom it granted access.

        What it could read it may have kept. Whoever made the record can put anybody out; others, those whom they alone
        granted access. With `include_linked` everything filed under the record that it can open too, as in `share`.
        Raises InvalidEntity if it has no access or would keep it, which changes nothing; UnsupportedSuite; NoAccess.
        """
        revoke = self._keyed.revoke_all if include_linked else self._keyed.revoke
        return await self._call(revoke, entity, HcpId(from_))

    async def access_of(self, record: Entity | str) -> AccessList:
        """Who has access to a record, by whose grants, and who was put out, by whom. Raises NotFound, NoAccess."""
        return await self._call(self._keyed.access_of, DocId(record if isinstance(record, str) else record.id))

    # Links

    async def contacts_of(self, patient: Patient) -> AsyncIterator[Contact]:
        """The contacts of a patient (scenario 1 of the published scheme)."""
        for entity in await self._call(self._reading.linked, Contact, patient):
            yield entity

    async def forms_of(self, patient: Patient) -> AsyncIterator[Form]:
        """The forms of a patient."""
        for entity in await self._call(self._reading.linked, Form, patient):
            yield entity

    async def elements_of(self, patient: Patient) -> AsyncIterator[HealthcareElement]:
        """The healthcare elements of a patient."""
        for entity in await self._call(self._reading.linked, HealthcareElement, patient):
            yield entity

    async def documents_of(self, patient: Patient) -> AsyncIterator[Document]:
        """The documents of a patient."""
        for entity in await self._call(self._reading.linked, Document, patient):
            yield entity

    async def patient_of(self, entity: Entity) -> Patient:
        """The patient that a record is filed under (scenario 2). Raises NotFound, NoAccess."""
        return await self._call(self._reading.parent, Patient, entity)

    # Files

    async def attach(
        self, document: Document, name: str, data: bytes | Iterable[bytes], *, media_type: str | None = None
    ) -> Attachment:
        """Add a file to a document, encrypted in chunks. `data` may come in pieces, read as they are needed."""
        pieces = (bytes(data),) if isinstance(data, bytes | bytearray | memoryview) else data
        attachments = self._keyed.attachments
        with self._custody.in_use():
            return await attachments.attach(document, name, pieces, media_type)

    async def attachments_of(self, document: Document) -> AsyncIterator[Attachment]:
        """The files of a document."""
        for entity in await self._call(self._reading.files, document):
            yield entity

    async def read_attachment(self, attachment: Attachment) -> AsyncIterator[bytes]:
        """The content of a file in pieces, each authenticated. Raises NotFound if it is not here yet, Tampered."""
        async with aclosing(self._keyed.attachments.read(attachment)) as pieces:
            async for piece in pieces:
                self._custody.keyed()
                yield piece

    # Sync

    async def push(self, peer: Peer, *, progress: Report | None = None) -> Outcome:
        """Send every local change to a peer. Raises the kinds of PeerError."""
        return await self._exchange.push(peer, progress)

    async def pull(self, peer: Peer, *, progress: Report | None = None, accept_deletions: int = 0) -> Outcome:
        """Fetch what this replica's Hcp may read (everything, if it is keyless). Raises the kinds of PeerError, and as
        `sync`."""
        return await self._exchange.pull(peer, progress, accept_deletions)

    async def sync(self, peer: Peer, *, progress: Report | None = None, accept_deletions: int = 0) -> SyncReport:
        """Pull, then push. What the other side refuses is in the report, and kept for the next time.

        Raises MassDeletion, before anything is sent, if many records were deleted at once: they stay as they are until
        `accept_deletions` is at least how many, which a person should say.
        """
        return await self._exchange.sync(peer, progress, accept_deletions)

    async def audit(self, peer: Peer) -> Audit:
        """Have a peer give back everything that this replica holds, and send what it does not give.

        A push believes a server that says it has something. This finds one that lost it, or lies; it costs a download
        of everything. Raises the kinds of PeerError.
        """
        return await self._exchange.audit(peer)

    @asynccontextmanager
    async def live(
        self,
        peer: Peer,
        *,
        progress: Report | None = None,
        accept_deletions: int = 0,
        waiting: WaitingClock = SYSTEM_CLOCK,
    ) -> AsyncIterator[Live]:
        """Sync both ways for as long as the context lasts: changes go over as they are made, on either side.

        A network that fails is waited for, and noticed when it is back; `progress` hears of it. Leaving the context
        sends what is still to be sent, for some seconds at most. Raises what no waiting mends: Unauthorized, Forbidden,
        DatabaseMissing (of one that never was there), the kinds of StoreError but a full disk; and MassDeletion, as
        `sync` does.
        """
        async with self._exchange.live(peer, progress, waiting, accept_deletions) as live:
            yield live

    # Review

    async def conflicts(self) -> AsyncIterator[Conflict]:
        """Records that a person should look at: with fields that were written concurrently, or leaves that no device
        merges. A keyless or locked replica can only tell which documents have several live leaves."""
        if self._custody.held is None:
            for conflict in await self._store.run(live_leaves, self._store):
                yield conflict
            return
        for doc_id in await conflict_ids(self._store, self._keyed.review):
            found = await self._call(self._reading.disputed, doc_id)
            if found is not None:
                yield found

    async def conflict_of(self, record: Entity | str) -> Conflict | None:
        """What there is to decide of one record, by itself or by its id; None if there is nothing."""
        doc_id = DocId(record if isinstance(record, str) else record.id)
        return await self._call(self._reading.conflict, doc_id)

    async def resolve(self, record: Conflict | Entity | str, choices: Any = None) -> Entity:
        """Settle fields that are in dispute, by one ordinary write. Returns the record as it is then.

        `choices`: by path or name, one of the field's Versions or a new value; fields not named stay in dispute. Where
        only one is, its value alone will do. None: what is shown becomes the only value of all of them. Raises
        InvalidEntity for a field that is not in dispute; StaleRevision if a Conflict or Entity is given and more has
        been written since it was read; NotFound; NoAccess.
        """
        return await self._call(self._keyed.review.resolve, record, choices)

    async def adopt(self, record: Conflict | Entity | str, rev: str | None = None) -> Entity:
        """Write what a leaf says whose writer is out of the record by now, as a write of one's own; the leaf goes.

        What that writer had not changed, or others have changed since, stays. `rev`: the leaf, where there are several.
        Raises NotFound, InvalidEntity, Tampered, NoAccess.
        """
        return await self._call(self._keyed.review.adopt, record, None if rev is None else Rev(rev))

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

    @property
    def _reading(self) -> Reading:
        return Reading(self._keyed)

    @property
    def _keyed(self) -> Keyed:
        return self._custody.keyed()

    async def _call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """In the store's thread, as something that the application does with keys."""
        with self._custody.in_use():
            return await self._store.run(function, *args, **kwargs)

    def _look(self) -> bool:
        keyed = self._custody.held
        return keyed.look() if keyed else False

    async def _pages(self, cls: type[E], *, deleted: bool) -> AsyncIterator[E]:
        cursor: tuple[int, int] | None = (0, 0)
        while cursor is not None:
            page, cursor = await self._call(self._reading.page, cls, cursor, deleted=deleted)
            for entity in page:
                yield entity

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
