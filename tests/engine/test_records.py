"""One device, offline: what is saved is there, sealed, linked, found, hidden and shown again."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from icure_sync.engine.replica import replica_over
from icure_sync.errors import InvalidEntity, NoAccess, NotFound, StaleRevision, StoreFull
from icure_sync.model import Address, Code, Contact, Content, Document, Form, Hcp, HealthcareElement, Patient, Service
from icure_sync.store import Store
from tests.store.revisions import without_privileges


async def test_a_saved_patient_is_there_as_it_was_saved(open_replica):
    replica = await open_replica("hcp-a")
    saved = await replica.save(Patient(first_name="John", last_name="Keats", date_of_birth=17951031))
    found = await replica.get(Patient, saved.id)
    assert (found.first_name, found.last_name, found.date_of_birth) == ("John", "Keats", 17951031)
    assert found == saved
    assert found.shared_with == {"hcp-a"}


async def test_records_in_lists_keep_the_ids_they_were_given(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(addresses=(Address(city="Hampstead"), Address(city="Rome"))))
    ids = [address.id for address in john.addresses]
    assert all(ids)
    moved = await replica.save(john.replace(addresses=(john.addresses[1], john.addresses[0])))
    assert [address.id for address in moved.addresses] == ids[::-1]
    assert [address.city for address in moved.addresses] == ["Rome", "Hampstead"]


async def test_a_contact_is_found_by_its_patient_and_knows_its_patient(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    fanny = await replica.save(Patient(first_name="Fanny"))
    visit = await replica.save(Contact(description="Cough"), patient=john)
    assert [contact.id async for contact in replica.contacts_of(john)] == [visit.id]
    assert [contact.id async for contact in replica.contacts_of(fanny)] == []
    assert (await replica.patient_of(visit)).id == john.id


async def test_each_kind_of_record_is_listed_under_its_patient(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    form = await replica.save(Form(description="Intake"), patient=john)
    element = await replica.save(HealthcareElement(description="Tuberculosis"), patient=john)
    letter = await replica.save(Document(name="Letter"), patient=john)
    assert [each.id async for each in replica.forms_of(john)] == [form.id]
    assert [each.id async for each in replica.elements_of(john)] == [element.id]
    assert [each.id async for each in replica.documents_of(john)] == [letter.id]


async def test_services_with_their_contents_survive(open_replica):
    replica = await open_replica("hcp-a")
    service = Service(
        label="Temperature",
        content={"en": Content(string_value="thirty-nine")},
        codes=(Code(type="LOINC", code="8310-5", version="1"),),
    )
    visit = await replica.save(Contact(services=(service,)))
    found = await replica.get(Contact, visit.id)
    assert found.services[0].content["en"].string_value == "thirty-nine"
    assert found.services[0].codes[0].code == "8310-5"


async def test_saving_without_a_change_writes_nothing(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    assert (await replica.save(john)).rev == john.rev


async def test_a_field_that_was_emptied_is_empty(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John", note="well"))
    john = await replica.save(john.replace(note=None))
    assert (await replica.get(Patient, john.id)).note is None


async def test_a_write_on_an_older_revision_is_refused(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    await replica.save(john.replace(note="first"))
    with pytest.raises(StaleRevision, match="read it again"):
        await replica.save(john.replace(note="second"))
    assert (await replica.get(Patient, john.id)).note == "first"


async def test_a_deleted_record_is_hidden_and_can_be_restored(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    visit = await replica.save(Contact(description="Cough"), patient=john)
    gone = await replica.delete(visit)
    assert gone.deleted
    assert [each async for each in replica.contacts_of(john)] == []
    assert [each async for each in replica.find(Contact)] == []
    assert [each async for each in replica.search("cough")] == []
    with pytest.raises(NotFound):
        await replica.get(Contact, visit.id)
    back = await replica.restore(gone)
    assert not back.deleted
    assert [each.id async for each in replica.contacts_of(john)] == [visit.id]
    assert (await replica.get(Contact, visit.id)).description == "Cough"


async def test_text_is_found_in_names_notes_and_contents_without_regard_to_accents(open_replica):
    replica = await open_replica("hcp-a")
    await replica.save(Patient(first_name="Émilie", last_name="du Châtelet"))
    await replica.save(Patient(first_name="John", note="haemoptysis since Tuesday"))
    assert [each.first_name async for each in replica.find(Patient, text="emilie chat")] == ["Émilie"]
    assert [each.first_name async for each in replica.find(Patient, text="tuesday")] == ["John"]
    assert [each async for each in replica.find(Patient, text="nobody")] == []
    assert [each async for each in replica.find(Contact, text="tuesday")] == []


async def test_what_a_query_types_is_never_syntax(open_replica):
    replica = await open_replica("hcp-a")
    await replica.save(Patient(first_name="John"))
    for text in ('"', "john OR", "NEAR(", "first_name:john", "*", "", "john*"):
        assert isinstance([each async for each in replica.find(Patient, text=text)], list)


async def test_unknown_members_survive_an_edit(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John", extra={"ofANewerVersion": {"deep": [1, 2]}}))
    john = await replica.save((await replica.get(Patient, john.id)).replace(note="x"))
    assert (await replica.get(Patient, john.id)).extra == {"ofANewerVersion": {"deep": [1, 2]}}


async def test_everything_is_there_after_the_replica_was_opened_again(tmp_path, identities):
    path = tmp_path / "again.db"
    first = Store.open(path, b"k" * 32)
    replica = await first.run(replica_over, first, identities["hcp-a"])
    john = await replica.save(Patient(first_name="John"))
    first.close()
    second = Store.open(path, b"k" * 32)
    try:
        replica = await second.run(replica_over, second, identities["hcp-a"])
        edited = await replica.save((await replica.get(Patient, john.id)).replace(note="later"))
        assert edited.rev.startswith("2-")
        assert (await replica.status()).rsa_decryptions == identities["hcp-a"].party_key.decryptions
    finally:
        second.close()


async def test_a_keyless_replica_opens_and_writes_nothing(open_replica):
    replica = await open_replica(None)
    with pytest.raises(NoAccess, match="open it with an identity"):
        await replica.save(Patient(first_name="John"))
    with pytest.raises(NoAccess):
        await replica.get(Patient, "x")
    assert (await replica.status()).hcp_id is None


async def test_an_unknown_id_and_a_record_of_another_type_are_not_found(open_replica):
    replica = await open_replica("hcp-a")
    visit = await replica.save(Contact(description="Cough"))
    with pytest.raises(NotFound):
        await replica.get(Patient, visit.id)
    with pytest.raises(NotFound):
        await replica.get(Patient, "no-such-id")
    with pytest.raises(NotFound):
        await replica.patient_of(visit)
    with pytest.raises(NotFound):
        await replica.save(Patient(id="no-such-id", rev="1-00"))


async def test_a_record_can_be_filed_only_when_it_is_new_and_under_one_parent(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    letter = await replica.save(Document(name="Letter"), patient=john)
    with pytest.raises(InvalidEntity):
        await replica.save(letter, patient=john)
    with pytest.raises(InvalidEntity):
        await replica.save(Contact(), patient=john, document=letter)


async def test_the_own_hcp_can_be_described_and_no_other(open_replica):
    replica = await open_replica("hcp-a")
    own = await replica.get(Hcp, "hcp-a")
    assert own.name == "Practice A"
    own = await replica.save(own.replace(speciality="general practice"))
    assert (await replica.get(Hcp, "hcp-a")).speciality == "general practice"
    own = await replica.save(own.replace(speciality=None))
    assert (await replica.get(Hcp, "hcp-a")).speciality is None
    with pytest.raises(InvalidEntity):
        await replica.save(Hcp(id="hcp-b", name="Somebody"))


async def test_a_document_carries_files_in_pieces(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    letter = await replica.save(Document(name="Letter"), patient=john)
    content = bytes(range(256)) * 1000
    kept = await replica.attach(letter, "scan.pdf", (content[i : i + 1000] for i in range(0, len(content), 1000)))
    assert (kept.name, kept.size) == ("scan.pdf", len(content))
    assert [each.id async for each in replica.attachments_of(letter)] == [kept.id]
    assert b"".join([piece async for piece in replica.read_attachment(kept)]) == content
    empty = await replica.attach(letter, "empty", b"")
    assert [piece async for piece in replica.read_attachment(empty)] in ([], [b""])


async def test_what_the_store_holds_of_a_record_is_ciphertext(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="Zebediah", note="canary"))
    body = (await replica._store.run(replica._store.documents.get, john.id)).body
    assert b"Zebediah" not in body
    assert b"canary" not in body
    assert json.loads(body)["cryptoSuite"] == "sealed-1"


async def test_a_replica_that_cannot_be_written_can_be_read(identities):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store.open(folder / "read.db", b"k" * 32)
        replica = await store.run(replica_over, store, identities["hcp-a"])
        john = await replica.save(Patient(first_name="John"))
        store.close()
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)
        with without_privileges():
            store = Store.open(folder / "read.db", b"k" * 32)
            try:
                replica = await store.run(replica_over, store, identities["hcp-a"])
                assert (await replica.get(Patient, john.id)).first_name == "John"
                assert [each.id async for each in replica.find(Patient, text="john")] == [john.id]
                with pytest.raises(StoreFull, match="read-only"):
                    await replica.save(john.replace(note="x"))
            finally:
                store.close()
        folder.chmod(0o755)


async def test_a_contact_can_be_filed_under_a_patient_that_was_written_since_it_was_read(open_replica):
    replica = await open_replica("hcp-a")
    john = await replica.save(Patient(first_name="John"))
    await replica.save(john.replace(note="edited"))
    visit = await replica.save(Contact(description="Cough"), patient=john)
    assert [each.id async for each in replica.contacts_of(john)] == [visit.id]
