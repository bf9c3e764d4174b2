"""The index by delegate on a CouchDB: which documents a device of an Hcp needs. Owns the view's keys and its paging.

A page begins at the last row of the one before, by key and document id: nothing is skipped by counting, so a page
costs the same wherever it is. Knows nothing of what is done with the ids.
Source: docs.couchdb.org, "/{db}/_design/{ddoc}/_view/{view}", "Pagination Recipe".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from icure_sync.errors import NotFound
from icure_sync.ids import DocId, HcpId, Seq
from icure_sync.peers.couch_answers import Answers
from icure_sync.peers.couch_refusals import not_a_couchdb
from icure_sync.peers.couch_requests import Request, Requests
from icure_sync.peers.limits import LISTED_ROWS
from icure_sync.replication.filters import SHARED_TYPES
from icure_sync.replication.wire import Listing

VIEW = "/_design/icure_sync/_view/by_delegate"

_Key = tuple[str | None, ...]

_encode = msgspec.json.encode


class Index:
    """The index of one database. `path`: that of the database; `silence`: seconds that it may take to build."""

    def __init__(self, requests: Requests, answers: Answers, path: str, peer: str, silence: float) -> None:
        self._requests = requests
        self._answers = answers
        self._path = path + VIEW
        self._peer = peer
        self._attempted = f"read the index of {peer}"
        self._silence = silence

    async def listed(self, hcp: HcpId) -> AsyncGenerator[Listing, None]:
        """Raises NotFound if the index goes away between two pages."""
        seq: Seq | None = None
        for key in _keys(hcp):
            last: DocId | None = None
            while True:
                try:
                    ids, update_seq = await self._page(key, last, pinned=seq is not None)
                except NotFound:
                    if seq is None:
                        return
                    raise
                if seq is None:
                    if update_seq is None:
                        return  # without it nobody could say where the feed goes on
                    seq = update_seq
                    yield Listing(ids, seq)
                elif new := tuple(doc_id for doc_id in ids if doc_id != last):
                    yield Listing(new, seq)
                if len(ids) < LISTED_ROWS:
                    break
                if ids[-1] == last:
                    raise not_a_couchdb(self._attempted, self._peer, "the same page again")
                last = ids[-1]

    async def _page(self, key: _Key, last: DocId | None, *, pinned: bool) -> tuple[tuple[DocId, ...], Seq | None]:
        text = _encode(key).decode()
        query = {"startkey": text, "endkey": text, "limit": str(LISTED_ROWS)}
        if last is not None:
            query["startkey_docid"] = last
        if not pinned:
            query["update_seq"] = "true"
        request = Request("GET", self._path, self._attempted, query=query, silence=self._silence)
        return self._answers.listed(await self._requests.answer(request), self._attempted)


def _keys(hcp: HcpId) -> list[_Key]:
    """One's own documents, those for everyone, and those in conflict: their other leaves may name someone else."""
    return [(hcp,), *(("", shared) for shared in SHARED_TYPES), (None,)]
