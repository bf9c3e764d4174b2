"""What is sealed to one device opens there, for what it is, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.crypto.primitives import ExchangeKey
from icure_sync.crypto.sealed_to import open_from, seal_to
from icure_sync.errors import Tampered, WeakKey
from tests.keys import seeded

PHONE, LAPTOP = (ExchangeKey(seeded(name)(32)) for name in ("phone", "laptop"))


def sealed(plaintext: bytes = b"an identity") -> bytes:
    return seal_to(PHONE.public, plaintext, "handover", "hcp-a", 2, entropy=seeded("drawn"))


@given(st.binary(max_size=200))
def test_the_device_opens_it(plaintext: bytes):
    assert open_from(PHONE, sealed(plaintext), "handover", "hcp-a", 2) == plaintext


def test_no_other_device_opens_it_and_not_for_anything_else():
    for key, use, fields in (
        (LAPTOP, "handover", ("hcp-a", 2)),
        (PHONE, "other", ("hcp-a", 2)),
        (PHONE, "handover", ("hcp-a", 3)),
    ):
        with pytest.raises(Tampered):
            open_from(key, sealed(), use, *fields)


@given(st.integers(0, len(sealed()) - 1), st.integers(1, 255))
def test_every_changed_byte_is_noticed(place: int, change: int):
    # The top bit of an X25519 public key is not part of the point; here it is part of what the key is made of.
    changed = bytearray(sealed())
    changed[place] ^= change
    with pytest.raises(Tampered):
        open_from(PHONE, bytes(changed), "handover", "hcp-a", 2)


@pytest.mark.parametrize("length", [0, 31, 32, 60])
def test_what_is_cut_off_is_noticed(length: int):
    with pytest.raises(Tampered):
        open_from(PHONE, sealed()[:length], "handover", "hcp-a", 2)


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(32), b"\x01" + bytes(31)])
def test_nothing_is_sealed_to_what_gives_everybody_the_same_key(public: bytes):
    with pytest.raises(Tampered, match="no public key"):
        seal_to(public, b"", "test", entropy=seeded("drawn"))


@pytest.mark.parametrize(
    ("secret", "public", "agreed"),
    [
        (  # RFC 7748, section 5.2
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (  # section 6.1
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        ),
    ],
)
def test_two_devices_agree_as_the_standard_says(secret: str, public: str, agreed: str):
    assert ExchangeKey(bytes.fromhex(secret)).agree(bytes.fromhex(public)).hex() == agreed


def test_a_key_is_kept_and_shows_nothing():
    again = ExchangeKey(PHONE.secret())
    assert again.public == PHONE.public
    assert PHONE.secret().hex() not in repr(PHONE)
    with pytest.raises(WeakKey):
        ExchangeKey(b"short")
