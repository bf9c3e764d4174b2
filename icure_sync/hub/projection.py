"""What a query shows of a document: chosen fields, or one put together from the fields of an index alone. Pure.

Source: CouchDB's `mango_fields` and `mango_doc`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from icure_sync.hub.mango import ABSENT, Path, value_at


def chosen_fields(document: Any, paths: Iterable[Path]) -> dict[str, Any]:
    """The values at these paths, at the same places; what is not there is left out."""
    chosen: dict[str, Any] = {}
    for path in paths:
        value = value_at(document, path)
        if value is not ABSENT:
            _put(chosen, path, value)
    return chosen


def from_index(doc_id: str, columns: Sequence[Path], values: Sequence[Any]) -> dict[str, Any]:
    """A document as far as a row of an index knows it."""
    document: dict[str, Any] = {"_id": doc_id}
    for path, value in zip(columns, values, strict=True):
        _put(document, path, value)
    return document


def _put(document: dict[str, Any], path: Path, value: Any) -> None:
    """What is in the way and has no members stays as it is."""
    inner: Any = document
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
        if not isinstance(inner, dict):
            return
    inner[path[-1]] = value
