"""What an unlocked identity adds to a store: the operations of a replica that open and write records.

Owns what spans several records: filing under a patient, following links, sharing with what is linked. Knows no peers.
Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from icure_sync.crypto.glass import GLASS_TYPE
from icure_sync.crypto.handover import HANDOVER_TYPE
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.primitives import Entropy
from icure_sync.crypto.recovery import RECOVERY_TYPE
from icure_sync.engine.access_list import AccessList, access_list, unsigned_list
from icure_sync.engine.alarms import AlarmKind, Bell
from icure_sync.engine.attachments import Attachments
from icure_sync.engine.classic import ClassicSuite
from icure_sync.engine.classic_parties import ClassicParties
from icure_sync.engine.deletions import Deletions
from icure_sync.engine.device_heads import DeviceHeads
from icure_sync.engine.ending import Ending
from icure_sync.engine.evidence import Evidence
from icure_sync.engine.handovers import Handovers
from icure_sync.engine.hcps import Hcps
from icure_sync.engine.hidden import Hidden
from icure_sync.engine.lookout import Lookout
from icure_sync.engine.opening import UNREADABLE, Opened, Opener, not_found
from icure_sync.engine.parties import Parties
from icure_sync.engine.published import Published
from icure_sync.engine.reconciling import Reconciled, Reconciler
from icure_sync.engine.records import Records
from icure_sync.engine.review import Review
from icure_sync.engine.sealed import SealedSuite
from icure_sync.engine.stated import stated
from icure_sync.engine.suite import Suite
from icure_sync.engine.trail import Recorder
from icure_sync.engine.verdicts import Verdicts
from icure_sync.engine.withdrawing import Withdrawing
from icure_sync.engine.writers import Writers
from icure_sync.errors import InvalidEntity, NoAccess, NotFound, UnsupportedSuite
from icure_sync.ids import DocId, HcpId, is_hcp_id
from icure_sync.model import Attachment, Document, Entity, Hcp
from icure_sync.model.schema import CLASSIC, SEALED_1
from icure_sync.store import Store

E = TypeVar("E", bound=Entity)

_INDEXED_WITH = "indexed-with"  # the setting that says what was known when the search index was begun


class Keyed:
    """The records of one Hcp in one store."""

    def __init__(
        self,
        store: Store,
        identity: Identity,
        *,
        suites: Sequence[str],
        device: str,
        entropy: Entropy,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self.identity = identity
        self.suites = tuple(suites)
        self.recorder = Recorder(store, identity.hcp_id, device, clock)
        self.bell = Bell(store, clock)
        self.parties = Parties(store, identity, entropy, self.recorder, self.bell)
        self._classic_parties = ClassicParties(store, identity, entropy, self.recorder)
        writers = Writers(identity.hcp_id, device, entropy, clock)
        self.hcps = Hcps(identity.hcp_id, self.parties, self._classic_parties, writers, self.suites)
        sealed = SealedSuite(self.parties, writers, entropy)
        classic = ClassicSuite(identity.hcp_id, self._classic_parties, writers, entropy, clock)
        chosen = _chosen({SEALED_1: sealed, CLASSIC: classic}, self.suites)
        verdicts = Verdicts(store, self.parties.keyring, self.parties.signer, self.bell)
        self._verdicts = verdicts
        self.opener = Opener(store, chosen, verdicts)
        self.records = Records(store, self.opener, verdicts, chosen[0], self.recorder)
        hidden = Hidden(store, opener=self.opener, verdicts=verdicts, sealed=sealed)
        self.review = Review(
            store,
            identity.hcp_id,
            hcps=self.hcps,
            opener=self.opener,
            hidden=hidden,
            records=self.records,
            sealed=sealed,
        )
        self._reconciler = Reconciler(
            store,
            identity.hcp_id,
            opener=self.opener,
            hidden=hidden,
            records=self.records,
            sealed=sealed,
            bell=self.bell,
            clock=clock,
        )
        self.withdrawing = Withdrawing(
            store, identity.hcp_id, verdicts=verdicts, recorder=self.recorder, bell=self.bell
        )
        self.deletions = Deletions(
            store,
            self.parties,
            opener=self.opener,
            verdicts=verdicts,
            classic=classic if CLASSIC in self.suites else None,
            recorder=self.recorder,
            bell=self.bell,
            clock=clock,
        )
        self.attachments = Attachments(
            store,
            self.records,
            self.opener,
            sealed=sealed,
            classic=classic,
            identity=identity,
            entropy=entropy,
            recorder=self.recorder,
        )
        self.published = Published(store, identity, self.parties.signer, self.bell, entropy=entropy, now=clock)
        self.evidence = Evidence(store, self.published, self.parties.keyring, self.bell, self.recorder)
        self.lookout = Lookout(store, self.bell, clock)
        self.device_heads: DeviceHeads | None = None  # other software's databases have no place for them
        if SEALED_1 in self.suites and not self.parties.is_weak:
            self.device_heads = DeviceHeads(
                store, identity, device, parties=self.parties, bell=self.bell, entropy=entropy, clock=clock
            )
        self.handovers: Handovers | None = None
        self._ending: Ending | None = None
        if self.device_heads is not None:
            self.handovers = Handovers(store, identity, self.device_heads, self.bell)
            self._ending = Ending(store, self.opener, self.parties, self.handovers)
            self._ending.hear()
        if SEALED_1 in self.suites:
            self.vouch()
            self.parties.found()
        for _ in self._ending.steps() if self._ending else ():
            pass
        if self.device_heads is not None:
            self.device_heads.take_pins()
        self.match_alarms()
        self._index_anew_if_learnt()

    def save(self, entity: E, parent: Entity | None) -> E:
        """Create or edit. Returns it as it is stored now."""
        if not isinstance(entity, Entity):
            raise InvalidEntity(
                "save a record", f"{type(entity).__name__} is no entity", "save a Patient, a Contact, …"
            )
        if parent is not None and (entity.id or isinstance(entity, Hcp)):
            raise InvalidEntity(f"save {entity.TYPE} {entity.id}", "it cannot be filed", "save it without a parent")
        if isinstance(entity, Hcp):
            saved: Entity = self.hcps.save(entity)
        else:
            saved = self.records.edit(entity) if entity.id else self.records.create(entity, parent)
        return _same(entity, saved)

    def get(self, cls: type[E], doc_id: DocId) -> E:
        """One record, or the Hcp of that id."""
        if issubclass(cls, Hcp):
            hcp = self.hcps.get(HcpId(doc_id))
            assert isinstance(hcp, cls)
            return hcp
        return self.records.get(cls, doc_id)

    def all_hcps(self, cls: type[E]) -> list[E]:
        """The Hcps that are known here, as `cls`, which is Hcp or a kind of it."""
        return [hcp for hcp in self.hcps.all() if isinstance(hcp, cls)]

    def delete(self, entity: E) -> E:
        """Hide a record."""
        return _same(entity, self.records.delete(entity))

    def restore(self, entity: E) -> E:
        """Show it again."""
        return _same(entity, self.records.restore(entity))

    def learn(self, accepted: int = 0) -> Iterator[Reconciled]:
        """Take in what a pull brought, step by step: Hcp documents, and with them keys; then what was set aside, and
        what was written concurrently. `accepted`: so many deletions are right, a person says."""
        if self._ending is not None:
            self._ending.hear()
        if SEALED_1 in self.suites:
            self.vouch()
            self.parties.refresh()
            self.parties.reconcile()
        for _ in self._ending.steps() if self._ending else ():
            yield Reconciled()
        if self.device_heads is not None:
            self.device_heads.take_in()
            self.device_heads.take_pins()
        self._classic_parties.reconcile()
        for _ in self.deletions.settle(accepted):
            yield Reconciled()
        self.match_alarms()
        if self.handovers is None or not self.handovers.is_any:  # else it is the new identity that withdraws
            self.published.mend(RECOVERY_TYPE, GLASS_TYPE, HANDOVER_TYPE)
        self.evidence.take_in()
        learnt = self._index_anew_if_learnt()
        self.withdrawing.look(learnt=learnt)
        yield from self._reconciler.steps(learnt=learnt)

    def vouch(self) -> None:
        """Take emergency Hcps for who the own Hcp signed that they are, before any document of theirs is looked at."""
        self.parties.vouch({glass.hcp: glass.signing_key for glass in self.evidence.glasses(withdrawn=False)})

    def match_alarms(self) -> None:
        """Have the alarms of how things are agree with how they are."""
        self.bell.match(AlarmKind.UNTRUSTED_KEY, self.parties.troubles)

    def look(self) -> bool:
        """Look at a page of what nobody has opened yet. False: there is no more."""
        self.match_alarms()
        return self.records.index_page()

    def linked(self, cls: type[E], parent: Entity) -> list[E]:
        """Records filed under this one, as far as they can be opened and their link is proven."""
        children = self._children(self.opener.open(DocId(parent.id)))
        return [each.entity for each in children if not each.content.deleted and isinstance(each.entity, cls)]

    def files(self, document: Document) -> list[Attachment]:
        """The files of a Document."""
        if self.opener.open(DocId(document.id)).suite.is_authenticated:
            return self.linked(Attachment, document)
        return self.attachments.of_classic(document)

    def parent(self, cls: type[E], entity: Entity) -> E:
        """The record of this type that the entity is filed under. Raises NotFound, NoAccess."""
        opened = self.opener.open(DocId(entity.id))
        hidden = opened.suite.foreign_keys(opened.stored)
        for parent_id in sorted(hidden.intersection(opened.content.parents.values())):
            parent = self.opener.open(parent_id).entity
            if isinstance(parent, cls) and not parent.deleted:
                return parent
        raise NotFound(f"find the {cls.__name__} of {entity.TYPE} {entity.id}", "it names none", "file it under one")

    def share(self, entity: E, delegate: HcpId) -> E:
        """The entity, which `delegate` can open from now on."""
        return _same(entity, self.records.share(self._opened_for("share", entity, delegate), delegate))

    def share_all(self, entity: E, delegate: HcpId) -> E:
        """As `share`, with everything that is filed under it, directly or not, and can be opened here.

        What cannot be shared does not stop the rest. Raises NoAccess at the end, naming it.
        """
        opened = self._opened_for("share", entity, delegate)
        attempted = f"share everything under {entity.id} with {delegate}"
        shared = self._with_linked(opened, lambda each: self.records.share(each, delegate), attempted, "shared")
        return _same(entity, shared)

    def revoke(self, entity: E, delegate: HcpId) -> E:
        """The entity; what is written from now on `delegate` cannot open."""
        return _same(entity, self.records.revoke(self._opened_for("revoke", entity, delegate), delegate))

    def revoke_all(self, entity: E, delegate: HcpId) -> E:
        """As `revoke`, with everything that `delegate` can open of what is filed under it. Raises as `share_all`."""

        def revoke(opened: Opened) -> Entity:
            is_in = delegate in opened.content.shared_with
            return self.records.revoke(opened, delegate) if is_in else opened.entity

        opened = self._opened_for("revoke", entity, delegate)
        attempted = f"revoke everything under {entity.id} from {delegate}"
        return _same(entity, self._with_linked(opened, revoke, attempted, "revoked"))

    def access_of(self, doc_id: DocId) -> AccessList:
        """Who has access to a record, and why."""
        opened = self.opener.open(doc_id)
        found = stated(self._store, self._verdicts, doc_id) if opened.suite.is_authenticated else None
        return access_list(found) if found else unsigned_list(opened)

    def _with_linked(self, top: Opened, write: Callable[[Opened], Entity], attempted: str, done: str) -> Entity:
        """Write the record, then what is filed under it. Raises NoAccess at the end for what cannot be written."""
        failed: list[str] = []
        # Each is durable by itself: a key that was made on the way must not be known here and rolled back.
        written = write(top)
        for child in self.family(top):
            try:
                write(child)
            except UNREADABLE as error:
                failed.append(f"{child.stored.id}: {error.wrong}")
        if failed:
            wrong = f"{len(failed)} records could not be {done}, the others were"
            raise NoAccess(attempted, wrong, "ask those who can", tuple(failed))
        return written

    def _opened_for(self, what: str, entity: Entity, delegate: HcpId) -> Opened:
        if not is_hcp_id(delegate):
            raise InvalidEntity(f"{what} {entity.id}", "that is no Hcp id", "use letters, digits, - and _")
        if not entity.id:
            raise InvalidEntity(f"{what} a {entity.TYPE}", "it is not saved yet", "save it first")
        opened = self.opener.open(DocId(entity.id))
        if opened.content.type != entity.TYPE:
            raise not_found(type(entity), DocId(entity.id))
        return opened

    def family(self, top: Opened) -> list[Opened]:
        """What is filed under a record, directly or not, and can be opened here."""
        found: dict[DocId, Opened] = {}
        waiting = [top]
        while waiting:
            for child in self._children(waiting.pop()):
                if child.stored.id not in found and child.stored.id != top.stored.id:
                    found[child.stored.id] = child
                    waiting.append(child)
        return list(found.values())

    def _children(self, parent: Opened) -> Iterator[Opened]:
        for child in self.records.linked(parent.suite.secret_ids(parent.stored)):
            try:
                filed = _is_filed_under(child, parent)
            except UNREADABLE as error:
                self.opener.unreadable[child.stored.id] = error.wrong
                continue
            if filed:
                yield child

    def _index_anew_if_learnt(self) -> bool:
        """With more keys, Hcps or suites than index and review were begun with, more can be opened: begin both anew."""
        known = [*self.suites, *self.parties.known(), *self._classic_parties.known()]
        if self._store.read_only or self._store.settings.get(_INDEXED_WITH) == known:
            return False
        with self._store.transaction():
            self._store.search.restart()
            self._store.reviews.restart()
            self._store.settings.put(_INDEXED_WITH, known)
        return True


def _is_filed_under(child: Opened, parent: Opened) -> bool:
    """Sealed, everything must state the link; an iCure database asks for the secret id alone, which `child` shows."""
    if not child.suite.is_authenticated:
        return not parent.suite.is_authenticated
    claimed = parent.stored.id in child.content.parents.values()
    return claimed and parent.stored.id in child.suite.foreign_keys(child.stored)


def _same(entity: E, stored: Entity) -> E:
    assert isinstance(stored, type(entity))  # the type was looked at before anything was written
    return stored


def _chosen(known: dict[str, Suite], names: Sequence[str]) -> list[Suite]:
    if not names or not set(names) <= known.keys():
        raise UnsupportedSuite("open a replica", "a suite is not known", f"name {SEALED_1}, {CLASSIC}, or both")
    return [known[name] for name in names]
