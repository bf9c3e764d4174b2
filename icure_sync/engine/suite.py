"""The port between the records of a replica and a suite: what a suite must do with one document.

Knows no suite and no store. Documents are plain values without `_` members; all methods are synchronous and touch
nothing but the keys that the suite was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.merge.disputes import Version
from icure_sync.merge.registers import Path
from icure_sync.model import Entity

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, repr=False)
class Stored:
    """One revision of a record as the store holds it.

    `leaves`: of a merge that is not stored (yet), the revisions that it stands for. A write over it names them all as
    its parents, extends their winner, and is stored with what is `beside` it: tombstones of the others, and notices.
    `is_safe`: False of a merge for which there is no key that nobody who is out knows; a write over it draws a new one.
    """

    id: DocId
    rev: Rev
    document: Document
    leaves: tuple[Rev, ...] = ()
    beside: tuple[Written, ...] = ()
    is_safe: bool = True


@dataclass(frozen=True, slots=True, repr=False)
class Written:
    """A revision to be stored under `parent` (None: the first).

    `beside`: what is stored with it, or none of it: tombstones of leaves that it took in, and notices.
    """

    id: DocId
    rev: Rev
    parent: Rev | None
    document: Document
    deleted: bool = False
    beside: tuple[Written, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Joined:
    """What several leaves come to.

    `shown`: the merge, as this Hcp would write it. `written`: what there is to store, in this order, so that one leaf
    is left of them; None if there is no key that may be used for it. `out`: leaves that take no part, since those who
    wrote them are out.
    """

    shown: Stored
    written: tuple[Written, ...] | None
    out: tuple[Rev, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Parent:
    """The record that a new one is filed under: its id, its type, and its current secret id."""

    id: DocId
    type: str
    secret_id: str


@dataclass(frozen=True, slots=True, repr=False)
class Content:
    """What an entity is made of: a record in wire names, and what stands around it.

    `siblings`: values not shown, by path. `parents`: ids of the records it is filed under, by their secret ids.
    """

    type: str
    record: Mapping[str, Any]
    deleted: bool
    shared_with: frozenset[HcpId]
    parents: Mapping[str, DocId]
    siblings: Mapping[tuple[str, ...], Sequence[Any]] = field(default_factory=dict)
    authenticated: bool = True


class Suite(Protocol):
    """One of the published scheme's two suites."""

    name: str
    is_authenticated: bool  # revisions are signed, and a link counts only if the hidden foreign key states it too

    def open(self, stored: Stored) -> Content:
        """What the document shows. Raises NoAccess, Tampered, InvalidEntity."""

    def join(self, leaves: Sequence[Stored], known: Sequence[Document] = ()) -> Joined:
        """What these leaves of one record, each of which opens here, come to. `known`: proven statements of access
        beside those that they carry. Raises NoAccess, Tampered, WriterOut."""

    def create(self, entity: Entity, parents: Sequence[Parent]) -> Written:
        """The first revision of a new record."""

    def edit(self, stored: Stored, entity: Entity) -> Written | None:
        """The next revision, which shows this entity; None if nothing would change."""

    def versions(self, stored: Stored) -> Mapping[Path, Sequence[Version]]:
        """Of each register with several values, what it shows, then the others. Raises as `open`."""

    def settle(self, stored: Stored, choices: Mapping[Path, Any]) -> Written:
        """The next revision, in which these registers have these values and no others; True or False for `deleted`."""

    def share(self, stored: Stored, delegate: HcpId) -> Written:
        """The next revision, which `delegate` can open too."""

    def revoke(self, stored: Stored, delegate: HcpId) -> Written:
        """The next revision, which `delegate` cannot open, nor what follows it.

        Raises InvalidEntity if it has no access, or keeps it all the same; UnsupportedSuite.
        """

    def delete(self, stored: Stored) -> Written:
        """The next revision, which is hidden."""

    def restore(self, stored: Stored) -> Written:
        """The next revision, which is shown again."""

    def secret_ids(self, stored: Stored) -> tuple[str, ...]:
        """Every secret id of the record, the current one first."""

    def foreign_keys(self, stored: Stored) -> frozenset[DocId]:
        """The ids of parents that its entries hide for this reader."""
