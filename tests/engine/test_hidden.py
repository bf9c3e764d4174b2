"""What a server puts over genuine revisions: nothing is lost by it, and nothing taken in unasked."""

from __future__ import annotations

import json

import pytest

from icure_sync import strict_json
from icure_sync.crypto.access import Subject
from icure_sync.crypto.sealing import signed
from icure_sync.engine.reconciling import PATIENCE_MS
from icure_sync.engine.replica import Replica
from icure_sync.ids import Rev
from icure_sync.model import Code, Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.checkpoint import Direction
from icure_sync.replication.wire import Revision
from tests.replicas import rev

NOW = 1_800_000_000_000


async def body_of(replica: Replica, doc_id: str, wanted: Rev) -> bytes | None:
    held = await replica._store.run(replica._store.documents.get, doc_id, wanted)
    return held.body if held else None


async def live(replica: Replica, doc_id: str) -> set[str]:
    leaves = await replica._store.run(replica._store.documents.leaves, doc_id)
    return {each.rev for each in leaves if not each.deleted}


@pytest.mark.parametrize("is_retirement", [True, False])
async def test_a_tombstone_on_a_leaf_by_somebody_who_is_out_drops_nothing_and_brings_nothing_back(
    open_replica, is_retirement: bool
):
    server, time = MemoryPeer("clinic"), [NOW]
    laptop, phone, b = [
        await open_replica(hcp_id, name, clock=lambda: time[0])
        for hcp_id, name in (("hcp-a", "laptop"), ("hcp-a", "phone"), ("hcp-b", "laptop"))
    ]
    john = await laptop.save(Patient(first_name="John"))
    for replica in (laptop, phone, b, laptop):
        await replica.sync(server)
    await laptop.share(john, with_="hcp-b")
    for replica in (laptop, phone, b):
        await replica.sync(server)
    edited = await b.save((await b.get(Patient, john.id)).replace(note="by B"))
    await b.push(server)
    await laptop.pull(server)
    assert (await laptop.get(Patient, john.id)).note == "by B"
    ended = await phone.revoke(await phone.get(Patient, john.id), from_="hcp-b")
    await phone.push(server)
    await laptop.sync(server)
    assert await live(laptop, john.id) == {edited.rev, ended.rev}
    [genuine] = await server.fetch({john.id: [edited.rev]})
    forged = {"retired": True, "parents": [edited.rev]} if is_retirement else {}
    server.put(Revision(john.id, (rev(4, 1), *genuine.history), json.dumps(forged).encode(), deleted=True))
    await laptop.sync(server)
    time[0] += 2 * PATIENCE_MS
    await laptop.sync(server)
    assert (await laptop.get(Patient, john.id)).note is None
    assert await live(laptop, john.id) == {ended.rev}
    assert await body_of(laptop, john.id, edited.rev) == genuine.body


async def shared_record(open_replica, *others: str) -> tuple[MemoryPeer, Replica, Replica, list[Replica], Patient]:
    """A's laptop and phone, and others, with a patient that A shared with all of these."""
    server = MemoryPeer("clinic")
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    replicas = [await open_replica(hcp_id) for hcp_id in others]
    for replica in (*replicas, laptop, phone, *replicas):
        await replica.sync(server)
    john = await laptop.save(Patient(first_name="John"))
    for hcp_id in others:
        john = await laptop.share(john, with_=hcp_id)
    for replica in (laptop, phone, *replicas):
        await replica.sync(server)
    return server, laptop, phone, replicas, john


async def history_of(replica: Replica, doc_id: str, wanted: str) -> tuple[Rev, ...]:
    tree = await replica._store.run(replica._store.documents.tree, doc_id)
    return tree.history(Rev(wanted))


