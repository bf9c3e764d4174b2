"""Merging Hcp documents of an iCure database: every key of a pair stays readable, and released SDKs find one first."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.crypto.classic_hcp_merging import merge_hcp_documents
from icure_sync.crypto.classic_keys import wrapped_keys
from icure_sync.crypto.primitives import system_entropy
from icure_sync.errors import InvalidEntity, NotFound
from tests.crypto.classic_clinic import A, B, C, Clinic

Document = dict[str, Any]


def unknown(hcp_id: str) -> str:
    raise NotFound(f"merge keys for {hcp_id}", "its Hcp document is not here", "sync")


def fingerprint(hcp_id: str) -> str:
    return Clinic().party(hcp_id).fingerprint


@functools.cache
def minted() -> tuple[Document, ...]:
    """B's document as three devices left it: each has minted {BC}, one only where older software looks."""
    found = []
    for _ in range(3):
        clinic = Clinic()
        clinic.mint(B, C, system_entropy(32))
        found.append(clinic.docs[B])
    found[2].pop("aesExchangeKeys")
    return tuple(found)


def readable(document: Document, owner: str, delegate: str, reader: str) -> set[bytes]:
    return set(wrapped_keys(owner, document, delegate, Clinic().party(reader)))


def test_the_lowest_key_stays_first_and_the_others_go_under_fake_owners():
    one, other, _ = minted()
    merged = merge_hcp_documents(B, [one, other], unknown)
    pairs = [document["hcPartyKeys"][C] for document in (one, other)]
    assert merged["hcPartyKeys"][C] == min(pairs)
    owner = Clinic().party(B).spki.hex()
    (fake,) = [place for place in merged["aesExchangeKeys"] if place != owner]
    assert fake.startswith("x")
    names = (Clinic().party(B).fingerprint, Clinic().party(C).fingerprint)
    for place, pair in ((owner, min(pairs)), (fake, max(pairs))):
        assert merged["aesExchangeKeys"][place][C] == dict(zip(names, pair, strict=True))
    first, *_ = wrapped_keys(B, merged, C, Clinic().party(C))
    assert first.hex() == min(pairs)[1]


@given(st.permutations(range(3)))
def test_the_order_of_leaves_makes_no_difference_to_the_keys(order):
    documents = [minted()[each] for each in order]
    merged = merge_hcp_documents(B, documents, fingerprint)
    assert merged == merge_hcp_documents(B, minted(), fingerprint)
    assert list(merged) == sorted(merged)
    for reader in (B, C):
        wanted = set().union(*(readable(each, B, C, reader) for each in documents))
        assert readable(merged, B, C, reader) == wanted
        assert len(wanted) == 3


def test_merging_in_any_grouping_keeps_the_same_keys_and_again_changes_nothing():
    whole = merge_hcp_documents(B, minted(), fingerprint)
    for order in itertools.permutations(minted()):
        merged = functools.reduce(lambda one, other: merge_hcp_documents(B, [one, other], fingerprint), order)
        assert merged["hcPartyKeys"] == whole["hcPartyKeys"]
        for reader in (B, C):
            assert readable(merged, B, C, reader) == readable(whole, B, C, reader)
        for each in (*order, merged):
            assert merge_hcp_documents(B, [merged, each], fingerprint) == merged


SPKI = Clinic().party(B).spki.hex()
for_owner, for_delegate = st.sampled_from(["00", "01", "02"]), st.sampled_from(["10", "11", "12"])
wrapped = st.fixed_dictionaries(
    {}, optional={fingerprint(B): for_owner, fingerprint(C): for_delegate, "f" * 32: st.sampled_from(["20", "21"])}
)
exchanges = st.dictionaries(
    st.sampled_from([SPKI, "x1", "other"]), st.dictionaries(st.sampled_from([A, C]), wrapped, max_size=2), max_size=3
)
pairings = st.dictionaries(st.sampled_from([A, C]), st.tuples(for_owner, for_delegate).map(list), max_size=2)
generated = st.builds(
    lambda pairs, exchange: {"publicKey": SPKI, "hcPartyKeys": pairs, "aesExchangeKeys": exchange}, pairings, exchanges
)


