"""Which identity of each Hcp is believed here: pinned on first use, followed where the pinned key endorses the next,
and else only changed by a person's word.

Owns the pins, what is claimed against them, and what is attested. Knows no Hcp keys and writes no documents.
Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from icure_sync import strict_json
from icure_sync.crypto.attestations import ATTESTATION, attested, attesting, digests_in
from icure_sync.crypto.identity import COMPROMISED, Identity, Previous
from icure_sync.crypto.party import Party
from icure_sync.crypto.signers import Attested, Signer
from icure_sync.engine.alarms import Bell
from icure_sync.engine.refusing import take_back
from icure_sync.engine.verdicts import REFUSED, VERIFIED
from icure_sync.errors import InvalidEntity, Tampered, UntrustedKey
from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.store import Held, Pin, Store

PAGE = 500  # attestations read at a time
CLAIMS_MOST = 8  # of an Hcp, shown, and tried against signatures: anybody may put more on a server
_ADOPT = "if you have revoked a device: icure-sync device adopt; if not, tell whoever runs the server"


@dataclass(frozen=True, slots=True)
class Stated:
    """An identity, and the revision of its Hcp document that states it. `was_verified`: it was believed before."""

    party: Party
    rev: Rev
    was_verified: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one Hcp. `party`: the identity that is believed, if its document is here; `pin`: what is known
    of it beyond that; `trouble`: why something in its document is not believed, empty if nothing is the matter.

    `claims`: identities that nothing vouches for, CLAIMS_MOST of them, and `more_claims`: how many more there are.
    While there are any, nothing is wrapped for it: a person must decide.
    """

    hcp_id: HcpId
    party: Party | None
    pin: Pin | None
    trouble: str
    claims: tuple[Party, ...]
    more_claims: int = 0


