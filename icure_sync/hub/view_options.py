"""What a listing or a view is asked for: the options of `_all_docs`, `_design_docs`, `_local_docs` and of every view.

Read once for all of them, from the query and from the body, with CouchDB's refusals (couch_mrview_http). Knows no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from icure_sync.hub import bodies
from icure_sync.hub.answers import encode
from icure_sync.hub.call import DatabaseCall
from icure_sync.hub.errors import bad_request, query_parse_error
from icure_sync.hub.limits import MAX_BULK_IDS, MAX_QUERIES
from icure_sync.hub.queries import Query
from icure_sync.hub.rendering import PLAIN, Shape

ABSENT: Final[Any] = object()  # a key that is not given: null is one
_ALIASES: Mapping[str, str] = {
    "start_key": "startkey",
    "end_key": "endkey",
    "start_key_doc_id": "startkey_docid",
    "end_key_doc_id": "endkey_docid",
}
_DECODED = frozenset({"key", "keys", "startkey", "endkey"})  # their values are JSON in a query too
_NAMES = _DECODED | _ALIASES.keys()


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """One query. `keys`: exactly these, in this order; None: the range from `start` to `end`, as it is read.

    `start_id`, `end_id` narrow the range among rows of equal keys, None: not at all. `limit` None: no limit.
    `shape`: of included documents.
    """

    keys: tuple[Any, ...] | None = None
    start: Any = ABSENT
    end: Any = ABSENT
    start_id: str | None = None
    end_id: str | None = None
    inclusive_end: bool = True
    descending: bool = False
    skip: int = 0
    limit: int | None = None
    include_docs: bool = False
    update_seq: bool = False
    shape: Shape = field(default=PLAIN)


@dataclass(frozen=True, slots=True)
class Range:
    """Ids from `start` to `end` (None: no bound), bytewise, without `excluded`; read from its end if `descending`."""

    start: str = ""
    end: str | None = None
    descending: bool = False
    excluded: str | None = None
    is_empty: bool = False

    def __contains__(self, doc_id: str) -> bool:
        within = doc_id >= self.start and (self.end is None or doc_id <= self.end)
        return within and not self.is_empty and doc_id != self.excluded


async def listing_options(call: DatabaseCall) -> ViewOptions:
    """The options of one request for a listing; the query stands above a POST's body.

    Raises bad_request, query_parse_error, bad_content_type.
    """
    given, body = _from_query(call.query), await _body(call)
    if not isinstance(body.get("keys", []), list):
        raise bad_request("`keys` body member must be an array.")
    if not isinstance(given.get("keys", []), list):
        raise bad_request("`keys` parameter must be an array.")
    return parse_options(body | given)


def query_options(query: Query) -> ViewOptions:
    """The options of one request that has no body. Raises bad_request, query_parse_error."""
    given = _from_query(query)
    if not isinstance(given.get("keys", []), list):
        raise bad_request("`keys` parameter must be an array.")
    return parse_options(given)


async def view_options(call: DatabaseCall) -> ViewOptions:
    """The same for one query of a view."""
    given, body = _from_query(call.query), await _body(call)
    if "queries" in body:
        raise bad_request("The `queries` parameter is no longer supported at this endpoint")
    if not isinstance(body.get("keys", []), list):
        raise bad_request("`keys` member must be an array.")
    return parse_options(body | given)


async def view_queries(call: DatabaseCall) -> list[ViewOptions]:
    """The options of each query of a POST to `…/queries`. Raises bad_request, query_parse_error, bad_content_type."""
    bodies.require_json(call.request)
    body = await bodies.strict_object(call.request)
    if "queries" not in body:
        raise bad_request("POST body must include `queries` parameter.")
    if not isinstance(body["queries"], list):
        raise bad_request("`queries` member must be an array.")
    if len(body["queries"]) > MAX_QUERIES:
        raise bad_request(f"more than {MAX_QUERIES} queries were asked for at once")
    if not all(isinstance(one, dict) for one in body["queries"]):
        raise bad_request("each of `queries` must be a JSON object")
    shared = _from_query(call.query)
    return [parse_options(shared | one) for one in body["queries"]]


def parse_options(given: Mapping[str, Any]) -> ViewOptions:
    """Values of JSON, or texts where a query gave them. Raises bad_request, query_parse_error."""
    options = ViewOptions()
    shape: dict[str, bool] = {}
    for alias, value in given.items():
        name = _ALIASES.get(alias, alias)
        if name == "key":
            options = replace(options, start=value, end=value)
        elif name in _READERS:
            member, read = _READERS[name]
            options = replace(options, **{member: read(value)})
        elif name in _SHAPES:
            shape[name] = _boolean(value)
        elif name in _CHOICES and value not in _CHOICES[name]:
            raise query_parse_error(f"Invalid value for `{name}`.")
        elif name == "sorted":
            _boolean(value)  # there is one shard: everything is sorted
        elif name == "reduce" and _boolean(value):
            raise query_parse_error("Reduce is invalid for map-only views.")
        elif (name == "group" and _boolean(value)) or (name == "group_level" and _count(value)):
            raise query_parse_error("Invalid use of grouping on a map view.")
    if options.keys and not (options.start is ABSENT and options.end is ABSENT) and len(options.keys) > 1:
        raise query_parse_error("`keys` is incompatible with `key`, `start_key` and `end_key`")
    return replace(options, shape=_shape(shape))


async def _body(call: DatabaseCall) -> dict[str, Any]:
    if call.request.method != "POST":
        return {}
    bodies.require_json(call.request)
    return await bodies.strict_object(call.request)


def _from_query(query: Query) -> dict[str, Any]:
    """Each parameter; keys as the JSON values that they are. Raises bad_request."""
    return {name: query.json(name) if name in _NAMES and "doc" not in name else query.text(name) for name in query}


def id_range(options: ViewOptions) -> Range:
    """The ids that a query without keys asks for. Every other JSON value comes before all ids."""
    first = options.start if options.start is not ABSENT or options.start_id is None else options.start_id
    last = options.end if options.end is not ABSENT or options.end_id is None else options.end_id
    low, high = (last, first) if options.descending else (first, last)
    return Range(
        start=low if isinstance(low, str) else "",
        end=high if isinstance(high, str) else None,
        descending=options.descending,
        excluded=last if not options.inclusive_end and isinstance(last, str) else None,
        is_empty=not (high is ABSENT or isinstance(high, str)),
    )


def chosen_keys(options: ViewOptions) -> Sequence[Any]:
    """The keys of a query that are answered, in the order of their rows."""
    keys = options.keys or ()
    ordered = tuple(reversed(keys)) if options.descending else keys
    return ordered[options.skip : None if options.limit is None else options.skip + options.limit]


def _shape(flags: Mapping[str, bool]) -> Shape:
    return Shape(
        conflicts=flags.get("conflicts", False),
        attachments="data" if flags.get("attachments") else "stub",
        att_encoding_info=flags.get("att_encoding_info", False),
    )


def _keys(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise query_parse_error("`keys` must be an array of strings.")
    if len(value) > MAX_BULK_IDS:
        raise bad_request(f"more than {MAX_BULK_IDS} keys were asked for at once")
    return tuple(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = value.lower() if isinstance(value, str) else ""
    if text not in {"true", "false"}:
        raise query_parse_error(f"Invalid boolean parameter: {_shown(value)}")
    return text == "true"


def _count(value: Any) -> int:
    """A number from 0 on. Raises query_parse_error."""
    digits = value.removeprefix("-") if isinstance(value, str) else ""
    number = int(value) if digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS else value
    if type(number) is not int:
        raise query_parse_error(f"Invalid value for integer: {_shown(value)}")
    if number < 0:
        raise query_parse_error(f"Invalid value for positive integer: {_shown(value)}")
    return min(number, _MOST)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else encode(value).decode()


def _shown(value: Any) -> str:
    return encode(value).decode()[:_MAX_SHOWN]


_MAX_DIGITS = 400  # of a number worth reading
_MAX_SHOWN = 80  # characters of a wrong value that a refusal repeats
_MOST = 2**62  # rows: what a database can count to
_READERS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "keys": ("keys", _keys),
    "startkey": ("start", lambda value: value),
    "endkey": ("end", lambda value: value),
    "startkey_docid": ("start_id", _text),
    "endkey_docid": ("end_id", _text),
    "inclusive_end": ("inclusive_end", _boolean),
    "descending": ("descending", _boolean),
    "skip": ("skip", _count),
    "limit": ("limit", _count),
    "include_docs": ("include_docs", _boolean),
    "update_seq": ("update_seq", _boolean),
}
_SHAPES = frozenset({"conflicts", "attachments", "att_encoding_info"})
_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "stale": ("ok", "update_after"),
    "stable": ("true", "false", True, False),
    "update": ("true", "false", "lazy", True, False),
}
