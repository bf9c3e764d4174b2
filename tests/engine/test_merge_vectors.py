"""What a replica makes of leaves is what the published vectors say, with the tombstones that a second reading makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from icure_sync.crypto.keyring import Keyring
from icure_sync.engine.sealed import SealedSuite
from icure_sync.engine.suite import Stored
from icure_sync.ids import HcpId
from tests.crypto.test_merge_vectors import DOC_ID, FOUND, MERGES
from tests.crypto.test_vectors import named
from tests.keys import keyring, seeded
from tests.vectors import second_merges


@dataclass
class Known:
    """The Hcps of the vectors, whose keys are all here: a merge asks for nothing else."""

    keyring: Keyring


def suite_of(by: str) -> SealedSuite:
    return SealedSuite(Known(keyring(HcpId(by))), None, seeded("nothing is drawn"))


@named(MERGES["cases"], "why")
def test_the_merge_of_a_replica_is_the_published_one(vector: dict[str, Any]):
    leaves = {name: Stored(DOC_ID, FOUND[name]["rev"], FOUND[name]["document"]) for name in vector["leaves"]}
    joined = suite_of(vector["by"]).join([*leaves.values()], vector["known"])
    out = {leaf.rev for leaf in leaves.values()} - {*vector["parents"]}
    assert {*joined.out} == out
    assert joined.shown.rev == (vector["same"] or vector["rev"])
    assert joined.shown.is_safe is vector["isSafe"]
    assert (joined.written is not None) is (vector["isSafe"] or vector["same"] is not None)
    above = second_merges.highest(vector["parents"])
    left = vector["same"] or above
    expected = [
        second_merges.retirement(DOC_ID, FOUND[name]) for name in leaves if leaves[name].rev not in {*out, left}
    ]
    if vector["outs"] and vector["same"] is None:
        (extended,) = (FOUND[name] for name in leaves if leaves[name].rev == above)
        access = joined.shown.document["access"]
        expected.append(second_merges.notice(DOC_ID, extended, access, vector["outs"]))
    beside = joined.shown.beside if vector["same"] is None else joined.written
    assert {each.rev: each.document for each in beside} == {each["rev"]: each["document"] for each in expected}
    assert all(each.deleted and [each.parent] == each.document["parents"] for each in beside)
