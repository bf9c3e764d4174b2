"""Alarms: one of each kind of a subject, until it is cleared; dismissed ones are kept, and are not raised again."""

from __future__ import annotations

from icure_sync.store import AlarmRow, Store


def test_an_alarm_is_raised_once_however_often_there_is_reason_for_it(store: Store):
    store.alarms.raise_("undone", "john", "a tombstone", 10)
    store.alarms.raise_("undone", "john", "a tombstone", 20)
    store.alarms.raise_("undone", "fanny", "a tombstone", 30)
    assert store.alarms.all() == [
        AlarmRow(1, "undone", "john", "a tombstone", 10, 20, None),
        AlarmRow(2, "undone", "fanny", "a tombstone", 30, 30, None),
    ]
    assert (store.alarms.count(), store.alarms.count(after=1), store.alarms.newest()) == (2, 1, 2)


def test_a_dismissed_alarm_stays_dismissed_for_the_same_reason_only(store: Store):
    store.alarms.raise_("tampered", "john", "a signature", 10)
    assert store.alarms.dismiss(1, 15)
    store.alarms.raise_("tampered", "john", "a signature", 20)
    assert store.alarms.count() == 0
    assert store.alarms.all() == [AlarmRow(1, "tampered", "john", "a signature", 10, 20, 15)]
    store.alarms.raise_("tampered", "john", "another id", 30)
    assert store.alarms.all() == [AlarmRow(2, "tampered", "john", "another id", 30, 30, None)]


def test_dismissing_twice_keeps_the_first_time_and_what_is_not_there_cannot_be(store: Store):
    store.alarms.raise_("tampered", "john", "a signature", 10)
    assert store.alarms.dismiss(1, 15)
    assert store.alarms.dismiss(1, 16)
    assert store.alarms.all()[0].dismissed == 15
    assert not store.alarms.dismiss(2, 17)


def test_how_things_are_raises_what_is_found_and_clears_what_is_not(store: Store):
    store.alarms.raise_("undone", "hcp-b", "another kind", 1)
    store.alarms.match("untrusted-key", {"hcp-b": "another key", "hcp-c": "another key"}, 10)
    store.alarms.dismiss(2, 11)
    store.alarms.match("untrusted-key", {"hcp-b": "another key", "hcp-c": "another key"}, 20)
    store.alarms.match("untrusted-key", {"hcp-b": "another key", "hcp-d": "another key"}, 30)
    assert [(each.number, each.subject, each.dismissed) for each in store.alarms.all()] == [
        (1, "hcp-b", None),
        (2, "hcp-b", 11),
        (4, "hcp-d", None),
    ]
    store.alarms.match("untrusted-key", {}, 40)
    assert [each.kind for each in store.alarms.all()] == ["undone"]


def test_a_number_is_never_given_twice(store: Store):
    store.alarms.raise_("undone", "john", "a tombstone", 10)
    store.alarms.clear("undone", "john")
    assert store.alarms.newest() == 1
    store.alarms.raise_("undone", "john", "a tombstone", 20)
    assert [each.number for each in store.alarms.all()] == [2]
