"""The unlocked Hcp keys of one identity, by kid and by pair. Knows no documents, no stores and no RSA."""

from __future__ import annotations

from collections.abc import Iterable

from icure_sync.crypto.hcp_keys import HcpKey, self_key
from icure_sync.crypto.identity import Identity
from icure_sync.errors import NoAccess
from icure_sync.ids import HcpId, Kid


class Keyring:
    """Grows as Hcp documents bring keys. A kid names a key, so a reader never tries keys in turn."""

    __slots__ = ("_by_kid", "_retired", "identity")

    def __init__(self, identity: Identity, keys: Iterable[HcpKey] = ()) -> None:
        self.identity = identity
        self._by_kid: dict[Kid, HcpKey] = {}
        self._retired: set[Kid] = set()
        self.add(self_key(identity))
        for key in keys:
            self.add(key)

    def add(self, key: HcpKey) -> None:
        """Know this key from now on."""
        self._by_kid[key.kid] = key

    def retire(self, kids: Iterable[Kid]) -> None:
        """Make no new entries with these; what they wrapped stays readable."""
        self._retired.update(kids)

    def get(self, kid: str) -> HcpKey | None:
        """The key of this kid, if it ever reached this device."""
        return self._by_kid.get(Kid(kid))

    def pair(self, owner: str, delegate: str) -> HcpKey | None:
        """The key for new entries of this pair: the lowest kid that is not retired."""
        usable = (
            key
            for key in self._by_kid.values()
            if (key.owner, key.delegate) == (owner, delegate) and key.kid not in self._retired
        )
        return min(usable, key=lambda key: key.kid, default=None)

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

    def __len__(self) -> int:
        return len(self._by_kid)

    def __repr__(self) -> str:
        return f"Keyring(hcp_id={self.identity.hcp_id!r}, keys={len(self._by_kid)})"
