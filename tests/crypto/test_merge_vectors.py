"""The published vectors of merging: a second reading of the format comes to the same joins, keys, salts and ids."""

from __future__ import annotations

from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from Crypto.Signature import eddsa

from icure_sync.crypto.sealing import Sealed
from tests.crypto.test_vectors import SIGNING_KEYS, VECTORS, hcp_keys_of, named
from tests.vectors import make_merges, second_bytes, second_merges, second_records
from tests.vectors.second_bytes import Refused

MERGES = VECTORS["merges"]
DOC_ID, FOUND, WRITES = MERGES["id"], MERGES["documents"], MERGES["writes"]
HCP_MERGES = VECTORS["hcpMerges"]
MAPS = second_records.MAPS
UNSERVED = {
    ("crossed", "hcp-c"),
    ("silent", "hcp-c"),
}  # a share that crossed a revocation; a revocation that is kept back


@cache
def revisions() -> dict[str, Sealed]:
    return make_merges.revisions()


def signer(hcp_id: str) -> Any:
    return eddsa.import_private_key(bytes.fromhex(VECTORS["parties"][hcp_id]["signingSeed"]))


def merged(by: str, names: list[str], known: list[Any]) -> dict[str, Any]:
    leaves = [FOUND[name] for name in names]
    return second_merges.merge(DOC_ID, leaves, known, second_merges.Me(by, hcp_keys_of(by), signer(by)))


def opened(document: dict[str, Any], reader: str) -> dict[str, Any]:
    return second_records.open_document(DOC_ID, document, reader, hcp_keys_of(reader))


def test_the_second_reading_of_merging_shares_no_code_with_the_package():
    assert "icure_sync" not in Path(str(second_merges.__file__)).read_text()


@named(VECTORS["joins"], "why")
def test_joins_in_any_order(vector: dict[str, Any]):
    for bodies in permutations(vector["bodies"]):
        joined = second_merges.join(list(bodies))
        assert second_bytes.canonical(joined).hex() == vector["bytes"]
    second_records.check_body(vector["body"])
    assert second_bytes.canonical(vector["body"]).hex() == vector["bytes"]
    assert second_records.shown(vector["body"]) == vector["shown"]


@pytest.mark.parametrize("name", FOUND)
def test_each_leaf_verifies_and_opens_for_those_who_have_access(name: str):
    document = FOUND[name]["document"]
    second_records.verify(DOC_ID, FOUND[name]["rev"], document, SIGNING_KEYS)
    for reader in second_records.parties("hcp-a", document["access"]):
        if (name, reader) not in UNSERVED:
            second_records.check_body(opened(document, reader)["body"])


@named(MERGES["cases"], "why")
def test_merges_in_any_order(vector: dict[str, Any]):
    case = next(each for each in make_merges.CASES if each[0] == vector["why"])
    assert (vector["by"], vector["leaves"]) == case[1:3]
    for names in permutations(vector["leaves"]):
        package = make_merges.merge(case[1], [revisions()[name] for name in names], vector["known"])
        assert (package.sealed.rev, package.is_safe, package.same) == (vector["rev"], vector["isSafe"], vector["same"])
    for names in permutations(vector["leaves"]):
        result = merged(vector["by"], list(names), vector["known"])
        assert (result["rev"], result["document"]["written"]["signature"]) == (vector["rev"], vector["signature"])
        assert {name: result["document"][name] for name in ("parents", "merged", "sealedWith")} == {
            name: vector[name] for name in ("parents", "merged", "sealedWith")
        }
        for name in ("body", "isSafe", "outs", "same"):
            assert result[name] == vector[name]
        second_records.verify(DOC_ID, result["rev"], result["document"], SIGNING_KEYS)


def test_merges_that_are_leaves_themselves_are_those_of_the_cases():
    of = {
        "base": ("hcp-a", ["withB", "withC"]),
        "twoByA": ("hcp-a", ["laptop", "phone"]),
        "twoByB": ("hcp-b", ["laptop", "phone"]),
        "joint": ("hcp-a", ["endC", "endB"]),
        "jointToo": ("hcp-a", ["endCToo", "endB"]),
        "crossed": ("hcp-a", ["shareOnC", "endBEarly"]),
    }
    for name, (by, leaves) in of.items():
        result = merged(by, leaves, [])
        assert {"rev": result["rev"], "document": result["document"]} == FOUND[name]


