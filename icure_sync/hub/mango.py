"""Mango selectors: read once into a predicate on one document. Pure; knows no database, no index and no HTTP.

Source: CouchDB's documentation of `_find`, and its `mango_selector`: a condition on a member that is absent fails,
whatever its operator, but for `$exists: false`; negation is pushed down to the conditions first, so `$not` does not
pass absent members either. Values of different types are ordered as in views: null, false, true, numbers, strings,
arrays, objects. Strings collate by an approximation of CouchDB's ICU order (`_id` by code points, as there).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from icure_sync.hub.errors import HttpRefusal
from icure_sync.hub.patterns import compile_pattern

Predicate = Callable[[Any], bool]
Selector = Mapping[str, Any]

MAX_DEPTH: Final = 32  # of nested selectors: deeper ones are an attack on the reader
_TYPES: Final = ("null", "boolean", "number", "string", "array", "object")
_NEGATED: Final = {
    "$lt": "$gte",
    "$lte": "$gt",
    "$eq": "$ne",
    "$ne": "$eq",
    "$gte": "$lt",
    "$gt": "$lte",
    "$in": "$nin",
    "$nin": "$in",
}
_ABSENT: Final = object()
_DOT: Final = re.compile(r"(?<!\\)\.")


def compile_selector(selector: object) -> Predicate:
    """The predicate of one selector, to be called with a document (`_id` and the other `_` members included).

    Raises HttpRefusal 400: `invalid_selector_json`, `invalid_operator` or `bad_arg`.
    """
    if not isinstance(selector, Mapping):
        raise HttpRefusal(400, "invalid_selector_json", "Selector must be a JSON object")
    return _selector(selector, negated=False, depth=0)


def collation_key(value: object) -> tuple[Any, ...]:
    """A sort key in the order of CouchDB's views."""
    kind = _type(value)
    rank = _TYPES.index(kind)
    if isinstance(value, str):
        return rank, value.casefold(), value.swapcase()
    if isinstance(value, Sequence):
        return rank, *(collation_key(item) for item in value)
    if isinstance(value, Mapping):
        return rank, *((collation_key(name), collation_key(item)) for name, item in value.items())
    return rank, value or 0


def _selector(selector: Selector, *, negated: bool, depth: int) -> Predicate:
    """Several members mean all of them; negated, any of them."""
    if depth > MAX_DEPTH:
        raise _bad("the selector is nested too deeply")
    parts = [_member(name, value, negated=negated, depth=depth + 1) for name, value in selector.items()]
    return _join(parts, any_of=negated and bool(parts))


def _member(name: str, value: object, *, negated: bool, depth: int) -> Predicate:
    """One member of a selector: a combination of selectors, or a condition on a member of the document."""
    if name in {"$and", "$or", "$nor"}:
        flipped = negated != (name == "$nor")
        parts = [_selector(_object(name, one), negated=flipped, depth=depth) for one in _array(name, value)]
        return _join(parts, any_of=(name == "$or") != negated)
    if name == "$not":
        return _selector(_object(name, value), negated=not negated, depth=depth)
    if name.startswith("$"):
        return _operator(name, value, negated=negated, depth=depth)
    path = tuple(part.replace("\\.", ".") for part in _DOT.split(name))
    return _field(path, value, negated=negated, depth=depth)


def _field(path: tuple[str, ...], condition: object, *, negated: bool, depth: int) -> Predicate:
    """What must hold of the member at `path`."""
    if depth > MAX_DEPTH:
        raise _bad("the selector is nested too deeply")
    if not isinstance(condition, Mapping) or not condition:
        return _at(path, _operator("$eq", condition, negated=negated, depth=depth))
    parts = []
    for name, value in condition.items():
        if name in {"$and", "$or", "$nor"}:
            flipped = negated != (name == "$nor")
            inner = [_field(path, one, negated=flipped, depth=depth + 1) for one in _array(name, value)]
            parts.append(_join(inner, any_of=(name == "$or") != negated))
        elif name == "$not":
            parts.append(_field(path, value, negated=not negated, depth=depth + 1))
        elif name.startswith("$"):
            parts.append(_at(path, _operator(name, value, negated=negated, depth=depth + 1)))
        else:
            inner_path = (*path, *(part.replace("\\.", ".") for part in _DOT.split(name)))
            parts.append(_field(inner_path, value, negated=negated, depth=depth + 1))
    return _join(parts, any_of=negated)


def _operator(name: str, argument: object, *, negated: bool, depth: int) -> Predicate:
    """The test of one operator on a value, which may be `_ABSENT`."""
    if name == "$exists":
        if not isinstance(argument, bool):
            raise _bad("Bad argument for operator $exists")
        wanted = argument != negated
        return lambda value: (value is not _ABSENT) == wanted
    if negated and name in _NEGATED:
        return _operator(_NEGATED[name], argument, negated=False, depth=depth)
    test = _COMPARISONS[name](argument) if name in _COMPARISONS else _composite(name, argument, depth)
    if negated:
        return lambda value: value is not _ABSENT and not test(value)
    return lambda value: value is not _ABSENT and test(value)


