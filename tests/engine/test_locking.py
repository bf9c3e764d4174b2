"""A locked replica: its keys are gone, records ask for them, sync goes on, and what came is taken in at unlock."""

from __future__ import annotations

import asyncio
import functools
import gc
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from icure_sync.crypto.identity import Identity
from icure_sync.crypto.primitives import RsaPrivateKey, SigningKey
from icure_sync.engine.clock import Clock
from icure_sync.engine.custody import IDLE_CLOCK
from icure_sync.engine.keyed import Keyed
from icure_sync.engine.pairing import NewDevice
from icure_sync.engine.reconciling import Reconciled
from icure_sync.engine.replica import Replica
from icure_sync.errors import InvalidEntity, Locked, NoAccess
from icure_sync.model import Contact, Document, Form, Hcp, HealthcareElement, Patient
from icure_sync.peers.memory import MemoryPeer
from tests.engine.meetings import met
from tests.keys import PARTY_KEYS
from tests.replicas import still_clock

PATIENCE = 60.0  # seconds that a test waits for what must come
PASSPHRASE = "mellow fruitfulness"


class Hours:
    """A clock that goes on when it is told to; those who sleep wake when their time has come."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self._asleep: list[tuple[float, asyncio.Event]] = []
        self.clock = Clock(monotonic=lambda: self.time, sleep=self._sleep)

    async def go_on(self, seconds: float) -> None:
        self.time += seconds
        for due, event in self._asleep:
            if due <= self.time:
                event.set()
        await asyncio.sleep(0.01)  # whoever wakes has his turn

    async def _sleep(self, seconds: float) -> None:
        event = asyncio.Event()
        self._asleep.append((self.time + seconds, event))
        await event.wait()


@pytest.fixture
def hours() -> Hours:
    return Hours()


@pytest.fixture
async def watched(open_replica, hours: Hours) -> AsyncIterator[Replica]:
    """A replica that locks after ten minutes."""
    replica = await open_replica("hcp-a", lock_after=600, idle_clock=hours.clock)
    async with replica._custody.watched():
        await asyncio.sleep(0)  # the watch begins
        yield replica


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  (what is looked at says nothing when it changes)
            await asyncio.sleep(0.01)


async def all_of(found: AsyncIterator[Any]) -> list[Any]:
    return [one async for one in found]


async def test_every_call_that_needs_keys_says_that_the_replica_is_locked_and_what_to_do(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    letter = await replica.save(Document(name="Letter"), patient=john)
    scan = await replica.attach(letter, "scan.pdf", b"bytes")
    await replica.lock()
    calls: list[Callable[[], Any]] = [
        lambda: replica.save(Patient()),
        lambda: replica.save(john.replace(note="a cough")),
        lambda: replica.get(Patient, john.id),
        lambda: all_of(replica.find(Patient)),
        lambda: all_of(replica.find(Patient, text="john")),
        lambda: all_of(replica.find(Hcp)),
        lambda: all_of(replica.find_deleted(Patient)),
        lambda: all_of(replica.search("john")),
        lambda: replica.delete(john),
        lambda: replica.restore(john),
        lambda: replica.share(john, with_="hcp-b"),
        lambda: replica.share(john, with_="hcp-b", include_linked=True),
        lambda: replica.revoke(john, from_="hcp-b"),
        lambda: replica.revoke(john, from_="hcp-b", include_linked=True),
        lambda: all_of(replica.contacts_of(john)),
        lambda: all_of(replica.forms_of(john)),
        lambda: all_of(replica.elements_of(john)),
        lambda: all_of(replica.documents_of(john)),
        lambda: replica.patient_of(letter),
        lambda: replica.attach(letter, "other.pdf", b"bytes"),
        lambda: all_of(replica.attachments_of(letter)),
        lambda: all_of(replica.read_attachment(scan)),
        lambda: replica.conflict_of(john),
        lambda: replica.resolve(john),
        lambda: replica.adopt(john),
    ]
    for call in calls:
        with pytest.raises(Locked, match=r"the replica is locked; unlock it: replica\.unlock\(identity\)"):
            await call()


async def test_what_needs_no_keys_goes_on(open_replica, identities):
    replica = await open_replica("hcp-a")
    await replica.save(Patient(first_name="John"))
    before = await replica.status()
    assert (before.locked, replica.is_locked) == (False, False)
    await replica.lock()
    await replica.lock()  # twice is once
    status = await replica.status()
    assert (status.locked, replica.is_locked, status.hcp_id, replica.hcp_id) == (True, True, "hcp-a", "hcp-a")
    assert status.documents == before.documents
    assert await replica.check() == []
    await replica.keep_setting("window", [800, 600])
    assert await replica.setting("window") == [800, 600]
    assert await all_of(replica.conflicts()) == []
    await replica.unlock(identities["hcp-a"])
    assert (await replica.status()).locked is False
    assert [each.first_name async for each in replica.find(Patient)] == ["John"]


async def test_only_the_same_hcp_unlocks_and_nobody_a_keyless_replica(open_replica, identities):
    replica, keyless = await open_replica("hcp-a"), await open_replica(None)
    await replica.lock()
    with pytest.raises(NoAccess, match="give the identity of hcp-a"):
        await replica.unlock(identities["hcp-b"])
    assert replica.is_locked
    await keyless.lock()
    assert not keyless.is_locked
    with pytest.raises(NoAccess, match="opened without an identity"):
        await keyless.unlock(identities["hcp-a"])
    with pytest.raises(NoAccess, match="keyless") as refused:
        await keyless.save(Patient())
    assert not isinstance(refused.value, Locked)


def keys_of(hcp_id: str) -> list[object]:
    """What this process still has of an Hcp's keys: everything that holds one is an object that the collector knows."""
    gc.collect()
    kinds = (Identity, Keyed)
    return [
        each
        for each in gc.get_objects()
        if isinstance(each, kinds) and getattr(each, "identity", each).hcp_id == hcp_id
    ]


