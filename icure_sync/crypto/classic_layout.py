"""The fields of an `icure-classic` document: which stand in clear, which in which `encryptedSelf`, and how they are
spelled. Owns the way between a document in CouchDB and one plain record; knows no access maps and no keys.

In CouchDB, iCure spells ids of records `_id` and contents with one or two letters; inside ciphertexts, and in the
records here, stand the long names of its SDKs. What was sealed in a place stays sealed there, whatever the policy says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icure_sync.crypto.classic_cipher import Parts, Place, Seal, settled_json
from icure_sync.model import Record, Service, Value
from icure_sync.model.fields import NOTHING, Field, Kind, Policy, fields_of

ENCRYPTED_SELF = "encryptedSelf"
ENCRYPTED_CONTENT = "encryptedContent"  # of early SDKs: a service's content alone

# The causal data of merging: a ciphertext of its own inside the document's, for SDKs write back in clear what they do
# not know in there.
STAMPS = "_sync"
STAMPS_PLACE: Place = (STAMPS, "")

# Members that are no content, wherever they turn up: a ciphertext that holds one changes nothing.
RESERVED = frozenset(
    {
        *("java_type", "deleted", "rev_history", "cryptoSuite", "securityMetadata", ENCRYPTED_SELF),
        *("delegations", "cryptedForeignKeys", "encryptionKeys", "secretForeignKeys"),
        *("publicKey", "hcPartyKeys", "aesExchangeKeys", "transferKeys", "privateKeyShamirPartitions"),
        *("publicKeysForOaepWithSha256", "publicKeysForOaepWithSha1"),
    }
)

Shape = tuple[str, ...]  # the names of the members that lead to a record, whichever of several it is
SealedNames = Mapping[Shape, frozenset[str]]

_NONE_SEALED: frozenset[str] = frozenset()


def is_content(name: str) -> bool:
    """Whether a member of a document, or of what its ciphertext holds, is content."""
    return name not in RESERVED and not name.startswith("_")


def content_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a document that hold content, in clear or sealed, as they are stored."""
    return {name: value for name, value in document.items() if name == ENCRYPTED_SELF or is_content(name)}


def open_fields(node: Mapping[str, Any], cls: type[Value] | None, parts: Parts) -> dict[str, Any]:
    """The plain record of a document's content, or of a record in it. `cls`: None where the model knows none.

    Raises Tampered for a ciphertext that does not open.
    """
    spelling = _spelling(cls)
    record = {}
    for stored, value in node.items():
        if stored != ENCRYPTED_SELF and not (stored == ENCRYPTED_CONTENT and cls is Service):
            name, field = spelling.read.get(stored, (stored, None))
            record[name] = _open_value(value, field, parts)
    record.update({name: value for name, value in _part(node, cls, parts).items() if is_content(name)})
    return record


def sealed_names(node: Mapping[str, Any], cls: type[Value] | None, parts: Parts) -> SealedNames:
    """Which content stands in a ciphertext, by the shape of its place. Raises Tampered."""
    found: dict[Shape, frozenset[str]] = {}
    _gather_sealed(node, cls, parts, (), found)
    return found


