"""Entities to and from their JSON content, as iCure's SDKs name it. Knows the declared fields; no suite, no keys, no
metadata of documents beyond what callers hand in.

For each class a shape is made once: what to read under which name, how, and where to put it. Reading then looks
nothing up about classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from icure_sync import strict_json
from icure_sync.errors import InvalidEntity
from icure_sync.model.dates import fuzzy_date
from icure_sync.model.entity import NO_PARTIES, Entity
from icure_sync.model.fields import NOTHING, Field, Kind, fields_of
from icure_sync.model.values import Record, Value, member_names, wrong_kind

E = TypeVar("E", bound=Entity)

Path = tuple[str, ...]


def to_record(value: Value) -> dict[str, Any]:
    """The JSON content of an entity or record: wire names, in the order of declaration, then `extra` by name.

    Metadata, None, and empty texts, lists and maps are left out.
    """
    shape = _shape(type(value))
    record: dict[str, Any] = {}
    if shape.has_id and value.id:
        record["id"] = value.id
    for wire, name, write in shape.writers:
        member = getattr(value, name)
        if member or member is False or member == 0:
            record[wire] = member if write is None else write(member)
    if value.extra:
        for key in sorted(value.extra):
            record[key] = value.extra[key]
    return record


def from_record(
    cls: type[E],
    record: Mapping[str, Any],
    *,
    id: str,  # noqa: A002  # the entity's own word
    rev: str,
    siblings: Mapping[Path, Sequence[Any]] = NOTHING,
    shared_with: frozenset[str] = NO_PARTIES,
    deleted: bool = False,
    authenticated: bool = True,
    parent_ids: tuple[str, ...] = (),
) -> E:
    """The entity of one record. `siblings`: values that are not shown, by path of wire names (`("services", id)`).

    Members that the model does not know go to `extra`. The record belongs to the entity from then on. Raises
    InvalidEntity for a value of a wrong type: it names the field, never the value.
    """
    shape = _shape(cls)
    entity: E = _read(cls, shape, record)
    puts = shape.metadata
    puts["id"](entity, id)
    puts["rev"](entity, rev)
    puts["alternatives"](entity, _alternatives(cls, siblings) if siblings else NOTHING)
    puts["shared_with"](entity, shared_with)
    puts["deleted"](entity, deleted)
    puts["authenticated"](entity, authenticated)
    puts["parent_ids"](entity, parent_ids)
    return entity


def parse_field(cls: type[Entity], name: str, text: str) -> tuple[str, Any]:
    """`name` (`dateOfBirth` or `date_of_birth`) and a value as typed on a command line: the Python name and the value.

    Text is taken as it is, dates by `fuzzy_date`, anything else as JSON, lists of texts also as one bare text. An empty
    text empties the field. Raises InvalidEntity.
    """
    field = next((field for field in fields_of(cls) if name in (field.name, field.wire)), None)
    if field is None:
        raise InvalidEntity(
            f"set a field of a {cls.__name__}",
            "it has no such field",
            f"name one of {', '.join(sorted(field.name for field in fields_of(cls)))}",
        )
    if not text:
        return field.name, field.empty
    if field.kind is Kind.TEXT:
        return field.name, text
    if field.kind is Kind.DATE:
        return field.name, fuzzy_date(text)
    try:
        value = strict_json.loads(text.encode(), f"the field {field.name}")
    except InvalidEntity:
        if field.kind is not Kind.WORDS:
            raise
        value = [text]
    if value is None:
        return field.name, field.empty
    try:
        return field.name, _reader(field)(value)
    except _WrongMember as error:
        raise error.of(cls, field.name) from error


def _alternatives(cls: type[Entity], siblings: Mapping[Path, Sequence[Any]]) -> Mapping[str, tuple[Any, ...]]:
    """By Python name: `first_name`, `services/<id>`. Paths that are no field (an order, a link) keep their JSON."""
    by_wire = {field.wire: field for field in fields_of(cls)}
    found: dict[str, tuple[Any, ...]] = {}
    for path, values in siblings.items():
        field = by_wire.get(path[0])
        if field is None:
            found["/".join(path)] = tuple(values)
            continue
        read = _record_reader(field.record) if len(path) > 1 and field.record is not None else _reader(field)
        try:
            found["/".join((field.name, *path[1:]))] = tuple(v if v is None else read(v) for v in values)
        except _WrongMember as error:
            raise error.of(cls, field.name) from error
    return MappingProxyType(found)


class _WrongMember(Exception):
    """A value of a wrong type, on its way out to the one who knows the class. Holds names, never values."""

    def __init__(self, kind: Kind, inner: str = "") -> None:
        super().__init__(inner)
        self.kind = kind
        self.inner = inner

    def under(self, wire: str) -> _WrongMember:
        return _WrongMember(self.kind, f"{wire}.{self.inner}" if self.inner else wire)

    def of(self, cls: type[Any], wire: str) -> InvalidEntity:
        return wrong_kind(cls, f"{wire}.{self.inner}" if self.inner else wire, self.kind)


_Put = Callable[[Any, Any], None]
_Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Shape:
    """How one class is read and written. `blanks`: every member and its value where nothing is said."""

    blanks: tuple[tuple[_Put, Any], ...]
    readers: dict[str, tuple[_Put, _Read]]
    writers: tuple[tuple[str, str, _Read | None], ...]
    metadata: dict[str, _Put]
    put_extra: _Put
    has_id: bool  # records carry their id in the JSON, documents do not


_shapes: dict[type[Any], _Shape] = {}


def _shape(cls: type[Any]) -> _Shape:
    found = _shapes.get(cls)
    if found is None:
        found = _shapes[cls] = _make_shape(cls)
    return found


def _make_shape(cls: type[Any]) -> _Shape:
    puts: dict[str, _Put] = {name: getattr(cls, name).__set__ for name in member_names(cls)}
    declared = fields_of(cls)
    names = {field.name for field in declared}
    readers = {field.wire: (puts[field.name], _reader(field)) for field in declared}
    is_record = issubclass(cls, Record)
    if is_record:
        readers["id"] = (puts["id"], _read_text)
    blanks = [(puts[field.name], field.empty) for field in declared]
    blanks += [(puts["extra"], NOTHING)] + ([(puts["id"], "")] if is_record else [])
    return _Shape(
        blanks=tuple(blanks),
        readers=readers,
        writers=tuple((field.wire, field.name, _WRITERS.get(field.kind)) for field in declared),
        metadata={name: put for name, put in puts.items() if name not in names},
        put_extra=puts["extra"],
        has_id=is_record,
    )


def _read(cls: type[Any], shape: _Shape, record: Mapping[str, Any]) -> Any:
    """A value made member by member: the frozen class forbids it to everyone else, and the constructor checks anew."""
    made = object.__new__(cls)
    for put, empty in shape.blanks:
        put(made, empty)
    extra: dict[str, Any] = {}
    readers = shape.readers
    for wire, value in record.items():
        found = readers.get(wire)
        if found is None:
            extra[wire] = value
        elif value is not None:
            try:
                found[0](made, found[1](value))
            except _WrongMember as error:
                if issubclass(cls, Entity):
                    raise error.of(cls, wire) from error
                raise error.under(wire) from error
    if "id" in extra and issubclass(cls, Entity):
        del extra["id"]  # where a document stands is no content: whoever wrote that must not block every edit
    if extra:
        shape.put_extra(made, MappingProxyType(extra))
    return made


def _record_reader(cls: type[Any]) -> _Read:
    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise _WrongMember(Kind.RECORD)
        return _read(cls, _shape(cls), value)

    return read


def _reader(field: Field) -> _Read:
    if field.record is None:
        return _READERS[field.kind]
    read = _record_reader(field.record)
    if field.kind is Kind.RECORD:
        return read

    def read_list(value: Any) -> Any:
        if type(value) is not list:
            raise _WrongMember(Kind.RECORDS)
        return tuple([read(item) for item in value])

    def read_map(value: Any) -> Any:
        if type(value) is not dict:
            raise _WrongMember(Kind.RECORD_MAP)
        return MappingProxyType({key: read(item) for key, item in value.items()})

    return read_list if field.kind is Kind.RECORDS else read_map


def _read_text(value: Any) -> Any:
    if type(value) is not str:
        raise _WrongMember(Kind.TEXT)
    return value


def _read_integer(value: Any) -> Any:
    if type(value) is not int:
        raise _WrongMember(Kind.INTEGER)
    return value


def _read_number(value: Any) -> Any:
    if type(value) is not int and (type(value) is not float or not math.isfinite(value)):
        raise _WrongMember(Kind.NUMBER)
    return value


def _read_flag(value: Any) -> Any:
    if type(value) is not bool:
        raise _WrongMember(Kind.FLAG)
    return value


def _read_words(value: Any) -> Any:
    if type(value) is not list or not all(type(item) is str for item in value):
        raise _WrongMember(Kind.WORDS)
    return tuple(value)


def _read_labels(value: Any) -> Any:
    if type(value) is not dict or not all(type(item) is str for item in value.values()):
        raise _WrongMember(Kind.LABELS)
    return MappingProxyType(value)


_READERS: dict[Kind, _Read] = {
    Kind.TEXT: _read_text,
    Kind.INTEGER: _read_integer,
    Kind.NUMBER: _read_number,
    Kind.FLAG: _read_flag,
    Kind.DATE: _read_integer,
    Kind.INSTANT: _read_integer,
    Kind.WORDS: _read_words,
    Kind.LABELS: _read_labels,
}

_WRITERS: dict[Kind, _Read] = {
    Kind.WORDS: list,
    Kind.LABELS: dict,
    Kind.RECORD: to_record,
    Kind.RECORDS: lambda items: [to_record(item) for item in items],
    Kind.RECORD_MAP: lambda items: {key: to_record(item) for key, item in items.items()},
}
