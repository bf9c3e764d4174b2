"""The calls of a replica by which a person decides what no device can."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from icure_sync.engine.calls import Calls
from icure_sync.engine.conflict import Conflict
from icure_sync.engine.review import conflict_ids, live_leaves
from icure_sync.ids import DocId, Rev
from icure_sync.model import Entity


class ReviewCalls(Calls):
    """What was written concurrently, and what is offered by somebody who is out."""

    async def conflicts(self) -> AsyncIterator[Conflict]:
        """Records that a person should look at: with fields that were written concurrently, or leaves that no device
        merges. A keyless or locked replica can only tell which documents have several live leaves."""
        if self._custody.held is None:
            for conflict in await self._store.run(live_leaves, self._store):
                yield conflict
            return
        for doc_id in await conflict_ids(self._store, self._keyed.review):
            found = await self._call(self._reading.disputed, doc_id)
            if found is not None:
                yield found

    async def conflict_of(self, record: Entity | str) -> Conflict | None:
        """What there is to decide of one record, by itself or by its id; None if there is nothing."""
        doc_id = DocId(record if isinstance(record, str) else record.id)
        return await self._call(self._reading.conflict, doc_id)

    async def resolve(self, record: Conflict | Entity | str, choices: Any = None) -> Entity:
        """Settle fields that are in dispute, by one ordinary write. Returns the record as it is then.

        `choices`: by path or name, one of the field's Versions or a new value; fields not named stay in dispute. Where
        only one is, its value alone will do. None: what is shown becomes the only value of all of them. Raises
        InvalidEntity for a field that is not in dispute; StaleRevision if a Conflict or Entity is given and more has
        been written since it was read; NotFound; NoAccess.
        """
        return await self._call(self._keyed.review.resolve, record, choices)

    async def adopt(self, record: Conflict | Entity | str, rev: str | None = None) -> Entity:
        """Write what a leaf says whose writer is out of the record by now, as a write of one's own; the leaf goes.

        What that writer had not changed, or others have changed since, stays. `rev`: the leaf, where there are several.
        Raises NotFound, InvalidEntity, Tampered, NoAccess.
        """
        return await self._call(self._keyed.review.adopt, record, None if rev is None else Rev(rev))
