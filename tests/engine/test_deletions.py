"""Many deletions at once: they wait for a person, and nothing is lost or undone before he has spoken."""

from __future__ import annotations

import json

import pytest

from icure_sync.crypto.identity import COMPROMISED
from icure_sync.engine import deletions
from icure_sync.errors import MassDeletion, NotFound
from icure_sync.merge.revtree import RevTree
from icure_sync.model import Attachment, Code, Document, Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Revision
from tests.engine.meetings import met

FEW, MANY = 3, 4


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    """Fifty records would only take longer."""
    monkeypatch.setattr(deletions, "MOST_DELETIONS", FEW)


async def saved(replica, count=MANY, with_=None):
    records = [await replica.save(Patient(first_name=f"P{number}")) for number in range(count)]
    return [await replica.share(each, with_=with_) for each in records] if with_ else records


def bury(server, records, body=b"{}"):
    """A tombstone on each, that nobody signed."""
    for each in records:
        above = server.tree(each.id).winner().rev
        number = int(above.split("-")[0]) + 1
        server.put(
            Revision(each.id, (f"{number}-{'f' * 32}", *server.tree(each.id).history(above)), body, deleted=True)
        )


async def listed(replica):
    return {each.id async for each in replica.find(Patient)}


async def test_many_forged_tombstones_stop_the_sync_and_end_nothing(open_replica, server):
    replica = await open_replica("hcp-a")
    records = await saved(replica)
    await replica.sync(server)
    bury(server, records)
    with pytest.raises(MassDeletion, match=f"accept {MANY} deletions") as asked:
        await replica.sync(server)
    assert asked.value.deleted == {"": MANY}
    assert await listed(replica) == {each.id for each in records}
    assert all(server.tree(each.id).winner().deleted for each in records), "nothing was undone"
    assert {alarm.kind for alarm in await replica.alarms.all()} == {"mass-deletion"}
    with pytest.raises(MassDeletion):
        await replica.sync(server)
    report = await replica.sync(server, accept_deletions=MANY)
    assert report.undone == MANY
    assert await listed(replica) == {each.id for each in records}
    assert not any(server.tree(each.id).winner().deleted for each in records)
    assert "mass-deletion" not in {alarm.kind for alarm in await replica.alarms.all() if alarm.dismissed is None}


async def test_many_genuine_deletions_by_one_hcp_wait_for_a_person(replicas, server):
    a, b, *_ = replicas
    records = await saved(a, with_="hcp-b")
    await met(server, a, b)
    for each in records:
        await b.delete(await b.get(Patient, each.id))
    await b.sync(server)
    mine = await a.save(Patient(first_name="Mine"))
    with pytest.raises(MassDeletion, match=f"hcp-b deleted {MANY} records") as asked:
        await a.sync(server)
    assert asked.value.deleted == {"hcp-b": MANY}
    assert await listed(a) == {mine.id, *(each.id for each in records)}
    assert not server.tree(mine.id), "nothing was sent"
    with pytest.raises(MassDeletion):
        await a.sync(server, accept_deletions=MANY - 1)
    await a.sync(server, accept_deletions=MANY)
    assert await listed(a) == {mine.id}
    assert [row.detail async for row in a.trail.rows(action="accepted")] == [{"deletions": {"hcp-b": MANY}}]
    restored = await a.restore(next(iter([each async for each in a.find_deleted(Patient)])))
    assert (await a.get(Patient, restored.id)).first_name.startswith("P")


async def test_few_deletions_are_taken_in_and_others_beside_many(replicas, server):
    a, b, c, _ = replicas
    by_b, by_c = await saved(a, with_="hcp-b"), await saved(a, 2, with_="hcp-c")
    await met(server, a, b, c)
    for replica, records in ((b, by_b), (c, by_c)):
        for each in records:
            await replica.delete(await replica.get(Patient, each.id))
        await replica.sync(server)
    with pytest.raises(MassDeletion) as asked:
        await a.sync(server)
    assert asked.value.deleted == {"hcp-b": MANY}
    assert await listed(a) == {each.id for each in by_b}


async def test_a_few_with_each_sync_are_many_within_a_day(open_replica, server):
    now = 1_700_000_000_000
    replica = await open_replica("hcp-a", clock=lambda: now)
    records = await saved(replica, 6)
    await replica.sync(server)
    bury(server, records[:2])
    assert (await replica.sync(server)).undone == 2
    bury(server, records[2:4])
    with pytest.raises(MassDeletion):
        await replica.sync(server)
    now += 86_400_000
    assert (await replica.sync(server)).undone == 2


async def test_an_edit_made_meanwhile_is_merged_with_the_deletion(replicas, server):
    a, b, *_ = replicas
    records = await saved(a, with_="hcp-b")
    await met(server, a, b)
    for each in records:
        await b.delete(await b.get(Patient, each.id))
    await b.sync(server)
    with pytest.raises(MassDeletion):
        await a.sync(server)
    kept = await a.save((await a.get(Patient, records[0].id)).replace(note="needed"))
    report = await a.sync(server, accept_deletions=MANY)
    assert await listed(a) == {kept.id}
    assert report.conflicts == 1


