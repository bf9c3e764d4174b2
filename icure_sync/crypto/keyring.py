"""The unlocked Hcp keys of one identity, by pair and kid. Knows no documents, no stores and no RSA.

A pair's keys are its owner's alone to state and to retire: whoever knows a key, or its kid, cannot take it away by
publishing it as one of his own.
"""

from __future__ import annotations

from collections.abc import Iterable

from icure_sync.crypto.hcp_keys import HcpKey, self_key
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.primitives import SymmetricKey
from icure_sync.errors import NoAccess
from icure_sync.ids import HcpId, Kid

REMEMBERED = 20_000  # content keys, about 15 MB: the records of a practice; gone when the identity is let go


class Keyring:
    """Grows as Hcp documents bring keys. A kid names a key, so a reader never tries keys in turn."""

    __slots__ = ("_pairs", "_retired", "_unwrapped", "identity")

    def __init__(self, identity: Identity, keys: Iterable[HcpKey] = ()) -> None:
        self.identity = identity
        self._pairs: dict[tuple[str, str], dict[str, HcpKey]] = {}
        self._retired: set[tuple[str, str]] = set()
        self._unwrapped: dict[tuple[bytes, str], SymmetricKey] = {}
        self.add(self_key(identity))
        for key in keys:
            self.add(key)

    def add(self, key: HcpKey) -> None:
        """Know this key from now on."""
        self._pairs.setdefault((key.owner, key.delegate), {})[key.kid] = key

    def retire(self, owner: HcpId, kids: Iterable[Kid]) -> None:
        """Make no new entries with these keys of `owner`; what they wrapped stays readable."""
        self._retired.update((owner, kid) for kid in kids)

    def get(self, owner: str, delegate: str, kid: str) -> HcpKey | None:
        """The pair's key of this kid, if it ever reached this device."""
        return self._pairs.get((owner, delegate), {}).get(kid)

    def pair(self, owner: str, delegate: str) -> HcpKey | None:
        """The key for new entries of this pair: the lowest kid that is not retired."""
        keys = self._pairs.get((owner, delegate), {})
        usable = min((kid for kid in keys if (owner, kid) not in self._retired), default=None)
        return None if usable is None else keys[usable]

    def towards(self, delegate: HcpId) -> HcpKey:
        """{me, delegate}. Raises NoAccess if it has not been made yet."""
        key = self.pair(self.identity.hcp_id, delegate)
        if key is None:
            raise NoAccess(
                f"wrap a key for {delegate}",
                f"{self.identity.hcp_id} and {delegate} share no Hcp key yet",
                "sync, so that both Hcp documents are here, then share again",
            )
        return key

    def unwrapped(self, data: bytes, envelope: str) -> SymmetricKey | None:
        """The content key of an envelope that was opened before, under associated data that names its key."""
        return self._unwrapped.get((data, envelope))

    def remember(self, data: bytes, envelope: str, key: SymmetricKey) -> None:
        """Opening an envelope is a third of opening a small record, and records are opened again and again."""
        if len(self._unwrapped) >= REMEMBERED:
            del self._unwrapped[next(iter(self._unwrapped))]
        self._unwrapped[data, envelope] = key

    def __len__(self) -> int:
        return sum(map(len, self._pairs.values()))

    def __repr__(self) -> str:
        return f"Keyring(hcp_id={self.identity.hcp_id!r}, keys={len(self)})"
