"""The merge of concurrent revisions of a record in suite `icure-classic`, as a document.

Owns who can open it after the merge, under which key its body is, and that everybody who merges the same leaves writes
the same bytes: nothing is signed here, and nothing in it depends on who merges. What the leaves' contents come to is
decided in `merge.joining`, and comes in. Pure. FORMAT.md has the layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icure_sync.canonical import canonical
from icure_sync.crypto.classic import DELETED, LINKS, Opened
from icure_sync.crypto.classic_access import ACCESS_MAPS, DELEGATIONS, ENCRYPTION_KEYS, access_map, has_content_keys
from icure_sync.crypto.classic_cipher import Parts, Place, key_bytes, settled_seal
from icure_sync.crypto.classic_layout import (
    ENCRYPTED_SELF,
    SealedNames,
    Sealing,
    content_of,
    is_content,
    sealed_names,
)
from icure_sync.crypto.envelope import merge_salt
from icure_sync.crypto.primitives import AES_BLOCK
from icure_sync.errors import InvalidEntity
from icure_sync.ids import Rev, rev_order
from icure_sync.model.schema import entity_class

_UNITED = frozenset({*ACCESS_MAPS, LINKS, DELETED, ENCRYPTED_SELF})  # what is not simply taken from one leaf


@dataclass(frozen=True, slots=True, repr=False)
class ClassicLeaf:
    """One leaf, and what `open_document` made of it."""

    rev: Rev
    document: Mapping[str, Any]
    opened: Opened


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """What the leaves' contents come to: the record, the stamps to write beside it, and when it was deleted (ms since
    1970; None if it is not)."""

    record: Mapping[str, Any]
    stamps: Mapping[str, Any]
    deleted_at: int | None


@dataclass(frozen=True, slots=True, repr=False)
class ClassicMerged:
    """`document`: the merge. `is_safe`: False if some delegate of a leaf would find no key for it.

    `alike`: leaves that say the same as the merge around their content, under a key that all can use.
    """

    document: dict[str, Any]
    is_safe: bool
    alike: frozenset[Rev]


def merge_documents(leaves: Sequence[ClassicLeaf], outcome: Outcome) -> ClassicMerged:
    """One document for several: the same for everybody who can open these leaves, in any order.

    Raises InvalidEntity for leaves of several types or of a broken form, Tampered for a part that does not open.
    """
    ranked = sorted(leaves, key=lambda leaf: rev_order(leaf.rev), reverse=True)
    if len({leaf.opened.type for leaf in ranked}) > 1:
        raise InvalidEntity(
            f"merge the document {ranked[0].opened.id}", "its leaves are of several types", "correct one of them"
        )
    keys = [key for key in dict.fromkeys(leaf.opened.key for leaf in ranked) if _all_can_use(key, ranked)]
    key = keys[0] if keys else ranked[0].opened.key
    preferred = [leaf for leaf in ranked if leaf.opened.key == key]
    around = _around(ranked, [*preferred, *(leaf for leaf in ranked if leaf.opened.key != key)], outcome.deleted_at)
    document = {**_content(ranked, key, outcome), **around}
    return ClassicMerged(
        document=_sorted(document),
        is_safe=bool(keys),
        alike=frozenset(leaf.rev for leaf in ranked if leaf.opened.key in keys and _says(leaf, around)),
    )


def _all_can_use(key: bytes, leaves: Sequence[ClassicLeaf]) -> bool:
    """Whether each delegate of any leaf has entries in one whose body this key opens: readers try the first of them."""
    sources = [_source(leaf) for leaf in leaves]
    source = ENCRYPTION_KEYS if ENCRYPTION_KEYS in sources else DELEGATIONS
    everyone = {name for leaf, each in zip(leaves, sources, strict=True) for name in _named(leaf, each)}
    return everyone <= {name for leaf in leaves if leaf.opened.key == key for name in _named(leaf, source)}


def _source(leaf: ClassicLeaf) -> str:
    """Which access map its content key comes from."""
    return ENCRYPTION_KEYS if has_content_keys(leaf.opened.id, leaf.document) else DELEGATIONS


def _named(leaf: ClassicLeaf, name: str) -> set[str]:
    return {delegate for delegate, entries in access_map(leaf.opened.id, leaf.document, name).items() if entries}


def _content(ranked: Sequence[ClassicLeaf], key: bytes, outcome: Outcome) -> dict[str, Any]:
    """The content as the highest leaf lays it out. What any leaf seals is sealed, and ciphertexts of that leaf whose
    content stays are kept."""
    above, revs = ranked[0], [leaf.rev for leaf in ranked]
    cls = entity_class(above.opened.type)

    def iv(place: Place, plaintext: bytes) -> bytes:
        return merge_salt(key, revs, canonical([above.opened.id, list(place)]), plaintext)[:AES_BLOCK]

    sealing = Sealing(_parts(above), key, settled_seal(key, iv), outcome.stamps, _elsewhere(ranked))
    return sealing.fields(outcome.record, cls, content_of(above.document))


def _parts(leaf: ClassicLeaf) -> Parts:
    return Parts([key_bytes(value) for value in leaf.opened.content_keys])


def _elsewhere(leaves: Sequence[ClassicLeaf]) -> SealedNames:
    found: dict[tuple[str, ...], frozenset[str]] = {}
    for leaf in leaves:
        names = sealed_names(content_of(leaf.document), entity_class(leaf.opened.type), _parts(leaf))
        for shape, some in names.items():
            found[shape] = found.get(shape, frozenset()) | some
    return found


def _around(ranked: Sequence[ClassicLeaf], preferred: Sequence[ClassicLeaf], deleted_at: int | None) -> dict[str, Any]:
    """Everything that is no content. Entries of the leaves that come first in `preferred` come first."""
    documents = [leaf.document for leaf in ranked]
    around = {
        name: value
        for document in reversed(documents)
        for name, value in document.items()
        if not (is_content(name) or name in _UNITED or name.startswith("_"))
    }
    around.update({name: _entries(preferred, name) for name in ACCESS_MAPS if any(name in each for each in documents)})
    if any(LINKS in each for each in documents):
        around[LINKS] = _united(leaf.opened.secret_foreign_keys for leaf in preferred)
    return around if deleted_at is None else {**around, DELETED: deleted_at}


def _entries(leaves: Sequence[ClassicLeaf], name: str) -> dict[str, list[Any]]:
    maps = [access_map(leaf.opened.id, leaf.document, name) for leaf in leaves]
    delegates = sorted({delegate for each in maps for delegate in each})
    return {delegate: _united(each.get(delegate, ()) for each in maps) for delegate in delegates}


def _united(lists: Iterable[Sequence[Any]]) -> list[Any]:
    """The items of all of these, each once, in the order in which they come."""
    found: dict[bytes, Any] = {}
    for items in lists:
        for item in items:
            found.setdefault(canonical(item), item)
    return list(found.values())


def _says(leaf: ClassicLeaf, around: Mapping[str, Any]) -> bool:
    """Whether a leaf has all of this around its content, in whatever order."""
    return _state(_around([leaf], [leaf], leaf.opened.deleted_at)) == _state(around)


def _state(around: Mapping[str, Any]) -> bytes:
    maps = {name: _unordered(around.get(name, {})) for name in ACCESS_MAPS}
    return canonical({**around, **maps, LINKS: sorted(around.get(LINKS, ()))})


def _unordered(entries: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    return {delegate: sorted(canonical(item).hex() for item in items) for delegate, items in entries.items() if items}


def _sorted(value: Any) -> Any:
    """Members in one order, whatever order servers and other software gave them."""
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value
