"""Everything that a released iCure SDK says about the documents it wrote, seen from here."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from icure_sync.crypto.classic import open_hcp_document
from icure_sync.crypto.classic_access import entry_value
from icure_sync.crypto.classic_cipher import decrypt, decrypt_json, key_bytes
from icure_sync.crypto.classic_layout import is_content
from icure_sync.errors import NoAccess
from icure_sync.model import from_record, to_record
from icure_sync.model.schema import entity_class
from tests.crypto.classic_clinic import PARTIES, A, B, C, Clinic, private_key, vectors

EXPECTED = [
    (party, doc_id, expected)
    for party, documents in vectors()["expected"].items()
    for doc_id, expected in documents.items()
]
everything = pytest.mark.parametrize(
    ("party", "doc_id", "expected"), EXPECTED, ids=[f"{party}-{expected['kind']}" for party, _, expected in EXPECTED]
)
TYPES = {"HealthElement": "HealthcareElement"}


def content(decrypted: dict[str, Any]) -> dict[str, Any]:
    """What the SDK decrypted, without what is no content; ciphertexts it left in services dropped."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(item) for name, item in value.items() if name != "encryptedSelf"}
        return [plain(item) for item in value] if isinstance(value, list) else value

    return {name: plain(value) for name, value in decrypted.items() if is_content(name) and name not in ("id", "rev")}


@everything
def test_every_party_reads_what_the_sdk_read(party: str, doc_id: str, expected: dict[str, Any]):
    opened = Clinic().open(doc_id, party)
    assert opened.type == TYPES.get(expected["kind"], expected["kind"])
    assert opened.record == content(expected["decrypted"])
    assert list(opened.content_keys) == expected["encryptionKeys"]
    assert opened.key.hex() == expected["encryptionKeyHex"]
    assert list(opened.secret_ids) == expected["secretIds"]
    assert list(opened.foreign_ids) == expected["owningEntityIds"]
    assert opened.delegates == set(expected["decrypted"]["delegations"])
    assert opened.deleted_at is None
    assert opened.stamps is None


@everything
def test_every_ciphertext_holds_the_text_that_the_sdk_put_in(party: str, doc_id: str, expected: dict[str, Any]):
    document, key = Clinic().docs[doc_id], Clinic().open(doc_id, party).key
    if "encryptedSelfPlaintext" in expected:
        assert decrypt_json(key, document["encryptedSelf"]) == json.loads(expected["encryptedSelfPlaintext"])
    services = expected.get("serviceEncryptedSelfPlaintext", {})
    found = dict(services_in(document.get("services", [])))
    assert {name: decrypt_json(key, found[name]) for name in services} == {
        name: json.loads(text) for name, text in services.items()
    }


def services_in(services: list[dict[str, Any]]) -> list[tuple[str, str]]:
    found = [(service["_id"], service["encryptedSelf"]) for service in services if "encryptedSelf" in service]
    for service in services:
        for inner in service.get("content", {}).values():
            found += services_in(inner.get("c", []))
    return found


@pytest.mark.parametrize("party", PARTIES)
def test_the_contacts_of_a_patient_are_found_by_its_secret_ids(party: str):
    clinic, ids = Clinic(), vectors()["ids"]
    patient = clinic.open(ids["patient"], party)
    linked = [
        doc_id
        for doc_id, document in clinic.docs.items()
        if document["java_type"].endswith(".Contact") and set(document["secretForeignKeys"]) & set(patient.secret_ids)
    ]
    assert linked == vectors()["expected"][party][ids["patient"]]["contactsFound"]


@everything
def test_the_patient_of_a_record_is_found_by_its_foreign_keys(party: str, doc_id: str, expected: dict[str, Any]):
    assert list(Clinic().open(doc_id, party).foreign_ids) == expected.get("owningEntitiesFound", [])


def test_the_attachment_opens_with_the_content_key_of_its_document():
    clinic, doc_id = Clinic(), vectors()["ids"]["document"]
    attachment = vectors()["attachments"][doc_id]
    for party in (A, B):
        plain = decrypt(clinic.open(doc_id, party).key, base64.b64decode(attachment["encryptedB64"]))
        assert plain == base64.b64decode(attachment["plainB64"])


def test_every_exchange_key_is_the_one_the_sdk_made_whoever_reads_it():
    clinic = Clinic()
    for pair, keys in vectors()["exchangeKeys"].items():
        owner, delegate = pair.split(">")
        for reader in (owner, delegate):
            assert list(dict.fromkeys(clinic.exchange_keys(owner, delegate, reader))) == [bytes.fromhex(keys[0])]


def test_every_delegation_wraps_the_text_the_sdk_wrapped():
    clinic = Clinic()
    for place, plaintext in vectors()["delegationPlaintexts"].items():
        doc_id, name, delegate, index = place.split("/")
        entry = clinic.docs[doc_id][name][delegate][int(index)]
        [key] = set(clinic.exchange_keys(entry["owner"], delegate, delegate))
        assert decrypt(key, bytes.fromhex(entry["key"])).decode() == plaintext
        assert f"{doc_id}:{entry_value(entry, key)}" == plaintext


def test_who_was_given_nothing_reads_nothing():
    ids = vectors()["ids"]
    for doc_id in (ids["healthElement"], ids["document"]):
        with pytest.raises(NoAccess, match="no entry for hcp-c-0000") as caught:
            Clinic().open(doc_id, C)
        assert caught.value.attempts == ("it has no entry for hcp-c-0000",)
    for doc_id in (ids["patient"], ids["contact"]):
        with pytest.raises(NoAccess):
            Clinic("docsBeforeShare").open(doc_id, C)
        Clinic("docsBeforeShare").open(doc_id, B)


def test_opening_costs_one_rsa_decryption_for_each_hcp_key():
    clinic = Clinic()
    before = private_key(B).decryptions
    for _ in range(3):
        for doc_id in vectors()["expected"][B]:
            clinic.open(doc_id, B)
    assert private_key(B).decryptions - before == 1


@everything
def test_the_model_holds_everything_that_is_in_a_record(party: str, doc_id: str, expected: dict[str, Any]):
    opened = Clinic().open(doc_id, party)
    entity = from_record(entity_class(opened.type), dict(opened.record), id=doc_id, rev=expected["rev"])
    again = to_record(entity)
    assert without_empties(again) == without_empties(opened.record)


def without_empties(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: slim for name, item in value.items() if (slim := without_empties(item)) not in (None, "", [], {})}
    return [without_empties(item) for item in value] if isinstance(value, list) else value


def test_hcp_documents_show_their_profile_and_nothing_of_their_keys():
    record = open_hcp_document(A, Clinic().docs[A])
    assert record["name"] == "Physician Alice"
    assert record["names"][0]["firstNames"] == ["Alice"]
    assert not record.keys() & {"publicKey", "hcPartyKeys", "aesExchangeKeys", "transferKeys", "java_type"}


def test_content_keys_are_uuids_without_their_dashes():
    for _, _, expected in EXPECTED:
        assert [key_bytes(text).hex() for text in expected["encryptionKeys"]] == [expected["encryptionKeyHex"]]
