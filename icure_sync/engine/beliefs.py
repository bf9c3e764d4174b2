"""The revisions of an Hcp document that are believed. Knows no keyring and writes nothing but what it found out.

Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from icure_sync import strict_json
from icure_sync.crypto.merging import ended_by
from icure_sync.crypto.party import Party
from icure_sync.crypto.trust import verify_hcp_document
from icure_sync.engine import hcp_document
from icure_sync.engine.identities import Identities, Stated
from icure_sync.engine.suite import Stored
from icure_sync.engine.verdicts import VERIFIED, above
from icure_sync.errors import IcureSyncError, InvalidEntity
from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.store import Held, Store


@dataclass(frozen=True, slots=True, repr=False)
class Believed:
    """A revision of an Hcp document that is sound in itself, and is believed. `stands`: it is a live leaf."""

    stored: Stored
    stated: Stated
    stands: bool

    @property
    def party(self) -> Party:
        """The identity that it states."""
        return self.stated.party


@dataclass(frozen=True, slots=True, repr=False)
class Belief:
    """What an Hcp document comes to. `trouble`: why something in it is not believed; empty: nothing is the matter."""

    revisions: tuple[Believed, ...]
    trouble: str


class Beliefs:
    """Looks at one Hcp document at a time."""

    def __init__(self, store: Store, identities: Identities) -> None:
        self._store = store
        self._identities = identities

    def look(self, doc_id: DocId) -> Belief:
        """The revisions that verify, whose signing key speaks for the Hcp, and that no other such takes in.

        These are leaves, and what was displaced by something else: ending a leaf is anybody's word, until a merge that
        is believed makes up for it. Bodies that are taken in are let go.
        """
        documents = self._store.documents
        trouble = ""
        leaves: list[Believed] = []
        for held in documents.held_leaves(doc_id):
            try:
                leaves += self._sound(held, stands=not held.revision.deleted)
            except IcureSyncError as error:
                trouble = error.wrong
        displaced: list[Believed] = []
        for held in documents.displaced(doc_id):
            with suppress(IcureSyncError):
                displaced += self._sound(held, stands=False)
        self._identities.settle(HcpId(doc_id), [each.stated for each in (*leaves, *displaced)])
        found: list[Believed] = []
        for each in leaves:
            if self._identities.is_refused(each.stated):
                continue
            try:
                found.append(self._believed(each))
            except IcureSyncError as error:
                trouble = error.wrong
        taken_in: list[Rev] = []
        for each in displaced:
            with suppress(IcureSyncError):
                believed = self._believed(each)
                if any(hcp_document.takes_in(other.stored, believed.stored) for other in found):
                    taken_in.append(each.stored.rev)
                else:
                    found.append(believed)
        if taken_in and not self._store.read_only:
            documents.prune(doc_id, taken_in)
        return Belief(tuple(found), trouble)

    def _sound(self, held: Held, *, stands: bool) -> list[Believed]:
        """One, or none if it says nothing of keys: it is of `icure-classic`, or it ends a leaf that a merge took in."""
        revision = held.revision
        document = _document(revision.body)
        if document.get("cryptoSuite") is None or (revision.deleted and ended_by(document) is not None):
            return []
        party = verify_hcp_document(revision.id, revision.rev, document, above(self._store, revision))
        stored = Stored(revision.id, revision.rev, document)
        hcp_document.content(stored)
        return [Believed(stored, Stated(party, revision.rev, held.state == VERIFIED), stands)]

    def _believed(self, sound: Believed) -> Believed:
        """Raises UntrustedKey if its key does not speak for the Hcp."""
        self._identities.check(sound.stated)
        if not sound.stated.was_verified and not self._store.read_only:
            self._store.documents.mark_verified(sound.stored.id, sound.stored.rev, VERIFIED)
        return sound


def _document(body: bytes) -> Mapping[str, Any]:
    document = strict_json.loads(body, "an Hcp document")
    if not isinstance(document, dict):
        raise InvalidEntity("read an Hcp document", "it is not a JSON object", "sync again")
    return document
