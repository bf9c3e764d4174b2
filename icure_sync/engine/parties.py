"""The healthcare parties that this replica knows: their public keys, and the Hcp keys that reach this device.

Owns the keyring's growth, the pins, and the writing of the own Hcp document. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from icure_sync import strict_json
from icure_sync.crypto import hcp_keys
from icure_sync.crypto.hcp_keys import HcpKey, Wrapped, wrapped_keys
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.merging import ended_by
from icure_sync.crypto.party import HCP_TYPE, Party
from icure_sync.crypto.primitives import RSA_BITS, Entropy
from icure_sync.crypto.retirements import retired
from icure_sync.crypto.signers import Signer
from icure_sync.crypto.trust import verify_hcp_document
from icure_sync.engine import hcp_document
from icure_sync.engine.storing import store_written
from icure_sync.engine.suite import Joined, Stored, Written
from icure_sync.engine.trail import Action, Recorder
from icure_sync.engine.verdicts import VERIFIED, above
from icure_sync.engine.writers import Writers
from icure_sync.errors import IcureSyncError, InvalidEntity, NotFound, StaleRevision, UntrustedKey, WeakKey
from icure_sync.ids import DocId, HcpId, Rev, is_kid
from icure_sync.merge.registers import Path
from icure_sync.model import Hcp
from icure_sync.model.schema import SEALED_1
from icure_sync.store import Held, Store

PAGE = 500  # Hcp documents read at a time


@dataclass(frozen=True, slots=True, repr=False)
class _Believed:
    """A revision of an Hcp document that is believed. `stands`: it is a live leaf."""

    stored: Stored
    party: Party
    stands: bool


class Parties:
    """What is known of Hcps. `troubles`: Hcp documents that are not believed, and why, by id."""

    def __init__(self, store: Store, identity: Identity, entropy: Entropy, recorder: Recorder) -> None:
        self._store = store
        self._recorder = recorder
        self._identity = identity
        self._entropy = entropy
        self._known: dict[HcpId, Party] = {}
        self._read: dict[DocId, tuple[Rev, ...]] = {}
        self._settled: tuple[Rev, ...] = ()  # leaves of the own document of which there is nothing to merge
        self.troubles: dict[str, str] = {}
        self.keyring = Keyring(identity, (key for key in store.hcp_keys.all() if is_kid(key.kid)))

    def found(self) -> None:
        """Write the first revision of the own Hcp document, unless the document is here.

        Raises UntrustedKey if this replica belongs to the same Hcp under another signing key.
        """
        self._check_pin(self._identity.hcp_id, self._identity.signing_key.public, Rev(""))
        strong = self._identity.party_key.public.bits >= RSA_BITS
        if strong and self._store.documents.tree(DocId(self._identity.hcp_id)) is None and not self._store.read_only:
            self._put(hcp_document.first(self._identity))  # a function of the identity: nothing that anybody did
        self.refresh()

    def require_strong(self) -> None:
        """Raises WeakKey if the own party key is one that only `icure-classic` accepts."""
        bits = self._identity.party_key.public.bits
        if bits < RSA_BITS:
            raise WeakKey(
                f"write in {SEALED_1}",
                f"the party key has {bits} bits, and {RSA_BITS} are the least",
                "make an identity with a new key, or open the replica for icure-classic",
            )

    def refresh(self) -> None:
        """Read the Hcp documents that changed since the last time. Those not believed are listed."""
        after: DocId | None = None
        while page := self._store.documents.ids_of_type(HCP_TYPE, after, PAGE):
            for doc_id in page:
                self._refresh_one(doc_id)
            after = page[-1]

    def known(self) -> list[str]:
        """What is known of keys and Hcps, as names: when it grows, more can be opened."""
        return [str(len(self.keyring)), *sorted(self._known)]

    def ids(self) -> tuple[HcpId, ...]:
        """Hcps whose keys are known."""
        return tuple(sorted(self._known))

    def signer(self, hcp_id: str) -> Signer | None:
        """What is known of the keys that this Hcp signs with; None if it is not known yet."""
        party = self._known.get(HcpId(hcp_id))
        if party is not None:
            return Signer(party.signing_key)
        pin = self._store.pins.get(HcpId(hcp_id))  # of an Hcp whose document is not believed any more
        return Signer(pin.signing_key) if pin else None

    def key_towards(self, delegate: HcpId) -> HcpKey:
        """{me, delegate}, made and published if there is none. Raises NotFound, UntrustedKey."""
        present = self.keyring.pair(self._identity.hcp_id, delegate)
        if present is not None:
            return present
        minted = hcp_keys.mint(self._identity, delegate, self._entropy)
        wrapped = hcp_keys.wrap(self._identity, self._party(delegate), minted, self._entropy)
        self._store_written(hcp_document.with_keys(self._identity, self._own().shown, [wrapped]))
        self._keep(minted)
        return minted

    def shown(self, hcp_id: HcpId) -> Stored | None:
        """What the believed revisions of an Hcp document come to; None if there are none."""
        believed = self._believed(DocId(hcp_id))
        if not believed:
            return None
        if hcp_id == self._identity.hcp_id:
            return self._joined(believed).shown
        return hcp_document.united([each.stored for each in believed])

    def write_profile(self, hcp: Hcp, writers: Writers) -> None:
        """The own Hcp document shows this profile from now on. Raises StaleRevision, InvalidEntity."""
        shown = self._own().shown
        if hcp.rev != shown.rev:
            raise StaleRevision(f"save the Hcp {hcp.id}", f"{hcp.rev} has been replaced since", "read it again")
        written = hcp_document.with_profile(self._identity, shown, hcp, writers, self._entropy)
        if written is not None:
            self._store_written(written)

    def settle_profile(self, shown: Stored, choices: Mapping[Path, Any], writers: Writers) -> None:
        """The own Hcp document has these values in these registers from now on, and no others. Raises InvalidEntity.

        `shown`: what `shown` gives of the own Hcp now.
        """
        self._store_written(hcp_document.settled(self._identity, shown, choices, writers))

    def reconcile(self) -> int:
        """Merge what devices of the own Hcp wrote into its document concurrently. Returns how many revisions it took.

        What is not believed is left alone, and so is what displaced the document without ending it.
        """
        leaves = self._store.documents.leaves(DocId(self._identity.hcp_id))
        revs = tuple(leaf.rev for leaf in leaves)
        if self._store.read_only or revs == self._settled:
            return 0
        believed = self._believed(DocId(self._identity.hcp_id))
        is_ended = all(leaf.deleted for leaf in leaves)  # by what does not count: then it is written again
        if len(believed) > 1 or (believed and is_ended):
            found = self._joined(believed).written or ()
            for written in found:
                self._store_written(written)
            return sum(1 + len(written.beside) for written in found)
        self._settled = revs
        return 0

    def _own(self) -> Joined:
        believed = self._believed(DocId(self._identity.hcp_id))
        if not believed:
            raise NotFound("write the own Hcp document", "no revision of it is believed here", "sync, then try again")
        return self._joined(believed)

    def _joined(self, believed: Sequence[_Believed]) -> Joined:
        standing = {each.stored.rev for each in believed if each.stands}
        return hcp_document.join(self._identity, [each.stored for each in believed], standing)

    def _party(self, delegate: HcpId) -> Party:
        self._refresh_one(DocId(delegate))
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
        for each in self._believed(doc_id):
            known = self._known.get(each.party.hcp_id)
            if known is None or each.party.epoch >= known.epoch:
                self._known[each.party.hcp_id] = each.party
            self.keyring.retire(each.party.hcp_id, (key.kid for key in retired(each.stored.document)))
            for wrapped in wrapped_keys(doc_id, each.stored.document):
                self._unwrap(wrapped)
        self._read[doc_id] = revs

    def _believed(self, doc_id: DocId) -> list[_Believed]:
        """The revisions that verify, whose signing key is the pinned one, and that no other such takes in.

        These are leaves, and what was displaced by something else: ending a leaf is anybody's word, until a merge that
        is believed makes up for it. Bodies that are taken in are let go.
        """
        documents = self._store.documents
        found: list[_Believed] = []
        for held in documents.held_leaves(doc_id):
            try:
                found += self._believe(held, stands=not held.revision.deleted)
            except IcureSyncError as error:
                self.troubles[doc_id] = error.wrong
        taken_in: list[Rev] = []
        for held in documents.displaced(doc_id):
            with suppress(IcureSyncError):
                for displaced in self._believe(held, stands=False):
                    if any(hcp_document.takes_in(each.stored, displaced.stored) for each in found):
                        taken_in.append(held.revision.rev)
                    else:
                        found.append(displaced)
        if taken_in and not self._store.read_only:
            documents.prune(doc_id, taken_in)
        return found

    def _believe(self, held: Held, *, stands: bool) -> list[_Believed]:
        """One, or none if it says nothing of keys: it is of `icure-classic`, or it ends a leaf that a merge took in."""
        revision = held.revision
        document = _document(revision.body)
        if document.get("cryptoSuite") is None or (revision.deleted and ended_by(document) is not None):
            return []
        party = verify_hcp_document(revision.id, revision.rev, document, above(self._store, revision))
        stored = Stored(revision.id, revision.rev, document)
        hcp_document.content(stored)
        self._check_pin(party.hcp_id, party.signing_key, revision.rev)
        if held.state != VERIFIED and not self._store.read_only:
            self._store.documents.mark_verified(revision.id, revision.rev, VERIFIED)
        return [_Believed(stored, party, stands)]

    def _check_pin(self, hcp_id: HcpId, signing_key: bytes, rev: Rev) -> None:
        """Trust on first use; from then on only that key speaks for the Hcp."""
        pin = self._store.pins.get(hcp_id)
        if pin is None and not self._store.read_only:
            self._store.pins.pin(hcp_id, signing_key, rev)
        elif pin is not None and pin.signing_key != signing_key:
            raise UntrustedKey(
                f"trust the Hcp {hcp_id}",
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
        if not self._store.read_only:
            self._store.hcp_keys.put(key.kid, key.owner, key.delegate, key.key)
        self.keyring.add(key)

    def _store_written(self, written: Written) -> None:
        """What it extends and what it ends need not be kept any longer."""
        with self._store.transaction():
            self._put(written)
            self._recorder.did(Action.WROTE, written.id, HCP_TYPE, {"rev": written.rev})

    def _put(self, written: Written) -> None:
        ended = [each.parent for each in (written, *written.beside) if each.parent is not None]
        with self._store.transaction():
            store_written(self._store, written)
            if not written.deleted:
                self._store.documents.mark_verified(written.id, written.rev, VERIFIED)
            self._store.documents.prune(written.id, ended)


def _document(body: bytes) -> Mapping[str, Any]:
    document = strict_json.loads(body, "an Hcp document")
    if not isinstance(document, dict):
        raise InvalidEntity("read an Hcp document", "it is not a JSON object", "sync again")
    return document