@given(st.lists(generated, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_whatever_keys_the_leaves_hold_all_are_read_in_the_merge(documents: list[Document], chance):
    merged = merge_hcp_documents(B, documents, fingerprint)
    assert merge_hcp_documents(B, chance.sample(documents, len(documents)), fingerprint) == merged
    for delegate, reader in itertools.product((A, C), (B, C)):
        wanted = set().union(*(readable(each, B, delegate, reader) for each in documents))
        assert readable(merged, B, delegate, reader) >= wanted
    for each in (*documents, merged):
        assert merge_hcp_documents(B, [merged, each], fingerprint) == merged


def test_a_pair_that_only_older_software_wrote_waits_for_the_public_key_of_its_delegate():
    one, _, legacy = minted()
    bare = {**one, "aesExchangeKeys": {}}
    with pytest.raises(NotFound):
        merge_hcp_documents(B, [bare, legacy], unknown)
    merged = merge_hcp_documents(B, [bare, legacy], fingerprint)
    for reader in (B, C):
        assert len(readable(merged, B, C, reader)) == 2


def test_two_own_keys_need_no_other_s_document():
    found = []
    for _ in range(2):
        clinic = Clinic()
        clinic.docs[B]["hcPartyKeys"].pop(B, None)
        clinic.mint(B, B, system_entropy(32))
        clinic.docs[B]["aesExchangeKeys"] = {}
        found.append(clinic.docs[B])
    assert len(readable(merge_hcp_documents(B, found, unknown), B, B, B)) == 2


def test_what_is_said_of_one_key_by_several_is_put_together():
    one, *_ = minted()
    owner, b, c = Clinic().party(B).spki.hex(), Clinic().party(B).fingerprint, Clinic().party(C).fingerprint
    more = {**one, "aesExchangeKeys": {owner: {C: {**one["aesExchangeKeys"][owner][C], "f" * 32: "00"}}}}
    for documents in ([one, more], [more, one]):
        merged = merge_hcp_documents(B, documents, unknown)
        assert merged["aesExchangeKeys"].keys() == {owner}
        assert merged["aesExchangeKeys"][owner][C].keys() == {b, c, "f" * 32}


def test_of_other_members_the_winner_s_is_kept_and_what_it_lacks_is_added():
    one, other, _ = minted()
    winner = {**one, "speciality": "poetry"}
    loser = {**other, "speciality": "prose", "nihii": "123", "deleted": 5}
    merged = merge_hcp_documents(B, [winner, loser], unknown)
    assert (merged["speciality"], merged["nihii"]) == ("poetry", "123")
    assert "deleted" not in merged
    assert merge_hcp_documents(B, [loser, winner], unknown)["deleted"] == 5


def test_maps_and_lists_of_public_keys_are_united():
    one, other, _ = minted()
    winner = {**one, "transferKeys": {"k1": {"k2": "aa"}}, "publicKeysForOaepWithSha256": ["k1"]}
    loser = {**other, "transferKeys": {"k1": {"k2": "bb", "k3": "cc"}}, "publicKeysForOaepWithSha256": ["k2", "k1"]}
    merged = merge_hcp_documents(B, [winner, loser], unknown)
    assert merged["transferKeys"] == {"k1": {"k2": "aa", "k3": "cc"}}
    assert merged["publicKeysForOaepWithSha256"] == ["k1", "k2"]


def test_documents_without_keys_get_none():
    assert merge_hcp_documents(A, [{"name": "x"}, {"name": "y"}], unknown) == {"name": "x"}


def test_a_place_without_a_key_gives_way_to_one_that_has_it():
    one, *_ = minted()
    empty = {**one, "hcPartyKeys": {**one["hcPartyKeys"], C: []}}
    for documents in ([one, empty], [empty, one]):
        assert merge_hcp_documents(B, documents, unknown)["hcPartyKeys"] == one["hcPartyKeys"]


@pytest.mark.parametrize(
    "member",
    [
        {"hcPartyKeys": ["x"]},
        {"hcPartyKeys": {C: "x"}},
        {"hcPartyKeys": {C: [1, 2]}},
        {"aesExchangeKeys": 5},
        {"aesExchangeKeys": {"k": "x"}},
        {"aesExchangeKeys": {"k": {C: "x"}}},
        {"aesExchangeKeys": {"k": {C: {"f": 1}}}},
        {"transferKeys": "x"},
        {"transferKeys": {"k": "x"}},
        {"publicKeysForOaepWithSha256": "x"},
        {"publicKeysForOaepWithSha256": [1]},
    ],
)
def test_malformed_keys_are_never_written_over(member: Document):
    one, other, _ = minted()
    with pytest.raises(InvalidEntity):
        merge_hcp_documents(B, [one, {**other, **member}], unknown)
