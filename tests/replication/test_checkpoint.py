"""Replication logs: the replication id, the common point, thinning, and reading what others wrote."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.ids import Seq
from icure_sync.replication.checkpoint import (
    START,
    Direction,
    Log,
    Session,
    common_point,
    peer_mark,
    read_log,
    replication_id,
)
from icure_sync.replication.limits import MAX_SESSIONS, RECENT_SESSIONS


def session(number: int, seq: str | None = None, ended: int | None = None, peer: str = "p") -> Session:
    return Session(f"session-{number}", Seq(seq or f"{number}-x"), 1000 * number if ended is None else ended, peer)


NAME = "5a" * 16


def log(*numbers: int) -> Log:
    return Log(tuple(session(number) for number in numbers), NAME)


def test_the_replication_id_depends_on_device_hcp_filter_and_direction():
    selector = {"type": "Patient"}
    inputs = [
        ("device-1", "hcp-a", selector, Direction.PULL),
        ("device-2", "hcp-a", selector, Direction.PULL),
        ("device-1", "hcp-b", selector, Direction.PULL),
        ("device-1", None, selector, Direction.PULL),
        ("device-1", "hcp-a", None, Direction.PULL),
        ("device-1", "hcp-a", selector, Direction.PUSH),
    ]
    ids = [replication_id(*each) for each in inputs]
    assert len(set(ids)) == len(inputs)
    assert all(len(name) == 32 and int(name, 16) >= 0 for name in ids)


def test_the_replication_id_does_not_depend_on_the_order_of_the_filters_keys():
    one = replication_id("d", "h", {"a": 1, "b": 2}, Direction.PULL)
    assert one == replication_id("d", "h", {"b": 2, "a": 1}, Direction.PULL)


def test_the_mark_of_a_peer_tells_two_lives_of_a_database_apart():
    assert peer_mark("clinic", "1") != peer_mark("clinic", "2")
    assert "clinic" not in peer_mark("clinic", "1")


def test_the_sessions_of_a_log_without_a_name_do_not_count():
    nameless = Log(log(2, 1).sessions)
    assert common_point(log(2, 1), nameless) == START
    assert common_point(nameless, log(2, 1)) == "2-x"


def test_a_log_keeps_its_name_and_an_odd_one_is_none():
    kept = log(1).with_session(session(2))
    assert kept.name == NAME
    assert read_log(kept.document()) == kept
    for odd in (None, 7, "../x", "5A" * 16, NAME + "\n"):
        assert read_log({**kept.document(), "name": odd}).name is None


def test_two_equal_logs_meet_in_their_newest_session():
    assert common_point(log(3, 2, 1), log(3, 2, 1)) == "3-x"


def test_a_server_put_back_from_a_backup_is_met_in_an_older_session():
    assert common_point(log(3, 2, 1), log(1)) == "1-x"


def test_a_device_put_back_from_a_backup_is_met_in_an_older_session():
    assert common_point(log(2, 1), log(4, 3, 2, 1)) == "2-x"


def test_a_session_with_another_seq_is_no_common_point():
    theirs = Log((session(2, "forged"), session(1)), NAME)
    assert common_point(log(2, 1), theirs) == "1-x"


@pytest.mark.parametrize("theirs", [Log(), log(7, 8)])
def test_without_a_common_session_everything_is_compared_again(theirs: Log):
    assert common_point(log(2, 1), theirs) == START


def test_a_log_comes_back_from_its_document():
    assert read_log(log(3, 2, 1).document()) == log(3, 2, 1)
    assert log(3, 2).head == "session-3"
    assert Log().head is None


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"history": "no list"},
        {"history": [1, "text", None]},
        {"history": [{"session_id": 1, "recorded_seq": "1", "end_time": 1}]},
        {"history": [{"session_id": "a", "recorded_seq": 1, "end_time": 1}]},
        {"history": [{"session_id": "a", "recorded_seq": "1", "end_time": "now"}]},
        {"history": [{"session_id": "a" * 1000, "recorded_seq": "1", "end_time": 1}]},
        {"history": [{"session_id": "a", "recorded_seq": "1" * 100_000, "end_time": 1}]},
        {"history": [{"session_id": "a", "recorded_seq": "1", "end_time": 1, "peer": []}]},
    ],
)
def test_what_does_not_read_as_a_session_only_makes_us_start_earlier(document):
    assert read_log(document) == Log()


def test_of_a_servers_log_no_more_is_read_than_a_log_may_hold():
    entries = [{"session_id": str(n), "recorded_seq": "1", "end_time": 1} for n in range(10_000)]
    assert len(read_log({"history": entries}).sessions) == MAX_SESSIONS


def grown(sessions: list[Session]) -> Log:
    found = Log((), NAME)
    for each in sessions:
        found = found.with_session(each)
    return found


@pytest.mark.parametrize("sessions", [100, 1_000, 7_777, 20_000])
def test_a_log_keeps_its_newest_sessions_and_reaches_back_in_steps_that_grow_with_age(sessions: int):
    """So a server put back from a backup of age A starts from a session no older than 4 A."""
    found = grown([session(number, ended=number * 5_000) for number in range(sessions)])
    ages = [sessions - 1 - each.ended // 5_000 for each in found.sessions]
    assert len(found.sessions) <= MAX_SESSIONS
    assert ages[:RECENT_SESSIONS] == list(range(RECENT_SESSIONS))
    assert ages[-1] == sessions - 1
    assert all(older <= 4 * newer for newer, older in pairwise(ages[1:]))


def test_a_busy_peer_does_not_push_a_quiet_one_out_of_the_log():
    found = grown([session(0, peer="clinic"), *(session(n, peer="hub") for n in range(1, 5_000))])
    assert session(0, peer="clinic") in found.sessions


def test_with_many_peers_each_keeps_its_newest_session():
    sessions = [session(n, ended=n * 60_000, peer=f"peer-{n % 40}") for n in range(2_000)]
    found = grown(sessions)
    assert len(found.sessions) <= MAX_SESSIONS
    assert {each.peer for each in found.sessions} == {f"peer-{n}" for n in range(40)}


@given(st.lists(st.integers(-(2**45), 2**45), max_size=120))
def test_whatever_the_clock_says_the_log_stays_bounded_and_in_order(times: list[int]):
    sessions = [session(number, ended=ended) for number, ended in enumerate(times)]
    kept = grown(sessions).sessions
    assert len(kept) <= MAX_SESSIONS
    assert list(kept) == [each for each in reversed(sessions) if each in kept]
    assert list(kept[:RECENT_SESSIONS]) == sessions[: -RECENT_SESSIONS - 1 : -1]


@given(st.integers(0, 60), st.integers(0, 60))
def test_a_common_point_is_a_seq_that_both_have_recorded(here: int, there: int):
    """Two sides that shared a history and then were put back to different moments of it."""
    history = [session(number) for number in range(60)]
    ours, theirs = grown(history[:here]), grown(history[:there])
    found = common_point(ours, theirs)
    shared = {each.seq for each in ours.sessions} & {each.seq for each in theirs.sessions}
    assert found in shared if shared else found == START
