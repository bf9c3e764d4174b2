"""Records that a person should look at: which changes may have made one, and which are listed."""

from __future__ import annotations

from dataclasses import replace

from icure_sync.ids import DocId
from icure_sync.replication.wire import Revision
from icure_sync.store import Store
from tests.store.revisions import rev, revision

PLAIN = b'"merged":[]'


def plain(doc_id: str, *history: str) -> Revision:
    return replace(revision(doc_id, *history), body=b'{"merged":[]}')


def found(store: Store, limit: int = 100) -> list[str]:
    return list(store.reviews.changed(store.reviews.through(), PLAIN, limit)[0])


def test_documents_that_were_never_merged_need_no_look(store: Store):
    store.documents.apply([plain("plain", "1a"), revision("merged", "1a"), plain("two", "1a"), plain("two", "1b")])
    assert found(store) == ["merged", "two"]
    store.documents.apply([plain("plain", "2b", "1a")])  # what it displaced is still here
    assert found(store) == ["merged", "two", "plain"]
    store.documents.prune(DocId("plain"), [rev(1, "a")])
    assert found(store) == ["merged", "two"]


def test_each_change_is_looked_at_once_and_the_last_answer_counts(store: Store):
    store.documents.apply([revision(name, "1a") for name in ("a", "b", "c")])
    ids, through = store.reviews.changed(0, PLAIN, 2)
    assert ids == ["a", "b"]
    store.reviews.put(through, [DocId("a"), DocId("b")])
    assert found(store) == ["c"]
    ids, through = store.reviews.changed(through, PLAIN, 2)
    store.reviews.put(through, [])
    assert store.reviews.changed(through, PLAIN, 2) == ([], through)
    assert store.reviews.ids() == ["a", "b"]
    store.documents.apply([revision("a", "2a", "1a")])
    store.reviews.put(store.reviews.changed(through, PLAIN, 2)[1], [])
    assert store.reviews.ids() == ["b"]
    store.reviews.restart()
    assert found(store) == ["b", "c", "a"]
    store.reviews.put(store.documents.update_seq(), [DocId("c")])
    assert store.reviews.ids() == ["c"]


def test_what_is_purged_is_listed_no_longer(store: Store):
    store.documents.apply([revision("a", "1a")])
    store.reviews.put(1, [DocId("a")])
    store.purges.purge({DocId("a"): [rev(1, "a")]})
    assert store.reviews.ids() == []
