"""The records of a replica: entities in, revisions out; lists and search.

Owns what a write extends, and the full-text index. Knows no suite's format and no peers. Synchronous: runs in the
store's thread; each public method that writes is one durable transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from icure_sync.engine.opening import Opened, Opener, entity_of, not_found
from icure_sync.engine.storing import store_written
from icure_sync.engine.suite import Parent, Stored, Suite, Written
from icure_sync.engine.trail import WROTE, Action, Deed, Recorder, filed_under
from icure_sync.engine.verdicts import UNSEEN, Verdicts
from icure_sync.errors import NotFound, StaleRevision
from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.model import Entity, search_text
from icure_sync.replication.wire import Attachment as Stub
from icure_sync.store import Held, Store

E = TypeVar("E", bound=Entity)

PAGE = 256  # records opened at a time: a few milliseconds between two looks of the event loop

SAME_REMEMBERED = 10_000  # so that an entity read before sharing or revoking can be written after it

Cursor = tuple[int, int]  # which of the terms of a type, and after which document


class Records:
    """All reading and writing of records. `first_suite` is the one that new records are written in."""

    def __init__(
        self, store: Store, opener: Opener, verdicts: Verdicts, first_suite: Suite, recorder: Recorder
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._opener = opener
        self._verdicts = verdicts
        self._first_suite = first_suite
        self._same_content: dict[tuple[DocId, str], Rev] = {}  # what was shared or revoked here: the content stayed

    # Reading

    def get(self, cls: type[E], doc_id: DocId) -> E:
        """The record. Raises NotFound, NoAccess, Tampered, UnsupportedSuite."""
        if self._store.documents.tree(doc_id) is None:
            raise not_found(cls, doc_id)
        entity = self._opener.open(doc_id).entity
        if not isinstance(entity, cls):
            raise not_found(cls, doc_id)
        if entity.deleted:
            attempted = f"find {cls.__name__} {doc_id}"
            raise NotFound(attempted, "it is deleted", "its content is kept, and Replica.restore shows it again")
        return entity

    def page(self, cls: type[E], cursor: Cursor, *, deleted: bool) -> tuple[list[E], Cursor | None]:
        """Records of one type from a cursor on (first: (0, 0)), deleted ones or the others; and the next cursor."""
        terms = self._opener.type_terms(cls)
        place, after = cursor
        if place >= len(terms):
            return [], None
        winners = self._store.documents.winners_of_type(terms[place], after, PAGE)
        with self._one_commit(winners):
            shown = (self._opener.try_held(held) for held in winners)  # one at a time: what it was opened from goes
            entities = [each.entity for each in shown if each is not None and each.content.deleted == deleted]
        following = (place, winners[-1].number) if len(winners) == PAGE else (place + 1, 0)
        return [entity for entity in entities if isinstance(entity, cls)], following

    def search(self, cls: type[E], text: str, limit: int) -> list[E]:
        """Records whose searchable text holds these words, the best first. Brings the index up to date first."""
        self.index()
        found = (self._opener.try_open(doc_id) for doc_id in self._store.search.find(text, _indexed_type(cls), limit))
        entities = (opened.entity for opened in found if opened is not None and not opened.content.deleted)
        return [entity for entity in entities if isinstance(entity, cls)]

    def linked(self, secret_ids: Sequence[str]) -> Iterator[Opened]:
        """Records, deleted ones too, that show one of these secret ids and can be opened."""
        ids = (doc_id for secret_id in secret_ids for doc_id in self._store.documents.ids_linked_by(secret_id))
        for doc_id in dict.fromkeys(ids):
            opened = self._opener.try_open(doc_id)
            if opened is not None:
                yield opened

    def opened(self, entity: Entity) -> Opened:
        """What stands for this entity now. Raises NotFound, NoAccess, Tampered."""
        doc_id = DocId(entity.id)
        if self._store.documents.tree(doc_id) is None:
            raise not_found(type(entity), doc_id)
        opened = self._opener.open(doc_id)
        if opened.content.type != entity.TYPE:
            raise not_found(type(entity), doc_id)
        return opened

    def shown(self, entity: Entity) -> Opened:
        """What this entity was opened from, or what sharing made of that. Raises NotFound, StaleRevision."""
        opened = self.opened(entity)
        doc_id = opened.stored.id
        rev = self._same_content.get((doc_id, entity.rev), entity.rev)
        while (doc_id, rev) in self._same_content:
            rev = self._same_content[doc_id, rev]
        return opened if opened.stored.rev == rev else self._leaf(entity)

    # Writing

    def create(self, entity: Entity, parent: Entity | None) -> Entity:
        """A new record, filed under `parent` if one is given, and then in that one's suite.

        Filing writes nothing to the parent, so it may have changed since it was read.
        """
        if parent is None:
            return self.keep(self._first_suite.create(entity, []), self._first_suite)
        above = self.opened(parent)
        link = Parent(above.stored.id, above.content.type, above.suite.secret_ids(above.stored)[0])
        return self.keep(above.suite.create(entity, [link]), above.suite)

    def edit(self, entity: Entity) -> Entity:
        """The record that this entity was opened from shows it from now on."""
        opened = self.shown(entity)
        written = opened.suite.edit(opened.stored, entity)
        return self.keep(written, opened.suite) if written else opened.entity

    def share(self, opened: Opened, delegate: HcpId) -> Entity:
        """`delegate` can open the record from now on. Nothing is written if that was so."""
        if delegate in opened.content.shared_with:
            return opened.entity
        written = opened.suite.share(opened.stored, delegate)
        return self._keep_same(opened, written, Deed(Action.SHARED, {"with": delegate}))

    def revoke(self, opened: Opened, delegate: HcpId) -> Entity:
        """`delegate` can open nothing that is written from now on. Raises InvalidEntity, UnsupportedSuite."""
        written = opened.suite.revoke(opened.stored, delegate)
        return self._keep_same(opened, written, Deed(Action.REVOKED, {"from": delegate}))

    def delete(self, entity: Entity) -> Entity:
        """Hide the record; its content stays."""
        opened = self.shown(entity)
        return self.keep(opened.suite.delete(opened.stored), opened.suite, Deed(Action.DELETED))

    def restore(self, entity: Entity) -> Entity:
        """Show a deleted record again."""
        opened = self._opener.open(DocId(entity.id))
        if opened.content.type != entity.TYPE:
            raise not_found(type(entity), DocId(entity.id))
        if not opened.content.deleted:
            return opened.entity
        return self.keep(opened.suite.restore(opened.stored), opened.suite, Deed(Action.RESTORED))

    def keep(
        self, written: Written, suite: Suite, deed: Deed = WROTE, attachments: Mapping[str, Stub] | None = None
    ) -> Entity:
        """Store a revision that was written here, durably, with its text in the index and its row in the trail."""
        with self._store.transaction():
            store_written(self._store, written, attachments)
            self._verdicts.accept(written.id, written.rev, written.document)
            for other in written.beside:
                self._verdicts.accept_end(other.id, other.rev, other.document)
            stored = Stored(written.id, written.rev, written.document)
            entity = entity_of(stored, suite.open(stored))
            self._store.search.index(written.id, entity.TYPE, "" if entity.deleted else search_text(entity))
            detail = {"rev": written.rev, **deed.detail}
            self._recorder.did(deed.action, written.id, entity.TYPE, detail, filed_under(entity))
        return entity

    def end(self, tombstone: Written) -> None:
        """Store the end of a leaf that another one covers."""
        with self._store.transaction():
            store_written(self._store, tombstone)
            self._verdicts.accept_end(tombstone.id, tombstone.rev, tombstone.document)

    def _keep_same(self, opened: Opened, written: Written, deed: Deed) -> Entity:
        """As `keep`, of a revision that shows what the one before it did, but for who may read it."""
        kept = self.keep(written, opened.suite, deed)
        self._same_content[opened.stored.id, opened.stored.rev] = Rev(kept.rev)
        while len(self._same_content) > SAME_REMEMBERED:
            del self._same_content[next(iter(self._same_content))]
        return kept

    def index(self) -> None:
        """Bring the full-text index up to date with what sync brought, if the file can be written."""
        while self.index_page():
            pass

    def index_page(self) -> bool:
        """Some of it; False if there was none left. Each record is opened, and so verified."""
        pending = () if self._store.read_only else self._store.search.pending(PAGE)
        if pending:
            with self._store.transaction():
                for doc_id in pending:
                    self._index(doc_id)
        return bool(pending)

    def _index(self, doc_id: DocId) -> None:
        opened = self._opener.try_open(doc_id) if self._opener.is_record(doc_id) else None
        if opened is None or opened.content.deleted:
            self._store.search.remove(doc_id)
        else:
            self._store.search.index(doc_id, opened.entity.TYPE, search_text(opened.entity))

    def _leaf(self, entity: Entity) -> Opened:
        """What the entity was opened from, if that is no longer all that is shown but still stands."""
        opened = self._opener.reopen(DocId(entity.id), Rev(entity.rev))
        if opened is None:
            raise StaleRevision(
                f"write {entity.TYPE} {entity.id}", f"{entity.rev} has been replaced since it was read", "read it again"
            )
        return opened

    def _one_commit(self, winners: Sequence[Held]) -> AbstractContextManager[None]:
        """The outcomes of verifying many become durable at once; a read that verifies nothing writes nothing."""
        unseen = any(held.state == UNSEEN for held in winners) and not self._store.read_only
        return self._store.transaction() if unseen else nullcontext()


def _indexed_type(cls: type[Entity]) -> str | None:
    """The type to search among; None for a class that stands for several, such as Entity."""
    return getattr(cls, "TYPE", None)
