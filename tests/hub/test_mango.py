"""Selectors, as CouchDB's `mango_selector` reads them."""

import random
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.hub import mango
from icure_sync.hub.allowance import Allowance
from icure_sync.hub.errors import HttpRefusal
from icure_sync.hub.mango import compile_selector
from icure_sync.hub.selectors import MAX_DEPTH, MAX_PARTS, MAX_PATH, MAX_STORED_PARTS, normalize

DOCUMENT = {
    "_id": "ann",
    "name": "Ann",
    "age": 31,
    "none": None,
    "yes": True,
    "tags": ["x", "y"],
    "empty": [],
    "home": {"city": "Riga", "dotted.name": 1},
    "visits": [{"n": 1}, {"n": 2}],
    "delegations": {"hcp-a": []},
}


@pytest.mark.parametrize(
    "selector",
    [
        {},
        {"name": "Ann"},
        {"age": 31.0},
        {"home.city": "Riga"},
        {"home": {"city": "Riga"}},
        {"home.dotted\\.name": 1},
        {"home": {"city": "Riga", "dotted.name": 1}} and {"home.city": {"$gt": "Oslo"}},
        {"delegations.hcp-a": {"$exists": True}},
        {"delegations.hcp-b": {"$exists": False}},
        {"none": None},
        {"none": {"$exists": True}},
        {"none": {"$lt": False}},
        {"yes": {"$lt": 0}},
        {"age": {"$lt": ""}},
        {"name": {"$lt": []}},
        {"tags": {"$lt": {}}},
        {"age": {"$gt": 30, "$lt": 32}},
        {"age": {"$in": [30, 31]}},
        {"tags": {"$in": ["y", "z"]}},
        {"tags": {"$nin": ["z"]}},
        {"tags": {"$all": ["y", "x"]}},
        {"tags": {"$size": 2}},
        {"tags.1": "y"},
        {"age": {"$mod": [10, 1]}},
        {"name": {"$regex": "^A"}},
        {"name": {"$beginsWith": "An"}},
        {"age": {"$type": "number"}},
        {"yes": {"$type": "boolean"}},
        {"tags": {"$elemMatch": {"$eq": "y"}}},
        {"visits": {"$elemMatch": {"n": {"$gt": 1}}}},
        {"visits": {"$allMatch": {"n": {"$gt": 0}}}},
        {"home": {"$keyMapMatch": {"$eq": "city"}}},
        {"$or": [{"name": "Bob"}, {"age": 31}]},
        {"$and": [{"name": "Ann"}, {"$not": {"age": 30}}]},
        {"$nor": [{"name": "Bob"}, {"age": 30}]},
        {"age": {"$or": [{"$lt": 10}, {"$gt": 30}]}},
        {"age": {"$not": {"$lt": 10}}},
        {"$not": {"$and": [{"name": "Bob"}, {"age": 31}]}},
        {"$not": {"$or": [{"name": "Bob"}, {"age": 1}]}},
        {"$not": {"name": "Bob", "age": 31}},
        {"$not": {"absent": {"$exists": True}}},
    ],
)
def test_what_passes(selector: dict[str, Any]) -> None:
    assert compile_selector(selector)(DOCUMENT)


@pytest.mark.parametrize(
    "selector",
    [
        {"name": "ann"},
        {"yes": 1},
        {"age": True},
        {"home": {"city": "Oslo"}},
        {"home.city.street": "x"},
        {"absent": {"$ne": 1}},
        {"absent": {"$nin": [1]}},
        {"$not": {"absent": 1}},
        {"absent": {"$not": {"$eq": 1}}},
        {"absent": None},
        {"age": {"$not": {"$gt": 30}}},
        {"empty": {"$allMatch": {"$eq": 1}}},
        {"empty": {"$all": []}},
        {"age": {"$regex": "3"}},
        {"age": {"$size": 1}},
        {"name": {"$mod": [2, 0]}},
        {"tags": ["y", "x"]},
        {"tags": {"$in": [["y"]]}},
        {"tags." + "9" * 5_000: "x"},
        {"$or": []} and {"$and": [{"name": "Ann"}, {"age": 1}]},
        {"$nor": [{"name": "Ann"}]},
    ],
)
def test_what_does_not_pass(selector: dict[str, Any]) -> None:
    assert not compile_selector(selector)(DOCUMENT)


