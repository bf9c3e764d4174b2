"""The healthcare parties that this replica knows: their public keys, and the Hcp keys that reach this device.

Owns the keyring's growth, and the writing of the own Hcp document. Which keys are whose is decided in identities.py.
Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from icure_sync.crypto import hcp_keys
from icure_sync.crypto.hcp_keys import HcpKey, Wrapped, wrapped_keys
from icure_sync.crypto.identity import PLANNED, Identity, lost_through
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.party import HCP_TYPE, Party
from icure_sync.crypto.primitives import RSA_BITS, Entropy
from icure_sync.crypto.retirements import Retired, retired
from icure_sync.crypto.signers import Signer
from icure_sync.engine import hcp_document
from icure_sync.engine.alarms import Bell
from icure_sync.engine.attesting import Attesting
from icure_sync.engine.beliefs import Beliefs, Believed
from icure_sync.engine.identities import Identities, Standing
from icure_sync.engine.renewing import may_be_known, renewal
from icure_sync.engine.storing import store_written
from icure_sync.engine.suite import Joined, Stored, Written
from icure_sync.engine.trail import Action, Recorder
from icure_sync.engine.verdicts import VERIFIED
from icure_sync.engine.writers import Writers
from icure_sync.errors import IcureSyncError, NotFound, StaleRevision, UntrustedKey, WeakKey
from icure_sync.ids import DocId, HcpId, Rev, is_kid
from icure_sync.merge.registers import Path
from icure_sync.model import Hcp
from icure_sync.model.schema import SEALED_1
from icure_sync.store import Pin, Store

PAGE = 500  # Hcp documents read at a time
_MISNAMED = "it is known here by another key than the one that this Hcp itself signed for"


class Parties:
    """What is known of Hcps. `troubles`: Hcp documents that are not believed, and why, by id."""

    def __init__(self, store: Store, identity: Identity, entropy: Entropy, recorder: Recorder, bell: Bell) -> None:
        self._store = store
        self._recorder = recorder
        self._identity = identity
        self._entropy = entropy
        self._identities = Identities(store, identity, bell)
        self._beliefs = Beliefs(store, self._identities)
        self._attesting = Attesting(store, identity, recorder)
        self._known: dict[HcpId, Party] = {}
        self._vouched: dict[HcpId, bytes] = {}
        self._lost: dict[HcpId, int] = {}  # the last epoch of which somebody has the keys who should not
        self._read: dict[DocId, tuple[Rev, ...]] = {}
        self._seen: int | None = None  # the seq at which the own document was looked at for those who ask for its key
        self._has_news = True  # since own keys were looked at that somebody may know who should not
        self._settled: tuple[Rev, ...] = ()  # leaves of the own document of which there is nothing to merge
        self.troubles: dict[str, str] = {}
        self.keyring = Keyring(identity, (key for key in store.hcp_keys.all() if is_kid(key.kid)))

    def found(self) -> None:
        """Write the first revision of the own Hcp document, unless the document is here.

        Of a later epoch than what is here: written over all that is here; and what a lost key signed of it is attested,
        which takes a while. Raises UntrustedKey if this replica belongs to the same Hcp under another identity, unless
        that came before.
        """
        self._identities.found()
        strong = self._identity.party_key.public.bits >= RSA_BITS
        if strong and self._store.documents.tree(DocId(self._identity.hcp_id)) is None and not self._store.read_only:
            self._put(hcp_document.first(self._identity))  # a function of the identity: nothing that anybody did
        self.refresh()
        if self._is_of_an_older_epoch():
            self.reconcile()
            self.refresh()  # it says which keys are given up
        own = self.signer(self._identity.hcp_id)
        if own is not None and self._attesting.attest(replace(own, claimed=())):
            self._identities.read_attestations()

    def end_own(self) -> None:
        """The own identity has ended, says another device of this Hcp: see Identities."""
        self._identities.end_own()

    def is_own_lost(self) -> bool:
        """Whether somebody has the own keys who should not, as far as anything says so: see Identities."""
        return self._identities.is_own_lost()

    def looking_back(self) -> AbstractContextManager[None]:
        """Inside, the own key is believed as before its end."""
        return self._identities.looking_back()

    @property
    def is_weak(self) -> bool:
        """Whether the own party key is one that only `icure-classic` accepts."""
        return self._identity.party_key.public.bits < RSA_BITS

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
        """Read the Hcp documents that changed since the last time, and what attests. Those not believed are listed. Own
        Hcp keys that somebody may know are given up."""
        lost: dict[HcpId, int] | None = None
        while lost != self._lost:  # once, but when a key is found to be lost: any document may have keys wrapped for it
            lost = dict(self._lost)
            after: DocId | None = None
            while page := self._store.documents.ids_of_type(HCP_TYPE, after, PAGE):
                for doc_id in page:
                    self._refresh_one(doc_id)
                after = page[-1]
        self._identities.read_attestations()
        self._renew_keys()

    def known(self) -> list[str]:
        """What is known of keys and Hcps, as names: when it grows, more can be opened."""
        return [str(len(self.keyring)), *sorted(self._known), *self._identities.known()]

    def ids(self) -> tuple[HcpId, ...]:
        """Hcps whose keys are known."""
        return tuple(sorted(self._known))

    @property
    def own(self) -> Party:
        """The public side of this replica's Hcp, to be compared with others."""
        return Party.of_identity(self._identity)

    def signer(self, hcp_id: str) -> Signer | None:
        """What is known of the keys that this Hcp signs with; None if nothing is. Of the own: as of this moment, since
        what has just come may say that somebody else has its key."""
        own = DocId(self._identity.hcp_id)
        if hcp_id == own and self._store.documents.seq_of(own) != self._seen:
            self._seen = self._store.documents.seq_of(own)
            self._refresh_one(own)
        return self._identities.signer(hcp_id)

    def standing(self, hcp_id: HcpId) -> Standing | None:
        """What is known of this Hcp; None if nothing is."""
        pin, trouble = self._identities.pin(hcp_id), self.troubles.get(hcp_id, "")
        claims = tuple(each.party for each in self._identities.claims(hcp_id))
        if pin is None and not trouble:
            return None
        more = self._identities.more_claims(hcp_id)
        return Standing(hcp_id, self._known.get(hcp_id), pin, trouble, claims, more)

    def standings(self) -> list[Standing]:
        """Of every Hcp that anything is known of, by id."""
        ids = sorted({*self._identities.ids(), *map(HcpId, self.troubles)})
        return [standing for hcp_id in ids if (standing := self.standing(hcp_id)) is not None]

    def confirm(self, hcp_id: HcpId, time: int, signing_key: bytes | None = None) -> Standing:
        """A person compared, at this time (ms): this signing key is that of the Hcp, and none of the others that are
        claimed for it.

        `signing_key`: None for the one that there is to confirm: the claimed one, if there is one. If it is a new one,
        the own Hcp keys towards that Hcp are wrapped for it, and retired, unless it says itself that the change was
        planned. All or nothing. Raises UntrustedKey, StoreFull.
        """
        with self.at_once():
            self._refresh_one(DocId(hcp_id))
            self._identities.confirm(hcp_id, signing_key, time)
            self._read.clear()
            self.refresh()
        found = self.standing(hcp_id)
        assert found is not None  # it is pinned
        return found

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """One transaction: if it fails, what was learnt inside is forgotten here, too. Raises StoreFull, before
        anything is done, if nothing can be written."""
        known, lost, read = dict(self._known), dict(self._lost), dict(self._read)
        troubles, settled = dict(self.troubles), self._settled
        with self.keyring.kept_if_it_fails(), self._identities.kept_if_it_fails():
            try:
                with self._store.transaction():
                    yield
            except BaseException:
                self._known, self._lost, self._read, self.troubles = known, lost, read, troubles
                self._settled, self._seen, self._has_news = settled, None, True
                raise

    def take_pin(self, pin: Pin) -> None:
        """What another device of this Hcp has pinned. Raises UntrustedKey if that is not to be reconciled with what is
        pinned here: a person must compare the two."""
        try:
            self._identities.take(pin)
        except UntrustedKey as error:
            self.troubles[pin.hcp] = error.wrong
            raise
        self._read.pop(DocId(pin.hcp), None)

    def pins(self) -> list[Pin]:
        """Every pin, to be shared with the other devices of this Hcp."""
        return self._identities.pins()

    def vouch(self, keys: Mapping[HcpId, bytes]) -> None:
        """The own Hcp made these, and signed for these signing keys: each is pinned by its own, and nothing is wrapped
        for another, whoever else is pinned for it."""
        for hcp_id in self._misnamed():
            self.troubles.pop(hcp_id, None)
            self._read.pop(DocId(hcp_id), None)
        self._vouched = dict(keys)
        for hcp_id, signing_key in keys.items():
            if self._identities.pin(hcp_id) is None:
                self.take_pin(Pin(hcp_id, signing_key, Rev("")))
        self._withhold()

    def retire(self, delegate: HcpId, ended: str) -> None:
        """Make no new entries with the keys {me, delegate} that there are, which ended so (one of ENDINGS)."""
        keys = [key for key in self.keyring.pairs(self._identity.hcp_id, delegate) if not self.keyring.is_retired(key)]
        if keys:
            self._publish([], {Retired(key.kid, ended) for key in keys})
            self._refresh_one(DocId(self._identity.hcp_id))

    def key_towards(self, delegate: HcpId) -> HcpKey:
        """{me, delegate}, made and published if there is none.

        Raises NotFound; UntrustedKey, also while another identity is claimed for the delegate, or for this Hcp.
        """
        self._refresh_one(DocId(delegate))
        for hcp_id in (delegate, self._identity.hcp_id):
            self._identities.require_undisputed(hcp_id, f"share with {delegate}")
        if delegate in self._misnamed():
            raise UntrustedKey(f"share with {delegate}", _MISNAMED, "withdraw that emergency access, prepare another")
        present = self.keyring.pair(self._identity.hcp_id, delegate)
        if present is not None:
            return present
        minted = hcp_keys.mint(self._identity, delegate, self._entropy)
        wrapped = hcp_keys.wrap(self._identity, self._party(delegate), minted, self._entropy)
        self._publish([wrapped])
        self._keep(minted)
        self._refresh_one(DocId(self._identity.hcp_id))
        return minted

    def _renew_keys(self) -> None:
        """Keys towards Hcps that lost theirs, or that another passed for: wrapped for the party key that is theirs,
        since nobody may have the old one any more, and given up, since somebody else may."""
        me = self._identity.hcp_id
        if not self._has_news or self._store.read_only or self._identities.claims(me) or self._is_of_an_older_epoch():
            return
        believed = self._believed(DocId(me))
        if not believed:
            return  # it comes with a sync
        self._has_news = False
        due = [
            (pin, party)
            for hcp_id, party in self._known.items()
            if hcp_id != me and (pin := self._identities.pin(hcp_id)) and may_be_known(pin, party)
        ]
        if due:
            shown, disputed = self._joined(believed).shown, self._identities.disputed()
            found = [renewal(self.keyring, shown, *each, self._entropy) for each in due if each[0].hcp not in disputed]
            wrapped = [key for each in found for key in each.wrapped]
            ended = {key for each in found for key in each.ended}
            if wrapped or ended:
                self._publish(wrapped, ended)
                self._refresh_one(DocId(me))
                self._has_news = False

    def _publish(self, keys: Iterable[Wrapped], ended: Iterable[Retired] = ()) -> None:
        """In the own Hcp document."""
        self._store_written(hcp_document.with_keys(self._identity, self._own().shown, keys, ended))

    def shown(self, hcp_id: HcpId) -> Stored | None:
        """What the believed revisions of an Hcp document come to; None if there are none."""
        believed = self._believed(DocId(hcp_id))
        if not believed:
            return None
        if hcp_id == self._identity.hcp_id:
            return self._joined(believed).shown
        return hcp_document.united([each.stored for each in self._present(hcp_id, believed) or believed])

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
        is_older = any(each.party.epoch < self._identity.epoch for each in believed)
        if len(believed) > 1 or (believed and (is_ended or is_older)):
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

    def _joined(self, believed: Sequence[Believed]) -> Joined:
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
        believed = self._believed(doc_id)
        hcp_id = HcpId(doc_id)
        pin = self._identities.pin(hcp_id)
        known = self._known.get(hcp_id)
        if known and pin and known.signing_key != pin.signing_key:
            del self._known[hcp_id]
        present = self._present(hcp_id, believed)
        for party in (each.party for each in present):
            self._known[hcp_id] = party
            if (lost := lost_through(party.previous)) != self._lost.get(hcp_id, 0):
                self._lost[hcp_id] = lost
                self._read.clear()  # keys towards it may stand in any document
        for each in believed:
            self._take_in(each.stored)
        if present and pin and pin.previous:
            stated = (key.kid for each in present for key in wrapped_keys(doc_id, each.stored.document))
            self.keyring.restate(hcp_id, stated)
        for each in present or believed:
            self._give_up(each.stored)
        if pin and pin.refused and hcp_id in self._known and hcp_id != self._identity.hcp_id:
            own = [each.stored.document for each in believed if each.party.signing_key == pin.signing_key]
            here = {key.kid for document in own for key in wrapped_keys(doc_id, document)}
            self.keyring.expose(hcp_id, self.keyring.kids(hcp_id) - here)  # who passed for it made the others
        self._withhold()
        self._read[doc_id] = revs
        self._has_news = True

    def _misnamed(self) -> frozenset[HcpId]:
        """Hcps that are pinned by another key than the own Hcp signed for."""
        pins = ((self._identities.pin(hcp_id), key) for hcp_id, key in self._vouched.items())
        return frozenset(pin.hcp for pin, key in pins if pin is not None and pin.signing_key != key)

    def _withhold(self) -> None:
        misnamed = self._misnamed()
        self.troubles.update(dict.fromkeys(misnamed, _MISNAMED))
        self.keyring.withhold(self._identities.disputed() | misnamed)

    def _take_in(self, stored: Stored) -> None:
        """The keys of a revision that is believed."""
        owner = HcpId(stored.id)
        for wrapped in wrapped_keys(stored.id, stored.document):
            epochs = zip((owner, wrapped.delegate), wrapped.epochs, strict=True)
            if any(epoch <= self._lost.get(hcp_id, 0) for hcp_id, epoch in epochs):
                self.keyring.expose(owner, [wrapped.kid])
            self._unwrap(wrapped)

    def _give_up(self, stored: Stored) -> None:
        """The keys that a revision says are retired."""
        for key in retired(stored.document):
            (self.keyring.retire if key.ended == PLANNED else self.keyring.expose)(HcpId(stored.id), [key.kid])

    def _present(self, hcp_id: HcpId, believed: Sequence[Believed]) -> list[Believed]:
        """Those by the key that is the Hcp's now."""
        pin = self._identities.pin(hcp_id)
        return [each for each in believed if pin and each.party.signing_key == pin.signing_key]

    def _believed(self, doc_id: DocId) -> tuple[Believed, ...]:
        belief = self._beliefs.look(doc_id)
        if belief.trouble:
            self.troubles[doc_id] = belief.trouble
        return belief.revisions

    def _is_of_an_older_epoch(self) -> bool:
        """Whether the own document is: then it is to be written anew."""
        known = self._known.get(self._identity.hcp_id)
        return known is not None and known.epoch < self._identity.epoch

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
