"""How a member of an entity is declared: its kind, its name on the wire, its policy. Owns `Field` and the functions
that stand beside each dataclass field; knows no entity, no JSON and no keys.

One declaration says everything about a field, once: `note: str | None = text(classic=Policy.SEALED)`. The classes of
records come from the annotations. schema.py reads the tables that follow from this.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar, dataclass_transform, get_args, get_type_hints

T = TypeVar("T")

NOTHING: Mapping[Any, Any] = MappingProxyType({})

_KEY = "icure_sync"


class Policy(Enum):
    """Where a field stands in a document: readable by the server, or inside a ciphertext."""

    CLEAR = "clear"
    SEALED = "sealed"


class Kind(Enum):
    """What a field holds. The value says it in the words of an error message."""

    TEXT = "text"
    INTEGER = "a whole number"
    NUMBER = "a finite number"
    FLAG = "true or false"
    DATE = "a fuzzy date: a whole number YYYYMMDD or YYYYMMDDhhmmss, as fuzzy_date('1795-10-31') gives"
    INSTANT = "a whole number of milliseconds since 1970 (UTC)"
    WORDS = "a list of texts"
    LABELS = "a map of texts"
    RECORD = "one record"
    RECORDS = "a list of records"
    RECORD_MAP = "a map of records"


_EMPTY: dict[Kind, Any] = {
    Kind.WORDS: (),
    Kind.RECORDS: (),
    Kind.LABELS: NOTHING,
    Kind.RECORD_MAP: NOTHING,
}


@dataclass(frozen=True, slots=True)
class Declaration:
    """What stands beside a dataclass field."""

    kind: Kind
    wire: str  # "" if the wire's name is the Python name in camel case
    stored: str  # the name in the JSON that iCure keeps in CouchDB; "" if it is the wire's
    sealed_1: Policy
    classic: Policy
    searchable: bool


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field of one class: `name` in Python, `wire` in the JSON of SDKs, `stored` in that of CouchDB.

    `record`: the class of the records it holds, if it holds any.
    """

    name: str
    wire: str
    stored: str
    kind: Kind
    sealed_1: Policy
    classic: Policy
    searchable: bool
    record: type[Any] | None

    @property
    def empty(self) -> Any:
        """The value of the field where nothing is said."""
        return _EMPTY.get(self.kind)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def declared(cls: type[T]) -> type[T]:
    """Class decorator: a frozen, slotted dataclass with keyword arguments; equality, hash and repr are inherited."""
    return dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)(cls)


def _declare(
    kind: Kind,
    *,
    wire: str = "",
    stored: str = "",
    sealed_1: Policy = Policy.SEALED,
    classic: Policy = Policy.CLEAR,
    searchable: bool = False,
) -> Any:
    declaration = Declaration(kind, wire, stored, sealed_1, classic, searchable)
    return dataclasses.field(default_factory=partial(_EMPTY.get, kind), metadata={_KEY: declaration})


def text(**policy: Any) -> Any:
    """Text that people write and search for: names, notes, descriptions."""
    return _declare(Kind.TEXT, searchable=True, **policy)


def word(**policy: Any) -> Any:
    """Text that is not searched: ids, enumerations, encoded bytes."""
    return _declare(Kind.TEXT, **policy)


def integer(**policy: Any) -> Any:
    """A whole number."""
    return _declare(Kind.INTEGER, **policy)


def number(**policy: Any) -> Any:
    """A finite number."""
    return _declare(Kind.NUMBER, **policy)


def flag(**policy: Any) -> Any:
    """True, false, or None for unknown."""
    return _declare(Kind.FLAG, **policy)


def date(**policy: Any) -> Any:
    """iCure's fuzzy date: an integer YYYYMMDD or YYYYMMDDhhmmss, parts that are not known zero."""
    return _declare(Kind.DATE, **policy)


def instant(**policy: Any) -> Any:
    """Milliseconds since 1970, UTC."""
    return _declare(Kind.INSTANT, **policy)


def words(**policy: Any) -> Any:
    """Several texts that are not searched."""
    return _declare(Kind.WORDS, **policy)


def texts(**policy: Any) -> Any:
    """Several texts that are searched."""
    return _declare(Kind.WORDS, searchable=True, **policy)


def labels(**policy: Any) -> Any:
    """Text by key, mostly by language."""
    return _declare(Kind.LABELS, searchable=True, **policy)


def options(**policy: Any) -> Any:
    """Text by key that is not searched."""
    return _declare(Kind.LABELS, **policy)


def one(**policy: Any) -> Any:
    """One record."""
    return _declare(Kind.RECORD, **policy)


def records(**policy: Any) -> Any:
    """Several records, each with an id: one register per record when bodies are merged."""
    return _declare(Kind.RECORDS, **policy)


def record_map(**policy: Any) -> Any:
    """Records by key."""
    return _declare(Kind.RECORD_MAP, **policy)


def undeclared() -> Any:
    """A map of something that is not content as the model declares it: read-only, empty at first."""
    return dataclasses.field(default_factory=partial(_EMPTY.get, Kind.LABELS))


_fields: dict[type[Any], tuple[Field, ...]] = {}


def fields_of(cls: type[Any]) -> tuple[Field, ...]:
    """The declared fields of an entity or record class, in the order of declaration."""
    found = _fields.get(cls)
    if found is None:
        hints = get_type_hints(cls)
        found = tuple(
            _field(member.name, member.metadata[_KEY], hints[member.name])
            for member in dataclasses.fields(cls)
            if _KEY in member.metadata
        )
        _fields[cls] = found
    return found


def _field(name: str, declaration: Declaration, annotation: Any) -> Field:
    wire = declaration.wire or _camel(name)
    return Field(
        name=name,
        wire=wire,
        stored=declaration.stored or wire,
        kind=declaration.kind,
        sealed_1=declaration.sealed_1,
        classic=declaration.classic,
        searchable=declaration.searchable,
        record=_record_class(declaration.kind, annotation),
    )


def _record_class(kind: Kind, annotation: Any) -> type[Any] | None:
    """`Measure | None`, `tuple[Code, ...]`, `Mapping[str, Content]`: the class inside."""
    if kind in (Kind.RECORD, Kind.RECORDS):
        return get_args(annotation)[0]  # type: ignore[no-any-return]  # annotations are Any to the type checker
    if kind is Kind.RECORD_MAP:
        return get_args(annotation)[1]  # type: ignore[no-any-return]  # as above
    return None


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
