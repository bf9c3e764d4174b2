"""What stands for a record, and what it shows. Joins suites and verdicts; owns no writing.

The leaves that verify and open are shown, several of them as what they come to, whether their merge is written or not.
CouchDB's `_deleted` is covered by no signature, so it hides no sealed record on its word alone: deletion is a field.
What was displaced stays shown if nothing that displaced it can be. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from icure_sync.crypto.access import Statement, Subject
from icure_sync.engine.suite import Content, Stored, Suite
from icure_sync.engine.verdicts import REFUSED, VERIFIED, Verdicts
from icure_sync.errors import CryptoError, InvalidEntity, NotFound, Tampered, UnsupportedSuite, WriterOut
from icure_sync.ids import DocId, Rev
from icure_sync.model import ENTITY_CLASSES, Entity, entity_class, from_record
from icure_sync.model.schema import CLASSIC, SEALED_1, java_type
from icure_sync.replication.wire import Attachment
from icure_sync.store import Held, Store

UNREADABLE = (CryptoError, NotFound, InvalidEntity)  # why one record of many may be passed over, and listed
JOINS_REMEMBERED = 10_000  # so that what was shown of several leaves can be written over after more have come

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """A revision that may be shown, or the merge of several. `files`: its CouchDB attachments."""

    stored: Stored
    suite: Suite
    content: Content
    entity: Entity
    files: Mapping[str, Attachment]

    def joins(self, other: Opened) -> bool:
        """Whether one revision can stand for both. In a suite that does not state its files, a merge would lose those
        that it does not extend."""
        if self.suite is not other.suite:
            return False
        return self.suite.is_authenticated or _digests(self.files) == _digests(other.files)


@dataclass(frozen=True, slots=True, repr=False)
class Leaves:
    """The live leaves of a record. `opened`: those that may be shown, the winner first; `others`: why not. `known`:
    proven statements of access in those whose only fault is that who wrote them is out."""

    opened: tuple[Opened, ...]
    others: Mapping[Rev, Exception]
    known: tuple[Statement, ...] = ()

    @property
    def alike(self) -> list[Stored]:
        """The opened ones for which one revision can stand."""
        return [leaf.stored for leaf in self.opened if leaf.joins(self.opened[0])]


class Opener:
    """Opens records. `unreadable`: those that were passed over, and why, by id."""

    def __init__(self, store: Store, suites: Iterable[Suite], verdicts: Verdicts) -> None:
        self._store = store
        self._suites = {suite.name: suite for suite in suites}
        self._verdicts = verdicts
        self._record_types = {term for cls in ENTITY_CLASSES if not cls.CLEAR_DOCUMENT for term in self.type_terms(cls)}
        self._joined: dict[tuple[DocId, Rev], tuple[Rev, ...]] = {}
        self.unreadable: dict[str, str] = {}

    def open(self, doc_id: DocId) -> Opened:
        """What stands for the record. Raises NotFound, NoAccess, Tampered, UnsupportedSuite, InvalidEntity."""
        leaves = self.leaves(doc_id)
        first = next(iter(leaves.others.values()), None)
        try:
            if leaves.opened:
                return self.join(leaves)
        except UNREADABLE as error:
            first = error
        for held in self._hidden(doc_id):
            try:
                return self.open_held(held)
            except UNREADABLE as error:
                first = first or error
        if first is None and self._store.withdrawals.has_gone(doc_id):
            raise NotFound(
                f"find record {doc_id}",
                "your access to it was ended, and it is no longer in this replica",
                "ask whoever put you out to share it again",
            )
        raise first or not_found(Entity, doc_id)

    def leaves(self, doc_id: DocId) -> Leaves:
        """Each live leaf by itself."""
        opened: list[Opened] = []
        others: dict[Rev, Exception] = {}
        known: list[Statement] = []
        for held in self._store.documents.held_leaves(doc_id):
            if not held.revision.deleted:
                try:
                    opened.append(self.open_held(held))
                except UNREADABLE as error:
                    others[held.revision.rev] = error
                    if isinstance(error, WriterOut):
                        known += self._stated(held)
        return Leaves(tuple(opened), others, tuple(known))

    def join(self, leaves: Leaves) -> Opened:
        """What the opened leaves of one record come to; those that do not join the first take no part. There is one."""
        first = leaves.opened[0]
        suite = first.suite
        alike = leaves.alike
        if len(alike) == 1 and not leaves.known:
            return first
        shown = suite.join(alike, leaves.known).shown
        if [shown.rev] == [leaf.rev for leaf in alike]:
            return first
        self._joined[shown.id, shown.rev] = shown.leaves
        while len(self._joined) > JOINS_REMEMBERED:
            del self._joined[next(iter(self._joined))]
        content = suite.open(shown)
        return Opened(shown, suite, content, entity_of(shown, content), first.files)

    def reopen(self, doc_id: DocId, rev: Rev) -> Opened | None:
        """What was shown under this revision id, as far as it still stands: a live leaf, or the merge of some."""
        leaves = self._joined.get((doc_id, rev), (rev,))
        held = {each.revision.rev: each for each in self._store.documents.held_leaves(doc_id)}
        if any(leaf not in held or held[leaf].revision.deleted for leaf in leaves):
            return None
        opened = tuple(self.open_held(held[leaf]) for leaf in leaves)
        return self.join(Leaves(opened, {}, self.leaves(doc_id).known))

    def read(self, held: Held) -> Stored:
        """Its members, neither verified nor opened. Raises InvalidEntity."""
        return _stored(held)

    def open_held(self, held: Held) -> Opened:
        """What one revision shows, once it verifies. Raises as `open`."""
        stored = _stored(held)
        suite = self._suite_of(stored)
        if suite.is_authenticated:
            self._verdicts.require(held)
        elif held.revision.deleted:
            raise not_found(Entity, stored.id)
        else:
            self._refuse_downgrade(stored)
        content = suite.open(stored)
        return Opened(stored, suite, content, entity_of(stored, content), held.revision.attachments)

    def try_open(self, doc_id: DocId) -> Opened | None:
        """As `open`; None if it is to be passed over, which is noted."""
        try:
            opened = self.open(doc_id)
        except UNREADABLE as error:
            self.unreadable[doc_id] = error.wrong
            return None
        self.unreadable.pop(doc_id, None)
        return opened

    def try_held(self, held: Held) -> Opened | None:
        """As `try_open`, for a winner that is at hand: the fast way if it stands alone and can be shown."""
        if held.live > 1:
            return self.try_open(held.revision.id)
        try:
            opened = self.open_held(held)
        except UNREADABLE:
            return self.try_open(held.revision.id)
        self.unreadable.pop(held.revision.id, None)
        return opened

    def is_record(self, doc_id: DocId) -> bool:
        """Not an Hcp document, a design document, or whatever else a database holds."""
        held = self._store.documents.winners([doc_id])
        if any(each.revision.deleted for each in held) and not any(self._hidden(doc_id)):
            return False  # nothing but tombstones: of a record that went, or never was here
        if any(map(self._has_record_type, held)):
            return True
        return any(map(self._has_record_type, (*self._store.documents.held_leaves(doc_id), *self._hidden(doc_id))))

    def _has_record_type(self, held: Held) -> bool:
        with suppress(InvalidEntity):
            return _type_of(_stored(held)) in self._record_types
        return False

    def type_terms(self, cls: type[Entity]) -> Sequence[str]:
        """What the documents of a class say they are, in each suite."""
        terms = [cls.TYPE] if SEALED_1 in self._suites else []
        return [*terms, java_type(cls.TYPE)] if CLASSIC in self._suites and cls.CLASSIC_TYPE else terms

    def _stated(self, held: Held) -> list[Statement]:
        """What a leaf states of access. It counts whether the leaf came before it was known that its writer is out, and
        was looked at then, or later: so all devices write the same merge."""
        stored = _stored(held)
        return self._verdicts.proven(Subject.of(stored.id, stored.document), stored.document)

    def _hidden(self, doc_id: DocId) -> Iterator[Held]:
        """Whole bodies that only `_deleted` calls deleted; then what was displaced and is not refused, the highest
        first."""
        yield from (held for held in self._store.documents.held_leaves(doc_id) if _is_whole_and_deleted(held))
        yield from (held for held in self._store.documents.displaced(doc_id) if held.state != REFUSED)

    def _suite_of(self, stored: Stored) -> Suite:
        suite = self._suites.get(_suite_name(stored))
        if suite is None:
            if _suite_name(stored) == CLASSIC:
                self._refuse_downgrade(stored)
            raise UnsupportedSuite(
                f"open document {stored.id}",
                "its suite is not one that this replica was opened for",
                f"open the replica with that suite beside {', '.join(self._suites)}, if you trust the server with it",
            )
        if _type_of(stored) not in self._record_types:
            self._refuse_other_type(stored)
            raise NotFound(f"open document {stored.id}", "it is no record of a type known here", "use a newer version")
        return suite

    def _refuse_other_type(self, stored: Stored) -> None:
        """A record stays of the type that its id was made of."""
        displaced = self._store.documents.displaced(stored.id)
        if _suite_name(stored) == SEALED_1 and any(held.state == VERIFIED for held in displaced):
            raise Tampered(
                f"open document {stored.id}",
                "somebody put a revision of another type on it",
                "keep it aside and tell whoever runs the server",
            )

    def _refuse_downgrade(self, stored: Stored) -> None:
        """Of a record that was ever sealed, nothing unauthenticated is shown: it would not be its writers'."""
        documents = self._store.documents
        for held in (*documents.held_leaves(stored.id), *documents.displaced(stored.id)):
            if b"sealed-1" in held.revision.body and _suite_name(_stored(held)) == SEALED_1:
                raise Tampered(
                    f"open document {stored.id}",
                    "somebody put an unauthenticated revision on a sealed record",
                    "keep it aside and tell whoever runs the server",
                )


def entity_of(stored: Stored, content: Content) -> Entity:
    """What a revision shows, as an entity. Raises InvalidEntity."""
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


def _digests(files: Mapping[str, Attachment]) -> dict[str, str]:
    return {name: file.digest for name, file in files.items()}


def not_found(cls: type[Entity], doc_id: DocId) -> NotFound:
    """There is no such record here, or it is deleted."""
    return NotFound(f"find {cls.__name__} {doc_id}", "it is not in this replica", "check the id, or sync first")


def _stored(held: Held) -> Stored:
    revision = held.revision
    try:
        return Stored(revision.id, revision.rev, _decode(revision.body))
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidEntity(f"open document {revision.id}", "it is no JSON that can be read", "sync again") from error


def _suite_name(stored: Stored) -> str:
    name = stored.document.get("cryptoSuite", CLASSIC)
    return name if isinstance(name, str) else ""


def _type_of(stored: Stored) -> str:
    name = "java_type" if _suite_name(stored) == CLASSIC else "type"
    type_ = stored.document.get(name)
    return type_ if isinstance(type_, str) else ""


def _is_whole_and_deleted(held: Held) -> bool:
    return held.revision.deleted and b'"encryptedSelf"' in held.revision.body
