"""Which own Hcp keys somebody may know who should not, by what is known of their delegates, and what is done about it.

It follows from what is stored alone: the own document, and the pins. So what was begun and broken off is done the next
time. Writes nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from icure_sync.crypto import hcp_keys
from icure_sync.crypto.hcp_keys import Wrapped, wrapped_keys
from icure_sync.crypto.identity import COMPROMISED, lost_through
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.party import Party
from icure_sync.crypto.primitives import Entropy
from icure_sync.crypto.retirements import Retired, retired
from icure_sync.engine.suite import Stored
from icure_sync.errors import WeakKey
from icure_sync.store import Pin


@dataclass(frozen=True, slots=True)
class Renewal:
    """Keys to wrap anew, so that what was shared stays readable for those who hold the new keys, and to give up."""

    wrapped: tuple[Wrapped, ...]
    ended: frozenset[Retired]


def may_be_known(pin: Pin, party: Party) -> bool:
    """Whether there can be keys for this Hcp that somebody else opens: it lost some of its own, or another passed for
    it."""
    return bool(pin.refused) or lost_through(party.previous) > 0


def renewal(keyring: Keyring, shown: Stored, pin: Pin, party: Party, entropy: Entropy) -> Renewal:
    """Of the keys towards the Hcp of this pin. `shown`: the own document; `party`: what the pinned key states.

    A key is given up if it is wrapped for another party key than that one, unless it is for one of an epoch that ended
    as planned. Where another was ever refused for this Hcp, whose party key it was nobody can say.
    """
    outdated = list(_outdated(shown, party, pin))
    ended = {Retired(each.kid, COMPROMISED) for each in outdated} - retired(shown.document)
    try:
        wrapped = [_again(keyring, party, each, entropy) for each in outdated]
    except WeakKey:
        wrapped = []  # nothing is wrapped for it; whoever shares with it next is told
    return Renewal(tuple(each for each in wrapped if each is not None), frozenset(ended))


def _outdated(shown: Stored, party: Party, pin: Pin) -> Iterator[Wrapped]:
    for wrapped in wrapped_keys(shown.id, shown.document):
        is_lost = bool(pin.refused) or wrapped.epochs[1] <= lost_through(party.previous)
        if wrapped.delegate == party.hcp_id and is_lost and wrapped.signed["fingerprints"][1] != party.fingerprint:
            yield wrapped


def _again(keyring: Keyring, party: Party, before: Wrapped, entropy: Entropy) -> Wrapped | None:
    """None if it is not here, or cannot take the place of what it was wrapped as before."""
    key = keyring.get(before.owner, before.delegate, before.kid)
    return None if key is None else hcp_keys.wrap_again(keyring.identity, party, before, key, entropy)
