"""Live sync: changes go over as they are made; troubles are waited out, told, or end it with their error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from icure_sync.engine import live as live_module
from icure_sync.engine.clock import SYSTEM_CLOCK, Clock
from icure_sync.engine.live import Live
from icure_sync.engine.progress import Phase, Progress
from icure_sync.errors import (
    DatabaseMissing,
    IcureSyncError,
    StoreCorrupt,
    StoreFull,
    Throttled,
    Unauthorized,
    Unreachable,
)
from icure_sync.hub.server import Hub
from icure_sync.ids import DocId, Seq
from icure_sync.model import Patient
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Selector
from icure_sync.replication import limits
from icure_sync.replication.checkpoint import Direction
from icure_sync.replication.wire import Changes, Refusal
from icure_sync.testing import FaultyPeer
from tests.replicas import revision
from tests.servers import REAL_SERVERS, fresh_database

PATIENCE = 60.0  # seconds that a test waits for what must come
THREE = ("sync", "it fails", "try again")


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with Hub(tmp_path / "hub", admin=("admin", "secret")) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": aiohttp.encode_basic_auth("admin", "secret")}
    async with aiohttp.ClientSession(headers=headers) as opened:
        yield opened


def peer_of(hub: Hub, password: str = "secret") -> CouchPeer:
    return CouchPeer(hub.url.replace("//", f"//admin:{password}@") + "/clinic")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  (what is looked at says nothing when it changes)
            await asyncio.sleep(0.01)


async def name_of(replica, patient) -> str | None:
    """The patient's first name as this device knows it, None as long as it does not."""
    found = [one.first_name async for one in replica.find(Patient) if one.id == patient.id]
    return found[0] if found else None


async def until_named(replica, patient, name: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while await name_of(replica, patient) != name:  # noqa: ASYNC110  (a replica does not tell of single records)
            await asyncio.sleep(0.01)


def silent_clock(waits: list[float], *, patience: float = 1.0) -> Clock:
    """Sleeps of up to `patience` seconds take none; longer ones never end, and nobody waits for them."""

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0 if seconds <= patience else PATIENCE * 10)

    return Clock(SYSTEM_CLOCK.now, SYSTEM_CLOCK.monotonic, sleep)


# Both ways


@pytest.fixture(params=["hub", *REAL_SERVERS])
async def database(request: pytest.FixtureRequest, hub: Hub) -> AsyncIterator[str]:
    """The URL of an empty database, with its login."""
    server = hub.url.replace("//", "//admin:secret@")
    if request.param == "couchdb":
        server = request.getfixturevalue("couchdb_url")
    async with fresh_database(server) as url:
        yield url


async def test_what_one_device_saves_another_has_without_being_asked(open_replica, database):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    async with laptop.live(CouchPeer(database)), phone.live(CouchPeer(database)):
        john = await laptop.save(Patient(first_name="John"))
        await until_named(phone, john, "John")
        here = await phone.get(Patient, john.id)
        await phone.save(here.replace(first_name="Johnny"))
        await until_named(laptop, john, "Johnny")


async def test_caught_up_means_that_everything_saved_is_with_the_server(open_replica, server):
    laptop = await open_replica("hcp-a", "laptop")
    async with laptop.live(server) as live:
        for number in range(30):
            john = await laptop.save(Patient(first_name=f"John {number}"))
            await asyncio.wait_for(live.caught_up(), PATIENCE)
            assert john.id in server.all_leaves()
    assert (await laptop.status()).unsent == 0


async def test_leaving_sends_what_was_saved_last(open_replica, server):
    laptop = await open_replica("hcp-a", "laptop")
    async with laptop.live(server) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
        john = await laptop.save(Patient(first_name="John"))
    assert john.id in server.all_leaves()
    assert (await laptop.status()).unsent == 0


async def test_a_key_that_comes_live_opens_what_comes_with_it(open_replica, server):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    async with a.live(server) as live_a, b.live(server) as live_b:
        for live in (live_a, live_b, live_a):
            await asyncio.wait_for(live.caught_up(), PATIENCE)
        john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
        await until_named(b, john, "John")


