"""The first sync by an index: as complete as the filtered feed, whatever happens in between, and cheaper."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icure_sync import Identity, Replica
from icure_sync.app.server import Wish, provision_database
from icure_sync.engine.attempt import Outcome
from icure_sync.engine.local_peer import LocalPeer
from icure_sync.engine.plan import Plan
from icure_sync.engine.progress import Progress
from icure_sync.engine.sync import replicate
from icure_sync.errors import BadAnswer, IcureSyncError, NotFound, PeerError, TimedOut, Unreachable
from icure_sync.ids import DocId, Rev
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer
from icure_sync.replication import refused as refused_module
from icure_sync.replication.checkpoint import START, Direction
from icure_sync.replication.filters import CLASSIC_HCP, device_selector, passes_leaf
from icure_sync.replication.limits import OWN_MOST
from icure_sync.replication.trouble import BatchRefused, CheckpointConflict, ServerFailed
from icure_sync.replication.wire import Listing, Missing, PeerInfo, Refusal, Revision
from icure_sync.store import Store
from icure_sync.testing import FaultyPeer
from tests.engine.indexed import PAGE, IndexedPeer
from tests.replicas import killed, rev, revision, seeded_entropy, still_clock
from tests.servers import REAL_SERVERS, fresh_database, fresh_hub

HCP = "hcp-a"
SELECTOR = device_selector(HCP)
PULL = Plan("device-1", HCP, Direction.PULL, SELECTOR)
GONE = Unreachable("talk to the other side", "the connection is gone", "try again")


async def pull(source: Peer, target: Peer, plan: Plan = PULL, seed: int = 1) -> Outcome:
    return await replicate(source, target, plan, clock=still_clock(), entropy=seeded_entropy(seed))


def body(*delegates: str, **members: object) -> bytes:
    return json.dumps({"delegations": {one: [] for one in delegates}, **members}).encode()


def clinic(own: int = 10, others: int = 20) -> IndexedPeer:
    """A server with documents of two Hcps."""
    server = IndexedPeer()
    for number in range(own):
        server.put(revision(f"own-{number}", rev(1, number + 1), body=body(HCP, n=number)))
    for number in range(others):
        server.put(revision(f"other-{number}", rev(1, number + 1), body=body("hcp-b", n=number)))
    return server


async def revisions_of(peer: Peer) -> dict[DocId, list[Revision]]:
    """All leaves that a peer has, with bodies and histories."""
    found: dict[DocId, list[Revision]] = {}
    rows = (await peer.changes(START, limit=100_000)).rows
    for one in await peer.fetch({row.id: row.leaves for row in rows}):
        assert isinstance(one, Revision)
        found.setdefault(one.id, []).append(one)
    return found


async def by_feed(server: IndexedPeer) -> MemoryPeer:
    """What a device has that knows no index."""
    before, server.has_index = server.has_index, False
    device = MemoryPeer("device", "d")
    outcome = await pull(server, device, Plan("device-2", HCP, Direction.PULL, SELECTOR))
    assert not outcome.by_index
    server.has_index = before
    return device


# What comes, and what it costs


async def test_only_ones_own_documents_are_fetched() -> None:
    server, device = clinic(), MemoryPeer("device", "d")
    outcome = await pull(server, device)
    assert outcome.by_index
    assert (outcome.documents, outcome.since, outcome.seq) == (10, START, (await server.info()).update_seq)
    assert sorted(server.asked) == sorted(DocId(f"own-{number}") for number in range(10))
    assert device.all_leaves() == (await by_feed(server)).all_leaves()


async def test_what_everybody_needs_comes_too() -> None:
    server, device = clinic(own=0), MemoryPeer("device", "d")
    server.put(revision("hcp-b", rev(1, 1), body=b'{"type":"HealthcareParty"}'))
    server.put(revision("head", rev(1, 1), body=b'{"type":"DeviceHead"}'))
    server.put(revision("classic", rev(1, 1), body=json.dumps({"java_type": CLASSIC_HCP}).encode()))
    await pull(server, device)
    assert set(device.all_leaves()) == {"hcp-b", "head", "classic"}


async def test_a_leaf_that_names_the_hcp_comes_though_the_winner_does_not() -> None:
    server, device = clinic(own=0), MemoryPeer("device", "d")
    server.put(revision("contested", rev(1, 1), body=body(HCP)))
    server.put(revision("contested", rev(1, 2), body=body("hcp-b")))
    server.put(revision("foreign", rev(1, 1), body=body("hcp-c")))
    server.put(revision("foreign", rev(1, 2), body=body("hcp-b")))
    await pull(server, device)
    assert {doc_id: [leaf.rev for leaf in leaves] for doc_id, leaves in device.all_leaves().items()} == {
        "contested": [rev(1, 1)]
    }


async def test_the_feed_goes_on_from_where_the_index_was_read() -> None:
    server, device = clinic(), MemoryPeer("device", "d")
    await pull(server, device)
    server.put(revision("other-3", rev(2, 9), rev(1, 4), body=body("hcp-b", HCP)))  # shared
    server.put(revision("own-2", rev(2, 9), rev(1, 3), body=body("hcp-b")))  # put out, with the notice that says so
    server.put(revision("own-2", rev(2, 8), rev(1, 3), body=body(HCP, notice=True), deleted=True))
    server.put(revision("own-3", rev(2, 9), rev(1, 4), body=b"{}", deleted=True))  # a bare tombstone
    outcome = await pull(server, device)
    assert not outcome.by_index
    assert outcome.documents == 3
    leaves = {doc_id: found[0] for doc_id, found in device.all_leaves().items()}
    assert leaves[DocId("other-3")].rev == rev(2, 9)
    assert (leaves[DocId("own-2")].rev, leaves[DocId("own-2")].deleted) == (rev(2, 8), True)
    assert leaves[DocId("own-3")].deleted


async def test_what_happens_while_the_index_is_read_comes_by_the_feed() -> None:
    server, device = clinic(own=4 * PAGE), MemoryPeer("device", "d")
    late = FaultyPeer(server)

    def meanwhile(listing: Listing) -> Listing:
        if DocId("own-0") in listing.ids:
            server.put(revision("late", rev(1, 1), body=body(HCP)))
            server.put(revision("other-0", rev(2, 2), rev(1, 1), body=body(HCP, "hcp-b")))
            server.put(revision("own-9", rev(2, 2), rev(1, 10), body=b"{}", deleted=True))
            server.put(revision("own-8", rev(2, 2), rev(1, 9), body=body(HCP, n="newer")))
        return listing

    late.change("listed", meanwhile)
    outcome = await pull(late, device)
    assert outcome.by_index
    assert outcome.seq == (await server.info()).update_seq
    assert await revisions_of(device) == await revisions_of(await by_feed(server))


async def test_progress_counts_what_the_index_names() -> None:
    told: list[Progress] = []
    await replicate(clinic(own=7), MemoryPeer("d", "d"), PULL, report=told.append, clock=still_clock())
    assert (told[-1].known, told[-1].done) == (7, 7)
    assert all(one.done <= one.known for one in told)


# When the index is not used


async def test_a_server_without_index_is_read_by_the_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    server, device = clinic(), MemoryPeer("device", "d")
    server.has_index = False
    outcome = await pull(server, device)
    assert (outcome.by_index, outcome.lacks_index, outcome.documents) == (False, False, 10)
    monkeypatch.setattr("icure_sync.engine.attempt.INDEX_PAYS", 30)
    assert (await pull(server, MemoryPeer("device", "e"), seed=2)).lacks_index is False  # a session is there already
    other = Plan("device-2", HCP, Direction.PULL, SELECTOR)
    assert (await pull(server, MemoryPeer("device", "e"), other)).lacks_index


async def test_a_small_server_is_read_by_the_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icure_sync.engine.first_pull.INDEX_LEAST", 31)
    server = clinic()
    assert not (await pull(server, MemoryPeer("device", "d"))).by_index
    server.put(revision("one-more", rev(1, 1), body=body(HCP)))
    other = Plan("device-2", HCP, Direction.PULL, SELECTOR)
    assert (await pull(server, MemoryPeer("device", "e"), other)).by_index


async def test_a_replica_that_has_many_documents_uses_the_feed() -> None:
    """What is here may be deleted there, and an index names no deleted document."""
    server, device = clinic(), MemoryPeer("device", "d")
    for number in range(OWN_MOST + 1):
        device.put(revision(f"mine-{number}", rev(1, number), body=body(HCP)))
    device.put(revision("own-1", rev(1, 2), body=body(HCP)))
    server.put(revision("own-1", rev(2, 9), rev(1, 2), body=b"{}", deleted=True))
    assert not (await pull(server, device)).by_index
    assert device.tree(DocId("own-1")).winner().deleted


async def test_what_a_replica_had_before_is_asked_for_too() -> None:
    """It may be deleted there, or changed, before and after the first sync was cut off."""
    server, device = clinic(), MemoryPeer("device", "d")
    for name in ("own-1", "own-2", "mine"):
        device.put(revision(name, rev(1, 2), body=body(HCP)))
    server.put(revision("own-1", rev(2, 9), rev(1, 2), body=b"{}", deleted=True))
    server.put(revision("own-2", rev(2, 7), rev(1, 3), body=body(HCP)))
    breaking = FaultyPeer(server)
    breaking.fail("leaves", BadAnswer("read", "it is something else", "look"))
    with pytest.raises(BadAnswer):
        await pull(breaking, device)
    assert (await pull(server, device, seed=2)).by_index
    assert device.tree(DocId("own-1")).winner().deleted
    assert rev(2, 7) in device.tree(DocId("own-2"))


async def test_a_device_that_was_just_made_pulls_by_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica is never empty: it begins with the document of its Hcp."""
    monkeypatch.setattr("icure_sync.engine.first_pull.INDEX_LEAST", 0)
    identity = Identity.create(hcp_id=HCP, name="Practice A")
    server = clinic()
    async with Replica.open(tmp_path / "new.db", identity, passphrase="a long passphrase") as replica:
        outcome = await replica.pull(server)
    assert (outcome.by_index, outcome.documents) == (True, 10)


