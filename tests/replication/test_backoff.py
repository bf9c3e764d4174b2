"""Waiting: exponential with jitter, bounded, and never shorter than the peer asks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.replication.backoff import delay, retry_after
from icure_sync.replication.limits import ASKED_MOST, BACKOFF_FIRST, BACKOFF_MOST

jitters = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10_000), jitters)
def test_a_wait_lies_between_half_and_whole_of_its_step_and_is_bounded(tries: int, jitter: float):
    step = min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** min(tries - 1, 40))
    assert step / 2 <= delay(tries, jitter) <= step


def test_waits_double():
    assert [delay(tries, 0.5) / delay(1, 0.5) for tries in range(1, 5)] == [1, 2, 4, 8]


@given(st.integers(1, 50), jitters, st.floats(-10, 1000))
def test_a_pause_that_the_peer_asks_for_is_honoured(tries: int, jitter: float, pause: float):
    assert delay(tries, jitter, pause) >= max(pause, 0)


@given(st.integers(1, 50), jitters, st.floats(ASKED_MOST, 1e12))
def test_a_pause_of_days_is_none_that_anybody_keeps(tries: int, jitter: float, pause: float):
    assert ASKED_MOST <= delay(tries, jitter, pause) <= ASKED_MOST + BACKOFF_MOST


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:13:30 -0000", 10.0),  # parsed without a zone
        ("Mon, 13 Nov 2023 22:13:30 GMT", 0.0),  # past: a clock that is wrong must not make it negative
        ("soon", None),
        ("", None),
        ("9" * 400, 9999999999.0),
        ("Sun, 06 Nov 99999999999999999999 00:00:00 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37 +99999999999999999999", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(header: str | None, seconds: float | None):
    assert retry_after(header, now=1_700_000_000.0) == seconds
