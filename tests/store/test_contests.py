"""Which records are to be looked at again because of what others wrote, or hid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from icure_sync.ids import DocId
from icure_sync.store import Store
from tests.replicas import revision

VERIFIED, REFUSED = 1, 2


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
    contested, through = store.contests.changed(0, VERIFIED)
    assert contested == ["fork", "ended"]
    assert through == store.documents.update_seq()
    assert store.contests.changed(through, VERIFIED) == ([], through)


def test_a_revision_that_is_not_verified_over_a_body_that_is_still_here_is_contested(store: Store):
    store.documents.apply([revision("junk", "1-a"), above := revision("junk", "2-a", "1-a")])
    assert store.contests.changed(0, VERIFIED)[0] == ["junk"]
    store.documents.mark_verified(above.id, above.rev, REFUSED, "forged")
    assert store.contests.changed(0, VERIFIED)[0] == ["junk"]
    store.documents.mark_verified(above.id, above.rev, VERIFIED)
    assert store.contests.changed(0, VERIFIED)[0] == []


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
