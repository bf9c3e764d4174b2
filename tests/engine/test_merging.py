"""What several devices wrote without seeing each other: shown as one at once, merged by few, lost by nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from icure_sync.engine.reconciling import PATIENCE_MS
from icure_sync.engine.replica import Replica
from icure_sync.errors import StaleRevision
from icure_sync.ids import DocId, Rev, generation
from icure_sync.model import Contact, Patient, Service
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer
from icure_sync.replication.wire import Revision
from tests.engine.meetings import leaves, met
from tests.replicas import rev
from tests.servers import REAL_SERVERS, fresh_database, fresh_hub


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


async def on_both(open_replica, server: Peer, **fields: str) -> tuple[Replica, Replica, Patient]:
    """Two devices of A with one patient, which both have."""
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    john = await laptop.save(Patient(first_name="John", **fields))
    await met(server, laptop, phone)
    return laptop, phone, john


async def test_edits_of_different_fields_on_two_devices_are_both_there_and_one_revision_is_left(open_replica, server):
    laptop, phone, john = await on_both(open_replica, server)
    await laptop.save(john.replace(note="a cough"))
    await phone.save(john.replace(last_name="Keats"))
    await laptop.sync(server)
    report = await phone.sync(server)
    assert report.merged == 1
    await laptop.sync(server)
    for replica in (laptop, phone):
        seen = await replica.get(Patient, john.id)
        assert (seen.first_name, seen.last_name, seen.note, seen.alternatives) == ("John", "Keats", "a cough", {})
        assert len(await leaves(replica, john.id)) == 1
        assert (await replica.status()).conflicts == 0
    assert (await laptop.get(Patient, john.id)).rev == (await phone.get(Patient, john.id)).rev


async def test_edits_of_one_field_show_one_value_and_keep_the_other_until_somebody_settles_it(open_replica, server):
    laptop, phone, john = await on_both(open_replica, server)
    await laptop.save(john.replace(note="laptop"))
    await phone.save(john.replace(note="phone"))
    await met(server, laptop, phone)
    seen = [await each.get(Patient, john.id) for each in (laptop, phone)]
    assert seen[0] == seen[1]
    assert {seen[0].note, *seen[0].alternatives["note"]} == {"laptop", "phone"}
    await laptop.save(seen[0].replace(note="both"))
    await met(server, laptop, phone)
    settled = await phone.get(Patient, john.id)
    assert (settled.note, settled.alternatives) == ("both", {})


async def test_devices_of_one_hcp_that_merge_the_same_leaves_write_the_same_revision(open_replica, server):
    laptop, phone, john = await on_both(open_replica, server)
    await laptop.save(john.replace(note="laptop"))
    await phone.save(john.replace(note="phone"))
    other = MemoryPeer("other")
    for replica, to in ((laptop, server), (phone, server), (laptop, other), (phone, other)):
        await replica.push(to)
    merged = []
    for replica in (laptop, phone):
        await replica.pull(server)
        await replica.pull(other)
        merged.append(await replica._store.run(replica._store.documents.leaves, john.id))
    assert merged[0] == merged[1]


async def test_reading_shows_the_join_before_anybody_wrote_a_merge_and_a_write_over_it_leaves_one_leaf(
    open_replica, server
):
    """B wrote neither leaf, so it leaves the merge to A's devices, but it sees what they come to."""
    laptop, phone, john = await on_both(open_replica, server)
    b = await open_replica("hcp-b")
    await met(server, b, laptop, phone)
    john = await laptop.share(john, with_="hcp-b")
    await met(server, laptop, phone, b)
    await laptop.save(john.replace(note="a cough"))
    await phone.save((await phone.get(Patient, john.id)).replace(last_name="Keats"))
    await laptop.push(server)
    await phone.push(server)
    report = await b.sync(server)
    assert report.merged == 0
    seen = await b.get(Patient, john.id)
    assert (seen.last_name, seen.note) == ("Keats", "a cough")
    assert len(await leaves(b, john.id)) == 2
    edited = await b.save(seen.replace(first_name="Johnny"))
    assert (edited.first_name, edited.last_name, edited.note) == ("Johnny", "Keats", "a cough")
    assert len(await leaves(b, john.id)) == 1
    await met(server, b, laptop, phone)
    for replica in (laptop, phone):
        assert (await replica.get(Patient, john.id)) == edited


