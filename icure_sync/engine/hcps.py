"""Hcps as entities, whichever suite their documents are of. Knows where each suite keeps them; no records.

Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from icure_sync.crypto.classic import open_hcp_document
from icure_sync.engine import hcp_document
from icure_sync.engine.classic_parties import ClassicParties
from icure_sync.engine.opening import UNREADABLE, entity_of, not_found
from icure_sync.engine.parties import Parties
from icure_sync.engine.suite import Content, Stored
from icure_sync.engine.writers import Writers
from icure_sync.errors import InvalidEntity
from icure_sync.ids import DocId, HcpId
from icure_sync.merge.registers import Path
from icure_sync.model import Hcp
from icure_sync.model.schema import SEALED_1


@dataclass(frozen=True, slots=True, repr=False)
class Own:
    """The own Hcp, and the document that shows it, which may be a merge that is not written."""

    stored: Stored
    content: Content
    hcp: Hcp


class Hcps:
    """`me`: the Hcp of this replica, the only one whose document is written here. `suites`: the first is written."""

    def __init__(
        self, me: HcpId, parties: Parties, classic_parties: ClassicParties, writers: Writers, suites: Collection[str]
    ) -> None:
        self._me = me
        self._parties = parties
        self._classic_parties = classic_parties
        self._writers = writers
        self._sealed = SEALED_1 in suites

    def get(self, hcp_id: HcpId) -> Hcp:
        """The Hcp of this id. Raises NotFound if its document is not here, or not believed."""
        sealed = self._parties.shown(hcp_id) if self._sealed else None
        if sealed is not None:
            return _hcp(entity_of(sealed, hcp_document.content(sealed)))
        stored = self._classic_parties.hcp_document(hcp_id)
        if stored is None:
            raise not_found(Hcp, DocId(hcp_id))
        profile = open_hcp_document(stored.id, stored.document)
        return _hcp(entity_of(stored, Content(Hcp.TYPE, profile, False, frozenset(), {}, authenticated=False)))

    def own(self) -> Own | None:
        """The own Hcp; None if its document says nothing of who wrote what (`icure-classic`), or is not believed."""
        stored = self._parties.shown(self._me) if self._sealed else None
        if stored is None:
            return None
        content = hcp_document.content(stored)
        return Own(stored, content, _hcp(entity_of(stored, content)))

    def all(self) -> list[Hcp]:
        """Every Hcp that is known here; those that cannot be read are passed over, and listed as untrusted."""
        sealed = self._parties.ids() if self._sealed else ()
        found = []
        for hcp_id in sorted({*sealed, *self._classic_parties.ids()}):
            try:
                found.append(self.get(hcp_id))
            except UNREADABLE as error:
                self._parties.troubles[hcp_id] = error.wrong
        return found

    def save(self, hcp: Hcp) -> Hcp:
        """The own Hcp, as it is stored now. Raises InvalidEntity for another's."""
        if hcp.id != self._me:
            raise InvalidEntity(
                f"save the Hcp {hcp.id or 'without an id'}",
                "an Hcp's document is written by its own devices only",
                f"read {self._me} with get, and save that",
            )
        if self._sealed:
            self._parties.write_profile(hcp, self._writers)
        else:
            self._classic_parties.write_profile(hcp)
        return self.get(self._me)

    def settle(self, own: Own, choices: Mapping[Path, Any]) -> Hcp:
        """The own Hcp with these values in these registers and no others; `own` is what stands now."""
        self._parties.settle_profile(own.stored, choices, self._writers)
        return self.get(self._me)


def _hcp(entity: object) -> Hcp:
    assert isinstance(entity, Hcp)  # both kinds of documents say so
    return entity
