"""Faults 24, 25, 26: databases that are deleted, made anew, put back from a backup, and seqs that rewind or repeat.

24 deleted: `DatabaseMissing`; deleted and created anew: everything goes there again from the devices; 25 a server
restored from an older backup: everything the devices hold returns; 26 seqs that rewind or repeat: idempotent. The row
of the error policy: 404 for the database.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest

from icure_sync.engine.local_peer import LocalPeer
from icure_sync.engine.sync import replicate
from icure_sync.errors import DatabaseMissing
from icure_sync.hub import Hub
from icure_sync.hub import server as hub_server
from icure_sync.hub.limits import MIN_PASSWORD_ROUNDS
from icure_sync.ids import DocId, Seq
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Selector
from icure_sync.replication.checkpoint import START
from icure_sync.replication.wire import Change, Changes, Revision
from icure_sync.store import Store
from icure_sync.testing import FaultyPeer
from icure_sync.testing.conformance.asking import PATIENCE, contents, following, got
from tests.faults.lines import PASSWORD, PULL, PUSH, Line, document, documents, give, leaves
from tests.replicas import rev, seeded_entropy, still_clock
from tests.servers import change_database

FILE = bytes(range(256)) * 1_100


async def test_a_database_that_was_deleted_is_missing_and_is_not_made_by_surprise(line: Line):
    await give(line.device, documents("ours", 4))
    await line.sync()
    await change_database(line.url, "DELETE")
    try:
        for way in ("pull", "push"):
            error = await line.failed(line.run(way))
            assert isinstance(error, DatabaseMissing)
            assert "create it" in error.next_step
        assert isinstance(await line.failed(line.direct.info()), DatabaseMissing)
    finally:
        await change_database(line.url, "PUT")
    await line.agree({(each.id, each.rev) for each in documents("ours", 4)})


async def test_a_database_made_anew_gets_everything_again(line: Line):
    origin = MemoryPeer()
    origin.put(document("file", 1, files={"scan": FILE}), {"scan": FILE})
    await give(line.device, [*documents("ours", 30), await got(origin, "file", rev(1, 1))], origin)
    await give(line.direct, documents("theirs", 30))
    await line.sync()
    held = await leaves(line.device)
    await change_database(line.url, "DELETE", "PUT")
    assert await leaves(line.direct) == set()
    pulled, pushed = await line.sync()
    assert (pulled.since, pushed.since) == (START, START)
    assert await leaves(line.direct) == held
    await line.agree(held)


async def test_a_database_made_anew_in_the_middle_of_a_push_gets_everything(line: Line):
    await give(line.device, documents("ours", 100))
    held = await leaves(line.device)

    class Unlucky(FaultyPeer):
        async def commit(self) -> None:
            if "commit" not in self.calls:
                await change_database(line.url, "DELETE", "PUT")
            await super().commit()

    await line.tried(line.push(Unlucky(line.peer)))
    await line.agree(held)


async def test_a_followed_feed_ends_with_its_database(line: Line):
    await give(line.direct, documents("theirs", 2))
    async with asyncio.timeout(PATIENCE), aclosing(line.peer.follow(START)) as feed:
        await following(feed, "theirs-000", "theirs-001")
        rest = asyncio.ensure_future(anext(feed, None))
        await asyncio.sleep(0)
        await change_database(line.url, "DELETE")
        try:
            while (page := await rest) is not None:  # an empty page may tell how far it was
                assert page.rows == ()
                rest = asyncio.ensure_future(anext(feed, None))
        finally:
            await change_database(line.url, "PUT")
    await line.agree()


@pytest.mark.usefixtures("_tidy")
async def test_a_server_put_back_from_a_backup_gets_back_what_the_devices_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two devices: what was only on the server since the backup is on one of them, whoever made it."""
    monkeypatch.setattr(hub_server, "PASSWORD_ROUNDS", MIN_PASSWORD_ROUNDS)
    stores = [Store.open(tmp_path / f"{name}.db", bytes(32)) for name in ("laptop", "phone")]
    laptop, phone = map(LocalPeer, stores)
    port = 0

    async def clinic(*devices: LocalPeer, new: bool = False) -> None:
        """Every device syncs with the hub, which runs only meanwhile."""
        nonlocal port
        async with Hub(tmp_path / "hub", admin=("admin", PASSWORD), port=port) as hub:
            port = hub.port
            url = hub.url.replace("//", f"//admin:{PASSWORD}@") + "/clinic"
            if new:
                async with aiohttp.request(
                    "PUT", hub.url + "/clinic", headers={"Authorization": aiohttp.encode_basic_auth("admin", PASSWORD)}
                ) as answer:
                    assert answer.status == 201
            for device in devices:
                async with CouchPeer(url) as peer:
                    for plan, source, target in ((PULL, peer, device), (PUSH, device, peer)):
                        mine = type(plan)(str(devices.index(device)), None, plan.direction)
                        await replicate(source, target, mine, clock=still_clock())

    try:
        await give(laptop, documents("early", 10))
        await clinic(laptop, phone, new=True)
        shutil.copytree(tmp_path / "hub", tmp_path / "backup")
        await give(laptop, documents("laptop", 10))
        await give(phone, [*documents("phone", 10), document("early-000", 99)])
        await clinic(laptop, phone)
        await clinic(laptop, phone)
        held = await leaves(laptop)
        assert held == await leaves(phone)
        shutil.rmtree(tmp_path / "hub")
        shutil.copytree(tmp_path / "backup", tmp_path / "hub")
        await give(phone, documents("after", 3))
        await clinic(laptop, phone)
        await clinic(laptop, phone)
        fresh = Store.open(tmp_path / "fresh.db", bytes(32))
        stores.append(fresh)
        await clinic(LocalPeer(fresh), phone)
        assert held < await leaves(phone)
        assert await contents(LocalPeer(fresh)) == await contents(phone) == await contents(laptop)
    finally:
        for store in stores:
            store.close()


