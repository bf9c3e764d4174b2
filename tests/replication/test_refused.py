"""The record of refused documents: kept until resolved, bounded, readable again."""

from __future__ import annotations

from icure_sync.ids import DocId, Rev
from icure_sync.replication.limits import MAX_REASON, MAX_RECORDED
from icure_sync.replication.refused import Refused, read_refused
from icure_sync.replication.wire import Refusal


def refusal(doc_id: str, rev: str | None = "1-a", reason: str = "no secrets") -> Refusal:
    return Refusal(DocId(doc_id), None if rev is None else Rev(rev), "forbidden", reason)


def test_a_record_comes_back_from_its_document():
    record = Refused().with_refusals([refusal("a"), refusal("b", None), refusal("a", "1-b")])
    assert read_refused(record.document()) == record
    assert read_refused(None) == read_refused({}) == Refused()


def test_newer_words_replace_older_ones():
    record = Refused().with_refusals([refusal("a", reason="old")]).with_refusals([refusal("a", reason="new")])
    assert [each.reason for each in record.refusals] == ["new"]


def test_every_recorded_revision_is_tried_again():
    record = Refused().with_refusals([refusal("a", "1-a"), refusal("a", "1-b"), refusal("b"), refusal("c", None)])
    assert record.revisions() == {"a": ("1-a", "1-b"), "b": ("1-a",)}


def test_what_the_target_has_now_leaves_the_record():
    record = Refused().with_refusals([refusal("a"), refusal("b")])
    assert record.without([(DocId("a"), Rev("1-a"))]).refusals == (refusal("b"),)
    assert record.without([(DocId("z"), Rev("1-a"))]) is record
    assert Refused().without([(DocId("a"), Rev("1-a"))]) == Refused()
    assert record.with_refusals([]) is record


def test_a_servers_own_words_are_cut():
    (kept,) = Refused().with_refusals([refusal("a", reason="x" * 10_000)]).refusals
    assert len(kept.reason) == MAX_REASON


def test_a_record_is_full_at_its_bound():
    record = Refused().with_refusals(refusal(f"doc-{n}") for n in range(MAX_RECORDED))
    assert record.full
    assert not record.without([(DocId("doc-1"), Rev("1-a"))]).full