async def test_neither_a_keyless_replica_nor_a_push_asks_for_an_index() -> None:
    server, device = clinic(), MemoryPeer("device", "d")
    assert not (await pull(server, device, Plan("device-1", None, Direction.PULL))).by_index
    assert not (await pull(server, MemoryPeer("other", "o"), Plan("device-1", HCP, Direction.PUSH))).by_index
    assert server.asked == []


# Interrupted


def dying(peer: Peer, at: int) -> FaultyPeer:
    """A connection that breaks at its `at`-th step, and stays broken."""

    def fail(_: str, number: int) -> None:
        if number >= at:
            raise GONE

    return FaultyPeer(peer, fail)


async def test_an_interrupted_first_sync_fetches_nothing_twice_and_misses_nothing() -> None:
    server, device = clinic(own=60), MemoryPeer("device", "d")
    broken = FaultyPeer(server)
    broken.fail("leaves", GONE, first=2)
    broken.fail("info", GONE, first=3)  # and nobody answers any more: no document is to blame
    with pytest.raises(Unreachable):
        await pull(broken, device)
    came = set(device.all_leaves())
    assert 0 < len(came) < 60
    server.asked.clear()
    first = min(came)
    server.put(revision(first, rev(2, 99), rev(1, int(first[4:]) + 1), body=b"{}", deleted=True))
    server.put(revision("own-59", rev(2, 99), rev(1, 60), body=body("hcp-b")))
    outcome = await pull(server, device, seed=2)
    assert outcome.by_index
    assert not (came - {first}) & set(server.asked)
    assert device.tree(DocId(first)).winner().deleted
    assert DocId("own-59") not in device.all_leaves()
    assert len(device.all_leaves()) == 59


