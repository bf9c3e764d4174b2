"""Ids for the records in lists: each list of records is merged record by record, so each needs a name that stays.

Codes and tags are named by what they say; the others get a minted id, which the caller draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from icure_sync.errors import InvalidEntity
from icure_sync.model.fields import Kind, fields_of
from icure_sync.model.values import Record, Value

V = TypeVar("V", bound=Value)

Mint = Callable[[], str]


def with_record_ids(value: V, mint: Mint) -> V:
    """`value` with an id in every record of its lists, nested ones included; itself if none was missing.

    Of records that are alike in everything one is kept. Raises InvalidEntity if two unlike ones share an id.
    """
    changes: dict[str, Any] = {}
    for field in fields_of(type(value)):
        held = getattr(value, field.name)
        if field.record is None or not held:
            continue
        if field.kind is Kind.RECORDS:
            named: Any = _distinct(type(value), field.name, tuple(_named(item, mint) for item in held))
        elif field.kind is Kind.RECORD_MAP:
            named = {key: with_record_ids(item, mint) for key, item in held.items()}
        else:
            named = with_record_ids(held, mint)
        if named is not held and named != held:
            changes[field.name] = named
    return value.replace(**changes) if changes else value


def _named(record: Record, mint: Mint) -> Record:
    inside = with_record_ids(record, mint)
    return inside if inside.id else inside.replace(id=inside.natural_id() or mint())


def _distinct(cls: type[Value], name: str, records: tuple[Record, ...]) -> tuple[Record, ...]:
    by_id: dict[str, Record] = {}
    for record in records:
        if by_id.setdefault(record.id, record) != record:
            raise InvalidEntity(
                f"save a {cls.__name__}", f"two different records in {name} have one id", "give each its own id"
            )
    return tuple(by_id.values())
