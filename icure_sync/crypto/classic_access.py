"""Entries in `icure-classic`: what a delegate finds in the access maps of a document, and how it is put there.

Owns the layout of `delegations`, `cryptedForeignKeys` and `encryptionKeys`; knows no fields. An entry is
`{owner, delegatedTo, key, tags?}`; `key` is hex of the AES-CBC, under the pair's Hcp key, of `<document id>:<value>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icure_sync.crypto.classic_cipher import decrypt, encrypt
from icure_sync.crypto.primitives import Entropy
from icure_sync.errors import InvalidEntity, Tampered

DELEGATIONS = "delegations"
FOREIGN_KEYS = "cryptedForeignKeys"
ENCRYPTION_KEYS = "encryptionKeys"
ACCESS_MAPS = (DELEGATIONS, FOREIGN_KEYS, ENCRYPTION_KEYS)

Keys = Callable[[str], Iterable[bytes]]  # an owner's id to the Hcp keys owner→me; read as far as needed

_PLAINTEXT = re.compile(r"[!-9;-~]+:([!-9;-~]+)\Z", re.ASCII)  # printable ASCII with exactly one colon


def access_map(doc_id: str, document: Mapping[str, Any], name: str) -> Mapping[str, Sequence[Any]]:
    """One access map, {} where there is none. Raises InvalidEntity if it is not a map of lists."""
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(entries, list) for entries in value.values()):
        raise InvalidEntity(f"open the document {doc_id}", f"its {name} is not a map of lists", "have it written again")
    return value


def delegates(doc_id: str, document: Mapping[str, Any]) -> frozenset[str]:
    """Everyone who holds an entry in `delegations`. Raises InvalidEntity."""
    return frozenset(name for name, entries in access_map(doc_id, document, DELEGATIONS).items() if entries)


def has_content_keys(doc_id: str, document: Mapping[str, Any]) -> bool:
    """False for data from before 2018: there the values in `delegations` are the keys. Raises InvalidEntity."""
    return any(access_map(doc_id, document, ENCRYPTION_KEYS).values())


@dataclass(frozen=True, slots=True, repr=False)
class ClassicPair:
    """The Hcp key owner→delegate, unwrapped."""

    owner: str
    delegate: str
    key: bytes


def values_for(entries: Sequence[Any], keys: Keys, where: str, attempts: list[str]) -> tuple[str, ...]:
    """The values in my entries of one map (`where`), in their order, each once. What fails is told in `attempts`."""
    found: dict[str, None] = {}
    for place, entry in enumerate(entries):
        owner = _owner(entry)
        value = None if owner is None else _first_value(entry, keys(owner))
        if value is None:
            attempts.append(f"{where}[{place}] by {owner}: no Hcp key opens it")
        else:
            found[value] = None
    return tuple(found)


def entry_value(entry: Any, key: bytes) -> str | None:
    """The value that an entry wraps, None if `key` does not give one.

    The document's id in front is not insisted on (merged patients keep the entries of the other), one colon is.
    """
    try:
        plaintext = decrypt(key, bytes.fromhex(entry["key"])).decode("ascii")
    except (Tampered, ValueError, TypeError, KeyError):
        return None
    match = _PLAINTEXT.match(plaintext)
    return match[1] if match else None


def make_entry(doc_id: str, value: str, pair: ClassicPair, entropy: Entropy) -> dict[str, str]:
    """A new entry. Raises InvalidEntity for an id that readers could not tell from the value."""
    plaintext = f"{doc_id}:{value}"
    if not _PLAINTEXT.match(plaintext):
        raise InvalidEntity(
            f"share the document {doc_id}", "an id in it is not plain ASCII without colon", "give it another id"
        )
    wrapped = encrypt(pair.key, plaintext.encode("ascii"), entropy)
    return {"owner": pair.owner, "delegatedTo": pair.delegate, "key": wrapped.hex()}


def with_entries(
    doc_id: str, entries: Sequence[Any], values: Sequence[str], pair: ClassicPair, entropy: Entropy
) -> list[Any]:
    """A delegate's list with an entry by the owner for each of `values`, these first, in this order.

    Entries that already wrap one of them are kept, not made anew: readers that try only the first find `values[0]`.
    """
    own = [entry for entry in entries if _owner(entry) == pair.owner]
    present = {entry_value(entry, pair.key): entry for entry in reversed(own)}
    wanted = [present.get(value) or make_entry(doc_id, value, pair, entropy) for value in values]
    return wanted + [entry for entry in entries if not any(entry is first for first in wanted)]


def first_opening(entries: Sequence[Any], value: str, keys: Keys) -> list[Any]:
    """A delegate's list, the entry that wraps `value` moved to the front."""
    for entry in entries:
        owner = _owner(entry)
        if owner is not None and _first_value(entry, keys(owner)) == value:
            return [entry, *(other for other in entries if other is not entry)]
    return list(entries)


def _first_value(entry: Any, keys: Iterable[bytes]) -> str | None:
    return next((value for key in keys if (value := entry_value(entry, key)) is not None), None)


def _owner(entry: Any) -> str | None:
    owner = entry.get("owner") if isinstance(entry, dict) else None
    return owner if isinstance(owner, str) else None
