"""Hcps and exchange keys of an iCure database (`icure-classic`), from the Hcp documents in the store.

Keys are read from all live leaves of an Hcp document; those of the own one are merged here. Owns the cache of unwrapped
exchange keys: each costs one RSA decryption, once. Nothing in the suite is signed, so nothing is pinned. Synchronous:
runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from icure_sync import strict_json
from icure_sync.crypto.classic import create_hcp_document, edit_hcp_document
from icure_sync.crypto.classic_access import ClassicPair
from icure_sync.crypto.classic_hcp_merging import merge_hcp_documents
from icure_sync.crypto.classic_keys import (
    EXCHANGE_KEY_BYTES,
    ClassicParty,
    unwrap_exchange_key,
    with_exchange_key,
    wrapped_keys,
)
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.primitives import Entropy, SymmetricKey, sha256
from icure_sync.engine.classic_revision import next_revision
from icure_sync.engine.storing import store_written
from icure_sync.engine.suite import Stored, Written
from icure_sync.engine.trail import Action, Recorder
from icure_sync.errors import InvalidEntity, NotFound, StaleRevision, Tampered
from icure_sync.ids import DocId, HcpId, Kid, Rev
from icure_sync.model import Hcp, to_record
from icure_sync.model.schema import JAVA_PACKAGE
from icure_sync.store import Store

CLASSIC_KEY = "classic:"  # in front of what names an exchange key: no key is used under two suites
HCP_JAVA_TYPE = JAVA_PACKAGE + Hcp.CLASSIC_TYPE


class ClassicParties:
    """What is known of the Hcps of an iCure database, as this Hcp sees it."""

    def __init__(self, store: Store, identity: Identity, entropy: Entropy, recorder: Recorder) -> None:
        self._store = store
        self._recorder = recorder
        self._identity = identity
        self._entropy = entropy
        self._keys = {key.kid: key.key for key in store.hcp_keys.all() if key.kid.startswith(CLASSIC_KEY)}
        self._documents: dict[HcpId, dict[Rev, Stored]] = {}  # live leaves, as they were read last
        self._not_ours: set[Kid] = set()  # wrapped for a party key that this Hcp does not have any more

    def keys_from(self, owner: str) -> Iterator[bytes]:
        """The exchange keys owner→me, likeliest first; unwrapped only as far as they are asked for."""
        return self._pair_keys(HcpId(owner), self._identity.hcp_id)

    def pair(self, delegate: HcpId) -> ClassicPair:
        """{me, delegate}, made and published if there is none. Raises NotFound, WeakKey."""
        me = self._identity.hcp_id
        key = next(self._pair_keys(me, delegate), None)
        if key is None:
            key = self._entropy(EXCHANGE_KEY_BYTES)
            own = self._required(me)
            parties = (ClassicParty.of(me, own.document), ClassicParty.of(delegate, self._required(delegate).document))
            self._keep(own, with_exchange_key(dict(own.document), *parties, key, self._entropy))
        return ClassicPair(me, delegate, key)

    def hcp_document(self, hcp_id: HcpId) -> Stored | None:
        """What the live leaves of an Hcp document that are of this suite come to; None if there are none.

        The winner alone where a merge is not possible (yet): a map of keys is malformed, or the document of a delegate
        is lacking.
        """
        leaves = self._leaves(hcp_id)
        if len(leaves) > 1:
            with suppress(InvalidEntity, NotFound):
                return self._merged(hcp_id, leaves)
        return leaves[0] if leaves else None

    def reconcile(self) -> int:
        """Merge what was written concurrently into the own Hcp document. Returns how many revisions it took.

        Where the result is one leaf's very content, that one stays; the other leaves are ended.
        """
        own = None if self._store.read_only else self.hcp_document(self._identity.hcp_id)
        if own is None or not own.leaves:
            return 0
        if own.rev in own.leaves:
            written = own.beside
        else:
            written = (Written(own.id, own.rev, own.leaves[0], own.document, beside=own.beside),)
        for each in written:
            self._write(each)
        return sum(1 + len(each.beside) for each in written)

    def ids(self) -> tuple[HcpId, ...]:
        """Hcps whose documents are here."""
        ids = self._store.documents.ids_of_type(HCP_JAVA_TYPE, limit=-1)
        return tuple(sorted(HcpId(doc_id) for doc_id in ids))

    def known(self) -> list[str]:
        """What is known of keys and Hcps, as names: when it grows, more can be opened."""
        return [str(len(self._keys)), *self.ids()]

    def write_profile(self, hcp: Hcp) -> None:
        """The own Hcp document shows this profile from now on; it is made if it is not here."""
        own = self.hcp_document(self._identity.hcp_id)
        record = to_record(hcp)
        if own is None:
            document = create_hcp_document(record, self._identity.party_key.public.spki)
            self._write(next_revision(DocId(self._identity.hcp_id), None, document))
        elif hcp.rev != own.rev:
            raise StaleRevision(f"save the Hcp {hcp.id}", f"{hcp.rev} has been replaced since", "read it again")
        elif (changed := edit_hcp_document(own.document, record)) != own.document:
            self._keep(own, changed)

    def _pair_keys(self, owner: HcpId, delegate: HcpId) -> Iterator[bytes]:
        own = self._leaves(self._identity.hcp_id)
        if not own:
            return
        reader = ClassicParty.of(self._identity.hcp_id, own[0].document)
        leaves = (leaf.document for leaf in self._leaves(owner))
        found = dict.fromkeys(each for leaf in leaves for each in wrapped_keys(owner, leaf, delegate, reader))
        for wrapped in found:
            name = Kid(CLASSIC_KEY + sha256(wrapped).hex())
            if name not in self._keys and name not in self._not_ours:
                self._unwrap(name, wrapped, reader, owner, delegate)
            if name in self._keys:
                yield self._keys[name]

    def _unwrap(self, name: Kid, wrapped: bytes, reader: ClassicParty, owner: HcpId, delegate: HcpId) -> None:
        try:
            key = SymmetricKey(unwrap_exchange_key(wrapped, reader, self._identity.party_key))
        except Tampered:
            self._not_ours.add(name)
            return
        self._keys[name] = key
        if not self._store.read_only:
            self._store.hcp_keys.put(name, owner, delegate, key)

    def _required(self, hcp_id: HcpId) -> Stored:
        document = self.hcp_document(hcp_id)
        if document is None:
            raise NotFound(f"wrap a key for {hcp_id}", "its Hcp document is not here", "sync, then try again")
        return document

    def _leaves(self, hcp_id: HcpId) -> list[Stored]:
        """The live leaves of this suite, the winner first."""
        known = self._documents.get(hcp_id, {})
        found: dict[Rev, Stored] = {}
        for held in self._store.documents.held_leaves(DocId(hcp_id)):
            revision = held.revision
            if revision.deleted:
                continue
            if revision.rev in known:
                found[revision.rev] = known[revision.rev]
                continue
            document = _document(revision.body)
            if document.get("java_type") == HCP_JAVA_TYPE and "cryptoSuite" not in document:
                found[revision.rev] = Stored(revision.id, revision.rev, document)
        self._documents[hcp_id] = found
        return list(found.values())

    def _merged(self, hcp_id: HcpId, leaves: Sequence[Stored]) -> Stored:
        """Raises InvalidEntity, NotFound."""
        winner, *others = leaves
        document = merge_hcp_documents(hcp_id, [leaf.document for leaf in leaves], self._fingerprint)
        is_winner = document == winner.document
        rev = winner.rev if is_winner else next_revision(winner.id, winner, document).rev
        return Stored(winner.id, rev, document, tuple(leaf.rev for leaf in leaves), tuple(map(_end, others)))

    def _fingerprint(self, hcp_id: str) -> str:
        leaves = self._leaves(HcpId(hcp_id))
        if not leaves:
            raise NotFound(f"merge keys for {hcp_id}", "its Hcp document is not here", "sync, then try again")
        return ClassicParty.of(hcp_id, leaves[0].document).fingerprint

    def _keep(self, above: Stored, document: Mapping[str, Any]) -> None:
        """The next revision; over a merge, it extends the winner and ends the others."""
        extended = replace(above, rev=above.leaves[0]) if above.leaves else above
        self._write(replace(next_revision(above.id, extended, document), beside=above.beside))

    def _write(self, written: Written) -> None:
        with self._store.transaction():
            store_written(self._store, written)
            ended = [each.parent for each in (written, *written.beside) if each.parent is not None]
            self._store.documents.prune(written.id, ended)
            self._recorder.did(Action.WROTE, written.id, Hcp.TYPE, {"rev": written.rev})


def _end(leaf: Stored) -> Written:
    """The tombstone of a leaf that a merge took in. Other software asks for `_deleted` alone, filters for the type."""
    return replace(next_revision(leaf.id, leaf, {"java_type": HCP_JAVA_TYPE}), deleted=True)


def _document(body: bytes) -> Mapping[str, Any]:
    """Of any software: what is no JSON object is no Hcp document."""
    try:
        document = strict_json.loads(body, "an Hcp document")
    except InvalidEntity:
        return {}
    return document if isinstance(document, dict) else {}
