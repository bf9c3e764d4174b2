"""What a request to `_find`, `_explain` or `_index` asks for: its options read and checked. Pure.

Source: CouchDB's `mango_opts`, `mango_sort` and `mango_fields`, whose order of checks and texts these are. Wrong values
that CouchDB stumbles over are refused as the others are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from icure_sync.hub.erlang import print_term, write_term
from icure_sync.hub.errors import HttpRefusal
from icure_sync.hub.mango import Path, parse_path
from icure_sync.hub.selectors import MAX_STORED_PARTS, Selector, normalize

DEFAULT_LIMIT: Final = 25
_REQUIRED: Final = object()

Sort = Mapping[str, str]  # direction by path: "asc" or "desc", the same for all


@dataclass(frozen=True, slots=True)
class FindOptions:
    """One query. `use_index`: a design document, possibly a name in it. `fields`: those wanted; empty: all.

    `update` False: an index is taken as far as it has come. `r`: of how many copies each document is read.
    """

    selector: Selector
    use_index: tuple[str, ...]
    bookmark: str | None
    limit: int
    skip: int
    sort: Sort
    fields: tuple[str, ...]
    partition: str
    r: int
    conflicts: bool
    stale: bool
    update: bool
    stable: bool
    execution_stats: bool
    allow_fallback: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of the fields wanted. Raises `invalid_field_name`."""
        return tuple(map(parse_path, self.fields))

    @property
    def descending(self) -> bool:
        return "desc" in self.sort.values()

    def shown(self) -> dict[str, Any]:
        """As `_explain` shows them."""
        return {
            "use_index": list(self.use_index),
            "bookmark": "nil" if self.bookmark is None else self.bookmark,
            "limit": self.limit,
            "skip": self.skip,
            "sort": self.sort,
            "fields": list(self.fields),
            "partition": self.partition,
            "r": self.r,
            "conflicts": self.conflicts,
            "stale": "ok" if self.stale else False,
            "update": self.update,
            "stable": self.stable,
            "execution_stats": self.execution_stats,
            "allow_fallback": self.allow_fallback,
        }


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """One index to be. `definition`: as it was sent; `sort`, `filter`: what it says. Without a name: None."""

    definition: Mapping[str, Any]
    sort: Sort
    filter: Selector
    name: str | None
    design: str | None
    w: int
    partitioned: bool | None


def parse_find(body: Mapping[str, Any]) -> FindOptions:
    """Raises HttpRefusal 400."""
    return FindOptions(**_check(body, _FIND))


def parse_index(body: Mapping[str, Any]) -> IndexOptions:
    """Raises HttpRefusal 400; 503 for kinds of index that need another service."""
    options = _check(body, _INDEX)
    _check_kind(options["type"])
    definition = options["index"]
    if not isinstance(definition, Mapping):
        raise _refused("invalid_index", f"JSON indexes must be an object, not: {write_term(definition)}")
    content = _check(definition, _DEFINITION)
    return IndexOptions(
        definition,
        content["fields"],
        content["partial_filter_selector"],
        options["name"],
        options["ddoc"],
        options["w"],
        options["partitioned"],
    )


def parse_bulk_delete(body: Mapping[str, Any]) -> list[str]:
    """The design documents whose indexes are to go. Raises HttpRefusal 400."""
    docids: list[str] = _check(body, _BULK_DELETE)["docids"]
    return docids


Check = Callable[[Any], Any]  # the value as it is meant; raises HttpRefusal
_Options = Mapping[str, tuple[Check, Any]]  # how each is checked, and what it is if it is not given


def _check(given: Mapping[str, Any], options: _Options) -> dict[str, Any]:
    checked = {}
    for name, (check, default) in options.items():
        if name in given:
            checked[name] = check(given[name])
        elif default is _REQUIRED:
            raise _refused("missing_required_key", f"Missing required key: {name}")
        else:
            checked[name] = default
    for name in given:
        if name not in options:
            raise _refused("invalid_key", f"Invalid key {name[:80]} for this request.")
    return checked


def _check_kind(kind: str) -> None:
    if kind in {"text", "nouveau"}:
        raise HttpRefusal(503, "required index service unavailable", kind)
    if kind != "json":
        raise _refused("invalid_index", f"Invalid type for index: {kind[:80]}")


def _refused(error: str, reason: str) -> HttpRefusal:
    return HttpRefusal(400, error, reason)


