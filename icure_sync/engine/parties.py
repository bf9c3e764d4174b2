"""The healthcare parties that this replica knows: their public keys, and the Hcp keys that reach this device.

Owns the keyring's growth, the pins, and the writing of the own Hcp document. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from icure_sync import strict_json
from icure_sync.crypto import hcp_keys
from icure_sync.crypto.hcp_keys import HCP_TYPE, HcpKey, Party, Wrapped, wrapped_keys
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.primitives import Entropy
from icure_sync.crypto.trust import verify_hcp_document
from icure_sync.engine import hcp_document
from icure_sync.engine.suite import Stored, Written
from icure_sync.engine.verdicts import VERIFIED, above
from icure_sync.engine.writers import Writers
from icure_sync.errors import IcureSyncError, NotFound, UntrustedKey
from icure_sync.ids import DocId, HcpId, Rev, is_kid
from icure_sync.model import Hcp
from icure_sync.store import Store

PAGE = 500  # Hcp documents read at a time


class Parties:
    """What is known of Hcps. `troubles`: Hcp documents that are not believed, and why, by id."""

    def __init__(self, store: Store, identity: Identity, entropy: Entropy) -> None:
        self._store = store
        self._identity = identity
        self._entropy = entropy
        self._known: dict[HcpId, Party] = {}
        self._read: dict[DocId, tuple[Rev, ...]] = {}
        self.troubles: dict[str, str] = {}
        self.keyring = Keyring(identity, (key for key in store.hcp_keys.all() if is_kid(key.kid)))
        if store.pins.get(identity.hcp_id) is None:
            store.pins.pin(identity.hcp_id, identity.signing_key.public, Rev(""))

    def found(self) -> None:
        """Write the first revision of the own Hcp document, unless the document is here."""
        if self._store.documents.tree(DocId(self._identity.hcp_id)) is None:
            self._store_written(hcp_document.first(self._identity))
        self.refresh()

    def refresh(self) -> bool:
        """Read the Hcp documents that changed since the last time. Those not believed are listed.

        True if a key or an Hcp is known that was not: what did not open, or waited for a signer, may be shown now.
        """
        known = (len(self.keyring), len(self._known))
        after: DocId | None = None
        while page := self._store.documents.ids_of_type(HCP_TYPE, after, PAGE):
            for doc_id in page:
                self._refresh_one(doc_id)
            after = page[-1]
        return (len(self.keyring), len(self._known)) != known

    def ids(self) -> tuple[HcpId, ...]:
        """Hcps whose keys are known."""
        return tuple(sorted(self._known))

    def signing_key(self, hcp_id: str) -> bytes | None:
        """The pinned key that this Hcp signs with; None if it is not known yet."""
        party = self._known.get(HcpId(hcp_id))
        return party.signing_key if party else None

    def key_towards(self, delegate: HcpId) -> HcpKey:
        """{me, delegate}, made and published if there is none. Raises NotFound, UntrustedKey."""
        present = self.keyring.pair(self._identity.hcp_id, delegate)
        if present is not None:
            return present
        minted = hcp_keys.mint(self._identity, delegate, self._entropy)
        wrapped = hcp_keys.wrap(self._identity, self._party(delegate), minted, self._entropy)
        self._store_written(hcp_document.with_key(self._identity, self._own_leaves(), wrapped))
        self._keep(minted)
        return minted

    def leaves(self, hcp_id: HcpId) -> Sequence[Stored]:
        """The believed leaves of an Hcp document, the winner first."""
        return [stored for stored, _ in self._believed(DocId(hcp_id))]

    def write_profile(self, hcp: Hcp, writers: Writers) -> None:
        """The own Hcp document shows this profile from now on."""
        written = hcp_document.with_profile(self._identity, self._own_leaves(), hcp, writers)
        if written is not None:
            self._store_written(written)

    def _own_leaves(self) -> Sequence[Stored]:
        leaves = self.leaves(self._identity.hcp_id)
        if not leaves:
            raise NotFound("write the own Hcp document", "no revision of it is believed here", "sync, then try again")
        return leaves

    def _party(self, delegate: HcpId) -> Party:
        party = self._known.get(delegate)
        if party is not None:
            return party
        attempted = f"share with {delegate}"
        if delegate in self.troubles:
            raise UntrustedKey(attempted, self.troubles[delegate], "compare fingerprints with that Hcp in person")
        raise NotFound(attempted, "its Hcp document is not here", "have that Hcp sync once, then sync here")

    def _refresh_one(self, doc_id: DocId) -> None:
        leaves = self._store.documents.leaves(doc_id)
        revs = tuple(leaf.rev for leaf in leaves)
        if self._read.get(doc_id) == revs:
            return
        self.troubles.pop(doc_id, None)
        for stored, party in self._believed(doc_id):
            known = self._known.get(party.hcp_id)
            if known is None or party.epoch >= known.epoch:
                self._known[party.hcp_id] = party
            self.keyring.retire(party.hcp_id, hcp_keys.retired_kids(stored.document))
            for wrapped in wrapped_keys(doc_id, stored.document):
                self._unwrap(wrapped)
        self._read[doc_id] = revs

    def _believed(self, doc_id: DocId) -> list[tuple[Stored, Party]]:
        """The live leaves that verify and whose signing key is the pinned one."""
        found = []
        for held in self._store.documents.held_leaves(doc_id):
            revision = held.revision
            if revision.deleted:
                continue
            try:
                document = _document(revision.body)
                if document.get("cryptoSuite") is None:
                    continue  # of `icure-classic`: read by that suite
                party = verify_hcp_document(doc_id, revision.rev, document, above(self._store, revision))
                self._check_pin(party, revision.rev)
            except IcureSyncError as error:
                self.troubles[doc_id] = error.wrong
                continue
            if held.state != VERIFIED and not self._store.read_only:
                self._store.documents.mark_verified(doc_id, revision.rev, VERIFIED)
            found.append((Stored(doc_id, revision.rev, document), party))
        return found

    def _check_pin(self, party: Party, rev: Rev) -> None:
        """Trust on first use; from then on only that key speaks for the Hcp."""
        pinned = self._store.pins.pin(party.hcp_id, party.signing_key, rev)
        if pinned != party.signing_key:
            raise UntrustedKey(
                f"trust the Hcp document {party.hcp_id}",
                "its signing key is not the one that was pinned",
                "compare fingerprints with that Hcp in person",
            )

    def _unwrap(self, wrapped: Wrapped) -> None:
        me = self._identity.hcp_id
        held = self.keyring.get(wrapped.owner, wrapped.delegate, wrapped.kid)
        if me not in (wrapped.owner, wrapped.delegate) or held is not None:
            return
        try:
            self._keep(wrapped.unwrap(self._identity))
        except IcureSyncError as error:
            self.troubles[wrapped.owner] = error.wrong

    def _keep(self, key: HcpKey) -> None:
        """In the encrypted replica, so that a restart costs no RSA."""
        self._store.hcp_keys.put(key.kid, key.owner, key.delegate, key.key)
        self.keyring.add(key)

    def _store_written(self, written: Written) -> None:
        with self._store.transaction():
            body = strict_json.dumps(written.document)
            self._store.documents.write(written.id, written.rev, body, written.parent)
            self._store.documents.mark_verified(written.id, written.rev, VERIFIED)
            self._store.documents.prune(written.id)


def _document(body: bytes) -> Mapping[str, Any]:
    document: Mapping[str, Any] = strict_json.loads(body, "an Hcp document")
    return document
