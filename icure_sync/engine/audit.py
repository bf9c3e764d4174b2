"""The head audit: does the other side really hold what it said it has? Owns the comparison; sends what is lacking.

A push believes `_revs_diff`: what a server claims to have is not sent. A server that lost documents, or lies, is found
out here: it has to give back every leaf that this device holds. What the leaves say is not looked at, nor are files.
Costs a download of one's own documents.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from icure_sync.crypto.devices import is_head_id
from icure_sync.engine.carrier import Carrier, Wanted
from icure_sync.engine.feed import SourceFeed
from icure_sync.engine.patience import GivenUp, Patience
from icure_sync.ids import DocId, Rev
from icure_sync.peers.port import Peer
from icure_sync.replication.checkpoint import START
from icure_sync.replication.limits import AUDIT_BATCH
from icure_sync.replication.wire import Change, Refusal, Revision


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found. `documents`: looked at; `sent`: leaves that the other side did not have and has now;
    `refused`: those that it does not take. Heads of devices are looked at, and not counted."""

    documents: int
    sent: int
    refused: tuple[Refusal, ...]


async def audit(device: Peer, other: Peer, patience: Patience) -> Audit:
    """Ask the other side for all leaves that the device has, and send those that it does not give.

    Raises the kinds of PeerError and StoreError.
    """
    carrier = Carrier(device, other, patience)
    documents, sent, refused = 0, 0, list[Refusal]()
    async with aclosing(_batches(device, patience)) as batches:
        async for rows in batches:
            lacking = await _lacking(other, rows, patience)
            documents += sum(not is_head_id(row.id) for row in rows)
            if lacking:
                carried = await carrier.carry(lacking)
                sent += sum(not is_head_id(revision.id) for revision in carried.written)
                refused += carried.refused
    await patience.insist(other.commit)
    return Audit(documents, sent, tuple(refused))


async def given_back(device: Peer, other: Peer, ids: Sequence[DocId], patience: Patience) -> list[DocId]:
    """Those of these documents of which the other side gives every leaf that the device has.

    What it does not give is sent again, and asked for another time. Raises as `audit`.
    """
    carrier = Carrier(device, other, patience)
    back: list[DocId] = []
    for start in range(0, len(ids), AUDIT_BATCH):
        page = ids[start : start + AUDIT_BATCH]
        leaves: dict[DocId, tuple[Rev, ...]] = dict.fromkeys(page, ())
        for leaf in await device.leaves(page):
            if isinstance(leaf, Revision):
                leaves[leaf.id] = (*leaves[leaf.id], leaf.rev)
        lacking = await _lacking(other, [Change(doc_id, revs, START) for doc_id, revs in leaves.items()], patience)
        if lacking:
            await carrier.carry(lacking)
        lacked = {doc_id for doc_id, _ in lacking}
        back += [doc_id for doc_id in page if doc_id not in lacked]
    return back


async def _batches(device: Peer, patience: Patience) -> AsyncGenerator[Sequence[Change], None]:
    async with aclosing(SourceFeed(device, None, patience).pages(START)) as pages:
        async for page in pages:
            for start in range(0, len(page.rows), AUDIT_BATCH):
                yield page.rows[start : start + AUDIT_BATCH]


async def _lacking(other: Peer, rows: Sequence[Change], patience: Patience) -> list[Wanted]:
    """The leaves of these rows that are in no history of the other side."""

    async def ask(ids: Sequence[DocId]) -> Sequence[Revision | Refusal]:
        return await other.leaves(ids)

    def refuse(doc_id: DocId, why: GivenUp) -> Revision | Refusal:
        return Refusal(doc_id, None, why.error, why.reason)  # it does not give it: so it is sent again

    answers = await patience.apart([row.id for row in rows], ask, refuse, [other])
    held = set(_held(answers))
    return [(row.id, rev) for row in rows for rev in row.leaves if (row.id, rev) not in held]


def _held(answers: Iterable[Revision | Refusal]) -> Iterable[Wanted]:
    for answer in answers:
        if isinstance(answer, Revision):
            yield from ((answer.id, rev) for rev in answer.history)
