"""What of a stamped body is left to a person: values with their writers, and what another body would bring."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from icure_sync.canonical import canonical
from icure_sync.merge.disputes import Version, adopted, news, versions
from icure_sync.merge.joining import covers, join
from icure_sync.merge.registers import (
    DELETED,
    LINKS,
    SECRET_ID,
    Author,
    Body,
    Path,
    check_body,
    deletion,
    is_deleted,
    link,
    read,
    restoring,
    shown_registers,
    write,
)
from tests.merge.histories import histories, picked

LAPTOP = Author("aa", "hcp-a", "laptop", 1_000)
PHONE = Author("bb", "hcp-a", "phone", 2_000)
TABLET = Author("cc", "hcp-b", "tablet", 3_000)
ADOPTER = Author("ff" * 8, "hcp-a", "laptop", 9_000)
NAME, NOTE = ("firstName",), ("note",)


def first() -> dict[str, Any]:
    return write(None, {NAME: "John", SECRET_ID: "11" * 16}, LAPTOP)


def test_a_register_with_several_values_says_who_wrote_each_the_shown_one_first():
    body = join([write(first(), {NOTE: "laptop"}, LAPTOP), write(first(), {NOTE: "phone"}, PHONE)])
    assert versions(body) == {
        NOTE: (Version("phone", "hcp-a", "phone", 2_000), Version("laptop", "hcp-a", "laptop", 1_000))
    }
    assert versions(first()) == {}


def test_a_value_that_two_wrote_is_that_of_the_later_one_and_a_lost_line_names_nobody():
    bodies = [write(first(), {NOTE: text}, author) for text, author in (("x", LAPTOP), ("y", PHONE), ("y", TABLET))]
    body = join(bodies)
    assert versions(body)[NOTE][0] == Version("y", "hcp-b", "tablet", 3_000)
    assert len(versions(body)[NOTE]) == 2
    nameless = {**body, "writers": {}}
    assert versions(nameless)[NOTE] == (Version("y"), Version("x"))


def test_of_a_deletion_that_does_not_count_the_values_are_true_and_false():
    gone = write(first(), deletion(first()), LAPTOP)
    kept = join([gone, write(first(), {NOTE: "still needed"}, PHONE)])
    assert versions(kept) == {DELETED: (Version(False), Version(True, "hcp-a", "laptop", 1_000))}
    restored = write(first(), restoring(), PHONE)
    assert versions(join([gone, restored])) == {
        DELETED: (Version(False, "hcp-a", "phone", 2_000), Version(True, "hcp-a", "laptop", 1_000))
    }
    assert versions(gone) == {}


def test_another_body_brings_what_it_wrote_unseen_and_nothing_older():
    base = first()
    ours = write(base, {NAME: "Johnny"}, LAPTOP)
    theirs = write(base, {NOTE: "x", SECRET_ID: "22" * 16, link("33" * 16): {"type": "Patient", "id": "p"}}, PHONE)
    assert news(ours, theirs) == {NOTE: ("x",)}
    assert news(ours, base) == {}
    assert news(ours, join([ours, theirs])) == {NOTE: ("x",)}
    assert news(join([ours, theirs]), theirs) == {}


def test_another_body_brings_its_deletion_or_its_restoring():
    base = first()
    gone = write(base, deletion(base), PHONE)
    assert news(base, gone) == {DELETED: (True,)}
    assert news(gone, write(gone, restoring(), PHONE)) == {DELETED: (False,)}


def test_an_alternative_that_nobody_has_seen_here_is_adopted_beside_what_is_shown():
    ours = write(write(first(), {NOTE: "draft"}, LAPTOP), {NOTE: "laptop"}, LAPTOP)
    theirs = join([ours, write(first(), {NOTE: "phone"}, PHONE)])
    assert read(theirs).record["note"] == "laptop"
    assert news(ours, theirs) == {NOTE: ("phone",)}
    shown = read(adopted(ours, theirs, ADOPTER))
    assert (shown.record["note"], shown.alternatives) == ("phone", {NOTE: ("laptop",)})


def test_several_unseen_values_are_adopted_as_alternatives_of_each_other():
    theirs = join([write(first(), {NOTE: author.device}, author) for author in (PHONE, TABLET)])
    for ours, more in ((first(), ()), (write(first(), {NOTE: "laptop"}, LAPTOP), ("laptop",))):
        assert news(ours, theirs) == {NOTE: ("tablet", "phone")}
        after = adopted(ours, theirs, ADOPTER)
        assert (read(after).record["note"], read(after).alternatives) == ("tablet", {NOTE: ("phone", *more)})
        assert {line.hcp for line in versions(after)[NOTE]} == {"hcp-a"}


def test_what_the_other_body_had_replaced_goes_and_what_is_the_same_is_not_written():
    theirs = write(write(first(), {NAME: "Johnny"}, PHONE), {NOTE: "x"}, PHONE)
    ours = write(first(), {NOTE: "x"}, LAPTOP)
    assert news(ours, theirs) == {NAME: ("Johnny",)}
    shown = read(adopted(ours, theirs, ADOPTER))
    assert (shown.record, shown.alternatives) == ({"firstName": "Johnny", "note": "x"}, {})


def test_a_deletion_that_did_not_count_there_is_an_alternative_here():
    base = first()
    theirs = join([write(base, deletion(base), TABLET), write(base, {NOTE: "still needed"}, PHONE)])
    assert news(base, theirs) == {NOTE: ("still needed",), DELETED: (False, True)}
    after = adopted(base, theirs, ADOPTER)
    assert [each.value for each in versions(after)[DELETED]] == [False, True]
    gone = write(write(base, {NOTE: "still needed"}, PHONE), {NOTE: "no more"}, LAPTOP)
    gone = write(gone, deletion(gone), LAPTOP)
    assert news(gone, theirs) == {}
    assert is_deleted(adopted(gone, theirs, ADOPTER))


def held(body: Body) -> dict[Path, set[bytes]]:
    """The values of each register that can be adopted, but `deleted`; without those that were never there."""
    values = {tuple(path): {canonical(value) for _, _, value in siblings} for path, siblings in body["fields"]}
    return {
        path: each
        for path, each in values.items()
        if path[0] not in (*SECRET_ID, *DELETED, LINKS) and each != {canonical(None)}
    }


def unseen(ours: Body, theirs: Body) -> dict[Path, list[Any]]:
    """What the other body's registers hold that this one has not seen; null is a restoring, in `deleted`."""
    values = {
        tuple(path): [value for writer, n, value in siblings if ours["context"].get(writer, 0) < n]
        for path, siblings in theirs["fields"]
    }
    return {path: each for path, each in values.items() if each}


