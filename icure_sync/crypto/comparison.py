"""The number by which two people check that each has the other's real keys: 60 digits, the same on both sides.

Knows the public sides of two Hcps. As Signal's safety numbers are made: 30 digits for each party, in an order that does
not depend on who looks. Each half is a function of one party alone, so a person comes to know his own. Hashing 5,200
times makes it 2^12 times dearer to look for other keys whose 30 digits (2^99) are the same.
"""

from __future__ import annotations

from icure_sync.canonical import pack
from icure_sync.crypto.envelope import to_text
from icure_sync.crypto.party import Party
from icure_sync.crypto.primitives import equal, sha512

LABEL = "icure-sync/comparison/1"
ITERATIONS = 5_200  # some milliseconds
GROUP_DIGITS = 5
GROUP_BYTES = 5  # of hash for a group: 2^40 numbers for 10^5 leave no digit likelier than another, as far as matters
GROUPS_EACH = 6


def comparison(one: Party, other: Party) -> str:
    """Twelve groups of five digits, separated by spaces; `comparison(a, b) == comparison(b, a)`.

    Covers the id, the epoch, the signing key and the party key of both.
    """
    return " ".join(group for half in sorted((_half(one), _half(other))) for group in half)


def is_same_number(given: str, number: str) -> bool:
    """Whether a person gave this number. Spaces do not matter."""
    return equal("".join(given.split()).encode(), number.replace(" ", "").encode())


def _half(party: Party) -> list[str]:
    stated = pack([LABEL, party.hcp_id, to_text(party.public_key), to_text(party.signing_key), party.epoch])
    digest = sha512(stated)
    for _ in range(ITERATIONS - 1):
        digest = sha512(digest + stated)
    numbers = (digest[place * GROUP_BYTES : (place + 1) * GROUP_BYTES] for place in range(GROUPS_EACH))
    return [f"{int.from_bytes(each) % 10**GROUP_DIGITS:0{GROUP_DIGITS}}" for each in numbers]
