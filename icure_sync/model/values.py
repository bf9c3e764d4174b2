"""What all entities and records are: checked, frozen values that never show their content. Owns Value and Record;
knows no particular entity and no JSON.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

from icure_sync.errors import InvalidEntity
from icure_sync.model.fields import NOTHING, Field, Kind, declared, fields_of, undeclared


class Value:
    """Common to entities and records. Equal if of one class and alike in every field; hashed by class and id.

    Lists given to the constructor become tuples, maps read-only. Raises InvalidEntity for a wrong type: it names the
    field, never its value.
    """

    __slots__ = ()

    id: str
    extra: Mapping[str, Any]

    def __post_init__(self) -> None:
        if type(self.id) is not str:
            raise wrong_kind(type(self), "id", Kind.TEXT)
        for field in fields_of(type(self)):
            value = getattr(self, field.name)
            if value is field.empty:
                continue
            accepted = _accepted(type(self), field, value)
            if accepted is not value:
                object.__setattr__(self, field.name, accepted)
        object.__setattr__(self, "extra", self._accepted_extra())

    def _accepted_extra(self) -> Mapping[str, Any]:
        if not self.extra:
            return NOTHING
        if not isinstance(self.extra, Mapping) or not all(type(key) is str for key in self.extra):
            raise wrong_kind(type(self), "extra", Kind.LABELS)
        known = sorted({"id", *(field.wire for field in fields_of(type(self)))} & set(self.extra))
        if known:
            raise InvalidEntity(
                f"make a {type(self).__name__}",
                f"extra holds {', '.join(known)}, which the model declares",
                "set the field itself",
            )
        return MappingProxyType(dict(self.extra))

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in member_names(type(self)))

    def __hash__(self) -> int:
        return hash((type(self), self.id))

    def __repr__(self) -> str:
        """The class alone: even the ids of records (codes, say) are content."""
        return f"<{type(self).__name__}>"

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed. Raises InvalidEntity for a name that is no field, or a wrong type."""
        names = member_names(type(self))
        unknown = sorted(changes.keys() - names)
        if unknown:
            raise InvalidEntity(
                f"change a {type(self).__name__}",
                f"it has no field {', '.join(unknown)}",
                "see the fields of the class; those of other software are in extra",
            )
        return type(self)(**{name: changes[name] if name in changes else getattr(self, name) for name in names})


@declared
class Record(Value):
    """A part of an entity. `id` names it within its list; `with_record_ids` gives one where the author did not.

    `extra`: members of the JSON that the model does not know, kept as they are.
    """

    ID_STORED: ClassVar[str] = "id"  # what `id` is called in the JSON that iCure keeps in CouchDB

    id: str = ""
    extra: Mapping[str, Any] = undeclared()

    def natural_id(self) -> str:
        """The id that follows from the content, or "" if none does."""
        return ""


def wrong_kind(cls: type[Any], name: str, kind: Kind) -> InvalidEntity:
    """The error for a field whose value has the wrong type."""
    return InvalidEntity(f"make a {cls.__name__}", f"{name} is not {kind.value}", "give it a value of that kind")


_member_names: dict[type[Any], frozenset[str]] = {}


def member_names(cls: type[Any]) -> frozenset[str]:
    """Every member of an entity or record class, metadata included."""
    found = _member_names.get(cls)
    if found is None:
        found = _member_names[cls] = frozenset(member.name for member in dataclasses.fields(cls))
    return found


def _accepted(cls: type[Any], field: Field, value: Any) -> Any:
    """The value as it is stored in a field that holds something. None empties any field."""
    if value is None:
        return field.empty
    accepted = _CHECKS[field.kind](field, value)
    if accepted is None:
        raise wrong_kind(cls, field.name, field.kind)
    return accepted


def _check_text(_: Field, value: Any) -> Any:
    return value if type(value) is str else None


def _check_integer(_: Field, value: Any) -> Any:
    return value if type(value) is int else None


def _check_number(_: Field, value: Any) -> Any:
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    return None


def _check_flag(_: Field, value: Any) -> Any:
    return value if type(value) is bool else None


def _check_words(_: Field, value: Any) -> Any:
    if isinstance(value, list | tuple) and all(type(item) is str for item in value):
        return tuple(value)
    return None


def _check_labels(_: Field, value: Any) -> Any:
    if isinstance(value, Mapping) and all(type(key) is str and type(item) is str for key, item in value.items()):
        return MappingProxyType(dict(value))
    return None


def _check_record(field: Field, value: Any) -> Any:
    return value if type(value) is field.record else None


def _check_records(field: Field, value: Any) -> Any:
    if isinstance(value, list | tuple) and all(type(item) is field.record for item in value):
        return tuple(value)
    return None


def _check_record_map(field: Field, value: Any) -> Any:
    if isinstance(value, Mapping) and all(
        type(key) is str and type(item) is field.record for key, item in value.items()
    ):
        return MappingProxyType(dict(value))
    return None


_CHECKS: dict[Kind, Callable[[Field, Any], Any]] = {
    Kind.TEXT: _check_text,
    Kind.INTEGER: _check_integer,
    Kind.NUMBER: _check_number,
    Kind.FLAG: _check_flag,
    Kind.DATE: _check_integer,
    Kind.INSTANT: _check_integer,
    Kind.WORDS: _check_words,
    Kind.LABELS: _check_labels,
    Kind.RECORD: _check_record,
    Kind.RECORDS: _check_records,
    Kind.RECORD_MAP: _check_record_map,
}
