"""Selectors in their normal form, which everything else about them works on. Pure; knows no document.

Source: CouchDB's `mango_selector`. Normal: one member in each object; several mean `$and`, a bare value `$eq`; names of
fields joined to one path, and pushed down to the conditions; negation pushed down as far as it goes. So that each
condition is `{path: {operator: argument}}`, and `_explain` shows what CouchDB shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from icure_sync.hub.allowance import Allowance, Exhausted, charge_reading
from icure_sync.hub.answers import encode as write_json
from icure_sync.hub.erlang import write_term
from icure_sync.hub.errors import HttpRefusal
from icure_sync.hub.patterns import compile_pattern

Selector = Mapping[str, Any]

MAX_DEPTH: Final = 32  # of nested selectors: deeper ones are an attack on the reader
MAX_PARTS: Final = 1_500  # of one selector, names and alternatives: reading and planning go through all, in one go
MAX_STORED_PARTS: Final = 4 * MAX_PARTS  # of one that is stored: in its normal form, which has up to four for one
MAX_PATH: Final = 10_000  # characters of a path: that of an outer name is repeated for each name within
_MAX_READING: Final = 4_000_000  # work: two tenths of a second, for 300,000 numbers or 130,000 letters with accents
MAX_PATTERNS: Final = 20  # of one selector: the most involved takes some thousandths of a second to read

_COMBINATIONS: Final = frozenset({"$and", "$or", "$nor"})
_INNER: Final = frozenset({"$elemMatch", "$allMatch", "$keyMapMatch"})
_LISTS: Final = frozenset({"$in", "$nin", "$all"})
_COMPARISONS: Final = frozenset({"$lt", "$lte", "$eq", "$ne", "$gte", "$gt"})
_UNSUPPORTED: Final = frozenset({"$where", "$geoWithin", "$geoIntersects", "$near", "$nearSphere"})
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
_DE_MORGAN: Final = {"$and": "$or", "$or": "$and"}


def normalize(selector: object, max_parts: int = MAX_PARTS) -> Selector:
    """The normal form of one selector; `{}` stays as it is, and so does what is in its normal form.

    Raises HttpRefusal 400: `invalid_selector_json`, `invalid_selector`, `invalid_operator`, `not_supported`, `bad_arg`,
    `bad_field`.
    """
    if not isinstance(selector, Mapping):
        reason = f"Selector must be a JSON object, not: {write_term(selector)}"
        raise HttpRefusal(400, "invalid_selector_json", reason)
    if not selector:
        return selector
    if write_json(selector).count(b'"$regex"') > MAX_PATTERNS:
        raise HttpRefusal(400, "bad_arg", f"more than {MAX_PATTERNS} patterns in one selector")
    _check_size(selector, max_parts)
    _check_reading(selector)
    normal = _negations(_fields(_operators(selector, 0), ""))
    if "" in normal:
        raise HttpRefusal(400, "invalid_selector", "One or more conditions is missing a field name.")
    return normal


def only_member(selector: Selector) -> tuple[str, Any]:
    """Name and value of a normal selector that is not empty."""
    ((name, value),) = selector.items()
    return name, value


def named_fields(selector: Selector) -> list[str]:
    """The paths of all conditions."""
    if not selector:
        return []
    name, value = only_member(selector)
    if name.startswith("$") and isinstance(value, list):
        return [field for one in value for field in named_fields(one)]
    return [name]


def _check_size(selector: Selector, max_parts: int) -> None:
    """Raises `bad_arg` for more names of fields and operators, and alternatives, than one selector may have."""
    waiting: list[Any] = [selector]
    parts = 0
    while waiting:
        one = waiting.pop()
        if not isinstance(one, Mapping):
            continue
        parts += len(one)
        for name, argument in one.items():
            if name in _COMBINATIONS and isinstance(argument, list):
                parts += len(argument)
                waiting += argument
            elif name not in _COMPARISONS:
                waiting.append(argument)
        if parts > max_parts:
            raise HttpRefusal(400, "bad_arg", f"more than {max_parts} names and alternatives in one selector")


def _check_reading(selector: Selector) -> None:
    """Raises `bad_arg` if what is compared with takes long to read: letters that stand for many, above all."""
    try:
        charge_reading(selector, Allowance(_MAX_READING))
    except Exhausted:
        raise HttpRefusal(400, "bad_arg", "the values in the selector are more than allowed") from None


def _operators(value: Any, depth: int) -> Selector:  # noqa: PLR0911  (one for each form)
    """Everything spelled out: `$and` for several members, `$eq` for a bare value."""
    if depth > MAX_DEPTH:
        raise HttpRefusal(400, "bad_arg", "the selector is nested too deeply")
    if not isinstance(value, Mapping) or not value:
        return {"$eq": value}
    if len(value) > 1:
        return {"$and": [_operators({name: one}, depth + 1) for name, one in value.items()]}
    name, argument = only_member(value)
    if not name.startswith("$"):
        return {name: _operators(argument, depth + 1)}
    if name in _COMBINATIONS:
        return {name: [_operators(one, depth + 1) for one in _list(name, argument)]}
    if name == "$not" or name in _INNER:
        if not isinstance(argument, Mapping):
            raise _bad_argument(name, argument)
        return {name: _operators(argument, depth + 1)}
    if name == "$text":
        if not isinstance(argument, str | int | float):
            raise _bad_argument(name, argument)
        return {"$default": {"$text": argument}}
    _check_argument(name, argument)
    return value


def _check_argument(name: str, argument: Any) -> None:
    """Raises for an operator that there is not, or that takes other arguments."""
    if name in _COMPARISONS or name == "$default":
        return
    if name in _UNSUPPORTED:
        raise HttpRefusal(400, "not_supported", f"Unsupported operator: {name}")
    if name in _LISTS:
        _list(name, argument)
    elif name in {"$regex", "$beginsWith"}:
        if not isinstance(argument, str):
            raise _no_operator(name)
        if name == "$regex":
            compile_pattern(argument)
    elif name in _FITTING:
        if not _FITTING[name](argument):
            raise _bad_argument(name, argument)
    else:
        raise _no_operator(name)


def _is_size(argument: Any) -> bool:
    return type(argument) is int and argument >= 0


def _is_division(argument: Any) -> bool:
    """Divisor and rest. A divisor of nothing is refused here, where CouchDB stumbles over it."""
    match argument:
        case [divisor, rest]:
            return type(divisor) is int and type(rest) is int and divisor != 0
    return False


_FITTING: Final = {
    "$exists": lambda argument: isinstance(argument, bool),
    "$type": lambda argument: isinstance(argument, str),
    "$size": _is_size,
    "$mod": _is_division,
}


def _fields(selector: Selector, path: str) -> Selector:
    """Names of fields pushed down: `{"a": {"b": {"$or": [x, y]}}}` is `{"$or": [{"a.b": x}, {"a.b": y}]}`."""
    if len(path) > MAX_PATH:
        raise HttpRefusal(400, "bad_arg", f"more than {MAX_PATH} characters in one path")
    name, value = only_member(selector)
    if name in _COMBINATIONS:
        return {name: [_fields(one, path) for one in value]}
    if name == "$not":
        return {name: _fields(value, path)}
    if name in _INNER:
        return {path: {name: _fields(value, "")}}
    if name == "$default":
        if path:
            reason = f"Invalid field normalization on selector: {write_term(selector)}"
            raise HttpRefusal(400, "bad_field", reason)
        return selector
    if name.startswith("$"):
        return {path: selector}
    return _fields(value, f"{path}.{name}" if path else name)


def _negations(selector: Selector) -> Selector:
    name, value = only_member(selector)
    if name == "$not":
        return _negated(value)
    if name == "$nor":
        return {"$and": [_negated(one) for one in value]}
    if name in _DE_MORGAN:
        return {name: [_negations(one) for one in value]}
    return selector


def _negated(selector: Selector) -> Selector:  # noqa: PLR0911  (one for each form)
    name, value = only_member(selector)
    if name == "$not":
        return _negations(value)
    if name == "$nor":
        return {"$or": [_negations(one) for one in value]}
    if name in _DE_MORGAN:
        return {_DE_MORGAN[name]: [_negated(one) for one in value]}
    if name in _NEGATED:
        return {_NEGATED[name]: value}
    if name == "$exists":
        return {name: not value}
    if name == "$default":
        raise _bad_argument("$not", selector)
    if name.startswith("$"):
        return {"$not": selector}
    return {name: _negated(value)}


def _list(name: str, argument: Any) -> Sequence[Any]:
    if not isinstance(argument, list):
        raise _bad_argument(name, argument)
    return argument


def _bad_argument(name: str, argument: Any) -> HttpRefusal:
    return HttpRefusal(400, "bad_arg", f"Bad argument for operator {name}: {write_term(argument)}")


def _no_operator(name: str) -> HttpRefusal:
    return HttpRefusal(400, "invalid_operator", f"Invalid operator: {name[:80]}")
