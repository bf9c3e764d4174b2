"""What of a stamped body is left to a person: values with their writers, and what another body would bring."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from icure_sync.merge.disputes import Version, news, versions
from icure_sync.merge.joining import join
from icure_sync.merge.registers import DELETED, SECRET_ID, Author, deletion, link, read, restoring, write

LAPTOP = Author("aa", "hcp-a", "laptop", 1_000)
PHONE = Author("bb", "hcp-a", "phone", 2_000)
TABLET = Author("cc", "hcp-b", "tablet", 3_000)
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
    assert news(ours, theirs) == {NOTE: "x"}
    assert news(ours, base) == {}
    assert news(ours, join([ours, theirs])) == {NOTE: "x"}
    assert news(join([ours, theirs]), theirs) == {}


def test_another_body_brings_its_deletion_or_its_restoring():
    base = first()
    gone = write(base, deletion(base), PHONE)
    assert news(base, gone) == {DELETED: True}
    assert news(gone, write(gone, restoring(), PHONE)) == {DELETED: False}


@given(st.lists(st.tuples(st.sampled_from([LAPTOP, PHONE, TABLET]), st.sampled_from([NAME, NOTE]), st.integers(0, 2))))
def test_versions_are_what_is_shown_and_its_alternatives(writes):
    body = join([first(), *(write(first(), {path: value}, author) for author, path, value in writes[:6])])
    shown = read(body)
    assert {path: tuple(each.value for each in found) for path, found in versions(body).items()} == {
        path: (shown.record[path[0]], *others) for path, others in shown.alternatives.items()
    }
