"""What of a record is left to a person: values, and no decisions. Knows no store and no keys.

What these say of themselves in a log shows nothing that is sealed: no values, no ids of records in lists (which may be
codes of a diagnosis), no names of fields that somebody made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from icure_sync.ids import DocId, HcpId, Rev, is_hcp_id
from icure_sync.merge.disputes import Version
from icure_sync.merge.registers import Path
from icure_sync.model import ENTITY_CLASSES, Entity
from icure_sync.model.fields import fields_of

_DECLARED = {"deleted", *(field.wire for cls in ENTITY_CLASSES for field in fields_of(cls))}


class Reason(StrEnum):
    """Why a live leaf is not merged with the others."""

    OUT = "out"  # who wrote it has no access any more: a person may adopt it
    PENDING = "pending"  # a signer, or a parent, is not known here yet
    UNREADABLE = "unreadable"  # it does not open with the keys that are here
    TAMPERED = "tampered"  # it does not verify
    APART = "apart"  # it has other files than what is shown, in a suite whose merges would lose them
    WAITING = "waiting"  # it is in what is shown; the merge is left to devices of those who wrote the leaves


@dataclass(frozen=True, slots=True, repr=False)
class Disputed:
    """A field that was written concurrently.

    `path`: wire names, as ("note",), ("services", "<id>"), ("deleted",); `name`: the same as `Entity.alternatives` has
    it. Values are those of the entity's fields, None where one is removed; of `deleted`, True and False.
    """

    path: Path
    name: str
    shown: Version
    alternatives: tuple[Version, ...]  # the latest first

    def __repr__(self) -> str:
        return f"<Disputed {_public_name(self)}, {_counted(1 + len(self.alternatives), 'version')}>"


@dataclass(frozen=True, slots=True, repr=False)
class Standing:
    """A live leaf that is not merged. `why`: in words; `by`: who wrote it, as far as that is known.

    `offers`: of one that can be adopted, the values that this would write, by name, the latest first: that one would be
    shown, the others would be its alternatives. None of any other.
    """

    rev: Rev
    reason: Reason
    why: str
    by: HcpId | None = None
    offers: Mapping[str, tuple[Any, ...]] | None = None

    def __repr__(self) -> str:
        by = f" by {self.by}" if self.by is not None and is_hcp_id(self.by) else ""
        offered = "" if self.offers is None else f", offers {_counted(len(self.offers), 'field')}"
        return f"<Standing {self.rev} {self.reason}{by}{offered}>"


@dataclass(frozen=True, slots=True, repr=False)
class Conflict:
    """A record that a person should look at.

    `entity`: what is shown of it, None if nothing can be. `leaves`: its live leaves, the winner first. Either something
    is in dispute (`fields`), or some leaf is not merged (`standing`), or both.
    """

    id: DocId
    type: str
    entity: Entity | None
    leaves: tuple[Rev, ...]
    fields: tuple[Disputed, ...] = ()
    standing: tuple[Standing, ...] = ()

    @property
    def versions(self) -> int:
        """How many versions there are: values of the field that has the most, and the leaves that are not merged."""
        most = max((1 + len(each.alternatives) for each in self.fields), default=1)
        return most + sum(each.reason is not Reason.WAITING for each in self.standing)

    def __repr__(self) -> str:
        what = f"{self.type} {self.id}".strip()
        parts = [f"Conflict {what}", _counted(self.versions, "version")]
        if self.fields:
            parts.append(f"in dispute: {', '.join(dict.fromkeys(map(_public_name, self.fields)))}")
        if self.standing:
            parts.append(f"standing: {', '.join(each.reason for each in self.standing)}")
        return f"<{'; '.join(parts)}>"


def _public_name(field: Disputed) -> str:
    """The name of the field, or of the list, as far as this software knows it."""
    name = field.path[0]
    return name if name in _DECLARED else "a field"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
