"""What a person chose for the fields in dispute, as registers to write. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from icure_sync.canonical import authored
from icure_sync.engine.conflict import Disputed
from icure_sync.errors import InvalidEntity
from icure_sync.merge.disputes import Version
from icure_sync.merge.registers import DELETED, Path
from icure_sync.model import Value, to_record

_EMPTY: tuple[Any, ...] = (None, "", [], {})


def chosen(doc_id: str, fields: Sequence[Disputed], choices: Any) -> dict[Path, Any]:
    """The registers to write, in plain values.

    `choices`: by path or name, a Version of that field or a new value; None: what is shown, everywhere; anything else:
    the value of the only field in dispute. Raises InvalidEntity.
    """
    attempted = f"settle {doc_id}"
    if not fields:
        raise InvalidEntity(attempted, "nothing in it is in dispute", "look at what conflicts() gives of it")
    if choices is None:
        return {each.path: _plain(each, each.shown, attempted) for each in fields}
    if not isinstance(choices, Mapping):
        if len(fields) > 1:
            raise InvalidEntity(attempted, f"{_names(fields)} are in dispute", "say which value is for which of them")
        return {fields[0].path: _plain(fields[0], choices, attempted)}
    if not choices:
        raise InvalidEntity(attempted, "no field is named", f"name one of {_names(fields)}")
    found: dict[Path, Any] = {}
    for key, value in choices.items():
        named = next((each for each in fields if key in (each.path, each.name, "/".join(each.path))), None)
        if named is None:
            raise InvalidEntity(attempted, f"{_text(key)} is not in dispute", f"name one of {_names(fields)}")
        found[named.path] = _plain(named, value, attempted)
    return found


def _plain(field: Disputed, value: Any, attempted: str) -> Any:
    given = _unwrapped(value.value if isinstance(value, Version) else value)
    if field.path == DELETED:
        if not isinstance(given, bool):
            raise InvalidEntity(attempted, "a record is deleted or it is not", "say True or False for deleted")
        return given
    if given in _EMPTY:
        return None
    ids = {getattr(each.value, "id", None) for each in (field.shown, *field.alternatives)}
    if isinstance(given, dict) and field.path[-1] in ids:  # the record of a list: it stays the one that it is
        given = {**given, "id": field.path[-1]}
    return authored(given)


def _unwrapped(value: Any) -> Any:
    """Records, tuples and frozen maps as JSON has them."""
    if isinstance(value, Value):
        return to_record(value)
    if isinstance(value, Mapping):
        return {key: _unwrapped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_unwrapped(item) for item in value]
    return value


def _names(fields: Sequence[Disputed]) -> str:
    return ", ".join(each.name for each in fields)


def _text(key: Any) -> str:
    return key if isinstance(key, str) else "/".join(map(str, key)) if isinstance(key, tuple) else "that"
