"""The delegation chain: from an Hcp key, through the entries of a record's access maps, to its keys and ids.

Owns the layout of an entry and the associated data that binds a wrapped value to its place. Knows no bodies.

    entry {"owner", "delegatedTo", "kid": of the Hcp key, "of": kid of the wrapped content key or "", "key": envelope}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from icure_sync.canonical import pack
from icure_sync.crypto.access import SUITE, Subject, with_entries
from icure_sync.crypto.envelope import KEY_BYTES, SALT_BYTES, from_text, kid, open_envelope, seal, to_text
from icure_sync.crypto.hcp_keys import HcpKey
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.primitives import Entropy, SymmetricKey
from icure_sync.errors import NoAccess, Tampered
from icure_sync.ids import DocId, Kid

Entry = Mapping[str, str]
Value = TypeVar("Value")

_TEXT = {str}
_ENTRY_MEMBERS = frozenset({"owner", "delegatedTo", "kid", "of", "key"})


@dataclass(frozen=True, slots=True, repr=False)
class Chain:
    """What one reader unwrapped from one document: its content keys, secret ids and foreign keys."""

    subject: Subject
    content_keys: Mapping[Kid, SymmetricKey]
    secret_ids: frozenset[str]
    foreign_keys: frozenset[DocId]


def unwrap_chain(subject: Subject, document: Mapping[str, Any], keyring: Keyring) -> Chain:
    """Everything that this reader's entries hold. Raises NoAccess if the sealing keys are not among it, Tampered.

    Other entries that hold nothing are passed over: whoever has access can write such, and must not keep others by it
    from sharing the record, or from putting him out.
    """
    content_keys = dict(sealing_keys(subject, document, keyring))
    for of, value in _unwrapped(subject, document, "encryptionKeys", keyring, _promised):
        content_keys[Kid(of)] = value
    secret_ids = {value.hex() for _, value in _unwrapped(subject, document, "delegations", keyring, _as_it_is)}
    foreign_keys = {DocId(value) for _, value in _unwrapped(subject, document, "cryptedForeignKeys", keyring, _text)}
    return Chain(subject, content_keys, frozenset(secret_ids), frozenset(foreign_keys))


def sealing_keys(subject: Subject, document: Mapping[str, Any], keyring: Keyring) -> list[tuple[Kid, SymmetricKey]]:
    """The keys that `sealedWith` names, by kid. Raises NoAccess with every attempt, Tampered."""
    names = document.get("sealedWith")
    if type(names) is not list or {*map(type, names)} != _TEXT:
        raise malformed(subject.id, "it does not say what it is sealed with")
    found: dict[Kid, SymmetricKey] = {}
    attempts: list[str] = []
    for entry in _entries(subject, document, "encryptionKeys", keyring):
        of = Kid(entry["of"])
        if of in found or of not in names:
            continue
        hcp_key = _hcp_key(entry, keyring)
        if hcp_key is None:
            attempts.append(f"the Hcp key {entry['kid']} of {entry['owner']} is not here")
            continue
        found[of] = _content_key(subject, entry, hcp_key, keyring)
    if len(found) < len(set(names)):
        raise _no_access(subject, keyring, attempts)
    return sorted(found.items())


@dataclass(frozen=True, slots=True, repr=False)
class Wrapper:
    """Wraps values for one delegate of one record."""

    subject: Subject
    hcp_key: HcpKey
    entropy: Entropy

    def access_maps(
        self, content_keys: Mapping[Kid, SymmetricKey], secret_ids: Iterable[str], foreign_keys: Iterable[DocId]
    ) -> dict[str, dict[str, list[Entry]]]:
        """The delegate's entries in the three access maps."""
        return {
            "delegations": self._entries("delegations", [("", bytes.fromhex(each)) for each in sorted(secret_ids)]),
            "cryptedForeignKeys": self._entries(
                "cryptedForeignKeys", [("", parent.encode()) for parent in sorted(foreign_keys)]
            ),
            "encryptionKeys": self._entries("encryptionKeys", sorted(content_keys.items())),
        }

    def _entries(self, map_name: str, values: Sequence[tuple[str, bytes]]) -> dict[str, list[Entry]]:
        return with_entries({}, [self._entry(map_name, of, value) for of, value in values])

    def _entry(self, map_name: str, of: str, value: bytes) -> Entry:
        pair = self.hcp_key
        entry = {"owner": pair.owner, "delegatedTo": pair.delegate, "kid": pair.kid, "of": of}
        data = wrap_data(self.subject, map_name, entry)
        return {**entry, "key": to_text(seal(pair.key, value, data, self.entropy(SALT_BYTES)))}


