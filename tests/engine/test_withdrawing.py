"""Whoever is put out of a record learns it, and has it no longer, once what he had written of it is with the others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from icure_sync import Reason
from icure_sync.crypto.access import Subject, revocation
from icure_sync.crypto.merging import notice
from icure_sync.crypto.sealing import Sealed
from icure_sync.engine.alarms import AlarmKind
from icure_sync.engine.replica import Replica
from icure_sync.errors import NotFound, Unauthorized
from icure_sync.ids import DocId, Rev
from icure_sync.model import Contact, Document, Patient
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer
from icure_sync.replication.wire import Missing, Refusal, Revision
from tests.engine.meetings import met
from tests.servers import fresh_database, fresh_hub

PATIENCE = 60.0  # seconds that a test waits for what must come


async def shared(a: Replica, server: Peer, *others: Replica) -> Patient:
    """A patient of A, which all others can read and have read."""
    john = await a.save(Patient(first_name="John", last_name="Keats"))
    for other in others:
        john = await a.share(john, with_=str(other.hcp_id))
    await met(server, a, *others)
    for other in others:
        assert (await other.get(Patient, john.id)).last_name == "Keats"
    return john


async def bodies(replica: Replica, doc_id: str) -> list[dict[str, Any]]:
    """All that the replica's file has of a record."""
    documents = replica._store.documents
    held = await replica._store.run(lambda: (*documents.held_leaves(doc_id), *documents.displaced(doc_id)))
    return [json.loads(each.revision.body) for each in held]


async def has_it(replica: Replica, doc_id: str) -> bool:
    return any("encryptedSelf" in body for body in await bodies(replica, doc_id))


async def require_gone(replica: Replica, doc_id: str) -> None:
    assert not [body for body in await bodies(replica, doc_id) if not {"notice", "retired"} & body.keys()]
    with pytest.raises(NotFound, match="access to it was ended"):
        await replica.get(Patient, doc_id)
    assert [each async for each in replica.find(Patient)] == []
    assert [each async for each in replica.search("keats")] == []
    assert [each async for each in replica.conflicts()] == []
    status = await replica.status()
    assert (status.documents.get("Patient", 0), dict(status.unreadable)) == (0, {})
    assert await replica.check() == []


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[str]:
    async with fresh_hub(tmp_path) as hub, fresh_database(hub) as url:
        yield url


async def test_the_record_goes_with_its_files_and_all_that_it_was_found_by(open_replica, database):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    for replica in (a, b, a):
        await replica.sync(CouchPeer(database))
    john = await a.save(Patient(first_name="John", last_name="Keats"))
    letter = await a.save(Document(name="Letter"), patient=john)
    scan = await a.attach(letter, "scan.pdf", b"bytes of a scan" * 1_000)
    john = await a.share(john, with_="hcp-b", include_linked=True)
    for replica in (a, b):
        await replica.sync(CouchPeer(database))
    held = await b.get(Patient, john.id)
    assert [each.id async for each in b.search("keats")] == [john.id]
    await a.revoke(john, from_="hcp-b", include_linked=True)
    await a.sync(CouchPeer(database))
    report = await b.sync(CouchPeer(database))
    assert (report.withdrawn, report.alarms, report.conflicts, report.refused) == (3, 3, 0, ())
    await require_gone(b, john.id)
    for doc_id in (letter.id, scan.id):
        assert not await has_it(b, doc_id)
    assert await b._store.run(b._store._database.value, "SELECT count(*) FROM blobs") == 0
    with pytest.raises(NotFound, match="access to it was ended"):
        await b.save(held.replace(note="too late"))
    (row,) = [each async for each in b.trail.rows(subject=john.id, action="withdrawn")]
    assert (row.type, row.detail) == ("Patient", {"by": ["hcp-a"]})
    assert {each.kind for each in await b.alarms.all()} == {AlarmKind.WITHDRAWN}
    again = await b.sync(CouchPeer(database))
    assert (again.pulled, again.pushed, again.withdrawn) == (0, 0, 0)
    john = await a.share(await a.get(Patient, john.id), with_="hcp-b", include_linked=True)
    for replica in (a, b):
        await replica.sync(CouchPeer(database))
    assert (await b.get(Patient, john.id)).last_name == "Keats"
    (again_scan,) = [each async for each in b.attachments_of(await b.get(Document, letter.id))]
    assert b"".join([piece async for piece in b.read_attachment(again_scan)]) == b"bytes of a scan" * 1_000
    assert [each.id async for each in b.search("keats")] == [john.id]
    assert await b.alarms.all() == []
    await a.revoke(john, from_="hcp-b", include_linked=True)
    for replica in (a, b):
        report = await replica.sync(CouchPeer(database))
    assert (report.withdrawn, report.alarms) == (3, 3)


