"""The merge of `icure-classic` documents: who can open it, what is sealed in it, and that it has one form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.canonical import canonical
from icure_sync.crypto.classic import Opened, edit_document, open_document, with_stamps
from icure_sync.crypto.classic_access import (
    ACCESS_MAPS,
    DELEGATIONS,
    ENCRYPTION_KEYS,
    with_entries,
)
from icure_sync.crypto.classic_cipher import (
    AES_BLOCK,
    decrypt,
    decrypt_json,
    encrypt_json,
    key_bytes,
    new_uuid,
    settled_json,
)
from icure_sync.crypto.classic_merging import ClassicLeaf, ClassicMerged, Outcome, merge_documents
from icure_sync.crypto.envelope import from_text, merge_salt
from icure_sync.crypto.primitives import system_entropy
from icure_sync.errors import InvalidEntity
from icure_sync.ids import Rev
from tests.crypto.classic_clinic import PARTIES, A, B, C, Clinic, vectors
from tests.strategies import json_values

IDS = vectors()["ids"]
PATIENT, CONTACT = IDS["patient"], IDS["contact"]
LOW, HIGH = Rev("3-" + "1" * 32), Rev("3-" + "2" * 32)
STAMPS = {"parents": [LOW, HIGH]}


def leaf(clinic: Clinic, doc_id: str, rev: Rev, document: dict[str, Any], me: str = A) -> ClassicLeaf:
    return ClassicLeaf(rev, document, open_document(doc_id, document, me, clinic.keys_of(me)))


def merge(*leaves: ClassicLeaf, deleted_at: int | None = None, **changes: Any) -> ClassicMerged:
    return merge_documents(leaves, Outcome({**leaves[0].opened.record, **changes}, STAMPS, deleted_at))


def open_merged(clinic: Clinic, doc_id: str, merged: ClassicMerged, me: str) -> Opened:
    return open_document(doc_id, merged.document, me, clinic.keys_of(me))


def rekeyed(clinic: Clinic, doc_id: str, delegates: tuple[str, ...], *, keep: bool = False) -> dict[str, Any]:
    """The document under a new content key that A gives to these delegates; `keep`: beside what they had."""
    document, new = clinic.docs[doc_id], new_uuid(system_entropy)
    part = {"note": "under the new key"}
    entries = {
        delegate: with_entries(
            doc_id,
            document[ENCRYPTION_KEYS].get(delegate, []) if keep else [],
            [new],
            clinic.pair(A, delegate),
            system_entropy,
        )
        for delegate in delegates
    }
    body = encrypt_json(key_bytes(new), part, system_entropy)
    return {**document, ENCRYPTION_KEYS: entries, "encryptedSelf": body}


def test_a_merge_is_the_same_for_everybody_and_in_any_order():
    clinic = Clinic()
    one = {**clinic.docs[CONTACT], "location": "Hampstead"}
    two = dict(reversed(clinic.docs[CONTACT].items()))
    written = {
        json.dumps(merge(*leaves, descr="Épanchement").document)
        for me in PARTIES
        for pair in [[leaf(clinic, CONTACT, LOW, one, me), leaf(clinic, CONTACT, HIGH, two, me)]]
        for leaves in (pair, pair[::-1])
    }
    assert len(written) == 1


def test_the_body_is_one_form_of_json_behind_an_iv_that_follows_from_it():
    clinic = Clinic()
    one, two = (leaf(clinic, PATIENT, rev, clinic.docs[PATIENT]) for rev in (LOW, HIGH))
    document = merge(one, two, note="Épanchement").document
    data = from_text(document["encryptedSelf"])
    plaintext = decrypt(one.opened.key, data)
    inside = decrypt_json(one.opened.key, document["encryptedSelf"])["_sync"]
    assert plaintext == b'{"_sync":"' + inside.encode() + b'","note":"\\u00c9panchement"}'
    stamps = b'{"parents":["' + LOW.encode() + b'","' + HIGH.encode() + b'"]}'
    assert decrypt(one.opened.key, from_text(inside)) == stamps
    for place, text, sealed in (([], plaintext, data), (["_sync", ""], stamps, from_text(inside))):
        salt = merge_salt(one.opened.key, [LOW, HIGH], canonical([PATIENT, place]), text)
        assert sealed[:AES_BLOCK] == salt[:AES_BLOCK]


def test_services_that_did_not_change_keep_their_bytes_and_others_are_sealed_by_their_place():
    clinic = Clinic()
    one, two = (leaf(clinic, CONTACT, rev, clinic.docs[CONTACT]) for rev in (LOW, HIGH))
    services = json.loads(json.dumps(one.opened.record["services"]))
    services[0]["content"] = {"fr": {"stringValue": "guéri"}}
    merged = merge(one, two, services=services)
    before, after = clinic.docs[CONTACT]["services"], merged.document["services"]
    assert after[1:] == before[1:]
    data = from_text(after[0]["encryptedSelf"])
    place = canonical([CONTACT, ["services", "svc-simple-0001"]])
    plaintext = b'{"content":{"fr":{"stringValue":"gu\\u00e9ri"}}}'
    assert decrypt(one.opened.key, data) == plaintext
    assert data[:AES_BLOCK] == merge_salt(one.opened.key, [LOW, HIGH], place, plaintext)[:AES_BLOCK]
    assert open_merged(clinic, CONTACT, merged, C).record["services"] == services


def test_what_any_leaf_seals_does_not_become_clear():
    clinic = Clinic()
    key = clinic.open(CONTACT, A).key
    plain = clinic.docs[CONTACT]
    service = {**plain["services"][0], "encryptedSelf": encrypt_json(key, {"label": "s"}, system_entropy)}
    del service["label"]
    closed = {
        **plain,
        "services": [service],
        "encryptedSelf": encrypt_json(key, {"location": "Rome", "encounterType": {"code": "x"}}, system_entropy),
    }
    del closed["location"]
    one, two = leaf(clinic, CONTACT, LOW, closed), leaf(clinic, CONTACT, HIGH, plain)
    services = two.opened.record["services"]
    merged = merge(one, two, location="Rome", services=services)
    assert not {"location", "encounterType"} & merged.document.keys()
    assert all("label" not in each for each in merged.document["services"])
    assert open_merged(clinic, CONTACT, merged, B).record["services"] == services


def test_entries_and_links_are_united():
    clinic = Clinic("docsBeforeShare")
    plain = clinic.docs[CONTACT]
    clinic.share(CONTACT, B, C)
    shared = clinic.docs[CONTACT]
    linked = {**plain, "secretForeignKeys": [*plain["secretForeignKeys"], "other"]}
    merged = merge(leaf(clinic, CONTACT, LOW, shared), leaf(clinic, CONTACT, HIGH, linked))
    assert merged.is_safe
    assert merged.alike == set()
    for name in ACCESS_MAPS:
        assert merged.document[name] == shared[name]
    assert merged.document["secretForeignKeys"] == linked["secretForeignKeys"]
    assert open_merged(clinic, CONTACT, merged, C).record["services"]


def test_a_leaf_that_has_all_of_it_is_alike_whatever_the_order():
    clinic = Clinic()
    clinic.share(PATIENT, B, C)
    whole = clinic.docs[PATIENT]
    turned = {**whole, DELEGATIONS: {party: entries[::-1] for party, entries in whole[DELEGATIONS].items()}}
    less = {**whole, DELEGATIONS: {party: entries[:1] for party, entries in whole[DELEGATIONS].items()}}
    merged = merge(leaf(clinic, PATIENT, LOW, turned), leaf(clinic, PATIENT, HIGH, less))
    assert merged.alike == {LOW}
    assert merge(leaf(clinic, PATIENT, LOW, turned), leaf(clinic, PATIENT, HIGH, less), deleted_at=5).alike == set()


def test_members_that_only_another_leaf_has_are_kept():
    clinic = Clinic()
    plain = clinic.docs[PATIENT]
    one = leaf(clinic, PATIENT, LOW, {**plain, "securityMetadata": {"a": 1}, "rev_history": {"1-a": "x"}})
    two = leaf(clinic, PATIENT, HIGH, {**plain, "rev_history": {"1-a": "y"}, "_rev": HIGH, "deleted": 9})
    merged = merge(one, two)
    assert (merged.document["securityMetadata"], merged.document["rev_history"]) == ({"a": 1}, {"1-a": "y"})
    assert not {"_rev", "deleted"} & merged.document.keys()
    assert merge(one, two, deleted_at=7).document["deleted"] == 7


def test_the_key_of_the_winner_is_used_if_everybody_has_it():
    clinic = Clinic()
    old = leaf(clinic, PATIENT, LOW, clinic.docs[PATIENT])
    new = leaf(clinic, PATIENT, HIGH, rekeyed(clinic, PATIENT, PARTIES))
    merged = merge(old, new)
    assert merged.is_safe
    for party in PARTIES:
        assert clinic.first_key(merged.document, party) == new.opened.key
        assert len(merged.document[ENCRYPTION_KEYS][party]) == 2
        assert "_sync" in decrypt_json(new.opened.key, merged.document["encryptedSelf"])


def test_another_leafs_key_is_used_if_only_that_one_is_known_to_all():
    clinic = Clinic()
    old = leaf(clinic, PATIENT, LOW, clinic.docs[PATIENT])
    new = leaf(clinic, PATIENT, HIGH, rekeyed(clinic, PATIENT, (A, B)))
    merged = merge(old, new)
    assert merged.is_safe
    assert merged.alike == set()
    for party in PARTIES:
        assert clinic.first_key(merged.document, party) == old.opened.key
        assert open_merged(clinic, PATIENT, merged, party).stamps == STAMPS


def test_without_a_key_that_all_have_the_merge_is_not_safe():
    clinic = Clinic()
    without_c = json.loads(json.dumps(clinic.docs[PATIENT]))
    for name in ACCESS_MAPS:
        without_c[name].pop(C, None)
    old = leaf(clinic, PATIENT, LOW, without_c)
    new = leaf(clinic, PATIENT, HIGH, rekeyed(clinic, PATIENT, (A, C)))
    merged = merge(old, new)
    assert not merged.is_safe
    assert merged.alike == set()
    assert open_merged(clinic, PATIENT, merged, A).stamps == STAMPS


def test_documents_from_before_2018_merge_under_the_values_of_their_delegations():
    clinic = Clinic()
    secret_id = clinic.open(PATIENT, A).secret_ids[0]
    old = {name: value for name, value in clinic.docs[PATIENT].items() if name != ENCRYPTION_KEYS}
    old["encryptedSelf"] = encrypt_json(key_bytes(secret_id), {"note": "old"}, system_entropy)
    one, two = leaf(clinic, PATIENT, LOW, old), leaf(clinic, PATIENT, HIGH, {**old, "firstName": "Johnny"})
    merged = merge(one, two)
    assert merged.is_safe
    assert ENCRYPTION_KEYS not in merged.document
    assert open_merged(clinic, PATIENT, merged, C).record["note"] == "old"
    mixed = merge(one, leaf(clinic, PATIENT, HIGH, rekeyed(clinic, PATIENT, (A, B))))
    assert not mixed.is_safe
    assert "secretForeignKeys" not in merge(one, two).document


def test_leaves_of_several_types_are_not_merged():
    clinic = Clinic()
    other = {**clinic.docs[PATIENT], "java_type": "org.taktik.icure.entities.Form"}
    with pytest.raises(InvalidEntity, match="several types"):
        merge(leaf(clinic, PATIENT, LOW, other), leaf(clinic, PATIENT, HIGH, clinic.docs[PATIENT]))


def test_stamps_are_put_into_a_document_that_had_no_sealed_part():
    clinic = Clinic()
    document, opened = clinic.docs[IDS["document"]], clinic.open(IDS["document"], A)
    assert "encryptedSelf" not in document
    clinic.docs[IDS["document"]] = with_stamps({**document, "_rev": LOW}, opened, STAMPS, system_entropy)
    for changed in ({}, {"parents": []}):
        stamps = {**STAMPS, **changed}
        again = with_stamps(clinic.docs[IDS["document"]], opened, stamps, system_entropy)
        assert {**again, "encryptedSelf": ""} == {**document, "encryptedSelf": ""}
        part = decrypt_json(opened.key, again["encryptedSelf"])
        assert part.keys() == {"_sync"}
        assert decrypt_json(opened.key, part["_sync"]) == stamps


def test_stamps_are_replaced_by_an_edit_that_brings_new_ones():
    clinic = Clinic()
    opened = clinic.open(PATIENT, A)
    edited = edit_document(
        clinic.docs[PATIENT],
        opened,
        opened.record,
        me=A,
        keys=clinic.keys_of(A),
        entropy=system_entropy,
        stamps={"context": {"w": 1}},
    )
    clinic.docs[PATIENT] = edited
    assert clinic.open(PATIENT, B).stamps == {"context": {"w": 1}}
    assert clinic.open(PATIENT, B).record == opened.record


# One form of JSON


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (2.0, "2"),
        (-1.5, "-1.5"),
        (1e16, "10000000000000000"),
        (1.5e20, "150000000000000000000"),
        (1e21, "1e+21"),
        (-1.25e30, "-1.25e+30"),
        (0.000001, "0.000001"),
        (0.00012, "0.00012"),
        (1e-7, "1e-7"),
        (5e-324, "5e-324"),
        (333333333.33333329, "333333333.3333333"),
        (9007199254740993, "9007199254740993"),
    ],
)
def test_numbers_are_written_as_ecmascript_does(number: float, text: str):
    assert settled_json(number) == text.encode()


def test_text_and_members_are_written_in_one_form():
    value = {"\ue000": [True, None, False], "😀": '\x7f\n"\\é\u2028', "a": {}, "A": ""}
    assert settled_json(value) == (
        b'{"A":"","a":{},"\\ud83d\\ude00":"\x7f\\n\\"\\\\\\u00e9\\u2028","\\ue000":[true,null,false]}'
    )
    for refused in (float("nan"), "\ud800", object()):
        with pytest.raises(InvalidEntity):
            settled_json({"a": refused})


@given(json_values | st.floats(allow_nan=False, allow_infinity=False))
def test_the_one_form_reads_back_as_what_was_written(value: Any):
    text = settled_json(value)
    assert text.isascii()
    assert json.loads(text, parse_int=float) == value
    assert settled_json(json.loads(text)) == text