class Rewinding(FaultyPeer):
    """Answers every third page from the start, as after a change of the cluster."""

    async def changes(self, since: Seq, *, limit: int, selector: Selector | None = None) -> Changes:
        rewound = self.calls.count("changes") % 3 == 2
        return await super().changes(START if rewound else since, limit=limit, selector=selector)


def repeated(page: Changes) -> Changes:
    return Changes(tuple(row for row in page.rows for _ in range(3)), page.last_seq, page.pending)


def backwards(page: Changes) -> Changes:
    """As shards come in any order: what has a seq is anywhere."""
    return Changes(tuple(reversed(page.rows)), page.last_seq, page.pending)


def leaf_by_leaf(page: Changes) -> Changes:
    rows = tuple(Change(row.id, (leaf,), None, row.deleted) for row in page.rows for leaf in row.leaves)
    return Changes(rows, page.last_seq, page.pending)


async def furnish(line: Line) -> set[tuple[str, str]]:
    await give(line.direct, documents("theirs", 250))
    await give(line.direct, [document(f"theirs-{number:03}", 900 + number) for number in range(20)])
    return await leaves(line.direct)


async def test_a_feed_that_rewinds_is_read_to_its_end_and_nothing_comes_twice(line: Line):
    held = await furnish(line)
    outcome = await line.pull(Rewinding(line.peer))
    assert (outcome.revisions, outcome.refused) == (270, ())
    assert await leaves(line.device) == held
    await line.agree(held)


@pytest.mark.parametrize("alter", [repeated, backwards, leaf_by_leaf])
async def test_rows_that_repeat_or_come_in_another_order_bring_the_same(line: Line, alter):
    held = await furnish(line)
    peer = FaultyPeer(line.peer)
    peer.change("changes", alter)
    assert (await line.pull(peer)).refused == ()
    assert await leaves(line.device) == held
    await line.agree(held)


async def test_a_server_whose_seqs_are_all_the_same_is_read_once_and_loses_nothing(line: Line):
    held = await furnish(line)
    peer = FaultyPeer(line.peer)
    peer.change("changes", lambda page: Changes(tuple(_seqless(row) for row in page.rows), Seq("1-same"), page.pending))
    async with asyncio.timeout(PATIENCE):
        await line.tried(line.pull(peer))
    await line.agree(held)


def _seqless(row: Change) -> Change:
    return Change(row.id, row.leaves, Seq("1-same"), row.deleted)


async def test_a_checkpoint_from_before_a_rewind_loses_nothing(line: Line):
    """The feed of a server whose seqs went back has older names for newer changes."""
    await give(line.direct, documents("theirs", 20))
    await line.pull()
    edited = [Revision(DocId(f"theirs-{n:03}"), (rev(2, n), rev(1, n)), b'{"n":2}') for n in range(20)]
    await give(line.direct, edited)
    outcome = await line.pull(Rewinding(line.peer))
    assert outcome.refused == ()
    await line.agree({(each.id, each.rev) for each in edited})


async def test_the_entropy_of_a_session_decides_nothing(line: Line):
    """Two attempts that draw the same names still agree: a repeated session id is no new life."""
    await give(line.direct, documents("theirs", 4))
    for _ in range(2):
        await replicate(line.peer, line.device, PULL, clock=line.clock, entropy=seeded_entropy(5))
        await give(line.direct, documents("later", 4))
    await line.agree(await leaves(line.direct))
