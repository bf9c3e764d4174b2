"""Devices of an Hcp: their keys, and the head that each signs of all it has written: document type `DeviceHead`. Pure.

Owns the layout of the document, and what is sealed in it for the Hcp's own devices. A device's keys are its own: the
signing key registers them once for the Hcp, and the device signs what follows. Knows no stores: which head is the
newest, and what it means that one is missing, is for others. See FORMAT.md, "Device heads".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icure_sync.canonical import MAX_INTEGER, canonical, check_canonical, pack, unpack
from icure_sync.crypto.access import SUITE
from icure_sync.crypto.envelope import SALT_BYTES, check_padding, from_text, open_envelope, pad, seal, to_text
from icure_sync.crypto.hcp_keys import HcpKey
from icure_sync.crypto.identity import FIRST_EPOCH, Identity, Previous, signed_by, signed_bytes
from icure_sync.crypto.party import former_keys
from icure_sync.crypto.primitives import (
    EXCHANGE_KEY_BYTES,
    SIGNING_KEY_BYTES,
    Entropy,
    ExchangeKey,
    SigningKey,
    SymmetricKey,
    sha256,
)
from icure_sync.crypto.revision import check_place, check_revision_id, revision_id
from icure_sync.crypto.signers import Judgement, Signer
from icure_sync.errors import InvalidEntity, Tampered, UntrustedKey
from icure_sync.ids import DocId, HcpId, Kid, Rev, is_hcp_id, is_kid, is_rev

DEVICE_TYPE = "DeviceHead"
HEAD_PREFIX = "device-"  # of the document's id; the device's id follows
DEVICE_ID_BYTES = 8
NAME_MOST = 200  # characters: a line in a list

_DEVICE_ID = re.compile(r"[0-9a-f]{16}\Z", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_MEMBERS = frozenset(
    {
        *("type", "cryptoSuite", "parents", "hcp", "device", "signingKey", "exchangeKey"),
        *("registration", "head", "kid", "sealed", "written"),
    }
)


@dataclass(frozen=True, slots=True, repr=False)
class DeviceKeys:
    """The two key pairs of one device, which never leave it."""

    signing: SigningKey
    exchange: ExchangeKey

    @classmethod
    def draw(cls, entropy: Entropy) -> DeviceKeys:
        """New ones."""
        return cls(SigningKey(entropy(SIGNING_KEY_BYTES)), ExchangeKey(entropy(EXCHANGE_KEY_BYTES)))


@dataclass(frozen=True, slots=True)
class Count:
    """How many revisions a device has written, and the digest of their chain: 64 hex digits, "" of none."""

    counter: int = 0
    digest: str = ""

    def then(self, doc_id: str, rev: str) -> Count:
        """With one more: SHA-256 of C["icure-sync/chain/1", digest before, document id, revision id]."""
        return Count(self.counter + 1, sha256(pack(["icure-sync/chain/1", self.digest, doc_id, rev])).hex())


@dataclass(frozen=True, slots=True)
class KnownIdentity:
    """What a device knows another Hcp by. `verified`: when a person compared it, ms since 1970; None: nobody has.
    `refused`: keys that a person said are not this Hcp's."""

    hcp: HcpId
    signing_key: bytes
    epoch: int
    previous: tuple[Previous, ...] = ()
    verified: int | None = None
    refused: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What a device tells the other devices of its Hcp: its name, when it began (ms since 1970), and what it knows Hcps
    by."""

    name: str
    added: int
    pins: Sequence[KnownIdentity]


@dataclass(frozen=True, slots=True)
class DeviceHead:
    """What a DeviceHead document says that holds in itself. `epoch`: of the identity that registered the device."""

    hcp: HcpId
    device: str
    rev: Rev
    signing_key: bytes
    exchange_key: bytes
    epoch: int
    count: Count

    @classmethod
    def of(cls, doc_id: str, rev: Rev, document: Mapping[str, Any], tree_parents: Sequence[Rev]) -> DeviceHead:
        """Laid out as it must be, in its place, and signed by the device that it names. Whether that is a device of the
        Hcp is for `registered` to say. Raises Tampered; InvalidEntity for what has no canonical form."""
        _check_layout(doc_id, document)
        signing_key, exchange_key = from_text(document["signingKey"]), from_text(document["exchangeKey"])
        if (len(signing_key), len(exchange_key)) != (SIGNING_KEY_BYTES, EXCHANGE_KEY_BYTES):
            raise _malformed(doc_id)
        check_revision_id(doc_id, rev, document)
        signature = document["written"]["signature"]
        if not signed_by(signing_key, signature, "device-head", SUITE, DEVICE_TYPE, doc_id, rev):
            raise _tampered(doc_id, "the signature of the device does not hold")
        check_place(doc_id, document, tree_parents)
        head = document["head"]
        return cls(
            HcpId(document["hcp"]),
            document["device"],
            rev,
            signing_key,
            exchange_key,
            document["registration"]["epoch"],
            Count(head["counter"], head["digest"]),
        )

    def registered(self, document: Mapping[str, Any], signer: Signer) -> bool:
        """Whether the Hcp registered this device: False if nobody can say that yet. Raises Tampered if it did not.

        `signer`: what is known of the Hcp's signing keys.
        """
        signature = document["registration"]["signature"]
        fields = _registration(self.hcp, self.device, self.signing_key, self.exchange_key, self.epoch)
        found = signer.check(signature, "device", *fields)
        if found is Judgement.FORGED:
            raise _tampered(head_id(self.device), f"{self.hcp} did not register the device")
        return found is Judgement.HOLDS


def head_id(device: str) -> DocId:
    """Where the document of a device is."""
    return DocId(HEAD_PREFIX + device)


def is_head_id(doc_id: str) -> bool:
    """Whether a document of this id can be the head of a device."""
    return doc_id.startswith(HEAD_PREFIX) and is_device_id(doc_id.removeprefix(HEAD_PREFIX))


def is_device_id(text: object) -> bool:
    """16 hex digits."""
    return isinstance(text, str) and _DEVICE_ID.match(text) is not None


def head_document(
    identity: Identity,
    device: str,
    keys: DeviceKeys,
    *,
    count: Count,
    told: Told,
    key: HcpKey,
    above: Rev | None,
    entropy: Entropy,
) -> tuple[Rev, dict[str, Any]]:
    """The revision id of the next head, and its document. `key`: {AA}; `above`: the head before."""
    doc_id, hcp = head_id(device), identity.hcp_id
    fields = _registration(hcp, device, keys.signing.public, keys.exchange.public, identity.epoch)
    _, _, signing_key, exchange_key, epoch = fields
    document: dict[str, Any] = {
        "type": DEVICE_TYPE,
        "cryptoSuite": SUITE,
        "parents": [above] if above else [],
        "hcp": hcp,
        "device": device,
        "signingKey": signing_key,
        "exchangeKey": exchange_key,
        "registration": {"epoch": epoch, "signature": identity.sign("device", *fields)},
        "head": {"counter": count.counter, "digest": count.digest},
        "kid": key.kid,
        "sealed": to_text(
            seal(key.key, pad(canonical(_said(told))), _associated(doc_id, hcp, key.kid), entropy(SALT_BYTES))
        ),
    }
    rev = revision_id(doc_id, document, hcp)
    message = signed_bytes("device-head", (SUITE, DEVICE_TYPE, doc_id, rev))
    return rev, {**document, "written": {"by": hcp, "signature": to_text(keys.signing.sign(message))}}


def kid_of(document: Mapping[str, Any]) -> Kid:
    """Of the Hcp key {AA} under which a head's sealed part is."""
    return Kid(document["kid"])


