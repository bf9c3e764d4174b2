"""The error policy: the table, and how it is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.errors import (
    BadAnswer,
    DatabaseMissing,
    Forbidden,
    IcureSyncError,
    StoreCorrupt,
    StoreFull,
    Throttled,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from icure_sync.replication.limits import MAX_DOCUMENT, MAX_PATIENCE
from icure_sync.replication.policy import TABLE, Step, decide, is_passing, reason_against_rev, reason_against_size
from icure_sync.replication.trouble import Trouble


def test_the_table_has_a_row_for_every_kind_of_trouble():
    assert set(TABLE) == set(Trouble)


def steps(trouble: Trouble, documents: int, tries: int) -> list[Step]:
    return [decide(trouble, count, documents) for count in range(1, tries + 1)]


def test_a_broken_connection_is_tried_again_some_times_and_then_ends_the_attempt():
    assert steps(Trouble.TRANSPORT, 0, 5) == [Step.RETRY] * 4 + [Step.STOP]
    assert decide(Trouble.TRANSPORT, 5, 100, alive=False) is Step.STOP


def test_a_batch_that_breaks_every_connection_to_a_living_peer_is_halved_down_to_the_one_document():
    assert decide(Trouble.TRANSPORT, 5, 100) is Step.BISECT
    assert decide(Trouble.TRANSPORT, 5, 1) is Step.RECORD


def test_a_batch_refused_as_a_whole_is_halved_at_once_down_to_the_one_document():
    assert decide(Trouble.BATCH_REFUSED, 1, 100) is Step.BISECT
    assert decide(Trouble.BATCH_REFUSED, 1, 1) is Step.RECORD
    assert decide(Trouble.BATCH_REFUSED, 1, 0) is Step.STOP


def test_a_server_that_fails_three_times_over_one_batch_has_a_bad_document_in_it():
    assert steps(Trouble.SERVER_FAILED, 100, 3) == [Step.RETRY, Step.RETRY, Step.BISECT]
    assert steps(Trouble.SERVER_FAILED, 1, 3) == [Step.RETRY, Step.RETRY, Step.RECORD]
    assert decide(Trouble.SERVER_FAILED, 3, 0) is Step.STOP


def test_the_halves_of_a_proven_batch_are_halved_without_waiting():
    assert decide(Trouble.SERVER_FAILED, 1, 50, proven=True) is Step.BISECT
    assert decide(Trouble.SERVER_FAILED, 1, 1, proven=True) is Step.RETRY
    assert decide(Trouble.BUSY, 1, 50, proven=True) is Step.RETRY


def test_a_server_that_is_down_has_no_bad_document():
    assert decide(Trouble.SERVER_FAILED, 3, 100, alive=False) is Step.STOP


def test_a_dead_cookie_leads_to_one_new_login():
    assert steps(Trouble.LOGIN_NEEDED, 0, 2) == [Step.LOG_IN, Step.STOP]


@pytest.mark.parametrize(
    "trouble", [Trouble.LOCKED, Trouble.FORBIDDEN, Trouble.DATABASE_MISSING, Trouble.BAD_ANSWER, Trouble.LOCAL]
)
def test_what_repeating_does_not_mend_ends_the_attempt(trouble: Trouble):
    assert decide(trouble, 1, 100) is Step.STOP


def test_a_conflict_in_a_log_makes_both_logs_be_read_again():
    assert decide(Trouble.CHECKPOINT_CONFLICT, 1) is Step.READ_AGAIN


def test_documents_that_do_not_come_are_asked_for_alone_and_then_recorded():
    assert steps(Trouble.INCOMPLETE, 3, 2) == [Step.FETCH_ALONE, Step.RECORD]


def test_a_short_pause_is_sat_out_and_a_long_one_ends_the_attempt():
    assert decide(Trouble.BUSY, 1, retry_after=MAX_PATIENCE) is Step.RETRY
    assert decide(Trouble.BUSY, 1, retry_after=MAX_PATIENCE + 1) is Step.STOP


@given(st.sampled_from(Trouble), st.integers(1, 20), st.integers(0, 5), st.booleans(), st.booleans())
def test_no_kind_of_trouble_is_tried_for_ever(trouble: Trouble, tries: int, documents: int, proven: bool, alive: bool):
    step = decide(trouble, tries, documents, proven=proven, alive=alive)
    assert tries < 5 or step in (Step.STOP, Step.BISECT, Step.RECORD)
    assert step is not Step.BISECT or documents > 1


@pytest.mark.parametrize(
    "rev", ["", "1", "nonsense", "0-a", "1-", "1-XYZ", "1-" + "a" * 65, "99999999999999999999-a", "-1-a", "1-a\n"]
)
def test_a_revision_id_that_no_replica_accepts_is_quarantined(rev: str):
    assert reason_against_rev(rev)


THREE = ("sync", "it fails", "try again")


@pytest.mark.parametrize(
    "error",
    [Unreachable(*THREE), TimedOut(*THREE), Throttled(*THREE, 300.0), BadAnswer(*THREE), StoreFull(*THREE)],
)
def test_a_live_sync_waits_for_what_time_may_mend(error: IcureSyncError):
    assert is_passing(error, worked=False)


@pytest.mark.parametrize("error", [Unauthorized(*THREE), Forbidden(*THREE), StoreCorrupt(*THREE)])
def test_a_live_sync_ends_with_what_somebody_has_to_mend(error: IcureSyncError):
    assert not is_passing(error, worked=True)


def test_a_live_sync_waits_for_a_database_that_it_has_known():
    assert is_passing(DatabaseMissing(*THREE), worked=True)
    assert not is_passing(DatabaseMissing(*THREE), worked=False)


def test_ordinary_revision_ids_and_sizes_pass():
    assert reason_against_rev("12-" + "0123456789abcdef" * 2) is None
    assert reason_against_size(MAX_DOCUMENT) is None
    assert "8000001 bytes" in (reason_against_size(MAX_DOCUMENT + 1) or "")
