"""Vouching for what a lost key of the own Hcp really signed: once on each of its devices, for what is verified there.

Owns when that is due. The documents are laid out in crypto/attestations.py. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Iterator

from icure_sync import strict_json
from icure_sync.crypto.attestations import ATTESTATION, attest, attestation_id, signed_messages
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.party import HCP_TYPE
from icure_sync.crypto.signers import Judgement, Signer, digest_of
from icure_sync.engine.storing import store_written
from icure_sync.engine.suite import Written
from icure_sync.engine.trail import Action, Recorder
from icure_sync.engine.verdicts import VERIFIED
from icure_sync.ids import DocId
from icure_sync.store import Held, Store

PAGE = 500  # documents looked at in one go
_ATTESTED = "attested"  # the setting that says through which epoch this device has done it


class Attesting:
    """Of one replica of the Hcp of this identity."""

    def __init__(self, store: Store, identity: Identity, recorder: Recorder) -> None:
        self._store = store
        self._identity = identity
        self._recorder = recorder

    def attest(self, signer: Signer) -> int:
        """Write what is due, and return how many documents that took. `signer`: what is known of the own keys.

        What a lost key signed is verified nowhere any more once that is known, so a device does it once an epoch. Costs
        two verifications for each signature of the own Hcp.
        """
        epoch = self._identity.epoch
        if not signer.compromised or self._store.read_only or self._store.settings.get(_ATTESTED) == epoch:
            return 0
        digests = set(self._due(signer))
        number = 0
        while self._store.documents.tree(attestation_id(self._identity.hcp_id, epoch, number)) is not None:
            number += 1  # of another device, which may have seen more, or less
        written = 0
        with self._store.transaction():
            for doc_id, rev, document in attest(self._identity, digests, number):
                store_written(self._store, Written(doc_id, rev, None, document))
                self._store.documents.mark_verified(doc_id, rev, VERIFIED)
                self._recorder.did(Action.WROTE, doc_id, ATTESTATION, {"rev": rev})
                written += 1
            self._store.settings.put(_ATTESTED, epoch)
        return written

    def _due(self, signer: Signer) -> Iterator[bytes]:
        documents, since = self._store.documents, 0
        while page := documents.changes(since, PAGE):
            since = page[-1].seq
            for change in page:
                for held in (*documents.held_leaves(change.id), *documents.displaced(change.id)):
                    if held.state == VERIFIED and not held.revision.deleted:
                        yield from self._due_of(held, signer)

    def _due_of(self, held: Held, signer: Signer) -> Iterator[bytes]:
        doc_id: DocId = held.revision.id
        document = strict_json.loads(held.revision.body, "a verified document")
        if document.get("type") == HCP_TYPE:
            return  # what it holds is signed anew
        for message, signature in signed_messages(doc_id, held.revision.rev, document, self._identity.hcp_id):
            if signer.judge(signature, message) is Judgement.PENDING:
                yield digest_of(message)
