"""The statements about peers notice a peer that does not hold to them: whatever is wrong with it, some of them fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from icure_sync.errors import IcureSyncError
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Change, Changes, Missing, Refusal, Revision
from icure_sync.testing import FaultyPeer
from icure_sync.testing.conformance import PeerConformance

STATEMENTS = [name for name in dir(PeerConformance) if name.startswith("test_")]


def each_row(alter: Callable[[Change], Change]) -> Callable[[Changes], Changes]:
    return lambda page: replace(page, rows=tuple(map(alter, page.rows)))


def each_revision(alter: Callable[[Revision], Any]) -> Callable[[Sequence[Any]], list[Any]]:
    def changed(results: Sequence[Revision | Refusal]) -> list[Any]:
        found = [alter(each) if isinstance(each, Revision) else each for each in results]
        return [each for each in found if each is not None]

    return changed


def without_ancestors(found: dict[str, Missing]) -> dict[str, Missing]:
    return {doc_id: Missing(each.revs) for doc_id, each in found.items()}


WRONG: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "a loser before the winner": ("changes", each_row(lambda row: replace(row, leaves=row.leaves[::-1]))),
    "only winners announced": ("changes", each_row(lambda row: replace(row, leaves=row.leaves[:1]))),
    "tombstones not said to be any": ("changes", each_row(lambda row: replace(row, deleted=False))),
    "the first row of every page lost": ("changes", lambda page: replace(page, rows=page.rows[1:])),
    "rows twice": ("changes", lambda page: replace(page, rows=page.rows * 2)),
    "a seq that stands still": ("changes", lambda page: replace(page, last_seq="0")),
    "more pending than there is": ("changes", lambda page: replace(page, pending=7)),
    "nothing missing": ("missing", lambda _: {}),
    "no possible ancestors": ("missing", without_ancestors),
    "no histories": ("fetch", each_revision(lambda each: replace(each, history=each.history[:1]))),
    "other bodies": ("fetch", each_revision(lambda each: replace(each, body=b'{"x":1}'))),
    "tombstones alive": ("fetch", each_revision(lambda each: replace(each, deleted=False))),
    "no attachments told of": ("fetch", each_revision(lambda each: replace(each, attachments={}))),
    "no word of what is not there": ("fetch", lambda found: [each for each in found if isinstance(each, Revision)]),
    "no deleted leaves": ("leaves", each_revision(lambda each: None if each.deleted else each)),
    "attachments with another byte": ("attachment", lambda piece: b"?" + piece[1:]),
    "refusals kept secret": ("write", lambda _: []),
    "no local documents": ("read_local", lambda _: None),
    "a count of one too many": ("info", lambda info: replace(info, doc_count=info.doc_count + 1)),
}


async def failing(call: str, alter: Callable[[Any], Any]) -> list[str]:
    """The statements that do not hold for a peer whose calls of that name give something else."""
    found = []
    for name in STATEMENTS:
        peer = FaultyPeer(MemoryPeer())
        peer.change(call, alter)
        try:
            await getattr(PeerConformance(), name)(peer)
        except (AssertionError, IcureSyncError, ValueError, KeyError):
            found.append(name)
    return found


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_peer_that_is_wrong_is_found_out(wrong: str):
    call, alter = WRONG[wrong]
    found = await failing(call, alter)
    assert found
    assert len(found) < len(STATEMENTS), "what is wrong with one call is not wrong with all"


async def test_a_peer_that_is_right_is_not():
    assert await failing("info", lambda info: info) == []
