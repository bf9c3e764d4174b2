"""Mango selectors: read once into a predicate on one document. Pure; knows no database, no index and no HTTP.

Source: CouchDB's documentation of `_find`, and its `mango_selector`: a condition on a member that is absent fails,
whatever its operator, but for `$exists: false`. Values are ordered and alike as in views (store/collation.py); `_id` is
compared as Erlang compares terms.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from icure_sync.hub.allowance import CONDITION_WORK, MEMBER_WORK, Allowance, Exhausted, charge_reading
from icure_sync.hub.answers import encode
from icure_sync.hub.errors import HttpRefusal
from icure_sync.hub.patterns import compile_pattern
from icure_sync.hub.selectors import Selector, normalize, only_member
from icure_sync.store.collation import collation_key

Predicate = Callable[[Any], bool]
_Test = Callable[[Any, Allowance], bool]  # raises Exhausted
Path = tuple[str, ...]
_Key = Callable[[Any], Any]  # what values are compared by

ABSENT: Final = object()
_BLOCKED: Final = object()  # a path that leads through something that has no members
_DOT: Final = re.compile(r"(?<!\\)\.")
_PLACE: Final = re.compile(r"\d{1,9}\Z", re.ASCII)  # of an item of an array: none is longer


def compile_selector(selector: object) -> Predicate:
    """The predicate of one selector, to be called with a document (`_id` and the other `_` members included).

    A document that takes more than its allowance to judge does not pass. Raises HttpRefusal 400, as `normalize` does;
    `invalid_field_name` for a path with an empty name in it.
    """
    return compile_normal(normalize(selector))


def compile_normal(selector: Selector) -> Predicate:
    """The same for a selector in its normal form."""
    test = _compile(selector, collation_key) if selector else _anything

    def passes(document: Any) -> bool:
        try:
            return test(document, Allowance())
        except Exhausted:  # whatever stands around the condition: a `$not` turns no outcome that there is none of
            return False

    return passes


def parse_path(field: str) -> Path:
    """The names that a path with dots is made of. Raises `invalid_field_name` if one is empty."""
    names = tuple(name.replace("\\", "") for name in _DOT.split(field))
    if "" in names:
        raise HttpRefusal(400, "invalid_field_name", f"Invalid field name: {field}")
    return names


def value_at(document: Any, path: Path) -> Any:
    """The value at a path; ABSENT if there is none. An array is entered by a number, as in `tags.0`."""
    value = _walk(document, path)
    return ABSENT if value is _BLOCKED else value


def _walk(value: Any, path: Path) -> Any:
    for name in path:
        if isinstance(value, dict):
            value = value.get(name, ABSENT)
            if value is ABSENT:
                break
        elif isinstance(value, list) and _PLACE.match(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            return _BLOCKED
    return value


def _anything(_: Any, __: Allowance) -> bool:
    return True


def _compile(selector: Selector, key: _Key) -> _Test:
    name, argument = only_member(selector)
    if name in {"$and", "$or", "$nor"}:
        parts = [_compile(one, key) for one in argument]
        return _join(parts, any_of=True) if name == "$or" else _all_or_none(parts, none=name == "$nor")
    if name == "$not":
        return _negate(_compile(argument, key))
    if name == "":
        return _compile(argument, key)
    if name == "$default":
        return _anything  # there is no text index: CouchDB believes that it has matched
    if name.startswith("$"):
        return _OPERATORS[name](argument, key)
    return _at(parse_path(name), argument)


def _at(path: Path, condition: Selector) -> _Test:
    """`condition` on the value at `path`."""
    if condition == {"$exists": False}:
        return lambda document, _: _walk(document, path) is ABSENT
    test = _compile(condition, _raw_key if path == ("_id",) else collation_key)
    if len(path) == 1:
        name = path[0]

        def at_name(document: Any, allowance: Allowance) -> bool:
            value = document.get(name, ABSENT) if isinstance(document, dict) else _walk(document, path)
            return value is not ABSENT and value is not _BLOCKED and test(value, allowance)

        return at_name

    def at_path(document: Any, allowance: Allowance) -> bool:
        value = _walk(document, path)
        return value is not ABSENT and value is not _BLOCKED and test(value, allowance)

    return at_path


def _all_or_none(parts: Sequence[_Test], *, none: bool) -> _Test:
    if not none:
        return _join(parts, any_of=False)
    return _negate(_join(parts, any_of=True)) if parts else _anything


def _negate(test: _Test) -> _Test:
    return lambda value, allowance: not test(value, allowance)


def _join(parts: Sequence[_Test], *, any_of: bool) -> _Test:
    """Without parts, it passes: `$or: []` does in CouchDB."""
    if not parts:
        return _anything
    if len(parts) == 1:
        return parts[0]

    def joined(document: Any, allowance: Allowance) -> bool:  # a loop: a generator costs twice as much
        for part in parts:
            if part(document, allowance) is any_of:
                return any_of
        return not any_of

    return joined


def _ordered(accept: Callable[[Any, Any], bool]) -> Callable[[Any, _Key], _Test]:
    def build(argument: Any, key: _Key) -> _Test:
        limit = key(argument)

        def test(value: Any, allowance: Allowance) -> bool:
            charge_reading(value, allowance)
            return accept(key(value), limit)

        return test

    return build


def _among(arguments: Sequence[Any], key: _Key) -> _Test:
    """`$in`: of an array, one item must be among them."""
    wanted = sorted(map(key, arguments))  # no set: numbers can be chosen so that all have the same hash

    def is_wanted(value: Any) -> bool:
        held = key(value)
        place = bisect_left(wanted, held)
        return place < len(wanted) and bool(wanted[place] == held)

    def test(value: Any, allowance: Allowance) -> bool:
        charge_reading(value, allowance)
        return any(map(is_wanted, value)) if isinstance(value, list) else is_wanted(value)

    return test


def _not_among(arguments: Sequence[Any], key: _Key) -> _Test:
    return _negate(_among(arguments, key))


def _all(arguments: Sequence[Any], _: _Key) -> _Test:
    """Each must be an item, exactly as it is: 1 is not 1.0 here. An array within an array may be the value itself."""
    wanted = [encode(one) for one in arguments]
    whole = _raw_key(arguments[0]) if len(arguments) == 1 and isinstance(arguments[0], list) else None

    def test(value: Any, allowance: Allowance) -> bool:
        if not wanted or not isinstance(value, list):
            return False
        charge_reading(value, allowance)
        held = {encode(item) for item in value}
        return all(one in held for one in wanted) or (whole is not None and whole == _raw_key(value))

    return test


def _exists(wanted: bool, _: _Key) -> _Test:
    """Asked of a value that is there."""
    return lambda _, __: wanted


def _size(size: int, _: _Key) -> _Test:
    return lambda value, _: isinstance(value, list) and len(value) == size


def _type_is(name: str, _: _Key) -> _Test:
    return lambda value, _: _type(value) == name


def _modulo(argument: Sequence[int], _: _Key) -> _Test:
    divisor, wanted = argument
    return lambda value, _: type(value) is int and _remainder(value, divisor) == wanted


def _remainder(value: int, divisor: int) -> int:
    """With the sign of `value`, as Erlang's `rem`."""
    rest = abs(value) % abs(divisor)
    return -rest if value < 0 else rest


