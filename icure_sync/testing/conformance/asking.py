"""Questions that many statements ask of a peer. Owns no statement."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from hashlib import sha256
from typing import Any, TypeVar

from icure_sync.ids import DocId, Rev, Seq
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer, Selector
from icure_sync.replication.checkpoint import START
from icure_sync.replication.wire import Change, Changes, Refusal, Revision

E = TypeVar("E", bound=Exception)

NOWHERE = MemoryPeer()  # a source without any attachment
PATIENCE = 30.0  # seconds until a peer that should answer is taken for one that never will
TURNS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55)  # of the event loop, before a call is cancelled
OWN = b'{"type":"Patient","delegations":{"hcp-a":[]}}'
OTHERS = b'{"type":"Patient","delegations":{"hcp-b":[]}}'


async def give(peer: Peer, *revisions: Revision) -> None:
    """Write them, none of which may be refused."""
    refusals = await peer.write(revisions, NOWHERE)
    assert list(refusals) == [], f"refused: {refusals}"


async def pages(peer: Peer, since: Seq = START, *, limit: int = 100, selector: Selector | None = None) -> list[Changes]:
    """All pages after `since`, up to one without rows that leaves nothing behind it."""
    found = []
    while True:
        page = await peer.changes(since, limit=limit, selector=selector)
        assert len(page.rows) <= limit, "a page has more rows than were asked for"
        assert not page.rows or page.last_seq != since, "a page with rows is no step forward"
        found.append(page)
        if not page.rows and (not page.pending or page.last_seq == since):
            return found
        since = page.last_seq


async def rows(peer: Peer, since: Seq = START, *, limit: int = 100, selector: Selector | None = None) -> list[Change]:
    """All rows after `since`."""
    return [row for page in await pages(peer, since, limit=limit, selector=selector) for row in page.rows]


def same(found: bytes, wanted: bytes) -> None:
    """The same bytes. Compared by length and digest: to show how megabytes differ takes a test runner minutes."""
    assert (len(found), sha256(found).hexdigest()) == (len(wanted), sha256(wanted).hexdigest())


async def contents(peer: Peer) -> dict[tuple[DocId, Rev], Any]:
    """All leaves with what they say: what two peers must agree about after a replication both ways."""
    found = {}
    for page in await pages(peer):
        for each in await peer.fetch({row.id: row.leaves for row in page.rows}) if page.rows else ():
            assert isinstance(each, Revision), f"announced and not given: {each}"
            files = {name: (stub.length, stub.revpos) for name, stub in each.attachments.items()}
            found[each.id, each.rev] = (each.history, json.loads(each.body), each.deleted, files)
    return found


async def got(peer: Peer, doc_id: str, rev: Rev) -> Revision:
    """One revision that must be there."""
    (found,) = await peer.fetch({DocId(doc_id): [rev]})
    assert isinstance(found, Revision), f"not given: {found}"
    return found


async def content(peer: Peer, doc_id: str, rev: Rev, name: str) -> bytes:
    """The bytes of an attachment."""
    async with aclosing(peer.attachment(DocId(doc_id), rev, name)) as pieces:
        return b"".join([piece async for piece in pieces])


async def following(feed: AsyncGenerator[Changes, None], *wanted: str) -> list[Change]:
    """Read a feed until all these ids have come."""
    found: list[Change] = []
    missing = {DocId(doc_id) for doc_id in wanted}
    while missing:
        page = await anext(feed)
        found += page.rows
        missing -= {row.id for row in page.rows}
    return found


async def failure(kind: type[E], call: Awaitable[object]) -> E:
    """The error of this kind that the call must raise."""
    try:
        await call
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def refused(results: object) -> set[tuple[DocId, Rev | None, str]]:
    """The refusals among these, by document, revision and error."""
    assert isinstance(results, list | tuple)
    return {(each.id, each.rev, each.error) for each in results if isinstance(each, Refusal)}


async def cancelled(call: Callable[[], Awaitable[object]], turns: int) -> None:
    """Make a call and cancel it after so many turns of the event loop. It may have ended by then."""
    task = asyncio.ensure_future(call())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(task, return_exceptions=True)
