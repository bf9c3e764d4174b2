"""Mango selectors: read once into a predicate on one document. Pure; knows no database, no index and no HTTP.

Source: CouchDB's documentation of `_find`, and its `mango_selector`: a condition on a member that is absent fails,
whatever its operator, but for `$exists: false`. Values are ordered and alike as in views (store/collation.py); `_id` is
compared as Erlang compares terms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from icure_sync.hub.answers import encode
from icure_sync.hub.errors import HttpRefusal
from icure_sync.hub.patterns import compile_pattern
from icure_sync.hub.selectors import Selector, normalize, only_member
from icure_sync.store.collation import collation_key

Predicate = Callable[[Any], bool]
Path = tuple[str, ...]
_Key = Callable[[Any], Any]  # what values are compared by

ABSENT: Final = object()
_BLOCKED: Final = object()  # a path that leads through something that has no members
_DOT: Final = re.compile(r"(?<!\\)\.")
_PLACE: Final = re.compile(r"\d{1,9}\Z", re.ASCII)  # of an item of an array: none is longer


def compile_selector(selector: object) -> Predicate:
    """The predicate of one selector, to be called with a document (`_id` and the other `_` members included).

    Raises HttpRefusal 400, as `normalize` does; `invalid_field_name` for a path with an empty name in it.
    """
    return compile_normal(normalize(selector))


def compile_normal(selector: Selector) -> Predicate:
    """The same for a selector in its normal form."""
    return _compile(selector, collation_key) if selector else _anything


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


def _anything(_: Any) -> bool:
    return True


def _compile(selector: Selector, key: _Key) -> Predicate:
    name, argument = only_member(selector)
    if name in {"$and", "$or", "$nor"}:
        parts = [_compile(one, key) for one in argument]
        return _join(parts, any_of=True) if name == "$or" else _all_or_none(parts, none=name == "$nor")
    if name == "$not":
        inner = _compile(argument, key)
        return lambda value: not inner(value)
    if name == "":
        return _compile(argument, key)
    if name == "$default":
        return _anything  # there is no text index: CouchDB believes that it has matched
    if name.startswith("$"):
        return _OPERATORS[name](argument, key)
    return _at(parse_path(name), argument)


def _at(path: Path, condition: Selector) -> Predicate:
    """`condition` on the value at `path`."""
    if condition == {"$exists": False}:
        return lambda document: _walk(document, path) is ABSENT
    test = _compile(condition, _raw_key if path == ("_id",) else collation_key)
    if len(path) == 1:
        name = path[0]

        def at_name(document: Any) -> bool:
            value = document.get(name, ABSENT) if isinstance(document, dict) else _walk(document, path)
            return value is not ABSENT and value is not _BLOCKED and test(value)

        return at_name

    def at_path(document: Any) -> bool:
        value = _walk(document, path)
        return value is not ABSENT and value is not _BLOCKED and test(value)

    return at_path


def _all_or_none(parts: Sequence[Predicate], *, none: bool) -> Predicate:
    if not none:
        return _join(parts, any_of=False)
    some = _join(parts, any_of=True)
    return lambda value: not (parts and some(value))


def _join(parts: Sequence[Predicate], *, any_of: bool) -> Predicate:
    """Without parts, it passes: `$or: []` does in CouchDB."""
    if not parts:
        return _anything
    if len(parts) == 1:
        return parts[0]

    def joined(document: Any) -> bool:  # a loop: a generator for each document costs twice as much
        for part in parts:
            if part(document) is any_of:
                return any_of
        return not any_of

    return joined


def _ordered(accept: Callable[[Any, Any], bool]) -> Callable[[Any, _Key], Predicate]:
    def build(argument: Any, key: _Key) -> Predicate:
        limit = key(argument)
        return lambda value: accept(key(value), limit)

    return build


def _among(arguments: Sequence[Any], key: _Key) -> Predicate:
    """`$in`: of an array, one item must be among them."""
    wanted = frozenset(map(key, arguments))

    def test(value: Any) -> bool:
        if isinstance(value, list):
            return any(key(item) in wanted for item in value)
        return key(value) in wanted

    return test


def _not_among(arguments: Sequence[Any], key: _Key) -> Predicate:
    among = _among(arguments, key)
    return lambda value: not among(value)


def _all(arguments: Sequence[Any], _: _Key) -> Predicate:
    """Each must be an item, exactly as it is: 1 is not 1.0 here. An array within an array may be the value itself."""
    wanted = [encode(one) for one in arguments]
    whole = _raw_key(arguments[0]) if len(arguments) == 1 and isinstance(arguments[0], list) else None

    def test(value: Any) -> bool:
        if not wanted or not isinstance(value, list):
            return False
        held = {encode(item) for item in value}
        return all(one in held for one in wanted) or (whole is not None and whole == _raw_key(value))

    return test


def _exists(wanted: bool, _: _Key) -> Predicate:
    """Asked of a value that is there."""
    return lambda _: wanted


def _size(size: int, _: _Key) -> Predicate:
    return lambda value: isinstance(value, list) and len(value) == size


def _type_is(name: str, _: _Key) -> Predicate:
    return lambda value: _type(value) == name


def _modulo(argument: Sequence[int], _: _Key) -> Predicate:
    divisor, wanted = argument
    return lambda value: type(value) is int and _remainder(value, divisor) == wanted


def _remainder(value: int, divisor: int) -> int:
    """With the sign of `value`, as Erlang's `rem`."""
    rest = abs(value) % abs(divisor)
    return -rest if value < 0 else rest


def _regex(pattern: str, _: _Key) -> Predicate:
    search = compile_pattern(pattern)
    return lambda value: isinstance(value, str) and search(value)


def _begins_with(beginning: str, _: _Key) -> Predicate:
    return lambda value: isinstance(value, str) and value.startswith(beginning)


def _element(inner: Selector, _: _Key) -> Predicate:
    test = _compile(inner, collation_key)
    return lambda value: isinstance(value, list) and any(test(item) for item in value)


def _every_element(inner: Selector, _: _Key) -> Predicate:
    test = _compile(inner, collation_key)
    return lambda value: isinstance(value, list) and bool(value) and all(test(item) for item in value)


def _some_name(inner: Selector, _: _Key) -> Predicate:
    test = _compile(inner, collation_key)
    return lambda value: isinstance(value, Mapping) and any(test(name) for name in value)


_OPERATORS: Final[Mapping[str, Callable[[Any, _Key], Predicate]]] = {
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
