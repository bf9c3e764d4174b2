"""What the own Hcp publishes about itself beside its records: kept in the replica, so that sync carries it.

Owns what stands of these documents, and that nobody but the Hcp withdraws them: a document that somebody deleted on a
server is written again. What they say is for others. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from icure_sync import strict_json
from icure_sync.crypto import publishing
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.primitives import Entropy
from icure_sync.crypto.signers import Signer, SigningKeys
from icure_sync.engine.alarms import AlarmKind, Bell
from icure_sync.engine.storing import store_written
from icure_sync.engine.suite import Written
from icure_sync.engine.verdicts import VERIFIED
from icure_sync.errors import InvalidEntity, Tampered
from icure_sync.ids import DocId
from icure_sync.store import Held, Store

T = TypeVar("T")

PAGE = 500  # documents read at a time; there are a few
_KNOWN = "engine/published"  # the setting with the ids that were ever believed, and their types


@dataclass(frozen=True, slots=True, repr=False)
class Publication:
    """A document that is believed, or its withdrawal."""

    id: DocId
    document: Mapping[str, Any]
    is_withdrawn: bool


class Published:
    """Documents of the types named to `standing` and `mend`. `now`: ms since 1970."""

    def __init__(
        self,
        store: Store,
        identity: Identity,
        signers: SigningKeys,
        bell: Bell,
        *,
        entropy: Entropy,
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._signers = signers
        self._bell = bell
        self.identity = identity
        self.entropy = entropy
        self.now = now

    def publish(self, doc_id: DocId, members: Mapping[str, Any]) -> None:
        """Keep a new document, durably."""
        rev, document = publishing.publish(doc_id, members, self.identity)
        with self._store.transaction():
            self._keep(Written(doc_id, rev, None, document))
            self._know({doc_id: str(document["type"])})

    def standing(self, type_: str) -> list[Publication]:
        """The believed documents of a type, withdrawn ones too, by id."""
        ids = sorted({*self._ids(type_), *(doc_id for doc_id, of in self._known().items() if of == type_)})
        found = (self._publication(DocId(doc_id), type_) for doc_id in ids)
        return [each for each in found if each is not None]

    def read(self, type_: str, of: Callable[[DocId, Mapping[str, Any]], T], *, withdrawn: bool = False) -> Iterator[T]:
        """What `of` makes of those that stand, or of those withdrawn. What it refuses is passed over: it is signed, but
        laid out as no version known here does it."""
        for each in self.standing(type_):
            if each.is_withdrawn is withdrawn:
                with suppress(Tampered, InvalidEntity):
                    yield of(each.id, each.document)

    def withdraw(self, doc_id: DocId) -> None:
        """End the document for all who believe the Hcp; what was sealed in it goes from here."""
        with self._store.transaction():
            for held in self._own_leaves(doc_id):
                rev, document = publishing.withdraw(doc_id, _document(held), held.revision.rev, self.identity)
                self._keep(Written(doc_id, rev, held.revision.rev, document, deleted=True))
                self._store.documents.prune(doc_id, [held.revision.rev])

    def mend(self, *types: str) -> None:
        """Take in what a pull brought of these types. Documents that somebody else had ended are written again."""
        if self._store.read_only:
            return
        with self._store.transaction():
            known = self._known()
            new = {doc_id: type_ for type_ in types for doc_id in self._ids(type_) if doc_id not in known}
            self._know({doc_id: type_ for doc_id, type_ in new.items() if self._publication(doc_id, type_) is not None})
            for doc_id, type_ in self._known().items():
                self._mend(DocId(doc_id), type_)

    def _mend(self, doc_id: DocId, type_: str) -> None:
        publication = self._publication(doc_id, type_)
        if publication is not None:
            if publication.is_withdrawn:
                self.withdraw(doc_id)  # what another device wrote again beside its end
                self._store.documents.prune(
                    doc_id, [each.revision.rev for each in self._store.documents.displaced(doc_id)]
                )
            return
        for held in self._store.documents.displaced(doc_id):
            if self._is_believed(held, type_) and not held.revision.deleted:
                above = self._store.documents.leaves(doc_id)[0].rev
                rev, document = publishing.publish(doc_id, _document(held), self.identity, above)
                self._keep(Written(doc_id, rev, above, document))
                self._bell.ring(AlarmKind.UNDONE, doc_id, f"somebody ended it by {above}, and it is written again")
                return

    def _publication(self, doc_id: DocId, type_: str) -> Publication | None:
        """A withdrawal that is believed ends all else."""
        leaves = [held for held in self._store.documents.held_leaves(doc_id) if self._is_believed(held, type_)]
        for held in sorted(leaves, key=lambda each: not each.revision.deleted):
            document = _document(held)
            if held.revision.deleted == publishing.is_withdrawal(document):
                return Publication(doc_id, document, held.revision.deleted)
        return None

    def _own_leaves(self, doc_id: DocId) -> list[Held]:
        """Live leaves that say to be by the own Hcp: what they are worth makes no difference to who withdraws them."""
        live = (held for held in self._store.documents.held_leaves(doc_id) if not held.revision.deleted)
        return [held for held in live if _writer(_document(held)) == self.identity.hcp_id]

    def _is_believed(self, held: Held, type_: str) -> bool:
        """Looks only once at each that holds. What holds as something else, a record, say, is none: a server can put a
        leaf of any type beside it."""
        document = _document(held)
        if document.get("type") != type_:
            return False
        if held.state == VERIFIED:
            return True
        signer = self._signers(self.identity.hcp_id) or Signer(self.identity.signing_key.public)
        revision = held.revision
        is_own = _writer(document) == self.identity.hcp_id
        if not (is_own and publishing.holds(revision.id, revision.rev, document, signer)):
            return False
        if not self._store.read_only:
            self._store.documents.mark_verified(revision.id, revision.rev, VERIFIED)
        return True

    def _keep(self, written: Written) -> None:
        store_written(self._store, written)
        self._store.documents.mark_verified(written.id, written.rev, VERIFIED)

    def _ids(self, type_: str) -> list[DocId]:
        found: list[DocId] = []
        while page := self._store.documents.ids_of_type(type_, found[-1] if found else None, PAGE):
            found += page
        return found

    def _known(self) -> dict[str, str]:
        return dict(self._store.settings.get(_KNOWN) or {})

    def _know(self, new: Mapping[DocId, str]) -> None:
        if new:
            self._store.settings.put(_KNOWN, {**self._known(), **new})


def _document(held: Held) -> dict[str, Any]:
    """Its members; none if it is nothing that can be read."""
    try:
        document = strict_json.loads(held.revision.body, f"document {held.revision.id}")
    except InvalidEntity:
        return {}
    return document if isinstance(document, dict) else {}


def _writer(document: Mapping[str, Any]) -> Any:
    mark = document.get("written")
    return mark.get("by") if isinstance(mark, dict) else None
