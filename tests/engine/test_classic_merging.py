"""Merging in `icure-classic`: records that a released SDK wrote, edited concurrently by this package and by other
software. The laws are in test_classic_merging_laws.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from icure_sync.crypto.classic import with_deletion
from icure_sync.crypto.classic_access import ACCESS_MAPS, ENCRYPTION_KEYS, with_entries
from icure_sync.crypto.classic_cipher import encrypt_json, key_bytes
from icure_sync.crypto.primitives import sha256
from icure_sync.engine.suite import Stored
from icure_sync.errors import InvalidEntity
from icure_sync.ids import HcpId, generation
from icure_sync.merge import registers
from icure_sync.model import Address, Contact, Document, HealthcareElement, Patient, Service
from tests.crypto.classic_clinic import PARTIES, A, B, C
from tests.engine.classic_practice import (
    CONTACT,
    ELEMENT,
    PATIENT,
    Practice,
    by_sdk,
    merged,
    shown,
    stamped,
    stored_of,
)

# What people see


def test_edits_of_different_fields_of_what_an_sdk_wrote_both_show_and_are_no_conflict():
    practice = Practice()
    base, suite = practice.first(PATIENT), practice.device(C)
    one, two = practice.edited(base, A, note="a cough"), practice.edited(base, B, first_name="Johnny")
    content = suite.open(merged(suite, one, two))
    assert (content.record["note"], content.record["firstName"]) == ("a cough", "Johnny")
    assert content.siblings == {}


def test_edits_of_one_field_show_one_value_and_keep_the_other_until_somebody_writes_it():
    practice = Practice()
    base, suite = practice.first(PATIENT), practice.device(C)
    one, two = practice.edited(base, A, note="a cough"), practice.edited(base, B, note="a cold")
    both = merged(suite, one, two)
    content = suite.open(both)
    assert {content.record["note"], *content.siblings["note",]} == {"a cough", "a cold"}
    assert shown(suite, both).alternatives == {"note": content.siblings["note",]}
    settled = practice.edited(both, C, note="a chill")
    for leaves in ((settled, one), (settled, two), (settled, both)):
        again = suite.open(merged(suite, *leaves))
        assert (again.record["note"], again.siblings) == ("a chill", {})


@pytest.mark.parametrize("stamps", ["kept", "dropped"])
def test_what_other_software_typed_is_not_lost(stamps: str):
    practice = Practice()
    suite = practice.device(C)
    base = practice.edited(practice.first(PATIENT), A, note="before", comment="kept")
    ours = practice.edited(base, A, note="a cough")
    theirs = practice.edited_by_sdk(base, B, {"note": "a cold", "maidenName": "Brawne"}, stamps=stamps)
    content = suite.open(merged(suite, ours, theirs))
    values = {content.record["note"], *content.siblings["note",]}
    assert values == {"a cough", "a cold"}
    assert (content.record["maidenName"], content.record["comment"]) == ("Brawne", "kept")
    assert content.siblings.keys() == {("note",)}


def test_a_record_that_is_shared_while_another_edits_it_is_no_conflict():
    practice = Practice()
    base, suite = practice.first(PATIENT), practice.device(A)
    shared = stored_of(suite.share(base, HcpId(C)))
    edited = practice.edited(base, B, note="a cough")
    assert suite.open(shared).record == suite.open(base).record
    content = suite.open(merged(suite, shared, edited))
    assert (content.record["note"], content.siblings) == ("a cough", {})
    again = stored_of(suite.share(shared, HcpId(C)))
    assert again.document["encryptedSelf"] == shared.document["encryptedSelf"]


def test_services_merge_one_by_one_and_lists_without_ids_as_one_value():
    practice = Practice()
    suite = practice.device(C)
    contact = practice.first(CONTACT)
    services = shown(suite, contact).services
    one = practice.edited(contact, A, services=(services[0].replace(label="one"), *services[1:]))
    two = practice.edited(contact, B, services=(*services[:1], *services[2:], Service(id="new", label="two")))
    content = suite.open(merged(suite, one, two))
    assert [each["label"] for each in content.record["services"]] == ["one", "BP", "two"]
    assert content.siblings == {}
    patient = practice.first(PATIENT)
    one = practice.edited(patient, A, addresses=(Address(city="Rome"),))
    two = practice.edited(patient, B, addresses=(Address(city="Hampstead"),))
    entity = shown(suite, merged(suite, one, two))
    assert {entity.addresses, *entity.alternatives["addresses"]} == {
        (Address(city="Rome"),),
        (Address(city="Hampstead"),),
    }


def test_codes_without_ids_are_told_apart_by_what_they_say():
    practice = Practice()
    suite = practice.device(A)
    code, tag = {"type": "ICD", "code": "A15"}, {"label": {"fr": "x"}}
    base = practice.first(PATIENT)
    one = practice.edited_by_sdk(base, A, {"tags": [code, tag, tag]})
    two = practice.edited_by_sdk(base, B, {"tags": [tag, {"id": "own"}, code, {"type": 5}, {"code": "z"}]})
    tags = suite.open(merged(suite, one, two)).record["tags"]
    expected = [code, tag, tag, {"id": "own"}, {"type": 5}, {"code": "z"}]
    assert sorted(map(spelled, tags)) == sorted(map(spelled, expected))


def spelled(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def test_the_latest_time_of_modification_is_shown_and_never_a_conflict():
    practice = Practice()
    base, suite = practice.first(PATIENT), practice.device(A)
    one, two = practice.edited(base, A, note="a"), practice.edited(base, B, first_name="b")
    times = [suite.open(each).record["modified"] for each in (one, two)]
    both = suite.open(merged(suite, one, two))
    assert both.record["modified"] == max(times)
    odd = by_sdk(base, {**base.document, "modified": "yesterday"})
    none = by_sdk(base, {name: value for name, value in base.document.items() if name != "modified"})
    assert suite.open(merged(suite, odd, none)).record["modified"] == "yesterday"
    assert suite.open(merged(suite, odd, one)).record["modified"] == times[0]


# Deletion


def test_an_edit_that_a_deleter_had_not_seen_keeps_the_record_alive():
    practice = Practice()
    base, suite = practice.first(PATIENT), practice.device(C)
    gone = stored_of(practice.device(A).delete(base))
    gone_elsewhere = by_sdk(base, with_deletion(base.document, 5))
    edited = practice.edited(base, B, note="a cough")
    for deleted in (gone, gone_elsewhere):
        both = suite.open(merged(suite, deleted, edited))
        assert not both.deleted
        assert registers.DELETED in both.siblings
    everything = suite.open(merged(suite, gone, gone_elsewhere, edited))
    assert (everything.deleted, everything.record["note"]) == (False, "a cough")


def test_deletions_meet_in_the_latest_one_and_restoring_after_them_counts():
    practice = Practice()
    base, suite = practice.first(PATIENT), practice.device(C)
    one, two = stored_of(practice.device(A).delete(base)), stored_of(practice.device(B).delete(base))
    both = merged(suite, one, two)
    assert both.document["deleted"] in (one.document["deleted"], two.document["deleted"])
    assert suite.open(both).deleted
    restored = stored_of(suite.restore(both))
    assert not suite.open(merged(suite, restored, one)).deleted
    by_others = by_sdk(both, with_deletion(both.document, None))
    assert not suite.open(merged(suite, by_others, two)).deleted


def test_what_other_software_edits_and_leaves_deleted_stays_deleted():
    practice = Practice()
    suite = practice.device(A)
    gone = stored_of(suite.delete(practice.first(PATIENT)))
    edited = practice.edited_by_sdk(gone, B, {"note": "n"})
    content = suite.open(merged(suite, edited, gone))
    assert (content.deleted, content.record["note"]) == (True, "n")
    moved = by_sdk(gone, with_deletion(gone.document, 5))
    assert stamped(suite, moved).deleted_at == 5


# Writing over several leaves


def test_a_write_over_what_several_leaves_show_extends_the_winner_and_ends_the_others():
    practice = Practice()
    base, suite = practice.first(PATIENT), practice.device(C)
    leaves = [
        practice.edited(base, party, **{field: party})
        for party, field in zip(PARTIES, ("note", "alias", "ssin"), strict=True)
    ]
    view = suite.join(leaves).shown
    written = suite.edit(view, shown(suite, view).replace(comment="seen"))
    assert written is not None
    winner = max(leaves, key=lambda leaf: leaf.rev)
    assert (written.parent, generation(written.rev)) == (winner.rev, generation(winner.rev) + 1)
    assert {end.parent for end in written.beside} == {leaf.rev for leaf in leaves} - {winner.rev}
    assert all(end.deleted and end.document == {} for end in written.beside)
    record = suite.open(stored_of(written)).record
    assert [record[name] for name in ("note", "alias", "ssin", "comment")] == [*PARTIES, "seen"]
    assert suite.opened(stored_of(written)).stamps["parents"] == sorted(leaf.rev for leaf in leaves)
    for other in (suite.share(view, HcpId(B)), suite.delete(view), suite.restore(view)):
        assert (other.parent, other.beside) == (written.parent, written.beside)


def test_everybody_ends_a_leaf_with_the_same_tombstone():
    practice = Practice()
    base = practice.first(PATIENT)
    one, two = practice.edited(base, A, note="a"), practice.edited(base, B, note="b")
    (end,) = practice.device(A).join([one, two]).shown.beside
    for party in PARTIES:
        assert practice.device(party).join([two, one]).shown.beside == (end,)
    for later in (practice.edited(one, C, alias="x"), practice.edited(two, C, alias="y")):
        ends = practice.device(B).join([later, one, two]).written
        assert ends is not None
        assert end.parent in (one.rev, two.rev)
        assert end in [*ends, *(each for written in ends for each in written.beside)]


def test_a_leaf_that_covers_the_others_stays_and_nothing_new_is_written():
    practice = Practice()
    base = practice.first(PATIENT)
    one = practice.edited(base, A, note="a")
    two = practice.edited(one, A, note="b")
    longer = practice.edited_by_sdk(practice.edited_by_sdk(base, B, {}), B, {})
    whole = merged(practice.device(B), two, longer)
    joined = practice.device(C).join([longer, whole, one])
    assert joined.written is not None
    assert (joined.shown.rev, joined.shown.document) == (whole.rev, whole.document)
    assert {end.parent for end in joined.written} == {longer.rev, one.rev}


def test_without_a_key_that_all_can_use_the_leaves_stay():
    practice = Practice()
    base, suite = practice.first(PATIENT), practice.device(A)
    for_b, for_c = (only_for(practice, base, party) for party in (B, C))
    joined = suite.join([practice.edited(for_b, A, note="b"), practice.edited(for_c, A, comment="c")])
    assert joined.written is None
    record = suite.open(joined.shown).record
    assert (record["note"], record["comment"]) == ("b", "c")
    written = suite.edit(joined.shown, shown(suite, joined.shown).replace(alias="x"))
    assert written is not None
    assert joined.shown.leaves == (written.parent,)
    assert written.beside == ()


def only_for(practice: Practice, base: Stored, party: str) -> Stored:
    """Under a key of its own that A and one other have."""
    key = sha256(party.encode()).hex()
    delegates = (A, party)
    entries = {
        each: with_entries(base.id, [], [key], practice.clinic.pair(A, each), practice.entropy) for each in delegates
    }
    maps = {name: {each: base.document[name].get(each, []) for each in delegates} for name in ACCESS_MAPS}
    sealed = encrypt_json(key_bytes(key), {"note": "n"}, practice.entropy)
    return by_sdk(base, {**base.document, **maps, ENCRYPTION_KEYS: entries, "encryptedSelf": sealed})


# Stamps


def test_our_first_revision_is_stamped_and_other_software_reads_it():
    practice = Practice()
    suite = practice.device(A)
    for entity in (Patient(note="n"), Contact(location="Rome"), Document(name="letter")):
        first = stored_of(suite.create(entity, []))
        assert [*stamped(suite, first).body["context"].values()] == [1]
        assert suite.opened(first).stamps["parents"] == []
        assert "_sync" in practice.sdk_reads(first, A)
        assert list(stamped(suite, practice.edited(first, A, tags=())).body["context"].values()) == [1]


def with_two_notes(practice: Practice) -> Stored:
    """What A and B each wrote into one note, merged by C."""
    leaves = [practice.edited(practice.first(PATIENT), party, note=f"by {party}") for party in (A, B)]
    return merged(practice.device(C), *leaves)


def test_a_shown_value_is_not_written_twice():
    practice = Practice()
    both = with_two_notes(practice)
    sealed = practice.sdk_reads(both, C)
    text = json.dumps([sealed, practice.device(C).opened(both).stamps])
    assert text.count(f"by {A}") == text.count(f"by {B}") == 1
    assert "Keats" not in text


def test_what_an_sdk_writes_back_in_clear_of_the_stamps_tells_nothing():
    practice = Practice()
    both = with_two_notes(practice)
    sealed = practice.sdk_reads(both, C)
    assert sealed.keys() == {"note", "_sync"}
    assert type(sealed["_sync"]) is str
    spilt = by_sdk(both, {**both.document, "_sync": sealed["_sync"]})
    assert practice.device(A).open(spilt).siblings == practice.device(A).open(both).siblings


@pytest.mark.parametrize(
    "stamps",
    [
        5,
        [],
        {},
        {"context": 5, "writers": {}, "fields": []},
        {"context": {}, "writers": {}, "fields": [5]},
        {"context": {"w": 1}, "writers": {}, "fields": [[["note"], None, [[]]]]},
        {"context": {"w": 1}, "writers": {}, "fields": [[["note"], None, [["w", 5, "x"]]]]},
        {"context": {"w": 1}, "writers": {"v": 1}, "fields": []},
        {"context": {"w": 1}, "writers": {}, "fields": [], "deleted": [["w", 1, {"seen": {}, "at": "x"}]]},
        {"context": {"w": 1}, "writers": {}, "fields": [], "deleted": [["w", 1, 7]]},
        {"context": {"w": 1}, "writers": {}, "fields": [], "deleted": 5},
    ],
)
def test_stamps_in_another_form_count_as_none(stamps: Any):
    practice = Practice()
    suite, base = practice.device(A), practice.first(PATIENT)
    key = suite.opened(base).key
    if isinstance(stamps, dict):
        stamps = encrypt_json(key, stamps, practice.entropy)
    odd = by_sdk(base, {**base.document, "encryptedSelf": encrypt_json(key, {"_sync": stamps}, practice.entropy)})
    assert stamped(suite, odd).body["context"] == {odd.rev: generation(odd.rev)}
    assert suite.open(odd).siblings == {}
    assert suite.open(merged(suite, odd, base)).record["firstName"] == "John"


def test_a_record_that_cannot_be_stamped_is_read_and_written_as_before_and_its_leaves_stay():
    practice = Practice()
    suite, base = practice.device(A), practice.first(ELEMENT)
    for odd in ({"order": ["x"]}, {"serial": 2**53 + 1}, {"serial": 10**400}):
        theirs = by_sdk(base, {**base.document, **odd})
        with pytest.raises(InvalidEntity):
            suite.join([base, theirs])
        assert suite.open(theirs).siblings == {}
        assert suite.share(theirs, HcpId(B)).document["encryptedSelf"] == base.document["encryptedSelf"]
        assert suite.delete(theirs).document["encryptedSelf"] == base.document["encryptedSelf"]
    edited = practice.edited(by_sdk(base, {**base.document, "order": ["x"]}), A, note="n")
    assert suite.open(edited).record["note"] == "n"
    assert suite.opened(edited).stamps is None
    created = stored_of(suite.create(HealthcareElement(extra={"order": 1}), []))
    assert suite.opened(created).stamps is None


def test_numbers_that_javascript_spells_otherwise_are_the_same():
    practice = Practice()
    suite, base = practice.device(A), practice.first(PATIENT)
    leaves = [by_sdk(base, {**base.document, "weight": each}) for each in (5.057910421383822e16, 50579104213838220)]
    content = suite.open(merged(suite, *leaves))
    assert content.siblings == {}
