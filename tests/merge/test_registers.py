"""Stamped bodies: what a write leaves, what a body shows, what deletion means, what is refused."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.canonical import canonical
from icure_sync.errors import InvalidEntity
from icure_sync.merge.joining import join
from icure_sync.merge.registers import (
    DELETED,
    MAX_STAMP,
    SECRET_ID,
    WRITERS_MOST,
    Author,
    Body,
    Path,
    changes,
    check_body,
    deletion,
    flatten,
    is_deleted,
    link,
    read,
    restoring,
    secret_id,
    shown_registers,
    write,
)
from tests.places import places, with_value

LISTS = ("services", "addresses")
NAME, NOTE = ("firstName",), ("note",)
LAPTOP, PHONE = (
    Author("aa" * 8, "hcp-a", "laptop", 1_700_000_000_000),
    Author("bb" * 8, "hcp-a", "phone", 1_700_000_000_001),
)
SECRET = "11" * 16

scalars = st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text("xyz", max_size=3)
plain = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text("ab", min_size=1), scalars, max_size=2)
items = st.lists(st.sampled_from("pqrs"), unique=True, min_size=1, max_size=4).flatmap(
    lambda ids: st.tuples(*(st.fixed_dictionaries({"id": st.just(each), "value": plain}) for each in ids)).map(list)
)
records = st.builds(
    lambda fields, lists: {**fields, **lists},
    st.dictionaries(st.sampled_from(["firstName", "note", "codes", "é"]), plain, max_size=4),
    st.dictionaries(st.sampled_from(LISTS), items, max_size=2),
)


def first(registers: dict[Path, Any], author: Author = LAPTOP) -> dict[str, Any]:
    return write(None, {SECRET_ID: SECRET, **registers}, author)


def edited(body: Body, record: dict[str, Any], author: Author = LAPTOP) -> dict[str, Any]:
    """The body after an application saved this record on top of it."""
    content = {path: value for path, value in shown_registers(body).items() if path not in (SECRET_ID, DELETED)}
    return write(body, changes(content, flatten(record, LISTS)), author)


def joined(*bodies: Body) -> dict[str, Any]:
    """What bodies make together: to have several siblings here."""
    return join(bodies)


# Writing and reading


@given(records)
def test_what_is_written_is_what_is_shown(record: dict[str, Any]):
    body = first(flatten(record, LISTS))
    check_body(body)
    shown = read(body)
    assert shown.record == record
    assert (shown.alternatives, shown.links, shown.deleted) == ({}, {}, False)
    assert secret_id(body) == SECRET


@given(st.lists(records, min_size=1, max_size=4), st.data())
def test_after_any_edits_the_last_is_shown_and_the_body_is_well_laid_out(states: list[Any], data: st.DataObject):
    body = first({})
    for record in states:
        body = edited(body, record, data.draw(st.sampled_from([LAPTOP, PHONE])))
        check_body(body)
        assert read(body).record == record
        assert canonical(body) == canonical(
            write(body, {}, LAPTOP) | {"context": body["context"], "writers": body["writers"]}
        )


@given(records, records)
def test_an_edit_keeps_the_stamps_of_what_it_does_not_touch(before: dict[str, Any], after: dict[str, Any]):
    body = first(flatten(before, LISTS))
    changed = edited(body, after, PHONE)
    was = {tuple(path): siblings for path, siblings in body["fields"]}
    now = {tuple(path): siblings for path, siblings in changed["fields"]}
    touched = changes(flatten(before, LISTS), flatten(after, LISTS))
    assert was.keys() <= now.keys()
    for path, siblings in now.items():
        if path in touched:
            assert [each[:2] for each in siblings] == [[PHONE.writer, 2]]
        else:
            assert siblings == was[path]


@given(records)
def test_saving_what_is_shown_changes_nothing(record: dict[str, Any]):
    registers = flatten(record, LISTS)
    assert changes(registers, registers) == {}
    assert changes(registers, flatten(read(first(registers)).record, LISTS)) == {}


def test_a_write_is_stamped_one_above_all_it_has_seen():
    body = first({NAME: "John"})
    assert body == {
        "context": {LAPTOP.writer: 1},
        "writers": {LAPTOP.writer: ["hcp-a", "laptop", LAPTOP.time]},
        "fields": [[["firstName"], [[LAPTOP.writer, 1, "John"]]], [["secretId"], [[LAPTOP.writer, 1, SECRET]]]],
    }
    body = write(body, {NOTE: "cough"}, PHONE)
    body = write(body, {NAME: "Johnny"}, LAPTOP)
    assert body["context"] == {LAPTOP.writer: 3, PHONE.writer: 2}
    assert {tuple(path): siblings for path, siblings in body["fields"]} == {
        NAME: [[LAPTOP.writer, 3, "Johnny"]],
        NOTE: [[PHONE.writer, 2, "cough"]],
        SECRET_ID: [[LAPTOP.writer, 1, SECRET]],
    }


def test_a_write_leaves_the_body_before_it_as_it_was():
    body = first({NAME: "John"})
    before = canonical(body)
    write(body, {NAME: "Johnny", NOTE: "cough"}, PHONE)
    assert canonical(body) == before


def test_removing_writes_null():
    body = edited(first({NAME: "John", NOTE: "cough"}), {"firstName": "John"})
    assert shown_registers(body)[NOTE] is None
    assert read(body).record == {"firstName": "John"}
    assert changes(shown_registers(body), {NAME: "John", SECRET_ID: SECRET, ("never",): None}) == {}


def test_values_are_compared_as_they_are_stored():
    assert changes({NAME: 2}, {NAME: 2.0}) == {}
    assert changes({NAME: 1}, {NAME: True}) == {NAME: True}
    assert changes({NAME: [0]}, {NAME: [False]}) == {NAME: [False]}


# Lists of records, and links


def services(*ids: str, **values: str) -> dict[str, Any]:
    return {"services": [{"id": each, "value": values.get(each, "")} for each in ids]}


def test_each_record_of_a_list_has_a_register_and_the_list_one_for_its_order():
    body = first(flatten(services("q", "p"), LISTS))
    assert shown_registers(body) == {
        ("order", "services"): ["q", "p"],
        ("services", "p"): {"id": "p", "value": ""},
        ("services", "q"): {"id": "q", "value": ""},
        SECRET_ID: SECRET,
    }


def test_edits_of_two_records_of_one_list_do_not_meet():
    body = first(flatten(services("p", "q"), LISTS))
    one = edited(body, services("p", "q", p="laptop"), LAPTOP)
    other = edited(body, services("p", "q", q="phone"), PHONE)
    shown = read(joined(one, other))
    assert shown.record == services("p", "q", p="laptop", q="phone")
    assert shown.alternatives == {}


def test_records_that_the_order_does_not_know_come_last_by_id():
    body = first(flatten(services("p"), LISTS))
    both = joined(edited(body, services("z", "p"), LAPTOP), edited(body, services("p", "r", "q"), PHONE))
    assert [each["id"] for each in read(both).record["services"]] == ["p", "r", "q", "z"]
    assert read(both).alternatives == {}  # nobody reviews an order


def test_a_record_taken_out_of_a_list_is_gone_from_it():
    body = edited(first(flatten(services("p", "q"), LISTS)), services("q"))
    assert read(body).record == services("q")
    assert "services" not in read(edited(body, {"services": []})).record


@pytest.mark.parametrize("records_", [[{}], [{"id": ""}], [{"id": 1}], [{"id": "p"}, {"id": "p"}]])
def test_a_record_of_a_list_has_an_id_of_its_own(records_: list[Any]):
    with pytest.raises(InvalidEntity, match="services"):
        flatten({"services": records_}, LISTS)


@pytest.mark.parametrize("name", ["secretId", "deleted", "links", "order"])
def test_a_field_cannot_have_a_reserved_name(name: str):
    with pytest.raises(InvalidEntity, match="reserved"):
        flatten({name: 1}, LISTS)


def test_links_are_registers_that_can_be_removed():
    body = first({link("22" * 16): {"type": "Patient", "id": "p"}, link("33" * 16): {"type": "Patient", "id": "q"}})
    assert read(body).links == {"22" * 16: {"type": "Patient", "id": "p"}, "33" * 16: {"type": "Patient", "id": "q"}}
    assert read(write(body, {link("22" * 16): None}, LAPTOP)).links == {"33" * 16: {"type": "Patient", "id": "q"}}
    assert read(body).record == {}


# Siblings


def concurrent(path: Path, one: Any, other: Any) -> dict[str, Any]:
    """A register that two devices wrote without seeing each other; the phone's writer is the larger one."""
    body = first({path: "before"})
    return joined(write(body, {path: one}, LAPTOP), write(body, {path: other}, PHONE))


