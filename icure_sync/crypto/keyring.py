"""The unlocked Hcp keys of one identity, by pair and kid. Knows no documents, no stores and no RSA.

A pair's keys are its owner's alone to state and to retire: whoever knows a key, or its kid, cannot take it away by
publishing it as one of his own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from icure_sync.crypto.hcp_keys import HcpKey, former_self_keys, self_key
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.primitives import SymmetricKey
from icure_sync.errors import NoAccess
from icure_sync.ids import HcpId, Kid

REMEMBERED = 20_000  # content keys, about 15 MB: the records of a practice; gone when the identity is let go


class Keyring:
    """Grows as Hcp documents bring keys. A kid names a key, so a reader never tries keys in turn."""

    __slots__ = ("_exposed", "_pairs", "_retired", "_stated", "_unwrapped", "_withheld", "identity")

    def __init__(self, identity: Identity, keys: Iterable[HcpKey] = ()) -> None:
        self.identity = identity
        self._pairs: dict[tuple[str, str], dict[str, HcpKey]] = {}
        self._retired: set[tuple[str, str]] = set()
        self._exposed: set[tuple[str, str]] = set()
        self._stated: dict[str, frozenset[Kid]] = {}
        self._withheld: frozenset[HcpId] = frozenset()
        self._unwrapped: dict[tuple[bytes, str], SymmetricKey] = {}
        for key in (self_key(identity), *former_self_keys(identity), *keys):
            self.add(key)

    def add(self, key: HcpKey) -> None:
        """Know this key from now on."""
        self._pairs.setdefault((key.owner, key.delegate), {})[key.kid] = key

    def retire(self, owner: HcpId, kids: Iterable[Kid]) -> None:
        """Make no new entries with these keys of `owner`; what they wrapped stays readable."""
        self._retired.update((owner, kid) for kid in kids)

    def restate(self, owner: HcpId, kids: Iterable[Kid]) -> None:
        """An identity of `owner` that came after others states these keys: no new entries with any other of his. What
        was retired before does not count any more; what is exposed stays so."""
        self._stated[owner] = frozenset(kids)
        self._retired = {(each, kid) for each, kid in self._retired if each != owner}

    def expose(self, owner: HcpId, kids: Iterable[Kid]) -> None:
        """Somebody knows these keys of `owner` who should not: no new entries with them either, and what is sealed with
        a content key that they wrap is sealed anew with the next write."""
        self._exposed.update((owner, kid) for kid in kids)

    def is_exposed(self, owner: str, kid: str) -> bool:
        """Of any Hcp's key, whether it is here or not."""
        return (owner, kid) in self._exposed

    def is_retired(self, key: HcpKey) -> bool:
        """Whether new entries are made with it no more."""
        name = (key.owner, key.kid)
        is_stated = key.owner not in self._stated or key.kid in self._stated[key.owner]
        return not is_stated or name in self._retired or name in self._exposed

    def withhold(self, delegates: Iterable[HcpId]) -> None:
        """Make no new entries for these, and for the others again: it is in doubt whose their keys are."""
        self._withheld = frozenset(delegates)

    def get(self, owner: str, delegate: str, kid: str) -> HcpKey | None:
        """The pair's key of this kid, if it ever reached this device."""
        return self._pairs.get((owner, delegate), {}).get(kid)

    def pair(self, owner: str, delegate: str) -> HcpKey | None:
        """The key for new entries of this pair: the lowest kid that is not retired. Entries for oneself go on."""
        if delegate in self._withheld and owner == self.identity.hcp_id != delegate:
            return None
        usable = (key for key in self.pairs(owner, delegate) if not self.is_retired(key))
        return min(usable, key=lambda key: key.kid, default=None)

    def pairs(self, owner: str, delegate: str) -> list[HcpKey]:
        """Every key of this pair."""
        return list(self._pairs.get((owner, delegate), {}).values())

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

    def kids(self, owner: HcpId) -> set[Kid]:
        """Of every key of this owner."""
        return {key.kid for (each, _), keys in self._pairs.items() if each == owner for key in keys.values()}

    @contextmanager
    def kept_if_it_fails(self) -> Iterator[None]:
        """What is learnt inside is forgotten if an exception leaves, as what is written with it is."""
        pairs = {pair: dict(keys) for pair, keys in self._pairs.items()}
        retired, exposed, withheld = set(self._retired), set(self._exposed), self._withheld
        stated = dict(self._stated)
        try:
            yield
        except BaseException:
            self._pairs, self._retired, self._exposed, self._withheld = pairs, retired, exposed, withheld
            self._stated = stated
            raise

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
