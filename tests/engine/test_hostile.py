"""What hostile or newer software puts into a database: it is not believed, and it stops nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from icure_sync.crypto.identity import Identity
from icure_sync.crypto.sealing import Sealed
from icure_sync.engine.replica import replica_over
from icure_sync.errors import InvalidEntity, NoAccess, NotFound, StaleRevision, Tampered, UntrustedKey, WeakKey
from icure_sync.model import Address, Contact, Document, Hcp, Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Revision
from icure_sync.store import Store

JUNK = "f" * 32


async def apply(replica, *revisions: Revision) -> None:
    assert await replica._store.run(replica._store.documents.apply, revisions) == []


async def held(replica, doc_id: str) -> Revision:
    found = await replica._store.run(replica._store.documents.get, doc_id)
    assert found is not None
    return found


def junk_below(revision: Revision, body: bytes, *, deleted: bool = False) -> Revision:
    number = int(revision.rev.split("-")[0]) + 1
    return Revision(revision.id, (f"{number}-{JUNK}", *revision.history), body, deleted)


async def poisoned(replica, value: dict[str, Any], name: str = "evil") -> None:
    body = json.dumps(value).encode()
    await apply(replica, Revision(name, (f"1-{JUNK}",), body))


async def test_a_member_that_is_spelled_with_escapes_is_verified_like_any_other(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    genuine = await held(replica, john.id)
    spelled = genuine.body.replace(b'"cryptoSuite"', b'"cryptoSuit\\u0065"')
    document = json.loads(spelled)
    document.pop("written")
    forged = json.dumps(document).encode().replace(b'"cryptoSuite"', b'"cryptoSuit\\u0065"')
    await apply(replica, junk_below(genuine, forged))
    assert (await replica.get(Patient, john.id)).rev == john.rev


@pytest.mark.parametrize("deleted", [True, False])
async def test_junk_below_a_genuine_revision_neither_hides_nor_blocks_the_record(open_replica, deleted):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    server = MemoryPeer("clinic")
    john = await laptop.save(Patient(first_name="John", note="precious"))
    await laptop.sync(server)
    await phone.sync(server)
    await apply(phone, junk_below(await held(phone, john.id), b"{}", deleted=deleted))
    assert (await phone.get(Patient, john.id)).note == "precious"
    edited = await phone.save(john.replace(note="edited below the junk"))
    assert (await phone.get(Patient, john.id)).rev == edited.rev
    await phone.sync(server)
    await laptop.sync(server)
    assert (await laptop.get(Patient, john.id)).note == "edited below the junk"


async def test_genuine_bytes_that_are_only_called_deleted_are_shown(open_replica):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    john = await laptop.save(Patient(first_name="John"))
    genuine = await held(laptop, john.id)
    await apply(phone, Revision(genuine.id, genuine.history, genuine.body, deleted=True))
    assert (await phone.get(Patient, john.id)).first_name == "John"


async def test_what_junk_displaced_on_one_branch_is_written_again_and_merged_with_the_other(open_replica):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    server = MemoryPeer("clinic")
    john = await laptop.save(Patient(first_name="John"))
    await laptop.sync(server)
    await phone.sync(server)
    await laptop.save(john.replace(note="left"))
    await phone.save((await phone.get(Patient, john.id)).replace(note="right"))
    await apply(laptop, junk_below(await held(laptop, john.id), b"{}", deleted=True))
    await phone.sync(server)
    report = await laptop.sync(server)
    assert (report.undone, report.merged) == (1, 1)
    seen = await laptop.get(Patient, john.id)
    assert {seen.note, *seen.alternatives["note"]} == {"left", "right"}


async def test_nothing_unauthenticated_stands_for_a_sealed_record(open_replica):
    replica = await open_replica("hcp-a", suites=("sealed-1", "icure-classic"))
    john = await replica.save(Patient(first_name="John"))
    classic = {"java_type": "org.taktik.icure.entities.Patient", "firstName": "FAKE", "delegations": {}}
    await apply(replica, junk_below(await held(replica, john.id), json.dumps(classic).encode()))
    assert (await replica.get(Patient, john.id)).first_name == "John"


async def test_saving_an_entity_of_another_type_writes_nothing(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    for attempt in (replica.save, replica.delete, replica.restore):
        with pytest.raises(NotFound):
            await attempt(Contact(id=john.id, rev=john.rev, description="oops"))
    assert await replica.get(Patient, john.id) == john


@pytest.mark.parametrize(
    "value",
    [
        {"type": [], "delegations": {"hcp-a": []}},
        {"type": "Patient", "cryptoSuite": "sealed-1"},
        {"type": "Patient", "cryptoSuite": ["sealed-1"]},
        {"type": "Patient", "cryptoSuite": "sealed-1", "creator": 5, "access": 7, "delegations": 3},
        {"type": "Invoice", "cryptoSuite": "sealed-1"},
        {"_": 0} | {"type": "Patient"},
        {},
    ],
)
async def test_one_strange_document_stops_no_list_and_no_search(open_replica, value):
    replica = await open_replica("hcp-a")
    value.pop("_", None)
    await poisoned(replica, value)
    john = await replica.save(Patient(first_name="John"))
    assert [each.id async for each in replica.find(Patient)] == [john.id]
    assert [each.id async for each in replica.search("john")] == [john.id]
    assert (await replica.status()).documents["Patient"] >= 1


async def signed(replica, record: dict[str, Any], parent: Patient | None = None) -> None:
    """A record that is signed and sealed as it must be, with content that no entity can have."""
    keyed = replica._keyed

    def write() -> None:
        suite = keyed.records._first_suite
        written = suite.create(Contact(description="to be changed"), _parents(keyed, parent))
        body = suite._body(written)
        body["fields"] = [field for field in body["fields"] if field[0] != ["description"]]
        stamp = next(iter(body["context"].items()))
        body["fields"] += [[[name], [[*stamp, value]]] for name, value in record.items()]
        body["fields"].sort(key=lambda field: field[0])
        from icure_sync.crypto import sealing

        edited = sealing.edit(
            Sealed(written.id, written.rev, written.document), body, keyed.parties.keyring, suite._entropy
        )
        document = json.dumps(edited.document).encode()
        keyed._store.documents.apply([Revision(written.id, (edited.rev, written.rev), document)])

    await replica._store.run(write)


def _parents(keyed, parent):
    from icure_sync.engine.suite import Parent

    if parent is None:
        return []
    opened = keyed.records.shown(parent)
    return [Parent(opened.stored.id, "Patient", opened.suite.secret_ids(opened.stored)[0])]


async def test_a_record_with_a_value_of_a_wrong_type_is_passed_over_and_listed(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    visit = await replica.save(Contact(description="Cough"), patient=john)
    await signed(replica, {"descr": 5}, john)
    assert [each.id async for each in replica.find(Contact)] == [visit.id]
    assert [each.id async for each in replica.contacts_of(john)] == [visit.id]
    assert [each.id async for each in replica.search("cough")] == [visit.id]
    assert len((await replica.status()).unreadable) == 1


async def test_a_poisoned_hcp_document_locks_nobody_out(open_replica):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    server = MemoryPeer("clinic")
    for replica in (a, b, a):
        await replica.sync(server)
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    await a.sync(server)
    await b.sync(server)
    for hcp in ("hcp-a", "hcp-b"):
        for replica in (a, b):
            await apply(replica, junk_below(await held(replica, hcp), b'{"type":"HealthcareParty"}'))
    await b.sync(MemoryPeer("elsewhere"))
    assert {hcp.id async for hcp in b.find(Hcp)} == {"hcp-a", "hcp-b"}
    assert (await b.get(Patient, john.id)).first_name == "John"
    again = await a.save(Patient(first_name="Fanny"))
    await a.share(again, with_="hcp-b")
    await a.save((await a.get(Hcp, "hcp-a")).replace(speciality="general practice"))
    assert (await a.get(Hcp, "hcp-a")).speciality == "general practice"


async def test_an_identity_with_another_signing_key_does_not_open_the_replica(tmp_path, identities):
    path = tmp_path / "mine.db"
    store = Store.open(path, b"k" * 32)
    await store.run(replica_over, store, identities["hcp-a"])
    store.close()
    other = Identity.from_private_key("hcp-a", identities["hcp-a"].party_key.pkcs8())
    store = Store.open(path, b"k" * 32)
    try:
        with pytest.raises(UntrustedKey, match="under another identity"):
            await store.run(replica_over, store, other)
    finally:
        store.close()


async def test_a_party_key_that_only_the_classic_suite_accepts_writes_nothing_sealed(tmp_path):
    from tests.engine.test_classic import A, identity

    store = Store.open(tmp_path / "weak.db", b"k" * 32)
    try:
        replica = await store.run(replica_over, store, identity(A))
        with pytest.raises(WeakKey, match="3072"):
            await replica.save(Patient(first_name="John"))
    finally:
        store.close()


async def test_sharing_everything_goes_on_past_what_cannot_be_shared(open_replica):
    a, b, c = [await open_replica(hcp) for hcp in ("hcp-a", "hcp-b", "hcp-c")]
    server = MemoryPeer("clinic")
    for replica in (a, b, c, a, b):
        await replica.sync(server)
    john = await a.save(Patient(first_name="John"))
    await a.save(Contact(description="Cough"), patient=john)
    bare = await a.save(Contact(description="keys without a grant"), patient=john)
    await a.share(john, with_="hcp-b", include_linked=True)
    genuine = json.loads((await held(a, bare.id)).body)
    await a.sync(server)
    await b.sync(server)
    keyed = b._keyed
    opened = await b._store.run(keyed.opener.open, bare.id)
    assert genuine["access"]
    await b._store.run(keyed.opener.unreadable.clear)

    def refuse(child, delegate, share=keyed.records.share):
        if child.stored.id == opened.stored.id:
            raise NoAccess("share it", "there is no grant", "ask for one")
        return share(child, delegate)

    keyed.records.share = refuse
    with pytest.raises(NoAccess, match="1 records could not be shared") as failed:
        await b.share(await b.get(Patient, john.id), with_="hcp-c", include_linked=True)
    assert failed.value.attempts[0].startswith(bare.id)
    await b.sync(server)
    await c.sync(server)
    seen = await c.get(Patient, john.id)
    assert [each.description async for each in c.contacts_of(seen)] == ["Cough"]


async def test_search_finds_what_came_before_its_keys(open_replica, tmp_path, identities):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    server = MemoryPeer("clinic")
    for replica in (a, b, a):
        await replica.sync(server)
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    record, hcp = await held(a, john.id), await held(a, "hcp-a")
    path = tmp_path / "late.db"
    store = Store.open(path, b"k" * 32)
    replica = await store.run(replica_over, store, identities["hcp-b"])
    await apply(replica, record)
    assert [each async for each in replica.search("john")] == []
    await apply(replica, hcp)
    store.close()
    store = Store.open(path, b"k" * 32)
    try:
        replica = await store.run(replica_over, store, identities["hcp-b"])
        assert [each.id async for each in replica.search("john")] == [john.id]
        assert (await replica.status()).unreadable == {}
    finally:
        store.close()


async def test_the_own_profile_is_kept_to_the_rules_of_records(open_replica):
    replica = await open_replica("hcp-a")
    own = await replica.get(Hcp, "hcp-a")
    later = await replica.save(own.replace(addresses=(Address(city="Rome"),)))
    assert later.addresses[0].id
    with pytest.raises(StaleRevision):
        await replica.save(own.replace(speciality="x"))
    with pytest.raises(InvalidEntity, match="merged"):
        await replica.save(later.replace(extra={"merged": "oops"}))


async def test_both_suites_are_listed_whole(open_replica, monkeypatch):
    monkeypatch.setattr("icure_sync.engine.records.PAGE", 2)
    replica = await open_replica("hcp-a", suites=("sealed-1", "icure-classic"))
    saved = {(await replica.save(Patient(first_name=f"S{number}"))).id for number in range(5)}
    assert {each.id async for each in replica.find(Patient)} == saved
    gone = await replica.delete(await replica.get(Patient, next(iter(saved))))
    assert [each.id async for each in replica.find_deleted(Patient)] == [gone.id]
    assert len([each async for each in replica.find(Patient)]) == 4


async def test_a_file_cannot_be_hung_on_what_is_no_document(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    with pytest.raises(NotFound):
        await replica.attach(Document(id=john.id, rev=john.rev), "scan", b"bytes")
    with pytest.raises((NotFound, Tampered)):
        await replica.get(Patient, "hcp-a")


JUNK_ON_TOP = [
    {"java_type": "org.taktik.icure.entities.Patient"},
    {},
    {"type": "Invoice"},
    {"cryptoSuite": "sealed-2", "type": "Patient"},
    {"cryptoSuite": "sealed-1", "type": "Invoice"},
    {"cryptoSuite": "sealed-1", "type": "Contact"},
    {"cryptoSuite": "sealed-1", "type": "HealthcareParty"},
    {"type": "DeviceHead", "cryptoSuite": "sealed-1"},
]


@pytest.mark.parametrize("members", JUNK_ON_TOP, ids=str)
@pytest.mark.parametrize("deleted", [False, True], ids=["", "deleted"])
async def test_nothing_on_top_of_a_record_takes_it_out_of_a_list(open_replica, members, *, deleted):
    """Neither for who wrote it nor for who may only read it, again and again."""
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    server = MemoryPeer("clinic")
    for replica in (a, b, a):
        await replica.sync(server)
    john = await a.save(Patient(first_name="John"))
    await a.save(Contact(description="Cough"), patient=john)
    john = await a.share(john, with_="hcp-b", include_linked=True)
    await a.sync(server)
    await b.sync(server)
    ids = [john.id, *[each.id async for each in a.contacts_of(john)]]
    for _ in range(2):
        for doc_id in ids:
            above = server.tree(doc_id).winner().rev
            history = (f"{int(above.split('-')[0]) + 1}-{JUNK}", *server.tree(doc_id).history(above))
            body = json.dumps({**members, "delegations": {"hcp-a": [], "hcp-b": []}}).encode()
            server.put(Revision(doc_id, history, body, deleted))
        for replica in (b, a, b):
            await replica.sync(server)
            assert [each.first_name async for each in replica.find(Patient)] == ["John"]
            assert [each.description async for each in replica.contacts_of(john)] == ["Cough"]
            assert [each.id async for each in replica.search("john")] == [john.id]