async def test_what_came_live_is_not_asked_for_again_on_the_way_back(open_replica, server):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    watched = FaultyPeer(server)
    async with phone.live(watched) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
        asked = watched.calls.count("missing")
        for number in range(5):
            john = await laptop.save(Patient(first_name=f"John {number}"))
            await laptop.sync(server)
            await until_named(phone, john, f"John {number}")
        await asyncio.wait_for(live.caught_up(), PATIENCE)
        assert watched.calls.count("missing") == asked
    assert (await phone.status()).unsent == 0


async def test_what_is_saved_live_is_sent_without_asking_and_many_changes_are_asked_for_first(open_replica, server):
    laptop = await open_replica("hcp-a", "laptop")
    watched = FaultyPeer(server)
    async with laptop.live(watched) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
        asked = watched.calls.count("missing")
        for number in range(5):
            await laptop.save(Patient(first_name=f"John {number}"))
            await asyncio.wait_for(live.caught_up(), PATIENCE)
        assert watched.calls.count("missing") == asked
        assert len(server.all_leaves()) == 6
    for number in range(limits.UNASKED + 1):
        await laptop.save(Patient(first_name=f"James {number}"))
    watched = FaultyPeer(server)
    async with laptop.live(watched) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
    assert "missing" in watched.calls
    assert len(server.all_leaves()) == 8 + limits.UNASKED  # with the Hcp document, and the device's head


async def test_a_live_sync_goes_on_from_its_checkpoint(open_replica, server):
    phone = await open_replica("hcp-a", "phone")
    for number in range(50):
        server.put(revision(f"tombstone-{number}", f"1-{number:032x}", body=b"{}", deleted=True))
    async with phone.live(server) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
    watched = FaultyPeer(server)
    async with phone.live(watched) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
    assert watched.calls.count("fetch") == 0


async def test_its_events_tell_how_far_each_direction_is_until_it_ends(open_replica, server):
    laptop = await open_replica("hcp-a", "laptop")
    heard: list[Progress] = []

    async def hear(live: Live) -> None:
        async for event in live.events():  # not by a comprehension: what is heard is looked at meanwhile
            heard.append(event)  # noqa: PERF401

    async with asyncio.timeout(PATIENCE):
        async with laptop.live(server) as live:
            listening = asyncio.create_task(hear(live))
            await live.caught_up()
            await laptop.save(Patient(first_name="John"))
            await live.caught_up()
            await until(lambda: [one for one in heard if one.direction is Direction.PUSH][-1].done > 0)
        await listening
    for direction in Direction:
        phases = [one.phase for one in heard if one.direction is direction]
        assert Phase.IDLE in phases
        assert phases[-1] is Phase.DONE


async def test_who_listens_slowly_gets_the_newest_event_of_each_direction(open_replica, server):
    laptop = await open_replica("hcp-a", "laptop")
    async with asyncio.timeout(PATIENCE), laptop.live(server) as live, aclosing(live.events()) as events:
        await anext(events)
        for number in range(5):
            await laptop.save(Patient(first_name=f"John {number}"))
            await live.caught_up()
        newest = [await anext(events), await anext(events)]
        assert newest == [live.progress(one.direction) for one in newest]


# A quiet feed


class Deaf(MemoryPeer):
    """Its filtered feed says nothing of what does not pass, as CouchDB's does."""

    async def follow(self, since: Seq, *, selector: Selector | None = None) -> AsyncIterator[Changes]:
        async with aclosing(super().follow(since, selector=selector)) as pages:
            async for page in pages:
                if page.rows:
                    yield page


