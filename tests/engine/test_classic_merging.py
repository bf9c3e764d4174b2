"""Merging in `icure-classic`: records that a released SDK wrote, edited concurrently by this package and by other
software, with and without stamps. Whoever merges the same leaves writes the same bytes, and what was typed stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icure_sync.crypto.classic import edit_document, open_document, with_deletion
from icure_sync.crypto.classic_access import ACCESS_MAPS, ENCRYPTION_KEYS, ClassicPair, entry_value, with_entries
from icure_sync.crypto.classic_cipher import decrypt_json, encrypt_json, key_bytes
from icure_sync.crypto.primitives import sha256
from icure_sync.engine.classic import ClassicSuite
from icure_sync.engine.classic_parties import ClassicParties
from icure_sync.engine.classic_stamps import Stamped, join_stamped, read_stamped
from icure_sync.engine.opening import entity_of
from icure_sync.engine.suite import Stored, Written
from icure_sync.engine.writers import Writers
from icure_sync.errors import InvalidEntity
from icure_sync.ids import DocId, HcpId, Rev, generation
from icure_sync.merge import registers
from icure_sync.merge.joining import covers
from icure_sync.model import Address, Contact, Content, Document, Entity, HealthcareElement, Patient, Service, to_record
from tests.crypto.classic_clinic import PARTIES, A, B, C, Clinic, vectors

IDS = vectors()["ids"]
PATIENT, CONTACT, ELEMENT, DOCUMENT = (IDS[name] for name in ("patient", "contact", "healthElement", "document"))
_unwrapped: dict[tuple[str, str, bytes], bytes] = {}  # RSA is slow, and the keys stay the same


class Parties:
    """The exchange keys of one party, as the clinic's Hcp documents give them."""

    def __init__(self, clinic: Clinic, me: str) -> None:
        self._clinic = clinic
        self._me = me

    def keys_from(self, owner: str) -> Iterator[bytes]:
        return self._clinic.exchange_keys(owner, self._me, self._me)

    def pair(self, delegate: str) -> ClassicPair:
        return self._clinic.pair(self._me, delegate)


class Practice:
    """Devices of three parties over the SDK's documents, without stores: revisions are handed around as values."""

    def __init__(self) -> None:
        self.clinic = Clinic()
        self.clinic._unwrapped = _unwrapped
        self._ticks = count(1_800_000_000_000, 1000)
        self._drawn = count()

    def entropy(self, length: int) -> bytes:
        """The same in every run."""
        return sha256(str(next(self._drawn)).encode())[:length]

    def device(self, hcp_id: str, name: str = "phone") -> ClassicSuite:
        parties = cast("ClassicParties", Parties(self.clinic, hcp_id))
        writers = Writers(hcp_id, name, self.entropy, lambda: next(self._ticks))
        return ClassicSuite(HcpId(hcp_id), parties, writers, self.entropy, lambda: next(self._ticks))

    def first(self, doc_id: str) -> Stored:
        """As the SDK wrote it."""
        return Stored(DocId(doc_id), Rev("2-" + sha256(doc_id.encode()).hex()[:32]), self.clinic.docs[doc_id])

    def edited(self, stored: Stored, hcp_id: str = A, **changes: Any) -> Stored:
        """By a device of its own."""
        suite = self.device(hcp_id)
        written = suite.edit(stored, shown(suite, stored).replace(**changes))
        return stored if written is None else stored_of(written)

    def edited_by_sdk(self, stored: Stored, hcp_id: str, changes: dict[str, Any], *, stamps: str = "kept") -> Stored:
        """By software that knows no stamps: it keeps what it does not know in the ciphertext, or drops it."""
        keys = self.clinic.keys_of(hcp_id)
        opened = open_document(stored.id, stored.document, hcp_id, keys)
        record = {**opened.record, **changes, "codes": [], "modified": next(self._ticks)}
        document = edit_document(stored.document, opened, record, me=hcp_id, keys=keys, entropy=self.entropy)
        if stamps == "dropped" and "encryptedSelf" in document:
            part = decrypt_json(opened.key, document["encryptedSelf"])
            part.pop("_sync", None)
            document["encryptedSelf"] = encrypt_json(opened.key, part, self.entropy)
        return by_sdk(stored, document)


def by_sdk(above: Stored, document: dict[str, Any]) -> Stored:
    digits = sha256(json.dumps([above.rev, document]).encode()).hex()[:32]
    return Stored(above.id, Rev(f"{generation(above.rev) + 1}-{digits}"), document)


def stored_of(written: Written) -> Stored:
    return Stored(written.id, written.rev, json.loads(json.dumps(written.document)))


def shown(suite: ClassicSuite, stored: Stored) -> Entity:
    return entity_of(stored, suite.open(stored))


def stamped(suite: ClassicSuite, stored: Stored) -> Stamped:
    return read_stamped(stored.rev, suite.opened(stored))


