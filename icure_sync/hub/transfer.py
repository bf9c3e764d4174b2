"""Pieces of documents on their way out: text as it is, attachment bytes read from the store step by step.

Memory stays bounded whatever their size. Knows no HTTP.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterable, Iterator

from icure_sync.hub.bodies import inflated
from icure_sync.hub.databases import Database
from icure_sync.hub.errors import not_found
from icure_sync.hub.rendering import Blob as Place
from icure_sync.hub.rendering import Piece
from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Attachment
from icure_sync.store import Blob, Store


async def chunks_of(database: Database, pieces: Iterable[Piece]) -> AsyncIterator[bytes]:
    """The bytes of the pieces, in order. Raises not_found if the bytes of an attachment are not here."""
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        blob = await database.run(find_blob, piece.doc_id, piece.rev, piece.attachment.name)
        async for chunk in _encoded(database, piece, blob):
            yield chunk


async def blob_chunks(database: Database, blob: Blob, start: int, length: int) -> AsyncIterator[bytes]:
    """`length` bytes of an attachment from `start` on; each step is a visit of its own to the store's thread."""
    steps = await database.run(lambda store: store.attachments.read(blob, start, length))
    while (chunk := await database.run(_next, steps)) is not None:
        yield chunk


def find_blob(store: Store, doc_id: DocId, rev: Rev, name: str) -> Blob:
    """Raises not_found."""
    blob = store.attachments.find(doc_id, rev, name)
    if blob is None:
        raise not_found("Document is missing attachment")
    return blob


async def plain_chunks(database: Database, stub: Attachment, blob: Blob) -> AsyncIterator[bytes]:
    """The bytes of an attachment, unpacked if they are kept packed."""
    kept = blob_chunks(database, blob, 0, blob.length)
    async for chunk in kept if stub.gzip_length is None else inflated(kept):
        yield chunk


async def _encoded(database: Database, place: Place, blob: Blob) -> AsyncIterator[bytes]:
    if not place.base64:
        async for chunk in blob_chunks(database, blob, 0, blob.length):
            yield chunk
        return
    rest = b""
    async for chunk in plain_chunks(database, place.attachment, blob):
        whole = rest + chunk
        cut = len(whole) - len(whole) % 3
        rest = whole[cut:]
        yield base64.b64encode(whole[:cut])
    if rest:
        yield base64.b64encode(rest)


def _next(_: Store, steps: Iterator[bytes]) -> bytes | None:
    return next(steps, None)
