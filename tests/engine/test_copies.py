"""Copies of one replica file, with one device id and one past, that sync with each other and no server between."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icure_sync.engine.local_peer import LocalPeer
from icure_sync.engine.plan import Plan
from icure_sync.engine.replica import Replica, replica_over
from icure_sync.engine.sync import SyncReport, replicate
from icure_sync.errors import Unreachable
from icure_sync.ids import DocId
from icure_sync.model import Patient
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer
from icure_sync.replication.checkpoint import START, Direction
from icure_sync.replication.wire import Revision
from icure_sync.store import Store
from icure_sync.testing import FaultyPeer
from tests.engine.conftest import DATABASE_KEY
from tests.replicas import rev, revision, seeded_entropy, still_clock
from tests.servers import REAL_SERVERS, fresh_database, fresh_hub

PULL = Plan("device-1", None, Direction.PULL)
PUSH = Plan("device-1", None, Direction.PUSH)


@pytest.fixture(params=["memory", "hub", *REAL_SERVERS])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Peer]:
    if request.param == "memory":
        yield MemoryPeer("clinic")
    elif request.param == "hub":
        async with fresh_hub(tmp_path) as hub, fresh_database(hub) as url:
            yield CouchPeer(url)
    else:
        async with fresh_database(request.getfixturevalue("couchdb_url")) as url:
            yield CouchPeer(url)


class Lives:
    """Replica files by name, each of which may be a copy of another one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.stores: dict[str, Store] = {}

    def open(self, name: str) -> LocalPeer:
        (self._folder / name).mkdir(exist_ok=True)
        self.stores[name] = Store.open(self._folder / name / "replica.db", DATABASE_KEY)
        return LocalPeer(self.stores[name])

    def copy(self, name: str, new: str) -> None:
        """Closes and copies it. Both are to be opened."""
        self.stores.pop(name).close()
        shutil.copytree(self._folder / name, self._folder / new)

    def peer(self, name: str) -> LocalPeer:
        return LocalPeer(self.stores[name])


@contextmanager
def lives_in(folder: Path) -> Iterator[Lives]:
    lives = Lives(folder)
    with ExitStack() as stack:
        stack.callback(lambda: [store.close() for store in lives.stores.values()])
        yield lives


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    with lives_in(tmp_path) as found:
        yield found


# Records


async def copied(lives: Lives, identities, server: Peer) -> tuple[Replica, Replica]:
    """A replica that has synced with a server, and its copy."""

    async def opened(name: str) -> Replica:
        lives.open(name)
        return await lives.stores[name].run(replica_over, lives.stores[name], identities["hcp-a"])

    first = await opened("first")
    for number in range(5):
        await first.save(Patient(first_name=f"early {number}"))
    await first.sync(server)
    lives.copy("first", "second")
    return await opened("first"), await opened("second")


async def patients(replica: Replica) -> dict[str, Patient]:
    return {each.id: each async for each in replica.find(Patient)}


def names(found: dict[str, Patient]) -> set[str]:
    return {each.first_name for each in found.values()}


async def divergent(first: Replica, second: Replica) -> str:
    """What both have is edited in each, and each has records of its own, the second more of them. The patient."""
    [john] = [each for each in (await patients(first)).values() if each.first_name == "early 0"]
    await first.save(john.replace(note="first"))
    await second.save(john.replace(note="second", last_name="Keats"))
    await first.save(Patient(first_name="of the first"))
    for number in range(4):
        await second.save(Patient(first_name=f"of the second {number}"))
    return john.id


def is_quiet(report: SyncReport) -> bool:
    return (report.pulled, report.pushed, report.merged, report.undone) == (0, 0, 0, 0)


@pytest.mark.parametrize("turned", [False, True])
async def test_two_copies_that_wrote_apart_have_everything_after_a_direct_sync_and_are_quiet_then(
    lives, identities, server, turned
):
    first, second = await copied(lives, identities, server)
    john = await divergent(first, second)
    (here, there), (mine, theirs) = (first, second), (lives.peer("first"), lives.peer("second"))
    if turned:
        (here, there), (mine, theirs) = (there, here), (theirs, mine)
    await here.sync(theirs)
    await there.sync(mine)
    found = await patients(first)
    assert found == await patients(second)
    assert names(found) == {
        *(f"early {number}" for number in range(5)),
        "of the first",
        *(f"of the second {number}" for number in range(4)),
    }
    assert found[john].last_name == "Keats"
    assert {found[john].note, *found[john].alternatives["note"]} == {"first", "second"}
    await here.sync(theirs)
    assert is_quiet(await there.sync(mine))
    assert is_quiet(await here.sync(theirs))
    assert await patients(first) == await patients(second) == found


