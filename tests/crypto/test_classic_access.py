"""Entries in the access maps of `icure-classic` documents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.crypto.classic_access import (
    ClassicPair,
    access_map,
    delegates,
    entry_value,
    first_opening,
    make_entry,
    values_for,
    with_entries,
)
from icure_sync.crypto.classic_cipher import encrypt, key_bytes, new_uuid
from icure_sync.crypto.primitives import system_entropy
from icure_sync.errors import InvalidEntity, Tampered

AB = ClassicPair("a", "b", b"k" * 32)
CB = ClassicPair("c", "b", b"c" * 32)
ids = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=40)


def keys(owner: str) -> list[bytes]:
    return {"a": [b"x" * 32, AB.key], "c": [CB.key]}.get(owner, [])


@given(ids, ids)
def test_an_entry_gives_its_value_back_to_the_holder_of_the_key_only(doc_id: str, value: str):
    entry = make_entry(doc_id, value, AB, system_entropy)
    assert entry_value(entry, AB.key) == value
    assert entry_value(entry, CB.key) is None
    assert (entry["owner"], entry["delegatedTo"]) == ("a", "b")


@pytest.mark.parametrize("value", ["with:colon", "", "é", "with space", "line\nbreak"])
def test_an_id_that_readers_would_misread_is_refused(value: str):
    with pytest.raises(InvalidEntity):
        make_entry("d", value, AB, system_entropy)
    with pytest.raises(InvalidEntity):
        make_entry(value, "v", AB, system_entropy)


def test_the_document_in_front_of_the_value_may_be_another_one():
    entry = make_entry("merged-away", "v", AB, system_entropy)
    found: list[str] = []
    assert values_for([entry], keys, "delegations[b]", found) == ("v",)
    assert found == []


@pytest.mark.parametrize("plaintext", [b"", b"v", b"d:v:w", b":v", b"d:", b"d:v\n", "d:é".encode(), b"\xff:v"])
def test_a_plaintext_with_more_or_less_than_one_colon_is_no_entry(plaintext: bytes):
    entry = {"owner": "a", "delegatedTo": "b", "key": encrypt(AB.key, plaintext, system_entropy).hex()}
    assert entry_value(entry, AB.key) is None


def test_values_come_in_their_order_each_once_and_failures_are_told():
    entries = [
        make_entry("d", "2", AB, system_entropy),
        {"owner": "stranger", "key": "00"},
        make_entry("d", "1", CB, system_entropy),
        make_entry("d", "2", CB, system_entropy),
        "junk",
    ]
    attempts: list[str] = []
    assert values_for(entries, keys, "delegations[b]", attempts) == ("2", "1")
    assert attempts == [
        "delegations[b][1] by stranger: no Hcp key opens it",
        "delegations[b][4] by None: no Hcp key opens it",
    ]


def test_entries_that_wrap_a_value_already_are_kept_and_moved_to_the_front():
    old, kept = make_entry("d", "old", AB, system_entropy), make_entry("d", "kept", AB, system_entropy)
    other = {**make_entry("d", "new", CB, system_entropy), "tags": ["t"]}
    made = with_entries("d", [old, other, kept], ["new", "kept"], AB, system_entropy)
    assert [entry_value(entry, AB.key) for entry in made] == ["new", "kept", "old", None]
    assert made[1] is kept
    assert made[3] is other
    assert with_entries("d", made, ["new", "kept"], AB, system_entropy) == made


def test_the_entry_of_a_value_is_moved_to_the_front_whoever_gave_it():
    entries = [make_entry("d", "1", AB, system_entropy), make_entry("d", "2", CB, system_entropy), {"owner": 5}]
    assert first_opening(entries, "2", keys) == [entries[1], entries[0], entries[2]]
    assert first_opening(entries, "3", keys) == entries


def test_access_maps_are_read_as_far_as_they_are_maps_of_lists():
    assert access_map("d", {}, "delegations") == {}
    assert delegates("d", {"delegations": {"a": [{}], "b": []}}) == {"a"}
    for broken in ([], "x", {"a": {}}, {"a": None}):
        with pytest.raises(InvalidEntity, match="delegations is not a map of lists"):
            access_map("d", {"delegations": broken}, "delegations")


def test_uuids_are_random_of_version_4():
    text = new_uuid(lambda n: bytes(range(n)))
    assert text == "00010203-0405-4607-8809-0a0b0c0d0e0f"
    assert new_uuid(lambda n: b"\xff" * n) == "ffffffff-ffff-4fff-bfff-ffffffffffff"
    assert key_bytes(text).hex() == text.replace("-", "")
    with pytest.raises(Tampered):
        key_bytes("0001")
