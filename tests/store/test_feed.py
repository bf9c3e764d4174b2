"""The feed of one delegate: partial replication answered from the index."""

from __future__ import annotations

import pytest

from icure_sync.ids import HcpId
from icure_sync.store import Store, feed
from tests.store.revisions import rev, revision

A = HcpId("hcp-a")


def found(store: Store, since: int = 0, limit: int = 500, types: tuple[str, ...] = ()) -> list[tuple[str, int]]:
    return [(row.id, row.seq) for row in store.documents.changes_for(A, types, since, limit).rows]


def test_a_delegate_sees_what_names_it_and_nothing_else(store: Store):
    store.documents.apply(
        [
            revision("mine", "1a", delegations={"hcp-a": []}),
            revision("other", "1a", delegations={"hcp-b": []}),
            revision("nobody's", "1a", type="Patient"),
            revision("hcp-b", "1a", type="HealthcareParty"),
        ]
    )
    assert found(store) == [("mine", 1)]
    assert found(store, types=("HealthcareParty",)) == [("mine", 1), ("hcp-b", 4)]
    assert found(store, since=1) == []


def test_a_tombstone_reaches_those_whom_it_names_and_a_bare_one_everybody(store: Store):
    store.documents.apply(
        [
            revision("mine", "2b", "1a", deleted=True, delegations={"hcp-a": []}),
            revision("other", "2b", "1a", deleted=True, delegations={"hcp-b": []}),
            revision("bare", "2b", "1a", deleted=True, reason="other software"),
            revision("typed", "2b", "1a", deleted=True, type="HealthcareParty", delegations={"hcp-b": []}),
        ]
    )
    assert found(store, types=("HealthcareParty",)) == [("mine", 1), ("bare", 3)]


def test_each_leaf_counts_by_its_own_head(store: Store):
    store.documents.apply(
        [
            revision("shared", "2b", "1a", delegations={"hcp-a": []}),
            revision("shared", "2c", "1a", delegations={"hcp-b": []}),
            revision("shared", "3d", "2e", "1a", deleted=True, delegations={"hcp-a": []}),
        ]
    )
    (row,) = store.documents.changes_for(A).rows
    assert [leaf.rev for leaf in row.leaves] == [rev(2, "b"), rev(3, "d")]


def test_who_is_put_out_hears_of_it_by_the_notice(store: Store):
    store.documents.apply([revision("shared", "1a", delegations={"hcp-a": [], "hcp-b": []})])
    store.documents.apply(
        [
            revision("shared", "2b", "1a", delegations={"hcp-b": []}),
            revision("shared", "2c", "1a", deleted=True, notice=True, delegations={"hcp-a": []}),
        ]
    )
    (row,) = store.documents.changes_for(A, since=1).rows
    assert [(leaf.rev, leaf.deleted) for leaf in row.leaves] == [(rev(2, "c"), True)]


def test_pages_cover_everything_however_small_they_and_the_search_are(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feed, "SCAN_DOCUMENTS", 3)
    store.documents.apply([revision(f"doc-{n}", "1a", delegations={f"hcp-{'ab'[n % 3 == 0]}": []}) for n in range(20)])
    seen, since = [], 0
    while (page := store.documents.changes_for(A, since=since, limit=2)).last_seq > since:
        seen += [row.id for row in page.rows]
        since = page.last_seq
    assert seen == [f"doc-{n}" for n in range(20) if n % 3 != 0]
    assert since == store.documents.update_seq()