def test_what_a_merge_kept_and_what_it_sealed():
    assert FOUND["base"]["document"]["encryptedSelf"] == FOUND["created"]["document"]["encryptedSelf"]
    assert len(merged("hcp-a", ["crowded", "phone"], [])["document"]["merged"]) == 64
    assert "openingDate" not in merged("hcp-a", ["laptop", "unclear"], [])["document"]
    assert merged("hcp-a", ["laptop", "phone"], [])["document"]["openingDate"] == 20250102


def test_tombstones_are_functions_of_what_they_end_or_tell():
    for vector in MERGES["retirements"]:
        leaf = FOUND[vector["of"]]
        expected = second_merges.retirement(DOC_ID, leaf)
        assert expected == {"rev": vector["rev"], "document": vector["document"]}
    told = {"base": "endC", "endB": "joint"}
    for vector in MERGES["notices"]:
        extended, access = FOUND[vector["extended"]], FOUND[told[vector["extended"]]]["document"]["access"]
        expected = second_merges.notice(DOC_ID, extended, access, vector["outs"])
        assert expected == {"rev": vector["rev"], "document": vector["document"]}
        assert not {*vector["outs"]} & {*second_records.parties("hcp-a", access)}


@named(MERGES["counting"], "why")
def test_when_a_retirement_counts(vector: dict[str, Any]):
    leaf, ended = FOUND[vector["leaf"]], FOUND[vector["of"]]
    me = second_merges.Me("hcp-a", hcp_keys_of("hcp-a"), signer("hcp-a"))
    assert second_merges.ends(DOC_ID, leaf, ended, me) is vector["counts"]


def test_a_merge_that_keeps_back_what_a_parent_states_does_not_verify():
    given, parent = FOUND["silent"], FOUND["endC"]["document"]
    with pytest.raises(Refused, match="hidden statement"):
        second_records.verify(DOC_ID, given["rev"], given["document"], SIGNING_KEYS, displaced=parent["access"])


# Writes


def before(vector: dict[str, Any]) -> dict[str, Any]:
    """What the write is made over: one revision, or the merge of several."""
    of = vector["of"]
    return FOUND[of[0]]["document"] if len(of) == 1 else merged("hcp-a", of, vector["known"])["document"]


@pytest.mark.parametrize("number", range(len(WRITES)), ids=[vector["kind"] for vector in WRITES])
def test_a_write_that_gives_or_takes_keys(number: int):
    vector = WRITES[number]
    document, over = vector["document"], before(vector)
    inside = second_records.parties("hcp-a", document["access"])
    assert document["parents"] == second_merges.united([[FOUND[name]["rev"] for name in vector["of"]]])
    second_records.verify(DOC_ID, vector["rev"], document, SIGNING_KEYS, displaced=over["access"])
    for reader in VECTORS["parties"]:
        if reader in inside:
            assert opened(document, reader)["body"] == opened(document, "hcp-a")["body"]
        elif vector["kind"] != "again":
            with pytest.raises(Refused, match="no access"):
                opened(document, reader)
    for name in MAPS:
        assert {*document[name]} <= {*inside}
        for delegate, held in document[name].items():
            present = over[name].get(delegate, [])
            assert all(entry in held for entry in present)
            assert all(entry["owner"] == "hcp-a" for entry in held if entry not in present)
    held_before = {hcp for name in MAPS for hcp, held in over[name].items() if held}
    assert vector["outs"] == sorted(held_before - {*inside})


def added(vector: dict[str, Any], name: str) -> dict[str, int]:
    """How many entries each party has now that it had not before."""
    over, document = before(vector), vector["document"]
    counts = {hcp: len(held) - len(over[name].get(hcp, [])) for hcp, held in document[name].items()}
    return {hcp: count for hcp, count in counts.items() if count}


