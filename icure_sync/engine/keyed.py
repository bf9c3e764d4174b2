"""What an unlocked identity adds to a store: the operations of a replica that open and write records.

Owns what spans several records: filing under a patient, following links, sharing with what is linked. Knows no peers.
Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from icure_sync.crypto.identity import Identity
from icure_sync.crypto.primitives import Entropy
from icure_sync.engine.attachments import Attachments
from icure_sync.engine.classic import ClassicSuite
from icure_sync.engine.classic_parties import ClassicParties
from icure_sync.engine.hcps import Hcps
from icure_sync.engine.parties import Parties
from icure_sync.engine.records import Records, entity_of, not_found
from icure_sync.engine.sealed import SealedSuite
from icure_sync.engine.suite import Content, Stored, Suite
from icure_sync.engine.verdicts import Verdicts
from icure_sync.engine.writers import Writers
from icure_sync.errors import InvalidEntity, NotFound, UnsupportedSuite
from icure_sync.ids import DocId, HcpId, is_hcp_id
from icure_sync.model import Attachment, Document, Entity, Hcp
from icure_sync.model.schema import CLASSIC, SEALED_1
from icure_sync.store import Store

E = TypeVar("E", bound=Entity)


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
        self.parties = Parties(store, identity, entropy)
        classic_parties = ClassicParties(store, identity, entropy)
        writers = Writers(identity.hcp_id, device, entropy, clock)
        self.hcps = Hcps(identity.hcp_id, self.parties, classic_parties, writers, self.suites)
        sealed = SealedSuite(self.parties, writers, entropy)
        classic = ClassicSuite(identity.hcp_id, classic_parties, entropy, clock)
        known: dict[str, Suite] = {SEALED_1: sealed, CLASSIC: classic}
        self.records = Records(
            store,
            [_known_suite(known, name) for name in self.suites],
            Verdicts(store, self.parties.keyring, self.parties.signing_key),
        )
        self.attachments = Attachments(store, self.records, sealed, classic, identity=identity, entropy=entropy)
        if SEALED_1 in self.suites:
            self.parties.found()

    def save(self, entity: E, parent: Entity | None) -> E:
        """Create or edit. Returns it as it is stored now."""
        if isinstance(entity, Hcp):
            saved: Entity = self.hcps.save(entity)
        elif entity.id:
            if parent is not None:
                raise InvalidEntity(
                    f"save {entity.TYPE} {entity.id}", "it is filed already", "save it without a parent"
                )
            saved = self.records.edit(entity)
        else:
            saved = self.records.create(entity, self.records.stored(parent) if parent else None)
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
        return _same(entity, self.records.restore(DocId(entity.id)))

    def learn(self) -> None:
        """Take in what a pull brought: Hcp documents, and with them keys."""
        if SEALED_1 in self.suites and self.parties.refresh():
            self._store.search.restart()

    def linked(self, cls: type[E], parent: Entity) -> list[E]:
        """Records filed under this one: the sealed link, the clear one and the hidden foreign key all say so."""
        stored, _ = self.records.open(DocId(parent.id))
        return [
            entity
            for child, content in self._children(stored)
            if not content.deleted and isinstance(entity := entity_of(child, content), cls)
        ]

    def files(self, document: Document) -> list[Attachment]:
        """The files of a Document."""
        stored, _ = self.records.open(DocId(document.id))
        if self.records.suite_of(stored).name == CLASSIC:
            return self.attachments.of_classic(document)
        return self.linked(Attachment, document)

    def parent(self, cls: type[E], entity: Entity) -> E:
        """The record of this type that the entity is filed under. Raises NotFound, NoAccess."""
        stored, content = self.records.open(DocId(entity.id))
        hidden = self.records.suite_of(stored).foreign_keys(stored)
        for parent_id in sorted(hidden.intersection(content.parents.values())):
            parent = self.records.any(parent_id)
            if isinstance(parent, cls):
                return parent
        raise NotFound(f"find the {cls.__name__} of {entity.TYPE} {entity.id}", "it names none", "file it under one")

    def share(self, entity: E, delegate: HcpId) -> E:
        """The entity, which `delegate` can open from now on."""
        if not is_hcp_id(delegate):
            raise InvalidEntity(
                f"share {entity.id}", "that is no Hcp id", "give the id of an Hcp, as `hcp list` shows it"
            )
        if not entity.id:
            raise InvalidEntity(f"share a {entity.TYPE}", "it is not saved yet", "save it first")
        return _same(entity, self.records.share(DocId(entity.id), delegate))

    def family(self, entity: Entity) -> list[Entity]:
        """Everything that is filed under this record, directly or not, as far as it can be opened."""
        found: dict[DocId, Entity] = {}
        waiting = [self.records.open(DocId(entity.id))[0]]
        while waiting:
            for child, content in self._children(waiting.pop()):
                if child.id not in found and child.id != entity.id:
                    found[child.id] = entity_of(child, content)
                    waiting.append(child)
        return list(found.values())

    def _children(self, stored: Stored) -> Iterator[tuple[Stored, Content]]:
        secret_ids = self.records.suite_of(stored).secret_ids(stored)
        for child, content in self.records.linked(secret_ids):
            suite = self.records.suite_of(child)
            claimed = stored.id in content.parents.values()
            if not suite.links_are_proven or (claimed and stored.id in suite.foreign_keys(child)):
                yield child, content


def _same(entity: E, stored: Entity) -> E:
    """What was stored, of the type it was given as: a record never changes its type."""
    if not isinstance(stored, type(entity)):
        raise not_found(type(entity), DocId(entity.id))
    return stored


def _known_suite(known: dict[str, Suite], name: str) -> Suite:
    if name not in known:
        raise UnsupportedSuite("open a replica", "a suite is not known", f"name {SEALED_1} or {CLASSIC}")
    return known[name]
