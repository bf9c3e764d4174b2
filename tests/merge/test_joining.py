"""The join of stamped bodies: the laws that let devices merge in any order, and what must not get lost by it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from icure_sync.canonical import canonical
from icure_sync.merge.joining import covers, join
from icure_sync.merge.registers import (
    DELETED,
    Author,
    Body,
    check_body,
    deletion,
    is_deleted,
    read,
    restoring,
    secret_id,
    write,
)
from tests.merge.histories import born, histories, picked


def same(one: Body, other: Body) -> bool:
    return canonical(one) == canonical(other)


# Laws


@given(histories(), st.data())
def test_joining_is_commutative_associative_and_idempotent(bodies: list[Body], data: st.DataObject):
    one, two, three = picked(data, bodies, 3)
    assert same(join([one, two]), join([two, one]))
    assert same(join([join([one, two]), three]), join([one, join([two, three])]))
    assert same(join([one, one]), one)
    assert same(join([one]), one)


@given(histories(), st.data())
def test_many_at_once_are_joined_as_two_by_two_in_any_order(bodies: list[Body], data: st.DataObject):
    chosen = picked(data, bodies, data.draw(st.integers(1, 6)))
    staged = chosen[0]
    for body in data.draw(st.permutations(chosen)):
        staged = join([staged, body])
    assert same(join(chosen), staged)


@given(histories(), st.data())
def test_what_is_joined_is_a_body_and_covers_its_parts(bodies: list[Body], data: st.DataObject):
    chosen = picked(data, bodies, 3)
    joined = join(chosen)
    check_body(joined)
    assert secret_id(joined) == "11" * 16
    assert all(covers(joined, body) for body in chosen)
    assert covers(chosen[0], joined) == all(covers(chosen[0], body) for body in chosen)


@given(histories(), st.data(), st.sampled_from([1, True, 1.5, "x"]), st.sampled_from([1, True, 1.5, "y"]))
def test_a_stamp_that_somebody_gave_two_values_keeps_both_in_any_order(
    bodies: list[Body], data: st.DataObject, mine: Any, forged: Any
):
    """Laws hold for what no honest device writes, too."""
    body = data.draw(st.sampled_from(bodies))
    author = Author("ff" * 8, "hcp-m", "", 5)
    one, two = (write(body, {("name",): value}, author) for value in (mine, forged))
    three = data.draw(st.sampled_from(bodies))
    assert same(join([one, two]), join([two, one]))
    assert same(join([join([one, two]), three]), join([one, join([three, two])]))
    siblings = {tuple(path): each for path, each in join([one, two])["fields"]}[("name",)]
    values = {canonical(value) for writer, _, value in siblings if writer == author.writer}
    assert values == {canonical(mine), canonical(forged)}


# What was typed


@given(histories(), st.data())
def test_every_value_stays_until_a_write_that_had_seen_it_takes_its_place(bodies: list[Body], data: st.DataObject):
    one, two = picked(data, bodies, 2)
    joined = {tuple(path): siblings for path, siblings in join([one, two])["fields"]}
    for body, other in ((one, two), (two, one)):
        theirs = {tuple(path): siblings for path, siblings in other["fields"]}
        for path, siblings in body["fields"]:
            for sibling in siblings:
                writer, n, _ = sibling
                replaced = other["context"].get(writer, 0) >= n and sibling not in theirs.get(tuple(path), [])
                assert (sibling in joined.get(tuple(path), [])) != replaced


def test_edits_of_different_fields_both_show_and_are_no_conflict():
    one = write(born(), {("note",): "a cough"}, Author("aa" * 8, "hcp-a", "laptop", 2))
    two = write(born(), {("services", "p"): {"id": "p", "value": 1}}, Author("bb" * 8, "hcp-b", "phone", 2))
    shown = read(join([one, two]))
    assert shown.record == {"name": "A", "note": "a cough", "services": [{"id": "p", "value": 1}]}
    assert shown.alternatives == {}


def test_edits_of_one_field_show_one_value_and_keep_the_other_until_somebody_writes_it():
    one = write(born(), {("name",): "Ada"}, Author("aa" * 8, "hcp-a", "laptop", 2))
    two = write(born(), {("name",): "Adah"}, Author("bb" * 8, "hcp-b", "phone", 2))
    joined = join([one, two])
    assert read(joined).record["name"] == "Adah"
    assert read(joined).alternatives == {("name",): ("Ada",)}
    settled = write(joined, {("name",): "Ada"}, Author("cc" * 8, "hcp-a", "laptop", 3))
    for again in (join([settled, one]), join([settled, two]), join([settled, one, two])):
        assert (read(again).record["name"], read(again).alternatives) == ("Ada", {})


def test_no_clock_decides_anything():
    for times in ((1, 2), (2, 1), (-10, 2**40)):
        one = write(born(), {("name",): "Ada"}, Author("aa" * 8, "hcp-a", "laptop", times[0]))
        two = write(born(), {("name",): "Adah"}, Author("bb" * 8, "hcp-b", "phone", times[1]))
        assert read(join([one, two])).record["name"] == "Adah"


def test_an_edit_that_a_deleter_had_not_seen_keeps_the_record_alive():
    base = born()
    gone = write(base, deletion(base), Author("aa" * 8, "hcp-a", "laptop", 2))
    edited = write(base, {("name",): "Ada"}, Author("bb" * 8, "hcp-b", "phone", 2))
    assert is_deleted(gone)
    assert not is_deleted(join([gone, edited]))
    assert DELETED in read(join([gone, edited])).alternatives
    assert is_deleted(join([gone, base]))


def test_two_deletions_and_a_restoring_that_saw_one_of_them():
    base = born()
    one = write(base, deletion(base), Author("aa" * 8, "hcp-a", "laptop", 2))
    two = write(base, deletion(base), Author("bb" * 8, "hcp-b", "phone", 2))
    restored = write(one, restoring(), Author("cc" * 8, "hcp-a", "laptop", 3))
    assert is_deleted(join([one, two]))
    assert not is_deleted(join([restored, two]))
    assert not is_deleted(join([restored, one]))