def test_the_largest_stamp_is_shown_and_the_others_are_alternatives():
    body = concurrent(NAME, "laptop", "phone")
    check_body(body)
    assert (read(body).record["firstName"], read(body).alternatives) == ("phone", {NAME: ("laptop",)})
    later = joined(body, write(write(first({NAME: "before"}), {NOTE: 1}, LAPTOP), {NAME: "later"}, LAPTOP))
    assert read(later).record["firstName"] == "later"
    assert read(later).alternatives == {NAME: ("phone",)}


def test_an_edit_that_has_seen_the_siblings_takes_the_place_of_all():
    body = write(concurrent(NAME, "laptop", "phone"), {NAME: "phone"}, LAPTOP)
    check_body(body)
    assert (read(body).record["firstName"], read(body).alternatives) == ("phone", {})


@pytest.mark.parametrize(("one", "other"), [("same", "same"), (2, 2.0), ([], [])])
def test_equal_values_are_no_conflict(one: Any, other: Any):
    assert read(concurrent(NAME, one, other)).alternatives == {}


@pytest.mark.parametrize(("one", "other"), [(1, True), ("1", 1), (None, "typed"), ("typed", None)])
def test_values_that_differ_are_alternatives(one: Any, other: Any):
    shown = read(concurrent(NAME, one, other))
    assert shown.alternatives == {NAME: (one,)}
    assert shown.record.get("firstName") is other


