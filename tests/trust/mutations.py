"""Envelopes that somebody laid his hands on: bits flipped, ends cut or added, parts of one put into another.

Owns the ways. Each makes bytes that are not an envelope made for this place under this key, or None if it happened to
change nothing.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from icure_sync.crypto.envelope import SALT_BYTES, open_envelope, seal
from icure_sync.crypto.primitives import GCM_TAG, SymmetricKey
from icure_sync.errors import Tampered

PLACES = (0, 1, 25, 57)  # where its parts begin: version, salt, commitment, ciphertext


@dataclass(frozen=True, repr=False)
class Sample:
    """An envelope, how it was made, and others that the attacker has too: of the same key elsewhere, of another key in
    the same place."""

    key: SymmetricKey
    place: bytes
    whole: bytes
    elsewhere: bytes
    other_key: bytes

    @classmethod
    def drawn(cls, chance: random.Random) -> Sample:
        key, other = SymmetricKey(chance.randbytes(32)), SymmetricKey(chance.randbytes(32))
        place, elsewhere = chance.randbytes(20), chance.randbytes(20)
        text = chance.randbytes(chance.randrange(200))

        def sealed(by: SymmetricKey, where: bytes) -> bytes:
            return seal(by, text, where, chance.randbytes(SALT_BYTES))

        return cls(key, place, sealed(key, place), sealed(key, elsewhere), sealed(other, place))

    def parts(self, envelope: bytes) -> list[bytes]:
        """Version, salt, commitment, ciphertext, tag."""
        ends = (*PLACES[1:], len(envelope) - GCM_TAG, len(envelope))
        return [envelope[start:end] for start, end in zip((*PLACES, len(envelope) - GCM_TAG), ends, strict=True)]


def bit_flipped(sample: Sample, chance: random.Random) -> bytes:
    place = chance.randrange(len(sample.whole) * 8)
    changed = bytearray(sample.whole)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def bits_flipped(sample: Sample, chance: random.Random) -> bytes:
    changed = bytearray(sample.whole)
    for place in chance.sample(range(len(changed) * 8), chance.randrange(2, 9)):
        changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def cut(sample: Sample, chance: random.Random) -> bytes:
    return sample.whole[: chance.randrange(len(sample.whole))]


def cut_inside(sample: Sample, chance: random.Random) -> bytes:
    start = chance.randrange(len(sample.whole))
    return sample.whole[:start] + sample.whole[start + chance.randrange(1, 40) :]


def lengthened(sample: Sample, chance: random.Random) -> bytes:
    place = chance.randrange(len(sample.whole) + 1)
    return sample.whole[:place] + chance.randbytes(chance.randrange(1, 40)) + sample.whole[place:]


def replaced(sample: Sample, chance: random.Random) -> bytes:
    place = chance.randrange(len(sample.whole))
    piece = chance.randbytes(chance.randrange(1, 40))
    return (sample.whole[:place] + piece + sample.whole[place + len(piece) :])[: len(sample.whole)]


def parts_swapped(sample: Sample, chance: random.Random) -> bytes:
    """Some parts of another envelope."""
    other = sample.parts(chance.choice([sample.elsewhere, sample.other_key]))
    return b"".join(chance.choice(pair) for pair in zip(sample.parts(sample.whole), other, strict=True))


def moved(sample: Sample, chance: random.Random) -> bytes:
    """Another whole one."""
    return chance.choice([sample.elsewhere, sample.other_key])


MUTATIONS: tuple[Callable[[Sample, random.Random], bytes], ...] = (
    bit_flipped,
    bits_flipped,
    cut,
    cut_inside,
    lengthened,
    replaced,
    parts_swapped,
    moved,
)


@dataclass
class Tried:
    """`accepted` must stay 0."""

    by_kind: Counter[str] = field(default_factory=Counter)
    accepted: int = 0


def mutate(times: int, seed: int, samples_each: int = 50) -> Tried:
    """So many mutated envelopes; a new sample after each `samples_each`. Anything but Tampered leaves."""
    chance, tried = random.Random(seed), Tried()
    while (done := tried.by_kind.total()) < times:
        if done % samples_each == 0:
            sample = Sample.drawn(chance)
        kind = chance.choice(MUTATIONS)
        mutated = kind(sample, chance)
        if mutated == sample.whole:
            continue
        tried.by_kind[kind.__name__] += 1
        try:
            open_envelope(sample.key, mutated, sample.place)
        except Tampered:
            continue
        tried.accepted += 1
    return tried
