"""Keys are ordered as CouchDB's views order the values."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.store import collation
from icure_sync.store.collation import AFTER, KEY_BYTES, collation_key, row_key

# From CouchDB's documentation, "Views Collation", and what a CouchDB 3.5 with ICU 70 answered.
ASCENDING: list[Any] = [
    None,
    False,
    True,
    -(2**60) - 1,
    -(2**60),
    -1.5,
    -1,
    0,
    0.5,
    1,
    2,
    3.0,
    2**53,
    2**53 + 1,
    float(2**60),
    2**60 + 1,
    1e300,
    "",
    " ",
    "_",
    "-",
    "!",
    "?",
    "$",
    "1",
    "10",
    "9",
    "a",
    "A",
    "á",
    "ä",
    "a b",
    "a_b",
    "a-b",
    "a.b",
    "a1",
    "aa",
    "ab",
    "aB",
    "Ab",
    "áb",
    "ae",
    "æ",
    "b",
    "B",
    "ba",
    "bb",
    "øre",
    "resume",
    "Resume",
    "resumé",
    "résume",
    "résumé",
    "Résumé",
    "ss",
    "SS",
    "ß",
    "z",
    "Ż",
    "β",
    "я",
    "中",
    "😀",
    "\uffff",
    [],
    ["a"],
    ["b"],
    ["b", "c"],
    ["b", "c", "a"],
    ["b", "d"],
    ["b", "d", "e"],
    {},
    {"a": 1},
    {"a": 2},
    {"b": 1},
    {"b": 2},
    {"b": 2, "a": 1},
    {"b": 2, "c": 2},
]


def test_values_are_in_the_order_of_views() -> None:
    keys = list(map(collation_key, ASCENDING))
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("value", "same"), [(1, 1.0), (0, -0.0), (2**60, float(2**60)), ("é", "e\u0301"), ("a", "a\u0001"), ("Å", "\u212b")]
)
def test_some_values_are_the_same_to_a_view(value: Any, same: Any) -> None:
    assert collation_key(value) == collation_key(same)


@pytest.mark.parametrize(("value", "other"), [("2", "²"), ("ss", "ß"), ("SS", "ẞ"), ("ﬁ", "fi"), ("½", "1")])
def test_forms_of_a_letter_are_apart(value: str, other: str) -> None:
    assert collation_key(value) != collation_key(other)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.integers() | st.floats(allow_nan=False), st.integers() | st.floats(allow_nan=False))
def test_numbers_are_ordered_by_value(number: float, other: float) -> None:
    assert (collation_key(number) < collation_key(other)) == (number < other)
    assert (collation_key(number) == collation_key(other)) == (number == other)


@given(values, values)
def test_no_key_is_the_beginning_of_another(value: Any, other: Any) -> None:
    key, second = collation_key(value), collation_key(other)
    assert key == second or not second.startswith(key)
    assert key < AFTER


@given(st.lists(values, max_size=3), st.lists(values, max_size=3))
def test_rows_are_ordered_like_arrays_of_their_values(row: list[Any], other: list[Any]) -> None:
    assert (row_key(row) < row_key(other)) == (collation_key(row) < collation_key(other))


@given(st.text("abAB é.", max_size=4), st.text("abAB é.", max_size=3))
def test_strings_with_one_beginning_are_a_range(beginning: str, rest: str) -> None:
    low, high = collation_key(beginning), collation_key(beginning + "\uffff")
    assert low <= collation_key(beginning + rest) < high


def test_numbers_that_no_document_holds_are_beyond_all_others() -> None:
    assert collation_key(1e308) < collation_key(10**400)
    assert collation_key(-(10**400)) < collation_key(-1e308)


TEXTS = st.text(st.sampled_from("aAbéﷺß\u0301\u0327\u200b\x01中\uffff"), max_size=12)
VALUES = st.recursive(
    TEXTS | st.integers() | st.booleans(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner)
)


@given(VALUES, VALUES, st.integers(1, 40))
def test_a_row_has_the_beginning_of_a_key_and_keeps_the_order(one: Any, other: Any, room: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collation, "KEY_BYTES", room)
        assert row_key([one]) == collation_key(one)[:room]
        assert (collation_key(one) <= collation_key(other)) <= (row_key([one]) <= row_key([other]))


@pytest.mark.parametrize("text", ["ﷺ", "a\u0301\u0327", "\u200b", "\u0301\u0327", "\x01", "x", "각"])
def test_however_long_a_value_is_its_row_is_short_and_little_of_it_is_read(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0
    weights = collation._weights

    def counted(char: str) -> tuple[bytes, bytes, bytes]:
        nonlocal read
        read += 1
        return weights(char)

    monkeypatch.setattr(collation, "_weights", counted)
    for value in (text * 300_000, [text] * 300_000, [[[text * 300_000]]], {text * 300_000: text}):
        assert len(row_key([value])) <= KEY_BYTES
    assert read < 5 * (collation._WEIGHTLESS_MOST + KEY_BYTES + 1_000)
