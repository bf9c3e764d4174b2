"""Attachment content: encrypted in chunks, so that it streams both ways in bounded memory. Knows bytes, not documents.

Each chunk of 64 KiB is AES-256-GCM under a random file key, which the sealed body holds; the nonce is the chunk's
index, and the associated data binds it to the document, its place, and whether it is the last: nothing can be cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from icure_sync.canonical import pack
from icure_sync.crypto.access import SUITE, Subject
from icure_sync.crypto.primitives import GCM_NONCE, GCM_TAG, SymmetricKey, gcm_decrypt, gcm_encrypt

CHUNK_BYTES = 64 * 1024  # of content; small enough to hold, large enough that the tag costs nothing
SEALED_CHUNK_BYTES = CHUNK_BYTES + GCM_TAG


def seal_file(subject: Subject, file_key: SymmetricKey, content: Iterable[bytes]) -> Iterator[bytes]:
    """The ciphertext of a content that comes in pieces of any size. A file key encrypts one content only."""
    for index, chunk, last in _chunks(content, CHUNK_BYTES):
        yield gcm_encrypt(file_key, _nonce(index), chunk, chunk_data(subject, index, last=last))


def open_file(subject: Subject, file_key: SymmetricKey, ciphertext: Iterable[bytes]) -> Iterator[bytes]:
    """The content, chunk by chunk, each authenticated before it is given out. Raises Tampered, also for a cut file."""
    for index, chunk, last in _chunks(ciphertext, SEALED_CHUNK_BYTES):
        yield gcm_decrypt(file_key, _nonce(index), chunk, chunk_data(subject, index, last=last))


def chunk_data(subject: Subject, index: int, *, last: bool) -> bytes:
    """Associated data of one chunk."""
    return pack(["icure-sync/chunk/1", SUITE, subject.id, subject.creator, index, last])


def _nonce(index: int) -> bytes:
    return index.to_bytes(GCM_NONCE, "big")


def _chunks(pieces: Iterable[bytes], size: int) -> Iterator[tuple[int, bytes, bool]]:
    """The bytes in chunks of `size`; the last one is the rest, and empty only if there is nothing at all."""
    index = 0
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) > size:
            yield index, bytes(held[:size]), False
            del held[:size]
            index += 1
    yield index, bytes(held), True