async def test_what_was_not_sent_yet_is_sent_first(open_replica, server):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(server, a, b)
    john = await shared(a, server, b)
    await b.save((await b.get(Patient, john.id)).replace(note="by B"))
    await a.revoke(john, from_="hcp-b")
    await a.push(server)
    await b.pull(server)
    assert (await b.get(Patient, john.id)).note == "by B"
    assert (await b.sync(server)).withdrawn == 1
    await require_gone(b, john.id)
    await a.sync(server)
    (conflict,) = [each async for each in a.conflicts()]
    (standing,) = conflict.standing
    assert (standing.reason, standing.offers) == (Reason.OUT, {"note": ("by B",)})
    await a.adopt(conflict)
    for replica in (a, b, a, b):
        report = await replica.sync(server)
    assert (report.pulled, report.pushed, report.withdrawn) == (0, 0, 0)
    await require_gone(b, john.id)
    assert (await a.get(Patient, john.id)).note == "by B"


class Picky(MemoryPeer):
    """Takes no revisions, as long as it is told so."""

    trouble = ""

    async def write(self, revisions: Sequence[Revision], source: Peer) -> Sequence[Refusal]:
        if self.trouble == "fails":
            raise Unauthorized("write", "it asks for another password", "log in")
        if self.trouble == "refuses":
            return [Refusal(each.id, each.rev, "forbidden", "not today") for each in revisions]
        return await super().write(revisions, source)


@pytest.mark.parametrize("trouble", ["fails", "refuses"])
async def test_a_record_with_something_unsent_stays_until_a_server_takes_it(open_replica, trouble):
    server = Picky("clinic")
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(server, a, b)
    john = await shared(a, server, b)
    await a.revoke(john, from_="hcp-b")
    await a.push(server)
    await b.save((await b.get(Patient, john.id)).replace(note="by B"))
    server.trouble = trouble
    for _ in range(2):
        if trouble == "fails":
            with pytest.raises(Unauthorized):
                await b.sync(server)
        else:
            assert john.id in {each.id for each in (await b.sync(server)).refused}
        assert (await b.get(Patient, john.id)).note == "by B"
    server.trouble = ""
    assert (await b.sync(server)).withdrawn == 1
    await require_gone(b, john.id)


async def edited_offline(open_replica, server: Peer) -> tuple[Replica, Replica, Patient]:
    """B wrote something that nobody has yet; A has put him out meanwhile."""
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(server, a, b)
    john = await shared(a, server, b)
    await b.save((await b.get(Patient, john.id)).replace(note="by B"))
    await a.revoke(john, from_="hcp-b")
    await a.push(server)
    return a, b, john


async def require_adoptable(a: Replica) -> None:
    (conflict,) = [each async for each in a.conflicts()]
    assert [(each.by, each.offers) for each in conflict.standing] == [("hcp-b", {"note": ("by B",)})]


@pytest.mark.parametrize("is_locked", [False, True])
async def test_what_is_on_another_server_only_is_not_sent(open_replica, server, identities, is_locked: bool):
    """The clinic tells; an empty stick, or a hub that nobody else reads, takes what B had written."""
    stick = MemoryPeer("stick")
    a, b, john = await edited_offline(open_replica, server)
    if is_locked:
        await b.lock()
    await b.pull(server)
    if is_locked:
        await b.unlock(identities["hcp-b"])
    for _ in range(2):
        await b.sync(stick)
        assert (await b.get(Patient, john.id)).note == "by B"
    assert (await b.sync(server)).withdrawn == 1
    await require_gone(b, john.id)
    await a.sync(server)
    await require_adoptable(a)