class Identities:
    """The pins of one replica. `identity`: its own, which is pinned by being there."""

    def __init__(self, store: Store, identity: Identity, bell: Bell) -> None:
        self._store = store
        self._bell = bell
        self._own = Party.of_identity(identity)
        self._pins: dict[HcpId, Pin] = {}
        self._claims: dict[HcpId, tuple[Stated, ...]] = {}
        self._blocks: dict[HcpId, dict[tuple[DocId, Rev], bytes]] = {}
        self._read: dict[DocId, tuple[Rev, ...]] = {}
        self._signers: dict[HcpId, Signer] = {}
        self._is_ended = False
        self._looks_back = False

    def found(self) -> None:
        """Pin the own identity. Raises UntrustedKey if this replica belongs to the same Hcp under another one, unless
        that came before."""
        own, pin = self._own, self.pin(self._own.hcp_id)
        if pin is None:
            self._put(Pin(own.hcp_id, own.signing_key, Rev(""), own.epoch, own.previous))
        elif own.comes_after(pin.signing_key) and own.epoch > pin.epoch:
            self._put(replace(pin, signing_key=own.signing_key, epoch=own.epoch, previous=_former(pin, own)))
        elif pin.signing_key != own.signing_key:
            wrong = "this replica belongs to it under another identity"
            raise _untrusted(own.hcp_id, wrong, "open it with the newest identity file of that Hcp")

    def pin(self, hcp_id: HcpId) -> Pin | None:
        """What is pinned of an Hcp."""
        pin = self._pins.get(hcp_id) or self._store.pins.get(hcp_id)
        if pin is not None:
            self._pins[hcp_id] = pin
        return pin

    def ids(self) -> tuple[HcpId, ...]:
        """Hcps that are pinned, or claimed to be known."""
        return tuple(sorted({*self._claims, *(pin.hcp for pin in self._store.pins.all()), *self._pins}))

    def pins(self) -> list[Pin]:
        """Every pin, by Hcp id."""
        return [pin for hcp_id in self.ids() if (pin := self.pin(hcp_id)) is not None]

    def signer(self, hcp_id: str) -> Signer | None:
        """What is known of the keys that this Hcp signs with; None if nothing is."""
        known = self._signers.get(HcpId(hcp_id))
        if known is not None:
            return known
        pin = self.pin(HcpId(hcp_id))
        if pin is None:
            return None
        blocks = self._blocks.get(pin.hcp, {})
        claimed = tuple(each.party.signing_key for each in self.claims(pin.hcp))
        is_lost = pin.hcp == self._own.hcp_id and self.is_own_lost() and not self._looks_back
        ended = (Previous(pin.signing_key, COMPROMISED),) if is_lost else ()
        signer = Signer.of(pin.signing_key, (*pin.previous, *ended), Attested(blocks.values()), claimed)
        self._signers[pin.hcp] = signer
        return signer

    def end_own(self) -> None:
        """Somebody has the own keys who should not, says a device of this Hcp: what they sign is pending from now on,
        but for what this device writes itself."""
        self._is_ended = True
        self._signers.pop(self._own.hcp_id, None)

    def is_own_lost(self) -> bool:
        """Whether that is so, or an identity that is claimed for this Hcp says it. Anybody can claim one: what waits
        for the key is looked at again when a person has refused it."""
        ended = Previous(self._own.signing_key, COMPROMISED)
        return self._is_ended or any(ended in each.party.previous for each in self._claims.get(self._own.hcp_id, ()))

    @contextmanager
    def looking_back(self) -> Iterator[None]:
        """Inside, the own key is believed as before its end: for what was here then."""
        self._looks_back = True
        self._signers.pop(self._own.hcp_id, None)
        try:
            yield
        finally:
            self._looks_back = False
            self._signers.pop(self._own.hcp_id, None)

    def known(self) -> list[str]:
        """What is known beyond first identities, as names: when it changes, more can be verified, or less."""
        later = [f"{pin.hcp}@{pin.epoch}" for pin in self._pins.values() if pin.previous]
        blocks = [f"{hcp_id}+{len(found)}" for hcp_id, found in self._blocks.items() if found]
        refused = [f"{pin.hcp}!{len(pin.refused)}" for pin in self._pins.values() if pin.refused]
        return sorted(later + blocks + refused)

    def claims(self, hcp_id: HcpId) -> tuple[Stated, ...]:
        """Identities that documents state for this Hcp, and that nothing vouches for: a person must decide. Those first
        that name the pinned key as one before them; CLAIMS_MOST at most."""
        return self._claims.get(hcp_id, ())[:CLAIMS_MOST]

    def more_claims(self, hcp_id: HcpId) -> int:
        """How many there are beside those."""
        return max(0, len(self._claims.get(hcp_id, ())) - CLAIMS_MOST)

    def is_refused(self, stated: Stated) -> bool:
        """Whether a person said that this is not the Hcp's: then it is nothing that anybody need be told of."""
        pin = self.pin(stated.party.hcp_id)
        return pin is not None and stated.party.signing_key in pin.refused

    @contextmanager
    def kept_if_it_fails(self) -> Iterator[None]:
        """What is learnt inside is forgotten if an exception leaves, as what is written with it is."""
        blocks = {hcp_id: dict(found) for hcp_id, found in self._blocks.items()}
        pins, claims, read = dict(self._pins), dict(self._claims), dict(self._read)
        try:
            yield
        except BaseException:
            self._pins, self._claims, self._blocks, self._read, self._signers = pins, claims, blocks, read, {}
            raise

    def disputed(self) -> frozenset[HcpId]:
        """Hcps with claims: nothing is wrapped for them meanwhile."""
        return frozenset(hcp_id for hcp_id, found in self._claims.items() if found)

    def require_undisputed(self, hcp_id: HcpId, attempted: str) -> None:
        """Raises UntrustedKey if there are claims."""
        if self.claims(hcp_id):
            step = _ADOPT if hcp_id == self._own.hcp_id else _compare(hcp_id)
            raise UntrustedKey(attempted, f"another identity is claimed for {hcp_id}, and nothing vouches for it", step)

    def settle(self, hcp_id: HcpId, stated: Sequence[Stated]) -> None:
        """Take in what revisions of this Hcp's document state, all that are here: pin on first use, follow what the
        pinned key endorsed, and note what is left as claims."""
        pin = self.pin(hcp_id)
        if pin is None:
            if not stated:
                return
            first = max(stated, key=lambda each: each.party.epoch)  # of several the first
            party = first.party
            pin = self._put(Pin(hcp_id, party.signing_key, first.rev, party.epoch, party.previous))
        unknown = _unknown(pin, stated)
        while (following := self._following(pin, unknown)) is not None:
            pin = self._follow(pin, following)
            unknown = _unknown(pin, stated)
        for each in stated:
            if each.party.signing_key == pin.signing_key and each.party.epoch > pin.epoch:
                pin = self._follow(pin, each)  # the same key, by its own word of a later epoch than was known
        pinned = pin.signing_key
        distinct = {each.party.signing_key: each for each in unknown}.values()
        claims = tuple(sorted(distinct, key=lambda each: not each.party.comes_after(pinned)))
        if claims != self._claims.get(hcp_id, ()):
            self._claims[hcp_id] = claims
            self._signers.pop(hcp_id, None)

    def check(self, stated: Stated) -> None:
        """That this revision is by a key that speaks for the Hcp, or spoke for it when it was verified.

        Raises UntrustedKey.
        """
        party, pin = stated.party, self.pin(stated.party.hcp_id)
        if pin is None or party.signing_key == pin.signing_key:
            if party.hcp_id == self._own.hcp_id and self._is_own_followed() and not stated.was_verified:
                raise _untrusted(party.hcp_id, "its key has ended, and nothing says that this came before", _ADOPT)
            return
        signer = self.signer(party.hcp_id)
        assert signer is not None  # it is pinned
        if party.signing_key in (*signer.planned, *signer.compromised):
            if stated.was_verified:
                return
            ended = "has given up" if party.signing_key in signer.planned else "lost"
            raise _untrusted(party.hcp_id, f"a key that it {ended} signed its document", "nothing need be done")
        if party.hcp_id == self._own.hcp_id:
            raise _untrusted(party.hcp_id, "it states an identity that this device does not have", _ADOPT)
        raise _other(party.hcp_id)

    def confirm(self, hcp_id: HcpId, signing_key: bytes | None, time: int) -> None:
        """A person compared: this key is the Hcp's, and what else is claimed is not.

        A key that was pinned, and that the identity with this key does not name as one before it, was somebody else's:
        it is refused, and what it signed is not believed any more. `signing_key`: None for the one that there is to
        confirm. Raises UntrustedKey.
        """
        pin, claims = self.pin(hcp_id), self._claims.get(hcp_id, ())
        if pin is None:
            raise _untrusted(hcp_id, "nothing is known of it", "sync first")
        if signing_key is None:
            keys = [each.party.signing_key for each in claims] or [pin.signing_key]
            if len(keys) > 1:
                raise _untrusted(hcp_id, f"{len(keys)} other identities are claimed for it", "say which one is meant")
            signing_key = keys[0]
        claimed = [each.party.signing_key for each in claims if each.party.signing_key != signing_key]
        if signing_key == pin.signing_key:
            self._put(replace(pin, verified=time, refused=_joined(pin.refused, claimed)))
            self._claims.pop(hcp_id, None)
            return
        chosen = next((each for each in claims if each.party.signing_key == signing_key), None)
        if chosen is None:
            raise _untrusted(hcp_id, "nothing states that key for it", "sync, and compare again")
        if hcp_id == self._own.hcp_id:
            raise _untrusted(hcp_id, "it is this replica's own Hcp", "take its new identity over on this device")
        after = _followed(pin, chosen)
        own = {signing_key, *(each.signing_key for each in after.previous)}
        refused = _joined(pin.refused, [pin.signing_key, *(each.signing_key for each in pin.previous)], claimed)
        self._put(replace(after, verified=time, refused=tuple(key for key in refused if key not in own)))
        self._claims.pop(hcp_id, None)

    def take(self, pin: Pin) -> None:
        """What another device of the own Hcp has pinned: taken over of an Hcp that nothing is known of here, or if it
        comes after what is known, or if a person refused there what is known. Raises UntrustedKey for another one."""
        known = self.pin(pin.hcp)
        former = {each.signing_key for each in pin.previous}
        if known is None or (known.signing_key in former and pin.epoch >= known.epoch):
            self._put(pin)
        elif known.signing_key in pin.refused and pin.signing_key not in known.refused:
            own = {pin.signing_key, *former}
            self._put(replace(pin, refused=_joined([key for key in (*known.refused, *pin.refused) if key not in own])))
        elif known.signing_key == pin.signing_key:
            verified = max((each for each in (known.verified, pin.verified) if each is not None), default=None)
            refused = _joined(known.refused, pin.refused)
            if (verified, refused) != (known.verified, known.refused):
                self._put(replace(known, verified=verified, refused=refused))
        elif known.signing_key in pin.refused or pin.signing_key not in _let_go(known):
            raise _untrusted(pin.hcp, "another device of yours knows it by another key", "compare fingerprints with it")

    def read_attestations(self) -> None:
        """Take in the attestations that changed since the last time, and those that could not be judged then."""
        after: DocId | None = None
        while page := self._store.documents.ids_of_type(ATTESTATION, after, PAGE):
            for doc_id in page:
                revs = tuple(leaf.rev for leaf in self._store.documents.leaves(doc_id))
                if self._read.get(doc_id) != revs and self._read_attestation(doc_id):
                    self._read[doc_id] = revs
            after = page[-1]

    def _read_attestation(self, doc_id: DocId) -> bool:
        """Whether all is said of it. An attestation stands, whatever displaces it: it is signed, and never taken
        back."""
        documents = self._store.documents
        here = (*documents.held_leaves(doc_id), *documents.displaced(doc_id))
        judged = [self._judge_attestation(held) for held in here if not held.revision.deleted]
        return all(judged)

    def _judge_attestation(self, held: Held) -> bool:
        """Whether it could be judged: False if the Hcp or its key is not known yet."""
        doc_id, rev = held.revision.id, held.revision.rev
        try:
            document = strict_json.loads(held.revision.body, f"document {doc_id}")
            hcp_id = attesting(doc_id, document)
            signer = self.signer(hcp_id)
            if held.state == VERIFIED:
                block: bytes | None = digests_in(doc_id, document)
            else:
                block = None if signer is None else attested(doc_id, rev, document, signer)
        except (Tampered, InvalidEntity):
            return True
        if block is None:
            return False
        if not self._store.read_only:
            self._store.documents.mark_verified(doc_id, rev, VERIFIED)
        self._blocks.setdefault(hcp_id, {})[doc_id, rev] = block
        self._signers.pop(hcp_id, None)
        return True

    def _is_own_followed(self) -> bool:
        """Whether the own identity has ended, in whichever way, as far as anything says so."""
        key = self._own.signing_key
        return self._is_ended or any(each.party.comes_after(key) for each in self._claims.get(self._own.hcp_id, ()))

    def _following(self, pin: Pin, unknown: Sequence[Stated]) -> Stated | None:
        """The identity that the pinned key endorsed, if everything else that is claimed comes after it."""
        if pin.hcp == self._own.hcp_id:
            return None  # its keys are not here: it is for a person to take them over
        for each in unknown:
            key = each.party.signing_key
            others = [other.party for other in unknown if other.party.signing_key != key]
            if each.party.is_endorsed_by(pin.signing_key) and all(other.comes_after(key) for other in others):
                return each
        return None

    def _follow(self, pin: Pin, stated: Stated) -> Pin:
        return self._put(_followed(pin, stated))

    def _put(self, pin: Pin) -> Pin:
        """Pin it, and have looked at again what was refused by what was known before."""
        before = self._pins.get(pin.hcp)
        self._pins[pin.hcp] = pin
        self._signers.pop(pin.hcp, None)
        spoke = {before.signing_key, *(each.signing_key for each in before.previous)} if before else set()
        refused = spoke.intersection(pin.refused)
        if not self._store.read_only:
            with self._store.transaction():
                self._store.pins.put(pin)
                if before is not None and before.signing_key != pin.signing_key:
                    self._store.documents.forget_verified(REFUSED)
                if refused:
                    self._take_back(pin.hcp, refused)
        return pin

    def _take_back(self, hcp_id: HcpId, refused: Collection[bytes]) -> None:
        """These keys spoke for this Hcp here, and a person said that they are not its own."""
        self._blocks.pop(hcp_id, None)
        self._read.clear()
        take_back(self._store, self._bell, hcp_id, refused)


