"""The cryptographic primitives, each with the reason for its choice. The one module that imports a crypto library.

Knows bytes and keys; no documents, no formats beyond the ones named here. Randomness comes in as `entropy(n)`, a
function that returns n random bytes.

| what | choice | why |
| --- | --- | --- |
| hash, HMAC | SHA-256 of the standard library | OpenSSL underneath, no object per call |
| key derivation | HKDF of `cryptography` | RFC 5869 in one call |
| authenticated encryption | AES-256-GCM of `cryptography` | hardware speed on messages of 1 KB |
| signatures | Ed25519 of `cryptography` | deterministic, small |
| sealing to a device's key | X25519 of `cryptography` | small, and any 32 bytes are a key |
| key pairs, OAEP | RSA of `pycryptodome` | one library from key file to decryption |
| secrets for k of n people | Shamir's scheme over GF(2^128) of `pycryptodome` | fewer than k shares say nothing |
| passphrases | scrypt N=2^17, r=8, p=1 | 128 MiB and half a second for each guess |
| short codes | SPAKE2 over Ed25519 of `spake2` | small, and long in use in magic-wormhole |
| iCure's classic suite | AES-CBC with PKCS#7 of `cryptography` | what released SDKs read; no MAC, see FORMAT.md |
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, Literal, NewType

from Crypto.Cipher import PKCS1_OAEP
from Crypto.Hash import SHA1, SHA256
from Crypto.Protocol.SecretSharing import Shamir
from Crypto.PublicKey import RSA
from Crypto.Random import get_random_bytes
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from icure_sync import strict_json
from icure_sync.canonical import pack
from icure_sync.errors import InvalidEntity, StoreCorrupt, Tampered, WeakKey, WrongPassphrase

Entropy = Callable[[int], bytes]
system_entropy: Entropy = get_random_bytes  # what callers at the rim pass in; nothing in the core draws by itself
SymmetricKey = NewType("SymmetricKey", bytes)

_SHA256 = hashes.SHA256()
_SHA512 = hashes.SHA512()

AES_BLOCK = 16
GCM_NONCE = 12
GCM_TAG = 16
RSA_EXPONENT = 65537
RSA_BITS = 3072  # what `sealed-1` makes: 128 bits of strength
RSA_BITS_LEAST = 2048  # what released SDKs made; anything below is refused
RSA_BITS_MOST = 8192  # a larger key is only a way to waste our time
RSA_DER_BYTES_MOST = 8192  # a private key of that many bits takes 4.8 KB
SIGNING_KEY_BYTES = 32
EXCHANGE_KEY_BYTES = 32
CODE_ELEMENT = 33  # bytes of one side's half of a CodeExchange: the side, then a point

SCRYPT_N = 2**17
SCRYPT_R = 8
SCRYPT_P = 1
SCRYPT_SALT = 16
SCRYPT_MEMORY_MOST = 2**30  # bytes; a locked file may ask for more work than ours, within reason
SCRYPT_P_MOST = 8  # likewise


def sha256(data: bytes) -> bytes:
    """SHA-256, 32 bytes."""
    return hashlib.sha256(data).digest()


def sha512(data: bytes) -> bytes:
    """SHA-512, 64 bytes."""
    return hashlib.sha512(data).digest()


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256, 32 bytes."""
    return hmac.digest(key, data, "sha256")


def hkdf_sha256(key: bytes, label: str, length: int) -> bytes:
    """RFC 5869 with SHA-256, empty salt, info = label."""
    return HKDF(_SHA256, length, None, label.encode()).derive(key)