@pytest.mark.parametrize("number", [n for n, vector in enumerate(WRITES) if vector["kind"] in ("revoke", "rekey")])
def test_revoking_and_re_keying_draw_a_new_key_for_all_who_have_access(number: int):
    vector = WRITES[number]
    document, over = vector["document"], before(vector)
    (name,) = document["sealedWith"]
    assert name not in {entry["of"] for held in over["encryptionKeys"].values() for entry in held}
    inside = second_records.parties("hcp-a", document["access"])
    assert added(vector, "encryptionKeys") == dict.fromkeys(inside, 1)
    assert added(vector, "delegations") == (dict.fromkeys(inside, 1) if vector["kind"] == "revoke" else {})
    found = opened(document, "hcp-a")
    keys = [bytes.fromhex(key) for key in found["contentKeys"].values()]
    assert second_merges.resealed(DOC_ID, document, found["body"], keys) == document["encryptedSelf"]


def test_a_revocation_is_an_ordinary_write_of_the_secret_id_and_of_a_deletion_that_saw_it():
    for vector in (each for each in WRITES if each["kind"] == "revoke"):
        document, over = vector["document"], before(vector)
        old, new = opened(over, "hcp-a"), opened(document, "hcp-a")
        fields = {tuple(path): siblings for path, siblings in new["body"]["fields"]}
        (stamp,) = fields["secretId",]
        assert {*new["secretIds"]} - {*old["secretIds"]} == {stamp[2]}
        assert second_records.shown(new["body"])["deleted"] is second_records.shown(old["body"])["deleted"]
        assert stamp[1] == 1 + max(old["body"]["context"].values())
        (statement,) = (each for each in document["access"] if each not in over["access"])
        assert (statement["revoke"], statement["by"]) == (vector["outs"][0], "hcp-a")
    fields = {tuple(path): siblings for path, siblings in new["body"]["fields"]}
    (deletion,) = fields["deleted",]
    assert deletion[1] == stamp[1] + 1
    assert deletion[2][stamp[0]] == stamp[1]


def test_access_repair_gives_what_is_lacking_and_leaves_the_rest():
    (vector,) = (each for each in WRITES if each["kind"] == "repair")
    document, over = vector["document"], FOUND["crossed"]["document"]
    with pytest.raises(Refused, match="no access"):
        opened(over, "hcp-c")
    found, creators = opened(document, "hcp-c"), opened(document, "hcp-a")
    assert (found["secretIds"], found["foreignKeys"]) == (creators["secretIds"], creators["foreignKeys"])
    assert added(vector, "encryptionKeys") == {"hcp-c": 1}
    changed = {name for name in document if document[name] != over[name]}
    assert changed == {"parents", "written", *MAPS}


def test_what_was_hidden_is_written_again_with_itself_as_its_parent():
    (vector,) = (each for each in WRITES if each["kind"] == "again")
    expected = second_merges.again(DOC_ID, FOUND[vector["of"][0]], "hcp-a", signer("hcp-a"))
    assert expected == {"rev": vector["rev"], "document": vector["document"]}


# Hcp documents


@pytest.mark.parametrize("name", HCP_MERGES["documents"])
def test_each_revision_of_the_hcp_document_verifies(name: str):
    given = HCP_MERGES["documents"][name]
    assert second_records.hcp_document(HCP_MERGES["id"], given["rev"], given["document"]) == SIGNING_KEYS["hcp-a"]


@named(HCP_MERGES["cases"], "why")
def test_an_hcp_document_is_merged_in_any_order(vector: dict[str, Any]):
    doc_id = HCP_MERGES["id"]
    for names in permutations(vector["leaves"]):
        leaves = [HCP_MERGES["documents"][name] for name in names]
        result = second_merges.merge_hcp(doc_id, leaves, signer(doc_id))
        same = result["same"] if vector["standing"] else None
        assert same == vector["same"]
        if same is None:
            assert (result["rev"], result["document"]) == (vector["rev"], vector["document"])
            second_records.hcp_document(doc_id, result["rev"], result["document"])
        left = same or second_merges.highest([leaf["rev"] for leaf in leaves])
        assert vector["ends"] == {
            leaf["rev"]: second_merges.retirement_of_hcp_document(doc_id, leaf["rev"])
            for leaf in leaves
            if leaf["rev"] != left
        }
