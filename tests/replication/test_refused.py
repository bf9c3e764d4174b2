"""The record of refused documents: kept until resolved, bounded, readable again."""

from __future__ import annotations

from icure_sync.ids import DocId, Rev, is_rev
from icure_sync.replication.limits import MAX_REASON, MAX_RECORDED
from icure_sync.replication.refused import Refused, read_refused
from icure_sync.replication.wire import Missing, Refusal


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


def test_what_the_source_has_no_more_or_has_superseded_is_withdrawn():
    record = Refused().with_refusals(refusal(doc_id) for doc_id in ("purged", "superseded", "leaf", "silent"))
    questions = record.questions()
    assert all(revs[0] == "1-a" and is_rev(revs[1]) for revs in questions.values())
    newest = questions[DocId("leaf")][1]
    answer = {
        DocId("purged"): Missing((Rev("1-a"), newest)),
        DocId("superseded"): Missing((newest,), (Rev("2-b"), Rev("1-c"))),
        DocId("leaf"): Missing((newest,), (Rev("2-b"), Rev("1-a"))),
        DocId("silent"): Missing((newest,)),  # a server that names no ancestors
    }
    assert record.withdrawn(answer) == [("purged", "1-a"), ("superseded", "1-a")]
    assert record.withdrawn({}) == []


def test_the_source_is_not_asked_about_a_quarantined_revision():
    record = Refused().with_refusals([refusal("a", "99999999999999999999-abc"), refusal("b", None)])
    assert record.questions() == {}
