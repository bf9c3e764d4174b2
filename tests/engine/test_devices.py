"""Devices: each tells how much it has written; a server that shows less, and a device with two lives, are noticed."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from icure_sync.crypto.devices import head_id, is_head_id
from icure_sync.engine.alarms import Alarm, AlarmKind
from icure_sync.engine.replica import Replica
from icure_sync.errors import InvalidEntity, UnsupportedSuite
from icure_sync.ids import DocId, HcpId, Rev, Seq
from icure_sync.model import Patient
from icure_sync.model.schema import CLASSIC
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer, Selector
from icure_sync.replication.checkpoint import START
from icure_sync.replication.wire import Changes, Missing, PeerInfo, Revision
from icure_sync.store import Pin
from tests.engine.conftest import OpenReplica
from tests.engine.meetings import met
from tests.replicas import rev


async def alarms(replica: Replica, kind: AlarmKind | None = None) -> list[Alarm]:
    return [each for each in await replica.alarms.all() if kind in (None, each.kind)]


async def heads(peer: Peer) -> dict[str, tuple[str, ...]]:
    rows = (await peer.changes(START, limit=1_000)).rows
    return {row.id: tuple(row.leaves) for row in rows if is_head_id(row.id)}


async def leaf(replica: Replica, doc_id: str) -> str:
    [found] = await replica._store.run(replica._store.documents.leaves, DocId(doc_id))
    return found.rev


async def held(peer: Peer, doc_id: str) -> Revision:
    [found] = await peer.leaves([DocId(doc_id)])
    assert isinstance(found, Revision)
    return found


def copied_document(document: Any) -> Any:
    return replace(document, revisions=dict(document.revisions), content=dict(document.content))


class Server(MemoryPeer):
    """One that can be put back, has an address, and may hide documents."""

    def __init__(self, address: str = "http://clinic/db") -> None:
        super().__init__("clinic")
        self.address = address
        self.hides: Callable[[str], bool] = lambda _: False

    async def info(self) -> PeerInfo:
        return replace(await super().info(), address=self.address)

    async def changes(self, since: Seq, *, limit: int, selector: Selector | None = None) -> Changes:
        page = await super().changes(since, limit=limit, selector=selector)
        return replace(page, rows=tuple(row for row in page.rows if not self.hides(row.id)))

    def backup(self) -> Callable[[], None]:
        """What puts it back as it is now, its logs included."""
        documents = {doc_id: copied_document(each) for doc_id, each in self._documents.items()}
        local, last = copy.deepcopy(self._local), self._last

        def put_back() -> None:
            self._documents, self._local, self._last = documents, local, last

        return put_back

    def forget_logs(self) -> None:
        self._local.clear()


# What a device tells


async def test_a_device_registers_with_its_first_sync_and_tells_how_much_it_has_written(open_replica: OpenReplica):
    server = MemoryPeer("clinic")
    laptop = await open_replica("hcp-a", "laptop")
    john = await laptop.save(Patient(first_name="John"))
    await laptop.save(john.replace(note="cough"))
    await laptop.sync(server)
    assert (await heads(server)).keys() == {head_id(laptop.device)}
    phone = await open_replica("hcp-a", "phone")
    await phone.sync(server)
    this, other = await phone.devices.all()
    assert (this.id, this.is_this, this.hcp) == (phone.device, True, "hcp-a")
    assert (other.id, other.is_this, other.written) == (laptop.device, False, 3)  # the Hcp document is the first


async def test_heads_of_other_hcps_are_known_and_are_no_devices_of_ones_own(open_replica: OpenReplica):
    server = MemoryPeer("clinic")
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(server, a, b)
    assert [device.id for device in await a.devices.all()] == [a.device]
    assert {row.device for row in await a._store.run(a._store.device_heads.all)} == {a.device, b.device}


async def test_heads_count_as_no_documents_anywhere(open_replica: OpenReplica):
    server = MemoryPeer("clinic")
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    await laptop.save(Patient(first_name="John"))
    report = await laptop.sync(server)
    assert (report.pulled, report.pushed) == (0, 2)  # the Hcp document and the patient
    report = await phone.sync(server)
    assert (report.pulled, report.pushed, report.conflicts) == (1, 0, 0)
    assert (await phone.status()).documents == {"HealthcareParty": 1, "Patient": 1}
    assert (await phone.status()).unreadable == {}
    assert [each async for each in phone.conflicts()] == []
    assert [each.first_name async for each in phone.find(Patient)] == ["John"]


async def test_two_devices_come_to_rest(open_replica: OpenReplica):
    server = MemoryPeer("clinic")
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    await laptop.save(Patient(first_name="John"))
    await met(server, laptop, phone)
    before = await heads(server)
    seq = (await server.info()).update_seq
    await met(server, laptop, phone)
    assert await heads(server) == before
    assert (await server.info()).update_seq == seq
    await phone.save(Patient(first_name="Fanny"))
    await met(server, laptop, phone)
    after = await heads(server)
    assert after[head_id(laptop.device)] == before[head_id(laptop.device)]
    assert [leaf[:2] for leaf in after[head_id(phone.device)]] == ["2-"]


async def test_the_bodies_of_earlier_heads_are_not_kept(open_replica: OpenReplica):
    server = MemoryPeer("clinic")
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    for number in range(4):
        await laptop.save(Patient(first_name=f"John {number}"))
        await met(server, laptop, phone)
    for replica in (laptop, phone):
        documents = replica._store.documents
        assert await replica._store.run(documents.displaced, head_id(laptop.device)) == ()


async def test_a_device_has_the_name_that_its_person_gives_it(open_replica: OpenReplica):
    server = MemoryPeer("clinic")
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    await met(server, laptop, phone)
    await laptop.devices.rename("  Laptop in room 3 ")
    await met(server, laptop, phone)
    assert [device.name for device in await phone.devices.all()] == ["", "Laptop in room 3"]
    assert (await laptop.devices.all())[0].name == "Laptop in room 3"
    for wrong in ("", " ", "x" * 201, "two\nlines"):
        with pytest.raises(InvalidEntity):
            await laptop.devices.rename(wrong)


async def test_a_replica_for_an_icure_database_leaves_no_heads_there(open_replica: OpenReplica):
    server = MemoryPeer("clinic")
    replica = await open_replica("hcp-a", suites=(CLASSIC,))
    await replica.sync(server)
    assert await heads(server) == {}
    with pytest.raises(UnsupportedSuite):
        await replica.devices.all()


async def test_a_keyless_replica_carries_heads_and_writes_none(open_replica: OpenReplica):
    server, other = MemoryPeer("clinic"), MemoryPeer("other")
    laptop, relay = await open_replica("hcp-a"), await open_replica(None)
    await laptop.sync(server)
    await relay.sync(server)
    await relay.sync(other)
    assert await heads(other) == await heads(server)


async def test_a_head_that_somebody_deleted_is_written_again(open_replica: OpenReplica):
    server = MemoryPeer("clinic")
    laptop = await open_replica("hcp-a")
    await laptop.sync(server)
    head = await held(server, head_id(laptop.device))
    server.put(Revision(head.id, (rev(2, 7), *head.history), b"{}", deleted=True))
    await laptop.sync(server)
    [live] = [leaf for leaf in await server.leaves([head.id]) if not leaf.deleted]
    assert live.history[1] == head.rev
    assert await alarms(laptop) == []


# Heads that do not count


async def test_a_head_that_was_tampered_with_counts_not_and_is_told(open_replica: OpenReplica):
    server, other = MemoryPeer("clinic"), MemoryPeer("other")
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    await laptop.sync(server)
    head = await held(server, head_id(laptop.device))
    other.put(Revision(head.id, head.history, head.body.replace(b'"counter":1', b'"counter":9')))
    await phone.sync(other)
    [alarm] = await alarms(phone)
    assert (alarm.kind, alarm.subject) == (AlarmKind.TAMPERED, head.id)
    assert [device.id for device in await phone.devices.all()] == [phone.device]


async def test_a_head_waits_until_its_hcp_is_known(open_replica: OpenReplica):
    server, apart = MemoryPeer("clinic"), MemoryPeer("apart")
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await b.sync(server)
    apart.put(await held(server, head_id(b.device)))
    await a.sync(apart)
    assert {row.device for row in await a._store.run(a._store.device_heads.all)} == {a.device}
    assert await alarms(a) == []
    await a.sync(server)
    assert {row.device for row in await a._store.run(a._store.device_heads.all)} == {a.device, b.device}


# Servers that show an older state


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("who", ["hcp-a", "hcp-b"])
async def test_a_server_put_back_from_a_backup_is_noticed_by_any_device_that_saw_more(
    open_replica: OpenReplica, who: str, forgets: bool
):
    server = Server()
    laptop, watcher = await open_replica("hcp-a", "laptop"), await open_replica(who, "watcher")
    await met(server, laptop, watcher)
    put_back = server.backup()
    await laptop.save(Patient(first_name="John"))
    await met(server, laptop, watcher)
    put_back()
    if forgets:
        server.forget_logs()
    assert (await watcher.sync(server)).alarms == 1
    [alarm] = await alarms(watcher)
    assert (alarm.kind, alarm.subject) == (AlarmKind.STALE_SERVER, server.address)
    assert laptop.device in alarm.why
    for replica in (watcher, laptop, watcher):  # what was here has been sent there again
        assert (await replica.sync(server)).alarms == 0
    assert await heads(server) == {
        head_id(each.device): (await leaf(each, head_id(each.device)),) for each in (laptop, watcher)
    }


async def test_a_server_that_took_a_head_and_dropped_it_is_noticed_by_the_device_itself(open_replica: OpenReplica):
    server = Server("")
    laptop = await open_replica("hcp-a")
    put_back = server.backup()
    await laptop.sync(server)
    await laptop.sync(server)
    put_back = server.backup()
    await laptop.save(Patient(first_name="John"))
    await laptop.sync(server)
    put_back()
    assert (await laptop.sync(server)).alarms == 1
    [alarm] = await alarms(laptop)
    assert alarm.kind == AlarmKind.STALE_SERVER
    assert len(alarm.subject) == 8  # it has no address: its log has a name


async def test_a_server_that_never_had_more_is_not_stale(open_replica: OpenReplica):
    """However many servers there are, even with one name."""
    clinic, home = Server("http://clinic/db"), Server("http://home/db")
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    await met(clinic, laptop, phone)
    await met(home, phone)
    for number in range(3):
        await laptop.save(Patient(first_name=f"John {number}"))
        await met(clinic, laptop, phone)
        await met(home, laptop) if number == 1 else await met(home, phone)
    assert await alarms(laptop) + await alarms(phone) == []


async def test_a_server_that_forgets_earlier_heads_is_not_stale(open_replica: OpenReplica):
    """CouchDB keeps so many generations of a document and no more."""
    server = Server()
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    await met(server, laptop, phone)
    for number in range(3):
        await laptop.save(Patient(first_name=f"John {number}"))
        await laptop.sync(server)
    newest = await held(server, head_id(laptop.device))
    server.remove(newest.id)
    server.put(replace(newest, history=newest.history[:2]))
    assert (await phone.sync(server)).alarms == 0


async def test_a_node_that_is_not_up_to_date_yet_raises_no_alarm(open_replica: OpenReplica):
    class Cluster(Server):
        is_behind = False

        async def missing(self, revs: Mapping[DocId, Sequence[Rev]]) -> Mapping[DocId, Missing]:
            if self.is_behind and all(map(is_head_id, revs)):
                self.is_behind = False
                return {doc_id: Missing(tuple(each)) for doc_id, each in revs.items()}
            return await super().missing(revs)

    server = Cluster()
    laptop = await open_replica("hcp-a")
    await met(server, laptop)
    server.is_behind = True
    assert (await laptop.sync(server)).alarms == 0
    assert not server.is_behind


async def test_devices_say_on_which_servers_they_are_behind(open_replica: OpenReplica):
    clinic, home = Server("http://clinic/db"), Server("http://home/db")
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    await met(clinic, laptop, phone)
    await met(home, phone)
    await laptop.save(Patient(first_name="John"))
    await met(clinic, laptop, phone)
    [_, other] = await phone.devices.all()
    assert (other.id, other.behind) == (laptop.device, ("http://home/db",))
    await met(home, phone)
    assert [device.behind for device in await phone.devices.all()] == [(), ()]


# Devices with two lives


async def copied(open_replica: OpenReplica, folder: Path, server: Peer) -> tuple[Replica, Replica]:
    """A device that has synced, and a copy of its file."""
    laptop = await open_replica("hcp-a", "laptop")
    await laptop.devices.rename("laptop")
    await laptop.sync(server)
    await laptop._store.run(laptop._store.compact)
    shutil.copy(folder / "hcp-a-laptop.db", folder / "hcp-a-copy.db")
    for end in ("-wal", "-shm"):
        if (folder / f"hcp-a-laptop.db{end}").exists():
            shutil.copy(folder / f"hcp-a-laptop.db{end}", folder / f"hcp-a-copy.db{end}")
    copy_ = await open_replica("hcp-a", "copy")
    assert copy_.device == laptop.device
    return laptop, copy_


async def test_a_copy_goes_on_as_another_device_and_says_so(open_replica: OpenReplica, tmp_path: Path):
    server = Server()
    laptop, copy_ = await copied(open_replica, tmp_path, server)
    await laptop.save(Patient(first_name="John"))
    await laptop.sync(server)
    await copy_.save(Patient(first_name="Fanny"))
    await copy_.sync(server)
    [alarm] = await alarms(copy_)
    assert (alarm.kind, alarm.subject) == (AlarmKind.COPIED_DEVICE, laptop.device)
    await met(server, laptop, copy_)
    this, other = await copy_.devices.all()
    assert (this.name, other.id, other.name) == ("laptop", laptop.device, "laptop")
    assert this.id != laptop.device
    assert this.id in alarm.why
    assert {device.id for device in await laptop.devices.all()} == {this.id, other.id}
    assert await alarms(laptop) == []
    assert (await heads(server)).keys() == {head_id(this.id), head_id(other.id)}
    copy_._store.close()
    assert (await open_replica("hcp-a", "copy")).device == this.id


async def test_a_device_that_is_put_back_and_pushes_first_is_told_by_all_others(
    open_replica: OpenReplica, tmp_path: Path
):
    server = Server()
    laptop, copy_ = await copied(open_replica, tmp_path, server)
    other = await open_replica("hcp-b")
    await laptop.save(Patient(first_name="John"))
    await laptop.sync(server)
    await other.sync(server)
    await copy_.save(Patient(first_name="Fanny"))
    await copy_.push(server)
    assert (await other.sync(server)).alarms == 1
    [alarm] = await alarms(other)
    assert (alarm.kind, alarm.subject) == (AlarmKind.FORKED_DEVICE, laptop.device)
    assert "two heads of 2 writes" in alarm.why


async def test_an_earlier_head_that_a_server_gives_is_nothing_new(open_replica: OpenReplica):
    server, other = Server(), Server("http://other/db")
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    await laptop.sync(server)
    other.put(await held(server, head_id(laptop.device)))
    await laptop.save(Patient(first_name="John"))
    await met(server, laptop, phone)
    await phone.sync(other)
    assert await alarms(phone) == []
    assert [device.written for device in await phone.devices.all()] == [1, 2]


async def test_a_live_sync_writes_a_head_when_it_ends(open_replica: OpenReplica):
    server = Server()
    laptop = await open_replica("hcp-a")
    async with laptop.live(server) as live:
        await laptop.save(Patient(first_name="John"))
        await live.caught_up()
    assert (await heads(server)).keys() == {head_id(laptop.device)}
    assert (await laptop.sync(server)).pushed == 0
    phone = await open_replica("hcp-a", "phone")
    await phone.sync(server)
    assert [device.written for device in await phone.devices.all()] == [1, 2]


# What devices of one Hcp know others by


async def pinned(replica: Replica, hcp: str) -> Pin | None:
    return await replica._store.run(replica._store.pins.get, HcpId(hcp))


async def test_what_one_device_knows_an_hcp_by_the_others_know_too(open_replica: OpenReplica):
    """So a server that a new device meets first cannot give it other keys."""
    clinic, home = Server(), Server("http://home/db")
    laptop, phone, b = (
        await open_replica("hcp-a", "laptop"),
        await open_replica("hcp-a", "phone"),
        await open_replica("hcp-b"),
    )
    await met(clinic, b, laptop)
    await laptop.save(Patient(first_name="John"))  # the pin came after the last head
    await laptop.sync(clinic)
    home.put(await held(clinic, head_id(laptop.device)))
    home.put(await held(clinic, "hcp-a"))
    await phone.sync(home)
    pin, told = await pinned(laptop, "hcp-b"), await pinned(phone, "hcp-b")
    assert pin is not None
    assert told is not None
    assert (told.signing_key, told.first_rev) == (pin.signing_key, "")
    assert await pinned(phone, "hcp-a") is not None
    await phone.sync(clinic)
    assert (await phone.status()).untrusted == {}
    await phone.share(await phone.save(Patient(first_name="Fanny")), with_="hcp-b")


async def test_another_key_than_an_own_device_knows_is_a_trouble_that_stays(open_replica: OpenReplica):
    server = Server()
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    await laptop._store.run(laptop._store.pins.put, Pin(HcpId("hcp-b"), b"l" * 32, Rev("1-a")))
    await phone._store.run(phone._store.pins.put, Pin(HcpId("hcp-b"), b"p" * 32, Rev("1-a")))
    laptop._store.close()
    phone._store.close()
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    await met(server, laptop, phone)
    for _ in range(2):
        assert "another device of yours" in (await phone.status()).untrusted["hcp-b"]
        [alarm] = await alarms(phone)
        assert (alarm.number, alarm.kind, alarm.subject) == (1, AlarmKind.UNTRUSTED_KEY, "hcp-b")
        phone._store.close()
        phone = await open_replica("hcp-a", "phone")
    pin = await pinned(phone, "hcp-b")
    assert pin is not None
    assert pin.signing_key == b"p" * 32