def test_an_alternative_is_listed_once_the_latest_first():
    base = first({})
    writers = [Author(f"{n}" * 16, "hcp-a", "", n) for n in (1, 2, 3, 4)]
    body = base
    for author, value in zip(writers, ("old", "new", "old", "shown"), strict=True):
        body = joined(body, write(base, {NAME: value}, author))
    check_body(body)
    assert (read(body).record["firstName"], read(body).alternatives) == ("shown", {NAME: ("old", "new")})


def test_one_stamp_with_two_values_keeps_both_and_shows_the_larger():
    base = first({})
    body = joined(write(base, {NAME: "a"}, LAPTOP), write(base, {NAME: "b"}, LAPTOP))
    forged = {**body, "fields": [[["firstName"], [[LAPTOP.writer, 2, "a"], [LAPTOP.writer, 2, "b"]]]]}
    check_body(forged)
    assert (read(forged).record["firstName"], read(forged).alternatives) == ("b", {NAME: ("a",)})


def test_secret_ids_are_nothing_to_review():
    body = concurrent(SECRET_ID, "22" * 16, "33" * 16)
    assert read(body).alternatives == {}
    assert secret_id(body) == "33" * 16
    assert read(body).record == {}


# Deletion


def test_a_deletion_holds_what_the_deleter_had_seen():
    body = first({NAME: "John"})
    deleted = write(body, deletion(body), PHONE)
    check_body(deleted)
    assert shown_registers(deleted)[DELETED] == {LAPTOP.writer: 1}
    assert read(deleted).deleted
    assert read(deleted).record == {"firstName": "John"}  # the record stays


def test_restoring_undoes_a_deletion():
    body = first({NAME: "John"})
    body = write(write(body, deletion(body), PHONE), restoring(), LAPTOP)
    check_body(body)
    assert not read(body).deleted
    assert read(body).alternatives == {}