async def test_copies_that_synced_directly_sync_with_their_server_and_a_new_one_as_before(
    lives, identities, server, open_replica
):
    first, second = await copied(lives, identities, server)
    john = await divergent(first, second)
    await first.sync(lives.peer("second"))
    await first.sync(server)
    await first.save(Patient(first_name="later"))
    await second.save(Patient(first_name="later still"))
    await second.sync(server)
    await second.sync(lives.peer("first"))
    await first.sync(lives.peer("second"))
    other = MemoryPeer("another")
    for side in (server, other):
        for replica in (first, second, first, second):
            await replica.sync(side)
    found = await patients(first)
    assert len(found) == 12
    assert {found[john].note, *found[john].alternatives["note"]} == {"first", "second"}
    for number, side in enumerate((server, other)):
        phone = await open_replica("hcp-a", f"phone-{number}")
        await phone.sync(side)
        assert await patients(phone) == await patients(second) == found
        assert is_quiet(await first.sync(side))


# Checkpoints


async def held(peer: Peer) -> set[tuple[str, str]]:
    return {(row.id, leaf) for row in (await peer.changes(START, limit=1_000)).rows for leaf in row.leaves}


async def has_all_of(peer: Peer, other: Peer) -> bool:
    """Whether a peer has every leaf of another one, itself or below one of its own."""
    asked: dict[DocId, list] = {}
    for doc_id, leaf in await held(other):
        asked.setdefault(DocId(doc_id), []).append(leaf)
    return not await peer.missing(asked)


def inner(peer: Peer) -> Peer:
    return peer.inner if isinstance(peer, FaultyPeer) else peer


class Meetings:
    """Replications under one device id, each of which must bring everything."""

    def __init__(self) -> None:
        self.marks = 0

    async def write(self, peer: Peer, count: int = 1) -> None:
        for _ in range(count):
            self.marks += 1
            assert await peer.write([revision(f"doc-{self.marks}", rev(1, self.marks))], MemoryPeer()) == []

    async def edit(self, peer: Peer, number: int) -> None:
        """Another revision of the n-th document, if there is one."""
        rows = (await peer.changes(START, limit=1_000)).rows
        if rows:
            self.marks += 1
            row = rows[number % len(rows)]
            (found,) = await peer.fetch({row.id: [row.leaves[0]]})
            assert isinstance(found, Revision)
            history = (rev(len(found.history) + 1, self.marks), *found.history)
            assert await peer.write([revision(row.id, *history)], MemoryPeer()) == []

    async def meet(self, device: Peer, other: Peer, way: Direction) -> int:
        """The number of documents that it took."""
        self.marks += 1
        plan, source, target = (PULL, other, device) if way is Direction.PULL else (PUSH, device, other)
        outcome = await replicate(source, target, plan, clock=still_clock(), entropy=seeded_entropy(self.marks))
        assert outcome.refused == ()
        assert await has_all_of(inner(target), inner(source)), f"{way} left something behind"
        return outcome.documents


async def three_copies(lives: Lives, meetings: Meetings) -> tuple[LocalPeer, LocalPeer, LocalPeer]:
    """Of a replica that has pulled from a server."""
    first, clinic = lives.open("first"), MemoryPeer("clinic")
    await meetings.write(clinic, 9)
    await meetings.meet(first, clinic, Direction.PULL)
    lives.copy("first", "second")
    lives.open("first")
    lives.copy("first", "third")
    return lives.open("first"), lives.open("second"), lives.open("third")


async def test_a_servers_seq_is_never_taken_for_one_of_a_copy(lives: Lives):
    """All three have a session with the server in common, and none with each other."""
    meetings = Meetings()
    first, second, third = await three_copies(lives, meetings)
    await meetings.write(first)
    assert await meetings.meet(second, first, Direction.PULL) == 1
    assert await meetings.meet(third, first, Direction.PULL) == 1


@pytest.mark.parametrize("way", [*Direction])
async def test_a_sync_of_copies_that_is_cut_off_between_the_two_logs_is_finished_by_the_next(
    lives: Lives, way: Direction
):
    meetings = Meetings()
    first, second, _ = await three_copies(lives, meetings)
    for _ in range(3):
        await meetings.write(first)
        await meetings.write(second)
        cut = FaultyPeer(first)
        cut.fail("write_local done", Unreachable("write a log", "the connection is gone", "try again"), times=99)
        with pytest.raises(Unreachable):
            await meetings.meet(second, cut, way)
        await meetings.meet(second, first, way)
        await meetings.meet(first, second, way)


