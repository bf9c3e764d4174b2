"""The text of an entity that a full-text index holds: names, notes, descriptions, code labels, service contents.

Which fields count is declared beside them (`searchable`). The result is content: it belongs inside the encrypted
replica and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from icure_sync.model.fields import Field, Kind, fields_of
from icure_sync.model.values import Value


def search_text(value: Value) -> str:
    """The searchable texts, one a line, in the order of declaration, each once."""
    return "\n".join(dict.fromkeys(_texts(value)))


def _texts(value: Value) -> Iterator[str]:
    for field in fields_of(type(value)):
        held = getattr(value, field.name)
        if held:
            yield from _texts_in(field, held)


def _texts_in(field: Field, held: Any) -> Iterator[str]:
    if field.kind is Kind.RECORD:
        yield from _texts(held)
    elif field.record is not None:
        for record in held.values() if field.kind is Kind.RECORD_MAP else held:
            yield from _texts(record)
    elif field.searchable:
        if field.kind is Kind.TEXT:
            yield held
        else:
            yield from (held.values() if field.kind is Kind.LABELS else held)
