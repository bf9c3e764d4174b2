"""The document (a letter, a scan, a report) and the attachments that hold its bytes."""

from __future__ import annotations

from typing import ClassVar

from icure_sync.model.entity import Entity, MedicalEntity
from icure_sync.model.fields import declared, integer, text, word, words


@declared
class Document(MedicalEntity):
    """A letter, a scan, a report: what is known about it. `main_uti`: its kind as a uniform type identifier."""

    TYPE: ClassVar[str] = "Document"
    CLASSIC_TYPE: ClassVar[str] = "Document"

    name: str | None = text()
    document_type: str | None = word()
    document_status: str | None = word()
    document_location: str | None = word()
    main_uti: str | None = word()
    other_utis: tuple[str, ...] = words()
    version: str | None = word()
    external_uri: str | None = word()
    external_uuid: str | None = word()
    object_store_reference: str | None = word()
    stored_icure_document_id: str | None = word(wire="storedICureDocumentId")
    opening_contact_id: str | None = word()
    attachment_id: str | None = word()
    size: int | None = integer()
    hash: str | None = word()


@declared
class Attachment(Entity):
    """A file that belongs to a Document, as a record of its own in `sealed-1`. Written once, never changed.

    `size` in bytes and `sha256` in hex are those of the plain content. `file_key`: base64 of the key that encrypts
    it, a secret.
    """

    TYPE: ClassVar[str] = "Attachment"
    CLASSIC_TYPE: ClassVar[str] = ""  # there, a file is a CouchDB attachment of the Document itself

    name: str | None = text()
    media_type: str | None = word()
    size: int | None = integer()
    sha256: str | None = word()
    file_key: str | None = word()