@pytest.mark.parametrize(
    ("selector", "error"),
    [
        ([], "invalid_selector_json"),
        ({"a": {"$nope": 1}}, "invalid_operator"),
        ({"$and": {}}, "bad_arg"),
        ({"$or": 1}, "bad_arg"),
        ({"$not": []}, "bad_arg"),
        ({"": 1}, "invalid_selector"),
        ({"$gt": 1}, "invalid_selector"),
        ({"a..b": 1}, "invalid_field_name"),
        ({"a": {"": 1}}, "invalid_field_name"),
        ({"a": {"$text": "x"}}, "bad_field"),
        ({"$where": "x"}, "not_supported"),
        ({"a": {"$near": 1}}, "not_supported"),
        ({"a": {"$in": 1}}, "bad_arg"),
        ({"a": {"$exists": 1}}, "bad_arg"),
        ({"a": {"$size": -1}}, "bad_arg"),
        ({"a": {"$mod": [0, 1]}}, "bad_arg"),
        ({"a": {"$mod": [2]}}, "bad_arg"),
        ({"a": {"$type": 1}}, "bad_arg"),
        ({"a": {"$all": 1}}, "bad_arg"),
        ({"a": {"$mod": [2.0, 1]}}, "bad_arg"),
        ({"a": {"$regex": 1}}, "invalid_operator"),
        ({"a": {"$regex": "("}}, "bad_arg"),
        ({"a": {"$regex": "(?=a)"}}, "bad_arg"),
        ({"a": {"$regex": "(a)\\1"}}, "bad_arg"),
        ({"a": {"$regex": "a" * 2_000}}, "bad_arg"),
        ({"$or": [{"a": {"$regex": "a{1999}"}}] * 21}, "bad_arg"),
        ({"a": {"$elemMatch": 1}}, "bad_arg"),
        ({"a": {"$beginsWith": 1}}, "invalid_operator"),
    ],
)
def test_what_is_no_selector(selector: Any, error: str) -> None:
    with pytest.raises(HttpRefusal) as caught:
        compile_selector(selector)
    assert (caught.value.status, caught.value.error) == (400, error)


def test_nesting_is_bounded() -> None:
    selector: dict[str, Any] = {"a": 1}
    for _ in range(MAX_DEPTH + 2):
        selector = {"$not": selector}
    with pytest.raises(HttpRefusal):
        compile_selector(selector)


def test_what_is_compared_with_is_read_in_a_moment_or_refused() -> None:
    phrase = "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}"  # eighteen letters
    assert normalize({"a": {"$in": [n / 7 for n in range(50_000)]}})
    assert normalize({"a": "x" * 1_000_000})
    assert normalize({"a": phrase * 10_000})
    for condition in ({"$eq": phrase * 30_000}, {"$in": [phrase] * 30_000}, {"$not": {"$all": [{phrase * 30_000: 1}]}}):
        with pytest.raises(HttpRefusal, match="more than allowed"):
            normalize({"a": condition})


def test_paths_are_bounded() -> None:
    """That of the outer name is repeated for each name within."""
    assert normalize({"a" * MAX_PATH: 1})
    assert normalize({"a" * (MAX_PATH - 2): {"b": {"$eq": 1}}})
    with pytest.raises(HttpRefusal, match=f"more than {MAX_PATH} characters"):
        normalize({"a" * (MAX_PATH - 1): {"b": {"$eq": 1}}})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@given(st.lists(json_values | st.sampled_from([2**61 - 1, 2**62 - 2, 2.0**61]), max_size=5), json_values)
@pytest.mark.parametrize("field", ["v", "_id"])
def test_among_values_is_equal_to_one_of_them(field: str, values: list[Any], value: Any) -> None:
    items = value if isinstance(value, list) else [value]
    equal = [compile_selector({field: {"$eq": one}})({field: item}) for one in values for item in items]
    assert compile_selector({field: {"$in": values}})({field: value}) is any(equal)


@given(json_values, json_values)
def test_of_two_values_one_is_less_or_both_are_equal(value: Any, other: Any) -> None:
    document = {"v": value}
    outcomes = [compile_selector({"v": {name: other}})(document) for name in ("$lt", "$eq", "$gt")]
    assert sum(outcomes) == 1


@given(json_values, st.sampled_from(["$eq", "$ne", "$lt", "$lte", "$gt", "$gte"]), json_values)
def test_not_turns_the_outcome_of_a_member_that_is_there(value: Any, name: str, other: Any) -> None:
    plain = compile_selector({"v": {name: other}})({"v": value})
    assert compile_selector({"$not": {"v": {name: other}}})({"v": value}) is not plain
    assert compile_selector({"v": {"$not": {name: other}}})({"v": value}) is not plain


