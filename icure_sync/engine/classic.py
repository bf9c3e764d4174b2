"""Records in suite `icure-classic`: what released iCure SDKs read and write, in a replica opened for it.

Knows entities, exchange keys and writers; no stores. Nothing here is authenticated, and entities say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from icure_sync.canonical import authored
from icure_sync.crypto.classic import (
    ClassicParent,
    Opened,
    create_document,
    edit_document,
    open_document,
    share_document,
    with_deletion,
    with_stamps,
)
from icure_sync.crypto.classic_cipher import new_uuid
from icure_sync.crypto.primitives import Entropy
from icure_sync.engine.classic_joining import join_leaves
from icure_sync.engine.classic_parties import ClassicParties
from icure_sync.engine.classic_revision import next_revision
from icure_sync.engine.classic_stamps import (
    MODIFIED,
    Stamped,
    alternatives,
    read_stamped,
    record_registers,
    to_stamps,
    write_stamped,
)
from icure_sync.engine.opening import entity_of
from icure_sync.engine.suite import Content, Document, Joined, Parent, Stored, Written
from icure_sync.engine.writers import Writers
from icure_sync.errors import InvalidEntity, NoAccess, UnsupportedSuite
from icure_sync.ids import DocId, HcpId
from icure_sync.merge import disputes, registers
from icure_sync.model import Contact, Entity, MedicalEntity, to_record, with_record_ids
from icure_sync.model.schema import CLASSIC

Changes = Callable[[registers.Body], Mapping[registers.Path, Any]]  # the registers that a write sets, by what it finds


class ClassicSuite:
    """`engine.suite.Suite` for `icure-classic`. `clock`: ms since 1970, for what SDKs call created and modified.

    What has no stamped body (`read_stamped`) is written without stamps, as other software does.
    """

    name = CLASSIC
    is_authenticated = False

    def __init__(
        self, hcp_id: HcpId, parties: ClassicParties, writers: Writers, entropy: Entropy, clock: Callable[[], int]
    ) -> None:
        self._hcp_id = hcp_id
        self._parties = parties
        self._writers = writers
        self._entropy = entropy
        self._clock = clock

    def open(self, stored: Stored) -> Content:
        opened = self.opened(stored)
        return Content(
            type=opened.type,
            record=opened.record,
            deleted=opened.deleted_at is not None,
            shared_with=frozenset(HcpId(each) for each in opened.delegates),
            parents={each: DocId(each) for each in opened.foreign_ids},
            siblings=alternatives(stored.rev, opened),
            authenticated=False,
        )

    def opened(self, stored: Stored) -> Opened:
        """Everything that my entries give. Raises NoAccess, Tampered, InvalidEntity."""
        return open_document(stored.id, stored.document, self._hcp_id, self._parties.keys_from)

    def join(self, leaves: Sequence[Stored], known: Sequence[Document] = ()) -> Joined:  # noqa: ARG002  # the port has it
        """As `join_leaves`; raises NoAccess too. Nothing is stated of access here."""
        return join_leaves({leaf.rev: (leaf, self.opened(leaf)) for leaf in leaves})

    def create(self, entity: Entity, parents: Sequence[Parent]) -> Written:
        now = self._clock()
        stamped = entity.replace(created=entity.created or now, modified=now)
        if isinstance(stamped, MedicalEntity) and stamped.responsible is None:
            stamped = stamped.replace(responsible=self._hcp_id)
        doc_id = DocId(new_uuid(self._entropy))
        record = self._record(stamped)
        document = create_document(
            entity.TYPE,
            doc_id,
            record,
            own=self._parties.pair(self._hcp_id),
            entropy=self._entropy,
            parents=[ClassicParent(parent.id, parent.secret_id) for parent in parents],
            stamps=self._first_stamps(doc_id, entity.TYPE, record),
        )
        return next_revision(doc_id, None, document)

    def edit(self, stored: Stored, entity: Entity) -> Written | None:
        opened = self.opened(stored)
        if self._record(entity) == self._record(entity_of(stored, self.open(stored))):
            return None
        record = self._record(entity.replace(modified=self._clock()))
        edited = edit_document(
            stored.document,
            opened,
            record,
            me=self._hcp_id,
            keys=self._parties.keys_from,
            entropy=self._entropy,
            stamps=self._stamps(stored, opened, lambda body: _changes(body, opened.type, record)),
        )
        return next_revision(stored.id, stored, edited)

    def versions(self, stored: Stored) -> Mapping[registers.Path, Sequence[disputes.Version]]:
        opened = self.opened(stored)
        if not alternatives(stored.rev, opened):
            return {}
        return disputes.versions(read_stamped(stored.rev, opened).body)

    def settle(self, stored: Stored, choices: Mapping[registers.Path, Any]) -> Written:
        opened, now = self.opened(stored), self._clock()
        after = read_stamped(stored.rev, opened)
        changed = {path: value for path, value in choices.items() if path != registers.DELETED}
        if choices.get(registers.DELETED) is False:
            changed |= registers.restoring()
        if changed:
            after = self._write(stored.id, after, changed)
        if choices.get(registers.DELETED) is True:  # it must have seen the others
            after = self._write(stored.id, after, registers.deletion(after.body), now)
        settled = edit_document(
            stored.document,
            opened,
            {**after.record, MODIFIED: now},
            me=self._hcp_id,
            keys=self._parties.keys_from,
            entropy=self._entropy,
            stamps=to_stamps(after, opened.type, stored.leaves or [stored.rev]),
        )
        return next_revision(stored.id, stored, with_deletion(settled, after.deleted_at))

    def share(self, stored: Stored, delegate: HcpId) -> Written:
        opened, pair = self.opened(stored), self._parties.pair(delegate)
        stamped = self._stamped_as_it_is(stored, opened)
        return next_revision(stored.id, stored, share_document(stamped, opened, pair, self._entropy))

    def revoke(self, stored: Stored, delegate: HcpId) -> Written:
        raise UnsupportedSuite(
            f"revoke the access of {delegate} to {stored.id}",
            f"{CLASSIC} cannot: nothing in it says who may no longer write, and the software around it keeps the keys",
            "have its login withdrawn on the server",
        )

    def delete(self, stored: Stored) -> Written:
        return self._hidden(stored, registers.deletion, self._clock())

    def restore(self, stored: Stored) -> Written:
        return self._hidden(stored, lambda _: registers.restoring(), None)

    def secret_ids(self, stored: Stored) -> tuple[str, ...]:
        secret_ids = self.opened(stored).secret_ids
        if not secret_ids:
            raise NoAccess(
                f"read the secret id of {stored.id}",
                f"no entry in its delegations opens for {self._hcp_id}",
                "ask one of its delegates to share it",
            )
        return secret_ids

    def foreign_keys(self, stored: Stored) -> frozenset[DocId]:
        return frozenset(DocId(each) for each in self.opened(stored).foreign_ids)

    def _hidden(self, stored: Stored, changes: Changes, at: int | None) -> Written:
        opened = self.opened(stored)
        stamps = self._stamps(stored, opened, changes, at)
        document = with_deletion(stored.document, at)
        if stamps is not None:
            document = with_stamps(document, opened, stamps, self._entropy)
        return next_revision(stored.id, stored, document)

    def _stamped_as_it_is(self, stored: Stored, opened: Opened) -> Mapping[str, Any]:
        """What other software wrote goes on under the name of the revision that it wrote: sharing is no edit of it."""
        try:
            before = read_stamped(stored.rev, opened)
        except InvalidEntity:
            return stored.document
        if stored.rev not in before.body["context"]:
            return stored.document
        return with_stamps(stored.document, opened, to_stamps(before, opened.type, [stored.rev]), self._entropy)

    def _stamps(self, stored: Stored, opened: Opened, changes: Changes, at: int | None = None) -> dict[str, Any] | None:
        """Those of a write that makes these changes; None if there can be none, and those there are stay."""
        try:
            before = read_stamped(stored.rev, opened)
            after = self._write(stored.id, before, changes(before.body), at)
        except InvalidEntity:
            return None
        return to_stamps(after, opened.type, stored.leaves or [stored.rev])

    def _first_stamps(self, doc_id: DocId, type_name: str, record: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            return to_stamps(self._write(doc_id, None, record_registers(type_name, record)), type_name, [])
        except InvalidEntity:
            return None

    def _write(
        self, doc_id: DocId, before: Stamped | None, changes: Mapping[registers.Path, Any], at: int | None = None
    ) -> Stamped:
        author = self._writers.author(doc_id, before.body["context"] if before else {})
        after = write_stamped(before, changes, author if at is None else replace(author, time=at))
        self._writers.wrote(doc_id, author, after.body["context"])
        return after

    def _record(self, entity: Entity) -> dict[str, Any]:
        if isinstance(entity, Contact):  # services are the records that other software knows by their ids
            services = with_record_ids(Contact(services=entity.services), lambda: new_uuid(self._entropy)).services
            entity = entity.replace(services=services)
        record: dict[str, Any] = authored(to_record(entity))
        return record


def _changes(body: registers.Body, type_name: str, record: Mapping[str, Any]) -> dict[registers.Path, Any]:
    before = registers.shown_registers(body)
    before.pop(registers.DELETED, None)
    return registers.changes(before, record_registers(type_name, record))