def _unknown(pin: Pin, stated: Sequence[Stated]) -> list[Stated]:
    known = {pin.signing_key, *_let_go(pin)}
    return [each for each in stated if each.party.signing_key not in known]


def _let_go(pin: Pin) -> set[bytes]:
    """Keys that are known not to be this Hcp's any more, or never to have been."""
    return {*pin.refused, *(each.signing_key for each in pin.previous)}


def _joined(*keys: Sequence[bytes]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(key for each in keys for key in each))


def _followed(pin: Pin, stated: Stated) -> Pin:
    party = stated.party
    return replace(
        pin,
        signing_key=party.signing_key,
        first_rev=stated.rev,
        epoch=party.epoch,
        previous=_former(pin, party),
    )


def _former(pin: Pin, party: Party) -> tuple[Previous, ...]:
    """The keys before this one: as it states them, and as those did that it states."""
    before = pin.previous if pin.signing_key == party.signing_key or party.comes_after(pin.signing_key) else ()
    stated = [*party.previous, *(each for each in before if each not in party.previous)]
    return tuple(each for each in stated if each.signing_key != party.signing_key)


def _other(hcp_id: HcpId) -> UntrustedKey:
    wrong = "its signing key is not the one that was pinned"
    return _untrusted(hcp_id, wrong, _compare(hcp_id))


def _compare(hcp_id: HcpId) -> str:
    return f"compare the numbers with that Hcp, then: icure-sync hcp verify {hcp_id}"


def _untrusted(hcp_id: HcpId, wrong: str, next_step: str) -> UntrustedKey:
    return UntrustedKey(f"trust the Hcp {hcp_id}", wrong, next_step)