@dataclass(frozen=True, slots=True, repr=False)
class Sealing:
    """How one edit is written: the document's parts as they were and as they will be.

    `seal` makes what `current_key` opens. `stamps`: new ones, None to keep those there are. `elsewhere`: what must be
    sealed because other revisions seal it.
    """

    parts: Parts
    current_key: bytes
    seal: Seal
    stamps: Mapping[str, Any] | None = None
    elsewhere: SealedNames = dataclasses.field(default_factory=dict)

    def document(
        self, document: Mapping[str, Any], record: Mapping[str, Any], cls: type[Value] | None
    ) -> dict[str, Any]:
        """The document with its content replaced, its other members and its order kept; `_` members left out."""
        before = content_of(document)
        content = self.fields(record, cls, before)
        kept = {
            name: content.get(name, value)
            for name, value in document.items()
            if not name.startswith("_") and (name in content or name not in before)
        }
        return {**kept, **content}

    def fields(
        self,
        record: Mapping[str, Any],
        cls: type[Value] | None,
        before: Mapping[str, Any] = NOTHING,
        inherited: frozenset[str] = _NONE_SEALED,
        place: Place = (),
    ) -> dict[str, Any]:
        """`record` as it is stored. `before`: what stood in its place; `inherited`: names sealed in its neighbours.

        A ciphertext whose content did not change is kept, members keep their order, and empty ones stay where the
        record says nothing: an edit changes no more than it must. Raises InvalidEntity, Tampered.
        """
        spelling = _spelling(cls)
        part_before = _part(before, cls, self.parts)
        elsewhere = self.elsewhere.get(place[::2], _NONE_SEALED)
        sealed = spelling.sealed | inherited | elsewhere | part_before.keys()
        part = {name: value for name, value in part_before.items() if not is_content(name)}
        if self.stamps is not None and not place:
            part[STAMPS] = self.seal(STAMPS_PLACE, dict(self.stamps))
        clear = {}
        for name, value in record.items():
            if name in sealed and not (cls is Service and name == "content" and _only_compounds(value)):
                part[name] = value
            else:
                stored, field = spelling.write.get(name, (name, None))
                clear[stored] = self._value(value, field, before.get(stored), (*place, name))
        if part or part_before:
            clear[ENCRYPTED_SELF] = self._ciphertext(part, part_before, before, place)
        return _as_before(clear, before, {spelling.write.get(name, (name, None))[0] for name in part})

    def _value(self, value: Any, field: Field | None, before: Any, place: Place) -> Any:
        cls = field.record if field else None
        if type(value) is list:
            return self._list(value, cls, before, place)
        if type(value) is dict and field is not None and cls is not None:
            earlier = _mapping(before)
            if field.kind is Kind.RECORD_MAP:
                return {
                    key: self.fields(item, cls, _mapping(earlier.get(key)), place=(*place, key))
                    if type(item) is dict
                    else item
                    for key, item in value.items()
                }
            return self.fields(value, cls, earlier, place=(*place, ""))
        return value

    def _list(self, items: list[Any], cls: type[Record] | None, before: Any, place: Place) -> list[Any]:
        neighbours = [item for item in before if type(item) is dict] if type(before) is list else []
        inherited = frozenset(name for item in neighbours for name in _part(item, cls, self.parts) if is_content(name))
        by_id = {_record_id(item): item for item in neighbours}
        return [
            self.fields(item, cls, by_id.get(_record_id(item), NOTHING), inherited, (*place, _step(item, index)))
            if type(item) is dict
            else item
            for index, item in enumerate(items)
        ]

    def _ciphertext(
        self, part: dict[str, Any], part_before: dict[str, Any], before: Mapping[str, Any], place: Place
    ) -> str:
        encrypted = before.get(ENCRYPTED_SELF)
        if (
            type(encrypted) is str
            and ENCRYPTED_CONTENT not in before
            and _is_same(_without_empties(part), _without_empties(part_before))
            and self.parts.opening_key(encrypted) == self.current_key
        ):
            return encrypted
        return self.seal(place, part)


@dataclass(frozen=True, slots=True)
class _Spelling:
    """How one class is stored: names as stored to the record's, the record's to those stored, each with its field."""

    read: Mapping[str, tuple[str, Field | None]]
    write: Mapping[str, tuple[str, Field | None]]
    sealed: frozenset[str]


_spellings: dict[type[Value] | None, _Spelling] = {None: _Spelling({}, {}, _NONE_SEALED)}


def _spelling(cls: type[Value] | None) -> _Spelling:
    found = _spellings.get(cls)
    if found is None:
        found = _spellings[cls] = _make_spelling(cls)  # type: ignore[arg-type]  # None is there from the start
    return found


