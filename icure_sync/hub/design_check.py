"""Which design documents are refused: those whose members are of a kind that no server could use. Pure.

Source: CouchDB's `couch_mrview:validate`, whose order and texts these are. Functions are not looked into: they are not
run here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from icure_sync.hub.errors import HttpRefusal

_ANY: Final = "*"
_Step = tuple[str, str]  # a member's name, or any; the kinds that it may be of, in CouchDB's words

_FUNCTION: Final = "string or object"
_PATHS: Final[Sequence[Sequence[_Step]]] = (
    (("filters", "object"), (_ANY, _FUNCTION)),
    (("language", "string"),),
    (("lists", "object"), (_ANY, _FUNCTION)),
    (("options", "object"),),
    (("options", "object"), ("include_design", "boolean")),
    (("options", "object"), ("local_seq", "boolean")),
    (("options", "object"), ("partitioned", "boolean")),
    (("rewrites", "array or string"),),
    (("shows", "object"), (_ANY, _FUNCTION)),
    (("updates", "object"), (_ANY, _FUNCTION)),
    (("validate_doc_update", "string"),),
    (("views", "object"), ("lib", "object")),
    (("views", "object"), (_ANY, "object"), ("map", "string")),
    (("views", "object"), (_ANY, "object"), ("reduce", "string")),
)
_IN_INDEXES: Final = {("map", "string"): ("map", "object")}  # where the language is "query"
_KINDS: Final = {dict: "object", list: "array", str: "string", bool: "boolean"}
_REDUCERS: Final = ("_sum", "_count", "_stats", "_approx_count_distinct", "_first", "_last", "_top_", "_bottom_")
_LANGUAGES: Final = ("javascript", "query")  # in others CouchDB looks no further


def check_design(body: bytes) -> None:
    """Raises `invalid_design_doc`. What no reader can hold is refused elsewhere, in every document."""
    try:
        document: dict[str, Any] = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return
    language = document.get("language", "javascript")
    for path in _PATHS:
        steps = [_IN_INDEXES.get(step, step) for step in path] if language == "query" else path
        _check(document, steps, "")
    views = document.get("views", {})
    for name, view in views.items():
        if name != "lib" and "map" not in view:
            raise _invalid(f"View `{name}` must contain map function")
    if document.get("options", {}).get("partitioned"):
        raise _invalid("partitioned option cannot be true in a non-partitioned database.")
    if language in _LANGUAGES:
        _check_reducers(views)


def _check(value: Mapping[str, Any], steps: Sequence[_Step], above: str) -> None:
    (wanted, kinds), *rest = steps
    for name in value if wanted == _ANY else (wanted,):
        if name not in value:
            continue
        item = value[name]
        if _KINDS.get(type(item)) not in kinds.split(" or "):
            raise _invalid(f"`{above}{name}` field must have {kinds} type")
        if rest:
            _check(item, rest, f"{above}{name}.")


def _check_reducers(views: Mapping[str, Any]) -> None:
    for name, view in views.items():
        reducer = view.get("reduce", "")
        if name != "lib" and reducer.startswith("_") and not reducer.startswith(_REDUCERS):
            raise _invalid(f"`{reducer}` is not a supported reduce function.")


def _invalid(reason: str) -> HttpRefusal:
    return HttpRefusal(400, "invalid_design_doc", reason)
