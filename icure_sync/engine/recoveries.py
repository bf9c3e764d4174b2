"""How an Hcp that has lost all its devices gets its identity back: by a code on paper, or by k of n people's shares.

Owns which of these exist: each is a document on the server that holds the identity, sealed. Whoever has the code, or
enough shares, and the document is that Hcp; so a new code withdraws the one before. A withdrawn document is gone from
servers that do as they are told. What a server kept, or somebody copied, its code still opens: only another identity
shuts that out, if the one before ended as compromised, for all who know of it. After one that ended as planned it still
signs records, but states no Hcp keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from icure_sync.crypto.party import HCP_TYPE
from icure_sync.crypto.recovery import RECOVERY_TYPE, Recovery, recovery_id, recovery_members
from icure_sync.crypto.shares import Purpose, RecoverySecret, Share, Split
from icure_sync.engine.keyed import Keyed
from icure_sync.engine.trail import Action
from icure_sync.errors import NotFound
from icure_sync.ids import DocId
from icure_sync.store import Store


class Recoveries:
    """Of the Hcp of one replica. Secrets are returned once and kept nowhere."""

    def __init__(self, store: Store, keyed: Callable[[], Keyed]) -> None:
        self._store = store
        self._keyed = keyed

    @property
    def epoch(self) -> int:
        """Of the identity as it is now: what states an earlier one gives back an identity that is no longer used."""
        return self._keyed().identity.epoch

    async def standing(self) -> list[Recovery]:
        """Those that stand, the newest first."""
        return await self._store.run(_standing, self._keyed())

    async def new_code(self) -> RecoverySecret:
        """A new code, for `code` to be shown once; those before it are withdrawn. Shares stay."""
        return await self._store.run(self._new_code, self._keyed())

    async def split(self, count: int, threshold: int) -> tuple[Share, ...]:
        """Shares of a secret of its own, for so many people; `threshold` of them are enough. What there is stays.

        Raises InvalidEntity for other numbers than 2 to 32, and a threshold beyond the count.
        """
        split = Split(threshold, count)
        keyed = self._keyed()
        secret = await self._store.run(_publish, self._store, keyed, _drawn(keyed), split)
        return secret.shares(split)

    async def withdraw(self, id_: str) -> Recovery:
        """Let a code or a set of shares recover nothing any more. Raises NotFound for one that does not stand."""
        return await self._store.run(self._withdraw, self._keyed(), DocId(id_))

    async def recovered(self, indexes: Sequence[int]) -> None:
        """Record, before anything else, that this home was made from a code, or from the shares of these indexes."""
        keyed, detail = self._keyed(), {"shares": [*indexes]}
        await self._store.run(keyed.recorder.did, Action.RECOVERED, keyed.identity.hcp_id, HCP_TYPE, detail)

    def _new_code(self, keyed: Keyed) -> RecoverySecret:
        with self._store.transaction():
            before = _standing(keyed)
            secret = _publish(self._store, keyed, _drawn(keyed), None)
            for recovery in before:
                if recovery.split is None:
                    _end(keyed, recovery)
        return secret

    def _withdraw(self, keyed: Keyed, doc_id: DocId) -> Recovery:
        for recovery in _standing(keyed):
            if recovery.id == doc_id:
                with self._store.transaction():
                    _end(keyed, recovery)
                return recovery
        raise NotFound(f"withdraw {doc_id}", "no code and no set of shares of this name stands", "see recovery list")


def _standing(keyed: Keyed) -> list[Recovery]:
    found = keyed.published.read(RECOVERY_TYPE, Recovery.of)
    return sorted(found, key=lambda each: (-each.made, each.id))


def begin_anew(store: Store, keyed: Keyed, secret: RecoverySecret) -> None:
    """Of a new identity: this code, and nothing that gives back the one before."""
    with store.transaction():
        end_former(store, keyed)
        _publish(store, keyed, secret, None)


def end_former(store: Store, keyed: Keyed) -> None:
    """Let nothing give back an identity before the own one."""
    with store.transaction():
        for recovery in _standing(keyed):
            if recovery.epoch < keyed.identity.epoch:
                _end(keyed, recovery)


def _drawn(keyed: Keyed) -> RecoverySecret:
    return RecoverySecret.draw(Purpose.RECOVERY, keyed.published.entropy)


def _publish(store: Store, keyed: Keyed, secret: RecoverySecret, split: Split | None) -> RecoverySecret:
    published = keyed.published
    members = recovery_members(secret, published.identity, published.now(), split, published.entropy)
    doc_id = recovery_id(secret)
    with store.transaction():
        published.publish(doc_id, members)
        keyed.recorder.did(Action.RECOVERY_MADE, doc_id, RECOVERY_TYPE, {"shares": members["shares"]})
    return secret


def _end(keyed: Keyed, recovery: Recovery) -> None:
    keyed.published.withdraw(recovery.id)
    keyed.recorder.did(Action.RECOVERY_WITHDRAWN, recovery.id, RECOVERY_TYPE, {})