def open_told(head: DeviceHead, document: Mapping[str, Any], key: SymmetricKey) -> Told:
    """What is sealed in a head that holds. Raises Tampered."""
    doc_id = head_id(head.device)
    padded = open_envelope(key, from_text(document["sealed"]), _associated(doc_id, head.hcp, kid_of(document)))
    try:
        said, length = unpack(padded)
        check_canonical(padded, length, said)
    except InvalidEntity as error:
        raise _malformed(doc_id) from error
    check_padding(padded, length)
    return _told(doc_id, said)


def _registration(hcp: str, device: str, signing_key: bytes, exchange_key: bytes, epoch: int) -> tuple[Any, ...]:
    return (hcp, device, to_text(signing_key), to_text(exchange_key), epoch)


def _associated(doc_id: str, hcp: str, kid: str) -> bytes:
    return canonical(["icure-sync/device/1", SUITE, DEVICE_TYPE, doc_id, hcp, kid])


def _said(told: Told) -> dict[str, Any]:
    return {
        "name": told.name,
        "added": told.added,
        "pins": {pin.hcp: _stated(pin) for pin in told.pins},
    }


def _stated(pin: KnownIdentity) -> list[Any]:
    previous = [each.stated for each in pin.previous]
    return [to_text(pin.signing_key), pin.epoch, previous, pin.verified, [to_text(key) for key in pin.refused]]


