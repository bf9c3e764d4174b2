"""Retired Hcp keys: those of which the owner makes no new entries, and why. Owns the layout of `retiredKeys`.

A key that ended as planned stays as good as it was. One that ended as compromised is known to somebody who should not
know it: what is sealed under it is sealed anew with the next write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from icure_sync.canonical import canonical_set
from icure_sync.crypto.identity import ENDINGS, Identity, signed_by
from icure_sync.crypto.party import Party, untrusted
from icure_sync.ids import Kid, is_kid

_MEMBERS = frozenset({"kid", "ended", "signature"})


@dataclass(frozen=True, slots=True)
class Retired:
    """A key by its kid, and how it ended: one of ENDINGS."""

    kid: Kid
    ended: str


def retired(document: Mapping[str, Any]) -> frozenset[Retired]:
    """Those of an Hcp document that verifies."""
    return frozenset(Retired(Kid(item["kid"]), item["ended"]) for item in document["retiredKeys"])


def retired_members(identity: Identity, keys: Iterable[Retired]) -> dict[str, Any]:
    """`retiredKeys` of the own Hcp document, signed: the same from all its devices."""
    signed = [
        {**fields, "signature": identity.sign("retired-key", identity.hcp_id, *fields.values())}
        for fields in ({"kid": each.kid, "ended": each.ended} for each in keys)
    ]
    return {"retiredKeys": canonical_set(signed)}


def check_retired(doc_id: str, document: Mapping[str, Any], party: Party) -> None:
    """That the owner retired each of the `retiredKeys`. Raises UntrustedKey, Tampered."""
    stated = document.get("retiredKeys")
    if not isinstance(stated, list) or not all(map(_is_retired, stated)):
        raise untrusted(doc_id, "its retired keys are not laid out as they must be")
    for item in stated:
        if not signed_by(party.signing_key, item["signature"], "retired-key", doc_id, item["kid"], item["ended"]):
            raise untrusted(doc_id, "it retires a key without the signature of its owner")


def _is_retired(item: Any) -> bool:
    return isinstance(item, dict) and item.keys() == _MEMBERS and is_kid(item["kid"]) and item["ended"] in ENDINGS