async def test_what_came_from_elsewhere_between_and_is_deleted_there_is_deleted_here() -> None:
    server, device = clinic(own=60), MemoryPeer("device", "d")
    old = revision("old", rev(1, 1), body=body(HCP))
    server.put(old)
    server.put(revision("old", rev(2, 2), rev(1, 1), body=body(HCP), deleted=True))
    broken = FaultyPeer(server)
    broken.fail("leaves", GONE, first=2)
    broken.fail("info", GONE, first=3)
    with pytest.raises(Unreachable):
        await pull(broken, device)
    device.put(old)  # another device, which had not heard of the deletion either, was synced with
    assert (await pull(server, device, seed=2)).by_index
    assert device.tree(DocId("old")).winner().deleted


async def test_a_document_cut_off_between_two_leaves_is_made_whole() -> None:
    server, device = IndexedPeer(), MemoryPeer("device", "d")
    leaves = [revision("twins", rev(1, mark), body=body(HCP, n=mark)) for mark in (1, 2)]
    for leaf in leaves:
        server.put(leaf)
    broken = FaultyPeer(server)
    broken.change("leaves", lambda answer: answer[:1])
    broken.fail("changes", GONE)
    broken.fail("write_local", GONE, first=3)  # the mark and the name are left, the checkpoint is not written
    with pytest.raises(Unreachable):
        await pull(broken, device)
    assert len(device.tree(DocId("twins")).leaves()) == 1
    assert (await pull(server, device, seed=2)).by_index
    assert len(device.tree(DocId("twins")).leaves()) == 2


