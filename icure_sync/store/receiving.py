"""Bytes that come piece by piece, into a store, while its thread does other work in between.

Owns the overlap: while one block is on its way to the disk and through the hashes, the next one is gathered. In memory
are two blocks of STAGED_BYTES. Knows no table.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from typing import TypeVar

from icure_sync.errors import StoreError
from icure_sync.store.attachments import Upload
from icure_sync.store.limits import STAGED_BYTES
from icure_sync.store.store import Store

T = TypeVar("T")


async def receive(store: Store, pieces: AsyncIterable[bytes], end: Callable[[Upload], T]) -> T:
    """Takes all pieces; then what `end` makes of the upload, in the store's thread: `end` finishes or abandons it.

    What fits one block takes one visit and one commit. Raises what `pieces` and `end` raise, and StoreError kinds; then
    nothing is kept.
    """
    async with aclosing(_blocks(pieces)) as blocks:
        block = await anext(blocks, memoryview(b""))
        if len(block) < STAGED_BYTES:
            return await store.run(_receive_whole, store, block, end)
        upload = await store.run(store.attachments.begin)
        keeping = asyncio.ensure_future(_keep(store, upload, block))
        try:
            async for block in blocks:  # the same name: the first one would stay in memory
                await keeping
                keeping = asyncio.ensure_future(_keep(store, upload, block))
            await keeping
            return await store.run(end, upload)
        except BaseException:
            await asyncio.gather(keeping, return_exceptions=True)  # what is raised now came first
            await store.run(upload.abandon)
            raise


def _receive_whole(store: Store, block: memoryview, end: Callable[[Upload], T]) -> T:
    """In the store's thread."""
    with store.transaction():
        upload = store.attachments.begin()
        try:
            upload.write(block)
            return end(upload)
        except BaseException:
            with contextlib.suppress(StoreError):  # the transaction takes everything back anyway
                upload.abandon()
            raise


async def _keep(store: Store, upload: Upload, block: memoryview) -> None:
    """Both halves at once: hashing takes about as long as the disk."""
    await asyncio.gather(asyncio.to_thread(upload.digest, block), store.run(upload.keep, block))


async def _blocks(pieces: AsyncIterable[bytes]) -> AsyncGenerator[memoryview, None]:
    """The same bytes in blocks of STAGED_BYTES; the last one is the rest, if any.

    A block is good until the next but one: two stretches of memory serve in turn, for to take new ones again and again
    from several threads would scatter them.
    """
    buffers = [bytearray(), bytearray()]
    size = 0
    async for piece in pieces:
        start = 0
        while start < len(piece):
            taken = piece[start : start + STAGED_BYTES - size]
            buffers[0][size : size + len(taken)] = taken
            start += len(taken)
            size += len(taken)
            if size == STAGED_BYTES:
                yield memoryview(buffers[0])
                buffers.reverse()
                size = 0
    if size:
        yield memoryview(buffers[0])[:size]
