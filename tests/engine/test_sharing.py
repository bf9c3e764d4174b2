"""Several Hcps and devices over one server: who sees what, and that nobody sees more."""

from __future__ import annotations

import msgspec
import pytest

from icure_sync.errors import Misplaced, NoAccess, NotFound, StaleRevision, Tampered
from icure_sync.model import Contact, Document, Form, Hcp, Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Refusal, Revision
from tests.engine.meetings import met


async def test_a_second_device_of_the_same_hcp_sees_everything(open_replica, server):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    john = await laptop.save(Patient(first_name="John"))
    await laptop.sync(server)
    report = await phone.sync(server)
    assert report.pulled == 1  # the Hcp document of A is the same on both devices from the start
    assert (await phone.get(Patient, john.id)).first_name == "John"


async def test_a_record_that_was_not_shared_does_not_reach_another_hcp(open_replica, server):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(server, a, b)
    john = await a.save(Patient(first_name="John"))
    await a.sync(server)
    await b.sync(server)
    with pytest.raises(NotFound):
        await b.get(Patient, john.id)


async def test_sharing_lets_the_other_read_and_edit_and_file_contacts(open_replica, server):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(server, a, b)
    john = await a.save(Patient(first_name="John"))
    john = await a.share(john, with_="hcp-b")
    assert john.shared_with == {"hcp-a", "hcp-b"}
    await a.sync(server)
    await b.sync(server)
    seen = await b.get(Patient, john.id)
    assert seen == john
    visit = await b.save(Contact(description="Cough"), patient=seen)
    await b.share(visit, with_="hcp-a")
    await b.save(seen.replace(note="seen by B"))
    await b.sync(server)
    await a.sync(server)
    assert (await a.get(Patient, john.id)).note == "seen by B"
    assert [each.description async for each in a.contacts_of(john)] == ["Cough"]
    assert (await a.patient_of(visit)).id == john.id


async def test_a_delegate_can_share_on(open_replica, server):
    a, b, c = [await open_replica(hcp) for hcp in ("hcp-a", "hcp-b", "hcp-c")]
    await met(server, a, b, c)
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    await a.sync(server)
    await b.sync(server)
    await b.share(await b.get(Patient, john.id), with_="hcp-c")
    await b.sync(server)
    await c.sync(server)
    assert (await c.get(Patient, john.id)).shared_with == {"hcp-a", "hcp-b", "hcp-c"}


async def test_sharing_with_everything_linked_reaches_contacts_forms_documents_and_their_files(open_replica, server):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(server, a, b)
    john = await a.save(Patient(first_name="John"))
    await a.save(Contact(description="Cough"), patient=john)
    await a.save(Form(description="Intake"), patient=john)
    letter = await a.save(Document(name="Letter"), patient=john)
    await a.attach(letter, "scan.pdf", b"bytes of a scan" * 10_000)
    await a.share(john, with_="hcp-b", include_linked=True)
    await a.sync(server)
    await b.sync(server)
    seen = await b.get(Patient, john.id)
    assert [each.description async for each in b.contacts_of(seen)] == ["Cough"]
    assert [each.description async for each in b.forms_of(seen)] == ["Intake"]
    (document,) = [each async for each in b.documents_of(seen)]
    (scan,) = [each async for each in b.attachments_of(document)]
    assert b"".join([piece async for piece in b.read_attachment(scan)]) == b"bytes of a scan" * 10_000


async def test_a_contact_can_be_shared_without_its_patient(open_replica, server):
    a, c = await open_replica("hcp-a"), await open_replica("hcp-c")
    await met(server, a, c)
    john = await a.save(Patient(first_name="John"))
    visit = await a.share(await a.save(Contact(description="Cough"), patient=john), with_="hcp-c")
    await a.sync(server)
    await c.sync(server)
    assert (await c.get(Contact, visit.id)).description == "Cough"
    with pytest.raises(NotFound):
        await c.patient_of(visit)


async def test_sharing_twice_writes_once(open_replica, server):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(server, a, b)
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    assert (await a.share(john, with_="hcp-b")).rev == john.rev


async def test_sharing_with_an_hcp_that_is_not_known_says_what_to_do(open_replica):
    a = await open_replica("hcp-a")
    john = await a.save(Patient(first_name="John"))
    with pytest.raises(NotFound, match="have that Hcp sync once"):
        await a.share(john, with_="hcp-b")


async def test_rsa_is_used_once_for_each_hcp_key(open_replica, server, identities):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(server, a, b)
    for number in range(20):
        await a.share(await a.save(Patient(first_name=f"P{number}")), with_="hcp-b")
    await a.sync(server)
    before = identities["hcp-b"].party_key.decryptions
    await b.sync(server)
    assert len([each async for each in b.find(Patient)]) == 20
    assert identities["hcp-b"].party_key.decryptions == before + 1


async def test_two_devices_that_mint_a_key_for_the_same_pair_lose_nothing(open_replica, server):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    b = await open_replica("hcp-b")
    await met(server, laptop, phone, b)
    one = await laptop.share(await laptop.save(Patient(first_name="One")), with_="hcp-b")
    two = await phone.share(await phone.save(Patient(first_name="Two")), with_="hcp-b")
    await met(server, laptop, phone, b)
    for replica in (laptop, phone, b):
        assert (await replica.get(Patient, one.id)).first_name == "One"
        assert (await replica.get(Patient, two.id)).first_name == "Two"