@given(st.integers(), st.integers().filter(bool), st.sampled_from([1, 10**320, 10**400]))
def test_remainders_have_the_sign_of_the_value_however_large_it_is(value: int, divisor: int, scale: int) -> None:
    value, divisor = value * scale, divisor * scale + 1
    rest = abs(value) % abs(divisor) * (-1 if value < 0 else 1)
    passes = compile_selector({"n": {"$mod": [divisor, rest]}})
    assert passes({"n": value})
    assert not passes({"n": value + 1 if value >= 0 else value - 1}) or abs(divisor) == 1


@pytest.mark.parametrize(
    ("selector", "larger"),
    [
        ({f"a{n}": 1 for n in range(MAX_PARTS)}, {f"a{n}": 1 for n in range(MAX_PARTS + 1)}),
        ({"$or": [1] * (MAX_PARTS - 1)}, {"$or": [1] * MAX_PARTS}),
        ({"a": {"$in": list(range(MAX_PARTS))}}, {"a": {f"b{n}": {} for n in range(MAX_PARTS)}}),
    ],
    ids=["fields", "alternatives", "inner fields"],
)
def test_so_many_parts_of_a_selector_and_no_more(selector: dict[str, Any], larger: dict[str, Any]) -> None:
    normalize(selector)
    with pytest.raises(HttpRefusal, match=f"more than {MAX_PARTS} names"):
        normalize(larger)


_EACH: Final = {
    "$and": [{"$or": [{"b": {"$not": {"$regex": "x"}}}, {"c": {"$elemMatch": {"d": 1, "e": 2}}}]}, {"f": 3}]
}


