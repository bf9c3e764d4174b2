"""The number that two people compare."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from icure_sync.canonical import canonical
from icure_sync.crypto.comparison import ITERATIONS, comparison
from icure_sync.crypto.envelope import to_text
from icure_sync.crypto.identity import COMPROMISED
from icure_sync.crypto.party import Party
from icure_sync.crypto.primitives import sha512
from icure_sync.ids import HcpId
from tests.keys import HCPS, A, B, identity, successor

ONE, OTHER, THIRD = (Party.of_identity(identity(hcp_id)) for hcp_id in HCPS)


def halves(number: str) -> set[str]:
    return {number[:35], number[36:]}


def test_both_sides_see_the_same_twelve_groups_of_five_digits():
    assert comparison(ONE, OTHER) == comparison(OTHER, ONE)
    assert re.fullmatch(r"\d{5}( \d{5}){11}", comparison(ONE, OTHER), re.ASCII)


def test_each_party_has_a_half_of_its_own():
    (mine,) = halves(comparison(ONE, OTHER)) & halves(comparison(ONE, THIRD))
    assert mine not in halves(comparison(OTHER, THIRD))
    assert halves(comparison(ONE, ONE)) == {mine}


def test_another_key_id_or_epoch_makes_another_number():
    changes = (
        replace(OTHER, public_key=THIRD.public_key),
        replace(OTHER, signing_key=THIRD.signing_key),
        replace(OTHER, hcp_id=HcpId("hcp-z")),
        replace(OTHER, epoch=2),
        Party.of_identity(successor(COMPROMISED)),
    )
    numbers = {comparison(ONE, each) for each in (OTHER, *changes)}
    assert len(numbers) == 1 + len(changes)


def test_the_number_is_made_as_it_is_written_down():
    def half(party: Party) -> str:
        keys = (to_text(party.public_key), to_text(party.signing_key))
        stated = canonical(["icure-sync/comparison/1", party.hcp_id, *keys, party.epoch])
        digest = hashlib.sha512(stated).digest()
        for _ in range(5_199):
            digest = hashlib.sha512(digest + stated).digest()
        return " ".join(str(int.from_bytes(digest[at : at + 5], "big") % 100_000).zfill(5) for at in range(0, 30, 5))

    assert ITERATIONS == 5_200
    assert comparison(ONE, OTHER) == " ".join(sorted([half(ONE), half(OTHER)]))
    assert sha512(b"") == hashlib.sha512().digest()
    assert (ONE.hcp_id, OTHER.hcp_id) == (A, B)
