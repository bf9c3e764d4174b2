"""Which records are to be looked at again because of what others wrote, or hid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from icure_sync.ids import DocId
from icure_sync.store import Store
from icure_sync.store.contests import Merge
from tests.replicas import revision

VERIFIED, REFUSED = 1, 2
MERGE = Merge(member=b'"merged":[', empty=b'"merged":[]')


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "replica.db", bytes(32))
    yield store
    store.close()


def test_only_records_with_several_live_leaves_or_something_hidden_are_contested(store: Store):
    plain = [revision("plain", "1-a"), revision("plain", "2-a", "1-a")]
    fork = [revision("fork", "1-a"), revision("fork", "2-a", "1-a"), revision("fork", "2-b", "1-a")]
    ended = [revision("ended", "1-a"), revision("ended", "2-a", "1-a", deleted=True)]
    gone = [revision("gone", "1-a", deleted=True)]
    store.documents.apply([*plain, *fork, *ended, *gone])
    store.documents.mark_verified(DocId("plain"), plain[-1].rev, VERIFIED)
    contested, through = store.contests.changed(0, VERIFIED, MERGE)
    assert contested == ["fork", "ended"]
    assert through == store.documents.update_seq()
    assert store.contests.changed(through, VERIFIED, MERGE) == ([], through)


def test_a_revision_that_is_not_verified_over_a_body_that_is_still_here_is_contested(store: Store):
    store.documents.apply([revision("junk", "1-a"), above := revision("junk", "2-a", "1-a")])
    assert store.contests.changed(0, VERIFIED, MERGE)[0] == ["junk"]
    store.documents.mark_verified(above.id, above.rev, REFUSED, "forged")
    assert store.contests.changed(0, VERIFIED, MERGE)[0] == ["junk"]
    store.documents.mark_verified(above.id, above.rev, VERIFIED)
    assert store.contests.changed(0, VERIFIED, MERGE)[0] == []


def test_what_waits_is_told_by_its_age_and_waits_since_it_first_did(store: Store):
    assert store.contests.wait(DocId("one"), 10) == 10
    assert store.contests.wait(DocId("one"), 20) == 10
    assert store.contests.wait(DocId("two"), 20) == 20
    assert store.contests.waiting(10) == ["one"]
    assert store.contests.waiting(20) == ["one", "two"]
    assert store.contests.waiting(20, "one") == ["two"]
    store.contests.postpone([DocId("one"), DocId("two")], 10, 30)
    assert store.contests.waiting(20) == ["two"]
    store.contests.settle(DocId("two"))
    assert store.contests.waiting(30) == ["one"]


def test_what_says_that_it_is_a_merge_is_contested_once_and_what_was_never_merged_is_not(store: Store):
    bodies = {"plain": b'{"merged":[]}', "merge": b'{"merged":["2-a"]}', "other": b"{}"}
    store.documents.apply([replace(revision(name, "1-a"), body=body) for name, body in bodies.items()])
    contested, through = store.contests.changed(0, VERIFIED, MERGE)
    assert contested == ["merge"]
    assert store.contests.changed(through, VERIFIED, MERGE) == ([], through)


def test_what_waits_by_a_clock_that_was_ahead_waits_since_now(store: Store):
    store.contests.wait(DocId("ahead"), 1_000)
    store.contests.wait(DocId("before"), 5)
    store.contests.begin(10)
    assert store.contests.waiting(5) == ["before"]
    assert store.contests.waiting(10) == ["ahead", "before"]
