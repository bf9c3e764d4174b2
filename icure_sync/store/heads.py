"""The head of a body: the few clear members that routing and lookup need. Owns their reading; knows no tables.

Everything else in a body, the sealed part first of all, is passed over without making values of it.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from icure_sync.canonical import MAX_DEPTH
from icure_sync.errors import InvalidEntity
from icure_sync.replication.limits import MAX_DOCUMENT
from icure_sync.store.limits import MAX_TERM
from icure_sync.strict_json import is_too_deep

TYPE, FOREIGN_KEY, DELEGATE = range(3)  # kinds of terms

Term = tuple[int, str]  # kind, text


class Head(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`type` (`java_type` where other iCure software wrote it), `secretForeignKeys`, and the keys of `delegations`."""

    type: str | None = None
    java_type: str | None = msgspec.field(name="java_type", default=None)
    secret_foreign_keys: list[str] | None = None
    delegations: dict[str, msgspec.Raw] | None = None

    def terms(self) -> set[Term]:
        """What a live leaf with this head is found by. A tombstone is not looked up."""
        found = {(DELEGATE, name) for name in self.delegations or ()}
        found.update((FOREIGN_KEY, key) for key in self.secret_foreign_keys or ())
        type_ = self.type or self.java_type
        if type_ is not None:
            found.add((TYPE, type_))
        return {term for term in found if len(term[1]) <= MAX_TERM}


_UNDERSCORED = re.compile(rb'"_').search  # faster than `in`; mostly finds nothing, as ciphertexts are base64
_decode_head = msgspec.json.Decoder(Head).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_head(body: bytes, max_depth: int = MAX_DEPTH) -> Head:
    """The head of a body that is fit to be stored.

    Raises InvalidEntity unless `body` is one JSON object of at most MAX_DOCUMENT bytes, in UTF-8, nested no deeper than
    `max_depth`, without members whose name begins with `_`. A head member of another kind than ours counts as absent:
    other software's documents are stored as they are.
    """
    if len(body) > MAX_DOCUMENT:
        raise _unfit(f"it has {len(body)} bytes, more than {MAX_DOCUMENT}")
    if is_too_deep(body, max_depth):
        raise _unfit(f"it is nested deeper than {max_depth} levels")
    if not (body.isascii() or _is_utf8(body)):
        raise _unfit("it is not UTF-8")
    try:
        if _UNDERSCORED(body) and any(name.startswith("_") for name in _decode_members(body)):
            raise _unfit("a member's name begins with an underscore")
        return stored_head(body)
    except msgspec.ValidationError as error:
        raise _unfit("it is not a JSON object") from error
    except msgspec.DecodeError as error:
        raise _unfit("it is not JSON") from error


def stored_head(body: bytes) -> Head:
    """The head of a body that is stored: it has been checked."""
    try:
        return _decode_head(body)
    except msgspec.ValidationError:
        return _lenient_head(body)  # another kind of value than ours


def _lenient_head(body: bytes) -> Head:
    members = _decode_members(body)
    return Head(
        type=_member(members, "type", str),
        java_type=_member(members, "java_type", str),
        secret_foreign_keys=_member(members, "secretForeignKeys", list[str]),
        delegations=_member(members, "delegations", dict[str, msgspec.Raw]),
    )


def _member(members: dict[str, msgspec.Raw], name: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(members[name], type=kind) if name in members else None
    except msgspec.ValidationError:
        return None


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unfit(wrong: str) -> InvalidEntity:
    return InvalidEntity(
        "store a document body", wrong, "have it written again as one JSON object of that size at most"
    )
