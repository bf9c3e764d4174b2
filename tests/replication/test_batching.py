"""Batch sizes follow bytes and time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icure_sync.replication.batching import next_batch_size, next_page_size, parts, weight
from icure_sync.replication.limits import BATCH_BYTES, BATCH_SECONDS, FIRST_ROWS, MAX_BATCH, MOST_ROWS
from icure_sync.replication.wire import Attachment, Revision
from tests.replicas import rev, revision

KILOBYTE = 1024


def test_a_quick_batch_of_small_documents_is_followed_by_several_times_as_many():
    assert next_batch_size(50, 50, 50 * KILOBYTE, 0.01) == 200


def test_large_documents_come_one_by_one():
    assert next_batch_size(50, 50, 50 * BATCH_BYTES, 0.01) == 1


def test_a_slow_link_gets_what_it_can_take_in_the_time():
    assert next_batch_size(100, 100, 100 * KILOBYTE, 4 * BATCH_SECONDS) == 25


def test_a_small_rest_of_a_page_does_not_shrink_the_next_batches():
    assert next_batch_size(400, 3, 3 * KILOBYTE, 0.01) == 400


def test_known_documents_weigh_nothing():
    assert next_batch_size(50, 50, 0, 0.0) == 200


@given(st.integers(1, MAX_BATCH), st.integers(1, MAX_BATCH), st.integers(0, 2**40), st.floats(0, 1e6))
def test_a_batch_has_at_least_one_document_and_at_most_the_bound(limit: int, documents: int, size: int, seconds: float):
    assert 1 <= next_batch_size(limit, documents, size, seconds) <= MAX_BATCH


def test_pages_grow_from_a_few_rows_to_their_bound():
    sizes = [FIRST_ROWS]
    for _ in range(5):
        sizes.append(next_page_size(sizes[-1]))
    assert sizes[:3] == [100, 400, 1600]
    assert sizes[-1] == MOST_ROWS


def heavy(number: int, size: int, revpos: int = 2) -> Revision:
    described = Attachment("f", "text/plain", size, "", revpos)
    return Revision(
        revision("a", rev(2, number), rev(1, 1)).id, (rev(2, number), rev(1, 1)), b"{}", False, {"f": described}
    )


def test_a_revision_weighs_its_body_and_what_is_attached_to_it_first():
    assert weight(heavy(1, 1_000)) == 1_002
    assert weight(heavy(1, 1_000, revpos=1)) == 2


@given(st.lists(st.integers(0, 2 * BATCH_BYTES), max_size=30))
def test_parts_hold_every_revision_in_order_and_no_more_than_a_batch_weighs(sizes: list[int]):
    revisions = [heavy(number, size) for number, size in enumerate(sizes)]
    found = list(parts(revisions))
    assert [each for part in found for each in part] == revisions
    assert all(len(part) == 1 or sum(map(weight, part)) <= BATCH_BYTES for part in found)