def _told(doc_id: DocId, said: Any) -> Told:
    if not isinstance(said, dict) or said.keys() != {"name", "added", "pins"}:
        raise _malformed(doc_id)
    name, added, pins = said["name"], said["added"], said["pins"]
    if not isinstance(name, str) or len(name) > NAME_MOST or not _is_number(added, 0) or not isinstance(pins, dict):
        raise _malformed(doc_id)
    return Told(name, added, tuple(_known(doc_id, hcp, stated) for hcp, stated in pins.items()))


def _known(doc_id: DocId, hcp: Any, stated: Any) -> KnownIdentity:
    if not is_hcp_id(hcp) or not isinstance(stated, list) or len(stated) != 5:
        raise _malformed(doc_id)
    text, epoch, former, verified, refused = stated
    try:
        previous = former_keys(hcp, former)
    except UntrustedKey as error:
        raise _malformed(doc_id) from error
    keys = [from_text(each) for each in (text, *(refused if isinstance(refused, list) else [None]))]
    if (
        any(len(key) != SIGNING_KEY_BYTES for key in keys)
        or not _is_number(epoch, FIRST_EPOCH)
        or not (verified is None or _is_number(verified, 0))
    ):
        raise _malformed(doc_id)
    return KnownIdentity(HcpId(hcp), keys[0], epoch, previous, verified, tuple(keys[1:]))


def _check_layout(doc_id: str, document: Mapping[str, Any]) -> None:
    parents, head, registration = (document.get(name) for name in ("parents", "head", "registration"))
    if (
        document.keys() != _MEMBERS
        or document["type"] != DEVICE_TYPE
        or document["cryptoSuite"] != SUITE
        or not is_device_id(document["device"])
        or doc_id != head_id(document["device"])
        or not is_hcp_id(document["hcp"])
        or not isinstance(parents, list)
        or len(parents) > 1
        or not all(map(is_rev, parents))
        or not is_kid(document["kid"])
        or not isinstance(registration, dict)
        or registration.keys() != {"epoch", "signature"}
        or not _is_number(registration["epoch"], 1)
        or not isinstance(head, dict)
        or head.keys() != {"counter", "digest"}
        or not _is_number(head["counter"], 0)
        or not _is_digest(head["digest"], head["counter"])
        or not isinstance(document["sealed"], str)
        or not isinstance(document["written"], dict)
        or document["written"].get("by") != document["hcp"]
    ):
        raise _malformed(doc_id)


def _is_digest(value: object, counter: int) -> bool:
    return isinstance(value, str) and (_DIGEST.match(value) is not None if counter else value == "")


def _is_number(value: object, least: int) -> bool:
    return type(value) is int and least <= value <= MAX_INTEGER


def _malformed(doc_id: str) -> Tampered:
    return _tampered(doc_id, "it is not laid out as a device's head must be")


def _tampered(doc_id: str, wrong: str) -> Tampered:
    return Tampered(f"trust the head {doc_id}", wrong, "keep it aside and tell whoever runs the server")