async def test_deletions_that_were_taken_back_meanwhile_are_forgotten(replicas, server):
    a, b, *_ = replicas
    records = await saved(a, with_="hcp-b")
    await met(server, a, b)
    gone = [await b.delete(await b.get(Patient, each.id)) for each in records]
    await b.sync(server)
    with pytest.raises(MassDeletion):
        await a.sync(server)
    for each in gone:
        await b.restore(each)
    await b.sync(server)
    await a.sync(server)
    assert await listed(a) == {each.id for each in records}
    assert await a._store.run(a._store.set_aside.page, 0, 10) == []


async def test_ends_of_leaves_that_a_merge_took_in_are_no_deletions(replicas, server):
    a, b, *_ = replicas
    records = await saved(a, with_="hcp-b")
    await met(server, a, b)
    for replica, note in ((a, "left"), (b, "right")):
        for each in records:
            await replica.save((await replica.get(Patient, each.id)).replace(note=note))
    await a.sync(server)
    assert (await b.sync(server)).merged == MANY
    await a.sync(server)
    assert {(await a.get(Patient, each.id)).note for each in records} <= {"left", "right"}
    assert len(await listed(a)) == MANY


async def test_to_be_put_out_of_many_records_is_no_deletion(replicas, server):
    a, b, *_ = replicas
    records = await saved(a, with_="hcp-b")
    await met(server, a, b)
    for each in records:
        await a.revoke(await a.get(Patient, each.id), from_="hcp-b")
    await a.sync(server)
    await b.sync(server)
    assert await a._store.run(a._store.set_aside.page, 0, 10) == []


async def test_a_notice_that_proves_nothing_is_a_forged_tombstone(open_replica, server):
    replica = await open_replica("hcp-a")
    records = await saved(replica)
    await replica.sync(server)
    for each in records:
        document = json.loads((await replica._store.run(replica._store.documents.get, each.id)).body)
        notice = {name: document[name] for name in ("type", "cryptoSuite", "creator", "access")}
        bury(server, [each], json.dumps({**notice, "notice": True, "delegations": {"hcp-a": []}}).encode())
    with pytest.raises(MassDeletion):
        await replica.sync(server)


async def test_what_comes_while_the_replica_is_locked_is_looked_at_when_it_is_unlocked(replicas, identities, server):
    a, b, *_ = replicas
    records = await saved(a, with_="hcp-b")
    await met(server, a, b)
    edited, *gone = [await b.get(Patient, each.id) for each in [*records, *await saved(b, 1)]][:MANY]
    await b.save(edited.replace(note="edited"))
    for each in gone:
        await b.delete(each)
    await b.sync(server)
    await a.lock()
    await a.sync(server)
    await a.sync(server)
    await a.unlock(identities["hcp-a"])
    assert (await a.get(Patient, edited.id)).note == "edited"
    assert len(await listed(a)) == 1, "three deletions are few"


async def test_many_deletions_that_came_while_it_was_locked_wait_too(replicas, identities, server):
    a, b, *_ = replicas
    records = await saved(a, with_="hcp-b")
    await met(server, a, b)
    for each in records:
        await b.delete(await b.get(Patient, each.id))
    await b.sync(server)
    await a.lock()
    await a.sync(server)
    await a.unlock(identities["hcp-a"])
    assert await listed(a) == {each.id for each in records}
    with pytest.raises(MassDeletion):
        await a.sync(server)
    await a.sync(server, accept_deletions=MANY)
    assert await listed(a) == set()
    with pytest.raises(NotFound):
        await a.get(Patient, records[0].id)


async def test_a_live_sync_ends_and_asks(open_replica, server):
    replica = await open_replica("hcp-a")
    records = await saved(replica)
    await replica.sync(server)

    async def follow():
        async with replica.live(server) as live:
            await live.caught_up()
            bury(server, records)
            await live.ended()

    with pytest.raises(MassDeletion):
        await follow()
    assert await listed(replica) == {each.id for each in records}


async def test_a_keyless_replica_carries_tombstones_as_they_are(open_replica, server):
    a, keyless = await open_replica("hcp-a"), await open_replica(None, "daemon")
    records = await saved(a)
    await a.sync(server)
    await keyless.sync(server)
    bury(server, records)
    await keyless.sync(server)
    assert await keyless._store.run(keyless._store.set_aside.page, 0, 10) == []


def compromised(replica):
    """A new key between A and B, which B learns by what comes next."""
    replica._keyed.parties.retire("hcp-b", COMPROMISED)
    replica._keyed.parties.key_towards("hcp-b")


@pytest.mark.parametrize("are_keys_late", [True, False])
async def test_deletions_whose_keys_come_with_them_or_later_wait_too(replicas, server, are_keys_late):
    a, b, *_ = replicas
    records = await saved(a, with_="hcp-b")
    await met(server, a, b)
    await a._store.run(compromised, a)
    for each in records:
        await a.delete(await a.get(Patient, each.id))
    hub = MemoryPeer("hub")
    await a.push(server)
    if are_keys_late:  # a server gives them when it likes to
        for each in records:
            hub.put(*[leaf for leaf in await server.leaves([each.id]) if isinstance(leaf, Revision)])
        await b.pull(hub)
        assert await listed(b) == {each.id for each in records}
    with pytest.raises(MassDeletion) as asked:
        await b.sync(server)
    assert asked.value.deleted == {"hcp-a": MANY}
    assert await listed(b) == {each.id for each in records}
    await b.sync(server, accept_deletions=MANY)
    assert await listed(b) == set()


