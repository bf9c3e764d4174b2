"""How a record in suite `sealed-1` is laid out: the form of each member, before any key or signature is looked at.

Knows one document at a time and believes nothing in it. Lists that are really sets must stand in canonical order, or
two devices would write the same thing in different bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from icure_sync.canonical import canonical_set
from icure_sync.crypto.access import MAPS, SUITE, carried
from icure_sync.crypto.chain import is_entry, malformed
from icure_sync.ids import is_hcp_id, is_rev

MERGED_MOST = 64  # retired leaves that a revision remembers

_HEX_32 = re.compile(r"[0-9a-f]{32}\Z", re.ASCII)
_HEX_64 = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_FILE_MEMBERS = frozenset({"length", "sha256"})


def check_layout(doc_id: str, document: Mapping[str, Any]) -> None:
    """Of a live record. Raises Tampered, which names the member."""
    carried(doc_id, document)
    _check(doc_id, document, _MEMBERS)


def check_ancestry(doc_id: str, document: Mapping[str, Any]) -> None:
    """The part that Hcp documents share: suite, `parents`, `merged`. Raises Tampered, which names the member."""
    _check(doc_id, document, _ANCESTRY)


def _check(doc_id: str, document: Mapping[str, Any], members: Mapping[str, Callable[[Any], bool]]) -> None:
    for name, holds in members.items():
        if not holds(document.get(name)):
            raise malformed(doc_id, f"its {name} is not laid out as it must be")


def _is_suite(value: Any) -> bool:
    return type(value) is str and value == SUITE


def _is_set_of(value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(holds, value)) and canonical_set(value) == value


def _are_revs(value: Any) -> bool:
    return _is_set_of(value, is_rev)


def _are_retired(value: Any) -> bool:
    return _are_revs(value) and len(value) <= MERGED_MOST


def _is_hex_32(value: Any) -> bool:
    return isinstance(value, str) and _HEX_32.match(value) is not None


def _is_hex_64(value: Any) -> bool:
    return isinstance(value, str) and _HEX_64.match(value) is not None


def _are_secret_ids(value: Any) -> bool:
    return _is_set_of(value, _is_hex_32)


def _are_kids(value: Any) -> bool:
    return _are_secret_ids(value) and len(value) > 0


def _is_keyed_map(value: Any) -> bool:
    """`encryptionKeys`: each entry says which content key it wraps."""
    return _is_access_map(value, _is_hex_32)


def _is_plain_map(value: Any) -> bool:
    return _is_access_map(value, lambda of: of == "")


def _is_access_map(value: Any, is_of: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(
        is_hcp_id(delegate) and _is_set_of(entries, partial(_is_sound, delegate=delegate, is_of=is_of))
        for delegate, entries in value.items()
    )


def _is_sound(entry: Any, delegate: str, is_of: Callable[[Any], bool]) -> bool:
    return is_entry(entry, delegate) and is_hcp_id(entry["owner"]) and _is_hex_32(entry["kid"]) and is_of(entry["of"])


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_files(value: Any) -> bool:
    """Of a record's CouchDB attachments; none at all is no member."""
    return value is None or (isinstance(value, dict) and len(value) > 0 and all(map(_is_file, value.values())))


def _is_file(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == _FILE_MEMBERS
        and type(value["length"]) is int
        and value["length"] >= 0
        and _is_hex_64(value["sha256"])
    )


_ANCESTRY: Mapping[str, Callable[[Any], bool]] = {
    "cryptoSuite": _is_suite,
    "parents": _are_revs,
    "merged": _are_retired,
}
_MEMBERS: Mapping[str, Callable[[Any], bool]] = {
    **_ANCESTRY,
    **dict.fromkeys(MAPS, _is_plain_map),
    "encryptionKeys": _is_keyed_map,
    "secretForeignKeys": _are_secret_ids,
    "sealedWith": _are_kids,
    "encryptedSelf": _is_text,
    "files": _are_files,
}
