"""Open, create, edit and share documents in suite `icure-classic`: what released iCure SDKs read and write.

The suite is malleable and nothing in it is signed: what is opened here is unauthenticated, and shown as such. Pure:
Hcp keys come in as a lookup, randomness as `entropy`. A document is the JSON object without its `_` members; its id
stands beside it, its revision id plays no part. Records are plain JSON as `icure_sync.model` reads and writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icure_sync.crypto.classic_access import (
    ACCESS_MAPS,
    DELEGATIONS,
    ENCRYPTION_KEYS,
    FOREIGN_KEYS,
    ClassicPair,
    Keys,
    access_map,
    delegates,
    first_opening,
    has_content_keys,
    values_for,
    with_entries,
)
from icure_sync.crypto.classic_cipher import Parts, encrypt_json, key_bytes, new_uuid, random_seal
from icure_sync.crypto.classic_layout import ENCRYPTED_SELF, STAMPS, Sealing, content_of, is_content, open_fields
from icure_sync.crypto.primitives import Entropy
from icure_sync.errors import InvalidEntity, NoAccess, Tampered
from icure_sync.model import Entity, Hcp
from icure_sync.model.schema import entity_class, entity_class_of_java_type, java_type, record_lists

LINKS = "secretForeignKeys"
DELETED = "deleted"  # epoch milliseconds of a soft deletion


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """One document as one of its delegates sees it.

    `record`: its content. `content_keys`, `secret_ids`, `foreign_ids` (its parents): the values of its entries, as
    text; the content key that opens the current body comes first. `delegates`: who holds an entry. `deleted_at`:
    epoch milliseconds, None if it is not deleted. `stamps`: what merging wrote beside the sealed fields.
    """

    id: str
    type: str
    record: Mapping[str, Any]
    content_keys: tuple[str, ...]
    secret_ids: tuple[str, ...]
    foreign_ids: tuple[str, ...]
    secret_foreign_keys: tuple[str, ...]
    delegates: frozenset[str]
    deleted_at: int | None
    stamps: Any

    @property
    def key(self) -> bytes:
        """The content key in use: of the body, and of the Document's CouchDB attachment."""
        return key_bytes(self.content_keys[0])


@dataclass(frozen=True, slots=True, repr=False)
class ClassicParent:
    """What a new document is filed under: the parent's id, and the secret id of the parent that it shows."""

    id: str
    secret_id: str


def open_document(doc_id: str, document: Mapping[str, Any], me: str, keys: Keys) -> Opened:
    """`keys(owner)`: the Hcp keys owner→me, likeliest first; read only as far as needed.

    Raises NoAccess if no entry for me opens, Tampered if one does and the body still does not, InvalidEntity for a
    document that is not one of iCure's or whose form is broken.
    """
    cls = _class_of(doc_id, document)
    attempts: list[str] = []
    found = {
        name: values_for(access_map(doc_id, document, name).get(me, ()), keys, f"{name}[{me}]", attempts)
        for name in ACCESS_MAPS
    }
    source = ENCRYPTION_KEYS if has_content_keys(doc_id, document) else DELEGATIONS
    content_keys = _content_keys(found[source], attempts)
    if not content_keys:
        raise NoAccess(
            f"open the document {doc_id}",
            f"no entry for {me} gives a content key",
            "ask one of its delegates to share it",
            tuple(attempts) or (f"it has no entry for {me}",),
        )
    parts = Parts([key_bytes(value) for value in content_keys])
    encrypted = document.get(ENCRYPTED_SELF)
    if encrypted is not None:
        current = parts.opening_key(encrypted)
        content_keys = tuple(sorted(content_keys, key=lambda value: key_bytes(value) != current))
    return Opened(
        id=doc_id,
        type=cls.TYPE,
        record=open_fields(content_of(document), cls, parts),
        content_keys=content_keys,
        secret_ids=found[DELEGATIONS],
        foreign_ids=found[FOREIGN_KEYS],
        secret_foreign_keys=_texts(doc_id, document, LINKS),
        delegates=delegates(doc_id, document),
        deleted_at=_deletion(doc_id, document),
        stamps=None if encrypted is None else _stamps(parts, encrypted),
    )