def hkdf_sha512(key: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 with SHA-512."""
    return HKDF(_SHA512, length, salt, info).derive(key)


def equal(left: bytes, right: bytes) -> bool:
    """Comparison in constant time."""
    return hmac.compare_digest(left, right)


def gcm_encrypt(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """AES-256-GCM: ciphertext, then the tag of 16 bytes."""
    return AESGCM(key).encrypt(nonce, plaintext, associated)


def gcm_decrypt(key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    """The plaintext of `gcm_encrypt`. Raises Tampered."""
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, associated)
    except (InvalidTag, ValueError) as error:
        raise Tampered(
            "open a ciphertext", "it does not authenticate", "have the document sent again by someone who has it whole"
        ) from error


def cbc_encrypt(key: bytes, iv: bytes, plaintext: bytes) -> bytes:
    """AES-CBC with PKCS#7 padding, 128- or 256-bit key: the ciphertext without the IV."""
    padder = padding.PKCS7(AES_BLOCK * 8).padder()
    encryptor = Cipher(AES(key), CBC(iv)).encryptor()
    return encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()


def cbc_decrypt(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    """The plaintext of `cbc_encrypt`. Raises Tampered if the padding is wrong: nothing else can be noticed."""
    try:
        decryptor = Cipher(AES(key), CBC(iv)).decryptor()
        unpadder = padding.PKCS7(AES_BLOCK * 8).unpadder()
        return unpadder.update(decryptor.update(ciphertext) + decryptor.finalize()) + unpadder.finalize()
    except ValueError as error:
        raise Tampered(
            "open a ciphertext", "its padding is wrong: another key, or damage", "look for another delegation"
        ) from error


class SigningKey:
    """An Ed25519 private key. Its repr shows nothing."""

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        """`seed`: the 32 bytes of RFC 8032's private key."""
        if len(seed) != SIGNING_KEY_BYTES:
            raise WeakKey("use a signing key", "it is not 32 bytes long", "restore the identity from its backup")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """64 bytes; the same for the same message."""
        return self._key.sign(message)

    def seed(self) -> bytes:
        """The private half, to be locked."""
        return self._key.private_bytes_raw()


def signature_holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is `public`'s over `message`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


class ExchangeKey:
    """An X25519 private key (RFC 7748). Its repr shows nothing."""

    __slots__ = ("_key", "public")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != EXCHANGE_KEY_BYTES:
            raise WeakKey("use an exchange key", "it is not 32 bytes long", "restore the replica from its backup")
        self._key = X25519PrivateKey.from_private_bytes(secret)
        self.public = self._key.public_key().public_bytes_raw()

    def agree(self, public: bytes) -> bytes:
        """The 32 bytes that both key pairs come to: no key yet, derive one. Raises Tampered for what is no public key.

        A point of small order, which would give the same to everybody, is none.
        """
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            wrong = "the other side's key is no public key"
            raise Tampered("agree on a key", wrong, "have it sent again by who made it") from error

    def secret(self) -> bytes:
        """The private half, to be kept in the encrypted replica."""
        return self._key.private_bytes_raw()


class CodeExchange:
    """One side of SPAKE2 (Abdalla and Pointcheval, 2005): two that know the same short code agree on a key.

    For one exchange. Who stands between, or plays a side, can test one guess of the code by what the other side says
    next, and none afterwards. The arithmetic takes Python's time, not always the same: no secret of it is used twice.
    """

    __slots__ = ("_exchange", "element")

    def __init__(self, side: Literal["first", "second"], code: str, context: bytes, entropy: Entropy) -> None:
        """`context`: what both must agree about besides the code."""
        from spake2 import SPAKE2_A, SPAKE2_B  # few runs need it

        kind = SPAKE2_A if side == "first" else SPAKE2_B
        self._exchange = kind(code.encode(), idA=context, entropy_f=entropy)
        self.element: bytes = self._exchange.start()

    def key(self, element: bytes) -> SymmetricKey:
        """What both come to if they know the same. Raises Tampered if `element` is not the half of another side."""
        from spake2.ed25519_basic import NotOnCurve
        from spake2.spake2 import OffSides, ReflectionThwarted

        whole = element if len(element) == CODE_ELEMENT else b""  # it would not notice bytes behind the point
        try:
            return SymmetricKey(self._exchange.finish(whole))
        except (ValueError, NotOnCurve, OffSides, ReflectionThwarted) as error:
            wrong = "what came is not the other side's half"
            raise Tampered("agree on a key by a code", wrong, "begin anew, with another code") from error


class RsaPublicKey:
    """An RSA public key, 2048 bits at least, e = 65537."""

    __slots__ = ("_key", "spki")

    def __init__(self, spki: bytes) -> None:
        """`spki`: DER of SubjectPublicKeyInfo, in the one form that DER allows. Raises WeakKey."""
        self._key = _import_rsa(spki)
        if self._key.public_key().export_key("DER") != spki:
            raise WeakKey("use a public key", "it is not SPKI DER", "publish the public half, in that form only")
        self.spki = spki

    @property
    def bits(self) -> int:
        """Of the modulus."""
        return self._key.size_in_bits()

    def encrypt(self, plaintext: bytes, entropy: Entropy) -> bytes:
        """RSA-OAEP with SHA-256 for hash and MGF1, empty label."""
        return PKCS1_OAEP.new(self._key, hashAlgo=SHA256, randfunc=entropy).encrypt(plaintext)

    def encrypt_sha1(self, plaintext: bytes, entropy: Entropy) -> bytes:
        """RSA-OAEP with SHA-1: `icure-classic`."""
        return PKCS1_OAEP.new(self._key, hashAlgo=SHA1, randfunc=entropy).encrypt(plaintext)


class RsaPrivateKey:
    """An RSA private key. `decryptions` counts what it did: RSA is the dear part of opening. Its repr shows nothing."""

    __slots__ = ("_key", "decryptions", "public")

    def __init__(self, pkcs8: bytes) -> None:
        """`pkcs8`: DER, unlocked. Raises WeakKey. Loading costs more than decrypting: load once."""
        self._key = _import_rsa(pkcs8)
        if not self._key.has_private():
            raise WeakKey("use a private key", "it holds only the public half", "give the PKCS#8 private key")
        self.public = RsaPublicKey(self._key.public_key().export_key("DER"))
        self.decryptions = 0

    @classmethod
    def generate(cls, entropy: Entropy, bits: int = RSA_BITS) -> RsaPrivateKey:
        """A new key pair."""
        return cls(RSA.generate(bits, randfunc=entropy, e=RSA_EXPONENT).export_key("DER", pkcs=8))

    def decrypt(self, ciphertext: bytes) -> bytes:
        """The plaintext of `RsaPublicKey.encrypt`. Raises Tampered."""
        return self._decrypt(ciphertext, SHA256)

    def decrypt_sha1(self, ciphertext: bytes) -> bytes:
        """The plaintext of `RsaPublicKey.encrypt_sha1`. Raises Tampered."""
        return self._decrypt(ciphertext, SHA1)

    def pkcs8(self) -> bytes:
        """The private half as DER, to be locked."""
        return self._key.export_key("DER", pkcs=8)

    def _decrypt(self, ciphertext: bytes, hash_module: object) -> bytes:
        self.decryptions += 1
        try:
            return PKCS1_OAEP.new(self._key, hashAlgo=hash_module).decrypt(ciphertext)  # type: ignore[arg-type]
        except (ValueError, TypeError) as error:
            raise Tampered(
                "unwrap an Hcp key", "it was not wrapped for this party key", "have the owner share again"
            ) from error


def _import_rsa(der: bytes) -> RSA.RsaKey:
    try:
        key = RSA.import_key(der[: RSA_DER_BYTES_MOST + 1])
    except (ValueError, IndexError, TypeError) as error:
        raise WeakKey("read an RSA key", "it is not DER of an RSA key", "give SPKI or PKCS#8 DER") from error
    if not RSA_BITS_LEAST <= key.size_in_bits() <= RSA_BITS_MOST or key.e != RSA_EXPONENT:
        raise WeakKey(
            "use an RSA key",
            f"it has {key.size_in_bits()} bits, or an unusual exponent",
            f"use {RSA_BITS_LEAST} to {RSA_BITS_MOST} bits and exponent {RSA_EXPONENT}",
        )
    return key


def split_secret(secret: bytes, threshold: int, count: int) -> list[bytes]:
    """`count` shares of 16 bytes, by their indexes from 1 on; any `threshold` of them give the 16 bytes of `secret`.

    The library draws the coefficients itself, from what `system_entropy` is too.
    """
    return [share for _, share in Shamir.split(threshold, count, secret)]


def join_shares(shares: Mapping[int, bytes]) -> bytes:
    """The secret of exactly as many shares as its threshold, by their indexes. Other shares give other bytes."""
    return Shamir.combine(list(shares.items()))


def lock_secret(secret: bytes, passphrase: str, label: str, entropy: Entropy) -> bytes:
    """`secret` locked by a passphrase, as one line of JSON: for the key file of a replica and for an identity.

    scrypt makes the key, AES-256-GCM locks; the label and the cost are authenticated. The plain checksum tells damage
    from a wrong passphrase, and protects nothing. Raises InvalidEntity for a passphrase that is not Unicode text.
    """
    salt = entropy(SCRYPT_SALT)
    head: dict[str, Any] = {"label": label, "kdf": "scrypt", "n": SCRYPT_N, "r": SCRYPT_R, "p": SCRYPT_P}
    head["salt"] = salt.hex()
    key = _passphrase_key(passphrase, head)
    locked = b64encode(gcm_encrypt(key, bytes(GCM_NONCE), secret, _head_bytes(head))).decode()
    return strict_json.dumps({**head, "locked": locked, "checksum": _checksum(head, locked)}) + b"\n"


def unlock_secret(locked: bytes, passphrase: str, label: str) -> bytes:
    """The secret.

    Raises WrongPassphrase; StoreCorrupt if the file is damaged; WeakKey if its cost is below ours; InvalidEntity as
    `lock_secret`.
    """
    head, ciphertext = _read_locked(locked, label)
    if head["n"] < SCRYPT_N or head["r"] < SCRYPT_R or head["p"] < SCRYPT_P:
        raise WeakKey(f"unlock the {label}", "its passphrase is protected by too little work", "use the original file")
    key = _passphrase_key(passphrase, head)
    try:
        return gcm_decrypt(key, bytes(GCM_NONCE), ciphertext, _head_bytes(head))
    except Tampered as error:
        raise WrongPassphrase(f"unlock the {label}", "the passphrase is wrong", "try again") from error


def _read_locked(file: bytes, label: str) -> tuple[dict[str, Any], bytes]:
    damaged = StoreCorrupt(f"unlock the {label}", "the file is damaged or of another kind", "put its backup back")
    try:
        head = strict_json.loads(file)
        locked = head.pop("locked")
        checksum = head.pop("checksum")
        ciphertext = b64decode(locked, validate=True)
        numbers = [head[name] for name in ("n", "r", "p")]
        sound = (
            set(head) == {"label", "kdf", "n", "r", "p", "salt"}
            and (head["label"], head["kdf"]) == (label, "scrypt")
            and all(type(number) is int and number > 0 for number in numbers)
            and head["n"].bit_count() == 1
            and 128 * head["n"] * head["r"] <= SCRYPT_MEMORY_MOST
            and head["p"] <= SCRYPT_P_MOST
            and len(bytes.fromhex(head["salt"])) == SCRYPT_SALT
            and len(ciphertext) >= GCM_TAG
            and checksum == _checksum(head, locked)
        )
    except (InvalidEntity, ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged from error
    if not sound:
        raise damaged
    return head, ciphertext


def _head_bytes(head: dict[str, Any]) -> bytes:
    return pack(["icure-sync/lock/1", *(head[name] for name in ("label", "kdf", "n", "r", "p", "salt"))])


def _checksum(head: dict[str, Any], locked: str) -> str:
    return sha256(_head_bytes(head) + locked.encode()).hex()


def _passphrase_key(passphrase: str, head: dict[str, Any]) -> bytes:
    """By scrypt, of the NFC form: keyboards differ in how they compose a letter (RFC 8265, OpaqueString)."""
    n, r, p = head["n"], head["r"], head["p"]
    if any("\ud800" <= character <= "\udfff" for character in passphrase):
        raise InvalidEntity("use a passphrase", "it is not Unicode text", "set the locale to UTF-8 and type it again")
    text = unicodedata.normalize("NFC", passphrase).encode()
    return hashlib.scrypt(text, salt=bytes.fromhex(head["salt"]), n=n, r=r, p=p, maxmem=128 * r * (n + p + 2), dklen=32)
