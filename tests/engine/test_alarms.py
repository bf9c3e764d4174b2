"""What raises an alarm, what clears it by itself, and what a person makes of it."""

from __future__ import annotations

import json

import pytest

from icure_sync import strict_json
from icure_sync.crypto.identity import Identity
from icure_sync.engine import hcp_document
from icure_sync.engine.alarms import MEANINGS, Alarm, AlarmKind
from icure_sync.engine.replica import Replica
from icure_sync.errors import NotFound, Tampered
from icure_sync.ids import DocId, HcpId
from icure_sync.model import Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Revision
from tests.engine.conftest import OpenReplica
from tests.engine.meetings import met
from tests.engine.test_hostile import apply, held, junk_below
from tests.replicas import rev

NOW = 1_800_000_000_000


async def alarms(replica: Replica) -> list[Alarm]:
    return await replica.alarms.all()


async def forged(replica: Replica, doc_id: str) -> Revision:
    """Genuine but for one letter of its sealed body."""
    genuine = await held(replica, doc_id)
    document = json.loads(genuine.body)
    document["encryptedSelf"] = document["encryptedSelf"][:-8] + "AAAAAAA="
    return Revision(genuine.id, genuine.history, json.dumps(document).encode())


async def test_a_revision_that_does_not_verify_raises_an_alarm_once(open_replica: OpenReplica):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone", clock=lambda: NOW)
    john = await laptop.save(Patient(first_name="John"))
    await apply(phone, await forged(laptop, john.id))
    for _ in range(2):
        with pytest.raises(Tampered):
            await phone.get(Patient, john.id)
    [alarm] = await alarms(phone)
    assert (alarm.kind, alarm.subject, alarm.first, alarm.last) == (AlarmKind.TAMPERED, john.id, NOW, NOW)
    assert alarm.why.startswith(f"revision {john.rev}: ")
    assert (await phone.status()).alarms == 1


async def test_what_nobody_has_opened_is_looked_at_when_somebody_asks(open_replica: OpenReplica):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    john = await laptop.save(Patient(first_name="John"))
    await apply(phone, await forged(laptop, john.id))
    assert await alarms(phone) == []
    await phone.alarms.look()
    assert [each.subject for each in await alarms(phone)] == [john.id]


async def test_a_forged_deletion_is_undone_and_told_in_the_report_once(open_replica: OpenReplica):
    server = MemoryPeer("clinic")
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    johns = [await laptop.save(Patient(first_name=f"John {number}")) for number in range(3)]
    await met(server, laptop, phone)
    for john in johns:
        server.put(junk_below(await held(laptop, john.id), b"{}", deleted=True))
    report = await phone.sync(server)
    assert (report.undone, report.alarms) == (3, 3)
    assert {each.subject for each in await alarms(phone)} == {john.id for john in johns}
    assert {each.kind for each in await alarms(phone)} == {AlarmKind.UNDONE}
    assert [row.subject async for row in phone.trail.rows(action="undone")] == [
        each.subject for each in await alarms(phone)
    ]
    assert (await phone.sync(server)).alarms == 0
    assert (await phone.status()).alarms == 3


async def test_a_dismissed_alarm_counts_no_more_until_it_happens_again(open_replica: OpenReplica):
    server = MemoryPeer("clinic")
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    john = await laptop.save(Patient(first_name="John"))
    await met(server, laptop, phone)
    server.put(junk_below(await held(laptop, john.id), b"{}", deleted=True))
    await phone.sync(server)
    [alarm] = await alarms(phone)
    await phone.alarms.dismiss(alarm.number)
    assert (await phone.status()).alarms == 0
    assert [row.detail async for row in phone.trail.rows(action="dismissed")] == [{"alarm": alarm.number}]
    with pytest.raises(NotFound):
        await phone.alarms.dismiss(alarm.number + 1)
    server.put(junk_below(await held(phone, john.id), b"{}", deleted=True))
    assert (await phone.sync(server)).alarms == 1
    [again] = await alarms(phone)
    assert again.number > alarm.number
    assert again.dismissed is None


async def test_an_hcp_document_that_is_not_believed_raises_an_alarm_that_goes_when_it_is(open_replica: OpenReplica):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    server = MemoryPeer("clinic")
    await met(server, a, b)
    genuine = await held(b, "hcp-b")
    made_up = Revision(genuine.id, (rev(1, 7),), genuine.body.replace(b"Practice B", b"Practice X"))
    fresh = await open_replica("hcp-c")
    await apply(fresh, made_up)
    await fresh.sync(MemoryPeer("elsewhere"))
    [alarm] = await alarms(fresh)
    assert (alarm.kind, alarm.subject) == (AlarmKind.UNTRUSTED_KEY, "hcp-b")
    assert alarm.why == (await fresh.status()).untrusted["hcp-b"]
    await fresh._store.run(fresh._store.purges.purge, {made_up.id: [made_up.rev]})
    await fresh.sync(server)
    assert (await fresh.status()).untrusted == {}
    assert await alarms(fresh) == []


async def test_an_alarm_of_another_identity_goes_once_a_person_has_compared(open_replica: OpenReplica):
    b, c = await open_replica("hcp-b"), await open_replica("hcp-c")
    await met(MemoryPeer("clinic"), b, c)
    other = hcp_document.first(Identity.create("hcp-b", "Practice B"))
    await apply(c, Revision(DocId("hcp-b"), (other.rev,), strict_json.dumps(other.document)))
    await c.sync(MemoryPeer("elsewhere"))
    assert [each.kind for each in await alarms(c)] == [AlarmKind.UNTRUSTED_KEY]
    await c._store.run(c._keyed.parties.confirm, HcpId("hcp-b"), NOW)
    assert (await c.status()).alarms == 0
    assert await alarms(c) == []


def test_every_kind_says_what_it_means_and_what_to_do():
    assert MEANINGS.keys() == set(AlarmKind)
    assert all(what.count("{}") == 1 and advice for what, advice in MEANINGS.values())


async def test_an_alarm_of_another_version_is_shown_with_what_is_known(open_replica: OpenReplica):
    replica = await open_replica("hcp-a")
    await replica._store.run(replica._store.alarms.raise_, "sleeping-server", "clinic", "it snores", NOW)
    [alarm] = await alarms(replica)
    assert (alarm.what, alarm.why) == ("sleeping-server: clinic", "it snores")