def create_document(
    type_name: str,
    doc_id: str,
    record: Mapping[str, Any],
    *,
    own: ClassicPair,
    entropy: Entropy,
    parents: Sequence[ClassicParent] = (),
    stamps: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A new document that its owner alone can open; `own`: the owner's own Hcp key. Share it with others next.

    `stamps`: what merging wants to find beside the sealed fields. Raises InvalidEntity.
    """
    cls = entity_class(type_name)
    content_key = new_uuid(entropy)
    key = key_bytes(content_key)
    sealing = Sealing(Parts(()), key, random_seal(key, entropy), stamps)
    content = sealing.fields(_checked(type_name, record), cls)
    values = {
        DELEGATIONS: [new_uuid(entropy)],
        FOREIGN_KEYS: [parent.id for parent in parents],
        ENCRYPTION_KEYS: [content_key],
    }
    document = {
        "java_type": java_type(type_name),
        **{name: [] for name in sorted(record_lists(type_name)) if name not in content},
        **content,
        **{name: {} for name in ACCESS_MAPS},
        LINKS: [parent.secret_id for parent in parents],
    }
    return _with_values(doc_id, document, values, own, entropy)


def edit_document(
    document: Mapping[str, Any],
    opened: Opened,
    record: Mapping[str, Any],
    *,
    me: str,
    keys: Keys,
    entropy: Entropy,
    stamps: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The document with `record` as its content; everything else in it stays as it is.

    `opened`: what `open_document` made of it. Its body stays under the key that opens it now, whose entry comes first
    among mine. Members beside the content inside the ciphertext are kept, the stamps too if there are no new ones.
    Raises InvalidEntity, Tampered.
    """
    parts = Parts([key_bytes(value) for value in opened.content_keys])
    sealing = Sealing(parts, opened.key, random_seal(opened.key, entropy), stamps)
    changed = sealing.document(document, _checked(opened.type, record), entity_class(opened.type))
    entries = access_map(opened.id, document, ENCRYPTION_KEYS)
    if len(entries.get(me, ())) > 1:
        changed[ENCRYPTION_KEYS] = {**entries, me: first_opening(entries[me], opened.content_keys[0], keys)}
    return changed


def share_document(document: Mapping[str, Any], opened: Opened, pair: ClassicPair, entropy: Entropy) -> dict[str, Any]:
    """The document with entries by the pair's owner for its delegate.

    Everything that `opened` gives is given on, the content key in use first. Data from before 2018 has no
    `encryptionKeys`; there the values in `delegations` are the keys, and it stays so. Raises InvalidEntity.
    """
    values = {DELEGATIONS: opened.secret_ids, FOREIGN_KEYS: opened.foreign_ids}
    if has_content_keys(opened.id, document):
        values[ENCRYPTION_KEYS] = opened.content_keys
    return _with_values(opened.id, document, values, pair, entropy)


def with_deletion(document: Mapping[str, Any], at: int | None) -> dict[str, Any]:
    """The document hidden (soft deletion at `at`, epoch milliseconds), or, with None, shown again."""
    kept = {name: value for name, value in document.items() if name != DELETED and not name.startswith("_")}
    return kept if at is None else {**kept, DELETED: at}


def with_stamps(
    document: Mapping[str, Any], opened: Opened, stamps: Mapping[str, Any], entropy: Entropy
) -> dict[str, Any]:
    """The document with other stamps, and all else as it is. Raises InvalidEntity, Tampered."""
    encrypted = document.get(ENCRYPTED_SELF)
    part = {} if encrypted is None else Parts([opened.key]).open(encrypted)
    kept = {name: value for name, value in document.items() if not name.startswith("_")}
    sealed = encrypt_json(opened.key, dict(stamps), entropy)
    return {**kept, ENCRYPTED_SELF: encrypt_json(opened.key, {**part, STAMPS: sealed}, entropy)}


def open_hcp_document(doc_id: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """The profile in an Hcp document: it is all clear, and its keys are no part of it. Raises InvalidEntity."""
    if _class_of(doc_id, document) is not Hcp:
        raise _invalid(doc_id, "it is no Hcp document")
    return open_fields(content_of(document), Hcp, Parts(()))


def create_hcp_document(record: Mapping[str, Any], spki: bytes) -> dict[str, Any]:
    """A new Hcp document without Hcp keys. `spki`: its public key, DER. Raises InvalidEntity."""
    document = {"java_type": java_type(Hcp.TYPE), "publicKey": spki.hex(), "hcPartyKeys": {}, "aesExchangeKeys": {}}
    return edit_hcp_document(document, record)


def edit_hcp_document(document: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """The Hcp document with `record` as its profile; its keys stay as they are. Raises InvalidEntity."""
    nothing_sealed = Sealing(Parts(()), b"", random_seal(b"", bytes))  # no key and no randomness: all is clear
    return nothing_sealed.document(document, _checked(Hcp.TYPE, record), Hcp)


def _class_of(doc_id: str, document: Mapping[str, Any]) -> type[Entity]:
    name = document.get("java_type")
    if type(name) is not str:
        raise _invalid(doc_id, "it has no java_type")
    return entity_class_of_java_type(name)


def _stamps(parts: Parts, encrypted: Any) -> Any:
    """None if they do not open: then there are none that say anything of this body."""
    sealed = parts.open(encrypted).get(STAMPS)
    try:
        return None if sealed is None else parts.open(sealed)
    except Tampered:
        return None


def _content_keys(found: tuple[str, ...], attempts: list[str]) -> tuple[str, ...]:
    """The values that can be keys, in their order."""
    usable = []
    for value in found:
        try:
            key_bytes(value)
        except Tampered as error:
            attempts.append(f"a value that was unwrapped: {error.wrong}")
        else:
            usable.append(value)
    return tuple(usable)


def _with_values(
    doc_id: str,
    document: Mapping[str, Any],
    values: Mapping[str, Sequence[str]],
    pair: ClassicPair,
    entropy: Entropy,
) -> dict[str, Any]:
    """The document with entries for the delegate that wrap these values, by the name of their map."""
    changed = {name: value for name, value in document.items() if not name.startswith("_")}
    for name, some in values.items():
        entries = access_map(doc_id, document, name)
        if some:
            made = with_entries(doc_id, entries.get(pair.delegate, ()), some, pair, entropy)
            changed[name] = {**entries, pair.delegate: made}
    return changed


def _checked(type_name: str, record: Mapping[str, Any]) -> Mapping[str, Any]:
    reserved = sorted(name for name in record if not is_content(name))
    if reserved:
        raise InvalidEntity(
            f"save a {type_name}", f"{', '.join(reserved)} cannot be the name of a field", "name it differently"
        )
    return record


def _texts(doc_id: str, document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = document.get(name)
    if value is None:
        return ()
    if type(value) is not list or not all(type(item) is str for item in value):
        raise _invalid(doc_id, f"its {name} is not a list of texts")
    return tuple(value)


def _deletion(doc_id: str, document: Mapping[str, Any]) -> int | None:
    value = document.get(DELETED)
    if value is not None and type(value) is not int:
        raise _invalid(doc_id, "its deletion is not a time")
    return value


def _invalid(doc_id: str, wrong: str) -> InvalidEntity:
    return InvalidEntity(f"open the document {doc_id}", wrong, "have it written again by its own software")