async def test_copies_go_on_from_where_they_were_with_each_other_and_with_their_server(lives: Lives):
    meetings, clinic = Meetings(), MemoryPeer("clinic")
    first, second, _ = await three_copies(lives, meetings)
    await meetings.write(second, 3)
    pairs = [(first, second), (second, first), (first, clinic), (second, clinic)]
    for _ in range(2):
        for device, other in pairs:
            for way in Direction:
                await meetings.meet(device, other, way)
    for device, other in pairs:
        watched = FaultyPeer(other)
        for way in Direction:
            assert await meetings.meet(device, watched, way) == 0
        assert not {"fetch", "write", "missing", "write_local"} & set(watched.calls)


@pytest.mark.parametrize("order", list(permutations(["first pulls", "second pulls", "first pushes", "second pushes"])))
async def test_a_seq_of_one_copy_is_never_taken_for_one_of_the_other(lives: Lives, order: Sequence[str]):
    """The second has the higher seqs: from one of them on, the first's feed is silent about what it wrote last."""
    meetings, first = Meetings(), lives.open("first")
    await meetings.write(first, 3)
    await meetings.meet(first, MemoryPeer("clinic"), Direction.PUSH)
    lives.copy("first", "second")
    first, second = lives.open("first"), lives.open("second")
    await meetings.write(second, 9)
    for _ in range(2):
        for step in order:
            await meetings.write(first)
            device, other = (first, second) if step.startswith("first") else (second, first)
            await meetings.meet(device, other, Direction.PULL if step.endswith("pulls") else Direction.PUSH)


async def test_a_seq_that_one_copy_recorded_of_another_is_never_taken_for_one_of_its_own(lives: Lives):
    """Its own copy has that session too, and fewer changes than the seq says."""
    meetings, first = Meetings(), lives.open("first")
    lives.copy("first", "second")
    first, second = lives.open("first"), lives.open("second")
    await meetings.write(second, 3)
    for number in range(30):
        await meetings.edit(second, number)
    await meetings.meet(first, second, Direction.PULL)
    lives.copy("first", "third")
    first, third = lives.open("first"), lives.open("third")
    await meetings.meet(second, third, Direction.PULL)
    await meetings.write(third)
    assert await meetings.meet(first, third, Direction.PULL) == 1


async def test_a_copy_of_a_copy_knows_what_its_past_has_recorded_and_no_more(lives: Lives):
    """A copy of what both have synced with goes on where that was; what came since is the other's alone."""
    meetings, first, clinic = Meetings(), lives.open("first"), MemoryPeer("clinic")
    await meetings.write(first, 3)
    lives.copy("first", "second")
    first, second = lives.open("first"), lives.open("second")
    await meetings.write(second, 20)
    await meetings.meet(first, second, Direction.PULL)
    await meetings.meet(second, first, Direction.PULL)
    lives.copy("second", "third")
    second, third = lives.open("second"), lives.open("third")
    await meetings.write(second, 1)
    await meetings.write(third, 2)
    await meetings.meet(second, clinic, Direction.PUSH)
    assert await meetings.meet(first, third, Direction.PULL) == 2
    assert await meetings.meet(first, second, Direction.PULL) == 1
    assert await meetings.meet(third, second, Direction.PULL) == 1
    assert await meetings.meet(third, clinic, Direction.PULL) == 0
    assert await meetings.meet(second, third, Direction.PULL) == 2


LIVES = 4
ones = st.integers(0, LIVES - 1)
steps = st.one_of(
    st.tuples(st.just("write"), ones, st.integers(1, 4)),
    st.tuples(st.just("edit"), ones, st.integers(0, 9)),
    st.tuples(st.just("copy"), ones, st.none()),
    st.tuples(st.sampled_from([*Direction]), ones, ones),
    st.tuples(st.sampled_from([*Direction]), ones, st.just("clinic")),
)


@settings(max_examples=25)
@given(st.lists(steps, max_size=30))
def test_whatever_copies_are_made_each_replication_brings_everything(schedule: list[tuple]):
    async def scenario(lives: Lives) -> None:
        meetings, clinic = Meetings(), MemoryPeer("clinic")
        await meetings.write(lives.open("0"), 2)
        for action, one, what in schedule:
            name = str(one % len(lives.stores))
            if action == "write":
                await meetings.write(lives.peer(name), what)
            elif action == "edit":
                await meetings.edit(lives.peer(name), what)
            elif action != "copy":
                other = clinic if what == "clinic" else lives.peer(str(what % len(lives.stores)))
                if what == "clinic" or str(what % len(lives.stores)) != name:
                    await meetings.meet(lives.peer(name), other, action)
            elif len(lives.stores) < LIVES:
                new = str(len(lives.stores))
                lives.copy(name, new)
                lives.open(name)
                lives.open(new)

    with tempfile.TemporaryDirectory() as folder, lives_in(Path(folder)) as lives:
        asyncio.run(scenario(lives))
