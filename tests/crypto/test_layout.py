"""The layout of a document, member by member."""

from __future__ import annotations

from typing import Any

import pytest

from icure_sync.crypto.access import union
from icure_sync.crypto.layout import MERGED_MOST, check_ancestry, check_layout
from icure_sync.errors import Tampered
from icure_sync.ids import Rev, rev_order
from tests.crypto.records import shared_contact, shared_patient
from tests.keys import A, B

DOCUMENT = shared_contact().document
ENTRY = DOCUMENT["delegations"][B][0]
KEYED = DOCUMENT["encryptionKeys"][B][0]
REVS = [Rev("10-a"), Rev("9-a"), Rev("9-bb")]  # by their canonical bytes: "9-a" before "10-a"


def check(**members: Any) -> None:
    check_layout("x", {**DOCUMENT, **members})


def test_sets_in_their_one_order_are_accepted():
    check()
    check(parents=["9-a", "10-a", "9-bb"], merged=["1-a", "1-b"], sealedWith=["0" * 32, "1" * 32])
    check(secretForeignKeys=[], encryptionKeys={}, files={"a": {"length": 0, "sha256": "0" * 64}})
    check_layout("x", {name: value for name, value in DOCUMENT.items() if name != "files"})
    check_layout("x", {**DOCUMENT, "a clear field": ["of", {"any": "kind"}]})


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("cryptoSuite", "icure-classic"),
        ("parents", ["9-a", "9-bb", "10-a"]),
        ("parents", ["1-a", "1-a"]),
        ("parents", ["1-A"]),
        ("parents", "1-a"),
        ("parents", {"1-a": 1}),
        ("merged", [f"1-{number:02x}" for number in range(MERGED_MOST + 1)]),
        ("merged", [None]),
        ("access", DOCUMENT["access"] * 2),
        ("delegations", []),
        ("delegations", {"_hcp": []}),
        ("delegations", {B: {}}),
        ("delegations", {B: [ENTRY, ENTRY]}),
        ("delegations", {A: [ENTRY]}),
        ("delegations", {B: [{**ENTRY, "of": "0" * 32}]}),
        ("delegations", {B: [{**ENTRY, "owner": "_hcp"}]}),
        ("delegations", {B: [{**ENTRY, "kid": "0"}]}),
        ("delegations", {B: [{**ENTRY, "key": None}]}),
        ("delegations", {B: [{**ENTRY, "tags": []}]}),
        ("delegations", {B: [sorted(ENTRY)]}),
        ("cryptedForeignKeys", {B: [{**ENTRY, "of": "0" * 32}]}),
        ("encryptionKeys", {B: [{**KEYED, "of": ""}]}),
        ("encryptionKeys", {B: [{**KEYED, "of": "A" * 32}]}),
        ("secretForeignKeys", ["11"]),
        ("secretForeignKeys", ["1" * 32, "0" * 32]),
        ("secretForeignKeys", [[]]),
        ("sealedWith", []),
        ("sealedWith", ["0" * 31]),
        ("sealedWith", ["1" * 32, "0" * 32]),
        ("encryptedSelf", None),
        ("encryptedSelf", []),
        ("files", {}),
        ("files", []),
        ("files", {"a": None}),
        ("files", {"a": {"length": -1, "sha256": "0" * 64}}),
        ("files", {"a": {"length": True, "sha256": "0" * 64}}),
        ("files", {"a": {"length": 1, "sha256": "0"}}),
        ("files", {"a": {"length": 1, "sha256": "0" * 64, "digest": "md5"}}),
    ],
)
def test_a_member_of_another_form_is_named(member: str, value: Any):
    with pytest.raises(Tampered, match="statements" if member == "access" else member):
        check(**{member: value})


@pytest.mark.parametrize("member", sorted({*DOCUMENT} - {"type", "creator", "written", "files", "openingDate"}))
def test_a_member_that_is_missing_is_named(member: str):
    with pytest.raises(Tampered, match="statements" if member == "access" else member):
        check_layout("x", {name: value for name, value in DOCUMENT.items() if name != member})


def test_sets_are_ordered_by_canonical_bytes_not_by_generation():
    assert sorted(REVS, key=rev_order) != ["9-a", "10-a", "9-bb"]
    check(merged=["9-a", "10-a", "9-bb"])
    statements = union(DOCUMENT["access"], shared_patient().document["access"])
    check(access=statements)


def test_hcp_documents_share_a_part_of_it():
    ancestry = {"cryptoSuite": "sealed-1", "parents": ["1-a"], "merged": []}
    check_ancestry("hcp-a", ancestry)
    for member in ancestry:
        with pytest.raises(Tampered, match=member):
            check_ancestry("hcp-a", {**ancestry, member: None})