async def test_a_forged_revision_is_not_shown_and_the_genuine_one_stays(open_replica, server):
    a = await open_replica("hcp-a")
    john = await a.save(Patient(first_name="John"))
    await a.sync(server)
    genuine = await a._store.run(a._store.documents.get, john.id)
    document = msgspec.json.decode(genuine.body)
    document["secretForeignKeys"] = ["00" * 16]
    forged = Revision(john.id, ("1-" + "f" * 32,), msgspec.json.encode(document))
    await server.write([forged], server)
    await a.sync(server)
    assert (await a.get(Patient, john.id)).rev == john.rev


async def test_a_document_of_a_signer_not_known_yet_waits(open_replica, server):
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(server, a, b)
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    await a.sync(server)
    c = await open_replica("hcp-c")
    await c.sync(server)
    with pytest.raises(NotFound):
        await c.get(Patient, john.id)
    assert {hcp.id async for hcp in c.find(Hcp)} == {"hcp-a", "hcp-b", "hcp-c"}


async def test_a_changed_body_is_tampered(open_replica):
    a = await open_replica("hcp-a")
    john = await a.save(Patient(first_name="John"))
    genuine = await a._store.run(a._store.documents.get, john.id)
    document = msgspec.json.decode(genuine.body)
    document["encryptedSelf"] = document["encryptedSelf"][:-8] + "AAAAAAA="
    b = await open_replica("hcp-a", "phone")
    await b._store.run(b._store.documents.apply, [Revision(genuine.id, genuine.history, msgspec.json.encode(document))])
    with pytest.raises(Tampered):
        await b.get(Patient, john.id)
    assert [each async for each in b.find(Patient)] == []
    assert john.id in (await b.status()).unreadable


async def test_a_full_copy_on_a_keyless_replica_opens_nothing(open_replica, server):
    a, box = await open_replica("hcp-a"), await open_replica(None, "box")
    john = await a.save(Patient(first_name="John"))
    await a.sync(server)
    report = await box.sync(server)
    assert report.pulled == 2
    assert (await box.status()).documents == {"HealthcareParty": 1, "Patient": 1}
    with pytest.raises(NoAccess):
        await box.get(Patient, john.id)
    elsewhere = MemoryPeer("elsewhere")
    await box.sync(elsewhere)
    phone = await open_replica("hcp-a", "phone")
    await phone.sync(elsewhere)
    assert (await phone.get(Patient, john.id)).first_name == "John"


async def test_a_second_parent_that_a_server_claims_does_not_hide_a_genuine_revision(open_replica):
    laptop = await open_replica("hcp-a", "laptop")
    john = await laptop.save(Patient(first_name="John"))
    john = await laptop.save(john.replace(note="later"))
    genuine = await laptop._store.run(laptop._store.documents.get, john.id)
    claimed = Revision(john.id, (genuine.rev, "1-" + "f" * 32), genuine.body)
    phone = await open_replica("hcp-a", "phone")
    await phone._store.run(phone._store.documents.apply, [claimed])
    with pytest.raises(Misplaced):
        await phone.get(Patient, john.id)
    for replica in (laptop, phone):
        await replica._store.run(replica._store.documents.apply, [claimed, genuine])
        assert (await replica.get(Patient, john.id)).note == "later"


async def test_status_lists_what_each_server_refused(open_replica):
    class Picky(MemoryPeer):
        async def write(self, revisions, source):
            wanted = [each for each in revisions if each.id != self.refuses]
            refused = [Refusal(each.id, each.rev, "forbidden", "not here") for each in revisions if each not in wanted]
            return [*await super().write(wanted, source), *refused]

    a = await open_replica("hcp-a")
    john = await a.save(Patient(first_name="John"))
    picky, other = Picky("picky"), MemoryPeer("other")
    picky.refuses = john.id
    await a.sync(picky)
    assert [each.id for each in (await a.sync(other)).refused] == []
    assert [each.id for each in (await a.status()).refused] == [john.id]
    picky.refuses = ""
    assert (await a.sync(picky)).refused == ()
    assert (await a.status()).refused == ()
    assert john.id in picky.all_leaves()


async def test_an_entity_read_before_sharing_can_be_written_after_it(open_replica, server):
    a, b, c = [await open_replica(hcp) for hcp in ("hcp-a", "hcp-b", "hcp-c")]
    await met(server, a, b, c)
    john = await a.save(Patient(first_name="John"))
    visit = await a.save(Contact(description="Cough"), patient=john)
    for delegate in ("hcp-b", "hcp-c"):
        await a.share(john, with_=delegate, include_linked=True)
    assert (await a.save(john.replace(note="haemoptysis"))).shared_with == {"hcp-a", "hcp-b", "hcp-c"}
    gone = await a.delete(visit)
    assert (await a.restore(gone)).description == "Cough"
    with pytest.raises(StaleRevision):
        await a.save(visit.replace(description="from before the deletion"))
