"""The Hcps that this one knows, each by its keys; and a person's word that these keys are really theirs.

Owns what a person compares. Which identity is believed is identities.py's to say. An asyncio face over the store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from icure_sync.crypto.comparison import comparison, is_same_number
from icure_sync.crypto.party import Party
from icure_sync.engine.identities import Standing
from icure_sync.engine.keyed import Keyed
from icure_sync.engine.opening import UNREADABLE, not_found
from icure_sync.engine.trail import Action
from icure_sync.errors import UntrustedKey
from icure_sync.ids import DocId, HcpId
from icure_sync.model import Hcp
from icure_sync.store import Store


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """An identity of an Hcp. `fingerprint`: of its party key; `number`: 60 digits to compare with that Hcp, who sees
    the same on a device of its own; empty for this replica's own Hcp."""

    epoch: int
    fingerprint: str
    number: str


@dataclass(frozen=True, slots=True)
class Acquaintance:
    """What is known of one Hcp. `name`: as its document says, empty if that cannot be shown.

    `believed`: the keys that things are wrapped for, None if its document is not here; `verified`: when a person last
    compared them, ms since 1970; `trouble`: what is not believed of its document, and why. `claimed`: other keys that
    its document states, and that nothing vouches for: until a person decides, nothing is shared with this Hcp; a few
    of them, and `more_claimed` is how many more there are.
    """

    hcp_id: HcpId
    name: str
    is_own: bool
    believed: KnownKeys | None
    verified: int | None
    trouble: str
    claimed: tuple[KnownKeys, ...]
    more_claimed: int = 0


class Acquaintances:
    """`keyed` gives what opens records, or raises Locked or NoAccess."""

    def __init__(self, store: Store, keyed: Callable[[], Keyed], clock: Callable[[], int]) -> None:
        self._store = store
        self._keyed = keyed
        self._clock = clock

    async def all(self) -> list[Acquaintance]:
        """Every Hcp that anything is known of, by id."""
        return await self._store.run(self._all)

    async def get(self, hcp_id: str) -> Acquaintance:
        """Raises NotFound."""
        return await self._store.run(self._get, HcpId(hcp_id))

    async def confirm(self, hcp_id: str, number: str) -> Acquaintance:
        """A person has compared: this number is what that Hcp sees on its own device.

        So the keys which it stands for are the Hcp's, and what else is claimed for it is not. Spaces do not matter.
        It is all done or nothing is. Raises UntrustedKey if no keys that are believed or claimed here have that number;
        NotFound; StoreFull.
        """
        return await self._store.run(self._confirm, HcpId(hcp_id), number)

    def _all(self) -> list[Acquaintance]:
        keyed = self._keyed()
        return [_acquaintance(keyed, standing) for standing in keyed.parties.standings()]

    def _get(self, hcp_id: HcpId) -> Acquaintance:
        keyed = self._keyed()
        return _acquaintance(keyed, _standing(keyed, hcp_id))

    def _confirm(self, hcp_id: HcpId, number: str) -> Acquaintance:
        keyed = self._keyed()
        with keyed.parties.at_once():
            after = _confirmed(keyed, hcp_id, number, self._clock())
            keyed.match_alarms()
        return _acquaintance(keyed, after)


def _confirmed(keyed: Keyed, hcp_id: HcpId, number: str, time: int) -> Standing:
    standing, own = _standing(keyed, hcp_id), keyed.parties.own
    attempted = f"confirm the keys of {hcp_id}"
    if hcp_id == own.hcp_id:
        raise UntrustedKey(attempted, "it is this replica's own Hcp", "name the one whose number you compared")
    parties = [*([standing.party] if standing.party else []), *standing.claims]
    meant = next((party for party in parties if is_same_number(number, comparison(own, party))), None)
    if meant is None:
        raise UntrustedKey(
            attempted,
            "no keys that are known here for it have that number",
            "have both sides sync, and compare again; if they still differ, somebody is between you: share nothing",
        )
    after = keyed.parties.confirm(hcp_id, time, meant.signing_key)
    keyed.recorder.did(Action.VERIFIED, hcp_id, Hcp.TYPE, {"epoch": meant.epoch})
    return after


def _standing(keyed: Keyed, hcp_id: HcpId) -> Standing:
    standing = keyed.parties.standing(hcp_id)
    if standing is None:
        raise not_found(Hcp, DocId(hcp_id))
    return standing


def _acquaintance(keyed: Keyed, standing: Standing) -> Acquaintance:
    own = keyed.parties.own
    is_own = standing.hcp_id == own.hcp_id

    def keys(party: Party) -> KnownKeys:
        return KnownKeys(party.epoch, party.fingerprint, "" if is_own else comparison(own, party))

    try:
        name = keyed.hcps.get(standing.hcp_id).name or ""
    except UNREADABLE:
        name = ""
    return Acquaintance(
        standing.hcp_id,
        name,
        is_own,
        keys(standing.party) if standing.party else None,
        standing.pin.verified if standing.pin else None,
        standing.trouble,
        tuple(map(keys, standing.claims)),
        standing.more_claims,
    )