async def test_a_database_made_anew_between_is_read_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icure_sync.engine.first_pull.OWN_MOST", 0)
    server, device = clinic(own=60), MemoryPeer("device", "d")
    broken = FaultyPeer(server)
    broken.fail("leaves", GONE, first=2)
    broken.fail("info", GONE, first=3)
    with pytest.raises(Unreachable):
        await pull(broken, device)
    again = IndexedPeer("server", "2")
    again.put(revision("own-0", rev(2, 7), rev(1, 1), body=b"{}", deleted=True))
    again.put(revision("fresh", rev(1, 7), body=body(HCP)))
    assert not (await pull(again, device, seed=2)).by_index
    assert device.tree(DocId("fresh"))
    assert device.tree(DocId("own-0")).winner().deleted


async def test_a_pin_counts_only_in_a_database_that_has_come_so_far() -> None:
    """A server that was put back as it was before the pin must not be taken for the one that was pinned."""
    server, device = clinic(own=4), MemoryPeer("device", "d")

    async def cut_off(source: Peer, seed: int) -> None:
        broken = FaultyPeer(source)
        broken.fail("leaves", GONE)
        broken.fail("info", GONE, first=2)
        with pytest.raises(Unreachable):
            await pull(broken, device, seed=seed)

    await cut_off(server, 2)
    backup = server.backup()
    elsewhere = IndexedPeer("elsewhere", "2")
    elsewhere.put(revision("theirs", rev(1, 1), body=body(HCP)))
    await cut_off(elsewhere, 4)
    for number in range(20):
        server.put(revision(f"more-{number}", rev(1, 1), body=body("hcp-b")))
    await cut_off(server, 5)
    await pull(backup, device, seed=6)
    backup.put(revision("later", rev(1, 1), body=body(HCP)))
    await pull(backup, device, seed=7)
    assert device.tree(DocId("later"))


async def test_a_server_put_back_at_any_step_before_the_first_documents_come_is_read_anew() -> None:
    """Whatever seq it had given before is none of the database that is there now."""
    steps: list[str] = []
    while "leaves" not in steps:
        server, device = clinic(own=2 * PAGE), MemoryPeer("device", "d")
        backup = server.backup()
        for number in range(20):
            server.put(revision(f"more-{number}", rev(1, 1), body=body("hcp-b")))
        source = put_back(server, backup, len(steps) + 1)
        await pull(source, device)
        backup.put(revision("later", rev(1, 1), body=body(HCP)))
        await pull(backup, device, seed=2)
        steps = source.calls[: len(steps) + 1]
        assert device.tree(DocId("later")), steps
    assert "listed" in steps


async def test_a_mark_that_was_left_before_is_no_obstacle_on_a_server_that_knows_conflicts() -> None:
    seen: set[str] = set()

    class Insisting(FaultyPeer):
        """As other servers: a `_local` document is written by those alone who know what is there."""

        async def read_local(self, local_id: str) -> Mapping[str, Any] | None:
            seen.add(local_id)
            return await super().read_local(local_id)

        async def write_local(self, local_id: str, document: Mapping[str, Any]) -> None:
            if local_id not in seen and await super().read_local(local_id) is not None:
                raise CheckpointConflict("write it", "it is another one by now", "read it again")
            seen.add(local_id)
            await super().write_local(local_id, document)

    server, device = Insisting(clinic()), MemoryPeer("device", "d")
    server.fail("write_local", GONE, first=2, times=50)  # the mark is left, the name is not
    with pytest.raises(Unreachable):
        await pull(server, device)
    seen.clear()
    assert (await pull(Insisting(server.inner), device, seed=2)).by_index


def put_back(server: IndexedPeer, backup: IndexedPeer, at: int) -> FaultyPeer:
    """A server that is, from its `at`-th step on, what it was when the backup was made."""

    def switch(_: str, number: int) -> None:
        if number == at:
            source.inner = backup

    source = FaultyPeer(server, switch)
    return source


