"""Spelled numbers: what a person mistypes is noticed, and the group that it is in is named."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.crypto.groups import ALPHABET, GROUP, Spelling, count_characters
from icure_sync.errors import InvalidEntity

CODE = Spelling("recovery code", bits=128, groups=7)
NUMBERS = st.integers(0, 2**128 - 1)
PLACES = st.integers(0, CODE.length - 1)


def letters_of(number: int) -> list[str]:
    return list(CODE.spell(number).replace("-", ""))


def wrong(text: str) -> str:
    with pytest.raises(InvalidEntity) as caught:
        CODE.read(text)
    assert caught.value.attempted == "read the recovery code"
    return caught.value.wrong


def named(message: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", message)]


@given(NUMBERS)
def test_what_is_spelled_is_read(number: int):
    text = CODE.spell(number)
    assert re.fullmatch(r"([0-9A-Z]{5}-){6}[0-9A-Z]{5}", text)
    assert not set(text) & set("ILOU")
    assert CODE.read(text) == number


@given(NUMBERS, st.sampled_from(["", " ", "-", "\u2013", " \u00a0", "."]))
def test_case_separators_and_lookalikes_make_no_difference(number: int, between: str):
    text = CODE.spell(number)
    typed = f" {between.join(text.lower().split('-'))}\t".replace("0", "o").replace("1", "l")
    assert CODE.read(typed) == number
    assert CODE.read(text.replace("1", "I")) == number


@given(NUMBERS, PLACES, st.sampled_from(ALPHABET))
def test_one_wrong_character_is_named_by_its_group(number: int, place: int, other: str):
    letters = letters_of(number)
    if letters[place] != other:
        letters[place] = other
        assert wrong("".join(letters)) == f"group {place // GROUP + 1} is mistyped"


@given(NUMBERS, PLACES, PLACES)
def test_two_characters_that_changed_places_are_noticed(number: int, one: int, other: int):
    letters = letters_of(number)
    if letters[one] != letters[other]:
        letters[one], letters[other] = letters[other], letters[one]
        assert named(wrong("".join(letters))) == sorted({one // GROUP + 1, other // GROUP + 1})


@given(NUMBERS, st.permutations(range(7)))
def test_groups_in_another_order_are_named(number: int, order: list[int]):
    groups = CODE.spell(number).split("-")
    moved = [place + 1 for place, group in enumerate(order) if group != place]
    if moved:
        assert named(wrong("-".join(groups[place] for place in order))) == moved


@given(NUMBERS, st.integers(0, 6), st.integers(1, 4))
def test_a_group_that_is_too_short_is_named(number: int, place: int, length: int):
    groups = CODE.spell(number).split("-")
    groups[place] = groups[place][:length]
    assert wrong("-".join(groups)) == f"group {place + 1} is not 5 characters long"


def test_a_text_of_another_length_says_how_many_characters_it_has():
    text = CODE.spell(1)
    assert wrong(text[:-6]) == "it has 30 characters, and 35 are needed"
    assert wrong("") == "it has 0 characters, and 35 are needed"
    assert wrong("A" * 10_000) == "it has 500 characters, and 35 are needed"
    assert count_characters(text) == CODE.length


@pytest.mark.parametrize("strange", ["U", "!", "é", "٣"])
def test_a_character_that_is_never_used_is_named_by_its_group(strange: str):
    text = CODE.spell(7)
    assert wrong(strange + text[1:]) == "group 1 is mistyped: there is a character that is never used"


def test_what_the_groups_do_not_notice_the_whole_does():
    """Two errors in one group that hide each other meet the checksum over everything."""
    unnoticed = []
    for first in range(2**10):
        other = Spelling("another kind", bits=128, groups=7).spell(first)
        try:
            unnoticed.append(CODE.read(other))
        except InvalidEntity as error:
            assert error.wrong == "it is mistyped, in several places that hide each other"  # noqa: PT017
    assert len(unnoticed) < 4  # one in 4096 passes by chance


def test_no_error_says_what_was_typed():
    letters = letters_of(2**100 + 12345)
    letters[3] = "U"
    with pytest.raises(InvalidEntity) as caught:
        CODE.read("".join(letters))
    assert not any("".join(letters[start : start + 4]) in str(caught.value) for start in range(30))
