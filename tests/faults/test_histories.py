"""Faults 27, 28, 29, 30: long offline histories, many leaves, lies about what is there, purges.

27 a longer offline history than `revs_limit`: at worst a conflict, both sides of which are everywhere; 28 a document
with 200 leaves goes over in one step; 29 `_revs_diff` says "have it" and has not: the head audit finds it; 30 a purge
on the server, then an offline edit: the edit is not lost.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp

from icure_sync.engine.audit import audit
from icure_sync.engine.clock import SYSTEM_CLOCK
from icure_sync.engine.patience import Patience
from icure_sync.ids import DocId
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer
from icure_sync.replication.checkpoint import START
from icure_sync.replication.wire import Revision
from icure_sync.testing import FaultyPeer
from icure_sync.testing.conformance.asking import content, got, rows
from tests.faults.lines import PUSH, Line, document, documents, give, leaves
from tests.replicas import rev, revision, seeded_entropy

REVS_LIMIT = 1_000  # generations of a history that servers and replicas keep
LEAVES = 200
FILE = bytes(range(256)) * 1_100


def branch(doc_id: str, last: int, mark: int, fork: int) -> Revision:
    """A history up to generation `last` that left that of mark 0 after generation `fork`."""
    own = [rev(generation, mark) for generation in range(last, fork, -1)]
    return revision(doc_id, *own, *(rev(generation, 0) for generation in range(fork, 0, -1)), body=b'{"m":%d}' % mark)


async def test_a_history_longer_than_what_servers_keep_is_a_conflict_at_worst(line: Line):
    """The server's part has fallen off the end of the device's: nobody can tell any more that one descends from it."""
    await give(line.device, [document("a", 0)])
    await line.sync()
    await give(line.device, [branch("a", REVS_LIMIT + 300, 0, 0)])
    outcome = await line.push()
    assert outcome.refused == ()
    (row,) = await rows(line.direct)
    assert row.leaves[0] == rev(REVS_LIMIT + 300, 0), "the newest wins"
    assert {doc_id for doc_id, _ in await leaves(line.direct)} == {"a"}
    await line.agree({("a", rev(REVS_LIMIT + 300, 0))})


async def test_long_histories_on_both_sides_meet_without_losing_either(line: Line):
    await give(line.device, [branch("a", 50, 0, 0)])
    await line.sync()
    await give(line.device, [branch("a", 50 + REVS_LIMIT + 10, 1, 50)])
    await give(line.direct, [branch("a", 50 + REVS_LIMIT + 20, 2, 50)])
    ends = {("a", rev(50 + REVS_LIMIT + 10, 1)), ("a", rev(50 + REVS_LIMIT + 20, 2))}
    await line.agree(ends)


async def test_going_on_offline_after_a_long_history_is_no_new_conflict(line: Line):
    await give(line.device, [branch("a", REVS_LIMIT + 300, 0, 0)])
    await line.sync()
    await give(line.device, [branch("a", REVS_LIMIT + 310, 0, 0)])
    await line.push()
    assert await leaves(line.direct) == await leaves(line.device) == {("a", rev(REVS_LIMIT + 310, 0))}
    await line.agree()


def leaf(number: int) -> Revision:
    deleted = number % 5 == 0
    return revision("a", rev(2, number), rev(1, 0), body=b'{"n":%d}' % number, deleted=deleted)


async def test_a_document_with_many_leaves_goes_over_in_one_step(line: Line):
    await give(line.device, [leaf(number) for number in range(1, LEAVES // 2 + 1)])
    await give(line.direct, [leaf(number) for number in range(LEAVES // 2 + 1, LEAVES + 1)])
    pulled, pushed = await line.sync()
    assert (pulled.documents, pulled.revisions) == (1, LEAVES // 2)
    assert (pushed.documents, pushed.revisions) == (1, LEAVES // 2)
    asked = [exchange.path.rpartition("/")[2] for exchange in line.proxy.exchanges]
    assert [asked.count(name) for name in ("_bulk_get", "_bulk_docs")] == [1, 1]
    assert asked.count("_revs_diff") <= 2
    (here,), (there,) = await rows(line.device), await rows(line.direct)
    assert (len(here.leaves), here.leaves[0]) == (LEAVES, rev(2, LEAVES - 1))
    assert (there.leaves[0], set(there.leaves)) == (here.leaves[0], set(here.leaves))
    await line.agree()


async def test_one_more_leaf_of_a_document_with_many_brings_that_one_alone(line: Line):
    await give(line.direct, [leaf(number) for number in range(1, LEAVES + 1)])
    await line.sync()
    await give(line.direct, [leaf(LEAVES + 1)])
    assert (await line.pull()).revisions == 1
    await line.agree()


def lying(peer: Peer) -> FaultyPeer:
    """A server that has everything, as it says."""
    liar = FaultyPeer(peer)
    liar.change("missing", lambda _: {})
    return liar


async def test_what_a_server_only_says_it_has_is_found_by_the_head_audit_and_sent_again(line: Line):
    origin = MemoryPeer()
    origin.put(document("file", 1, files={"scan": FILE}), {"scan": FILE})
    await give(line.device, [*documents("ours", 10), await got(origin, "file", rev(1, 1))], origin)
    held = await leaves(line.device)
    outcome = await line.push(lying(line.peer))
    assert (outcome.documents, await leaves(line.direct)) == (0, set())
    found = await audit(line.device, line.peer, Patience(SYSTEM_CLOCK, seeded_entropy()))
    assert (found.documents, found.sent, found.refused) == (11, 11, ())
    assert await content(line.direct, "file", rev(1, 1), "scan") == FILE
    again = await audit(line.device, line.peer, Patience(SYSTEM_CLOCK, seeded_entropy()))
    assert (again.documents, again.sent) == (11, 0)
    await line.agree(held)


async def test_a_lie_is_also_found_by_the_next_edit_and_by_the_next_full_comparison(line: Line):
    await give(line.device, documents("ours", 10))
    await line.push(lying(line.peer))
    edited = Revision(DocId("ours-003"), (rev(2, 1), rev(1, 3)), b'{"n":2}')
    await give(line.device, [edited])
    assert (await line.push()).documents == 1
    assert await leaves(line.direct) == {(edited.id, edited.rev)}
    await line.direct.write_local(PUSH.log_id, {})
    outcome = await line.push()
    assert (outcome.since, outcome.documents) == (START, 9)
    await line.agree()


async def purge(line: Line, revs: dict[str, list[str]]) -> None:
    parts = urlsplit(line.url)
    headers = {"Authorization": aiohttp.encode_basic_auth(parts.username or "", parts.password or "")}
    url = f"http://{parts.hostname}:{parts.port}{parts.path}/_purge"
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, json=revs) as answer:
        assert answer.status in (201, 202), await answer.text()


async def test_an_edit_made_offline_brings_back_what_the_server_purged(line: Line):
    """It comes with its history, as every edit does. What nobody edits stays on the devices that have it."""
    origin = MemoryPeer()
    origin.put(document("edited", 1, files={"scan": FILE}), {"scan": FILE})
    first = await got(origin, "edited", rev(1, 1))
    await give(line.device, [first, document("left", 1)], origin)
    await line.sync()
    await purge(line, {"edited": [rev(1, 1)], "left": [rev(1, 1)]})
    assert await leaves(line.direct) == set()
    await give(line.device, [Revision(first.id, (rev(2, 1), rev(1, 1)), b'{"n":2}', False, first.attachments)])
    outcome = await line.push()
    assert (outcome.documents, outcome.refused) == (1, ())
    found = await got(line.direct, "edited", rev(2, 1))
    assert found.history == (rev(2, 1), rev(1, 1))
    assert await content(line.direct, "edited", rev(2, 1), "scan") == FILE
    await line.pull()
    assert await leaves(line.device) == {("edited", rev(2, 1)), ("left", rev(1, 1))}
