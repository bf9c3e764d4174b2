"""What a device replicates: documents that its Hcp has an entry in, those that everybody needs, nothing else.

Owns the filter, in its two forms: the Mango selector that a server applies to each leaf by its own body, and the same
judgement made here. Knows no feed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from icure_sync.errors import InvalidEntity
from icure_sync.ids import HcpId, is_hcp_id
from icure_sync.replication.wire import Revision

# Documents for everyone: the Hcps with their keys, the devices' signed heads, and what an Hcp vouches for of what a key
# signed that it lost.
SHARED_TYPES = ("HealthcareParty", "DeviceHead", "Attestation")
CLASSIC_HCP = "org.taktik.icure.entities.HealthcareParty"  # `java_type` of other iCure software, which has no `type`

_ABSENT = object()
_body = msgspec.json.Decoder(dict[str, Any])


def device_selector(hcp: HcpId) -> dict[str, Any]:
    """The `_selector` of a device of this Hcp. Raises InvalidEntity for an id that cannot be part of one.

    A bare tombstone, deleted and without `delegations`, passes too: other software writes those.
    """
    if not is_hcp_id(hcp):
        raise InvalidEntity(
            "make the filter of a device",
            "the Hcp id has characters that a selector cannot hold",
            "use letters, digits, - and _, at most 64, the first not _",
        )
    return {
        "$or": [
            {f"delegations.{hcp}": {"$exists": True}},
            {"type": {"$in": list(SHARED_TYPES)}},
            {"java_type": CLASSIC_HCP},
            {"_deleted": True, "delegations": {"$exists": False}},
        ]
    }


def passes(selector: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Would a server pass this leaf? `document`: its body, with `_deleted` if it is a tombstone.

    Knows what `device_selector` and plain equality need of Mango: `$or`, `$and`, `$exists`, `$eq`, `$in`, dotted paths.
    Raises InvalidEntity for anything else.
    """
    return all(_holds(key, wanted, document) for key, wanted in selector.items())


def passes_leaf(selector: Mapping[str, Any], leaf: Revision) -> bool:
    """Would a server pass this leaf? One that no reader can hold passes nowhere: a hub does the same."""
    try:
        body = _body.decode(leaf.body)
    except msgspec.DecodeError:
        return False
    return passes(selector, {**body, "_deleted": True} if leaf.deleted else body)


def _holds(key: str, wanted: Any, document: Mapping[str, Any]) -> bool:
    if key == "$or":
        return any(passes(part, document) for part in wanted)
    if key == "$and":
        return all(passes(part, document) for part in wanted)
    if key.startswith("$"):
        raise _unknown(key)
    value = _value_at(key, document)
    if not isinstance(wanted, Mapping):
        return bool(value == wanted)
    return all(_fits(value, operator, operand) for operator, operand in wanted.items())


def _fits(value: Any, operator: str, operand: Any) -> bool:
    if operator == "$exists":
        return (value is not _ABSENT) is operand
    if operator == "$eq":
        return bool(value == operand)
    if operator == "$in":
        return value in operand
    raise _unknown(operator)


def _value_at(path: str, document: Mapping[str, Any]) -> Any:
    value: Any = document
    for step in path.split("."):
        value = value.get(step, _ABSENT) if isinstance(value, Mapping) else _ABSENT
    return value


def _unknown(operator: str) -> InvalidEntity:
    known = "use $or, $and, $exists, $eq and $in"
    return InvalidEntity("apply a selector", f"the operator {operator!r} is not known here", known)