async def test_an_edit_whose_keys_come_later_waits_and_is_taken_in_then(replicas, server):
    a, b, *_ = replicas
    (john,) = await saved(a, 1, with_="hcp-b")
    await met(server, a, b)
    await a._store.run(compromised, a)
    edited = await a.save((await a.get(Patient, john.id)).replace(note="edited"))
    await a.push(server)
    hub = MemoryPeer("hub")
    hub.put(*[leaf for leaf in await server.leaves([john.id]) if isinstance(leaf, Revision)])
    await b.pull(hub)
    assert (await b.get(Patient, john.id)).note is None
    await b.sync(server)
    assert (await b.get(Patient, john.id)).note == edited.note
    assert await b._store.run(b._store.set_aside.ids, "", 10) == []


@pytest.mark.parametrize("is_locked", [True, False])
async def test_deleted_files_wait_like_records(replicas, identities, server, is_locked):
    a, b, *_ = replicas
    letter = await a.save(Document(name="Letter"))
    scans = [await a.attach(letter, f"{number}.pdf", b"scan") for number in range(MANY)]
    letter = await a.share(await a.get(Document, letter.id), with_="hcp-b", include_linked=True)
    await met(server, a, b)
    for each in scans:
        await a.delete(await a.get(Attachment, each.id))
    await a.push(server)
    if is_locked:
        await b.lock()
        await b.sync(server)
        await b.unlock(identities["hcp-b"])
    with pytest.raises(MassDeletion) as asked:
        await b.sync(server)
    assert asked.value.deleted == {"hcp-a": MANY}
    assert len([each async for each in b.attachments_of(letter)]) == MANY
    await b.sync(server, accept_deletions=MANY)
    assert [each async for each in b.attachments_of(letter)] == []


async def test_a_file_that_came_while_it_was_locked_is_whole_when_it_is_unlocked(replicas, identities, server):
    a, b, *_ = replicas
    letter = await a.save(Document(name="Letter"))
    scan = await a.attach(letter, "scan.pdf", b"scan")
    await a.share(await a.get(Document, letter.id), with_="hcp-b", include_linked=True)
    await met(server, a, b)
    await a.save((await a.get(Attachment, scan.id)).replace(tags=[Code(type="t", code="1")]))
    await a.push(server)
    await b.lock()
    await b.sync(server)
    await b.unlock(identities["hcp-b"])
    (seen,) = [each async for each in b.attachments_of(await b.get(Document, letter.id))]
    assert [tag.code for tag in seen.tags] == ["1"]
    assert b"".join([piece async for piece in b.read_attachment(seen)]) == b"scan"
    assert await b.check() == []


async def test_a_notice_that_is_malformed_is_a_forged_tombstone(open_replica, server):
    replica = await open_replica("hcp-a")
    records = await saved(replica)
    await replica.sync(server)
    bury(server, records, b'{"notice":true}')
    with pytest.raises(MassDeletion):
        await replica.sync(server)


async def test_a_notice_that_a_later_grant_overrides_is_a_forged_tombstone(replicas, server):
    a, b, *_ = replicas
    records = await saved(a, with_="hcp-b")
    await met(server, a, b)
    told = {}
    for each in records:
        await a.revoke(await a.get(Patient, each.id), from_="hcp-b")
    await a.push(server)
    for each in records:
        (told[each.id],) = [leaf.body for leaf in await server.leaves([each.id]) if leaf.deleted]
        await a.share(await a.get(Patient, each.id), with_="hcp-b")
    await met(server, a, b)
    for each in records:
        bury(server, [each], told[each.id])
    with pytest.raises(MassDeletion):
        await b.sync(server)
    assert await listed(b) == {each.id for each in records}


async def test_what_came_of_one_record_is_looked_at_together(open_replica, server, monkeypatch):
    """Each tombstone by itself would load and graft all of them: some seconds for a few hundred."""
    replica = await open_replica("hcp-a")
    (john,) = await saved(replica, 1)
    await replica.sync(server)
    above = server.tree(john.id).winner().rev
    for number in range(40):
        forged = (f"{int(above.split('-')[0]) + 1}-{number:032x}", *server.tree(john.id).history(above))
        server.put(Revision(john.id, forged, b"{}", deleted=True))
    grafted = []
    graft_all = RevTree.graft_all
    monkeypatch.setattr(deletions, "MOST_DELETIONS", 0)
    monkeypatch.setattr(RevTree, "graft_all", lambda *given: grafted.append(given) or graft_all(*given))
    with pytest.raises(MassDeletion):
        await replica.sync(server)
    with pytest.raises(MassDeletion):
        await replica.sync(server)
    assert len(grafted) <= 5
