"""One batch on its way: fetched from the source, written to the target. Owns what becomes of each wanted revision.

Nothing is written before the whole answer was read. A revision that does not come, or is not taken, ends as a Refusal.
What to do about an error is decided in replication/policy.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from icure_sync.engine.patience import GivenUp, Patience
from icure_sync.ids import DocId, Rev
from icure_sync.peers.port import Peer
from icure_sync.replication.batching import parts
from icure_sync.replication.policy import Step, decide, reason_against_size
from icure_sync.replication.trouble import Trouble
from icure_sync.replication.wire import Refusal, Revision

Wanted = tuple[DocId, Rev]

_NOT_FOUND = "not_found"  # CouchDB's word for a revision that it does not have (any more)
_TOO_LARGE = "document_too_large"  # likewise


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of a batch: each wanted revision is in exactly one of the two."""

    written: Sequence[Revision]
    refused: Sequence[Refusal]


class Carrier:
    """Carries batches from one peer to another."""

    def __init__(self, source: Peer, target: Peer, patience: Patience) -> None:
        self._source = source
        self._target = target
        self._patience = patience

    async def carry(self, wanted: Sequence[Wanted]) -> Carried:
        """Fetch and write. Raises what the policy says must stop the attempt."""
        fetched = await self.fetch(wanted)
        revisions = [revision for revision in fetched if isinstance(revision, Revision)]
        refused = [refusal for refusal in fetched if isinstance(refusal, Refusal)]
        refused += await self.write(revisions)
        without = {(refusal.id, refusal.rev) for refusal in refused}
        return Carried([revision for revision in revisions if (revision.id, revision.rev) not in without], refused)

    async def fetch(self, wanted: Sequence[Wanted]) -> list[Revision | Refusal]:
        """One result for each wanted revision: what does not come with the others is asked for alone."""
        came = await self._ask(wanted)
        lacking = [named for named in wanted if _did_not_come(came.get(named))]
        if lacking and decide(Trouble.INCOMPLETE, 1, len(lacking)) is Step.FETCH_ALONE:
            for named in lacking:
                came.update(await self._ask([named]))
        return [
            came.get(named) or Refusal(*named, _NOT_FOUND, "the source announced it, and does not give it")
            for named in wanted
        ]

    async def _ask(self, wanted: Sequence[Wanted]) -> dict[Wanted, Revision | Refusal]:
        """What came of the wanted revisions. Others that came with them are left aside."""

        async def fetch(part: Sequence[Wanted]) -> Sequence[Revision | Refusal]:
            revs: dict[DocId, list[Rev]] = {}
            for doc_id, rev in part:
                revs.setdefault(doc_id, []).append(rev)
            return await self._source.fetch(revs)

        def refuse(named: Wanted, why: GivenUp) -> Revision | Refusal:
            return Refusal(*named, why.error, why.reason)

        results = await self._patience.apart(wanted, fetch, refuse, [self._source])
        asked = set(wanted)
        named = ((_named(result), result) for result in results)
        return {name: result for name, result in named if name in asked}

    async def write(self, revisions: Sequence[Revision]) -> list[Refusal]:
        """Those that the target does not take, or that are too large for any; the others are written."""

        async def write(part: Sequence[Revision]) -> Sequence[Refusal]:
            return await self._target.write(part, self._source)

        def refuse(revision: Revision, why: GivenUp) -> Refusal:
            return Refusal(revision.id, revision.rev, why.error, why.reason)

        oversized = [
            Refusal(revision.id, revision.rev, _TOO_LARGE, reason)
            for revision in revisions
            if (reason := reason_against_size(len(revision.body)))
        ]
        if oversized:
            heavy = {(refusal.id, refusal.rev) for refusal in oversized}
            revisions = [revision for revision in revisions if (revision.id, revision.rev) not in heavy]
        refused: list[Refusal] = []
        for part in parts(revisions):
            refused += await self._patience.apart(part, write, refuse, [self._target, self._source])
        return oversized + [named for refusal in refused for named in _with_revision(refusal, revisions)]


def _did_not_come(result: Revision | Refusal | None) -> bool:
    return result is None or (isinstance(result, Refusal) and result.error == _NOT_FOUND)


def _with_revision(refusal: Refusal, revisions: Sequence[Revision]) -> list[Refusal]:
    """A refusal that names no revision speaks of all that were written of the document."""
    if refusal.rev is not None:
        return [refusal]
    revs = [revision.rev for revision in revisions if revision.id == refusal.id]
    return [Refusal(refusal.id, rev, refusal.error, refusal.reason) for rev in revs]


def _named(result: Revision | Refusal) -> tuple[DocId, Rev | None]:
    return result.id, result.rev