def _make_spelling(cls: type[Value]) -> _Spelling:
    read: dict[str, tuple[str, Field | None]] = {}
    write: dict[str, tuple[str, Field | None]] = {}
    for field in fields_of(cls):
        write[field.wire] = (field.stored, field)
        read[field.wire] = (field.wire, field)  # the long names are understood as well
        read[field.stored] = (field.wire, field)
    if issubclass(cls, Record):
        write["id"] = (cls.ID_STORED, None)
        read[cls.ID_STORED] = ("id", None)
    return _Spelling(read, write, frozenset(f.wire for f in fields_of(cls) if f.classic is Policy.SEALED))


def _open_value(value: Any, field: Field | None, parts: Parts) -> Any:
    """Records in lists are opened whatever they are, as SDKs do; single ones and maps where the model knows them."""
    cls = field.record if field else None
    if type(value) is list:
        return [open_fields(item, cls, parts) if type(item) is dict else item for item in value]
    if type(value) is dict and field is not None and cls is not None:
        if field.kind is Kind.RECORD_MAP:
            return {key: _open_value([item], field, parts)[0] for key, item in value.items()}
        return open_fields(value, cls, parts)
    return value


def _gather_sealed(
    node: Mapping[str, Any], cls: type[Value] | None, parts: Parts, shape: Shape, found: dict[Shape, frozenset[str]]
) -> None:
    names = frozenset(name for name in _part(node, cls, parts) if is_content(name))
    if names:
        found[shape] = found.get(shape, _NONE_SEALED) | names
    spelling = _spelling(cls)
    for stored, value in node.items():
        name, field = spelling.read.get(stored, (stored, None))
        for inner in _records_in(value, field):
            _gather_sealed(inner, field.record if field else None, parts, (*shape, name), found)


def _records_in(value: Any, field: Field | None) -> list[dict[str, Any]]:
    """The records that `_open_value` opens."""
    if type(value) is dict and field is not None and field.record is not None:
        items = list(value.values()) if field.kind is Kind.RECORD_MAP else [value]
    else:
        items = value if type(value) is list else []
    return [item for item in items if type(item) is dict]


def _part(node: Mapping[str, Any], cls: type[Value] | None, parts: Parts) -> dict[str, Any]:
    """What the ciphertext of one node holds, {} if there is none."""
    if cls is Service and node.get(ENCRYPTED_CONTENT) is not None:
        return {"content": parts.open(node[ENCRYPTED_CONTENT])}
    encrypted = node.get(ENCRYPTED_SELF)
    return {} if encrypted is None else parts.open(encrypted)


def _only_compounds(content: Any) -> bool:
    """A service made of services: SDKs leave it in clear and seal the inner ones."""
    return type(content) is dict and all(
        type(item) is dict and set(item) == {"compoundValue"} for item in content.values()
    )


def _as_before(clear: dict[str, Any], before: Mapping[str, Any], sealed: set[str]) -> dict[str, Any]:
    """`clear` in the order of `before`, with the empty members of `before` that nothing replaces."""
    kept = {
        name: clear.get(name, value)
        for name, value in before.items()
        if name in clear or (value in (None, "", [], {}) and name not in sealed and name != ENCRYPTED_SELF)
    }
    return {**kept, **clear}


def _record_id(item: Any) -> Any:
    """The id of a record, or the record itself: one without an id is like no other."""
    name = item.get("_id", item.get("id")) if type(item) is dict else None
    return name if type(name) is str and name else id(item)


def _step(item: dict[str, Any], index: int) -> str:
    """What names a record among its neighbours."""
    name = _record_id(item)
    return name if type(name) is str else str(index)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if type(value) is dict else NOTHING


def _is_same(one: Any, other: Any) -> bool:
    """To Python 1 and true are equal."""
    return bool(one == other) and settled_json(one) == settled_json(other)


def _without_empties(value: Any) -> Any:
    """For comparing: models leave out what is empty."""
    if type(value) is dict:
        return {
            name: slim for name, item in value.items() if (slim := _without_empties(item)) not in (None, "", [], {})
        }
    if type(value) is list:
        return [_without_empties(item) for item in value]
    return value
