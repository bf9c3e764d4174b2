"""A peer in memory with an index by delegate, as a provisioned server has it."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec

from icure_sync.ids import DocId, HcpId
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.filters import CLASSIC_HCP, SHARED_TYPES
from icure_sync.replication.wire import Listing, Refusal, Revision

PAGE = 3  # ids of one page

_body = msgspec.json.Decoder(dict[str, Any])


class IndexedPeer(MemoryPeer):
    """`has_index` may be switched while nobody reads it. `asked`: the ids whose leaves were asked for, in order."""

    def __init__(self, name: str = "server", instance: str = "1") -> None:
        super().__init__(name, instance)
        self.has_index = True
        self.asked: list[DocId] = []

    async def listed(self, hcp: HcpId) -> AsyncGenerator[Listing, None]:
        if not self.has_index:
            return
        seq = (await self.info()).update_seq
        ids = [doc_id for key in ((hcp,), *(("", one) for one in SHARED_TYPES), (None,)) for doc_id in self._under(key)]
        for start in range(0, max(len(ids), 1), PAGE):
            yield Listing(tuple(ids[start : start + PAGE]), seq)

    async def leaves(self, ids: Sequence[DocId]) -> Sequence[Revision | Refusal]:
        self.asked += ids
        return await super().leaves(ids)

    def backup(self) -> IndexedPeer:
        """Another one, as this is now; one put back from it goes on with the same instance and seqs."""
        other = IndexedPeer(self._name, self._instance)
        other._documents, other._local = copy.deepcopy(self._documents), copy.deepcopy(self._local)
        other._last = self._last
        return other

    def _under(self, key: tuple[str | None, ...]) -> list[DocId]:
        return sorted(doc_id for doc_id in self._documents if key in self._keys(doc_id))

    def _keys(self, doc_id: DocId) -> list[tuple[str | None, ...]]:
        leaves = self.tree(doc_id).leaves()
        if leaves[0].deleted:
            return []
        body = _body.decode(self._documents[doc_id].revisions[leaves[0].rev].body)
        keys: list[tuple[str | None, ...]] = [(delegate,) for delegate in body.get("delegations", {})]
        keys += [("", name) for name in SHARED_TYPES if body.get("type") == name]
        keys += [("", SHARED_TYPES[0])] if body.get("java_type") == CLASSIC_HCP else []
        return keys + ([(None,)] if sum(not leaf.deleted for leaf in leaves) > 1 else [])