def test_a_record_that_was_never_deleted_is_not_deleted():
    assert not is_deleted(first({NAME: "John"}))
    assert is_deleted(write(None, {DELETED: {}}, LAPTOP))  # nothing that the deleter could have missed


def test_an_edit_that_the_deleter_had_not_seen_keeps_the_record_alive_with_the_deletion_as_an_alternative():
    body = first({NAME: "John"})
    both = joined(write(body, {NOTE: "typed meanwhile"}, LAPTOP), write(body, deletion(body), PHONE))
    check_body(both)
    assert not read(both).deleted
    assert read(both).alternatives == {DELETED: ({LAPTOP.writer: 1},)}
    again = write(both, deletion(both), PHONE)
    assert read(again).deleted
    assert read(again).alternatives == {}


def test_an_edit_that_the_deleter_had_seen_does_not():
    body = write(first({NAME: "John"}), {NOTE: "cough"}, LAPTOP)
    both = joined(body, write(body, deletion(body), PHONE))
    assert read(both).deleted


def test_a_concurrent_restoring_keeps_the_record_alive():
    body = first({NAME: "John"})
    deleted = write(body, deletion(body), LAPTOP)
    for restorer, deleter in ((LAPTOP, PHONE), (PHONE, LAPTOP)):
        both = joined(write(deleted, restoring(), restorer), write(deleted, deletion(deleted), deleter))
        check_body(both)
        assert not read(both).deleted
        assert len(read(both).alternatives[DELETED]) == 1


def test_of_two_deletions_one_that_had_seen_everything_is_enough():
    body = first({NAME: "John"})
    later = write(body, {NOTE: "cough"}, LAPTOP)
    both = joined(write(later, deletion(later), LAPTOP), write(body, deletion(body), PHONE))
    assert len({tuple(path): siblings for path, siblings in both["fields"]}[DELETED]) == 2
    assert read(both).deleted


# Limits


def crowd(count: int) -> list[Author]:
    return [Author(f"{number:016x}", "hcp-a", "", number) for number in range(count)]


def test_the_oldest_writers_that_stamp_nothing_any_more_are_forgotten():
    body = first({})
    for author in crowd(WRITERS_MOST + 10):
        body = write(body, {NAME: author.writer}, author)
        check_body(body)
        assert len(body["context"]) <= WRITERS_MOST
    assert LAPTOP.writer in body["context"]  # it stamped the secret id
    assert f"{0:016x}" not in body["context"]
    assert f"{0:016x}" not in body["writers"]
    assert max(body["context"].values()) == WRITERS_MOST + 11


def test_writers_that_stamp_something_are_never_forgotten():
    body = first({})
    for author in crowd(WRITERS_MOST + 10):
        body = write(body, {(author.writer,): 1}, author)
    assert len(body["context"]) == WRITERS_MOST + 11
    check_body(body)
    kept = write(body, {}, PHONE)
    assert PHONE.writer in kept["context"]  # or its next stamp would be one that it had given before


def test_stamps_end_below_what_every_reader_holds_exactly():
    body = first({})
    full = {**body, "context": {LAPTOP.writer: MAX_STAMP - 2}}
    check_body(write(full, {NAME: "last"}, LAPTOP))
    with pytest.raises(InvalidEntity, match="used up"):
        write({**body, "context": {LAPTOP.writer: MAX_STAMP - 1}}, {NAME: "one more"}, LAPTOP)


# What is received

WHOLE = joined(
    concurrent(NAME, "laptop", "phone"), first(flatten(services("p"), LISTS) | {link("22" * 16): {}, DELETED: {}})
)
W = LAPTOP.writer


def body_of(*fields: Any, context: Any = None, writers: Any = None) -> dict[str, Any]:
    context = {W: 9} if context is None else context
    return {"context": context, "writers": {} if writers is None else writers, "fields": list(fields)}


