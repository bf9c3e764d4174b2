"""Faults 11, 31: documents and attachments that are too large, or not what they were announced to be.

11 a 100 MB document is refused with a reason, an attachment streams through bounded memory (one of 30 MB here; 1 GB:
scripts/bench); 31 an attachment of a wrong digest or length is fetched again, then refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import tracemalloc
from collections.abc import AsyncGenerator, Iterator

import pytest

from icure_sync.engine.sync import replicate
from icure_sync.ids import DocId, Rev
from icure_sync.peers.limits import MAX_ANSWER
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.limits import MAX_DOCUMENT
from icure_sync.replication.wire import BAD_ATTACHMENT, Attachment, Revision
from icure_sync.testing import Fault, raw_answer, within
from icure_sync.testing.conformance.asking import content, got
from tests.faults.lines import PULL, PUSH, Line, documents, give, leaves
from tests.faults.scripts import serving
from tests.replicas import rev, revision, seeded_entropy

HUGE = 100_000_000  # bytes of a document
STREAMED = 30 * 1024 * 1024  # bytes of an attachment
BOUND = 8 * 1024 * 1024  # bytes of memory that a stream of any length may take, on both sides together


@pytest.fixture
def _traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


async def test_a_huge_document_is_refused_with_a_reason_and_never_sent(line: Line):
    device = MemoryPeer()
    for each in documents("ours", 3):
        device.put(each)
    device.put(revision("huge", rev(1, 1), body=b'{"x":"' + b"y" * HUGE + b'"}'))
    outcome = await replicate(device, line.peer, PUSH, clock=line.clock, entropy=seeded_entropy())
    (refusal,) = outcome.refused
    assert (refusal.id, refusal.error) == ("huge", "document_too_large")
    assert str(MAX_DOCUMENT) in refusal.reason
    assert sum(exchange.sent for exchange in line.proxy.exchanges) < 100_000
    assert {doc_id for doc_id, _ in await leaves(line.direct)} == {each.id for each in documents("ours", 3)}


@pytest.mark.usefixtures("_traced")
@pytest.mark.parametrize("server", ["hub"], indirect=True)
async def test_a_huge_document_that_a_server_offers_fills_no_memory_and_holds_up_no_other(line: Line):
    texts = {f"doc-{number}": b'"n":1' for number in range(5)} | {"huge": b'"x":"' + b"y" * HUGE + b'"'}
    async with serving(texts) as server, server.peer() as peer:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        outcome = await replicate(peer, line.device, PULL, clock=line.clock, entropy=seeded_entropy())
        _, peak = tracemalloc.get_traced_memory()
    assert [(each.id, each.error) for each in outcome.refused] == [("huge", "answer_too_large")]
    assert outcome.documents == 5
    assert peak - before < 2 * MAX_ANSWER
    assert {doc_id for doc_id, _ in await leaves(line.device)} == {f"doc-{number}" for number in range(5)}


class Streaming(MemoryPeer):
    """Gives one attachment of STREAMED bytes that it never holds."""

    piece = os.urandom(64 * 1024)

    async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:  # noqa: ARG002  the port
        for _ in range(STREAMED // len(self.piece)):
            yield self.piece


@pytest.mark.usefixtures("_traced")
async def test_an_attachment_streams_both_ways_through_bounded_memory(line: Line):
    stub = Attachment("scan", "application/octet-stream", STREAMED, "md5-AAAAAAAAAAAAAAAAAAAAAA==", 1)
    sent = Revision(DocId("a"), (rev(1, 1),), b"{}", False, {"scan": stub})
    await give(line.device, [sent], Streaming())
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    assert (await line.push()).refused == ()
    size, hashed = 0, hashlib.sha256()
    async for piece in line.peer.attachment(DocId("a"), rev(1, 1), "scan"):
        size += len(piece)
        hashed.update(piece)
    _, peak = tracemalloc.get_traced_memory()
    assert size == STREAMED
    assert hashed.digest() == hashlib.sha256(Streaming.piece * (STREAMED // len(Streaming.piece))).digest()
    assert peak - before < BOUND


DATA = os.urandom(20_000)
WRONG = {"other bytes": os.urandom(20_000), "too few": DATA[:-1], "too many": DATA + b"x", "none": b""}
SCAN = within("GET", "/a/scan")


async def offer(line: Line) -> set[tuple[str, str]]:
    """A document with a file, of which it says itself what it must be, and others without."""
    body = {"files": {"scan": {"length": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()}}}
    origin = MemoryPeer()
    origin.put(revision("a", rev(1, 1), body=json.dumps(body).encode(), files={"scan": DATA}), {"scan": DATA})
    await give(line.direct, [await got(origin, "a", rev(1, 1)), *documents("theirs", 3)], origin)
    return await leaves(line.direct)


@pytest.mark.parametrize("wrong", WRONG)
async def test_an_attachment_that_comes_wrong_once_is_fetched_again(line: Line, wrong: str):
    held = await offer(line)
    rule = line.proxy.inject(Fault(answer=raw_answer(WRONG[wrong])), SCAN, times=1)
    assert (await line.pull()).refused == ()
    assert rule.met == 2
    assert await content(line.device, "a", rev(1, 1), "scan") == DATA
    await line.agree(held)


@pytest.mark.parametrize("wrong", WRONG)
async def test_an_attachment_that_is_always_wrong_is_refused_and_the_others_come(line: Line, wrong: str):
    held = await offer(line)
    line.proxy.inject(Fault(answer=raw_answer(WRONG[wrong])), SCAN)
    outcome = await line.pull()
    assert [(each.id, each.rev, each.error) for each in outcome.refused] == [("a", rev(1, 1), BAD_ATTACHMENT)]
    assert "scan" in outcome.refused[0].reason
    assert await leaves(line.device) == held - {("a", rev(1, 1))}
    assert (await line.pull()).refused == outcome.refused
    line.proxy.heal()
    assert (await line.pull()).refused == ()
    assert await content(line.device, "a", rev(1, 1), "scan") == DATA
    await line.agree(held)


async def test_bytes_that_a_device_has_not_whole_are_never_sent_as_if_they_were(line: Line):
    """What is announced and not given by the source makes a refusal at the target, not a shorter file."""
    for size in (10_000, 400_000):
        device = MemoryPeer()
        described = revision(f"short-{size}", rev(1, 1), files={"scan": bytes(size)})
        device.put(described, {"scan": bytes(size - 1)})
        outcome = await replicate(device, line.peer, PUSH, clock=line.clock, entropy=seeded_entropy(size))
        assert [(each.id, each.error) for each in outcome.refused] == [(f"short-{size}", BAD_ATTACHMENT)]
    assert await leaves(line.direct) == set()