async def test_a_write_over_what_was_shown_is_kept_although_more_has_come_since(open_replica, server):
    laptop, phone, john = await on_both(open_replica, server)
    tablet, watch = await open_replica("hcp-a", "tablet"), await open_replica("hcp-b", "watch")
    await met(server, watch, tablet, laptop, phone)
    john = await laptop.share(john, with_="hcp-b")
    await met(server, laptop, phone, tablet, watch)
    for replica, change in ((laptop, {"note": "1"}), (phone, {"last_name": "2"})):
        await replica.save((await replica.get(Patient, john.id)).replace(**change))
        await replica.push(server)
    await tablet.save((await tablet.get(Patient, john.id)).replace(first_name="3"))
    await watch.pull(server)
    seen = await watch.get(Patient, john.id)
    await tablet.push(server)
    await watch.pull(server)
    await watch.save(seen.replace(gender="other"))
    await met(server, watch, laptop, phone, tablet, watch)
    for replica in (laptop, phone, tablet, watch):
        found = await replica.get(Patient, john.id)
        assert (found.note, found.last_name, found.first_name, found.gender) == ("1", "2", "3", "other")
        assert len(await leaves(replica, john.id)) == 1


async def test_an_edit_of_what_a_merge_has_replaced_must_be_made_again(open_replica, server):
    laptop, phone, john = await on_both(open_replica, server)
    stale = await laptop.save(john.replace(note="laptop"))
    await phone.save(john.replace(last_name="Keats"))
    await phone.push(server)
    await laptop.sync(server)
    with pytest.raises(StaleRevision):
        await laptop.save(stale.replace(note="again"))


async def test_services_are_merged_each_by_itself(open_replica, server):
    laptop, phone, john = await on_both(open_replica, server)
    visit = await laptop.save(Contact(services=[Service(label="weight"), Service(label="height")]), patient=john)
    await met(server, laptop, phone)
    weight, height = visit.services
    await laptop.save(visit.replace(services=[weight.replace(label="weight 70"), height]))
    await phone.save(visit.replace(services=[weight, height.replace(label="height 180"), Service(label="pulse")]))
    await met(server, laptop, phone)
    for replica in (laptop, phone):
        seen = await replica.get(Contact, visit.id)
        assert [each.label for each in seen.services] == ["weight 70", "height 180", "pulse"]
        assert seen.alternatives == {}


async def test_an_edit_that_the_deleter_had_not_seen_keeps_a_record(open_replica, server):
    laptop, phone, john = await on_both(open_replica, server)
    await laptop.delete(john)
    await phone.save(john.replace(note="still needed"))
    await met(server, laptop, phone)
    for replica in (laptop, phone):
        assert (await replica.get(Patient, john.id)).note == "still needed"


async def test_hcps_that_merge_the_same_leaves_end_up_with_one_of_their_merges(open_replica, server):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(server, a, b)
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    await met(server, a, b)
    await a.save(john.replace(note="by A"))
    await b.save(john.replace(last_name="by B"))
    other = MemoryPeer("other")
    for replica, to in ((a, server), (b, server), (a, other), (b, other)):
        await replica.push(to)
    assert (await a._exchange.pull(other, None)).documents
    assert (await b._exchange.pull(other, None)).documents
    await met(server, a, b, a)
    assert await leaves(a, john.id) == await leaves(b, john.id)
    assert len(await leaves(a, john.id)) == 1
    assert (await a.get(Patient, john.id)).note == "by A"


# Access


