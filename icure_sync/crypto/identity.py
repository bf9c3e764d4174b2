"""An identity: the party key pair and the signing key pair of one Hcp, and the file that keeps them locked.

Owns what makes an Hcp itself, and its signatures. Knows no records. The two pairs are independent: one never does the
other's work. Every signature is Ed25519 over `C["icure-sync/<kind>/1", …]`: the kind comes first.

An identity may be followed by another of the same Hcp, of the next *epoch*, with new keys: because that was planned, or
because a device that knows the keys is lost. It keeps what is needed to read what was wrapped for the former ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from icure_sync import strict_json
from icure_sync.canonical import authored, canonical
from icure_sync.crypto.envelope import KEY_BYTES, from_text, to_text
from icure_sync.crypto.primitives import (
    Entropy,
    RsaPrivateKey,
    SigningKey,
    SymmetricKey,
    lock_secret,
    sha256,
    signature_holds,
    system_entropy,
    unlock_secret,
)
from icure_sync.errors import InvalidEntity, StoreCorrupt, Tampered
from icure_sync.ids import HcpId, is_hcp_id

LABEL = "identity"
WRITER_BYTES = 8
FINGERPRINT_DIGITS = 32

FIRST_EPOCH = 1  # of an identity whose keys were never changed
PLANNED, COMPROMISED = "planned", "compromised"  # how a signing key, or an Hcp key, ended
ENDINGS = (PLANNED, COMPROMISED)


@dataclass(frozen=True, slots=True)
class Previous:
    """A former signing key of an Hcp, and how it ended: one of ENDINGS."""

    signing_key: bytes
    ended: str

    @property
    def stated(self) -> dict[str, str]:
        """As it stands in an Hcp document."""
        return {"signingKey": to_text(self.signing_key), "ended": self.ended}


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """An unlocked identity. Keep it for as short as possible; Python cannot wipe memory.

    `self_key` is the Hcp key {AA}, and `birth` what makes the first revision of the Hcp document, so that every device
    of this Hcp writes that revision byte for byte alike. `former`: of the epochs before this one, in their order.
    `endorsement`: by the signing key before this one, if that ended as planned; else empty.
    """

    hcp_id: HcpId
    name: str
    party_key: RsaPrivateKey
    signing_key: SigningKey
    self_key: SymmetricKey
    birth: Birth
    epoch: int = FIRST_EPOCH
    former: tuple[Former, ...] = ()
    endorsement: str = ""

    @classmethod
    def create(cls, hcp_id: str, name: str, *, entropy: Entropy = system_entropy) -> Identity:
        """New key pairs for a new Hcp. Raises InvalidEntity for an id that is not `[A-Za-z0-9_-]{1,64}`."""
        return cls._with_party_key(hcp_id, name, RsaPrivateKey.generate(entropy), entropy)

    @classmethod
    def from_private_key(
        cls, hcp_id: str, pkcs8_der: bytes, *, name: str = "", entropy: Entropy = system_entropy
    ) -> Identity:
        """An iCure party by its RSA key (PKCS#8 DER). It gets a new signing key: lock the identity to keep that.

        Raises WeakKey, InvalidEntity.
        """
        return cls._with_party_key(hcp_id, name or hcp_id, RsaPrivateKey(pkcs8_der), entropy)

    @classmethod
    def _with_party_key(cls, hcp_id: str, name: str, party_key: RsaPrivateKey, entropy: Entropy) -> Identity:
        if not is_hcp_id(hcp_id):
            raise InvalidEntity(
                "make an identity",
                "the Hcp id is not 1 to 64 letters, digits, - or _, or begins with _",
                "choose another Hcp id",
            )
        self_key = SymmetricKey(entropy(KEY_BYTES))
        birth = Birth(party_key.public.encrypt(self_key, entropy), entropy(WRITER_BYTES).hex())
        return cls(HcpId(hcp_id), str(authored(name)), party_key, SigningKey(entropy(KEY_BYTES)), self_key, birth)

    def succeed(self, ended: str, entropy: Entropy) -> Identity:
        """The identity of the next epoch: new keys, and these as its former ones, which end so (one of ENDINGS).

        Name and first stamp stay, so the profile of its first revision is that of every epoch before. Takes seconds.
        """
        party_key = RsaPrivateKey.generate(entropy)
        self_key = SymmetricKey(entropy(KEY_BYTES))
        following = replace(
            self,
            party_key=party_key,
            signing_key=SigningKey(entropy(KEY_BYTES)),
            self_key=self_key,
            birth=Birth(party_key.public.encrypt(self_key, entropy), self.birth.writer),
            epoch=self.epoch + 1,
            former=(*self.former, Former(self.party_key, self.signing_key.public, self.self_key, ended)),
            endorsement="",
        )
        if ended != PLANNED:
            return following
        return replace(following, endorsement=self.sign("endorsement", *following.stated()))

    def stated(self) -> tuple[Any, ...]:
        """What the signature of an identity covers, and an endorsement: (Hcp id, publicKey, signingKey, epoch,
        previous)."""
        public_key, signing_key = to_text(self.party_key.public.spki), to_text(self.signing_key.public)
        return (self.hcp_id, public_key, signing_key, self.epoch, [each.stated for each in self.previous])

    @property
    def previous(self) -> tuple[Previous, ...]:
        """Its former signing keys, in their order."""
        return tuple(Previous(each.signing_key, each.ended) for each in self.former)

    def party_key_of(self, name: str) -> RsaPrivateKey | None:
        """The private key of this fingerprint, of any epoch; None if it is not here."""
        keys = (self.party_key, *(each.party_key for each in self.former))
        return next((key for key in keys if fingerprint(key.public.spki) == name), None)

    def lock(self, passphrase: str, *, entropy: Entropy = system_entropy) -> bytes:
        """To keep in a file: one line of JSON that only the passphrase opens."""
        return lock_secret(self.secret(), passphrase, LABEL, entropy)

    @classmethod
    def unlock(cls, locked: bytes, passphrase: str) -> Identity:
        """The identity of `lock`. Raises WrongPassphrase, StoreCorrupt, WeakKey."""
        return cls.of_secret(unlock_secret(locked, passphrase, LABEL))

    def secret(self) -> bytes:
        """Everything, unlocked: JSON to be sealed, and never to be kept or sent as it is."""
        members: dict[str, Any] = {
            "hcpId": self.hcp_id,
            "name": self.name,
            "partyKey": to_text(self.party_key.pkcs8()),
            "signingKey": to_text(self.signing_key.seed()),
            "selfKey": to_text(self.self_key),
            "birth": {"wrapped": to_text(self.birth.wrapped), "writer": self.birth.writer},
            "epoch": self.epoch,
        }
        if self.former:
            members |= {"former": [each.members() for each in self.former], "endorsement": self.endorsement}
        return strict_json.dumps(members)

    @classmethod
    def of_secret(cls, opened: bytes) -> Identity:
        """The identity of `secret`. Raises StoreCorrupt, WeakKey."""
        try:
            secret = strict_json.loads(opened, LABEL)
            return cls(
                hcp_id=HcpId(secret["hcpId"]),
                name=secret["name"],
                party_key=RsaPrivateKey(from_text(secret["partyKey"])),
                signing_key=SigningKey(from_text(secret["signingKey"])),
                self_key=SymmetricKey(from_text(secret["selfKey"])),
                birth=Birth(from_text(secret["birth"]["wrapped"]), secret["birth"]["writer"]),
                epoch=secret["epoch"],
                former=tuple(map(Former.of, secret.get("former", []))),
                endorsement=secret.get("endorsement", ""),
            )
        except (KeyError, TypeError, InvalidEntity, Tampered) as error:
            raise StoreCorrupt("unlock the identity", "a part of it is missing", "put its backup back") from error

    def sign(self, kind: str, *fields: Any) -> str:
        """The signature over `C["icure-sync/<kind>/1", *fields]`, as base64."""
        return to_text(self.signing_key.sign(signed_bytes(kind, fields)))

    @property
    def fingerprint(self) -> str:
        """Of the party key: 32 hex digits."""
        return fingerprint(self.party_key.public.spki)

    def __repr__(self) -> str:
        return f"Identity(hcp_id={self.hcp_id!r}, epoch={self.epoch})"


@dataclass(frozen=True, slots=True, repr=False)
class Birth:
    """Drawn once, for the first revision of the Hcp document: {AA} wrapped for A, and the writer of its stamps."""

    wrapped: bytes
    writer: str


@dataclass(frozen=True, slots=True, repr=False)
class Former:
    """What is kept of an epoch that ended: the keys that read what was wrapped in it, and the public half of the key
    that signed in it."""

    party_key: RsaPrivateKey
    signing_key: bytes
    self_key: SymmetricKey
    ended: str

    def members(self) -> dict[str, str]:
        """As `Identity.secret` holds it."""
        return {
            "partyKey": to_text(self.party_key.pkcs8()),
            "signingKey": to_text(self.signing_key),
            "selfKey": to_text(self.self_key),
            "ended": self.ended,
        }

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> Former:
        """From `members`."""
        if members["ended"] not in ENDINGS:
            raise KeyError("ended")
        return cls(
            RsaPrivateKey(from_text(members["partyKey"])),
            from_text(members["signingKey"]),
            SymmetricKey(from_text(members["selfKey"])),
            members["ended"],
        )


def lost_through(previous: Sequence[Previous]) -> int:
    """The last epoch whose keys somebody has who should not, 0 if there is none. He has those of the epochs before,
    too: an identity keeps them."""
    return max((epoch for epoch, each in enumerate(previous, FIRST_EPOCH) if each.ended != PLANNED), default=0)


def signed_bytes(kind: str, fields: Sequence[Any]) -> bytes:
    """What a signature of this kind covers."""
    return canonical([f"icure-sync/{kind}/1", *fields])


def signed_by(signing_key: bytes, signature: object, kind: str, *fields: Any) -> bool:
    """Whether `signature` (base64) is this key's over these fields. Raises Tampered if it is not base64 text."""
    return signature_holds(signing_key, from_text(signature), signed_bytes(kind, fields))


def fingerprint(public_key: bytes) -> str:
    """Names a public key (SPKI or raw Ed25519): 32 hex digits of its SHA-256."""
    return sha256(public_key).hex()[:FINGERPRINT_DIGITS]
