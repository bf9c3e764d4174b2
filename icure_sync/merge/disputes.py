"""What of a stamped body is left to a person: registers with several values, who wrote each, and what another body
would bring. Pure; decides nothing, and knows no keys. See MERGE.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from icure_sync.canonical import canonical
from icure_sync.merge.registers import (
    DELETED,
    LINKS,
    SECRET_ID,
    Body,
    Path,
    Sibling,
    is_deleted,
    read,
    shown_registers,
    sibling_order,
)


@dataclass(frozen=True, slots=True, repr=False)
class Version:
    """One value of a register, and whose device wrote it last: Hcp, device, ms since 1970 as that device's clock said.

    These three are None of a value that nobody put there, or whose writer the body does not name. For people to read.
    """

    value: Any
    hcp: str | None = None
    device: str | None = None
    time: int | None = None


def versions(body: Body) -> dict[Path, tuple[Version, ...]]:
    """Of each register with alternatives, as `registers.read` says: what it shows, then these, the latest first.

    Of `deleted` the values are True and False.
    """
    registers = {tuple(path): siblings for path, siblings in body["fields"]}
    return {
        path: _deletion(body, registers[path]) if path == DELETED else _versions(body, registers[path])
        for path in read(body).alternatives
    }


def news(body: Body, other: Body) -> dict[Path, Any]:
    """What `other` shows in registers which were written there in a way that `body` has not seen.

    Fields only, no links and no secret id. Of `deleted`: whether `other` counts as deleted.
    """
    context = body["context"]
    unseen = {
        tuple(path)
        for path, siblings in other["fields"]
        if any(context.get(writer, 0) < n for writer, n, _ in siblings)
    }
    shown = shown_registers(other)
    found = {path: shown[path] for path in sorted(unseen) if path not in (SECRET_ID, DELETED) and path[0] != LINKS}
    return found | {DELETED: is_deleted(other)} if DELETED in unseen else found


def _versions(body: Body, siblings: Sequence[Sibling]) -> tuple[Version, ...]:
    """Each value once, as its latest writer wrote it."""
    distinct: dict[bytes, Version] = {}
    for sibling in sorted(siblings, key=sibling_order, reverse=True):
        distinct.setdefault(canonical(sibling[2]), _version(body, sibling, sibling[2]))
    return tuple(distinct.values())


def _deletion(body: Body, siblings: Sequence[Sibling]) -> tuple[Version, ...]:
    """The record is kept: by who restored it, or by an edit which the deleter had not seen."""
    latest = sorted(siblings, key=sibling_order, reverse=True)
    kept = next((_version(body, each, False) for each in latest if each[2] is None), Version(False))
    deleted = next(_version(body, each, True) for each in latest if each[2] is not None)
    return kept, deleted


def _version(body: Body, sibling: Sibling, value: Any) -> Version:
    return Version(value, *body["writers"].get(sibling[0], ()))