documents = st.sampled_from([DocId(name) for name in "abcdefgh"])
delegates = st.sampled_from([[HCP], [HCP], [HCP, "hcp-b"], ["hcp-b"], []])
kinds = st.sampled_from(["edit", "edit", "branch", "delete", "bare", "shared"])
writes = st.tuples(st.just("write"), documents, kinds, delegates)
pulls = st.tuples(st.just("pull"), st.integers(1, 60))
turns = st.tuples(st.sampled_from(["recreate", "back up", "put back", "index", "no index"]))
worlds = st.lists(writes, min_size=4, max_size=25)
ends = st.lists(writes, max_size=3)
schedules = st.tuples(worlds, pulls, st.lists(st.one_of(writes, pulls, turns), max_size=14)).map(
    lambda parts: [*parts[0], parts[1], *parts[2]]
)


@pytest.fixture(scope="module", autouse=True)
def _small_databases() -> Iterator[None]:
    """A first sync goes by the index here, has many steps, and can be cut off between any two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("icure_sync.engine.first_pull.INDEX_LEAST", 0)
        patch.setattr("icure_sync.engine.first_pull.FIRST_BATCH", 1)
        patch.setattr("icure_sync.replication.batching.MAX_BATCH", 2)
        yield


def write(server: IndexedPeer, doc_id: DocId, kind: str, named: Sequence[str], mark: int) -> None:
    """One write by somebody. `branch`: beside the winner, not under it; `bare`: a deletion by other software."""
    tree = server.tree(doc_id)
    above = tree.history(tree.winner().rev) if tree else ()
    history = (rev(len(above) + 1, mark), *above)
    if kind == "branch":
        history = (rev(max(len(above), 1), mark), *above[1:])
    text = {"bare": b"{}", "shared": b'{"type":"DeviceHead"}'}.get(kind, body(*named, n=mark))
    server.put(Revision(doc_id, history, text, kind in ("delete", "bare")))


async def play(schedule: Sequence[tuple], device: Peer) -> IndexedPeer:
    """Returns the server as it is in the end."""
    server, kept = IndexedPeer(), None
    for step, (action, *rest) in enumerate(schedule):
        match action:
            case "write":
                write(server, *rest, mark=step + 1)
            case "pull":
                with contextlib.suppress(PeerError):
                    await pull(dying(server, *rest), device, seed=step)
            case "recreate":
                server = IndexedPeer("server", f"again-{step}")
            case "back up":
                kept = server.backup()
            case "put back" if kept is not None:
                server, kept = kept, kept.backup()
            case "index" | "no index":
                server.has_index = action == "index"
    return server


async def check_complete(server: IndexedPeer, device: Peer, *, one_server: bool = True) -> None:
    """The device has every live leaf that the feed passes, and nothing that the filter does not pass.

    If it has met one server only, it has of documents that it holds the deleted leaves, too.
    """
    expected = (await by_feed(server)).all_leaves()
    held = await revisions_of(device)
    for doc_id, leaves in expected.items():
        missing = (await device.missing({doc_id: [leaf.rev for leaf in leaves]})).get(doc_id, Missing(()))
        lacking = [leaf for leaf in leaves if leaf.rev in missing.revs]
        assert all(leaf.deleted for leaf in lacking), (doc_id, lacking)
        assert not (one_server and lacking and doc_id in held), (doc_id, lacking)
    assert all(passes_leaf(SELECTOR, leaf) for leaves in held.values() for leaf in leaves)


@settings(max_examples=250)
@given(schedules, ends)
def test_whatever_happened_before_a_pull_brings_everything(schedule: list[tuple], end: list[tuple]) -> None:
    async def scenario() -> None:
        device = MemoryPeer("device", "d")
        server = await play(schedule, device)
        one_server = not {"recreate", "put back"} & {action for action, *_ in schedule}
        await pull(server, device, seed=1000)
        await check_complete(server, device, one_server=one_server)
        assert (await pull(server, device, seed=1001)).documents == 0
        for mark, (_, *rest) in enumerate(end, start=1001):
            write(server, *rest, mark=mark)
        await pull(server, device, seed=1002)
        await check_complete(server, device, one_server=one_server)

    asyncio.run(scenario())


@settings(max_examples=25)
@given(schedules)
def test_the_same_holds_for_an_encrypted_store(tmp_path_factory: pytest.TempPathFactory, schedule: list[tuple]) -> None:
    async def scenario() -> None:
        store = Store.open(tmp_path_factory.mktemp("law") / "replica.db", bytes(32))
        try:
            device = LocalPeer(store)
            server = await play(schedule, device)
            await pull(server, device, seed=1000)
            await check_complete(server, device, one_server=False)
        finally:
            store.close()

    asyncio.run(scenario())


@given(worlds)
def test_by_the_index_comes_what_the_feed_brings_of_documents_that_are_not_deleted(world: list[tuple]) -> None:
    async def scenario() -> None:
        device = MemoryPeer("device", "d")
        server = await play(world, device)
        assert (await pull(server, device)).by_index
        feed = (await by_feed(server)).all_leaves()
        mine = device.all_leaves()
        assert {doc_id: feed[doc_id] for doc_id in mine} == mine
        assert all(leaf.deleted for doc_id in feed.keys() - mine.keys() for leaf in feed[doc_id])

    asyncio.run(scenario())


async def test_a_first_sync_killed_at_any_await_is_finished_by_the_next_one() -> None:
    turns = 0
    while True:
        turns += 1
        server, device = clinic(own=30, others=4), MemoryPeer("device", "d")
        write(server, DocId("own-1"), "branch", [HCP], 500)
        finished = await killed(pull(FaultyPeer(server), device), turns)
        write(server, DocId("own-2"), "bare", [], 501)
        write(server, DocId("other-2"), "edit", [HCP], 502)
        await pull(server, device, seed=2)
        await check_complete(server, device)
        if finished:
            break
    assert turns > 10


# What a source does not give


def refusing(server: Peer, poison: str) -> FaultyPeer:
    """A server that refuses every request for one document."""

    class Refusing(FaultyPeer):
        async def leaves(self, ids: Sequence[DocId]) -> Sequence[Revision | Refusal]:
            if DocId(poison) in ids:
                raise BatchRefused("read documents", "bad_request", "it makes us stumble")
            return await super().leaves(ids)

        async def fetch(self, revs: dict[DocId, Sequence[Rev]]) -> Sequence[Revision | Refusal]:
            if DocId(poison) in revs:
                raise BatchRefused("read documents", "bad_request", "it makes us stumble")
            return await super().fetch(revs)

    return Refusing(server)


async def test_a_poison_document_is_recorded_and_blocks_nothing() -> None:
    server, device = clinic(own=30), MemoryPeer("device", "d")
    outcome = await pull(refusing(server, "own-7"), device)
    assert outcome.by_index
    assert [(one.id, one.rev, one.error) for one in outcome.refused] == [("own-7", rev(1, 8), "bad_request")]
    assert len(device.all_leaves()) == 29
    assert outcome.seq == (await server.info()).update_seq
    assert (await pull(server, device, seed=2)).refused == ()
    assert len(device.all_leaves()) == 30


class Picky(MemoryPeer):
    """A device that does not take some documents."""

    def __init__(self, *refused: str) -> None:
        super().__init__("device", "d")
        self.refused = refused

    async def write(self, revisions: Sequence[Revision], source: Peer) -> Sequence[Refusal]:
        taken = [one for one in revisions if one.id not in self.refused]
        forbidden = [Refusal(one.id, one.rev, "forbidden", "not here") for one in revisions if one.id in self.refused]
        return [*await super().write(taken, source), *forbidden]


async def test_a_document_that_the_device_does_not_take_is_recorded() -> None:
    server, device = clinic(own=5), Picky("own-3")
    outcome = await pull(server, device)
    assert [(one.id, one.rev, one.error) for one in outcome.refused] == [("own-3", rev(1, 4), "forbidden")]
    assert (outcome.documents, outcome.seq) == (4, (await server.info()).update_seq)
    device.refused = ()
    assert (await pull(server, device, seed=2)).refused == ()
    assert len(device.all_leaves()) == 5


async def test_a_document_purged_since_the_index_named_it_is_owed_by_nobody() -> None:
    server, device = clinic(own=2 * PAGE), MemoryPeer("device", "d")
    source = FaultyPeer(server)

    def purge(listing: Listing) -> Listing:
        if DocId("own-1") in server.all_leaves():
            server.remove(DocId("own-1"))
        return listing

    source.change("listed", purge)
    outcome = await pull(source, device)
    assert (outcome.by_index, outcome.refused) == (True, ())
    assert outcome.seq == (await server.info()).update_seq


async def test_leaves_that_do_not_come_are_asked_for_one_by_one() -> None:
    server, device = clinic(own=8), MemoryPeer("device", "d")
    source = FaultyPeer(server)
    source.change("leaves", lambda answer: [one for one in answer if one.id not in ("own-3", "own-4")])
    outcome = await pull(source, device)
    assert (outcome.refused, outcome.documents) == ((), 8)


async def test_what_nobody_asked_for_is_not_written() -> None:
    server, device = clinic(own=3), MemoryPeer("device", "d")
    source = FaultyPeer(server)
    source.change("leaves", lambda answer: [*answer, revision("uninvited", rev(1, 1), body=body(HCP))])
    await pull(source, device)
    assert len(device.all_leaves()) == 3


async def test_a_trouble_that_nobody_can_name_is_left_to_the_feed() -> None:
    server, device = clinic(own=8), MemoryPeer("device", "d")
    source = FaultyPeer(server)
    source.change("leaves", lambda answer: [one for one in answer if one.id != "own-3"])
    source.change("missing", lambda answer: {doc_id: Missing(one.revs) for doc_id, one in answer.items()})
    outcome = await pull(source, device)
    assert (outcome.refused, outcome.documents) == ((), 8)
    assert device.all_leaves() == (await by_feed(server)).all_leaves()


async def test_a_revision_id_that_no_replica_accepts_is_quarantined() -> None:
    server, device = clinic(own=2), MemoryPeer("device", "d")
    source = FaultyPeer(server)
    odd = Rev(f"{2**53 + 1}-{'a' * 32}")

    def replaced(answer: Sequence[Revision]) -> list[Revision]:
        return [revision(one.id, odd, body=one.body) if one.id == "own-1" else one for one in answer]

    source.change("leaves", replaced)
    outcome = await pull(source, device)
    assert (DocId("own-1"), odd, "quarantined") in {(one.id, one.rev, one.error) for one in outcome.refused}


async def test_a_full_record_leaves_the_rest_to_the_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_module, "MAX_RECORDED", 1)
    server, device = clinic(own=30), Picky("own-1", "own-20")
    outcome = await pull(server, device)
    assert outcome.by_index
    assert outcome.seq != (await server.info()).update_seq  # the checkpoint waits
    assert len(device.all_leaves()) == 28
    device.refused = ()
    outcome = await pull(server, device, seed=2)
    assert (outcome.refused, outcome.seq) == ((), (await server.info()).update_seq)
    assert len(device.all_leaves()) == 30


async def test_an_index_that_stumbles_is_read_again_from_its_beginning() -> None:
    server, device = clinic(own=4 * PAGE), MemoryPeer("device", "d")
    source = FaultyPeer(server)
    source.fail("listed done", GONE, first=3, times=2)
    outcome = await pull(source, device)
    assert outcome.by_index
    assert len(device.all_leaves()) == 4 * PAGE


THREE = ("read the index", "it does not work", "look into the server's log")


@pytest.mark.parametrize(
    "error", [NotFound(*THREE), TimedOut(*THREE), BadAnswer(*THREE), ServerFailed("read the index", "boom", "")]
)
@pytest.mark.parametrize("call", ["listed", "listed done"])
async def test_an_index_that_cannot_be_read_is_as_good_as_none(error: IcureSyncError, call: str) -> None:
    server, device = clinic(own=3 * PAGE), MemoryPeer("device", "d")
    source = FaultyPeer(server)
    source.fail(call, error, first=1 if call == "listed" else 2)
    outcome = await pull(source, device)
    assert outcome.seq == (await server.info()).update_seq
    assert device.all_leaves() == (await by_feed(server)).all_leaves()
    assert not isinstance(error, TimedOut) or source.calls.count("listed") == 1  # it is not waited for again


async def test_a_server_that_is_gone_while_its_index_is_read_ends_the_attempt_with_its_error() -> None:
    source = FaultyPeer(clinic())
    source.fail("listed", GONE)
    with pytest.raises(Unreachable):
        await pull(source, MemoryPeer("device", "d"))


async def test_a_name_that_somebody_else_left_meanwhile_makes_the_attempt_begin_again() -> None:
    """Two copies of one replica: neither may record in the log what the other has done."""
    server, device = clinic(own=5), MemoryPeer("device", "d")
    source = FaultyPeer(server)
    stolen = []

    def steal(answer: Sequence[Revision]) -> Sequence[Revision]:
        if not stolen:
            stolen.append(True)
            server._local[PULL.log_id] = {"name": "f" * 32, "history": []}
        return answer

    source.change("leaves", steal)
    await pull(source, device)
    assert len(device.all_leaves()) == 5
    assert server._local[PULL.log_id]["history"]


# Real servers


@pytest.fixture(params=["hub", *REAL_SERVERS])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A provisioned database on a real server."""
    async with contextlib.AsyncExitStack() as opened:
        if request.param == "hub":
            server = await opened.enter_async_context(fresh_hub(tmp_path))
        else:
            server = request.getfixturevalue("couchdb_url")
        url = await opened.enter_async_context(fresh_database(server))
        await asyncio.to_thread(provision_database, url, Wish())
        yield url


