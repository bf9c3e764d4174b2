"""JSON indexes as they are written down in design documents of language "query". Knows no request.

Source: CouchDB's `mango_idx_view` and `mango_native_proc`. A view's `map` holds the fields and their directions, and
possibly a `partial_filter_selector`; a document is in the index if it has all the fields and passes that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from icure_sync.hub.answers import encode
from icure_sync.hub.errors import HttpRefusal
from icure_sync.hub.filters import as_document
from icure_sync.hub.mango import ABSENT, compile_normal, parse_path, value_at
from icure_sync.hub.selectors import MAX_STORED_PARTS, Selector, normalize
from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Revision
from icure_sync.store import IndexRules, Store

LANGUAGE: Final = "query"
FILTER: Final = "partial_filter_selector"
_LEGACY_FILTER: Final = "selector"


@dataclass(frozen=True, slots=True)
class Definition:
    """One index. `design` None: that of all documents by id, which is always there. `number`: in the store.

    `content`: the view's `map`; its `fields` are directions by path.
    """

    design: DocId | None
    name: str
    content: Mapping[str, Any]
    number: int = 0
    built: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.content["fields"])

    @property
    def filter(self) -> Selector | None:
        """Which documents are in it; None: all."""
        return self.content.get(FILTER) or self.content.get(_LEGACY_FILTER) or None

    @property
    def order(self) -> tuple[bool, str, str]:
        """Where it stands in a list of indexes."""
        return self.design is not None, self.design or "", self.name

    def listed(self) -> dict[str, Any]:
        """As `_index` lists it."""
        head: dict[str, Any] = {"ddoc": self.design, "name": self.name}
        if self.design is None:
            return head | {"type": "special", "def": _shown(self.content)}
        return head | {"type": "json", "partitioned": False, "def": _shown(self.content)}


ALL_DOCS: Final = Definition(None, "_all_docs", {"fields": {"_id": "asc"}})


def all_definitions(store: Store) -> list[Definition]:
    """Those of a database, in the order of a list."""
    return [
        ALL_DOCS,
        *(
            Definition(one.design, one.name, msgspec.json.decode(one.definition), one.number, one.built)
            for one in store.indexes.all()
        ),
    ]


def document_of(revision: Revision, conflicts: Sequence[Rev]) -> Mapping[str, Any] | None:
    """A document as an index sees it: with `_conflicts`, if there are any. None: no reader can hold its values."""
    document = as_document(revision)
    return {**document, "_conflicts": list(conflicts)} if document is not None and conflicts else document


def _shown(content: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in content.items() if not (name == FILTER and value == {})}
    return shown | {"fields": [{path: direction} for path, direction in content["fields"].items()]}


def is_for_indexes(design: Revision) -> bool:
    """Is this design document one whose views are indexes?"""
    return (as_document(design) or {}).get("language") == LANGUAGE


def _definitions(design: Revision) -> Mapping[str, bytes]:
    """The indexes of a design document, by name: none in another language; views that define none are passed over."""
    views = (as_document(design) or {}).get("views")
    if not isinstance(views, Mapping) or not is_for_indexes(design):
        return {}
    return {name: encode(view["map"]) for name, view in views.items() if _is_index(view)}


def _is_index(view: object) -> bool:
    match view:
        case {"map": {"fields": dict()}, "options": dict()}:
            return True
    return False


def _key_of(definition: bytes) -> Callable[[Any], Sequence[Any] | None]:
    """What a document has in an index. One that CouchDB could not build, or that is larger than allowed, is empty."""
    content = msgspec.json.decode(definition)
    try:
        paths = [parse_path(field) for field in content["fields"]]
        stored = content.get(FILTER) or content.get(_LEGACY_FILTER) or {}
        passes = compile_normal(normalize(stored, MAX_STORED_PARTS))
    except HttpRefusal:
        return _nothing

    def key_of(document: Any) -> Sequence[Any] | None:
        values = [value_at(document, path) for path in paths]
        return values if ABSENT not in values and passes(document) else None

    return key_of


def _nothing(_: Any) -> None:
    return None


RULES: Final = IndexRules(_definitions, _key_of, document_of)
