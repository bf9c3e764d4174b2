"""Sealed records: who opens them, what a write changes, and what a server can do about it."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.canonical import canonical, canonical_set
from icure_sync.crypto.access import MAPS, carried, parties
from icure_sync.crypto.chain import Wrapper, sealing_keys, unwrap_chain
from icure_sync.crypto.envelope import KEY_BYTES, SALT_BYTES, joint_key, kid, pad, seal, to_text
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.layout import check_layout
from icure_sync.crypto.primitives import SymmetricKey
from icure_sync.crypto.sealing import (
    MEMBERS,
    Draft,
    Link,
    Sealed,
    body_data,
    check_body,
    create,
    edit,
    open_body,
    seal_body,
    share,
)
from icure_sync.errors import InvalidEntity, NoAccess, Tampered
from icure_sync.ids import DocId
from tests.crypto.records import (
    BODY,
    CONTACT_BODY,
    CONTACT_SECRET_ID,
    FILES,
    JSON_VALUES,
    SECRET_ID,
    altered,
    contact,
    edited_patient,
    opened,
    patient,
    shared_contact,
    shared_patient,
    subject_of,
    unwrapped,
)
from tests.keys import A, B, C, hcp_key, identity, keyring, seeded
from tests.places import at, places, with_value

RECORDS = (shared_patient, shared_contact)


def test_a_new_record_opens_for_its_creator_and_nobody_else():
    assert opened(patient(), A) == BODY
    for reader in (B, C):
        with pytest.raises(NoAccess, match="no entry is for it"):
            opened(patient(), reader)


def test_sharing_opens_it_for_one_more_and_leaves_the_body():
    assert opened(shared_patient(), A) == opened(shared_patient(), B) == BODY
    assert shared_patient().document["encryptedSelf"] == patient().document["encryptedSelf"]
    with pytest.raises(NoAccess):
        opened(shared_patient(), C)


def test_sharing_costs_one_grant_and_one_entry_in_each_map():
    before, after = contact().document, shared_contact().document
    assert len(after["access"]) == len(before["access"]) + 1
    for name in MAPS:
        assert after[name] == {**before[name], B: after[name][B]}
        assert len(after[name][B]) == 1
    assert after["parents"] == [contact().rev]


def test_a_delegate_can_edit_and_share_on():
    assert opened(edited_patient(), A) == {**BODY, "note": "better"}
    further = share(edited_patient(), C, keyring(B), seeded("further"))
    assert opened(further, C) == opened(edited_patient(), B)
    assert parties(subject_of(further), further.document["access"]) == {A, B, C}
    assert unwrapped(further, C).secret_ids == {SECRET_ID}


def test_an_edit_keeps_the_key_and_everything_but_the_body():
    before, after = shared_patient().document, edited_patient().document
    for name in MEMBERS & before.keys() - {"parents", "encryptedSelf", "written"}:
        assert after[name] == before[name]
    assert after["parents"] == [shared_patient().rev]


def test_the_same_edit_with_other_salt_is_another_ciphertext():
    again = edit(shared_patient(), {**BODY, "note": "better"}, keyring(B), seeded("another"))
    assert again.document["encryptedSelf"] != edited_patient().document["encryptedSelf"]


def test_a_linked_record_leads_to_its_parent_and_shows_only_the_secret_id():
    chain = unwrapped(shared_contact(), B)
    assert (chain.foreign_keys, chain.secret_ids) == ({patient().id}, {CONTACT_SECRET_ID})
    assert shared_contact().document["secretForeignKeys"] == [SECRET_ID]
    assert patient().id not in str(shared_contact().document)
    assert CONTACT_SECRET_ID not in str(shared_contact().document)


def test_what_is_written_is_laid_out_as_it_is_checked():
    for sealed in (patient(), contact(), shared_patient(), shared_contact(), edited_patient()):
        check_layout(sealed.id, sealed.document)
        check_body(subject_of(sealed), sealed.document, keyring(A))
    assert contact().document["files"] == FILES
    assert "files" not in patient().document


def test_nothing_of_the_body_is_in_clear_but_what_was_asked_for():
    assert contact().document["openingDate"] == 20240102
    for word in ("John", "cough", "firstName", "first visit"):
        assert word not in str((patient().document, contact().document))


def test_clear_fields_change_with_an_edit():
    changed = edit(contact(), CONTACT_BODY, keyring(A), seeded("clear"), clear={"openingDate": 20240103})
    assert changed.document["openingDate"] == 20240103


@pytest.mark.parametrize("name", [*sorted(MEMBERS), "_id", "_rev", "_attachments"])
def test_a_clear_field_cannot_take_the_name_of_a_member(name: str):
    with pytest.raises(InvalidEntity, match="reserved"):
        edit(patient(), BODY, keyring(A), seeded("clear"), clear={name: 1})
    with pytest.raises(InvalidEntity, match="reserved"):
        create(Draft(subject_of(patient()), SECRET_ID, BODY, clear={name: 1}), keyring(A), seeded("clear"))


def test_links_to_several_parents_stand_in_their_one_order():
    links = [Link(f"{n:032x}", DocId(f"{n:032x}")) for n in (3, 1, 2, 1)]
    document = create(Draft(subject_of(contact()), SECRET_ID, {}, links), keyring(A), seeded("links")).document
    assert document["secretForeignKeys"] == [f"{n:032x}" for n in (1, 2, 3)]
    assert len(document["cryptedForeignKeys"][A]) == 3


def test_who_lacks_an_hcp_key_is_told_which():
    with pytest.raises(NoAccess, match=hcp_key(A, B).kid) as caught:
        open_body(subject_of(shared_patient()), shared_patient().document, Keyring(identity(B)))
    assert caught.value.attempts == (f"the Hcp key {hcp_key(A, B).kid} of hcp-a is not here",)
    with pytest.raises(NoAccess):
        edit(shared_patient(), BODY, keyring(C), seeded("edit"))
    with pytest.raises(NoAccess):
        share(shared_patient(), C, keyring(C), seeded("share"))


def test_an_entry_whose_hcp_key_is_not_here_does_not_hide_the_others():
    by_c = share(share(contact(), C, keyring(A), seeded("to C")), B, keyring(C), seeded("by C"))
    by_both = share(by_c, B, keyring(A), seeded("by A"))
    ring = Keyring(identity(B), [hcp_key(A, B)])
    assert len(by_both.document["delegations"][B]) == 2
    chain = unwrap_chain(subject_of(by_both), by_both.document, ring)
    assert (chain.secret_ids, chain.foreign_keys) == ({CONTACT_SECRET_ID}, {patient().id})
    assert open_body(subject_of(by_both), by_both.document, ring) == CONTACT_BODY


def test_without_a_key_towards_the_delegate_nothing_is_shared():
    with pytest.raises(NoAccess, match="share no Hcp key yet"):
        share(patient(), B, Keyring(identity(A)), seeded("share"))


def test_what_is_remembered_of_a_record_goes_into_the_next_grant():
    known = share(patient(), C, keyring(A), seeded("to C")).document["access"]
    document = share(patient(), B, keyring(A), seeded("to B"), known=known).document
    assert parties(subject_of(patient()), document["access"]) == {A, B, C}


# Bodies under several keys, and bodies that no writer of the suite makes


def sealed_as(plaintext: bytes, keys: list[SymmetricKey]) -> Sealed:
    """The patient with this plaintext under these content keys, each wrapped for A."""
    subject = subject_of(patient())
    named = [(kid(key), key) for key in keys]
    names = sorted(name for name, _ in named)
    maps = Wrapper(subject, keyring(A).towards(A), seeded("wrap")).access_maps(dict(named), [SECRET_ID], [])
    envelope = to_text(seal(joint_key(named), plaintext, body_data(subject, names), bytes(SALT_BYTES)))
    return altered(patient(), **maps, sealedWith=names, encryptedSelf=envelope)


CONTENT_KEYS = [SymmetricKey(bytes([number]) * KEY_BYTES) for number in (1, 2, 3)]


def test_a_joint_key_takes_every_part():
    sealed = sealed_as(pad(canonical(BODY)), CONTENT_KEYS)
    assert opened(sealed, A) == BODY
    assert len(sealing_keys(subject_of(sealed), sealed.document, keyring(A))) == 3
    partial = {**sealed.document["encryptionKeys"], A: sealed.document["encryptionKeys"][A][1:]}
    with pytest.raises(NoAccess):
        opened(altered(sealed, encryptionKeys=partial), A)
    names = sealed.document["sealedWith"]
    subject = subject_of(sealed)
    again = seal_body(subject, [(kid(key), key) for key in CONTENT_KEYS[::-1]], BODY, bytes(SALT_BYTES))
    assert (again, names) == (sealed.document["encryptedSelf"], sorted(names))


@pytest.mark.parametrize(
    ("plaintext", "why"),
    [
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (pad(b"\xa6\xff\xff\xff\xff\xff\xff"), "not msgpack"),
        (pad(canonical([1])), "not a map"),
        (canonical(BODY) + b"\x00" * 40, "padding"),
        (pad(canonical(BODY))[:-1] + b"\x01", "padding"),
    ],
)
def test_a_body_that_is_not_a_padded_map_is_refused(plaintext: bytes, why: str):
    with pytest.raises(Tampered, match=why) as caught:
        opened(sealed_as(plaintext, CONTENT_KEYS[:1]), A)
    assert "ff" not in str(caught.value)


@pytest.mark.parametrize("plaintext", [b"\x82\xa1b\x01\xa1a\x01", b"\x82\xa1a\x01\xa1a\x02", b"\x81\xa1a\xcc\x05"])
def test_a_body_in_another_form_is_noticed_when_it_is_checked(plaintext: bytes):
    sealed = sealed_as(pad(plaintext), CONTENT_KEYS[:1])
    assert msgpack.unpackb(plaintext) == opened(sealed, A)
    with pytest.raises(InvalidEntity, match="not in canonical form"):
        check_body(subject_of(sealed), sealed.document, keyring(A))


def test_a_key_that_is_not_what_its_kid_promises_is_refused():
    subject = subject_of(patient())
    wrapper = Wrapper(subject, keyring(A).towards(A), seeded("wrap"))
    for key, name in ((CONTENT_KEYS[0], kid(CONTENT_KEYS[1])), (SymmetricKey(bytes(31)), kid(bytes(31)))):
        entries = wrapper.access_maps({name: key}, [], [])["encryptionKeys"]
        with pytest.raises(Tampered, match="not the one that its kid promises"):
            opened(altered(patient(), encryptionKeys=entries, sealedWith=[name]), A)


def test_entries_that_hold_nothing_are_passed_over_and_keep_nobody_from_the_others():
    """Whoever has access can write them."""
    subject = subject_of(shared_contact())
    wrapper = Wrapper(subject, keyring(B).towards(A), seeded("wrap"))
    liar = wrapper.access_maps({kid(CONTENT_KEYS[1]): CONTENT_KEYS[0]}, [], [])["encryptionKeys"]
    no_text = wrapper._entries("cryptedForeignKeys", [("", b"\xff\xfe")])
    genuine = shared_contact().document
    cut = [{**entry, "key": "AAAA"} for entry in genuine["delegations"][A]]
    for name, entries in (("encryptionKeys", liar), ("cryptedForeignKeys", no_text), ("delegations", {A: cut})):
        more = {**genuine[name], A: canonical_set([*genuine[name][A], *entries[A]])}
        changed = altered(shared_contact(), **{name: more})
        assert unwrapped(changed, A) == unwrapped(shared_contact(), A)
        assert unwrapped(share(changed, C, keyring(A), seeded("share")), C).secret_ids == {CONTACT_SECRET_ID}


# What a server can do


def ciphertexts() -> list[tuple[int, tuple[Any, ...]]]:
    """Every place of a ciphertext in the two shared records."""
    found: list[tuple[int, tuple[Any, ...]]] = []
    for number, record in enumerate(RECORDS):
        found += [(number, path) for path in places(record().document) if path[-1:] in (("key",), ("encryptedSelf",))]
    return found


def read(number: int, document: Any) -> list[tuple[Any, ...]] | None:
    """What both parties find in it; None if it is refused."""
    subject = subject_of(RECORDS[number]())
    found = []
    try:
        for reader in (A, B):
            chain = unwrap_chain(subject, document, keyring(reader))
            body = open_body(subject, document, keyring(reader))
            found.append((set(chain.content_keys), chain.secret_ids, chain.foreign_keys, body))
    except Tampered:
        return None
    return found


def holds_less(found: list[tuple[Any, ...]] | None, genuine: list[tuple[Any, ...]] | None) -> bool:
    """Whether it is refused, or somebody finds less in it, and nobody anything else."""
    if found is None or genuine is None:
        return True
    alike = all(
        now[3] == then[3] and all(now[n] <= then[n] for n in range(3)) for now, then in zip(found, genuine, strict=True)
    )
    return alike and found != genuine


def test_every_pairwise_swap_of_ciphertexts_is_noticed():
    everywhere = ciphertexts()
    assert len(everywhere) == 5 + 7
    for (one, place), (other, elsewhere) in combinations(everywhere, 2):
        documents = [dict(record().document) for record in RECORDS]
        values = at(documents[one], place), at(documents[other], elsewhere)
        documents[one] = with_value(documents[one], place, values[1])
        documents[other] = with_value(documents[other], elsewhere, values[0])
        assert holds_less(read(one, documents[one]), read(one, dict(RECORDS[one]().document)))
        assert holds_less(read(other, documents[other]), read(other, dict(RECORDS[other]().document)))


def test_an_entry_does_not_move_to_another_map_delegate_or_document():
    for number, record in enumerate(RECORDS):
        document = record().document
        genuine = read(number, document)
        assert genuine is not None
        for name in MAPS:
            for other in MAPS:
                moved = {**document[other], B: document[name].get(B, [])}
                if name != other and moved[B]:
                    changed = {**document, other: {**moved, B: [*document[other].get(B, []), *moved[B]]}}
                    assert read(number, changed) == genuine, "it holds nothing there"
        to_b = [{**entry, "owner": B, "kid": hcp_key(B, B).kid} for entry in document["encryptionKeys"][B]]
        with pytest.raises(NoAccess):
            open_body(subject_of(record()), {**document, "encryptionKeys": {B: to_b}}, keyring(B))


def test_a_body_does_not_move_to_another_creator_or_type():
    for change in ({"nonce": "0" * 32}, {"signature": contact().document["creator"]["signature"]}):
        creator = {**patient().document["creator"], **change}
        with pytest.raises(Tampered):
            opened(altered(patient(), creator=creator), A)
    with pytest.raises(Tampered):
        opened(altered(patient(), type="Contact"), A)


def test_an_old_body_does_not_open_beside_other_keys():
    document = {**shared_patient().document, "sealedWith": [kid(CONTENT_KEYS[0])]}
    with pytest.raises(NoAccess):
        open_body(subject_of(patient()), document, keyring(A))


MEMBER_PATHS = [path for path in places(dict(shared_contact().document)) if path]


@given(st.sampled_from(MEMBER_PATHS), JSON_VALUES)
def test_no_value_in_a_document_stops_it_from_being_judged(path: tuple[Any, ...], value: Any):
    document = with_value(dict(shared_contact().document), path, value)
    sealed = Sealed(shared_contact().id, shared_contact().rev, document)
    for step in (
        lambda: opened(sealed, B),
        lambda: unwrapped(sealed, B),
        lambda: edit(sealed, BODY, keyring(B), seeded("edit")),
        lambda: share(sealed, C, keyring(B), seeded("share")),
        lambda: carried(sealed.id, document),
        lambda: check_layout(sealed.id, document),
    ):
        try:
            step()
        except (Tampered, InvalidEntity, NoAccess):
            continue


@pytest.mark.parametrize("member", sorted(shared_contact().document))
def test_no_missing_member_stops_it_from_being_judged(member: str):
    document = {name: value for name, value in shared_contact().document.items() if name != member}
    sealed = Sealed(shared_contact().id, shared_contact().rev, document)
    for step in (
        lambda: opened(sealed, B),
        lambda: unwrapped(sealed, B),
        lambda: share(sealed, C, keyring(B), seeded("share")),
        lambda: check_layout(sealed.id, document),
    ):
        try:
            step()
        except (Tampered, InvalidEntity, NoAccess):
            continue


def test_nothing_that_holds_secrets_shows_them():
    chain = unwrapped(shared_contact(), B)
    link, draft = Link(SECRET_ID, patient().id), Draft(subject_of(patient()), SECRET_ID, BODY)
    wrapper = Wrapper(subject_of(patient()), keyring(A).towards(B), seeded("wrap"))
    shown = f"{chain!r} {link!r} {draft!r} {wrapper!r} {shared_contact()!r}"
    secrets = [SECRET_ID, CONTACT_SECRET_ID, "John", *(key.hex() for key in chain.content_keys.values())]
    for secret in [*secrets, *map(repr, chain.content_keys.values())]:
        assert secret not in shown
