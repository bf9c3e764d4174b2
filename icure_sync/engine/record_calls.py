"""The calls of a replica that read and write records, follow their links, and keep files. Know no format."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import TypeVar

from icure_sync.engine.access_list import AccessList
from icure_sync.engine.calls import Calls
from icure_sync.errors import InvalidEntity
from icure_sync.ids import DocId, HcpId
from icure_sync.model import Attachment, Contact, Document, Entity, Form, Hcp, HealthcareElement, Patient

E = TypeVar("E", bound=Entity)

SEARCH_MOST = 200  # hits of one search: more than a person reads


class RecordCalls(Calls):
    """Records, by type or by id; all offline."""

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

    async def _pages(self, cls: type[E], *, deleted: bool) -> AsyncIterator[E]:
        cursor: tuple[int, int] | None = (0, 0)
        while cursor is not None:
            page, cursor = await self._call(self._reading.page, cls, cursor, deleted=deleted)
            for entity in page:
                yield entity