async def test_live_what_is_on_another_server_only_is_not_sent(open_replica, server):
    stick = MemoryPeer("stick")
    a, b, john = await edited_offline(open_replica, server)
    await b.pull(server)
    async with b.live(stick) as live, asyncio.timeout(PATIENCE):
        await live.caught_up()
    assert (await b.get(Patient, john.id)).note == "by B"
    async with b.live(server) as live, asyncio.timeout(PATIENCE):
        await live.caught_up()
        while await has_it(b, john.id):  # noqa: ASYNC110  (a replica does not tell of single records)
            await asyncio.sleep(0.01)
    await a.sync(server)
    await require_adoptable(a)


class Forgetful(MemoryPeer):
    """Says that it took what it drops, as long as it is told so."""

    drops = False

    async def write(self, revisions: Sequence[Revision], source: Peer) -> Sequence[Refusal]:
        return [] if self.drops else await super().write(revisions, source)

    async def missing(self, revs: Mapping[DocId, Sequence[Rev]]) -> Mapping[DocId, Missing]:
        return {} if self.drops else await super().missing(revs)


async def test_what_a_server_says_that_it_has_and_does_not_give_is_not_sent(open_replica):
    server = Forgetful("clinic")
    a, b, john = await edited_offline(open_replica, server)
    await b.pull(server)
    server.drops = True
    for _ in range(2):
        await b.push(server)
        assert (await b.get(Patient, john.id)).note == "by B"
    server.drops = False
    for _ in range(2):  # what it does not give is sent again, and then read back
        await b.sync(server)
    await require_gone(b, john.id)
    await a.sync(server)
    await require_adoptable(a)


async def put(server: MemoryPeer, sealed: Sealed, above: str) -> None:
    """A server gives this beside the revision that it extends."""
    [genuine] = await server.fetch({DocId(sealed.id): [Rev(above)]})
    server.put(Revision(genuine.id, (sealed.rev, *genuine.history), json.dumps(sealed.document).encode(), deleted=True))


@pytest.mark.parametrize("is_read", [True, False])
@pytest.mark.parametrize(
    "forgery", ["another signature", "no statements", "grants alone", "of another", "by another", "of another record"]
)
async def test_a_notice_that_does_not_prove_it_takes_nothing_away(open_replica, server, identities, forgery, is_read):
    a, b, c = [await open_replica(hcp_id) for hcp_id in ("hcp-a", "hcp-b", "hcp-c")]
    await met(server, a, b, c)
    john = await a.save(Patient(first_name="John"))
    other = await a.save(Patient(first_name="Jim"))
    for delegate in ("hcp-b", "hcp-c"):
        john, other = await a.share(john, with_=delegate), await a.share(other, with_=delegate)
    await a.push(server)
    await b.pull(server)
    if is_read:
        await b.get(Patient, john.id)
    [genuine] = await server.fetch({DocId(john.id): [Rev(john.rev)]})
    document = json.loads(genuine.body)
    subject = Subject.of(john.id, document)
    [elsewhere] = await server.fetch({DocId(other.id): [Rev(other.rev)]})
    revoked = {
        "another signature": revocation(subject, "hcp-b", identities["hcp-c"], bytes) | {"by": "hcp-a"},
        "of another": revocation(subject, "hcp-c", identities["hcp-a"], bytes),
        "by another": revocation(subject, "hcp-b", identities["hcp-c"], bytes),
        "of another record": revocation(
            Subject.of(other.id, json.loads(elsewhere.body)), "hcp-b", identities["hcp-a"], bytes
        ),
    }
    access = [] if forgery == "no statements" else [*document["access"], *filter(None, [revoked.get(forgery)])]
    access.sort(key=json.dumps)
    for order in (access, access[::-1]):
        await put(server, notice(Sealed(DocId(john.id), Rev(john.rev), document), order, ["hcp-b"]), john.rev)
    for _ in range(2):
        assert (await b.sync(server)).withdrawn == 0
        assert (await b.get(Patient, john.id)).first_name == "John"


async def test_a_notice_that_names_others_takes_nothing_away(open_replica, server):
    """A server that filters nothing gives B the notice for C."""
    a, b, c = [await open_replica(hcp_id) for hcp_id in ("hcp-a", "hcp-b", "hcp-c")]
    await met(server, a, b, c)
    john = await shared(a, server, b, c)
    await a.revoke(john, from_="hcp-c")
    await a.push(server)
    (told,) = [each for each in await server.leaves([DocId(john.id)]) if each.deleted]
    await b._store.run(b._store.documents.apply, [told])
    assert (await b.sync(server)).withdrawn == 0
    assert (await b.get(Patient, john.id)).last_name == "Keats"
    assert (await c.sync(server)).withdrawn == 1