def _regex(pattern: str, _: _Key) -> _Test:
    search = compile_pattern(pattern)
    return lambda value, allowance: isinstance(value, str) and search(value, allowance)


def _begins_with(beginning: str, _: _Key) -> _Test:
    return lambda value, _: isinstance(value, str) and value.startswith(beginning)


def _element(inner: Selector, _: _Key) -> _Test:
    some = _of_members(inner, any_of=True)
    return lambda value, allowance: isinstance(value, list) and some(value, allowance)


def _every_element(inner: Selector, _: _Key) -> _Test:
    every = _of_members(inner, any_of=False)
    return lambda value, allowance: isinstance(value, list) and bool(value) and every(value, allowance)


def _some_name(inner: Selector, _: _Key) -> _Test:
    some = _of_members(inner, any_of=True)
    return lambda value, allowance: isinstance(value, Mapping) and some(value, allowance)


def _of_members(inner: Selector, *, any_of: bool) -> _Test:
    """Does any item or name pass, or does each? Every one is charged as if all conditions were tried on it."""
    test = _compile(inner, collation_key)
    work = MEMBER_WORK + CONDITION_WORK * _conditions(inner)

    def joined(members: Iterable[Any], allowance: Allowance) -> bool:
        for member in members:
            allowance.charge(work)
            if test(member, allowance) is any_of:
                return any_of
        return not any_of

    return joined


def _conditions(selector: Selector) -> int:
    """How many conditions are tried on a value at most, and how many names lead to what they are tried on."""
    name, argument = only_member(selector)
    if name in {"$and", "$or", "$nor"}:
        return max(1, sum(map(_conditions, argument)))
    if name == "$not":
        return 1 + _conditions(argument)
    if name.startswith("$"):
        return 1
    return (len(parse_path(name)) if name else 0) + _conditions(argument)


_OPERATORS: Final[Mapping[str, Callable[[Any, _Key], _Test]]] = {
    "$eq": _ordered(lambda value, wanted: value == wanted),
    "$ne": _ordered(lambda value, wanted: value != wanted),
    "$lt": _ordered(lambda value, limit: value < limit),
    "$lte": _ordered(lambda value, limit: value <= limit),
    "$gt": _ordered(lambda value, limit: value > limit),
    "$gte": _ordered(lambda value, limit: value >= limit),
    "$in": _among,
    "$nin": _not_among,
    "$all": _all,
    "$exists": _exists,
    "$size": _size,
    "$type": _type_is,
    "$mod": _modulo,
    "$regex": _regex,
    "$beginsWith": _begins_with,
    "$elemMatch": _element,
    "$allMatch": _every_element,
    "$keyMapMatch": _some_name,
}

_ATOMS: Final = {False: 0, None: 1, True: 2}  # by their names: false, null, true


def _raw_key(value: Any) -> tuple[Any, ...]:
    """Orders values as Erlang orders terms: numbers, atoms, tuples (objects), lists, binaries (strings)."""
    if value is None or isinstance(value, bool):
        return 1, _ATOMS[value]
    if isinstance(value, str):
        return 4, value.encode()
    if isinstance(value, int | float):
        return 0, value
    if isinstance(value, Mapping):
        return 2, tuple((name.encode(), _raw_key(item)) for name, item in value.items())
    return 3, tuple(map(_raw_key, value))


def _type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"