@pytest.mark.parametrize(
    "selector",
    [
        {f"a{n}": n for n in range(MAX_PARTS)},
        {f"a{n}": {"$gt": n, "$lt": n + 9} for n in range(MAX_PARTS // 3)},
        {"a": {"$or": list(range(MAX_PARTS - 2))}},
        {"a": {"$nor": [{"$gt": n} for n in range(MAX_PARTS // 2 - 1)]}},
        {"a": {f"b{n}": {} for n in range(MAX_PARTS - 1)}},
        {"a": {"$elemMatch": {f"b{n}": n for n in range(MAX_PARTS - 2)}}},
        {"$nor": [_EACH] * 15},
    ],
    ids=["fields", "ranges", "alternatives", "none of", "inner fields", "items", "mixed"],
)
def test_the_normal_form_of_any_selector_can_be_stored_and_read_again(selector: dict[str, Any]) -> None:
    stored = normalize(selector)
    assert normalize(stored, MAX_STORED_PARTS) == stored


ALLOWED = 1_000_000  # in these tests, to keep them short


def work_of(monkeypatch: pytest.MonkeyPatch, selector: Any, document: Any) -> int:
    """What judging the document takes; more than ALLOWED if it is given up."""
    given: list[Allowance] = []

    def allow() -> Allowance:
        given.append(Allowance(ALLOWED))
        return given[-1]

    monkeypatch.setattr(mango, "Allowance", allow)
    passes = compile_selector(selector)(document)
    (allowance,) = given
    assert not (passes and allowance.work < 0)
    return ALLOWED - allowance.work


INVOLVED = "(a|b|ab|ba)*(a[^c]{200})c"
letters = random.Random(1)
TEXTS = ["".join(letters.choices("ab", k=300)) for _ in range(100)]


@pytest.mark.parametrize(
    ("selector", "is_passed_by_few"),
    [
        ({"a": {"$elemMatch": {"$regex": INVOLVED}}}, False),
        ({"$not": {"a": {"$elemMatch": {"$regex": INVOLVED}}}}, True),
        ({"$nor": [{"a": {"$elemMatch": {"$regex": INVOLVED}}}]}, True),
        ({"$or": [{"a": {"$elemMatch": {"$regex": INVOLVED}}}, {"b": 1}]}, True),
        ({"a": {"$allMatch": {"$not": {"$regex": INVOLVED}}}}, True),
    ],
)
def test_a_document_has_one_allowance_for_all_its_texts_and_does_not_pass_beyond_it(
    monkeypatch: pytest.MonkeyPatch, selector: Any, is_passed_by_few: bool
) -> None:
    few, many = {"a": TEXTS[:1], "b": 1}, {"a": TEXTS, "b": 1}
    assert work_of(monkeypatch, selector, few) < ALLOWED
    assert compile_selector(selector)(few) is is_passed_by_few
    assert ALLOWED < work_of(monkeypatch, selector, many) < ALLOWED + 20_000
    assert not compile_selector(selector)(many)


def test_all_patterns_of_a_selector_share_the_allowance(monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"a": "ab" * 50_000}
    one, *more = ({"a": {"$regex": f"(x|y)*z{n}"}} for n in range(19))
    assert 100_000 < work_of(monkeypatch, one, document) < 101_000
    assert work_of(monkeypatch, {"$or": [one, *more]}, document) > ALLOWED


def test_after_a_document_that_took_too_much_the_next_is_judged_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mango, "Allowance", lambda: Allowance(ALLOWED))
    passes = compile_selector({"a": {"$elemMatch": {"$regex": INVOLVED}}})
    assert not passes({"a": [*TEXTS, "a" * 202 + "c"]})
    assert passes({"a": ["a" * 202 + "c"]})


@pytest.mark.parametrize(
    ("condition", "is_charged"),
    [
        ({"$gt": "x"}, True),
        ({"$in": ["x"]}, True),
        ({"$nin": ["x"]}, True),
        ({"$all": ["x"]}, True),
        ({"$eq": {}}, True),
        ({"$type": "string"}, False),
        ({"$exists": True}, False),
        ({"$size": 1}, False),
        ({"$beginsWith": "x"}, False),
    ],
)
@pytest.mark.parametrize("field", ["a", "_id"])
def test_each_reading_of_a_large_value_is_charged(
    monkeypatch: pytest.MonkeyPatch, field: str, condition: Any, is_charged: bool
) -> None:
    document = {field: [{"some name": "some text" * 10} for _ in range(1_000)]}
    work = work_of(monkeypatch, {field: condition}, document)
    assert (work > 10_000) is is_charged
    again = {"$and": [{"$or": [{field: condition}, {"b": {"$exists": False}}]}] * 3}
    assert work_of(monkeypatch, again, document) == 3 * work


def test_a_large_value_cannot_be_compared_as_often_as_a_selector_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"a": ["some text"] * 10_000}
    assert compile_selector({"$or": [{"a": n} for n in range(5)] + [{"a": {"$size": 10_000}}]})(document)
    assert work_of(monkeypatch, {"$or": [{"a": n} for n in range(400)]}, document) > ALLOWED


@pytest.mark.parametrize(("letter", "least"), [("x", 1_000), ("\N{LATIN SMALL LETTER E WITH ACUTE}", 100_000)])
def test_texts_are_charged_by_what_it_takes_to_compare_them(
    monkeypatch: pytest.MonkeyPatch, letter: str, least: int
) -> None:
    assert least < work_of(monkeypatch, {"a": {"$gt": "a"}}, {"a": letter * 10_000}) < 10 * least


def test_letters_that_stand_for_many_are_charged_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    phrase, letter = "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}", "\N{LATIN SMALL LETTER DOTLESS I}"
    plain = work_of(monkeypatch, {"a": {"$gt": "a"}}, {"a": letter * 100})
    assert work_of(monkeypatch, {"a": {"$gt": "a"}}, {"a": phrase * 100}) > 9 * plain


def test_members_are_charged_for_all_conditions_tried_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    items = {"a": [{"n": n} for n in range(1, 101)]}
    one = work_of(monkeypatch, {"a": {"$elemMatch": {"n": -1}}}, items)
    four = work_of(monkeypatch, {"a": {"$elemMatch": {"$or": [{"n": -n} for n in range(1, 5)]}}}, items)
    deep = work_of(monkeypatch, {"a": {"$elemMatch": {".".join("n" * 50): -1}}}, items)
    assert 1_000 < one < four < 4 * one
    assert deep > 10 * one
    names = {"a": dict.fromkeys(map(str, range(100)))}
    assert work_of(monkeypatch, {"a": {"$keyMapMatch": {"$eq": "x"}}}, names) > 1_000


@pytest.mark.parametrize(
    "selector",
    [{"name": {"$regex": "^A.*n$"}}, {"name": "Ann", "age": {"$gt": 3, "$lt": 99}}, {"tags": {"$in": ["y"]}}],
)
def test_an_ordinary_judgement_takes_next_to_nothing(monkeypatch: pytest.MonkeyPatch, selector: Any) -> None:
    assert work_of(monkeypatch, selector, DOCUMENT) < 50
