"""How an Hcp that has lost all its devices gets its identity back: by a code on paper, or by k of n people's shares.

Owns which of these exist: each is a document on the server that holds the identity, sealed. Whoever has the code, or
enough shares, and the document is that Hcp; so a new code withdraws the one before. A withdrawn document is gone from
servers that do as they are told. What a server kept, or somebody copied, its code still opens: only another identity
shuts that out.
"""

from __future__ import annotations

from collections.abc import Sequence

from icure_sync.crypto.party import HCP_TYPE
from icure_sync.crypto.publishing import is_withdrawal
from icure_sync.crypto.recovery import RECOVERY_TYPE, Recovery, recovery_id, recovery_members
from icure_sync.crypto.shares import Purpose, RecoverySecret, Share, Split
from icure_sync.engine.keyed import Keyed
from icure_sync.engine.trail import Action
from icure_sync.errors import NotFound
from icure_sync.ids import DocId
from icure_sync.store import Store


class Recoveries:
    """Of the Hcp of one replica. Secrets are returned once and kept nowhere."""

    def __init__(self, store: Store, keyed: Keyed) -> None:
        self._store = store
        self._keyed = keyed

    @property
    def epoch(self) -> int:
        """Of the identity as it is now: what states an earlier one gives back an identity that is no longer used."""
        return self._keyed.identity.epoch

    async def standing(self) -> list[Recovery]:
        """Those that stand, the newest first."""
        return await self._store.run(self._standing)

    async def new_code(self) -> RecoverySecret:
        """A new code, for `code` to be shown once; those before it are withdrawn. Shares stay."""
        return await self._store.run(self._new_code)

    async def split(self, count: int, threshold: int) -> tuple[Share, ...]:
        """Shares of a secret of its own, for so many people; `threshold` of them are enough. What there is stays.

        Raises InvalidEntity for other numbers than 2 to 32, and a threshold beyond the count.
        """
        split = Split(threshold, count)
        secret = await self._store.run(self._publish, split)
        return secret.shares(split)

    async def withdraw(self, id_: str) -> Recovery:
        """Let a code or a set of shares recover nothing any more. Raises NotFound for one that does not stand."""
        return await self._store.run(self._withdraw, DocId(id_))

    async def recovered(self, indexes: Sequence[int]) -> None:
        """Record, before anything else, that this home was made from a code, or from the shares of these indexes."""
        me, detail = self._keyed.identity.hcp_id, {"shares": [*indexes]}
        await self._store.run(self._keyed.recorder.did, Action.RECOVERED, me, HCP_TYPE, detail)

    def _standing(self) -> list[Recovery]:
        found = self._keyed.published.standing(RECOVERY_TYPE)
        read = [Recovery.of(each.id, each.document) for each in found if not is_withdrawal(each.document)]
        return sorted(read, key=lambda each: (-each.made, each.id))

    def _new_code(self) -> RecoverySecret:
        with self._store.transaction():
            before = self._standing()
            secret = self._publish(None)
            for recovery in before:
                if recovery.split is None:
                    self._end(recovery)
        return secret

    def _publish(self, split: Split | None) -> RecoverySecret:
        published = self._keyed.published
        secret = RecoverySecret.draw(Purpose.RECOVERY, published.entropy)
        members = recovery_members(secret, published.identity, published.now(), split, published.entropy)
        doc_id = recovery_id(secret)
        with self._store.transaction():
            published.publish(doc_id, members)
            self._keyed.recorder.did(Action.RECOVERY_MADE, doc_id, RECOVERY_TYPE, {"shares": members["shares"]})
        return secret

    def _end(self, recovery: Recovery) -> None:
        self._keyed.published.withdraw(recovery.id)
        self._keyed.recorder.did(Action.RECOVERY_WITHDRAWN, recovery.id, RECOVERY_TYPE, {})

    def _withdraw(self, doc_id: DocId) -> Recovery:
        for recovery in self._standing():
            if recovery.id == doc_id:
                with self._store.transaction():
                    self._end(recovery)
                return recovery
        raise NotFound(f"withdraw {doc_id}", "no code and no set of shares of this name stands", "see recovery list")