def test_a_small_body_is_well_laid_out():
    check_body(WHOLE)
    check_body(body_of())
    check_body(body_of([["a"], [[W, 1, None]]], [["a", "b"], [[W, 2, {}]]], writers={W: ["hcp-a", "laptop", 0]}))
    check_body(
        body_of([["a"], [[W, 1, 2], [W, 2, 1]]], [["deleted"], [[W, 1, None]]], [["order", "a"], [[W, 1, None]]])
    )


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {**body_of(), "further": 1},
        body_of(context=[]),
        body_of(context={W: 0}),
        body_of(context={W: True}),
        body_of(context={W: MAX_STAMP}),
        body_of(context={1: 1}),
        body_of(writers=[]),
        body_of(writers={W: []}),
        body_of(writers={W: "abc"}),
        body_of(writers={W: [None, "", 0]}),
        body_of(writers={W: ["", None, 0]}),
        body_of(writers={W: ["", "", 0.5]}),
        body_of(writers={"unseen": ["", "", 0]}),
        {**body_of(), "fields": {}},
        body_of(None),
        body_of([["a"]]),
        body_of(["a", [[W, 1, 1]]]),
        body_of([[], [[W, 1, 1]]]),
        body_of([["a", "b", "c"], [[W, 1, 1]]]),
        body_of([[1], [[W, 1, 1]]]),
        body_of([["a"], []]),
        body_of([["a"], {}]),
        body_of([["a"], [None]]),
        body_of([["a"], [[W, 1]]]),
        body_of([["a"], [[1, 1, 1]]]),
        body_of([["a"], [[[], 1, 1]]]),
        body_of([["a"], [[W, 0, 1]]]),
        body_of([["a"], [[W, True, 1]]]),
        body_of([["a"], [[W, 10, 1]]]),  # a stamp that the body has not seen
        body_of([["a"], [["unseen", 1, 1]]]),
        body_of([["a"], [[W, 1, 1], [W, 1, 1]]]),
        body_of([["a"], [[W, 2, 1], [W, 1, 1]]]),
        body_of([["a"], [[W, 1, 2], [W, 1, 1]]]),
        body_of([["a"], [[W, 1, b""]]]),
        body_of([["a"], [[W, 1, 1]]], [["a"], [[W, 1, 1]]]),
        body_of([["b"], [[W, 1, 1]]], [["a"], [[W, 1, 1]]]),
        body_of([["links"], [[W, 1, 1]]]),
        body_of([["order"], [[W, 1, []]]]),
        body_of([["secretId", "a"], [[W, 1, ""]]]),
        body_of([["deleted", "a"], [[W, 1, {}]]]),
        body_of([["secretId"], [[W, 1, None]]]),
        body_of([["secretId"], [[W, 1, 1]]]),
        body_of([["deleted"], [[W, 1, True]]]),
        body_of([["deleted"], [[W, 1, {W: "1"}]]]),
        body_of([["order", "a"], [[W, 1, "pq"]]]),
        body_of([["order", "a"], [[W, 1, [1]]]]),
    ],
)
def test_a_body_of_another_form_is_refused(body: Any):
    with pytest.raises(InvalidEntity):
        check_body(body)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=2)
    | st.sampled_from(["", "a", W, "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", W]), inner, max_size=2),
    max_leaves=5,
)


@given(st.sampled_from(places(WHOLE)), JSON_VALUES)
def test_no_value_in_a_body_stops_it_from_being_judged_or_read(path: tuple[Any, ...], value: Any):
    body = with_value(WHOLE, path, value)
    with suppress(InvalidEntity):
        read(body)
    try:
        check_body(body)
    except InvalidEntity:
        return
    check_body(write(body, {NAME: 1}, PHONE))
    check_body(write(body, deletion(body), PHONE))
    read(body)


def test_a_body_without_a_secret_id_says_so():
    with pytest.raises(InvalidEntity, match="no secret id"):
        secret_id(write(None, {NAME: "John"}, LAPTOP))


def test_what_a_body_shows_is_in_no_repr():
    assert "John" not in repr(read(first({NAME: "John"})))
