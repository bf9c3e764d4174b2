"""Bookmarks: where a query goes on, as text that means nothing to clients. Pure.

One names the last document found and its key: the next page begins after it, whatever was written in between.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import msgspec

from icure_sync.hub.answers import encode
from icure_sync.hub.errors import HttpRefusal

NONE = "nil"  # what CouchDB shows where there is none


@dataclass(frozen=True, slots=True)
class Bookmark:
    """`fields`: the key, of a document found by an index; None: found by its id."""

    id: str
    fields: tuple[Any, ...] | None


class _Wire(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    key: list[Any] | None


_decode = msgspec.json.Decoder(_Wire).decode


def write_bookmark(mark: Bookmark) -> str:
    """As it is handed out."""
    wire = _Wire(mark.id, None if mark.fields is None else list(mark.fields))
    return base64.urlsafe_b64encode(encode(wire)).decode().rstrip("=")


def read_bookmark(text: str) -> Bookmark:
    """Raises `invalid_bookmark`."""
    try:
        wire = _decode(base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)))
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        shown = encode(text[:1_000]).decode()
        raise HttpRefusal(400, "invalid_bookmark", f"Invalid bookmark value: {shown}") from error
    return Bookmark(wire.id, None if wire.key is None else tuple(wire.key))
