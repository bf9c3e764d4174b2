"""The handover of a new identity to the devices that stay, when others are revoked: document type `Handover`. Pure.

Owns the layout, and who must have signed it: the identity that ends, the one that begins, and the device that revokes,
by its own key. The identity that begins is in it once for each device that stays, sealed to that device alone. That a
handover holds says that a device of the Hcp made it; which of several is the right one only a person can say, for a
device that is lost can make one, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from icure_sync.canonical import canonical_set
from icure_sync.crypto import publishing
from icure_sync.crypto.access import SUITE
from icure_sync.crypto.devices import DeviceKeys, is_device_id
from icure_sync.crypto.envelope import check_padding, from_text, pad, to_text
from icure_sync.crypto.identity import COMPROMISED, FIRST_EPOCH, Former, Identity, signed_by, signed_bytes
from icure_sync.crypto.party import EPOCHS_MOST, Party
from icure_sync.crypto.primitives import SIGNING_KEY_BYTES, Entropy, ExchangeKey
from icure_sync.crypto.publishing import SEALED, check_members, malformed
from icure_sync.crypto.sealed_to import open_from, seal_to
from icure_sync.crypto.signers import Signer
from icure_sync.errors import NoAccess, StoreCorrupt, Tampered, WeakKey
from icure_sync.ids import DocId, HcpId, Rev

HANDOVER_TYPE = "Handover"

_KIND = "handover"
_MEMBERS = frozenset({"epoch", "publicKey", "signingKey", "device", "revoked", "signatures", SEALED})
_NOT_SIGNED = frozenset({"signatures", "parents", "written"})  # written again, a document has other parents


@dataclass(frozen=True, slots=True)
class Handover:
    """One that holds. `party`: the identity that begins, without its former keys; `device`: which one revokes;
    `revoked`: those that it shuts out; `sealed`: the identity, by the id of each device that it is for."""

    id: DocId
    rev: Rev
    party: Party
    device: str
    device_key: bytes
    revoked: frozenset[str]
    sealed: Mapping[str, str]

    @classmethod
    def of(cls, doc_id: DocId, rev: Rev, document: Mapping[str, Any], own: Party) -> Handover:
        """By the identity `own`, which it ends: laid out as it must be, and with all three signatures.

        Raises Tampered; InvalidEntity for what has no canonical form.
        """
        party = _party(doc_id, document)
        if party.hcp_id != own.hcp_id or party.epoch != own.epoch + 1 or party.signing_key == own.signing_key:
            raise malformed(doc_id, HANDOVER_TYPE)
        device_key = _signing_key(doc_id, document["device"])
        fields = _signed_fields(doc_id, document)
        signatures = document["signatures"]
        for key, signature in ((own.signing_key, signatures["former"]), (device_key, signatures["device"])):
            if not signed_by(key, signature, _KIND, *fields):
                raise _forged(doc_id)
        if not publishing.holds(doc_id, rev, document, Signer(party.signing_key)):
            raise _forged(doc_id)
        revoked, device = frozenset(document["revoked"]), document["device"]["id"]
        return cls(doc_id, rev, party, device, device_key, revoked, dict(document[SEALED]))


def handover_id(hcp_id: str, epoch: int, device: str) -> DocId:
    """Where the handover of this device to the identity of this epoch is: `handover-<Hcp id>-<epoch>-<device id>`."""
    return DocId(f"handover-{hcp_id}-{epoch}-{device}")


def hand_over(
    former: Identity,
    following: Identity,
    device: str,
    keys: DeviceKeys,
    *,
    revoked: Collection[str],
    remaining: Mapping[str, bytes],
    entropy: Entropy,
) -> tuple[DocId, Rev, dict[str, Any]]:
    """The document by which `device`, with these keys, shuts out those revoked, and gives the identity to the others.

    `following`: what `former` is succeeded by; `remaining`: the exchange key of each device that it is for.
    """
    doc_id = handover_id(following.hcp_id, following.epoch, device)
    secret = pad(following.secret())
    party = Party.of_identity(following)
    members: dict[str, Any] = {
        "type": HANDOVER_TYPE,
        "cryptoSuite": SUITE,
        "delegations": {following.hcp_id: []},
        "epoch": following.epoch,
        "publicKey": to_text(party.public_key),
        "signingKey": to_text(party.signing_key),
        "device": {"id": device, "signingKey": to_text(keys.signing.public)},
        "revoked": canonical_set(revoked),
        SEALED: {
            each: to_text(seal_to(exchange_key, secret, _KIND, doc_id, each, entropy=entropy))
            for each, exchange_key in remaining.items()
        },
    }
    message = signed_bytes(_KIND, _signed_fields(doc_id, members))
    signatures = {
        "former": to_text(former.signing_key.sign(message)),
        "device": to_text(keys.signing.sign(message)),
    }
    return doc_id, *publishing.publish(doc_id, {**members, "signatures": signatures}, following)


def take_over(handover: Handover, own: Identity, device: str, exchange_key: ExchangeKey) -> Identity:
    """The identity that a handover gives to this device, in place of its own.

    Raises NoAccess if it is not for this device; Tampered if it is not what the handover says.
    """
    if device not in handover.sealed:
        raise NoAccess(
            "take over the new identity",
            "it was not given to this device, which the one that made it did not know",
            "pair this device anew: icure-sync device pair, with another home",
        )
    padded = open_from(exchange_key, from_text(handover.sealed[device]), _KIND, handover.id, device)
    secret = padded.rstrip(b"\x00")
    check_padding(padded, len(secret))
    try:
        identity = Identity.of_secret(secret)
    except (StoreCorrupt, WeakKey) as error:
        raise _another(handover.id) from error
    party = Party.of_identity(identity)
    stated = (party.hcp_id, party.public_key, party.signing_key, party.epoch)
    ended = Former(own.party_key, own.signing_key.public, own.self_key, COMPROMISED)
    if stated != (own.hcp_id, handover.party.public_key, handover.party.signing_key, handover.party.epoch) or [
        each.members() for each in identity.former
    ] != [each.members() for each in (*own.former, ended)]:
        raise _another(handover.id)
    return identity


def _party(doc_id: DocId, document: Mapping[str, Any]) -> Party:
    by = check_members(doc_id, document, HANDOVER_TYPE, _MEMBERS)
    stated: list[Any] = [document.get(name) for name in ("epoch", "device", "revoked", SEALED, "signatures")]
    epoch, device, revoked, sealed, signatures = stated
    if (
        publishing.is_withdrawal(document)
        or document["delegations"] != {by: []}
        or type(epoch) is not int
        or not FIRST_EPOCH < epoch <= EPOCHS_MOST
        or not isinstance(device, dict)
        or device.keys() != {"id", "signingKey"}
        or not is_device_id(device["id"])
        or doc_id != handover_id(by, epoch, device["id"])
        or not _are_devices(revoked)
        or device["id"] in revoked
        or not isinstance(sealed, dict)
        or not all(is_device_id(each) and each not in revoked and isinstance(sealed[each], str) for each in sealed)
        or not isinstance(signatures, dict)
        or signatures.keys() != {"former", "device"}
    ):
        raise malformed(doc_id, HANDOVER_TYPE)
    return Party(HcpId(by), from_text(document["publicKey"]), _signing_key(doc_id, document), epoch)


def _signing_key(doc_id: DocId, stated: Mapping[str, Any]) -> bytes:
    key = from_text(stated["signingKey"])
    if len(key) != SIGNING_KEY_BYTES:
        raise malformed(doc_id, HANDOVER_TYPE)
    return key


def _are_devices(value: Any) -> bool:
    """A set of them, not empty."""
    is_list = isinstance(value, list) and bool(value) and all(map(is_device_id, value))
    return is_list and value == canonical_set(value)


def _signed_fields(doc_id: DocId, document: Mapping[str, Any]) -> tuple[Any, ...]:
    return (doc_id, {name: value for name, value in document.items() if name not in _NOT_SIGNED})


def _forged(doc_id: str) -> Tampered:
    wrong = "a signature lacks: of the identity that ends, of the one that begins, or of the device that revokes"
    return Tampered(f"believe the handover {doc_id}", wrong, "nothing need be done; tell whoever runs the server")


def _another(doc_id: str) -> Tampered:
    wrong = "what is sealed in it is not the identity that it says"
    return Tampered(f"take over the identity of {doc_id}", wrong, "revoke the device that made it, on another one")