def _composite(name: str, argument: object, depth: int) -> Predicate:
    """Operators whose argument is a selector for parts of the value."""
    if name not in {"$elemMatch", "$allMatch", "$keyMapMatch"}:
        raise HttpRefusal(400, "invalid_operator", f"Invalid operator: {name[:40]}")
    inner = _selector(_object(name, argument), negated=False, depth=depth + 1)
    if name == "$elemMatch":
        return lambda value: isinstance(value, list) and any(inner(item) for item in value)
    if name == "$allMatch":
        return lambda value: isinstance(value, list) and bool(value) and all(inner(item) for item in value)
    return lambda value: isinstance(value, Mapping) and any(inner(key) for key in value)


def _ordered(accept: Callable[[Any, Any], bool]) -> Callable[[object], Predicate]:
    def build(argument: object) -> Predicate:
        key = collation_key(argument)
        return lambda value: accept(collation_key(value), key)

    return build


def _among(argument: object) -> Predicate:
    """`$in`: an array passes as well if one of its items is among them."""
    wanted = [collation_key(one) for one in _array("$in", argument)]

    def test(value: Any) -> bool:
        items = value if isinstance(value, list) else ()
        return collation_key(value) in wanted or any(collation_key(item) in wanted for item in items)

    return test


def _not_among(argument: object) -> Predicate:
    among = _among(argument)
    return lambda value: not among(value)


def _all(argument: object) -> Predicate:
    wanted = [collation_key(one) for one in _array("$all", argument)]

    def test(value: Any) -> bool:
        if not isinstance(value, list):
            return False
        held = [collation_key(item) for item in value]
        return bool(wanted) and (all(one in held for one in wanted) or wanted == [collation_key(value)])

    return test


def _size(argument: object) -> Predicate:
    if not isinstance(argument, int) or isinstance(argument, bool) or argument < 0:
        raise _bad("Bad argument for operator $size")
    return lambda value: isinstance(value, list) and len(value) == argument


def _type_is(argument: object) -> Predicate:
    if argument not in _TYPES:
        raise _bad("Bad argument for operator $type")
    return lambda value: _type(value) == argument


def _modulo(argument: object) -> Predicate:
    match argument:
        case [int(divisor), int(rest)] if divisor and not isinstance(divisor, bool) and not isinstance(rest, bool):
            return lambda value: type(value) is int and _remainder(value, divisor) == rest
    raise _bad("Bad argument for operator $mod")


def _remainder(value: int, divisor: int) -> int:
    """With the sign of `value`, as Erlang's `rem`."""
    rest = abs(value) % abs(divisor)
    return -rest if value < 0 else rest


def _regex(argument: object) -> Predicate:
    if not isinstance(argument, str):
        raise _bad("Bad argument for operator $regex")
    search = compile_pattern(argument)
    return lambda value: isinstance(value, str) and search(value)


def _begins_with(argument: object) -> Predicate:
    if not isinstance(argument, str):
        raise _bad("Bad argument for operator $beginsWith")
    return lambda value: isinstance(value, str) and value.startswith(argument)


_COMPARISONS: Final[Mapping[str, Callable[[object], Predicate]]] = {
    "$eq": _ordered(lambda value, wanted: value == wanted),
    "$ne": _ordered(lambda value, wanted: value != wanted),
    "$lt": _ordered(lambda value, limit: value < limit),
    "$lte": _ordered(lambda value, limit: value <= limit),
    "$gt": _ordered(lambda value, limit: value > limit),
    "$gte": _ordered(lambda value, limit: value >= limit),
    "$in": _among,
    "$nin": _not_among,
    "$all": _all,
    "$size": _size,
    "$type": _type_is,
    "$mod": _modulo,
    "$regex": _regex,
    "$beginsWith": _begins_with,
}


def _join(parts: Sequence[Predicate], *, any_of: bool) -> Predicate:
    if len(parts) == 1:
        return parts[0]

    def joined(document: Any) -> bool:  # a loop: a generator for each document costs twice as much
        for part in parts:
            if part(document) is any_of:
                return any_of
        return not any_of

    return joined


def _at(path: tuple[str, ...], test: Predicate) -> Predicate:
    """`test` on the member at `path`. An array is entered by an index, as `tags.0`."""
    if len(path) == 1:
        name = path[0]
        return lambda document: test(document.get(name, _ABSENT) if isinstance(document, dict) else _ABSENT)

    def at(document: Any) -> bool:
        value = document
        for name in path:
            if isinstance(value, dict):
                value = value.get(name, _ABSENT)
            elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
                value = value[int(name)]
            else:
                value = _ABSENT
            if value is _ABSENT:
                break
        return test(value)

    return at


def _type(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, Mapping) else "array"


def _array(name: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _bad(f"Bad argument for operator {name}")
    return value


def _object(name: str, value: object) -> Selector:
    if not isinstance(value, Mapping):
        raise _bad(f"Bad argument for operator {name}")
    return value


def _bad(reason: str) -> HttpRefusal:
    return HttpRefusal(400, "bad_arg", reason)
