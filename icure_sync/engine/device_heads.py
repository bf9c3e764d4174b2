"""The head of this device, written when there is more to tell, and those of other devices, as they come.

Owns what a head means: which is the highest of a device, and when one shows that a device has two lives. Which servers
have them is lookout.py's. Synchronous: runs in the store's thread.

A replica that was put back from a backup, or copied, meets a head of its own that it did not write. It goes on as
another device, with keys of its own: what the other life signed stays what it is, and nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from icure_sync import strict_json
from icure_sync.canonical import authored
from icure_sync.crypto.devices import (
    DEVICE_ID_BYTES,
    DEVICE_TYPE,
    NAME_MOST,
    DeviceHead,
    DeviceKeys,
    KnownIdentity,
    Told,
    head_document,
    head_id,
    is_head_id,
    kid_of,
    open_told,
)
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.primitives import Entropy, ExchangeKey, SigningKey
from icure_sync.engine.alarms import AlarmKind, Bell
from icure_sync.engine.parties import Parties
from icure_sync.engine.storing import store_uncounted
from icure_sync.engine.suite import Written
from icure_sync.engine.verdicts import REFUSED, VERIFIED, above
from icure_sync.errors import InvalidEntity, Tampered, UntrustedKey
from icure_sync.ids import DocId, HcpId, Rev, generation
from icure_sync.store import Held, Pin, Store
from icure_sync.store.device_heads import HeadRow

DEVICE_SETTING = "device"  # the setting with this device's id: other parts of a replica name themselves by it, too
_TOLD = Rev("")  # first revision of a pin that another device told
_OWN = "engine/device"  # the setting with its keys, and what its last head said


@dataclass(frozen=True, slots=True, repr=False)
class Own:
    """This device. `signing`, `exchange`: the private halves of its keys, in hex. `added`: ms since 1970.

    `rev`, `counter`, `epoch`, `named`: of its last head, if there is one, and what it said.
    """

    device: str
    signing: str
    exchange: str
    added: int
    name: str = ""
    rev: str | None = None
    counter: int = 0
    epoch: int = 0
    named: str = ""

    @property
    def keys(self) -> DeviceKeys:
        """Of the device."""
        return DeviceKeys(SigningKey(bytes.fromhex(self.signing)), ExchangeKey(bytes.fromhex(self.exchange)))


class DeviceHeads:
    """Those of one replica with an identity. `device`: the id that it was opened with. `clock`: ms since 1970."""

    def __init__(
        self,
        store: Store,
        identity: Identity,
        device: str,
        *,
        parties: Parties,
        bell: Bell,
        entropy: Entropy,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._identity = identity
        self._parties = parties
        self._bell = bell
        self._entropy = entropy
        self._clock = clock
        kept = store.settings.get(_OWN)
        self.own = Own(**kept) if kept else self._drawn(device)
        if not kept and not store.read_only:
            self._keep(self.own)

    @property
    def hcp_id(self) -> HcpId:
        """Whose devices write here."""
        return self._identity.hcp_id

    # This device

    def write(self) -> bool:
        """The next head, if more was written since the last one, or that does not say any more how things are."""
        own, count = self.own, self._store.writes.count()
        said = (own.counter, own.epoch, own.named) == (count.counter, self._identity.epoch, own.name)
        if self._store.read_only or (own.rev is not None and said and self._stands(own)):
            return False
        doc_id, parent = head_id(own.device), None if own.rev is None else Rev(own.rev)
        rev, document = head_document(
            self._identity,
            own.device,
            own.keys,
            count=count,
            told=Told(own.name, own.added, self._pins()),
            key=self._parties.keyring.towards(self._identity.hcp_id),
            above=parent,
            entropy=self._entropy,
        )
        with self._store.transaction():
            store_uncounted(self._store, Written(doc_id, rev, parent, document))
            self._store.documents.mark_verified(doc_id, rev, VERIFIED)
            self._prune(doc_id)
            self._keep(replace(own, rev=rev, counter=count.counter, epoch=self._identity.epoch, named=own.name))
            self._highest(DeviceHead.of(doc_id, rev, document, ()))
        return True

    def rename(self, name: str) -> None:
        """What the person calls this device: told to the others with the next head. Raises InvalidEntity."""
        text = str(authored(name)).strip()
        if not 0 < len(text) <= NAME_MOST or not text.isprintable():
            wrong = f"it is empty, longer than {NAME_MOST} characters, or more than one line"
            raise InvalidEntity("name a device", wrong, "choose a short name")
        self._keep(replace(self.own, name=text))

    def told_by(self, row: HeadRow) -> Told | None:
        """What another device of this Hcp, or this one, told with its highest head; None if that cannot be opened."""
        revision = self._store.documents.get(head_id(row.device), row.rev)
        if revision is None or row.hcp != self._identity.hcp_id:
            return None
        document = strict_json.loads(revision.body, f"the head {revision.id}")
        with suppress(Tampered, InvalidEntity):
            head = DeviceHead.of(revision.id, revision.rev, document, ())
            key = self._parties.keyring.get(row.hcp, row.hcp, kid_of(document))
            return open_told(head, document, key.key) if key else None
        return None

    # As they come

    def take_in(self) -> None:
        """What a pull brought of heads."""
        if self._store.read_only:
            return
        for doc_id in self._store.device_heads.unseen(DEVICE_TYPE):
            with self._store.transaction():
                for held in self._store.documents.held_leaves(doc_id):
                    if not held.revision.deleted and held.state not in (VERIFIED, REFUSED):
                        self._look(held)
                self._prune(doc_id)

    def _look(self, held: Held) -> None:
        """Whether a head counts; what cannot be judged yet is looked at again."""
        doc_id, rev = held.revision.id, held.revision.rev
        try:
            document = strict_json.loads(held.revision.body, f"the head {doc_id}")
            head = DeviceHead.of(doc_id, rev, document, above(self._store, held.revision))
            signer = self._parties.signer(head.hcp)
            counts = signer is not None and head.registered(document, signer)
        except (Tampered, InvalidEntity) as error:
            self._store.documents.mark_verified(doc_id, rev, REFUSED, error.wrong)
            self._bell.ring(AlarmKind.TAMPERED, doc_id, f"revision {rev}: {error.wrong}")
            return
        if counts:
            self._store.documents.mark_verified(doc_id, rev, VERIFIED)
            if head.device == self.own.device:
                self._begin_anew(head)
            else:
                self._compare(head)

    def _compare(self, head: DeviceHead) -> None:
        known = self._store.device_heads.get(head.device)
        if known is None or (known.key == head.signing_key and known.counter < head.count.counter):
            if known is None or self._descends(head, known.rev):
                self._highest(head)
                return
        elif known.key == head.signing_key and self._is_before(head, known):
            return
        elif known.key == head.signing_key and known.digest == head.count.digest and self._descends(head, known.rev):
            self._highest(head)  # of the same writes: it has another name, say
            return
        why = f"it signed {_heads(known.counter, head.count.counter)}, of which neither comes after the other"
        self._bell.ring(AlarmKind.FORKED_DEVICE, head.device, why)

    def _begin_anew(self, head: DeviceHead) -> None:
        """Somebody else wrote as this device: a copy of this file, or this one before it was put back."""
        left = self.own.device
        self._highest(head)
        self._keep(replace(self._drawn(self._entropy(DEVICE_ID_BYTES).hex()), name=self.own.name))
        self._store.settings.put(DEVICE_SETTING, self.own.device)
        self._bell.ring(
            AlarmKind.COPIED_DEVICE,
            left,
            f"it has written {head.count.counter} revisions, and not all of them here: this replica was put back from "
            f"a backup, or copied, and goes on as device {self.own.device}",
        )

    def take_pins(self) -> None:
        """What the other devices of this Hcp know Hcps by: taken over where nothing is known here; what differs is a
        trouble of that Hcp, until a person has compared."""
        if self._store.read_only:
            return
        known = {pin.hcp: pin for pin in self._pins()}
        news = 0
        for row in self._store.device_heads.all():
            told = self.told_by(row) if row.device != self.own.device else None
            for pin in told.pins if told else ():
                if pin.hcp != self.hcp_id and not _says_as_much(known.get(pin.hcp), pin):
                    with suppress(UntrustedKey):  # which lists it
                        self._parties.take_pin(
                            Pin(pin.hcp, pin.signing_key, _TOLD, pin.epoch, pin.previous, pin.verified, pin.refused)
                        )
                        news += 1
        if news:
            self._parties.refresh()

    # Parts

    def _pins(self) -> tuple[KnownIdentity, ...]:
        return tuple(
            KnownIdentity(pin.hcp, pin.signing_key, pin.epoch, pin.previous, pin.verified, pin.refused)
            for pin in self._parties.pins()
            if pin.hcp != self.hcp_id
        )

    def _drawn(self, device: str) -> Own:
        keys = DeviceKeys.draw(self._entropy)
        return Own(device, keys.signing.seed().hex(), keys.exchange.secret().hex(), self._clock())

    def _keep(self, own: Own) -> None:
        self.own = own
        self._store.settings.put(_OWN, asdict(own))

    def _highest(self, head: DeviceHead) -> None:
        count = head.count
        values = (head.rev, count.counter, count.digest, head.signing_key, self._clock())
        self._store.device_heads.put(HeadRow(head.device, head.hcp, *values))

    def _stands(self, own: Own) -> bool:
        tree = self._store.documents.tree(head_id(own.device))
        return tree is not None and any(leaf.rev == own.rev and not leaf.deleted for leaf in tree.leaves())

    def _descends(self, head: DeviceHead, known: Rev) -> bool:
        return self._is_in_line(head_id(head.device), head.rev, known)

    def _is_before(self, head: DeviceHead, known: HeadRow) -> bool:
        return self._is_in_line(head_id(head.device), known.rev, head.rev)

    def _is_in_line(self, doc_id: DocId, later: Rev, earlier: Rev) -> bool:
        """Whether one comes after the other; it may, if a server has cut the history short."""
        tree = self._store.documents.tree(doc_id)
        if tree is None or later not in tree:
            return False
        line = tree.history(later)
        return earlier in line or generation(earlier) < generation(line[-1])

    def _prune(self, doc_id: DocId) -> None:
        """A head that counts says all that those before it said. What only calls itself a head takes nothing away: a
        server can put that on any document."""
        if not is_head_id(doc_id):
            return
        for held in self._store.documents.held_leaves(doc_id):
            if held.state == VERIFIED and not held.revision.deleted:
                self._store.documents.prune(doc_id, held.revision.history[1:])


def _says_as_much(known: KnownIdentity | None, told: KnownIdentity) -> bool:
    return (
        known is not None
        and (known.signing_key, known.epoch, known.previous) == (told.signing_key, told.epoch, told.previous)
        and (told.verified or 0) <= (known.verified or 0)
        and set(told.refused) <= set(known.refused)
    )


def _heads(known: int, other: int) -> str:
    return f"two heads of {known} writes" if known == other else f"a head of {known} writes and one of {other}"