async def test_after_locking_the_process_has_no_identity_and_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hashlib.scrypt", functools.cache(hashlib.scrypt))
    made = Identity.from_private_key("hcp-of-a-lock", bytes.fromhex(PARTY_KEYS["hcp-a"]))
    locked = made.lock(PASSPHRASE)
    del made
    before = [each for each in gc.get_objects() if isinstance(each, SigningKey | RsaPrivateKey)]

    @asynccontextmanager
    async def opened() -> AsyncIterator[Replica]:
        async with Replica.open(tmp_path / "r.db", Identity.unlock(locked, PASSPHRASE), passphrase=PASSPHRASE) as one:
            yield one

    async with opened() as replica:
        john = await replica.save(Patient(first_name="John"))
        await replica.share(john, with_="hcp-of-a-lock")
        assert len(await all_of(replica.find(Patient, text="john"))) == 1
        await replica.sync(MemoryPeer("clinic"))
        assert len(keys_of("hcp-of-a-lock")) == 2
        await replica.lock()
        assert keys_of("hcp-of-a-lock") == []
        after = [each for each in gc.get_objects() if isinstance(each, SigningKey | RsaPrivateKey)]
        assert len(after) <= len(before)
        await replica.unlock(Identity.unlock(locked, PASSPHRASE))
        assert (await replica.get(Patient, john.id)).first_name == "John"


# Sync


async def test_a_sync_brings_ciphertext_while_locked_and_the_merge_comes_at_unlock(open_replica, identities, server):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    john = await laptop.save(Patient(first_name="John"))
    await met(server, laptop, phone)
    await laptop.save(john.replace(note="a cough"))
    await laptop.lock()
    await phone.save(john.replace(last_name="Keats"))
    await phone.save(Patient(first_name="Fanny"))
    await phone.sync(server)
    report = await laptop.sync(server)
    assert (report.pulled, report.pushed, report.merged) == (2, 1, 0)
    assert (await laptop.status()).documents["Patient"] == 2
    assert (await laptop.sync(server)).pulled == 0  # the same filter and checkpoints as before
    await laptop.unlock(identities["hcp-a"])
    seen = await laptop.get(Patient, john.id)
    assert (seen.note, seen.last_name) == ("a cough", "Keats")
    assert {each.first_name async for each in laptop.find(Patient, text="fanny")} == {"Fanny"}
    tree = await laptop._store.run(laptop._store.documents.tree, john.id)
    assert sum(not leaf.deleted for leaf in tree.leaves()) == 1  # merged, not only shown so
    assert (await laptop.sync(server)).pushed >= 1


