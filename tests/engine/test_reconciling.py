"""What a pull brought is reconciled record by record: none stops the others, whatever is in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from icure_sync import strict_json
from icure_sync.canonical import canonical_set
from icure_sync.crypto import sealing
from icure_sync.crypto.access import Subject
from icure_sync.crypto.sealing import signed
from icure_sync.engine.replica import Replica
from icure_sync.errors import InvalidEntity
from icure_sync.ids import DocId
from icure_sync.model import Entity, Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Revision
from tests.engine.meetings import leaves, met, stored_of
from tests.replicas import rev


async def evil(replica: Replica, entity: Entity, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Revision:
    """A revision over what the replica shows, as its Hcp signs it, with these members."""
    stored = await stored_of(replica, entity)
    document = {**stored.document, **change(dict(stored.document)), "parents": [stored.rev]}
    made = signed(Subject.of(stored.id, document), document, replica._keyed.parties.keyring)
    tree = await replica._store.run(replica._store.documents.tree, stored.id)
    return Revision(stored.id, (made.rev, *tree.history(stored.rev)), strict_json.dumps(made.document), deleted=False)


def with_a_junk_entry(document: dict[str, Any]) -> dict[str, Any]:
    entries = document["delegations"]["hcp-a"]
    junk = {**entries[0], "key": entries[0]["key"][:-8] + "AAAAAAA="}
    return {"delegations": {**document["delegations"], "hcp-a": canonical_set([*entries, junk])}}


async def test_a_record_with_a_junk_entry_stops_no_sync(replicas, server):
    a, b, *_ = replicas
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    await met(server, a, b)
    leaf = await evil(b, john, with_a_junk_entry)
    server.put(leaf)
    server.put(Revision(leaf.id, (rev(2, 9), leaf.history[-1]), b"{}", deleted=False))  # so that it is contested
    other = await a.save(Patient(first_name="Other"))
    for _ in range(2):
        await a.sync(server)
    assert server.tree(DocId(other.id)) is not None
    assert (await a.get(Patient, john.id)).first_name == "John"
    through = await a._store.run(a._store.settings.get, "engine/reconciled")
    assert through == await a._store.run(a._store.documents.update_seq)


async def test_a_merge_that_cannot_be_stored_leaves_nothing_of_it_and_stops_no_other(open_replica, server, monkeypatch):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    records = [await laptop.save(Patient(first_name=name)) for name in ("John", "Fanny")]
    await met(server, laptop, phone)
    for each in records:
        await laptop.save(each.replace(note="laptop"))
        await phone.save(each.replace(last_name="phone"))
    await laptop.push(server)
    keep = phone._keyed.records.keep

    def too_large_once_stored(written, suite, deed):
        kept = keep(written, suite, deed)
        if written.id == records[0].id:
            raise InvalidEntity("write a document", "it is too large", "make it smaller")
        return kept

    monkeypatch.setattr(phone._keyed.records, "keep", too_large_once_stored)
    assert (await phone.sync(server)).merged == 1
    trees = [await phone._store.run(phone._store.documents.tree, each.id) for each in records]
    assert [len([leaf for leaf in tree.leaves() if not leaf.deleted]) for tree in trees] == [2, 1]
    monkeypatch.undo()
    seen = await phone.get(Patient, records[0].id)
    edited = await phone.save(seen.replace(first_name="Keats"))
    assert (edited.note, edited.last_name) == ("laptop", "phone")


async def test_arrival_order(replicas, open_replica, server):
    """What B states of access counts whether A's device saw B's leaf before it knew that B is out, or after."""
    laptop, b, *_ = replicas
    phone = await open_replica("hcp-a", "phone")
    john = await laptop.share(await laptop.save(Patient(first_name="John")), with_="hcp-b")
    await met(server, laptop, b, phone)
    await b.share(await b.get(Patient, john.id), with_="hcp-d")
    await b.push(server)
    await laptop.sync(server)
    await phone.revoke(await phone.get(Patient, john.id), from_="hcp-b")
    await phone.push(server)
    to_phone, to_laptop = MemoryPeer("to phone"), MemoryPeer("to laptop")  # so that neither gets what the other merges
    await b.push(to_phone)
    await phone.push(to_laptop)
    assert [(await phone.sync(to_phone)).merged, (await laptop.sync(to_laptop)).merged] == [1, 1]
    live = [set(await leaves(each, john.id)) for each in (laptop, phone)]
    assert live[0] == live[1]
    assert (await laptop.get(Patient, john.id)) == (await phone.get(Patient, john.id))
    await met(server, laptop, phone, b)
    for replica in (laptop, phone, b):
        assert (await replica.sync(server)).merged == 0
    assert (await phone.get(Patient, john.id)).shared_with == {"hcp-a"}


async def test_a_device_that_never_saw_the_leaves_serves_whom_a_merge_left_without_a_key(
    replicas, open_replica, server
):
    """A shares with C while B puts D out with a new key, and B's device merges. A has only another device left."""
    a, b, c, d = replicas
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    await met(server, a, b)
    await b.share(await b.get(Patient, john.id), with_="hcp-d")
    await met(server, b, a, d)
    await a.share(await a.get(Patient, john.id), with_="hcp-c")
    await a.push(server)
    await b.revoke(await b.get(Patient, john.id), from_="hcp-d")
    await b.sync(server)
    phone = await open_replica("hcp-a", "phone")
    await met(server, phone, b, c)
    assert (await c.get(Patient, john.id)).first_name == "John"
    before = await leaves(phone, john.id)
    await met(server, phone, b, c)
    assert await leaves(phone, john.id) == before


def with_an_id_in_the_body(body: dict[str, Any]) -> dict[str, Any]:
    n = 1 + max(body["context"].values())
    fields = [*body["fields"], [["id"], [["ee" * 8, n, "other"]]]]
    return {**body, "context": dict(sorted({**body["context"], "ee" * 8: n}.items())), "fields": sorted(fields)}


async def test_a_record_in_whose_body_somebody_wrote_an_id_can_be_edited(replicas, server):
    a, b, *_ = replicas
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    await met(server, a, b)
    keyring = b._keyed.parties.keyring

    def change(document: dict[str, Any]) -> dict[str, Any]:
        subject = Subject.of(DocId(john.id), document)
        body = with_an_id_in_the_body(sealing.open_body(subject, document, keyring))
        keys = sealing.sealing_keys(subject, document, keyring)
        return {"encryptedSelf": sealing.seal_body(subject, keys, body, bytes(24))}

    server.put(await evil(b, john, change))
    await a.save(john.replace(note="by A"))
    await met(server, a)
    seen = await a.get(Patient, john.id)
    assert (seen.id, seen.note, seen.extra) == (john.id, "by A", {})
    edited = await a.save(seen.replace(note="again"))
    assert (edited.id, edited.note) == (john.id, "again")
    assert (await a.delete(edited)).deleted
