"""Displaced revisions by those who are out: which are settled, and which are left for a person to adopt. Pure.

Any tombstone hides such a revision, and no device writes it again unasked. It is settled once a leaf that takes part in
what is shown took it in; and what its own writer replaced goes with the revision that replaced it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icure_sync.canonical import canonical
from icure_sync.engine.suite import Stored
from icure_sync.ids import Rev
from icure_sync.merge import joining
from icure_sync.merge.registers import Body

Bodies = Callable[[Stored], Body | None]  # None: it does not open, or is malformed


@dataclass(frozen=True, slots=True, repr=False)
class Outs:
    """`left`: those that nothing stands for. `earlier`: by the revision of one of these, or of a live leaf, what the
    same writer replaced by it. `gone`: those that need not be kept."""

    left: tuple[Stored, ...]
    earlier: Mapping[Rev, Sequence[Stored]]
    gone: tuple[Stored, ...]


def sort_outs(displaced: Sequence[Stored], live: Sequence[Stored], shown: Sequence[Stored], body_of: Bodies) -> Outs:
    """`displaced`: by those who are out, verified but for that, the highest first; `live`: such leaves; `shown`: leaves
    that take part in what is shown."""
    taken = [each for each in displaced if any(_took_in(leaf, each, body_of) for leaf in shown)]
    gone = [each for each in displaced if each in taken or any(_replaced(each, by, body_of) for by in taken)]
    left: list[Stored] = []
    earlier: dict[Rev, list[Stored]] = {}
    for each in displaced:
        if each in gone or body_of(each) is None:
            continue
        by = next((later for later in (*live, *left) if _replaced(each, later, body_of)), None)
        if by is None:
            left.append(each)
        else:
            earlier.setdefault(by.rev, []).append(each)
    return Outs(tuple(left), earlier, tuple(gone))


def carries(document: Mapping[str, Any], ended: Mapping[str, Any]) -> bool:
    """Whether everything that the ended revision states of access is stated on: who takes a leaf in must not hide whom
    it put out."""
    stated = {canonical(statement) for statement in document["access"]}
    return all(canonical(statement) in stated for statement in ended["access"])


def _took_in(leaf: Stored, other: Stored, body_of: Bodies) -> bool:
    document = leaf.document
    if not carries(document, other.document):
        return False
    return other.rev in (*document["parents"], *document["merged"]) or _covers(leaf, other, body_of)


def _replaced(earlier: Stored, later: Stored, body_of: Bodies) -> bool:
    """By the same writer: what a body claims to have seen counts against nobody else."""
    one, other = (each.document["written"]["by"] for each in (earlier, later))
    return one == other and carries(later.document, earlier.document) and _covers(later, earlier, body_of)


def _covers(one: Stored, other: Stored, body_of: Bodies) -> bool:
    shown, seen = body_of(one), body_of(other)
    return shown is not None and seen is not None and joining.covers(shown, seen)