async def test_a_live_sync_under_way_goes_on_while_locked(open_replica, identities, server):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    john = await laptop.save(Patient(first_name="John"))
    await met(server, laptop, phone)
    async with laptop.live(server) as live:
        await live.caught_up()
        await laptop.lock()
        await phone.save(john.replace(last_name="Keats"))
        await phone.save(Patient(first_name="Fanny"))
        await phone.sync(server)

        def here() -> bool:
            return laptop._store.documents.counts_by_type().get("Patient") == 2

        async with asyncio.timeout(PATIENCE):
            while not await laptop._store.run(here):  # noqa: ASYNC110  (a locked replica tells of no records)
                await asyncio.sleep(0.01)
        with pytest.raises(Locked):
            await laptop.get(Patient, john.id)
        await live.caught_up()
        await laptop.unlock(identities["hcp-a"])
        assert (await laptop.get(Patient, john.id)).last_name == "Keats"
        sent = await laptop.save(Patient(first_name="Joseph"))
        await live.caught_up()
    await phone.sync(server)
    assert (await phone.get(Patient, sent.id)).first_name == "Joseph"


async def test_merging_that_is_under_way_stops_when_the_keys_go(open_replica):
    replica = await open_replica("hcp-a")
    custody = replica._custody

    def learn(*_: object) -> Iterator[Reconciled]:
        yield Reconciled(merged=1)
        custody.held = None
        yield Reconciled(merged=1)
        pytest.fail("it goes on without keys")

    custody.held.learn = learn
    assert (await replica._exchange.learn()).merged == 2


# What is under way


async def lock_while_reading(replica: Replica, found: AsyncIterator[Any], read: list[Any]) -> None:
    async for one in found:
        read.append(one)
        await replica.lock()


async def test_a_list_that_is_being_read_ends_where_the_replica_is_locked(open_replica, monkeypatch):
    monkeypatch.setattr("icure_sync.engine.records.PAGE", 2)
    replica = await open_replica("hcp-a")
    for number in range(5):
        await replica.save(Form(description=str(number)))
    read: list[Form] = []
    with pytest.raises(Locked):
        await lock_while_reading(replica, replica.find(Form), read)
    assert 0 < len(read) < 5


async def test_a_file_that_is_being_read_ends_there_too_and_one_that_is_being_attached_is_finished(
    open_replica, identities
):
    replica = await open_replica("hcp-a")
    letter = await replica.save(Document(name="Letter"))
    content = bytes(3 * 2**20)
    scan = await replica.attach(letter, "scan", content)
    read: list[bytes] = []
    with pytest.raises(Locked):
        await lock_while_reading(replica, replica.read_attachment(scan), read)
    assert 0 < len(b"".join(read)) < len(content)
    await replica.unlock(identities["hcp-a"])
    loop, locking = asyncio.get_running_loop(), []

    def pieces() -> Iterator[bytes]:
        yield content
        locking.append(asyncio.run_coroutine_threadsafe(replica.lock(), loop))
        yield content

    other = await replica.attach(letter, "other", pieces())
    await asyncio.wrap_future(locking[0])
    assert replica.is_locked
    await replica.unlock(identities["hcp-a"])
    assert sum([len(piece) async for piece in replica.read_attachment(other)]) == 2 * len(content)


async def test_an_emergency_access_that_is_being_prepared_ends_where_the_replica_is_locked(open_replica, monkeypatch):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    loop = asyncio.get_running_loop()

    def made(hcp_id: str, name: str, **_: Any) -> Identity:  # in a thread, for seconds
        asyncio.run_coroutine_threadsafe(replica.lock(), loop).result(PATIENCE)
        return Identity.from_private_key(hcp_id, bytes.fromhex(PARTY_KEYS["hcp-c"]), name=name)

    monkeypatch.setattr(Identity, "create", made)
    with pytest.raises(Locked):
        await replica.glass.prepare(john, 3, 2)
    assert replica.is_locked
    assert "BreakGlass" not in (await replica.status()).documents