async def test_a_server_that_puts_an_edit_below_what_never_saw_it_hides_nothing(open_replica):
    """Whichever of two claimed parents has the higher hash: six tries see both."""
    server, laptop, phone, _, john = await shared_record(open_replica)
    for _ in range(6):
        john = await laptop.get(Patient, john.id)
        second = await laptop.save(john.replace(last_name="Second"))
        third = await laptop.save(second.replace(last_name="Third"))
        typed = await phone.save((await phone.get(Patient, john.id)).replace(note=f"typed after {john.rev}"))
        body = await body_of(laptop, john.id, Rev(third.rev))
        true = await history_of(laptop, john.id, third.rev)
        false = (Rev(third.rev), *await history_of(phone, john.id, typed.rev))
        for history in (true, false):
            await phone._store.run(phone._store.documents.apply, [Revision(john.id, history, body)])
        await phone.sync(server)
        await laptop.sync(server)
        for replica in (phone, laptop):
            seen = await replica.get(Patient, john.id)
            assert (seen.last_name, seen.note) == ("Third", typed.note)
        await phone.sync(server)


async def test_a_notice_that_puts_nobody_out_hides_nothing(open_replica):
    server, laptop, _, _, john = await shared_record(open_replica, "hcp-b")
    revoked = await laptop.revoke(john, from_="hcp-b")
    await laptop.sync(server)
    body = json.loads(await body_of(laptop, john.id, Rev(revoked.rev)))
    kept = {name: body[name] for name in ("type", "cryptoSuite", "creator", "access")}
    for mark, named in enumerate(("hcp-b", "hcp-z")):  # out already, and never in
        shown = await laptop.get(Patient, john.id)
        notice = {"notice": True, **kept, "delegations": {named: []}, "parents": [shown.rev]}
        above = await history_of(laptop, john.id, shown.rev)
        forged = (rev(int(shown.rev.partition("-")[0]) + 1, mark), *above)
        await laptop._store.run(
            laptop._store.documents.apply, [Revision(john.id, forged, json.dumps(notice).encode(), deleted=True)]
        )
        assert (await laptop.sync(server)).undone == 1


async def test_a_revocation_that_is_here_counts_whether_anybody_has_read_it_or_not(open_replica):
    """B, who is in, writes over A's revocation of C as if it had not seen it; the phone has pulled that, unread."""
    server, laptop, phone, (b, _), john = await shared_record(open_replica, "hcp-b", "hcp-c")
    old = json.loads(await body_of(b, john.id, Rev(john.rev)))
    await laptop.revoke(john, from_="hcp-c")
    await laptop.push(server)
    await phone._exchange._attempt(Direction.PULL, server, None)
    await b.pull(server)
    opened = await b._store.run(b._keyed.opener.open, john.id)
    subject = Subject.of(john.id, opened.stored.document)
    stripped = {**opened.stored.document, "access": old["access"], "parents": [opened.stored.rev]}
    evil = signed(subject, stripped, b._keyed.parties.keyring)
    history = (evil.rev, *await history_of(b, john.id, opened.stored.rev))
    server.put(Revision(john.id, history, strict_json.dumps(evil.document)))
    await phone.sync(server)
    assert "hcp-c" not in (await phone.get(Patient, john.id)).shared_with


async def test_a_hundred_leaves_are_merged_in_one_step(open_replica):
    server, laptop, phone, _, john = await shared_record(open_replica)
    suite = phone._keyed.opener._suites["sealed-1"]
    opened = await phone._store.run(phone._keyed.opener.open, john.id)
    history = await history_of(phone, john.id, opened.stored.rev)
    for number in range(100):
        written = suite.edit(opened.stored, opened.entity.replace(tags=[Code(type="t", code=str(number))]))
        server.put(Revision(john.id, (written.rev, *history), strict_json.dumps(written.document)))
    await laptop.save(john.replace(last_name="Keats"))
    assert (await laptop.sync(server)).merged == 1
    assert len(await live(laptop, john.id)) == 1
    seen = await laptop.get(Patient, john.id)
    assert seen.last_name == "Keats"
    assert {tag.code for tag in seen.tags} == {str(number) for number in range(100)}
    await phone.sync(server)
    assert await phone.get(Patient, john.id) == seen