async def test_a_notice_of_before_does_not_end_what_was_granted_after_it(open_replica, server):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(server, a, b)
    john = await shared(a, server, b)
    john = await a.revoke(john, from_="hcp-b")
    await a.push(server)
    (told,) = [each for each in await server.leaves([DocId(john.id)]) if each.deleted]
    await b.sync(server)
    await a.share(john, with_="hcp-b")
    await a.push(server)
    await b.sync(server)
    server.put(told)
    await b._store.run(b._store.documents.apply, [told])
    for _ in range(2):
        assert (await b.sync(server)).withdrawn == 0
        assert (await b.get(Patient, john.id)).last_name == "Keats"


async def test_whoever_made_a_record_is_never_put_out_of_it(open_replica, server, identities):
    a, phone, b = await open_replica("hcp-a"), await open_replica("hcp-a", "phone"), await open_replica("hcp-b")
    await met(server, a, phone, b)
    john = await shared(a, server, b)
    [genuine] = await server.fetch({DocId(john.id): [Rev(john.rev)]})
    document = json.loads(genuine.body)
    ended = revocation(Subject.of(john.id, document), "hcp-a", identities["hcp-b"], bytes)
    sealed = Sealed(DocId(john.id), Rev(john.rev), document)
    await put(server, notice(sealed, [*document["access"], ended], ["hcp-a"]), john.rev)
    for replica in (a, phone):
        assert (await replica.sync(server)).withdrawn == 0
        assert (await replica.get(Patient, john.id)).last_name == "Keats"


async def test_whom_somebody_shared_with_who_is_out_loses_it_too(open_replica, server):
    a, b, c = [await open_replica(hcp_id) for hcp_id in ("hcp-a", "hcp-b", "hcp-c")]
    await met(server, a, b, c)
    john = await shared(a, server, b)
    await b.share(await b.get(Patient, john.id), with_="hcp-c")
    await met(server, b, c, a)
    await a.revoke(await a.get(Patient, john.id), from_="hcp-b")
    await a.push(server)
    for replica in (b, c):
        assert (await replica.sync(server)).withdrawn == 1
        await require_gone(replica, john.id)


async def test_what_went_does_not_come_again_from_whoever_has_it_still(open_replica, server):
    """B's leaf stands there for A to look at; another database is met for the first time, and has the record whole."""
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    other = MemoryPeer("other")
    await met(server, a, b)
    john = await shared(a, server, b)
    await a.push(other)
    await b.save((await b.get(Patient, john.id)).replace(note="by B"))
    await a.revoke(john, from_="hcp-b")
    await a.push(server)
    assert (await b.sync(server)).withdrawn == 1
    await a.sync(server)
    await a.push(other)
    for peer in (other, server, other):
        report = await b.sync(peer)
        assert (report.withdrawn, report.undone, report.merged) == (0, 0, 0)
        await require_gone(b, john.id)


async def test_live_it_goes_as_soon_as_all_is_sent(open_replica, server):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(server, a, b)
    john = await shared(a, server, b)
    visit = await b.save(Contact(description="Cough"), patient=await b.get(Patient, john.id))
    async with a.live(server), b.live(server):
        await b.save((await b.get(Patient, john.id)).replace(note="by B"))
        await a.revoke(await a.get(Patient, john.id), from_="hcp-b")
        async with asyncio.timeout(PATIENCE):
            while await has_it(b, john.id):  # noqa: ASYNC110  (a replica does not tell of single records)
                await asyncio.sleep(0.01)
        await require_gone(b, john.id)
        assert (await b.get(Contact, visit.id)).description == "Cough"


async def test_a_locked_replica_waits_until_it_is_unlocked(open_replica, server, identities):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(server, a, b)
    john = await shared(a, server, b)
    await a.revoke(john, from_="hcp-b")
    await a.push(server)
    await b.lock()
    assert (await b.sync(server)).withdrawn == 0
    assert await has_it(b, john.id)
    await b.unlock(identities["hcp-b"])
    assert (await b.sync(server)).withdrawn == 1
    await require_gone(b, john.id)