def _anything(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _refused("invalid_string", f"Invalid string: {write_term(value)}")
    return value


def _name(value: Any) -> str:
    if value == "":
        raise _refused("invalid_empty_string", "Index name or ddoc cannot be empty string")
    return _text(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refused("invalid_boolean", f"Invalid boolean value: {write_term(value)}")
    return value


def _positive(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise _refused("invalid_pos_integer", f"{write_term(value)} is not an integer greater than zero")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        reason = f"{write_term(value)} is not an integer greater than or equal to zero"
        raise _refused("invalid_non_neg_integer", reason)
    return value


def _stale(value: Any) -> bool:
    if value not in ("ok", "false") and value is not False:
        raise _refused("invalid_ok_or_false_value", f"Invalid value for stale: {write_term(value)}")
    return bool(value == "ok")


def _partitioned(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refused("invalid_partitioned_value", f"Invalid value for partitioned: {write_term(value)}")
    if value:
        raise _refused("invalid_design_doc", "this database is not partitioned")
    return value


def _partition(value: Any) -> str:
    if not isinstance(value, str):
        raise _refused("illegal_partition", "Partition must be a string")
    return value


def _bookmark(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _refused("invalid_bookmark", f"Invalid bookmark value: {write_term(value)}")
    return value or None


def _use_index(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    names: Sequence[Any] = value.split("/") if isinstance(value, str) else value
    if isinstance(value, str) and len(names) > 1 and names[0] == "_design":
        names = names[1:]
    if not isinstance(names, list) or len(names) > 2 or not all(isinstance(name, str) for name in names):
        raise _refused("invalid_index_name", f"Invalid index name: {write_term(value)}")
    return tuple(names)


def _docids(value: Any) -> list[str]:
    if not isinstance(value, list):
        reason = f"Bulk Delete requires an array of non-null docids. Docids: {write_term(value)}"
        raise _refused("invalid_bulk_docs", reason)
    for one in value:
        _use_index(one)
        if not isinstance(one, str):
            raise _refused("invalid_index_name", f"Invalid index name: {write_term(one)}")
    return value


def _sort(value: Any) -> Sort:
    if not isinstance(value, list):
        raise _refused("invalid_sort_json", f"Sort must be an array of sort specs, not: {print_term(value)}")
    sort = dict(map(_sort_field, value))
    if len(set(sort.values())) > 1:
        reason = "Sorts currently only support a single direction for all fields."
        raise _refused("unsupported_mixed_sort", reason)
    return sort


def _sort_field(value: Any) -> tuple[str, str]:
    if isinstance(value, str) and value:
        return value, "asc"
    if isinstance(value, Mapping) and len(value) == 1:
        ((path, direction),) = value.items()
        if direction in ("asc", "desc"):
            return path, direction
    raise _refused("invalid_sort_field", f"Invalid sort field: {print_term(value)}")


def _filter(value: Any) -> Selector:
    """In its normal form, in which it is stored: it must be one that can be read again."""
    return normalize(normalize(value), MAX_STORED_PARTS)


def _fields(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _refused("invalid_fields", f"Fields must be an array of strings, not: {write_term(value)}")
    for one in value:
        if not isinstance(one, str):
            raise _refused("invalid_field", f"Invalid JSON for field spec: {write_term(one)}")
    return tuple(value)


_FIND: Final[_Options] = {
    "selector": (normalize, _REQUIRED),
    "use_index": (_use_index, ()),
    "bookmark": (_bookmark, None),
    "limit": (_count, DEFAULT_LIMIT),
    "skip": (_count, 0),
    "sort": (_sort, {}),
    "fields": (_fields, ()),
    "partition": (_partition, ""),
    "r": (_positive, 1),
    "conflicts": (_boolean, False),
    "stale": (_stale, False),
    "update": (_boolean, True),
    "stable": (_boolean, False),
    "execution_stats": (_boolean, False),
    "allow_fallback": (_boolean, True),
}
_INDEX: Final[_Options] = {
    "index": (_anything, _REQUIRED),
    "type": (_text, "json"),
    "name": (_name, None),
    "ddoc": (_name, None),
    "w": (_positive, 2),
    "partitioned": (_partitioned, None),
}
_DEFINITION: Final[_Options] = {
    "fields": (_sort, _REQUIRED),
    "partial_filter_selector": (_filter, {}),
}
_BULK_DELETE: Final[_Options] = {"docids": (_docids, _REQUIRED), "w": (_positive, 2)}
