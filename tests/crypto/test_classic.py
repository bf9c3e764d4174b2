"""Creating, editing and sharing in `icure-classic`: the layout stays what released SDKs read."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.crypto.classic import (
    ClassicParent,
    create_document,
    create_hcp_document,
    edit_document,
    edit_hcp_document,
    open_document,
    open_hcp_document,
    share_document,
    with_deletion,
)
from icure_sync.crypto.classic_access import ACCESS_MAPS, ClassicPair, make_entry
from icure_sync.crypto.classic_cipher import (
    Parts,
    decrypt,
    decrypt_json,
    encrypt,
    encrypt_json,
    new_uuid,
    random_seal,
)
from icure_sync.crypto.classic_layout import Sealing, open_fields
from icure_sync.crypto.primitives import system_entropy
from icure_sync.errors import CryptoError, InvalidEntity, NoAccess, Tampered
from icure_sync.model import Contact, Content, Measure, Patient, Service, entity_class, from_record, to_record
from tests.crypto.classic_clinic import PARTIES, A, B, C, Clinic, counting_entropy, vectors
from tests.strategies import json_values

IDS = vectors()["ids"]
PATIENT, CONTACT, ELEMENT, DOCUMENT = (IDS[name] for name in ("patient", "contact", "healthElement", "document"))
NOTE = "Épanchement — 🩺"


def sealed(clinic: Clinic, doc_id: str, me: str) -> dict[str, Any]:
    return decrypt_json(clinic.open(doc_id, me).key, clinic.docs[doc_id]["encryptedSelf"])


def test_an_edit_that_changes_nothing_writes_the_same_document():
    for doc_id in (PATIENT, CONTACT, DOCUMENT):
        clinic = Clinic()
        before = json.dumps(clinic.docs[doc_id])
        clinic.edit(doc_id, B, dict(clinic.open(doc_id, B).record))
        assert json.dumps(clinic.docs[doc_id]) == before


def test_the_way_through_the_model_changes_nothing_either():
    for doc_id in (PATIENT, CONTACT, DOCUMENT):
        clinic = Clinic()
        before = json.dumps(clinic.docs[doc_id])
        opened = clinic.open(doc_id, B)
        entity = from_record(entity_class(opened.type), dict(opened.record), id=doc_id, rev="1-a")
        clinic.edit(doc_id, B, to_record(entity))
        assert json.dumps(clinic.docs[doc_id]) == before


def test_an_edit_by_a_delegate_is_read_by_everyone_with_access():
    clinic = Clinic()
    clinic.edit(PATIENT, B, {**clinic.open(PATIENT, B).record, "note": NOTE, "firstName": "Johnny"})
    for party in PARTIES:
        record = clinic.open(PATIENT, party).record
        assert (record["note"], record["firstName"], record["lastName"]) == (NOTE, "Johnny", "Keats")
        assert clinic.sdk_reads(clinic.docs[PATIENT], party) == {"note": NOTE}


def test_an_edit_touches_nothing_but_the_content():
    clinic = Clinic()
    clinic.docs[PATIENT] |= {
        "rev_history": {"1-a": "x"},
        "securityMetadata": {"a": 1},
        "schoolingInfos": [{"_id": "x"}],
    }
    before = clinic.docs[PATIENT]
    clinic.edit(PATIENT, A, {**clinic.open(PATIENT, A).record, "firstName": "Johnny"})
    assert clinic.docs[PATIENT] == {**before, "firstName": "Johnny"}
    assert list(clinic.docs[PATIENT]) == list(before)


def test_a_sealed_part_is_escaped_json_behind_a_fresh_iv():
    clinic = Clinic()
    seen = set()
    for _ in range(3):
        clinic.edit(PATIENT, A, {**clinic.open(PATIENT, A).record, "note": NOTE + str(len(seen))})
        data = base64.b64decode(clinic.docs[PATIENT]["encryptedSelf"], validate=True)
        seen.add(data[:16])
    assert len(seen) == 3
    key = clinic.open(PATIENT, A).key
    text = encrypt_json(key, {"note": NOTE}, counting_entropy())
    assert decrypt(key, base64.b64decode(text)) == b'{"note":"\\u00c9panchement \\u2014 \\ud83e\\ude7a"}'


def test_a_changed_service_is_sealed_anew_and_the_others_keep_their_bytes():
    clinic = Clinic()
    before = clinic.docs[CONTACT]["services"]
    record = json.loads(json.dumps(clinic.open(CONTACT, B).record))
    record["services"][0]["content"]["fr"]["stringValue"] = NOTE
    record["services"][2]["content"]["fr"]["compoundValue"][0]["content"]["fr"]["measureValue"]["value"] = 130
    clinic.edit(CONTACT, B, record)
    after = clinic.docs[CONTACT]["services"]
    assert after[1] == before[1]
    assert after[0] == {**before[0], "encryptedSelf": after[0]["encryptedSelf"]}
    inner, inner_before = after[2]["content"]["fr"]["c"], before[2]["content"]["fr"]["c"]
    assert inner[1] == inner_before[1]
    assert inner[0] == {**inner_before[0], "encryptedSelf": inner[0]["encryptedSelf"]} != inner_before[0]
    assert clinic.open(CONTACT, C).record == record
    key = clinic.open(CONTACT, C).key
    assert decrypt_json(key, after[0]["encryptedSelf"]) == {"content": {"fr": {"stringValue": NOTE}}}
    assert "content" not in after[0]


def test_a_new_service_is_sealed_with_its_id_spelled_as_in_couchdb():
    clinic = Clinic()
    service = {
        "id": "svc-new",
        "label": "Poids",
        "content": {"fr": {"measureValue": {"value": 51, "unit": "kg", "unitCodes": [{"id": "U|kg|1"}]}}},
        "tags": [{"id": "CD-ITEM|x|1", "type": "CD-ITEM"}],
    }
    record = clinic.open(CONTACT, A).record
    clinic.edit(CONTACT, A, {**record, "services": [service, *record["services"]]})
    stored = clinic.docs[CONTACT]["services"][0]
    assert stored.keys() == {"_id", "label", "tags", "encryptedSelf"}
    assert stored["tags"] == [{"_id": "CD-ITEM|x|1", "type": "CD-ITEM"}]
    assert decrypt_json(clinic.open(CONTACT, A).key, stored["encryptedSelf"]) == {"content": service["content"]}
    assert clinic.open(CONTACT, C).record["services"][0] == service


def test_clear_contents_are_spelled_with_letters_and_inner_services_are_sealed():
    clinic = Clinic()
    entity = Contact(
        services=(
            Service(
                id="bp",
                content={
                    "fr": Content(
                        compound_value=(Service(id="sys", content={"fr": Content(measure_value=Measure(value=120))}),)
                    )
                },
            ),
            Service(
                id="mixed",
                content={"fr": Content(string_value="high", compound_value=(Service(id="in", label="x"),))},
            ),
        )
    )
    clinic.edit(CONTACT, A, to_record(entity))
    outer, mixed = clinic.docs[CONTACT]["services"]
    assert outer.keys() == {"_id", "content"}
    [inner] = outer["content"]["fr"]["c"]
    assert inner.keys() == {"_id", "encryptedSelf"}
    assert mixed.keys() == {"_id", "encryptedSelf"}
    assert clinic.open(CONTACT, B).record["services"] == to_record(entity)["services"]


def test_a_single_record_in_the_clear_goes_through_as_it_is():
    content = {"measureValue": {"value": 51, "unit": "kg"}}
    parts = Parts(())
    stored = Sealing(parts, bytes(16), random_seal(bytes(16), counting_entropy())).fields(content, Content)
    assert "encryptedSelf" not in json.dumps(stored)
    assert open_fields(stored, Content, parts) == content


def test_what_the_policy_seals_leaves_the_clear_when_it_is_written():
    clinic = Clinic()
    assert clinic.docs[ELEMENT]["descr"] == "Tuberculosis"
    clinic.edit(ELEMENT, B, {**clinic.open(ELEMENT, B).record, "note": "voir lettre"})
    assert not clinic.docs[ELEMENT].keys() & {"descr", "note"}
    assert clinic.sdk_reads(clinic.docs[ELEMENT], A) == {"descr": "Tuberculosis", "note": "voir lettre"}


def test_what_was_sealed_in_a_place_stays_sealed_there():
    clinic = Clinic()
    key = clinic.open(PATIENT, A).key
    clinic.docs[PATIENT]["encryptedSelf"] = encrypt_json(key, {"note": "n", "ssin": "123"}, system_entropy)
    clinic.docs[PATIENT]["addresses"] = [
        {"encryptedSelf": encrypt_json(key, {"street": "Wentworth Place"}, system_entropy), "city": "London"}
    ]
    record = clinic.open(PATIENT, B).record
    assert record["ssin"] == "123"
    assert record["addresses"] == [{"city": "London", "street": "Wentworth Place"}]
    addresses = [{"id": "new", "street": "Piazza di Spagna", "city": "Rome"}, *record["addresses"]]
    clinic.edit(PATIENT, B, {**record, "ssin": "456", "addresses": addresses})
    document = clinic.docs[PATIENT]
    assert "ssin" not in document
    assert [address.keys() for address in document["addresses"]] == [
        {"id", "city", "encryptedSelf"},
        {"city", "encryptedSelf"},
    ]
    assert sealed(clinic, PATIENT, A) == {"note": "n", "ssin": "456"}
    assert clinic.open(PATIENT, C).record["addresses"] == addresses


def test_a_field_that_is_left_out_is_removed_and_its_ciphertext_is_replaced():
    clinic = Clinic()
    record = dict(clinic.open(PATIENT, A).record)
    del record["note"], record["gender"]
    clinic.edit(PATIENT, A, record)
    assert "gender" not in clinic.docs[PATIENT]
    assert sealed(clinic, PATIENT, B) == {}
    assert clinic.docs[PATIENT]["codes"] == []


def test_stamps_survive_an_edit_and_are_no_content():
    clinic = Clinic()
    key, stamps = clinic.open(PATIENT, A).key, {"context": {"w": 3}, "parents": ["1-a"]}
    inside = encrypt_json(key, stamps, system_entropy)
    clinic.docs[PATIENT]["encryptedSelf"] = encrypt_json(key, {"_sync": inside, "note": "n"}, system_entropy)
    opened = clinic.open(PATIENT, B)
    assert "_sync" not in opened.record
    assert opened.stamps == stamps
    clinic.edit(PATIENT, B, {**opened.record, "note": "m"})
    assert sealed(clinic, PATIENT, C) == {"_sync": inside, "note": "m"}


def test_stamps_that_do_not_open_are_none():
    clinic = Clinic()
    key = clinic.open(PATIENT, A).key
    for odd in (5, {}, "?", encrypt_json(bytes(16), {"a": 1}, system_entropy)):
        clinic.docs[PATIENT]["encryptedSelf"] = encrypt_json(key, {"_sync": odd, "note": "n"}, system_entropy)
        assert (clinic.open(PATIENT, A).stamps, clinic.open(PATIENT, A).record["note"]) == (None, "n")


def test_a_ciphertext_cannot_rename_or_readdress_its_document():
    clinic = Clinic()
    key = clinic.open(PATIENT, A).key
    inside = {"note": "n", "_id": "other", "delegations": {}, "java_type": "x", "deleted": 1}
    clinic.docs[PATIENT]["encryptedSelf"] = encrypt_json(key, inside, system_entropy)
    opened = clinic.open(PATIENT, A)
    assert not opened.record.keys() & inside.keys() - {"note"}
    assert opened.delegates == set(PARTIES)
    assert opened.deleted_at is None


def test_names_that_are_no_fields_are_refused():
    clinic = Clinic()
    for name in ("_rev", "delegations", "encryptedSelf", "java_type", "deleted"):
        with pytest.raises(InvalidEntity, match=name):
            clinic.edit(PATIENT, A, {"firstName": "John", name: "x"})


def test_sharing_gives_the_delegate_everything_that_is_needed():
    clinic = Clinic()
    for doc_id in (ELEMENT, DOCUMENT):
        before = json.loads(json.dumps(clinic.docs[doc_id]))
        clinic.share(doc_id, B, C)
        mine, theirs = clinic.open(doc_id, B), clinic.open(doc_id, C)
        assert theirs.record == mine.record
        assert (theirs.content_keys, theirs.secret_ids, theirs.foreign_ids) == (
            mine.content_keys,
            mine.secret_ids,
            mine.foreign_ids,
        )
        after = clinic.docs[doc_id]
        assert list(after) == list(before)
        for name in before:
            if name in ACCESS_MAPS:
                [entry] = after[name].pop(C)
                assert entry.keys() == {"owner", "delegatedTo", "key"}
                assert (entry["owner"], entry["delegatedTo"]) == (B, C)
                assert len(bytes.fromhex(entry["key"])) == 16 + 80
                assert entry["key"] == entry["key"].lower()
            assert after[name] == before[name]


def test_sharing_twice_adds_nothing():
    clinic = Clinic()
    clinic.share(ELEMENT, A, C)
    once = json.dumps(clinic.docs[ELEMENT])
    clinic.share(ELEMENT, A, C)
    assert json.dumps(clinic.docs[ELEMENT]) == once


def test_entries_of_others_are_kept_when_a_delegate_is_given_more():
    clinic = Clinic()
    clinic.docs[ELEMENT]["delegations"][C] = [{"owner": "someone", "delegatedTo": C, "key": "00", "tags": ["t"]}]
    clinic.share(ELEMENT, A, C)
    ours, theirs = clinic.docs[ELEMENT]["delegations"][C]
    assert ours["owner"] == A
    assert theirs == {"owner": "someone", "delegatedTo": C, "key": "00", "tags": ["t"]}
    assert clinic.open(ELEMENT, C).record == clinic.open(ELEMENT, A).record


def test_the_entry_that_opens_the_body_comes_first_after_an_edit_and_in_what_is_shared():
    clinic = Clinic()
    old, new = clinic.open(PATIENT, A).content_keys[0], new_uuid(system_entropy)
    own = clinic.pair(A, A)
    body = encrypt_json(bytes.fromhex(new.replace("-", "")), {"note": "under the new key"}, system_entropy)
    document = clinic.docs[PATIENT]
    document["encryptedSelf"] = body
    document["encryptionKeys"][A].append(make_entry(PATIENT, new, own, system_entropy))
    opened = clinic.open(PATIENT, A)
    assert opened.content_keys == (new, old)
    assert opened.record["note"] == "under the new key"
    clinic.edit(PATIENT, A, {**opened.record, "firstName": "Johnny"})
    assert clinic.docs[PATIENT]["encryptedSelf"] == body
    assert clinic.sdk_reads(clinic.docs[PATIENT], A) == {"note": "under the new key"}
    clinic.share(PATIENT, A, B)
    assert clinic.sdk_reads(clinic.docs[PATIENT], B) == {"note": "under the new key"}
    assert clinic.open(PATIENT, B).content_keys == (new, old)


def test_a_part_under_an_older_key_is_sealed_under_the_current_one():
    clinic = Clinic()
    opened = clinic.open(CONTACT, A)
    new, own = new_uuid(system_entropy), clinic.pair(A, A)
    document = clinic.docs[CONTACT]
    document["encryptionKeys"][A].insert(0, make_entry(CONTACT, new, own, system_entropy))
    new_key = bytes.fromhex(new.replace("-", ""))
    document["encryptedSelf"] = encrypt_json(new_key, {"descr": "x"}, system_entropy)
    assert clinic.open(CONTACT, A).record["services"] == opened.record["services"]
    clinic.edit(CONTACT, A, dict(clinic.open(CONTACT, A).record))
    for service in clinic.docs[CONTACT]["services"][:2]:
        assert decrypt_json(new_key, service["encryptedSelf"])


def test_data_from_before_2018_opens_with_its_secret_ids_and_stays_as_it_is():
    clinic = Clinic()
    secret_id = clinic.open(PATIENT, A).secret_ids[0]
    document = clinic.docs[PATIENT]
    document["encryptionKeys"] = {}
    document["encryptedSelf"] = encrypt_json(bytes.fromhex(secret_id.replace("-", "")), {"note": "old"}, system_entropy)
    del document["delegations"][C]
    assert clinic.open(PATIENT, B).record["note"] == "old"
    assert clinic.open(PATIENT, B).content_keys == (secret_id,)
    clinic.edit(PATIENT, B, {**clinic.open(PATIENT, B).record, "note": "newer"})
    clinic.share(PATIENT, B, C)
    assert clinic.docs[PATIENT]["encryptionKeys"] == {}
    for party in PARTIES:
        assert clinic.open(PATIENT, party).record["note"] == "newer"


def test_the_content_of_early_services_opens_and_is_written_as_it_is_today():
    clinic = Clinic()
    key = clinic.open(CONTACT, A).key
    service = clinic.docs[CONTACT]["services"][0]
    content = {"fr": {"stringValue": "early"}}
    service["encryptedContent"] = encrypt_json(key, content, system_entropy)
    record = clinic.open(CONTACT, A).record
    assert record["services"][0]["content"] == content
    clinic.edit(CONTACT, A, dict(record))
    written = clinic.docs[CONTACT]["services"][0]
    assert "encryptedContent" not in written
    assert decrypt_json(key, written["encryptedSelf"]) == {"content": content}


def test_a_new_document_has_the_layout_of_the_sdk():
    clinic = Clinic()
    own, patient = clinic.pair(A, A), clinic.open(PATIENT, A)
    parent = ClassicParent(PATIENT, patient.secret_ids[0])
    record = {"descr": NOTE, "location": "Rome", "services": [{"id": "s", "content": {"en": {"stringValue": NOTE}}}]}
    doc_id = new_uuid(system_entropy)
    document = create_document("Contact", doc_id, record, own=own, entropy=system_entropy, parents=[parent])
    assert document.keys() == {
        *("java_type", "location", "services", "subContacts", "codes", "tags", "identifier", "encryptedSelf"),
        *(*ACCESS_MAPS, "secretForeignKeys"),
    }
    assert document["java_type"] == "org.taktik.icure.entities.Contact"
    assert document["secretForeignKeys"] == list(patient.secret_ids)
    assert NOTE not in json.dumps(document, ensure_ascii=False)
    clinic.docs[doc_id] = document
    for delegate in (B, C):
        clinic.share(doc_id, A, delegate)
    for party in PARTIES:
        opened = clinic.open(doc_id, party)
        assert {name: value for name, value in opened.record.items() if value} == record
        assert opened.foreign_ids == (PATIENT,)
        assert clinic.sdk_reads(clinic.docs[doc_id], party) == {"descr": NOTE}


@pytest.mark.parametrize("type_name", ["Patient", "Contact", "Form", "HealthcareElement", "Document"])
def test_every_type_can_be_created_and_opened(type_name: str):
    clinic = Clinic()
    own = clinic.pair(B, B)
    document = create_document(type_name, "d", {"created": 1}, own=own, entropy=system_entropy)
    opened = open_document("d", document, B, clinic.keys_of(B))
    assert opened.type == type_name
    assert opened.record["created"] == 1
    assert document["cryptedForeignKeys"] == {}
    assert document["secretForeignKeys"] == []
    with pytest.raises(InvalidEntity):
        create_document("Attachment", "d", {}, own=own, entropy=system_entropy)


def test_a_deletion_hides_and_is_taken_back():
    clinic = Clinic()
    hidden = with_deletion({"_id": PATIENT, **clinic.docs[PATIENT]}, 1_700_000_000_000)
    assert hidden["deleted"] == 1_700_000_000_000
    assert open_document(PATIENT, hidden, A, clinic.keys_of(A)).deleted_at == 1_700_000_000_000
    assert with_deletion(hidden, None) == clinic.docs[PATIENT]


def test_an_hcp_document_is_edited_without_touching_its_keys():
    clinic = Clinic()
    before = clinic.docs[A]
    record = {**open_hcp_document(A, before), "speciality": "poetry"}
    after = edit_hcp_document(before, record)
    assert after == {**before, "speciality": "poetry"}
    created = create_hcp_document({"name": "Practice"}, b"spki")
    assert created["publicKey"] == b"spki".hex()
    assert open_hcp_document("h", created) == {"name": "Practice"}
    with pytest.raises(InvalidEntity, match="no Hcp document"):
        open_hcp_document(PATIENT, clinic.docs[PATIENT])


def test_members_of_the_wire_are_ignored_and_never_written():
    clinic = Clinic()
    own = clinic.pair(A, A)
    document = {"_id": PATIENT, "_rev": "2-a", "_attachments": {}, **clinic.docs[PATIENT]}
    opened = open_document(PATIENT, document, A, clinic.keys_of(A))
    edited = edit_document(document, opened, opened.record, me=A, keys=clinic.keys_of(A), entropy=system_entropy)
    shared = share_document(document, opened, own, system_entropy)
    assert edited == shared == clinic.docs[PATIENT]


def test_secrets_do_not_show():
    clinic = Clinic()
    opened, pair = clinic.open(PATIENT, A), clinic.pair(A, A)
    for text in (repr(opened), repr(pair), str([opened, pair])):
        assert opened.content_keys[0] not in text
        assert opened.secret_ids[0] not in text
        assert "Keats" not in text
        assert repr(pair.key) not in text


# Malformed input: typed errors only.


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"java_type": None}, InvalidEntity),
        ({"java_type": "org.taktik.icure.entities.Invoice"}, InvalidEntity),
        ({"java_type": 5}, InvalidEntity),
        ({"delegations": []}, InvalidEntity),
        ({"delegations": {A: {}}}, InvalidEntity),
        ({"encryptionKeys": "x"}, InvalidEntity),
        ({"encryptionKeys": {A: [None, 5, {}, {"owner": 5}, {"owner": A}, {"owner": A, "key": "zz"}]}}, NoAccess),
        ({"encryptionKeys": {A: [{"owner": A, "key": "00" * 32}]}}, NoAccess),
        ({"encryptionKeys": None, "delegations": None}, NoAccess),
        ({"secretForeignKeys": "x"}, InvalidEntity),
        ({"secretForeignKeys": [1]}, InvalidEntity),
        ({"deleted": "yes"}, InvalidEntity),
        ({"encryptedSelf": "?"}, Tampered),
        ({"encryptedSelf": 5}, Tampered),
        ({"encryptedSelf": ""}, Tampered),
        ({"encryptedSelf": base64.b64encode(bytes(17)).decode()}, Tampered),
        ({"encryptedSelf": base64.b64encode(bytes(64)).decode()}, Tampered),
    ],
)
def test_a_malformed_document_is_refused_with_a_typed_error(change: dict[str, Any], error: type[Exception]):
    clinic = Clinic()
    clinic.docs[PATIENT] |= change
    with pytest.raises(error) as caught:
        clinic.open(PATIENT, A)
    assert "Keats" not in str(caught.value)


def test_a_body_that_is_no_json_object_is_refused():
    clinic = Clinic()
    key = clinic.open(PATIENT, A).key
    for text in (b"[]", b"5", b"{", b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff", b'{"a":"\\ud800"}'):
        clinic.docs[PATIENT]["encryptedSelf"] = base64.b64encode(encrypt(key, text, system_entropy)).decode()
        with pytest.raises(Tampered, match="no JSON object"):
            clinic.open(PATIENT, A)
    padded = encrypt(key, b'{"note":"n"}\0\0', system_entropy)
    clinic.docs[PATIENT]["encryptedSelf"] = base64.b64encode(padded).decode()
    assert clinic.open(PATIENT, A).record["note"] == "n"


def test_a_content_key_of_an_impossible_length_is_told_among_the_attempts():
    clinic = Clinic()
    own = clinic.pair(A, A)
    clinic.docs[PATIENT]["encryptionKeys"] = {
        A: [make_entry(PATIENT, value, own, system_entropy) for value in ("abcd", "not-hex")]
    }
    with pytest.raises(NoAccess) as caught:
        clinic.open(PATIENT, A)
    assert len(caught.value.attempts) == 2
    assert "not 16 or 32 bytes" in caught.value.attempts[0]
    assert "abcd" not in str(caught.value.attempts)


def test_a_content_key_of_32_bytes_is_accepted():
    clinic = Clinic()
    value, own = "ab" * 32, clinic.pair(A, A)
    document = clinic.docs[PATIENT]
    document["encryptionKeys"] = {A: [make_entry(PATIENT, value, own, system_entropy)]}
    document["encryptedSelf"] = encrypt_json(bytes.fromhex(value), {"note": "n"}, system_entropy)
    assert clinic.open(PATIENT, A).record["note"] == "n"


paths = st.sampled_from(
    [
        ("java_type",),
        ("delegations",),
        ("delegations", A),
        ("delegations", A, 0),
        ("delegations", A, 0, "owner"),
        ("delegations", A, 0, "key"),
        ("encryptionKeys", A, 0, "key"),
        ("cryptedForeignKeys", A, 0),
        ("secretForeignKeys",),
        ("encryptedSelf",),
        ("services",),
        ("services", 0),
        ("services", 0, "_id"),
        ("services", 0, "encryptedSelf"),
        ("services", 0, "tags", 0),
        ("services", 2, "content"),
        ("services", 2, "content", "fr"),
        ("services", 2, "content", "fr", "c"),
        ("services", 2, "content", "fr", "c", 0),
        ("services", 2, "content", "fr", "c", 0, "encryptedSelf"),
        ("deleted",),
        ("anything",),
    ]
)


@given(paths, json_values)
def test_whatever_stands_in_a_document_only_typed_errors_come_out(path: tuple[Any, ...], value: Any):
    clinic = fuzzed_clinic()
    node = clinic.docs[CONTACT]
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    with contextlib.suppress(CryptoError, InvalidEntity):
        opened = clinic.open(CONTACT, A)
        clinic.edit(CONTACT, A, {**opened.record, "descr": "x"})
        assert clinic.open(CONTACT, A).record["descr"] == "x"
        clinic.share(CONTACT, A, C)


_keys: dict[tuple[str, str, bytes], bytes] = {}


def fuzzed_clinic() -> Clinic:
    """A fresh copy that shares its unwrapped Hcp keys with the others: RSA is slow."""
    clinic = Clinic()
    clinic._unwrapped = _keys
    return clinic


@given(st.integers(0, 2**32), st.integers(0, 7))
def test_a_flipped_bit_gives_a_typed_error_or_another_text_never_a_crash(position: int, bit: int):
    clinic = fuzzed_clinic()
    data = bytearray(base64.b64decode(clinic.docs[PATIENT]["encryptedSelf"]))
    data[position % len(data)] ^= 1 << bit
    clinic.docs[PATIENT]["encryptedSelf"] = base64.b64encode(data).decode()
    with contextlib.suppress(Tampered):
        clinic.open(PATIENT, A)


@given(st.dictionaries(st.text(max_size=8).filter(lambda name: not name.startswith("_")), json_values, max_size=4))
def test_any_plain_members_survive_sealing(members: dict[str, Any]):
    key = bytes(16)
    assert decrypt_json(key, encrypt_json(key, members, system_entropy)) == members


def test_what_is_no_plain_json_is_not_sealed():
    for value in ({"a": float("nan")}, {"a": "\ud800"}, {"a": object()}):
        with pytest.raises(InvalidEntity):
            encrypt_json(bytes(16), value, system_entropy)


def test_the_model_of_a_patient_goes_through_a_document_and_back():
    own = ClassicPair(A, A, bytes(32))
    record = to_record(Patient(first_name="John", note=NOTE, date_of_birth=17951031))
    document = create_document("Patient", "p", record, own=own, entropy=counting_entropy())
    opened = open_document("p", document, A, lambda _: [own.key])
    assert {name: value for name, value in opened.record.items() if value} == record