@pytest.fixture
async def device(tmp_path: Path) -> AsyncIterator[Callable[[str], LocalPeer]]:
    """Makes empty devices with real files."""
    with contextlib.ExitStack() as opened:

        def made(name: str) -> LocalPeer:
            store = Store.open(tmp_path / f"{name}.db", bytes(32))
            opened.callback(store.close)
            return LocalPeer(store)

        yield made


async def filled() -> MemoryPeer:
    """A few documents of every kind, one with a file."""
    content = MemoryPeer("content")
    world = [(f"doc-{number}", ["edit", "branch", "delete", "bare", "shared"][number % 5]) for number in range(40)]
    server = IndexedPeer()
    for mark, (name, kind) in enumerate([*world, *((name, "edit") for name, _ in world[::3])], start=1):
        write(server, DocId(name), kind, [[HCP], ["hcp-b"], [HCP, "hcp-b"]][mark % 3], mark)
    for doc_id, leaves in (await revisions_of(server)).items():
        for leaf in leaves:
            content.put(Revision(doc_id, leaf.history, leaf.body, leaf.deleted))
    data = {"file": b"x" * 300_000}
    content.put(revision("with-file", rev(1, 1), body=body(HCP), files=data), data)
    content.put(revision("others-file", rev(1, 1), body=body("hcp-b"), files=data), data)
    return content


