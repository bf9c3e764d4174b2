"""Bytes that stream into a store: whole, in bounded memory, with room for others, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from icure_sync.store import Store, Upload, receive
from icure_sync.store.limits import CHUNK_BYTES, PAGE_BYTES, STAGED_BYTES, WAL_PAGES
from tests.store.revisions import revision


async def pieces(*sizes: int) -> AsyncIterator[bytes]:
    for number, size in enumerate(sizes):
        yield bytes([number % 256]) * size


@pytest.mark.parametrize(
    "sizes",
    [
        (),
        (0, 1, 0),
        (CHUNK_BYTES, 1),
        (STAGED_BYTES,),
        (STAGED_BYTES - 1, 2, STAGED_BYTES, 3),
        (100_000,) * 130,
        (3 * STAGED_BYTES + 7,),
    ],
)
async def test_what_comes_is_what_is_kept(store: Store, sizes: tuple[int, ...]):
    whole = b"".join([piece async for piece in pieces(*sizes)])
    blob = await receive(store, pieces(*sizes), Upload.finish)
    assert (blob.length, blob.sha256) == (len(whole), hashlib.sha256(whole).digest())
    assert await store.run(lambda: b"".join(store.attachments.read(blob))) == whole


@pytest.mark.parametrize("size", [10, STAGED_BYTES, 2 * STAGED_BYTES + 5])
async def test_what_breaks_off_leaves_nothing(store: Store, size: int):
    async def breaking() -> AsyncIterator[bytes]:
        yield bytes(size)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await receive(store, breaking(), Upload.finish)
    while await store.run(store.attachments.drop):
        pass
    assert store._database.rows("SELECT * FROM blobs") == store._database.rows("SELECT * FROM chunks") == []


@pytest.mark.parametrize("size", [10, 2 * STAGED_BYTES])
async def test_what_its_end_refuses_is_not_kept(store: Store, size: int):
    def refuse(upload: Upload) -> None:
        upload.finish()
        raise ValueError("not these")

    with pytest.raises(ValueError, match="not these"):
        await receive(store, pieces(size), refuse)


async def test_a_cancelled_stream_leaves_nothing(store: Store):
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield bytes(2 * STAGED_BYTES)
        begun.set()
        await asyncio.Event().wait()
        yield b""

    receiving = asyncio.ensure_future(receive(store, endless(), Upload.finish))
    await begun.wait()
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    while await store.run(store.attachments.drop):
        pass
    assert store._database.rows("SELECT * FROM blobs") == []


async def test_others_get_their_turn_while_a_large_file_comes(store: Store):
    turns = 0
    done = asyncio.Event()

    async def work() -> None:
        nonlocal turns
        while not done.is_set():
            await store.run(store.documents.apply, [revision(f"john-{turns}", "1a")])
            turns += 1

    working = asyncio.ensure_future(work())
    await receive(store, pieces(*(2**20,) * 32), Upload.finish)
    done.set()
    await working
    assert turns >= 8  # at least one for each block


async def test_a_large_file_makes_the_log_no_longer_than_other_writes_do(store: Store, path: Path):
    await receive(store, pieces(*(2**20,) * 100), Upload.finish)
    log = path.with_name(path.name + "-wal")
    assert log.stat().st_size < (WAL_PAGES + 2 * STAGED_BYTES // PAGE_BYTES) * (PAGE_BYTES + 24)  # with its headers


async def test_a_store_that_stays_open_is_tidied_now_and_then(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("icure_sync.store.store.TIDY_SECONDS", 0.01)
    monkeypatch.setattr("icure_sync.store.attachments.FRESH_SECONDS", 0)
    await receive(store, pieces(10), Upload.finish)
    async with store.kept_tidy():
        while await store.run(store._database.value, "SELECT count(*) FROM blobs"):  # noqa: ASYNC110  (nobody tells)
            await asyncio.sleep(0.01)


async def test_a_large_file_comes_in_bounded_memory(store: Store):
    tracemalloc.start()
    await receive(store, pieces(*(2**16,) * 1_024), Upload.finish)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * STAGED_BYTES
