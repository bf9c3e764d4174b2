"""What a replica records of itself: each read by the application, each write with the write itself, nothing of sync."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from icure_sync.engine.replica import Replica, replica_over
from icure_sync.engine.trail import DETAIL_BYTES, Action, TrailRow, TrailState
from icure_sync.errors import InvalidEntity, NoAccess, NotFound, StaleRevision
from icure_sync.model import Contact, Document, Hcp, Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.store import Store
from tests.engine.conftest import DATABASE_KEY, OpenReplica
from tests.engine.meetings import met
from tests.store.revisions import snapshot

NOW = 1_800_000_000_000
CANARY = "zephyrine"


async def rows(replica: Replica, **wanted: object) -> list[TrailRow]:
    return [row async for row in replica.trail.rows(**wanted)]


async def deeds(replica: Replica, **wanted: object) -> list[tuple[str, str]]:
    """Action and subject, without the own Hcp document."""
    return [(row.action, row.subject) for row in await rows(replica, **wanted) if row.subject != replica.hcp_id]


async def test_a_row_says_who_did_what_with_what_on_which_device_and_when(open_replica: OpenReplica):
    replica = await open_replica("hcp-a", clock=lambda: NOW)
    john = await replica.save(Patient(first_name="John"))
    await replica.get(Patient, john.id)
    own = await replica.save((await replica.get(Hcp, "hcp-a")).replace(speciality="lungs"))
    wrote, opened, changed = await rows(replica)
    assert wrote == TrailRow(1, NOW, "hcp-a", replica.device, "wrote", john.id, "Patient", "", {"rev": john.rev})
    assert opened == TrailRow(2, NOW, "hcp-a", replica.device, "opened", john.id, "Patient", "", {})
    assert (changed.action, changed.subject, changed.type) == ("wrote", "hcp-a", Hcp.TYPE)
    assert changed.detail == {"rev": own.rev}
    assert await replica.trail.verify() == TrailState(3)


async def test_each_read_and_each_write_of_an_application_is_recorded(open_replica: OpenReplica):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(MemoryPeer("clinic"), a, b)
    john = await a.save(Patient(first_name="John", last_name="Keats"))
    visit = await a.save(Contact(description="Cough"), patient=john)
    paper = await a.save(Document(name="letter"), patient=john)
    scan = await a.attach(paper, "scan.pdf", b"bytes")
    begun = len(await rows(a))
    assert [each.id async for each in a.find(Patient)] == [john.id]
    assert [each.id async for each in a.contacts_of(john)] == [visit.id]
    assert [each.id async for each in a.attachments_of(paper)] == [scan.id]
    assert [each.id async for each in a.search("keats")] == [john.id]
    assert [each.id async for each in a.find(Patient, text="keats")] == [john.id]
    assert b"".join([piece async for piece in a.read_attachment(scan)]) == b"bytes"
    await a.patient_of(visit)
    john = await a.share(john, with_="hcp-b")
    john = await a.revoke(john, from_="hcp-b")
    visit = await a.delete(visit)
    assert [each.id async for each in a.find_deleted(Contact)] == [visit.id]
    await a.restore(visit)
    found = [row for row in (await rows(a))[begun:] if row.subject != "hcp-a"]
    assert [(row.action, row.type, row.subject, row.under) for row in found] == [
        ("listed", "Patient", "", ""),
        ("listed", "Contact", john.id, ""),
        ("listed", "Attachment", paper.id, ""),
        ("searched", "", "", ""),
        ("searched", "Patient", "", ""),
        ("opened", "Attachment", scan.id, paper.id),
        ("opened", "Patient", john.id, ""),
        ("shared", "Patient", john.id, ""),
        ("revoked", "Patient", john.id, ""),
        ("deleted", "Contact", visit.id, john.id),
        ("listed", "Contact", "", ""),
        ("restored", "Contact", visit.id, john.id),
    ]
    assert [row.detail["count"] for row in found if "count" in row.detail] == [1, 1, 1, 1, 1, 1]
    assert [found[7].detail["with"], found[8].detail["from"]] == ["hcp-b", "hcp-b"]
    assert await deeds(a, action="attached") == [("attached", scan.id)]
    assert ("opened", scan.id) not in await deeds(a, subject=john.id)
    assert ("deleted", visit.id) in await deeds(a, subject=john.id)


async def test_what_fails_is_not_recorded_as_done(open_replica: OpenReplica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    await replica.save(john.replace(note="newer"))
    before = await rows(replica)
    with pytest.raises(StaleRevision):
        await replica.save(john.replace(note="older"))
    with pytest.raises(NotFound):
        await replica.get(Patient, "nobody")
    with pytest.raises(NotFound):
        await replica.share(john, with_="hcp-z")
    assert await rows(replica) == before


async def test_a_write_and_its_row_are_one(open_replica: OpenReplica, monkeypatch: pytest.MonkeyPatch):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))

    def fail(*_: object) -> None:
        raise OSError("no row")

    monkeypatch.setattr(replica._store.trail, "append", fail)
    with pytest.raises(OSError, match="no row"):
        await replica.save(john.replace(note="unseen"))
    monkeypatch.undo()
    assert (await replica.get(Patient, john.id)).rev == john.rev


async def test_a_crash_loses_no_row_of_a_write_and_of_reads_the_last_second(
    open_replica: OpenReplica, tmp_path: Path, identities
):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    await replica.get(Patient, john.id)
    await replica.save(john.replace(note="later"))
    await replica.get(Patient, john.id)
    left = Store.open(snapshot(tmp_path / "hcp-a-laptop.db", tmp_path / "crash"), DATABASE_KEY)
    after = await left.run(replica_over, left, identities["hcp-a"])
    assert await deeds(after) == [("wrote", john.id), ("opened", john.id), ("wrote", john.id)]
    assert (await after.trail.verify()).broken is None
    left.close()


async def test_reads_cost_no_commit_of_their_own(open_replica: OpenReplica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    commits = []
    replica._store._database.committed = lambda: commits.append(1)
    for _ in range(20):
        await replica.get(Patient, john.id)
    assert commits == []


async def test_a_long_list_is_one_row_with_what_came_of_it_so_far(
    open_replica: OpenReplica, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("icure_sync.engine.records.PAGE", 2)
    replica = await open_replica("hcp-a")
    for number in range(5):
        await replica.save(Patient(first_name=f"P{number}"))
    assert len([each async for each in replica.find(Patient)]) == 5
    async for _ in replica.find(Patient):
        break
    listed = await rows(replica, action="listed")
    assert [row.detail for row in listed] == [{"of": "all", "count": 5}, {"of": "all", "count": 2}]
    stream = replica.find(Patient)
    await anext(stream)
    await replica.trail.verify()  # what waited is written
    assert len([each async for each in stream]) == 4
    assert [row.detail["count"] for row in await rows(replica, action="listed")] == [5, 2, 2, 3]


async def test_sync_opens_nothing_and_what_it_writes_is_recorded(open_replica: OpenReplica):
    server = MemoryPeer("clinic")
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    john = await laptop.save(Patient(first_name="John"))
    await met(server, laptop, phone)
    for replica, note in ((laptop, "typed here"), (phone, "typed there")):
        await replica.save((await replica.get(Patient, john.id)).replace(note=note))
    begun = {replica: len(await rows(replica)) for replica in (laptop, phone)}
    assert sum([(await replica.sync(server)).merged for replica in (laptop, phone, laptop)]) == 1
    done = [row for replica, first in begun.items() for row in (await rows(replica))[first:]]
    assert [(row.action, row.subject) for row in done] == [("merged", john.id)]
    conflict = await laptop.conflict_of(john.id)
    assert conflict is not None
    settled = await laptop.resolve(conflict)
    assert [row.action for row in (await rows(laptop))[-2:]] == ["opened", "resolved"]
    assert (await rows(laptop))[-1].detail["rev"] == settled.rev


async def test_rows_hold_no_content(open_replica: OpenReplica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name=CANARY, last_name=CANARY, note=CANARY))
    await replica.save(Contact(description=CANARY), patient=john)
    paper = await replica.save(Document(name=CANARY), patient=john)
    await replica.attach(paper, f"{CANARY}.pdf", CANARY.encode())
    assert [each async for each in replica.search(CANARY)]
    text = json.dumps([[*map(str, (row.subject, row.type, row.under, row.detail))] for row in await rows(replica)])
    assert "Patient" in text
    assert CANARY not in text


async def test_an_application_notes_what_it_did(open_replica: OpenReplica):
    replica = await open_replica("hcp-a")
    await replica.trail.note("printed", "john", type="Patient", detail={"pages": 3})
    [row] = await rows(replica, action="printed")
    assert (row.subject, row.type, row.detail) == ("john", "Patient", {"pages": 3})
    for action in ("", "Printed", "with space", "x" * 40):
        with pytest.raises(InvalidEntity, match="no short word"):
            await replica.trail.note(action)
    for action in Action:
        with pytest.raises(InvalidEntity, match="by itself"):
            await replica.trail.note(action, "john")
    with pytest.raises(InvalidEntity, match="larger than"):
        await replica.trail.note("printed", detail={"text": "x" * DETAIL_BYTES})
    with pytest.raises(InvalidEntity):
        await replica.trail.note("printed", "\ud800")
    assert len(await rows(replica, action="printed")) == 1


async def test_rows_are_found_by_time(open_replica: OpenReplica):
    time = [NOW]
    replica = await open_replica("hcp-a", clock=lambda: time[0])
    john = await replica.save(Patient(first_name="John"))
    time[0] += 60_000
    await replica.save(john.replace(note="later"))
    assert len(await rows(replica, since=NOW + 1)) == 1
    assert len(await rows(replica, until=NOW + 1)) == 1
    assert await rows(replica, since=NOW + 60_001) == []


async def test_a_keyless_replica_shows_the_trail_and_may_note(open_replica: OpenReplica):
    replica = await open_replica(None)
    await replica.trail.note("moved", detail={"to": "another disk"})
    [row] = await rows(replica)
    assert (row.action, row.hcp, row.device) == ("moved", "", replica.device)
    with pytest.raises(NoAccess):
        await replica.get(Patient, "john")
    assert len(await rows(replica)) == 1


async def test_a_file_that_cannot_be_written_is_read_without_a_trace(
    open_replica: OpenReplica, tmp_path: Path, identities, monkeypatch: pytest.MonkeyPatch
):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    await asyncio.to_thread(replica._store.close)
    copy = shutil.copy(tmp_path / "hcp-a-laptop.db", tmp_path / "copy.db")
    monkeypatch.setattr("icure_sync.store.store.is_writable", lambda _: False)
    store = Store.open(Path(copy), DATABASE_KEY)
    try:
        reader = await store.run(replica_over, store, identities["hcp-a"])
        assert (await reader.get(Patient, john.id)).first_name == "John"
        assert [each.id async for each in reader.find(Patient)] == [john.id]
        assert await deeds(reader) == [("wrote", john.id)]
        assert not store.trail.is_waiting
    finally:
        store.close()
