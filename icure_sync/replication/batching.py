"""How many rows and documents to ask for at once. Owns the rules; measures nothing itself.

Sizes adapt to bytes and to time, so that a slow link gets through small batches, a fast one is not held up by round
trips, and large documents do not fill the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from icure_sync.ids import generation
from icure_sync.replication.limits import BATCH_BYTES, BATCH_SECONDS, MAX_BATCH, MAX_GROWTH, MOST_ROWS
from icure_sync.replication.wire import Revision


def next_batch_size(limit: int, documents: int, size: int, seconds: float) -> int:
    """The number of documents for the next batches.

    `limit`: the number until now; `documents`: how many the measured batch really had, at least 1 (fewer at the end of
    a page, which proves nothing about larger ones); `size`: their bytes; `seconds`: what the batch took.
    """
    growth = limit * (MAX_GROWTH if documents >= limit else 1.0)
    by_bytes = documents * BATCH_BYTES / size if size > 0 else growth
    by_time = documents * BATCH_SECONDS / seconds if seconds > BATCH_SECONDS else growth
    return max(1, min(MAX_BATCH, int(min(growth, by_bytes, by_time))))


def weight(revision: Revision) -> int:
    """Bytes that travel with a revision: its body, and the attachments that are not those of an earlier revision."""
    if not revision.attachments:
        return len(revision.body)
    own = generation(revision.rev)
    return len(revision.body) + sum(file.length for file in revision.attachments.values() if file.revpos >= own)


def parts(revisions: Sequence[Revision]) -> Iterator[Sequence[Revision]]:
    """Those to write at once, so that a write that fails repeats no more than BATCH_BYTES, or one revision."""
    part: list[Revision] = []
    size = 0
    for revision in revisions:
        own = weight(revision)
        if part and size + own > BATCH_BYTES:
            yield part
            part, size = [], 0
        part.append(revision)
        size += own
    if part:
        yield part


def next_page_size(rows: int) -> int:
    """The number of rows to ask for after a page of `rows`."""
    return min(MOST_ROWS, int(rows * MAX_GROWTH))