async def three(open_replica, server: Peer) -> tuple[Replica, Replica, Replica, Patient]:
    """A, B and C have met; A shared a patient with B."""
    a, b, c = [await open_replica(hcp) for hcp in ("hcp-a", "hcp-b", "hcp-c")]
    await met(server, a, b, c)
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    await met(server, a, b, c)
    return a, b, c, john


async def test_one_shares_while_another_edits_and_the_third_reads_the_edit(open_replica, server):
    a, b, c, john = await three(open_replica, server)
    await a.share(john, with_="hcp-c")
    await b.save((await b.get(Patient, john.id)).replace(note="by B"))
    await met(server, b, a, c)
    await met(server, a, b, c)
    for replica in (a, b, c):
        seen = await replica.get(Patient, john.id)
        assert (seen.note, seen.shared_with) == ("by B", {"hcp-a", "hcp-b", "hcp-c"})


async def test_a_share_that_crosses_a_revocation_is_repaired(open_replica, server):
    """A puts B out with a new key while its other device shares with C, who gets the old one."""
    a, b, c, john = await three(open_replica, server)
    phone = await open_replica("hcp-a", "phone")
    await met(server, phone, a)
    await a.revoke(john, from_="hcp-b")
    await phone.share(await phone.get(Patient, john.id), with_="hcp-c")
    await met(server, a, phone, b, c)
    await met(server, a, phone, b, c)
    for replica in (a, phone, c):
        seen = await replica.get(Patient, john.id)
        assert seen.shared_with == {"hcp-a", "hcp-c"}
        assert len(await leaves(replica, john.id)) == 1
    await a.save((await a.get(Patient, john.id)).replace(note="not for B"))
    await met(server, a, b, c)
    assert (await c.get(Patient, john.id)).note == "not for B"
    for revision in await b._store.run(b._store.documents.leaves, john.id):
        assert b"not for B" not in revision.body


async def test_of_two_crossing_revocations_both_count_and_those_who_stay_read_on(open_replica, server):
    """A puts out B while B puts out C, whom B brought in."""
    a, b, c, john = await three(open_replica, server)
    await b.share(await b.get(Patient, john.id), with_="hcp-c")
    await met(server, b, a, c)
    await a.revoke(await a.get(Patient, john.id), from_="hcp-b")
    await b.revoke(await b.get(Patient, john.id), from_="hcp-c")
    await met(server, a, b, c)
    await met(server, a, b, c)
    seen = await a.get(Patient, john.id)
    assert seen.shared_with == {"hcp-a"}
    edited = await a.save(seen.replace(note="for A alone"))
    await met(server, a, b, c)
    assert (await a.get(Patient, john.id)) == edited


async def test_what_somebody_who_is_out_wrote_and_a_server_hid_is_signed_again_by_nobody(open_replica, server):
    """B's offline edit comes before A's revocation is known to B; a forged tombstone then lies on B's leaf."""
    a, b, _, john = await three(open_replica, server)
    of_b = await b.save((await b.get(Patient, john.id)).replace(note="by B"))
    await b.push(server)
    now = [1_800_000_000_000]
    phone = await open_replica("hcp-a", "phone", clock=lambda: now[0])
    await phone.sync(server)
    assert (await phone.get(Patient, john.id)).note == "by B"
    await a.revoke(john, from_="hcp-b")
    await a.push(server)
    leaf = await phone._store.run(phone._store.documents.get, DocId(john.id), Rev(of_b.rev))
    forged = Revision(leaf.id, (rev(generation(leaf.rev) + 1, 9), *leaf.history), b"{}", deleted=True)
    await phone._store.run(phone._store.documents.apply, [forged])
    await phone.sync(server)
    now[0] += 2 * PATIENCE_MS
    await met(server, phone, a)
    for replica in (a, phone):
        for held in await replica._store.run(replica._store.documents.leaves, DocId(john.id)):
            seen = await replica.get(Patient, john.id)
            assert seen.note != "by B"
            assert held.deleted or held.rev == seen.rev or b'"by":"hcp-b"' in held.body
