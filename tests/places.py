"""The places of a JSON value, for tests that put any value anywhere in a document."""

from __future__ import annotations

import copy
from typing import Any

Place = tuple[Any, ...]


def places(value: Any, path: Place = ()) -> list[Place]:
    """The path of every value in a document, the document's own first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, item in inner for place in places(item, (*path, name)))]


def with_value(document: Any, path: Place, value: Any) -> Any:
    """A copy that has this value at that place."""
    if not path:
        return value
    changed = copy.copy(document)
    changed[path[0]] = with_value(document[path[0]], path[1:], value)
    return changed


def at(document: Any, path: Place) -> Any:
    """The value at that place."""
    for step in path:
        document = document[step]
    return document
