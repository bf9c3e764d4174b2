"""Attachment content: streamed in chunks, nothing cut off, nothing moved."""

from __future__ import annotations

import pytest
from Crypto.Cipher import AES
from hypothesis import given, settings
from hypothesis import strategies as st

from icure_sync.crypto.files import CHUNK_BYTES, SEALED_CHUNK_BYTES, chunk_data, open_file, seal_file
from icure_sync.crypto.primitives import SymmetricKey
from icure_sync.errors import Tampered
from tests.crypto.records import contact, patient, subject_of

KEY = SymmetricKey(bytes(range(32)))
SUBJECT = subject_of(patient())
CONTENT = bytes(range(256)) * (CHUNK_BYTES // 256 * 2) + b"the rest"
SEALED = b"".join(seal_file(SUBJECT, KEY, [CONTENT]))


def opened(ciphertext: bytes) -> bytes:
    return b"".join(open_file(SUBJECT, KEY, [ciphertext]))


@settings(max_examples=30)
@given(st.sampled_from([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES]), st.integers(1, 10**5))
def test_content_of_any_length_comes_back_whatever_pieces_it_came_in(length: int, piece: int):
    content = CONTENT[:length]
    pieces = [content[start : start + piece] for start in range(0, length, piece)]
    sealed = b"".join(seal_file(SUBJECT, KEY, pieces))
    chunks = max(1, -(-length // CHUNK_BYTES))
    assert len(sealed) == length + chunks * (SEALED_CHUNK_BYTES - CHUNK_BYTES)
    assert sealed == b"".join(seal_file(SUBJECT, KEY, [content]))
    assert b"".join(open_file(SUBJECT, KEY, [sealed[i : i + piece] for i in range(0, len(sealed), piece)])) == content


def test_memory_is_bounded_by_a_chunk():
    assert max(map(len, open_file(SUBJECT, KEY, [SEALED]))) == CHUNK_BYTES


def test_each_chunk_is_gcm_under_its_index_and_its_place():
    cipher = AES.new(KEY, AES.MODE_GCM, nonce=(1).to_bytes(12, "big"))
    cipher.update(chunk_data(SUBJECT, 1, last=False))
    chunk = SEALED[SEALED_CHUNK_BYTES : 2 * SEALED_CHUNK_BYTES]
    assert cipher.decrypt_and_verify(chunk[:-16], chunk[-16:]) == CONTENT[CHUNK_BYTES : 2 * CHUNK_BYTES]


def test_nothing_can_be_cut_off_added_exchanged_or_moved():
    first, second, rest = SEALED[:SEALED_CHUNK_BYTES], SEALED[SEALED_CHUNK_BYTES:][:SEALED_CHUNK_BYTES], SEALED[-24:]
    for wrong in (
        b"",
        first,
        first + second,
        first + rest,
        second + first + rest,
        SEALED[:-1],
        SEALED + b"\x00",
        SEALED + rest,
        bytes([SEALED[0] ^ 1]) + SEALED[1:],
    ):
        with pytest.raises(Tampered):
            opened(wrong)
    with pytest.raises(Tampered):
        list(open_file(subject_of(contact()), KEY, [SEALED]))
    with pytest.raises(Tampered):
        list(open_file(SUBJECT, SymmetricKey(bytes(32)), [SEALED]))