@given(histories(), st.data())
def test_after_adopting_every_unseen_value_is_there_and_none_is_lost_that_was_not_replaced(
    bodies: list[Body], data: st.DataObject
):
    ours, theirs = picked(data, bodies, 2)
    after = adopted(ours, theirs, ADOPTER)
    check_body(after)
    assert covers(after, ours)
    fresh = unseen(ours, theirs)
    before, joined, now = held(ours), held(join([ours, theirs])), held(after)
    wanted = {path: joined.get(path) if path in fresh else before.get(path) for path in {*before, *joined, *now}}
    assert {path: now.get(path) for path in wanted} == wanted
    shown = read(after)
    for path, (latest, *_) in news(ours, theirs).items():
        assert path == DELETED or canonical(shown_registers(after)[path]) == canonical(latest)
    if DELETED in fresh:
        assert shown.deleted or not is_deleted(theirs)
        assert shown.deleted or DELETED in shown.alternatives or all(value is None for value in fresh[DELETED])
    again = adopted(after, theirs, Author("ee" * 8, "hcp-a", "phone", 1))
    assert news(after, theirs) == {}
    assert (held(again), read(again)) == (now, shown)


@given(st.lists(st.tuples(st.sampled_from([LAPTOP, PHONE, TABLET]), st.sampled_from([NAME, NOTE]), st.integers(0, 2))))
def test_versions_are_what_is_shown_and_its_alternatives(writes):
    body = join([first(), *(write(first(), {path: value}, author) for author, path, value in writes[:6])])
    shown = read(body)
    assert {path: tuple(each.value for each in found) for path, found in versions(body).items()} == {
        path: (shown.record[path[0]], *others) for path, others in shown.alternatives.items()
    }
