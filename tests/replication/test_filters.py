"""The filter of a device: own documents, documents for all, bare tombstones, nothing else."""

from __future__ import annotations

import pytest

from icure_sync.errors import InvalidEntity
from icure_sync.ids import HcpId
from icure_sync.replication.filters import device_selector, passes, passes_leaf
from tests.replicas import rev, revision

OWN = device_selector(HcpId("hcp-a"))


@pytest.mark.parametrize(
    "leaf",
    [
        {"type": "Patient", "delegations": {"hcp-a": [{"key": "…"}]}},
        {"type": "Patient", "delegations": {"hcp-a": []}, "_deleted": True},  # the notice to one who was put out
        {"type": "HealthcareParty"},
        {"type": "DeviceHead"},
        {"type": "Attestation"},
        {"java_type": "org.taktik.icure.entities.HealthcareParty"},
        {"_deleted": True},
    ],
)
def test_a_device_gets(leaf: dict):
    assert passes(OWN, leaf)


@pytest.mark.parametrize(
    "leaf",
    [
        {"type": "Patient", "delegations": {"hcp-b": []}},
        {"type": "Patient"},
        {"type": "Patient", "delegations": "hcp-a"},
        {"_deleted": True, "delegations": {"hcp-b": []}},
        {"views": {}},
        {},
    ],
)
def test_a_device_does_not_get(leaf: dict):
    assert not passes(OWN, leaf)


@pytest.mark.parametrize("hcp", ["", "_design", "a.b", "a" * 65, "hcp a", "é"])
def test_an_id_that_a_selector_cannot_hold_is_refused(hcp: str):
    with pytest.raises(InvalidEntity):
        device_selector(HcpId(hcp))


def test_conditions_side_by_side_must_all_hold():
    selector = {"type": "Contact", "open": {"$eq": True}}
    assert passes(selector, {"type": "Contact", "open": True})
    assert not passes(selector, {"type": "Contact", "open": False})
    assert passes({"$and": [{"a": 1}, {"b": {"$exists": False}}]}, {"a": 1})
    assert not passes({"$and": [{"a": 1}, {"b": {"$exists": False}}]}, {"a": 1, "b": None})


@pytest.mark.parametrize("selector", [{"a": {"$regex": "x"}}, {"$nor": [{"a": 1}]}])
def test_an_operator_that_is_not_known_is_refused(selector: dict):
    with pytest.raises(InvalidEntity):
        passes(selector, {"a": "x"})


def test_a_leaf_is_judged_by_its_body_and_its_deletion():
    own = revision("a", rev(1, 1), body=b'{"delegations":{"hcp-a":[]}}')
    bare = revision("a", rev(2, 1), rev(1, 1), body=b"{}", deleted=True)
    other = revision("a", rev(1, 2), body=b'{"delegations":{"hcp-b":[]}}')
    assert [passes_leaf(OWN, leaf) for leaf in (own, bare, other)] == [True, True, False]


def test_a_leaf_that_no_reader_can_hold_passes_nowhere():
    assert not passes_leaf(OWN, revision("a", rev(1, 1), body=b'{"type":"DeviceHead","n":1e999,"x":[}'))
