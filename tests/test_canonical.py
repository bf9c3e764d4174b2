"""Canonical bytes: one value, one byte string."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.canonical import (
    MAX_DEPTH,
    MAX_INTEGER,
    authored,
    canonical,
    canonical_set,
    check_canonical,
    pack,
    unpack,
)
from icure_sync.errors import InvalidEntity

texts = st.text(st.characters(codec="utf-8"), max_size=8)
integers = st.integers(-MAX_INTEGER, MAX_INTEGER)
floats = st.floats(allow_nan=False, allow_infinity=False)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | integers | floats | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def distinct(value: Any) -> Any:
    """A stand-in that is equal for what counts as the same value: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return frozenset((key, distinct(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(distinct(item) for item in value)
    return (isinstance(value, bool), value)


@given(values, values)
def test_equal_values_have_equal_bytes_and_others_have_not(one: Any, other: Any):
    assert (canonical(one) == canonical(other)) == (distinct(one) == distinct(other))


@given(values)
def test_bytes_read_back_give_the_value_and_the_same_bytes(value: Any):
    data = canonical(value)
    again, length = unpack(data)
    assert (distinct(again), length) == (distinct(value), len(data))
    assert canonical(again) == data
    check_canonical(data, length, again)


@given(st.dictionaries(texts, integers), st.randoms())
def test_the_order_in_which_keys_were_put_in_does_not_matter(value: dict[str, int], random: Any):
    items = list(value.items())
    random.shuffle(items)
    assert canonical(dict(items)) == canonical(value)


@given(st.dictionaries(texts, st.none(), min_size=2))
def test_keys_stand_in_the_order_of_their_utf8_bytes(value: dict[str, None]):
    keys = list(msgpack.unpackb(canonical(value)))
    assert keys == sorted(keys, key=str.encode)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (0, "00"),
        (-0.0, "00"),
        (2.0, "02"),
        (127, "7f"),
        (128, "cc80"),
        (-32, "e0"),
        (-33, "d0df"),
        (2**16, "ce00010000"),
        (2**53, "cf0020000000000000"),
        (float(2**53), "cf0020000000000000"),
        (-(2**53), "d3ffe0000000000000"),
        (-float(2**53), "d3ffe0000000000000"),
        (2.0**53 + 2, "cb4340000000000001"),
        (0.5, "cb3fe0000000000000"),
        (5e-324, "cb0000000000000001"),
        (None, "c0"),
        (False, "c2"),
        (True, "c3"),
        ("", "a0"),
        ("e\u0301", "a365cc81"),
        ("a" * 32, "d920" + "61" * 32),
        ([], "90"),
        ((1,), "9101"),
        ({"b": 1, "a": {"d": [], "c": None}}, "82a16182a163c0a16490a16201"),
        ({"z": 0, "é": 0, "": 0}, "83a000a17a00a2c3a900"),
        ({"\uffff": 0, "\U00010000": 0}, "82a3efbfbf00a4f090808000"),
    ],
)
def test_forms_are_the_shortest(value: Any, data: str):
    assert canonical(value).hex() == data


@pytest.mark.parametrize(
    "value",
    [
        2**53 + 1,
        -(2**53) - 1,
        math.nan,
        math.inf,
        -math.inf,
        "\ud800",
        {"\udfff": 1},
        {1: 2, "a": 3},
        {b"a": 1},
        b"bytes",
        {1, 2},
        object(),
        MappingProxyType({}),
    ],
)
def test_what_has_no_canonical_form_is_refused(value: Any):
    for place in (value, [value], {"a": value}):
        with pytest.raises(InvalidEntity) as caught:
            canonical(place)
        assert caught.value.__context__ is None  # which would hold the value


def nested(levels: int, inner: Any = 0) -> Any:
    for _ in range(levels):
        inner = [inner]
    return inner


def test_nesting_ends_at_the_limit():
    for form in (canonical, authored):
        form(nested(MAX_DEPTH))
        form({"a": nested(MAX_DEPTH - 1)})
        for deeper in (nested(MAX_DEPTH + 1), {"a": nested(MAX_DEPTH)}, nested(MAX_DEPTH, {})):
            with pytest.raises(InvalidEntity, match="nested deeper than 64"):
                form(deeper)


def test_another_kind_of_value_is_named_for_what_it_is():
    with pytest.raises(InvalidEntity, match="bytes is not a kind of value"):
        canonical(b"")
    with pytest.raises(InvalidEntity, match="set is not a kind of value"):
        authored(set())


def test_packing_plain_lists_refuses_lone_surrogates():
    assert pack(["a", b"\x00"]) == bytes.fromhex("92a161c40100")
    with pytest.raises(InvalidEntity) as caught:
        pack(["secret \ud800"])
    assert caught.value.__context__ is None


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused_in_one_way(data: bytes):
    try:
        value, length = unpack(data)
    except InvalidEntity:
        pass
    else:
        assert 0 < length <= len(data)
        try:
            check_canonical(data, length, value)
        except InvalidEntity:
            return
        assert canonical(value) == data[:length]


@pytest.mark.parametrize(
    "data",
    [
        "cc05",  # a long form of 5
        "cb4000000000000000",  # 2.0
        "82a16200a16100",  # keys out of order
        "82a16100a16101",  # one key twice
        "d90161",  # a long form of "a"
        "ca40200000",  # a float of 32 bits
        "c40161",  # bytes
        "d7ff0000000000000000",  # a timestamp
        "cb7ff8000000000000",  # not a number
    ],
)
def test_other_forms_of_a_value_are_not_canonical(data: str):
    received = bytes.fromhex(data)
    value, length = unpack(received)
    with pytest.raises(InvalidEntity):
        check_canonical(received, length, value)


def test_a_value_is_read_from_the_front_and_the_rest_is_left():
    assert unpack(b"\x05\x00\x00") == (5, 1)
    with pytest.raises(InvalidEntity):
        unpack(b"")


@given(st.lists(values, max_size=5), st.randoms())
def test_a_set_has_one_order_and_no_duplicates(items: list[Any], random: Any):
    shuffled = [*items, *items]
    random.shuffle(shuffled)
    ordered = canonical_set(items)
    assert canonical(canonical_set(shuffled)) == canonical(ordered)
    packed = [canonical(item) for item in ordered]
    assert packed == sorted(set(packed))


@given(values)
def test_authored_values_have_one_form(value: Any):
    try:
        once = authored(value)
    except InvalidEntity:  # two keys become one
        return
    assert canonical(authored(once)) == canonical(once)


def test_authored_text_is_normalised_received_text_is_not():
    assert authored({"cafe\u0301": ["e\u0301", 2.0, -0.0, None, True]}) == {"café": ["é", 2, 0, None, True]}
    assert canonical("e\u0301") != canonical("é")


def test_authored_maps_may_be_of_any_mapping_type_with_text_keys():
    assert authored(MappingProxyType({"b": (1,), "a": 0})) == {"a": 0, "b": [1]}
    with pytest.raises(InvalidEntity):
        authored({1: 2})


def test_two_keys_that_become_one_are_refused():
    with pytest.raises(InvalidEntity, match="two keys of one map"):
        authored({"e\u0301": 1, "é": 2})
