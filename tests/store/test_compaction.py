"""Compaction: what goes, what stays, and that the room is given back, in small steps."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Attachment, Revision
from icure_sync.store import Store, compaction
from icure_sync.store.inserter import Rules
from icure_sync.store.limits import PRUNED_BODIES
from tests.store.revisions import rev, revision

JOHN = DocId("john")


def history(top: int, low: int = 1) -> tuple[Rev, ...]:
    return tuple(Rev(f"{number}-{number:032x}") for number in range(top, low - 1, -1))


def edit(store: Store, generations: int, doc_id: DocId = JOHN, start: int = 1) -> None:
    for top in range(start, generations + 1):
        store.documents.apply([Revision(doc_id, history(top), b'{"n":%d}' % top)])


def run(store: Store, revs_limit: int = 1_000) -> int:
    """Compacts; returns the number of steps."""
    return sum(1 for _ in store.compaction(revs_limit))


def test_a_compaction_drops_the_bodies_that_are_no_leaves_and_keeps_the_tree(store: Store):
    edit(store, 3)
    store.documents.apply([revision("ann", "1a"), revision("ann", "1b")])
    before = store.documents.update_seq()
    run(store)
    assert [store.documents.get(JOHN, one) is not None for one in history(3)] == [True, False, False]
    assert store.documents.get(JOHN).history == history(3)  # type: ignore[union-attr]  # it is there
    assert store.documents.missing({JOHN: history(3)}) == {}
    assert len(store.documents.leaves(DocId("ann"))) == 2
    assert store.documents.update_seq() == before
    assert store.check() == []


def test_attachments_go_with_the_last_revision_that_shows_them(store: Store):
    old, kept = store.attachments.put([b"old"]), store.attachments.put([b"kept"])
    files = {
        name: Attachment(name, "image/png", blob.length, blob.digest, 1)
        for name, blob in (("old", old), ("kept", kept))
    }
    store.documents.apply([revision("scan", "1a", files=files)])
    for name, blob in (("old", old), ("kept", kept)):
        store.attachments.link(DocId("scan"), rev(1, "a"), name, blob)
    store.documents.apply([revision("scan", "2b", "1a", files={"kept": files["kept"]})])
    run(store)
    assert store._database.rows("SELECT sha256 FROM blobs") == [(kept.sha256,)]
    assert store.attachments.find(DocId("scan"), rev(2, "b"), "kept") == kept
    assert store.check() == []


def test_room_is_given_back_in_many_small_steps(store: Store, path: Path):
    bodies = [
        Revision(DocId(f"doc-{number}"), history(top), b'{"text":"%s"}' % os.urandom(1_000).hex().encode())
        for top in (1, 2, 3)
        for number in range(PRUNED_BODIES)
    ]
    store.documents.apply(bodies)
    store._database.write_back()
    full = path.stat().st_size
    assert run(store) >= 2
    assert path.stat().st_size < full / 2
    assert store.check() == []
    assert run(store) <= 2  # nothing is left to do


def test_large_bodies_are_dropped_few_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compaction, "PRUNED_BYTES", 1)
    edit(store, 5)
    assert run(store) >= 4
    assert store.documents.displaced(JOHN) == ()


def test_histories_are_cut_to_the_limit(store: Store):
    edit(store, 9)
    run(store, revs_limit=4)
    assert store.documents.get(JOHN).history == history(9, 6)  # type: ignore[union-attr]  # it is there
    assert store.documents.missing({JOHN: history(9)})[JOHN].revs == history(5)
    assert store.check() == []


def test_stemming_alone_keeps_the_bodies_that_are_within_the_limit(store: Store):
    edit(store, 5)
    for _ in store.stemming(2):
        pass
    assert [store.documents.get(JOHN, one) is not None for one in history(5)] == [True, True, False, False, False]
    assert store.check() == []


def test_a_body_that_a_write_cuts_off_is_gone_with_its_place(store: Store):
    store.documents.set_rules(Rules(revs_limit=2))
    edit(store, 4)
    assert [store.documents.get(JOHN, one) is not None for one in history(4)] == [True, True, False, False]
    store.documents.set_rules(Rules(revs_limit=1))
    edit(store, 5, start=5)
    assert [held.revision.rev for held in store.documents.displaced(JOHN)] == []
    assert store.documents.get(JOHN).history == history(5, 5)  # type: ignore[union-attr]  # it is there
    assert store.check() == []


def test_a_file_outlives_the_parent_that_a_write_cuts_off(store: Store):
    store.documents.set_rules(Rules(revs_limit=1))
    blob = store.attachments.put([b"page"])
    files = {"page": Attachment("page", "image/png", blob.length, blob.digest, 1)}
    store.documents.apply([revision("scan", "1a", files=files)])
    store.attachments.link(DocId("scan"), rev(1, "a"), "page", blob)
    store.documents.apply([revision("scan", "2b", "1a", files=files)])
    run(store, revs_limit=1)
    assert store.attachments.find(DocId("scan"), rev(2, "b"), "page") == blob
    assert store.check() == []


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(here=st.integers(1, 12), limit=st.integers(1, 6), added=st.integers(1, 12), kept=st.integers(1, 30))
def test_a_history_longer_than_the_limit_meets_or_makes_a_conflict(
    store: Store, here: int, limit: int, added: int, kept: int
):
    """A device that was away adds generations; what it sends is cut to what it keeps itself."""
    if held := store.documents.leaves(JOHN):
        store.purges.purge({JOHN: [one.rev for one in held]})
    store.documents.set_rules(Rules(revs_limit=limit))
    edit(store, here)
    sent = history(here + added, max(1, here + added - kept + 1))
    assert store.documents.apply([Revision(JOHN, sent, b"{}")]) == []
    leaves = [one.rev for one in store.documents.leaves(JOHN)]
    assert leaves[0] == sent[0]
    assert leaves[1:] == ([] if history(here)[0] in sent else [history(here)[0]])
    assert store.check() == []