def wrap_data(subject: Subject, map_name: str, entry: Entry) -> bytes:
    """Associated data of one wrapped value: binds it to its place in the document, its pair and its key."""
    place = [map_name, entry["owner"], entry["delegatedTo"], entry["kid"], entry["of"]]
    return pack(["icure-sync/wrap/1", SUITE, subject.type, subject.id, subject.creator, *place])


def is_entry(value: Any, delegate: str) -> bool:
    """Whether this is laid out as an entry for that delegate."""
    return (
        type(value) is dict
        and value.keys() == _ENTRY_MEMBERS
        and {*map(type, value.values())} == _TEXT
        and value["delegatedTo"] == delegate
    )


def malformed(doc_id: str, wrong: str) -> Tampered:
    """For what no writer of this suite would write."""
    return Tampered(f"open document {doc_id}", wrong, "keep it aside and tell whoever runs the server")


def _unwrapped(
    subject: Subject,
    document: Mapping[str, Any],
    map_name: str,
    keyring: Keyring,
    read: Callable[[Subject, str, bytes], Value],
) -> Iterator[tuple[str, Value]]:
    """What `read` makes of each entry for this reader whose Hcp key is here, by what it is a key `of`."""
    for entry in _entries(subject, document, map_name, keyring):
        hcp_key = _hcp_key(entry, keyring)
        if hcp_key is not None:
            with suppress(Tampered):
                yield entry["of"], read(subject, entry["of"], _unwrap(subject, map_name, entry, hcp_key))


def _entries(subject: Subject, document: Mapping[str, Any], map_name: str, keyring: Keyring) -> Sequence[Entry]:
    me = keyring.identity.hcp_id
    access_map = document.get(map_name)
    entries = access_map.get(me, []) if isinstance(access_map, dict) else None
    if type(entries) is not list or not all(is_entry(entry, me) for entry in entries):
        raise malformed(subject.id, f"its {map_name} are not laid out as they must be")
    return entries


def _hcp_key(entry: Entry, keyring: Keyring) -> HcpKey | None:
    """By kid; it must be that of the entry's own pair."""
    return keyring.get(entry["owner"], entry["delegatedTo"], entry["kid"])


def _unwrap(subject: Subject, map_name: str, entry: Entry, hcp_key: HcpKey) -> bytes:
    return open_envelope(hcp_key.key, from_text(entry["key"]), wrap_data(subject, map_name, entry))


def _content_key(subject: Subject, entry: Entry, hcp_key: HcpKey, keyring: Keyring) -> SymmetricKey:
    """Unwrapped once for each entry: what is remembered goes by all that unwrapping depends on."""
    data = wrap_data(subject, "encryptionKeys", entry)
    known = keyring.unwrapped(data, entry["key"])
    if known is not None:
        return known
    key = _promised(subject, entry["of"], open_envelope(hcp_key.key, from_text(entry["key"]), data))
    keyring.remember(data, entry["key"], key)
    return key


def _promised(subject: Subject, name: str, key: bytes) -> SymmetricKey:
    if len(key) != KEY_BYTES or kid(key) != name:
        raise malformed(subject.id, "a content key is not the one that its kid promises")
    return SymmetricKey(key)


def _no_access(subject: Subject, keyring: Keyring, attempts: Sequence[str]) -> NoAccess:
    tried = "; ".join(attempts) or "no entry is for it"
    return NoAccess(
        f"open document {subject.id}",
        f"{keyring.identity.hcp_id} cannot unwrap its content key ({tried})",
        "sync, or ask one of its delegates to share it",
        tuple(attempts),
    )


def _as_it_is(_: Subject, __: str, value: bytes) -> bytes:
    return value


def _text(subject: Subject, _: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        pass  # it quotes the value, so the error below must not carry it
    raise malformed(subject.id, "a foreign key is not text")