async def test_what_gives_the_identity_to_new_devices_has_none_after_a_lock(open_replica, server):
    replica = await open_replica("hcp-a")
    pairings, clock = replica.pairings, still_clock()
    async with NewDevice.pairing(server, told=print, clock=clock) as new:
        taking = asyncio.create_task(new.identity())
        await replica.lock()
        with pytest.raises(Locked):
            await pairings.approve(server, new.code, told=print, clock=clock)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)


async def test_a_pairing_under_way_gives_no_identity_after_a_lock(open_replica, server):
    replica = await open_replica("hcp-a")
    clock = still_clock()
    real = replica._store.run

    async def locked_when_recorded(function: Callable[..., Any], *args: Any) -> Any:
        done = await real(function, *args)
        if getattr(function, "__name__", "") == "did":  # the last step before the identity leaves
            await replica.lock()
        return done

    replica._store.run = locked_when_recorded  # type: ignore[method-assign]  # where a lock comes between
    async with NewDevice.pairing(server, told=print, clock=clock) as new:
        taking = asyncio.create_task(new.identity())
        with pytest.raises(Locked):
            await replica.pairings.approve(server, new.code, told=print, clock=clock)
        assert not taking.done()
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)


async def test_a_lock_that_comes_while_it_is_unlocked_holds(open_replica, identities):
    replica = await open_replica("hcp-a")
    await replica.lock()
    unlocking = asyncio.create_task(replica.unlock(identities["hcp-a"]))
    await asyncio.sleep(0)  # it has begun
    await replica.lock()
    with pytest.raises(Locked, match="locked again meanwhile"):
        await unlocking
    assert replica.is_locked
    with pytest.raises(Locked):
        await replica.save(Patient())
    await replica.unlock(identities["hcp-a"])
    await replica.save(Patient())


# Idle time


async def test_a_replica_that_nobody_uses_locks_by_itself(watched: Replica, hours: Hours, identities):
    await hours.go_on(599)
    assert not watched.is_locked
    await hours.go_on(1)
    await until(lambda: watched.is_locked)
    with pytest.raises(Locked):
        await watched.save(Patient())
    await hours.go_on(10_000)
    await watched.unlock(identities["hcp-a"])
    await hours.go_on(599)
    await watched.save(Patient())
    await hours.go_on(599)
    assert not watched.is_locked
    await hours.go_on(1)
    await until(lambda: watched.is_locked)


async def test_sync_and_looking_at_the_status_are_no_use(watched: Replica, hours: Hours, server):
    await hours.go_on(400)
    await watched.sync(server)
    await watched.status()
    await watched.keep_setting("window", 1)
    await hours.go_on(200)
    await until(lambda: watched.is_locked)


async def test_a_long_call_is_no_idleness(watched: Replica, hours: Hours):
    letter = await watched.save(Document(name="Letter"))
    loop = asyncio.get_running_loop()

    def pieces() -> Iterator[bytes]:
        for _ in range(3):
            asyncio.run_coroutine_threadsafe(hours.go_on(500), loop).result()
            yield b"slow"

    await watched.attach(letter, "scan", pieces())
    assert not watched.is_locked
    await watched.save(Contact(description="Cough"))
    await hours.go_on(600)
    await hours.go_on(600)
    await until(lambda: watched.is_locked)


async def test_a_machine_that_was_asleep_finds_the_replica_locked(open_replica, hours: Hours):
    replica = await open_replica("hcp-a", lock_after=600, idle_clock=hours.clock)  # nobody keeps the time
    await replica.save(HealthcareElement(description="Asthma"))
    hours.time += 601
    with pytest.raises(Locked):
        await replica.save(HealthcareElement(description="Asthma"))
    assert replica.is_locked


async def test_without_an_idle_time_it_stays_unlocked(open_replica, hours: Hours):
    replica = await open_replica("hcp-a", idle_clock=hours.clock)
    async with replica._custody.watched():
        await hours.go_on(10**9)
        await replica.save(Patient())


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
async def test_an_idle_time_that_cannot_be_is_told(open_replica, seconds):
    with pytest.raises(InvalidEntity, match="lock_after"):
        await open_replica("hcp-a", lock_after=seconds)


def test_the_usual_clock_goes_on():
    assert IDLE_CLOCK.monotonic() <= IDLE_CLOCK.monotonic()