async def test_a_real_server_gives_by_its_index_what_it_gives_by_the_feed(
    database: str, device: Callable[[str], LocalPeer]
) -> None:
    content = await filled()
    async with CouchPeer(database) as server:
        assert (
            await server.write([one for each in (await revisions_of(content)).values() for one in each], content) == []
        )
        first, second = device("first"), device("second")
        broken = FaultyPeer(server)
        broken.fail("leaves", GONE, first=2)
        broken.fail("info", GONE, first=4)
        with pytest.raises(Unreachable):
            await pull(broken, first)
        write(later := IndexedPeer(), DocId("later"), "edit", [HCP], 900)
        await server.write([one for each in (await revisions_of(later)).values() for one in each], later)
        outcome = await pull(server, first, seed=2)
        assert outcome.by_index
        assert outcome.refused == ()
        await no_index(server, second)
        mine, feed = await revisions_of(first), await revisions_of(second)
        assert DocId("later") in mine
        assert {doc_id: feed[doc_id] for doc_id in mine} == mine
        assert all(leaf.deleted for doc_id in feed.keys() - mine.keys() for leaf in feed[doc_id])
        pieces = first.attachment(DocId("with-file"), rev(1, 1), "file")
        assert b"".join([piece async for piece in pieces]) == b"x" * 300_000
        assert (await pull(server, first, seed=4)).documents == 0


async def no_index(server: Peer, target: Peer) -> None:
    """Pull by the feed, as from a server that was never provisioned."""

    class Unprovisioned(FaultyPeer):
        listed = MemoryPeer.listed  # no page at all

    plan = Plan("device-2", HCP, Direction.PULL, SELECTOR)
    assert not (await pull(Unprovisioned(server), target, plan, seed=3)).by_index


async def test_a_large_server_without_index_is_told_of() -> None:
    server = FaultyPeer(clinic())
    server.change("listed", lambda _: pytest.fail("nothing to read"))
    server.change("info", lambda info: PeerInfo(info.name, info.update_seq, info.instance, 200_000))
    inner = server.inner
    assert isinstance(inner, IndexedPeer)
    inner.has_index = False
    assert (await pull(server, MemoryPeer("device", "d"))).lacks_index
