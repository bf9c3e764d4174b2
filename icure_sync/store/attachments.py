"""Attachment bytes: blobs named by their SHA-256, in chunks, streamed both ways in bounded memory.

Owns blobs, and the link from a revision's stub to its blob. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from icure_sync.errors import NotFound, StoreError
from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Attachment
from icure_sync.store.database import Database
from icure_sync.store.limits import CHUNK_BYTES, DROPPED_CHUNKS, FRESH_SECONDS, STAGED_BYTES

_GZIP = 16 + zlib.MAX_WBITS
Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that are here. `digest`: CouchDB's form of their MD5, `md5-<base64>`; `length` in bytes."""

    sha256: bytes
    digest: str
    length: int


@dataclass(frozen=True, slots=True)
class Lacking:
    """An attachment of a revision whose bytes are not here. `number`: that of the revision in its table."""

    id: DocId
    rev: Rev
    stub: Attachment
    number: int


class Attachments:
    """Every method may raise StoreError kinds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._fresh: dict[int, float] = {}  # blobs whose revisions may be on the way, and since when
        self._unfinished: set[int] = set()

    def put(self, chunks: Iterable[bytes]) -> Blob:
        """Keep these bytes, durable on return. For what arrives slowly, or is large, use `receive` (receiving.py)."""
        upload = self.begin()
        try:
            for chunk in chunks:
                upload.write(chunk)
            return upload.finish()
        except BaseException:
            with contextlib.suppress(StoreError):  # `drop` takes it
                upload.abandon()
            raise

    def begin(self) -> Upload:
        """Bytes that come piece by piece, between other work of the store."""
        self._database.run("INSERT INTO blobs (length) VALUES (0)")
        number = self._database.last_number()
        self._unfinished.add(number)
        return Upload(self._database, number, self._ended)

    def link(self, doc_id: DocId, rev: Rev, name: str, blob: Blob) -> None:
        """Say that these are the bytes of a revision's attachment. Raises NotFound without such a stub or blob."""
        changed = self._database.run(
            "UPDATE attachments SET blob = b.number FROM documents d, revisions r, blobs b "
            "WHERE d.id = ? AND r.doc = d.number AND r.rev = ? AND attachments.revision = r.number "
            "AND attachments.name = ? AND b.sha256 = ?",
            (doc_id, rev, name, blob.sha256),
        )
        if not changed:
            raise _no_attachment(doc_id, name)
        number = self._database.value("SELECT number FROM blobs WHERE sha256 = ?", (blob.sha256,))
        self._fresh.pop(number, None)

    def find(self, doc_id: DocId, rev: Rev, name: str) -> Blob | None:
        """The bytes of a revision's attachment; None if they are not here."""
        row = self._database.row(
            "SELECT b.sha256, b.digest, b.length FROM documents d JOIN revisions r ON r.doc = d.number "
            "JOIN attachments a ON a.revision = r.number JOIN blobs b ON b.number = a.blob "
            "WHERE d.id = ? AND r.rev = ? AND a.name = ?",
            (doc_id, rev, name),
        )
        return None if row is None else Blob(*row)

    def read(self, blob: Blob, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` on, `length` of them (None: all), in pieces of at most CHUNK_BYTES.

        Each piece is a query of its own, so other work may come between. Raises NotFound if the blob is not here.
        """
        number = self._database.value("SELECT number FROM blobs WHERE sha256 = ?", (blob.sha256,))
        if number is None:
            raise NotFound("read an attachment", "its bytes are not here", "sync again")
        end = blob.length if length is None else min(blob.length, start + length)
        while start < end:
            first = start - start % CHUNK_BYTES
            chunk = self._database.value("SELECT bytes FROM chunks WHERE blob = ? AND start = ?", (number, first))
            if chunk is None:
                raise NotFound("read an attachment", "its bytes were dropped meanwhile", "read the document again")
            piece = chunk[start - first : end - first]
            start += len(piece)
            yield piece

    def content(self, doc_id: DocId, rev: Rev, name: str) -> Iterator[bytes] | None:
        """What a revision's attachment says, in pieces: unpacked, if it is kept as gzip. None: its bytes are not here.

        Raises NotFound while it is read, as `read` does, and for what does not unpack.
        """
        blob = self.find(doc_id, rev, name)
        if blob is None:
            return None
        packed = self._database.value(
            "SELECT a.gzip_length FROM documents d JOIN revisions r ON r.doc = d.number "
            "JOIN attachments a ON a.revision = r.number WHERE d.id = ? AND r.rev = ? AND a.name = ?",
            (doc_id, rev, name),
        )
        return self.read(blob) if packed is None else _unpacked(self.read(blob))

    def lacking(self, after: Lacking | None = None, limit: int = 500) -> list[Lacking]:
        """Attachments of leaves whose bytes are not here yet, from the one after `after` on."""
        rows = self._database.rows(
            "SELECT d.id, r.rev, r.number, a.name, a.content_type, a.length, a.digest, a.revpos FROM attachments a "
            "JOIN revisions r ON r.number = a.revision JOIN documents d ON d.number = r.doc "
            "WHERE a.blob IS NULL AND r.leaf AND (a.revision, a.name) > (?, ?) ORDER BY a.revision, a.name LIMIT ?",
            (after.number if after else 0, after.stub.name if after else "", limit),
        )
        return [Lacking(doc_id, rev, Attachment(*stub), number) for doc_id, rev, number, *stub in rows]

    def release(self) -> None:
        """Take the name from bytes that nothing needs: no revision, no arrival. Nobody finds them then; `drop` does.

        Those written within FRESH_SECONDS stay: their revision may be on its way. Costs one look into two indexes for
        each blob that is here.
        """
        oldest = time.monotonic() - FRESH_SECONDS
        self._fresh = {number: since for number, since in self._fresh.items() if since > oldest}
        self._database.run(
            "UPDATE blobs SET sha256 = NULL, digest = NULL WHERE sha256 IS NOT NULL "
            "AND number NOT IN (SELECT value FROM json_each(?)) "
            "AND NOT EXISTS (SELECT 1 FROM attachments a WHERE a.blob = blobs.number) "
            "AND NOT EXISTS (SELECT 1 FROM arrivals a WHERE a.blob = blobs.number)",
            (json.dumps(list(self._fresh)),),
        )

    def drop(self) -> bool:
        """Drop a bounded part of the bytes without a name that nobody is writing; True if there may be more.

        They were released, or their upload never ended, in this life of the store or an earlier one.
        """
        with self._database.transaction():
            number = self._database.value(
                "SELECT number FROM blobs WHERE sha256 IS NULL AND number NOT IN (SELECT value FROM json_each(?))",
                (json.dumps(list(self._unfinished)),),
            )
            if number is None:
                return False
            dropped = self._database.run(
                "DELETE FROM chunks WHERE rowid IN (SELECT rowid FROM chunks WHERE blob = ? LIMIT ?)",
                (number, DROPPED_CHUNKS),
            )
            if dropped < DROPPED_CHUNKS:
                self._database.run("DELETE FROM blobs WHERE number = ?", (number,))
        return True

    def _ended(self, upload: int, blob: int | None) -> None:
        """An upload is over, and its bytes are in this blob; None: they are not kept."""
        self._unfinished.discard(upload)
        if blob is not None:
            self._fresh[blob] = time.monotonic()


class Upload:
    """Bytes on their way into a blob. Ended by `finish` or `abandon`; else `drop` takes it after the next opening.

    `digest` and `keep` are the two halves of `write`: they know nothing of each other, so they may run at once.
    """

    def __init__(self, database: Database, number: int, ended: Callable[[int, int | None], None]) -> None:
        self._database = database
        self._number = number
        self._ended = ended
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)  # CouchDB's digest; nothing here relies on it
        self._length = 0
        self._stored = 0
        self._pending = bytearray()

    def write(self, piece: Buffer) -> None:
        """Take the next bytes; a few megabytes at a time go to the disk."""
        self.digest(piece)
        self.keep(piece)

    def digest(self, piece: Buffer) -> None:
        """Count the next bytes. Touches no database: any thread may."""
        self._sha256.update(piece)
        self._md5.update(piece)
        self._length += len(piece)

    def keep(self, piece: Buffer) -> None:
        """Put the next bytes on the disk, a few megabytes at once."""
        if len(piece) == STAGED_BYTES and not self._pending:  # not even copied
            self._flush(piece, STAGED_BYTES)
            return
        self._pending += piece
        if len(self._pending) >= STAGED_BYTES:
            self._flush_pending(len(self._pending) - len(self._pending) % CHUNK_BYTES)

    def finish(self) -> Blob:
        """All bytes are there. Durable on return; the same bytes are kept once."""
        blob = Blob(self._sha256.digest(), "md5-" + base64.b64encode(self._md5.digest()).decode(), self._length)
        with self._database.transaction():
            twin = self._database.value("SELECT number FROM blobs WHERE sha256 = ?", (blob.sha256,))
            if twin is None:
                self._flush_pending(len(self._pending))
                self._database.run(
                    "UPDATE blobs SET sha256 = ?, digest = ?, length = ? WHERE number = ?",
                    (blob.sha256, blob.digest, blob.length, self._number),
                )
            elif self._stored == 0:
                self._drop()
        self._ended(self._number, twin or self._number)
        return blob

    def abandon(self) -> None:
        """Keep nothing of what came. Much of it is dropped little by little, by `drop`."""
        self._ended(self._number, None)
        if self._stored == 0:
            self._drop()

    def _drop(self) -> None:
        """Only the row is there yet."""
        self._database.run("DELETE FROM blobs WHERE number = ?", (self._number,))

    def _flush_pending(self, size: int) -> None:
        self._flush(self._pending, size)
        del self._pending[:size]

    def _flush(self, data: Buffer, size: int) -> None:
        """The first `size` bytes, chunk by chunk."""
        with self._database.transaction():
            self._database.run_many(
                "INSERT INTO chunks (blob, start, bytes) VALUES (?, ?, ?)",
                (
                    (self._number, self._stored + start, bytes(data[start : min(start + CHUNK_BYTES, size)]))
                    for start in range(0, size, CHUNK_BYTES)
                ),
            )
        self._stored += size


def _unpacked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        for piece in pieces:
            rest = piece
            while rest:
                yield unpacker.decompress(rest, CHUNK_BYTES)
                rest = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error as error:
        raise NotFound("read an attachment", "its bytes do not unpack", "attach it again") from error


def _no_attachment(doc_id: DocId, name: str) -> NotFound:
    return NotFound(f"link attachment {name!r} of document {doc_id}", "there is no such stub or blob", "read it again")
