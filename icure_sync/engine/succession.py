"""Giving the Hcp a new identity because a device is lost, and taking over the one that another device made.

Owns the change, from the moment that the new identity is durable in the encrypted replica: whoever opens the replica
after that, with the identity before it too, has the new one, and what is to be written for it is written then, in one
transaction. What was begun is kept until the application says that it keeps the identity, and that it has shown what a
person must see. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from icure_sync import strict_json
from icure_sync.crypto.comparison import is_same_number
from icure_sync.crypto.devices import DeviceHead, head_id
from icure_sync.crypto.handover import hand_over, handover_id, take_over
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.party import HCP_TYPE, Party
from icure_sync.crypto.shares import Purpose, RecoverySecret
from icure_sync.engine.device_heads import DeviceHeads
from icure_sync.engine.handovers import number_of
from icure_sync.engine.keyed import Keyed
from icure_sync.engine.recoveries import begin_anew, end_former
from icure_sync.engine.trail import Action
from icure_sync.errors import InvalidEntity, NotFound, Tampered, UntrustedKey
from icure_sync.ids import DocId
from icure_sync.store import Store
from icure_sync.store.device_heads import HeadRow

_BEGUN = "engine/succession"  # the setting with what is below
_REVOKED = "engine/revoked-devices"  # the setting with the ids of those that were ever revoked, as far as known here


@dataclass(frozen=True, slots=True, repr=False)
class Succession:
    """A change of the own identity that the application has not seen to the end.

    `identity`: to be kept from now on, None once it is; `revoked`: the devices that it shut out; `number`: what the
    other devices' people compare; `code`: the new recovery code, to be shown once, None if another device made it.
    `handover`: the document, None if it was made elsewhere. `is_written`: what it takes is in the replica.
    """

    identity: Identity | None
    revoked: tuple[str, ...]
    number: str
    code: RecoverySecret | None
    handover: Mapping[str, Any] | None
    is_written: bool = False

    def kept(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "identity": self.identity.secret().decode() if self.identity else None,
            "revoked": list(self.revoked),
            "number": self.number,
            "code": self.code.value.hex() if self.code else None,
            "handover": self.handover,
            "written": self.is_written,
        }

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Succession:
        """From `kept`."""
        identity, code = kept["identity"], kept["code"]
        return cls(
            Identity.of_secret(identity.encode()) if identity else None,
            tuple(kept["revoked"]),
            kept["number"],
            RecoverySecret(Purpose.RECOVERY, bytes.fromhex(code)) if code else None,
            kept["handover"],
            kept["written"],
        )


def standing(store: Store) -> Succession | None:
    """What was begun and not seen to the end."""
    kept = store.settings.get(_BEGUN)
    return None if kept is None else Succession.of(kept)


@contextmanager
def succeeding(store: Store, given: Identity) -> Iterator[Identity]:
    """The identity that a replica is opened with, given one: that which it has begun instead, if there is one. What is
    written for it inside is one transaction."""
    begun = standing(store)
    if begun is None or begun.identity is None or (store.read_only and not begun.is_written):
        yield given
        return
    comes_after = Party.of_identity(begun.identity).comes_after(given.signing_key.public)
    identity = begun.identity if comes_after and begun.identity.hcp_id == given.hcp_id else given
    with nullcontext() if begun.is_written else store.transaction():
        yield identity


def revoked_devices(store: Store) -> frozenset[str]:
    """The ids of those that are known to be."""
    return frozenset(store.settings.get(_REVOKED) or ())


def check_revocable(store: Store, keyed: Keyed, devices: Collection[str]) -> None:
    """That these may be revoked, now and by this device. Raises InvalidEntity, NotFound."""
    heads = _heads(keyed)
    attempted = f"revoke {', '.join(sorted(devices)) or 'a device'}"
    known = {row.device for row in _rows(store, heads)}
    if not devices or heads.own.device in devices:
        wrong = "no device is named" if not devices else "it is this device itself"
        raise InvalidEntity(attempted, wrong, "name another one: see icure-sync device list")
    for device in devices:
        if device in revoked_devices(store):
            raise InvalidEntity(attempted, f"{device} is revoked already", "name those that are not")
        if device not in known:
            raise NotFound(attempted, f"no device {device} is known here", "sync, and see icure-sync device list")
    for offered in keyed.handovers.offered() if keyed.handovers else ():
        if offered.device not in devices:
            wrong = f"device {offered.device} has begun a new identity, which this one does not have yet"
            raise InvalidEntity(
                attempted, wrong, "take it over first: icure-sync device adopt; or revoke that one, too"
            )


def begin_revoking(store: Store, keyed: Keyed, following: Identity, devices: Collection[str]) -> None:
    """From here on the identity is `following`, and these devices are shut out. Durable on return. Raises as
    `check_revocable`."""
    check_revocable(store, keyed, devices)
    heads, entropy = _heads(keyed), keyed.published.entropy
    staying = [
        row for row in _rows(store, heads) if row.device not in {*devices, *revoked_devices(store), heads.own.device}
    ]
    exchange_keys = {row.device: key for row in staying if (key := _exchange_key(store, row)) is not None}
    _, _, document = hand_over(
        keyed.identity,
        following,
        heads.own.device,
        heads.own.keys,
        revoked=devices,
        remaining=exchange_keys,
        entropy=entropy,
    )
    ended, party = (Party.of_identity(each) for each in (keyed.identity, following))
    code = RecoverySecret.draw(Purpose.RECOVERY, entropy)
    begun = Succession(following, tuple(sorted(devices)), number_of(ended, party), code, document)
    store.settings.put(_BEGUN, begun.kept())


def begin_taking_over(store: Store, keyed: Keyed, number: str) -> Identity:
    """From here on the identity is the one handed over that has this number, as a person said. Durable on return.

    Raises UntrustedKey if there is none; NoAccess if it is not for this device; Tampered."""
    own = Party.of_identity(keyed.identity)
    offered = keyed.handovers.offered() if keyed.handovers else []
    handover = next((each for each in offered if is_same_number(number, number_of(own, each.party))), None)
    if handover is None:
        raise UntrustedKey(
            "take over a new identity",
            "none that has reached this device has that number" if offered else "there is none",
            "sync, and compare again with the device that made it",
        )
    own_device = _heads(keyed).own
    identity = take_over(handover, keyed.identity, own_device.device, own_device.keys.exchange)
    number = number_of(own, handover.party)
    store.settings.put(_BEGUN, Succession(identity, tuple(sorted(handover.revoked)), number, None, None).kept())
    return identity


def complete(store: Store, keyed: Keyed) -> None:
    """Write what was begun, if it was not: in the transaction in which the replica was opened with its identity."""
    begun = standing(store)
    if begun is None or begun.is_written or store.read_only or keyed.device_heads is None:
        return
    action = Action.TAKEN_OVER
    if begun.handover is not None and begun.code is not None:
        action = Action.DEVICES_REVOKED
        keyed.published.publish(_id_of(begun.handover, keyed.identity), begun.handover)
        begin_anew(store, keyed, begun.code)
    else:
        end_former(store, keyed)
    keyed.device_heads.write()
    store.settings.put(_REVOKED, sorted(revoked_devices(store).union(begun.revoked)))
    store.settings.put(_BEGUN, replace(begun, is_written=True).kept())
    detail = {"devices": list(begun.revoked), "epoch": keyed.identity.epoch}
    keyed.recorder.did(action, keyed.identity.hcp_id, HCP_TYPE, detail)


def keep(store: Store) -> None:
    """The application has the identity now, and opens the replica with it."""
    begun = standing(store)
    if begun is None:
        return
    if begun.code is None:
        store.settings.remove(_BEGUN)
    else:
        store.settings.put(_BEGUN, replace(begun, identity=None, handover=None).kept())


def forget(store: Store) -> None:
    """What a person must see was shown, and the identity is kept."""
    begun = standing(store)
    if begun is not None and begun.identity is None:
        store.settings.remove(_BEGUN)


def _id_of(handover: Mapping[str, Any], identity: Identity) -> DocId:
    return handover_id(identity.hcp_id, identity.epoch, handover["device"]["id"])


def _heads(keyed: Keyed) -> DeviceHeads:
    assert keyed.device_heads is not None  # `Devices` asks for nothing without them
    return keyed.device_heads


def _rows(store: Store, heads: DeviceHeads) -> list[HeadRow]:
    return [row for row in store.device_heads.all() if row.hcp == heads.hcp_id]


def _exchange_key(store: Store, row: HeadRow) -> bytes | None:
    """What is sealed to this device is sealed to it: by its highest head, or one that it signed since."""
    doc_id = head_id(row.device)
    for held in (*store.documents.held_leaves(doc_id), *store.documents.displaced(doc_id)):
        try:
            document = strict_json.loads(held.revision.body, f"the head {doc_id}")
            head = DeviceHead.of(doc_id, held.revision.rev, document, ())
        except (Tampered, InvalidEntity):
            continue
        if (head.hcp, head.signing_key) == (row.hcp, row.key):
            return head.exchange_key
    return None