async def test_a_quiet_feed_is_asked_how_far_it_is_now_and_then(open_replica, monkeypatch):
    monkeypatch.setattr("icure_sync.engine.feed.QUIET_SECONDS", 0.05)
    server, phone = Deaf("clinic"), await open_replica("hcp-a", "phone")
    async with phone.live(server, waiting=silent_clock([], patience=0.0)) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
    monkeypatch.setattr("icure_sync.engine.feed.QUIET_SECONDS", limits.QUIET_SECONDS)
    for number in range(20):
        server.put(revision(f"foreign-{number}", f"1-{number:032x}", body=b'{"delegations":{"hcp-z":[]}}'))
    watched = FaultyPeer(server)
    async with phone.live(watched) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
    seqs: list[Seq] = []

    class Counting(FaultyPeer):
        async def changes(self, since, *, limit, selector=None):
            seqs.append(since)
            return await super().changes(since, limit=limit, selector=selector)

    await phone.pull(Counting(server))
    assert seqs == [(await server.info()).update_seq]


async def test_before_it_closes_a_filtered_feed_is_asked_how_far_it_is(open_replica):
    server, phone = Deaf("clinic"), await open_replica("hcp-a", "phone")
    async with phone.live(server) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
        for number in range(20):
            server.put(revision(f"foreign-{number}", f"1-{number:032x}", body=b'{"delegations":{"hcp-z":[]}}'))
        last = (await server.info()).update_seq
    outcome = await phone.pull(server)
    assert outcome.since == last


# Troubles that pass


async def test_a_server_that_goes_away_and_comes_back_is_waited_for(open_replica, hub, session, tmp_path):
    await session.put(f"{hub.url}/clinic")
    laptop = await open_replica("hcp-a", "laptop")
    told: list[Progress] = []
    async with laptop.live(peer_of(hub), progress=told.append) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
        port = hub.port
        await hub.close()
        await until(lambda: any(live.progress(way).trouble for way in Direction))
        john = await laptop.save(Patient(first_name="John"))
        async with Hub(tmp_path / "hub", port=port, admin=("admin", "secret")) as again:
            live.try_now()
            await asyncio.wait_for(live.caught_up(), PATIENCE)
            async with session.get(f"{again.url}/clinic/{john.id}") as answer:
                assert answer.status == 200
            assert live.progress(Direction.PUSH).trouble == ""
    assert any(one.phase is Phase.WAITING and "127.0.0.1" in one.trouble for one in told)


async def test_one_failure_is_told_once_whichever_direction_meets_it_and_however_often(open_replica, server):
    calls = 0
    is_down = asyncio.Event()

    def fail(*_: object) -> None:
        nonlocal calls
        calls += 1
        if is_down.is_set():
            raise Unreachable(f"make attempt {calls}", "the line is cut", "check the cable, then sync again")

    laptop = await open_replica("hcp-a", "laptop")
    told: list[Progress] = []
    clock = silent_clock([], patience=limits.BACKOFF_MOST)
    async with laptop.live(FaultyPeer(server, fail), progress=told.append, waiting=clock) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
        for number in (1, 2):
            is_down.set()
            await laptop.save(Patient(first_name=f"John {number}"))
            await until(lambda: sum(one.trouble != "" for one in told) > 6)
            troubles = {one.trouble for one in told if one.phase is Phase.WAITING and one.trouble}
            assert len(troubles) == 1
            assert troubles.pop().endswith(": the line is cut; check the cable")
            is_down.clear()
            await asyncio.wait_for(live.caught_up(), PATIENCE)
            told.clear()


async def test_what_is_refused_is_told_as_soon_as_all_is_settled(open_replica, server):
    laptop = await open_replica("hcp-a", "laptop")
    await laptop.sync(server)
    picky = FaultyPeer(server)
    refusal = Refusal(DocId(""), None, "forbidden", "no patients here")
    async with laptop.live(picky) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
        assert live.progress(Direction.PUSH).refused == ()
        john = await laptop.save(Patient(first_name="John"))
        picky.change("write", lambda _: [replace(refusal, id=john.id, rev=john.rev)])
        await until(lambda: live.progress(Direction.PUSH).refused != ())
        assert live.progress(Direction.PUSH).refused == (replace(refusal, id=john.id, rev=john.rev),)