def merged(suite: ClassicSuite, *leaves: Stored) -> Stored:
    """The one revision that is left."""
    joined = suite.join(leaves)
    assert joined.written is not None
    live = [each for each in joined.written if not each.deleted]
    return stored_of(live[0]) if live else replace(joined.shown, leaves=(), beside=())


def state(suite: ClassicSuite, stored: Stored) -> dict[str, Any]:
    """What counts of a revision: what it shows, what else it keeps, who can open it."""
    made = stamped(suite, stored)
    maps = {
        name: {party: sorted(map(json.dumps, entries)) for party, entries in stored.document[name].items()}
        for name in ACCESS_MAPS
    }
    return {
        "context": made.body["context"],
        "fields": made.body["fields"],
        "times": made.times,
        "record": to_record(shown(suite, stored)),
        "siblings": suite.open(stored).siblings,
        "deleted": stored.document.get("deleted"),
        "links": sorted(stored.document.get("secretForeignKeys", ())),
        **maps,
    }


def differing(one: Any, other: Any) -> Any:
    """What two values do not have in common, to be read in a failure."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = {name: differing(one.get(name), other.get(name)) for name in {**one, **other}}
        return [[name, each] for name, each in names.items() if each != []]
    if isinstance(one, list) and isinstance(other, list):
        return (
            [[each for each in some if each not in others] for some, others in ((one, other), (other, one))]
            if one != other
            else []
        )
    return [] if one == other else [one, other]


def first_reader(practice: Practice, stored: Stored, me: str) -> dict[str, Any]:
    """What an SDK sees: it tries the first entry of `encryptionKeys[me]` only."""
    entry = stored.document[ENCRYPTION_KEYS][me][0]
    keys = practice.clinic.exchange_keys(entry["owner"], me, me)
    value = next(value for key in keys if (value := entry_value(entry, key)))
    return decrypt_json(key_bytes(value), stored.document["encryptedSelf"])


# Laws, over any history of edits by this package and by other software

TEXTS = st.sampled_from(["a", "b", "Épanchement — 🩺"])
ADDRESSES = st.lists(st.builds(Address, city=TEXTS), max_size=2).map(tuple)
SERVICES = st.lists(
    st.builds(
        lambda number, text, letter: Service(
            id=f"svc-{number}", label=letter, content={"fr": Content(string_value=text, number_value=1.5)}
        ),
        st.integers(1, 3),
        TEXTS,
        st.sampled_from("xy"),
    ),
    unique_by=lambda service: service.id,
    max_size=3,
).map(tuple)
CHANGES = {
    PATIENT: st.fixed_dictionaries(
        {}, optional={"note": TEXTS | st.none(), "first_name": TEXTS, "addresses": ADDRESSES}
    ),
    CONTACT: st.fixed_dictionaries({}, optional={"description": TEXTS, "services": SERVICES, "location": TEXTS}),
}
SDK_CHANGES = {
    PATIENT: st.fixed_dictionaries({}, optional={"note": TEXTS, "firstName": TEXTS, "comment": TEXTS}),
    CONTACT: st.fixed_dictionaries({}, optional={"descr": TEXTS, "location": TEXTS, "services": st.just([])}),
}
KINDS = ("ours", "ours", "sdk", "sdk", "join", "delete", "restore", "share", "sdk-delete")


class History:
    """Revisions of one record in any order; any of them may be leaves for those who know no others."""

    def __init__(self, practice: Practice, known: list[Stored]) -> None:
        self.practice = practice
        self.known = known

    def __repr__(self) -> str:
        return f"{len(self.known)} revisions"

    def leaves(self, data: st.DataObject, most: int = 4) -> list[Stored]:
        places = st.lists(st.integers(0, len(self.known) - 1), min_size=1, max_size=most, unique=True)
        return [self.known[place] for place in data.draw(places)]


@st.composite
def histories(draw: st.DrawFn, most: int = 8) -> History:
    practice, doc_id = Practice(), draw(st.sampled_from([PATIENT, CONTACT]))
    known = [practice.first(doc_id)]
    for kind in draw(st.lists(st.sampled_from(KINDS), max_size=most)):
        above, other = (known[draw(st.integers(0, 99)) % len(known)] for _ in range(2))
        me = draw(st.sampled_from(PARTIES))
        suite = practice.device(me)
        if kind == "ours":
            known.append(practice.edited(above, me, **draw(CHANGES[doc_id])))
        elif kind == "sdk":
            stamps = draw(st.sampled_from(["kept", "dropped"]))
            known.append(practice.edited_by_sdk(above, me, draw(SDK_CHANGES[doc_id]), stamps=stamps))
        elif kind == "join":
            known.append(merged(suite, *{each.rev: each for each in (above, other)}.values()))
        elif kind == "share":
            known.append(stored_of(suite.share(above, HcpId(draw(st.sampled_from(PARTIES))))))
        elif kind == "sdk-delete":
            at = draw(st.sampled_from([None, 5, 7]))
            known.append(by_sdk(above, with_deletion(above.document, at)))
        else:
            known.append(stored_of(suite.delete(above) if kind == "delete" else suite.restore(above)))
    return History(practice, list({each.rev: each for each in known}.values()))


@settings(max_examples=60)
@given(histories(), st.data())
def test_whoever_merges_the_same_leaves_in_whatever_order_writes_the_same_bytes(history: History, data: st.DataObject):
    practice = history.practice
    leaves = history.leaves(data)
    one = practice.device(A).join(leaves)
    for party in PARTIES:
        order = data.draw(st.permutations(range(len(leaves))))
        assert practice.device(party).join([leaves[place] for place in order]) == one
    assert one.shown.leaves == tuple(sorted(leaf.rev for leaf in leaves))


@settings(max_examples=60)
@given(histories(), st.data())
def test_a_merge_holds_the_join_of_its_leaves_and_merging_it_again_changes_nothing(
    history: History, data: st.DataObject
):
    practice = history.practice
    leaves, suite = history.leaves(data), practice.device(B)
    joined = suite.join(leaves)
    expected = join_stamped([stamped(suite, leaf) for leaf in leaves])
    found = stamped(suite, joined.shown)
    for name in ("fields", "context"):
        assert differing(found.body[name], expected.body[name]) == []
    assert (found.times, found.modified, found.deleted_at) == (expected.times, expected.modified, expected.deleted_at)
    assert suite.open(joined.shown).deleted == (expected.deleted_at is not None)
    again = suite.join(list({each.rev: each for each in (joined.shown, *leaves)}.values()))
    assert again.shown.rev == joined.shown.rev
    assert again.written is not None
    assert all(each.deleted for each in again.written)


@settings(max_examples=60)
@given(histories(), st.data())
def test_merging_step_by_step_comes_to_what_merging_at_once_does(history: History, data: st.DataObject):
    practice = history.practice
    leaves = history.leaves(data)
    suite = practice.device(C)
    at_once = merged(suite, *leaves)
    staged = leaves[0]
    for leaf in (leaves[place] for place in data.draw(st.permutations(range(len(leaves))))):
        if leaf.rev != staged.rev:
            staged = merged(practice.device(data.draw(st.sampled_from(PARTIES))), staged, leaf)
    assert differing(state(suite, staged), state(suite, at_once)) == []


@settings(max_examples=60)
@given(histories(), st.data())
def test_every_value_stays_until_a_write_that_had_seen_it_takes_its_place(history: History, data: st.DataObject):
    practice = history.practice
    leaves, suite = history.leaves(data), practice.device(A)
    bodies = [stamped(suite, leaf).body for leaf in leaves]
    joined = stamped(suite, suite.join(leaves).shown).body
    kept = {tuple(path): siblings for path, siblings in joined["fields"]}
    for body in bodies:
        assert covers(joined, body)
        for path, siblings in body["fields"]:
            for sibling in siblings:
                stamp = sibling[:2]
                replaced = any(
                    each["context"].get(stamp[0], 0) >= stamp[1]
                    and stamp not in [other[:2] for at, some in each["fields"] if at == path for other in some]
                    for each in bodies
                )
                assert replaced or sibling in kept[tuple(path)]


@settings(max_examples=40)
@given(histories(), st.data())
def test_released_readers_open_what_a_merge_wrote(history: History, data: st.DataObject):
    practice = history.practice
    leaves = history.leaves(data)
    written = merged(practice.device(A), *leaves)
    for party in PARTIES:
        sealed = first_reader(practice, written, party)
        content = practice.device(party).open(written).record
        assert {name: value for name, value in sealed.items() if name != "_sync"}.items() <= content.items()


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
        assert "_sync" in first_reader(practice, first, A)
        assert list(stamped(suite, practice.edited(first, A, tags=())).body["context"].values()) == [1]


def test_a_shown_value_is_not_written_twice():
    practice = Practice()
    one, two = (practice.edited(practice.first(PATIENT), party, note=f"by {party}") for party in (A, B))
    suite = practice.device(C)
    both = merged(suite, one, two)
    sealed = first_reader(practice, both, C)
    text = json.dumps([sealed, suite.opened(both).stamps])
    assert text.count(f"by {A}") == text.count(f"by {B}") == 1
    assert "Keats" not in text


def test_what_an_sdk_writes_back_in_clear_of_the_stamps_tells_nothing():
    practice = Practice()
    one, two = (practice.edited(practice.first(PATIENT), party, note=f"by {party}") for party in (A, B))
    both = merged(practice.device(C), one, two)
    sealed = first_reader(practice, both, C)
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
