"""The records of a replica: entities in, revisions out. Joins suites, verdicts and the store.

Owns what may be shown and what a write extends. Knows no suite's format and no peers. Synchronous: runs in the store's
thread; each public method that writes is one durable transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, TypeVar

import msgspec

from icure_sync import strict_json
from icure_sync.engine.suite import Content, Parent, Stored, Suite, Written
from icure_sync.engine.verdicts import UNSEEN, Verdicts
from icure_sync.errors import CryptoError, InvalidEntity, NotFound, StaleRevision, UnsupportedSuite
from icure_sync.ids import DocId, HcpId
from icure_sync.model import ENTITY_CLASSES, Entity, entity_class, from_record, search_text
from icure_sync.model.schema import CLASSIC, SEALED_1, java_type
from icure_sync.replication.wire import Attachment as Stub
from icure_sync.store import Store
from icure_sync.store.rows import Held

E = TypeVar("E", bound=Entity)

PAGE = 256  # records opened at a time: a few milliseconds between two looks of the event loop

UNREADABLE = (CryptoError, NotFound, InvalidEntity)  # why one record of many may be passed over, and listed

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Records:
    """All reading and writing of records. `unreadable`: records that were passed over, and why."""

    def __init__(self, store: Store, suites: Sequence[Suite], verdicts: Verdicts) -> None:
        """`suites`: those that the replica was opened for; the first is the one written."""
        self._store = store
        self._suites = {suite.name: suite for suite in suites}
        self._written = suites[0]
        self._verdicts = verdicts
        self._record_types = {
            term for cls in ENTITY_CLASSES if not cls.CLEAR_DOCUMENT for term in self._type_terms(cls)
        }
        self.unreadable: dict[str, str] = {}

    # Reading

    def get(self, cls: type[E], doc_id: DocId) -> E:
        """The record. Raises NotFound, NoAccess, Tampered, UnsupportedSuite."""
        entity = self.any(doc_id)
        if not isinstance(entity, cls) or entity.deleted:
            raise not_found(cls, doc_id)
        return entity

    def any(self, doc_id: DocId) -> Entity:
        """The record of whatever type, deleted or not."""
        stored, content = self.open(doc_id)
        return entity_of(stored, content)

    def open(self, doc_id: DocId) -> tuple[Stored, Content]:
        """The revision that stands for the record: the first of its leaves, in CouchDB's order, that may be shown."""
        leaves = [held for held in self._store.documents.held_leaves(doc_id) if not held.revision.deleted]
        for held in leaves[:-1]:
            with suppress(*UNREADABLE):
                return self._open(held)
        if not leaves:
            raise not_found(Entity, doc_id)
        return self._open(leaves[-1])

    def page(self, cls: type[E], after: int) -> tuple[list[E], int | None]:
        """Records of one type that are not deleted, from the one after `after` on, and where the next page starts."""
        found: list[E] = []
        last: int | None = None
        for term in self._type_terms(cls):
            winners = self._store.documents.winners_of_type(term, after, PAGE)
            last = max([last or 0, *(held.number for held in winners)]) or None
            with self._one_commit(winners):
                found += (entity for held in winners if isinstance(entity := self._shown(held), cls))
        return found, last

    def search(self, cls: type[E], text: str, limit: int) -> list[E]:
        """Records whose searchable text holds these words, the best first. Brings the index up to date first."""
        self.index()
        return [
            entity
            for doc_id in self._store.search.find(text, cls.TYPE, limit)
            if isinstance(entity := self._shown_by_id(doc_id), cls)
        ]

    def search_all(self, text: str, limit: int) -> list[Entity]:
        """As `search`, of every type."""
        self.index()
        found = (self._shown_by_id(doc_id) for doc_id in self._store.search.find(text, None, limit))
        return [entity for entity in found if entity is not None]

    def linked(self, secret_ids: Sequence[str]) -> Iterator[tuple[Stored, Content]]:
        """Records, deleted ones too, that show one of these secret ids and can be opened."""
        seen: set[DocId] = set()
        for secret_id in secret_ids:
            for doc_id in self._store.documents.ids_linked_by(secret_id):
                if doc_id not in seen:
                    seen.add(doc_id)
                    opened = self._try_open(doc_id)
                    if opened is not None:
                        yield opened

    def stored(self, entity: Entity) -> Stored:
        """The leaf that this entity was opened from. Raises NotFound, StaleRevision."""
        for held in self._store.documents.held_leaves(DocId(entity.id)):
            if held.revision.rev == entity.rev and not held.revision.deleted:
                self._verify(held)
                return _stored(held)
        if self._store.documents.tree(DocId(entity.id)) is None:
            raise not_found(type(entity), DocId(entity.id))
        raise StaleRevision(
            f"write {entity.TYPE} {entity.id}", f"{entity.rev} has been replaced since it was read", "read it again"
        )

    def suite_of(self, stored: Stored) -> Suite:
        """The suite that the document names. Raises UnsupportedSuite unless the replica was opened for it."""
        name = stored.document.get("cryptoSuite", CLASSIC)
        suite = self._suites.get(name) if isinstance(name, str) else None
        if suite is None:
            raise UnsupportedSuite(
                f"open document {stored.id}",
                "its suite is not one that this replica was opened for",
                f"open the replica with that suite beside {', '.join(self._suites)}, if you trust the server with it",
            )
        return suite

    # Writing

    def create(self, entity: Entity, parent: Stored | None) -> Entity:
        """A new record, filed under `parent` if one is given."""
        parents = [] if parent is None else [self._parent(parent)]
        return self.keep(self._written.create(entity, parents))

    def edit(self, entity: Entity) -> Entity:
        """The record that this entity was opened from shows it from now on."""
        stored = self.stored(entity)
        written = self.suite_of(stored).edit(stored, entity)
        return self.keep(written) if written else self.any(stored.id)

    def share(self, doc_id: DocId, delegate: HcpId) -> Entity:
        """`delegate` can open the record from now on. Nothing is written if that was so."""
        stored, content = self.open(doc_id)
        if delegate in content.shared_with:
            return entity_of(stored, content)
        return self.keep(self.suite_of(stored).share(stored, delegate))

    def delete(self, entity: Entity) -> Entity:
        """Hide the record; its content stays."""
        stored = self.stored(entity)
        return self.keep(self.suite_of(stored).delete(stored))

    def restore(self, doc_id: DocId) -> Entity:
        """Show a deleted record again."""
        stored, content = self.open(doc_id)
        return self.keep(self.suite_of(stored).restore(stored)) if content.deleted else entity_of(stored, content)

    def keep(self, written: Written, attachments: Mapping[str, Stub] | None = None) -> Entity:
        """Store a revision that was written here, durably, with its text in the index.

        `attachments`: of a first revision; later ones have those of the revision that they extend.
        """
        stored = Stored(written.id, written.rev, written.document)
        with self._store.transaction():
            stubs = attachments or self._attachments(written)
            body = strict_json.dumps(written.document)
            self._store.documents.write(written.id, written.rev, body, written.parent, attachments=stubs)
            self._verdicts.accept(written.id, written.rev)
            entity = entity_of(stored, self.suite_of(stored).open(stored))
            self._store.search.index(written.id, entity.TYPE, "" if entity.deleted else search_text(entity))
        return entity

    def _attachments(self, written: Written) -> Mapping[str, Stub]:
        above = self._store.documents.get(written.id, written.parent) if written.parent else None
        return above.attachments if above else {}

    def index(self) -> None:
        """Bring the full-text index up to date with what sync brought, if the file can be written."""
        while not self._store.read_only and (pending := self._store.search.pending(PAGE)):
            with self._store.transaction():
                for doc_id in pending:
                    opened = self._try_open(doc_id) if self._is_record(doc_id) else None
                    entity = entity_of(*opened) if opened else None
                    if entity is None or entity.deleted:
                        self._store.search.remove(doc_id)
                    else:
                        self._store.search.index(doc_id, entity.TYPE, search_text(entity))

    def _is_record(self, doc_id: DocId) -> bool:
        """Not an Hcp document, a design document, or whatever else a database holds."""
        held = self._store.documents.winners([doc_id])
        document = _stored(held[0]).document if held else {}
        return document.get("type", document.get("java_type")) in self._record_types

    def _open(self, held: Held) -> tuple[Stored, Content]:
        stored = _stored(held)
        suite = self.suite_of(stored)
        self._verify(held)
        return stored, suite.open(stored)

    def _verify(self, held: Held) -> None:
        if b'"cryptoSuite"' in held.revision.body:
            self._verdicts.require(held)

    def _try_open(self, doc_id: DocId) -> tuple[Stored, Content] | None:
        try:
            opened = self.open(doc_id)
        except UNREADABLE as error:
            self.unreadable[doc_id] = error.wrong
            return None
        self.unreadable.pop(doc_id, None)
        return opened

    def _one_commit(self, winners: Sequence[Held]) -> AbstractContextManager[None]:
        """The outcomes of verifying many become durable at once; a read that verifies nothing writes nothing."""
        return self._store.transaction() if any(held.state == UNSEEN for held in winners) else nullcontext()

    def _shown(self, held: Held) -> Entity | None:
        """The entity of a winner, the fast way; by all leaves if the winner cannot be shown. None: passed over."""
        try:
            entity = entity_of(*self._open(held))
        except UNREADABLE:
            return self._shown_by_id(held.revision.id)
        return None if entity.deleted else entity

    def _shown_by_id(self, doc_id: DocId) -> Entity | None:
        opened = self._try_open(doc_id)
        return None if opened is None or opened[1].deleted else entity_of(*opened)

    def _parent(self, parent: Stored) -> Parent:
        suite = self.suite_of(parent)
        return Parent(parent.id, suite.open(parent).type, suite.secret_ids(parent)[0])

    def _type_terms(self, cls: type[Entity]) -> list[str]:
        terms = [cls.TYPE] if SEALED_1 in self._suites else []
        return [*terms, java_type(cls.TYPE)] if CLASSIC in self._suites and cls.CLASSIC_TYPE else terms


def entity_of(stored: Stored, content: Content) -> Entity:
    """What a revision shows, as an entity."""
    return from_record(
        entity_class(content.type),
        content.record,
        id=stored.id,
        rev=stored.rev,
        siblings=content.siblings,
        shared_with=content.shared_with,
        deleted=content.deleted,
        authenticated=content.authenticated,
        parent_ids=tuple(sorted(set(content.parents.values()))),
    )


def not_found(cls: type[Entity], doc_id: DocId) -> NotFound:
    """There is no such record here, or it is deleted."""
    return NotFound(f"find {cls.__name__} {doc_id}", "it is not in this replica", "check the id, or sync first")


def _stored(held: Held) -> Stored:
    revision = held.revision
    try:
        return Stored(revision.id, revision.rev, _decode(revision.body))
    except msgspec.DecodeError as error:
        raise InvalidEntity(f"open document {revision.id}", "it is not a JSON object", "sync again") from error