async def test_a_feed_that_breaks_off_and_is_there_again_is_not_told_of(open_replica, server):
    class Breaking(FaultyPeer):
        async def follow(self, since, *, selector=None):  # noqa: ARG002  (as the port names them)
            await breaks.wait()
            breaks.clear()
            for page in ():
                yield page

    breaks = asyncio.Event()
    laptop = await open_replica("hcp-a", "laptop")
    told: list[Progress] = []
    async with laptop.live(Breaking(server), progress=told.append, waiting=silent_clock([])) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
        breaks.set()
        await until(lambda: any(one.phase is Phase.WAITING for one in told))
        await laptop.save(Patient(first_name="John"))
        await asyncio.wait_for(live.caught_up(), PATIENCE)
    assert not any(one.trouble for one in told)


async def test_the_networks_return_ends_a_pause(open_replica, server, monkeypatch):
    back = asyncio.Event()
    monkeypatch.setattr(live_module, "network_change", back.wait)

    def fail(*_: object) -> None:
        if not back.is_set():
            raise Unreachable(*THREE)

    laptop = await open_replica("hcp-a", "laptop")
    waits: list[float] = []
    async with laptop.live(FaultyPeer(server, fail), waiting=silent_clock(waits, patience=0.0)) as live:
        await until(lambda: all(live.progress(way).phase is Phase.WAITING for way in Direction))
        back.set()
        await asyncio.wait_for(live.caught_up(), PATIENCE)
    assert server.all_leaves()


async def test_pauses_grow_as_long_as_nothing_works(open_replica, server):
    waits: list[float] = []

    def fail(*_: object) -> None:
        raise Unreachable(*THREE)

    laptop = await open_replica("hcp-a", "laptop")
    async with laptop.live(FaultyPeer(server, fail), waiting=silent_clock(waits, patience=25.0)):
        await until(lambda: any(wait > 25 for wait in waits))
    one_way = sorted(waits)[::2]
    assert all(later > earlier for earlier, later in zip(one_way[:5], one_way[2:7], strict=True))
    assert max(waits) <= limits.BACKOFF_MOST


async def test_a_server_that_ends_its_feed_at_once_is_asked_less_and_less_often(open_replica, server):
    class Ending(FaultyPeer):
        async def follow(self, since, *, selector=None):  # noqa: ARG002  (as the port names them)
            for page in ():
                yield page

    waits: list[float] = []
    laptop = await open_replica("hcp-a", "laptop")
    async with laptop.live(Ending(server), waiting=silent_clock(waits, patience=8.0)):
        await until(lambda: any(8 < wait <= 16 for wait in waits))


async def test_a_pause_that_the_server_asks_for_is_kept_whoever_is_impatient(open_replica, server):
    waits: list[float] = []

    def fail(*_: object) -> None:
        raise Throttled(*THREE, 300.0)

    laptop = await open_replica("hcp-a", "laptop")
    watched = FaultyPeer(server, fail)
    async with laptop.live(watched, waiting=silent_clock(waits)) as live:
        await until(lambda: all(live.progress(way).phase is Phase.WAITING for way in Direction))
        tried = len(watched.calls)
        live.try_now()
        await asyncio.sleep(0.05)
        assert len(watched.calls) == tried
    assert all(wait >= 300 for wait in waits)


async def test_a_full_disk_is_waited_for(open_replica, server):
    laptop = await open_replica("hcp-a", "laptop")
    full = True

    def fail(*_: object) -> None:
        if full:
            raise StoreFull(*THREE)

    async with laptop.live(FaultyPeer(server, fail)) as live:
        await until(lambda: all(live.progress(way).phase is Phase.WAITING for way in Direction))
        full = False
        live.try_now()
        await asyncio.wait_for(live.caught_up(), PATIENCE)


async def test_a_feed_that_breaks_lets_finish_what_is_under_way(open_replica, server):
    phone = await open_replica("hcp-a", "phone")
    for number in range(100):
        server.put(revision(f"tombstone-{number}", f"1-{number:032x}", body=b"{}", deleted=True))
    broken = False

    class Breaking(FaultyPeer):
        async def follow(self, since, *, selector=None):
            nonlocal broken
            if not broken:
                broken = True
                raise Unreachable(*THREE)
            async with aclosing(self.inner.follow(since, selector=selector)) as pages:
                async for page in pages:
                    yield page

    watched = Breaking(server)
    async with phone.live(watched) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
    assert broken
    assert (await phone.pull(server)).documents == 0


