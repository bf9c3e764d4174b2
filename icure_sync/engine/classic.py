"""Records in suite `icure-classic`: what released iCure SDKs read and write, in a replica opened for it.

Knows entities and exchange keys; no stores. Nothing here is authenticated, and entities say so. Merging stamps are
kept, not made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
)
from icure_sync.crypto.classic_cipher import new_uuid
from icure_sync.crypto.primitives import Entropy
from icure_sync.engine.classic_parties import ClassicParties
from icure_sync.engine.classic_revision import next_revision
from icure_sync.engine.opening import entity_of
from icure_sync.engine.suite import Content, Parent, Stored, Written
from icure_sync.errors import NoAccess, UnsupportedSuite
from icure_sync.ids import DocId, HcpId
from icure_sync.model import Contact, Entity, MedicalEntity, to_record, with_record_ids
from icure_sync.model.schema import CLASSIC


class ClassicSuite:
    """`engine.suite.Suite` for `icure-classic`. `clock`: ms since 1970, for what SDKs call created and modified."""

    name = CLASSIC
    is_authenticated = False

    def __init__(self, hcp_id: HcpId, parties: ClassicParties, entropy: Entropy, clock: Callable[[], int]) -> None:
        self._hcp_id = hcp_id
        self._parties = parties
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
            authenticated=False,
        )

    def opened(self, stored: Stored) -> Opened:
        """Everything that my entries give. Raises NoAccess, Tampered, InvalidEntity."""
        return open_document(stored.id, stored.document, self._hcp_id, self._parties.keys_from)

    def create(self, entity: Entity, parents: Sequence[Parent]) -> Written:
        now = self._clock()
        stamped = entity.replace(created=entity.created or now, modified=now)
        if isinstance(stamped, MedicalEntity) and stamped.responsible is None:
            stamped = stamped.replace(responsible=self._hcp_id)
        doc_id = DocId(new_uuid(self._entropy))
        document = create_document(
            entity.TYPE,
            doc_id,
            self._record(stamped),
            own=self._parties.pair(self._hcp_id),
            entropy=self._entropy,
            parents=[ClassicParent(parent.id, parent.secret_id) for parent in parents],
        )
        return next_revision(doc_id, None, document)

    def edit(self, stored: Stored, entity: Entity) -> Written | None:
        opened = self.opened(stored)
        if self._record(entity) == self._record(entity_of(stored, self.open(stored))):
            return None
        record = self._record(entity.replace(modified=self._clock()))
        edited = edit_document(
            stored.document, opened, record, me=self._hcp_id, keys=self._parties.keys_from, entropy=self._entropy
        )
        return next_revision(stored.id, stored, edited)

    def share(self, stored: Stored, delegate: HcpId) -> Written:
        opened, pair = self.opened(stored), self._parties.pair(delegate)
        return next_revision(stored.id, stored, share_document(stored.document, opened, pair, self._entropy))

    def revoke(self, stored: Stored, delegate: HcpId) -> Written:
        raise UnsupportedSuite(
            f"revoke the access of {delegate} to {stored.id}",
            f"{CLASSIC} cannot: nothing in it says who may no longer write, and the software around it keeps the keys",
            "have its login withdrawn on the server",
        )

    def delete(self, stored: Stored) -> Written:
        return next_revision(stored.id, stored, with_deletion(stored.document, self._clock()))

    def restore(self, stored: Stored) -> Written:
        return next_revision(stored.id, stored, with_deletion(stored.document, None))

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

    def _record(self, entity: Entity) -> dict[str, Any]:
        if isinstance(entity, Contact):  # services are the records that other software knows by their ids
            services = with_record_ids(Contact(services=entity.services), lambda: new_uuid(self._entropy)).services
            entity = entity.replace(services=services)
        record: dict[str, Any] = authored(to_record(entity))
        return record
