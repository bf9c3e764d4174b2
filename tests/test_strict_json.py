"""JSON: what lenient readers pass over in silence is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync import strict_json
from icure_sync.canonical import MAX_DEPTH
from icure_sync.errors import InvalidEntity
from icure_sync.strict_json import has_boundless_number, is_too_deep

texts = st.text(st.characters(codec="utf-8"), max_size=8)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_what_is_written_is_read_back(value: Any):
    assert strict_json.loads(strict_json.dumps(value)) == value


@given(values)
def test_other_writers_json_is_read_whether_or_not_it_is_escaped(value: Any):
    for ascii_only in (True, False):
        assert strict_json.loads(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b'{"a": 1, "a": 2}', "duplicate key"),
        (b'{"a": 1, "\\u0061": 2}', "duplicate key"),
        (b'{"x": {"a": 1, "a": 1}}', "duplicate key"),
        (b"NaN", "NaN or infinity"),
        (b"[-Infinity]", "NaN or infinity"),
        (b"1e999", "number beyond all bounds"),
        (b"-1e999", "number beyond all bounds"),
        (b"1" * 5000, "an integer has thousands of digits"),
        (b'"\\ud800"', "lone surrogate"),
        (b'{"\\udc00\\ud800": 1}', "lone surrogate"),
        (b'"\xff"', "invalid UTF-8 at byte 1"),
        (b'"\xed\xa0\x80"', "invalid UTF-8 at byte 1"),
        (b'\xef\xbb\xbf"a"', "BOM"),
        (b"", "Expecting value at character 0"),
        (b"[1,]", "at character 3"),
        (b"{'a': 1}", "at character 1"),
        (b'"a\nb"', "at character 2"),
        (b"1 2", "at character 2"),
        (b"01", "at character 1"),
    ],
)
def test_what_readers_may_understand_differently_is_refused(text: bytes, why: str):
    with pytest.raises(InvalidEntity, match=why) as caught:
        strict_json.loads(text, "the answer")
    assert caught.value.attempted == "read the answer"


def test_a_surrogate_pair_is_a_character():
    assert strict_json.loads(b'"\\ud83e\\ude7a"') == "🩺"


@pytest.mark.parametrize(
    "text", [b'{"note": "a secret word"', b'{"note": "a secret word\xff"}', b'"a secret word\\ud800"']
)
def test_no_error_holds_a_piece_of_the_text(text: bytes):
    with pytest.raises(InvalidEntity) as caught:
        strict_json.loads(text)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


@given(st.lists(st.sampled_from([b"[", b"]", b'{"a":', b"}", b'"', b'\\"', b"\\", b"x", b"0"]), max_size=200))
def test_any_text_is_read_or_refused_in_one_way(pieces: list[bytes]):
    text = b"".join(pieces)
    try:
        value = strict_json.loads(text)
    except InvalidEntity:
        return
    assert value == json.loads(text)


def test_nesting_ends_at_the_limit():
    assert strict_json.loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        deep = opening * (MAX_DEPTH + 1) + b"0" + closing * (MAX_DEPTH + 1)
        with pytest.raises(InvalidEntity, match="nested deeper than 64"):
            strict_json.loads(deep)


def test_brackets_in_texts_and_side_by_side_do_not_nest():
    assert not is_too_deep(b"[" + b"[]," * 100 + b"[]]")
    assert not is_too_deep(b'["' + b"[" * 100 + b'"]')
    assert not is_too_deep(b'["' + b'\\"[' * 100 + b'"]')
    assert is_too_deep(b'["\\\\",' + b"[" * MAX_DEPTH)


def test_the_depth_of_hostile_texts_is_found_in_one_pass():
    quotes = b"[" * (MAX_DEPTH + 1) + b'"' + b'\\"' * 500_000  # takes hours if each quote is tried as a beginning
    with pytest.raises(InvalidEntity):
        strict_json.loads(quotes)


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (float("nan"), "NaN or infinity"),
        ({"a": [float("inf")]}, "NaN or infinity"),
        ({1: 2}, "a key that is not text"),
        ({None: 2}, "a key that is not text"),
        (b"bytes", "bytes is not a kind of value"),
        ([{1, 2}], "set is not a kind of value"),
        (nested(MAX_DEPTH + 1), "nested deeper"),
        ("\ud800", "lone surrogate"),
        ({"\ud800": 1}, "lone surrogate"),
    ],
)
def test_what_json_cannot_hold_is_not_written(value: Any, why: str):
    with pytest.raises(InvalidEntity, match=why) as caught:
        strict_json.dumps(value)
    assert caught.value.__context__ is None


def test_json_is_compact_utf8_in_the_order_given():
    assert strict_json.dumps({"b": (1, 2.5), "a": "é"}) == '{"b":[1,2.5],"a":"é"}'.encode()
    assert strict_json.loads(strict_json.dumps(nested(MAX_DEPTH))) == nested(MAX_DEPTH)


@given(values, st.integers(-400, 400), st.integers(0, 10**6), st.sampled_from(["e", "E", "e+", "e0"]))
def test_numbers_beyond_a_float_are_found_wherever_they_stand(value: Any, exponent: int, digits: int, mark: str):
    sign = "e" if exponent < 0 else mark
    number = f"{digits}.25{sign}{exponent}"
    text = json.dumps([number, value, "\\", None]).replace("null", number).encode()
    assert has_boundless_number(text) == math.isinf(float(number))


@pytest.mark.parametrize("zeros", [0, 100, 199, 200, 308, 309, 5_000])
def test_long_integers_are_beyond_a_float_from_309_digits_on(zeros: int):
    assert has_boundless_number(b'{"a":[-1' + b"0" * zeros + b"]}") == (zeros > 308)
    assert not has_boundless_number(b'{"a":[0.' + b"0" * zeros + b"1]}")
    assert not has_boundless_number(b'{"a":"1' + b"0" * zeros + b'"}')