async def test_a_database_that_is_deleted_is_waited_for_and_made_anew_gets_everything_again(open_replica, hub, session):
    await session.put(f"{hub.url}/clinic")
    laptop = await open_replica("hcp-a", "laptop")
    john = await laptop.save(Patient(first_name="John"))
    async with laptop.live(peer_of(hub)) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
        await session.delete(f"{hub.url}/clinic")
        await until(lambda: any("no database" in live.progress(way).trouble for way in Direction))
        await session.put(f"{hub.url}/clinic")
        async with asyncio.timeout(PATIENCE):
            while (await session.get(f"{hub.url}/clinic/{john.id}")).status != 200:
                live.try_now()
                await asyncio.sleep(0.05)


# Errors that stay


async def test_a_wrong_password_ends_it_with_that_error(open_replica, hub, session):
    await session.put(f"{hub.url}/clinic")
    laptop = await open_replica("hcp-a", "laptop")
    with pytest.raises(Unauthorized):
        async with laptop.live(peer_of(hub, "wrong")) as live:
            await asyncio.wait_for(live.ended(), PATIENCE)


@pytest.mark.parametrize("error", [DatabaseMissing(*THREE), StoreCorrupt(*THREE)])
async def test_an_error_that_stays_is_raised_by_whoever_waits_and_when_the_context_is_left(
    open_replica, server, error: IcureSyncError
):
    def fail(*_: object) -> None:
        raise error

    async def live(replica) -> None:
        async with replica.live(FaultyPeer(server, fail)) as live:
            with pytest.raises(type(error)):
                await asyncio.wait_for(live.caught_up(), PATIENCE)
            with pytest.raises(type(error)):
                [event async for event in live.events()]

    laptop = await open_replica("hcp-a", "laptop")
    with pytest.raises(type(error)):
        await live(laptop)


async def test_a_database_that_never_was_there_ends_it(open_replica, hub):
    laptop = await open_replica("hcp-a", "laptop")
    with pytest.raises(DatabaseMissing):
        async with laptop.live(peer_of(hub)) as live:
            await asyncio.wait_for(live.ended(), PATIENCE)


# The end


async def test_a_cancelled_live_sync_leaves_nothing_behind(open_replica, hub, session):
    await session.put(f"{hub.url}/clinic")
    laptop = await open_replica("hcp-a", "laptop")
    await laptop.save(Patient(first_name="John"))
    for moment in (0.0, 0.005, 0.02, 0.05, 0.2):
        before = asyncio.all_tasks()

        async def stay() -> None:
            async with laptop.live(peer_of(hub)):
                await asyncio.Event().wait()

        task = asyncio.create_task(stay())
        await asyncio.sleep(moment)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        left = {one for one in asyncio.all_tasks() - before if "Server" not in repr(one) and "web" not in repr(one)}
        assert not left
    async with laptop.live(peer_of(hub)) as live:
        await asyncio.wait_for(live.caught_up(), PATIENCE)
    assert (await laptop.status()).unsent == 0


async def test_a_server_that_does_not_answer_any_more_does_not_hold_up_the_end(open_replica, server, monkeypatch):
    monkeypatch.setattr(live_module, "LINGER_SECONDS", 0.1)
    stuck = False

    class Stuck(FaultyPeer):
        async def _through(self, name, *args, **named):
            if stuck:
                await asyncio.Event().wait()
            return await super()._through(name, *args, **named)

    laptop = await open_replica("hcp-a", "laptop")
    async with asyncio.timeout(PATIENCE):
        async with laptop.live(Stuck(server)) as live:
            await live.caught_up()
            stuck = True
            await laptop.save(Patient(first_name="John"))
    assert (await laptop.status()).unsent > 0
