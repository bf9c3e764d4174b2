"""One AES-GCM ciphertext that two keys open, each to something else: what authentication alone does not prevent.

GCM's tag is linear in the blocks of the ciphertext, so one block can be chosen such that the tags under both keys are
the same. Source: Dodis, Grubbs, Ristenpart, Woodage, "Fast Message Franking" (2018), section 3; NIST SP 800-38D.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK = 16
_R = 0xE1 << 120
NONCE = bytes(12)


def _times(one: int, other: int) -> int:
    """In GF(2^128), as GCM orders bits."""
    product = 0
    for place in range(127, -1, -1):
        if other >> place & 1:
            product ^= one
        one = one >> 1 ^ (_R if one & 1 else 0)
    return product


def _inverse(value: int) -> int:
    """value^(2^128 - 2)."""
    result, power = 1 << 127, value
    for _ in range(127):
        power = _times(power, power)
        result = _times(result, power)
    return result


def _encrypted(key: bytes, block: bytes) -> int:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # one block is what GCM is made of
    return int.from_bytes(encryptor.update(block))


def _tag(key: bytes, associated: bytes, ciphertext: bytes) -> int:
    point, value = _encrypted(key, bytes(BLOCK)), 0
    lengths = (len(associated) * 8).to_bytes(8) + (len(ciphertext) * 8).to_bytes(8)
    for data in (associated, ciphertext, lengths):
        for start in range(0, len(data), BLOCK):
            value = _times(value ^ int.from_bytes(data[start : start + BLOCK].ljust(BLOCK, b"\0")), point)
    return value ^ _encrypted(key, NONCE + b"\0\0\0\x01")


def two_openings(one: bytes, other: bytes, associated: bytes, blocks: int = 4) -> bytes:
    """A ciphertext of so many blocks, with its tag, that both AES-256 keys open with nonce 0."""
    free = blocks - 1
    ciphertext = bytes(free * BLOCK)
    without = bytes(BLOCK)
    difference = _tag(one, associated, ciphertext + without) ^ _tag(other, associated, ciphertext + without)
    points = [_encrypted(key, bytes(BLOCK)) for key in (one, other)]
    weights = [_times(point, point) for point in points]  # of the last block: lengths come after it
    last = _times(difference, _inverse(weights[0] ^ weights[1]))
    whole = ciphertext + last.to_bytes(BLOCK)
    return whole + _tag(one, associated, whole).to_bytes(BLOCK)
