"""Files of Documents: sealed in chunks on the way into the store, opened on the way out.

In `sealed-1` a file is a record of its own (type `Attachment`), linked to its Document, with one CouchDB attachment
that never changes. In `icure-classic` it is a CouchDB attachment of the Document itself. The two that stream are
asynchronous; the others run in the store's thread.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterable, Iterator

from icure_sync.crypto.access import Subject
from icure_sync.crypto.classic_cipher import decrypt
from icure_sync.crypto.envelope import KEY_BYTES, from_text, to_text
from icure_sync.crypto.files import open_file, seal_file
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.primitives import Entropy, SymmetricKey
from icure_sync.engine.classic import ClassicSuite
from icure_sync.engine.opening import Opener
from icure_sync.engine.records import Records
from icure_sync.engine.sealed import SealedSuite
from icure_sync.engine.suite import Parent, Stored
from icure_sync.engine.trail import Action, Deed, Recorder, filed_under
from icure_sync.errors import InvalidEntity, NotFound, Tampered
from icure_sync.ids import DocId
from icure_sync.model import Attachment, Document
from icure_sync.model.schema import SEALED_1
from icure_sync.replication.wire import Attachment as Stub
from icure_sync.store import Blob, Store, Upload, receive

CONTENT = "content"  # what the CouchDB attachment is called: its true name is sealed
CLASSIC_MOST = 256 * 1024 * 1024  # bytes of a file that has to be held whole to be opened
BLOCK_BYTES = 2**18  # sealed or opened in one visit to a thread: the visit itself costs more than a chunk
SEALED_MEDIA_TYPE = "application/octet-stream"


class Attachments:
    """Writes and reads the files of one replica."""

    def __init__(
        self,
        store: Store,
        records: Records,
        opener: Opener,
        *,
        sealed: SealedSuite,
        classic: ClassicSuite,
        identity: Identity,
        entropy: Entropy,
        recorder: Recorder,
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._records = records
        self._opener = opener
        self._sealed = sealed
        self._classic = classic
        self._identity = identity
        self._entropy = entropy

    async def attach(
        self, document: Document, name: str, content: Iterable[bytes], media_type: str | None
    ) -> Attachment:
        """A new file of this Document. The content is read and sealed in a thread of its own, and nothing of it stays
        in memory; the store does other work in between."""
        parent = await self._store.run(self._parent, document)
        subject = Subject.create(Attachment.TYPE, self._identity, self._entropy)
        file_key = SymmetricKey(self._entropy(KEY_BYTES))
        counted = _Counted(content)

        def keep(upload: Upload) -> Attachment:
            entity = Attachment(
                name=name,
                media_type=media_type,
                size=counted.length,
                sha256=counted.sha256.hexdigest(),
                file_key=to_text(file_key),
            )
            return self._keep(upload, subject, entity, parent)

        sealed = seal_file(subject, file_key, counted)
        return await receive(self._store, _blocks(sealed), keep)

    def _parent(self, document: Document) -> Parent:
        opened = self._records.shown(document)
        if not opened.suite.is_authenticated:
            raise InvalidEntity(
                f"attach a file to document {opened.stored.id}",
                f"files are written in {SEALED_1} only",
                "attach it with the software that owns this database",
            )
        return Parent(opened.stored.id, Document.TYPE, self._sealed.secret_ids(opened.stored)[0])

    def _keep(self, upload: Upload, subject: Subject, entity: Attachment, parent: Parent) -> Attachment:
        """The bytes are there: their record with them, or neither."""
        with self._store.transaction():
            blob = upload.finish()
            files = {CONTENT: {"length": blob.length, "sha256": blob.sha256.hex()}}
            written = self._sealed.create_as(subject, entity, [parent], files)
            stub = Stub(CONTENT, SEALED_MEDIA_TYPE, blob.length, blob.digest, 1)
            deed = Deed(Action.ATTACHED, {"bytes": blob.length})
            kept = self._records.keep(written, self._sealed, deed, {CONTENT: stub})
            self._store.attachments.link(written.id, written.rev, CONTENT, blob)
        assert isinstance(kept, Attachment)
        return kept

    def of_classic(self, document: Document) -> list[Attachment]:
        """The files of a Document in `icure-classic`: its CouchDB attachments, under the Document's own id."""
        opened = self._opener.open(DocId(document.id))
        stored, content = opened.stored, opened.content
        revision = self._store.documents.get(stored.id, stored.rev)
        return [
            Attachment(
                id=stored.id,
                rev=stored.rev,
                name=stub.name,
                media_type=stub.content_type,
                shared_with=content.shared_with,
                authenticated=False,
                parent_ids=(stored.id,),
            )
            for stub in (revision.attachments if revision else {}).values()
        ]

    async def read(self, attachment: Attachment) -> AsyncGenerator[bytes, None]:
        """The content in pieces, authenticated in `sealed-1`. Raises NotFound if the bytes are not here, Tampered."""
        pieces = self._pieces(attachment)
        while block := await self._store.run(_take, pieces):
            yield block

    def _pieces(self, attachment: Attachment) -> Iterator[bytes]:
        opened = self._opener.open(DocId(attachment.id))
        stored = opened.stored
        self._recorder.saw(Action.OPENED, stored.id, opened.content.type, {"file": True}, filed_under(opened.entity))
        if not opened.suite.is_authenticated:
            yield self._read_classic(stored, attachment)
            return
        if attachment.file_key is None:
            raise InvalidEntity(f"read attachment {stored.id}", "it has no file key", "attach the file again")
        blob = self._blob(stored, CONTENT)
        if stored.document.get("files", {}).get(CONTENT) != {"length": blob.length, "sha256": blob.sha256.hex()}:
            raise _wrong_bytes(stored)
        subject = Subject.of(stored.id, stored.document)
        counted = _Counted(
            open_file(subject, SymmetricKey(from_text(attachment.file_key)), self._store.attachments.read(blob))
        )
        yield from counted
        if (counted.length, counted.sha256.hexdigest()) != (attachment.size, attachment.sha256):
            raise _wrong_bytes(stored)

    def _read_classic(self, stored: Stored, attachment: Attachment) -> bytes:
        """One ciphertext without chunks, so it is held whole."""
        blob = self._blob(stored, attachment.name or "")
        if blob.length > CLASSIC_MOST:
            raise InvalidEntity(
                f"read the file of document {stored.id}",
                f"it has {blob.length} bytes",
                f"read it elsewhere: {CLASSIC_MOST} is the most",
            )
        return decrypt(self._classic.opened(stored).key, b"".join(self._store.attachments.read(blob)))

    def _blob(self, stored: Stored, name: str) -> Blob:
        blob = self._store.attachments.find(stored.id, stored.rev, name)
        if blob is None:
            raise NotFound(f"read the file of document {stored.id}", "its bytes are not here yet", "sync again")
        return blob


async def _blocks(pieces: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Pieces that take a while to make, a block at a time, in a thread of their own."""
    while block := await asyncio.to_thread(_take, pieces):
        yield block


def _take(pieces: Iterator[bytes]) -> bytes:
    """The next pieces, about BLOCK_BYTES of them; nothing at the end."""
    taken: list[bytes] = []
    size = 0
    while size < BLOCK_BYTES and (piece := next(pieces, None)) is not None:
        taken.append(piece)
        size += len(piece)
    return b"".join(taken)


class _Counted:
    """Passes pieces on, and knows their length and SHA-256 afterwards."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.length = 0
        self.sha256 = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.length += len(piece)
            self.sha256.update(piece)
            yield piece


def _wrong_bytes(stored: Stored) -> Tampered:
    return Tampered(
        f"read attachment {stored.id}", "its bytes are not the ones that were attached", "sync again from another peer"
    )
