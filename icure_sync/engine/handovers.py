"""The handovers that reached this device: new identities that wait for a person's word, and that it is shut out itself.

Owns what a handover means here; its layout and signatures are crypto/handover.py's. Nothing is taken over by itself: a
device that somebody stole can make a handover, too. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from icure_sync import strict_json
from icure_sync.crypto.comparison import comparison
from icure_sync.crypto.handover import HANDOVER_TYPE, Handover, handover_id
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.party import Party
from icure_sync.engine.alarms import AlarmKind, Bell
from icure_sync.engine.device_heads import DeviceHeads
from icure_sync.engine.verdicts import REFUSED
from icure_sync.errors import InvalidEntity, Tampered
from icure_sync.ids import DocId, Rev
from icure_sync.store import Held, Store

PAGE = 500  # documents read at a time; there are a few


@dataclass(frozen=True, slots=True)
class Offered:
    """A new identity of the Hcp. `device` made it, and `revoked` are those that it shuts out, all by their ids;
    `number`: 60 digits to compare with what that device shows. `is_for_this`: this device can take it over; if not, it
    was not known to the other, and must be paired anew."""

    device: str
    revoked: tuple[str, ...]
    number: str
    is_for_this: bool


@dataclass(frozen=True, slots=True)
class ShutOut:
    """This device was revoked, by another one of its Hcp: `device`. `number`: of the identity that it has not."""

    device: str
    number: str


def number_of(ended: Party, party: Party) -> str:
    """What people compare of an identity and the one that follows it."""
    return comparison(ended, party)


class Handovers:
    """Those that concern one device with this identity. `heads`: the device."""

    def __init__(self, store: Store, identity: Identity, heads: DeviceHeads, bell: Bell) -> None:
        self._store = store
        self._own = Party.of_identity(identity)
        self._heads = heads
        self._bell = bell
        self._read: dict[DocId, tuple[Rev, ...]] = {}
        self._holding: tuple[Handover, ...] = ()

    def take_in(self) -> tuple[Handover, ...]:
        """Look at what has come since the last time. Returns all that hold, those to the next identity first: also what
        comes after that, by the word of the one before."""
        revs = {doc_id: self._revs(doc_id) for doc_id in self._ids()}
        if revs != self._read:
            self._read = revs
            self._holding = tuple(self._found())
        self._match()
        return self._holding

    @property
    def is_any(self) -> bool:
        """Whether one holds: then the own identity has ended."""
        return bool(self._holding)

    def offered(self) -> list[Handover]:
        """Those to the next identity that do not shut this device out."""
        return [each for each in self._holding if self._is_next(each) and self._device not in each.revoked]

    def offers(self) -> list[Offered]:
        """The same, for people."""
        return [
            Offered(
                each.device,
                tuple(sorted(each.revoked)),
                number_of(self._own, each.party),
                self._device in each.sealed,
            )
            for each in self.offered()
        ]

    def shut_out(self) -> ShutOut | None:
        """Whether this device was revoked. If those who revoke were revoked themselves, people must decide."""
        for each in self._holding:
            is_disputed = any(each.device in other.revoked for other in self._holding)
            if self._device in each.revoked and each.device != self._device and not is_disputed:
                return ShutOut(each.device, number_of(self._own, each.party))
        return None

    @property
    def _device(self) -> str:
        return self._heads.own.device

    def _found(self) -> list[Handover]:
        """Each epoch's are judged by the identities that those of the epoch before give."""
        found: list[Handover] = []
        ends = [self._own]
        epoch = self._own.epoch
        while ends:
            epoch += 1
            here = [each for held in self._held(epoch) if (each := self._judged(held, ends)) is not None]
            found += here
            ends = [each.party for each in here]
        return found

    def _judged(self, held: Held, ends: list[Party]) -> Handover | None:
        doc_id, rev = held.revision.id, held.revision.rev
        why = ""
        for own in ends:
            try:
                handover = Handover.of(doc_id, rev, strict_json.loads(held.revision.body, f"document {doc_id}"), own)
            except (Tampered, InvalidEntity) as error:
                why = error.wrong
                continue
            known = self._store.device_heads.get(handover.device)
            if known is None or (known.hcp, known.key) == (own.hcp_id, handover.device_key):
                return handover
            why = "it is not signed by the device that it names"
        if ends == [self._own] and not self._store.read_only:
            self._store.documents.mark_verified(doc_id, rev, REFUSED, why)
            self._bell.ring(AlarmKind.TAMPERED, doc_id, f"revision {rev}: {why}")
        return None

    def _held(self, epoch: int) -> list[Held]:
        """Also what was displaced: a handover is signed, and nobody takes it back."""
        documents, begin = self._store.documents, handover_id(self._own.hcp_id, epoch, "")
        ids = [doc_id for doc_id in self._read if doc_id.startswith(begin)]
        here = (held for doc_id in ids for held in (*documents.held_leaves(doc_id), *documents.displaced(doc_id)))
        return [held for held in here if not held.revision.deleted and held.state != REFUSED]

    def _ids(self) -> list[DocId]:
        found: list[DocId] = []
        while page := self._store.documents.ids_of_type(HANDOVER_TYPE, found[-1] if found else None, PAGE):
            found += page
        return found

    def _revs(self, doc_id: DocId) -> tuple[Rev, ...]:
        return tuple(leaf.rev for leaf in self._store.documents.leaves(doc_id))

    def _is_next(self, handover: Handover) -> bool:
        return handover.party.epoch == self._own.epoch + 1

    def _match(self) -> None:
        """The alarms of how things are."""
        out, offers = self.shut_out(), self.offers()
        waiting = {str(self._own.hcp_id): _waiting(offers)} if offers and out is None else {}
        self._bell.match(AlarmKind.NEW_IDENTITY, waiting)
        self._bell.match(AlarmKind.DEVICE_REVOKED, {self._device: f"device {out.device} revoked it"} if out else {})


def _waiting(offers: list[Offered]) -> str:
    made = [f"device {each.device} revoked {', '.join(each.revoked)}" for each in offers]
    return "; another time ".join(made)
