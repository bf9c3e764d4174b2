"""A CouchDB database, or a hub's, as a peer. Owns the endpoints of the replication protocol and their parameters.

How requests are made is in couch_requests.py, how answers are read in couch_answers.py, how documents are written in
couch_writing.py. Knows no checkpoints and no policy.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import msgspec

from icure_sync.errors import DatabaseMissing, NotFound
from icure_sync.ids import DocId, HcpId, Rev, Seq
from icure_sync.peers.couch_address import parse_address
from icure_sync.peers.couch_answers import Answers
from icure_sync.peers.couch_bodies import json_body
from icure_sync.peers.couch_documents import path_of
from icure_sync.peers.couch_feed import Feed
from icure_sync.peers.couch_index import Index
from icure_sync.peers.couch_requests import Request, Requests, Timeouts
from icure_sync.peers.couch_route import route_to
from icure_sync.peers.couch_writing import Writer
from icure_sync.peers.limits import PIECE
from icure_sync.peers.port import Peer, Selector
from icure_sync.replication.limits import SEQ_INTERVAL
from icure_sync.replication.wire import Changes, Listing, Missing, PeerInfo, Refusal, Revision

_DEFAULT_TIMEOUTS = Timeouts()

_encode = msgspec.json.encode


class CouchPeer:
    """`CouchPeer("http://user:password@host:5984/database")`; a slash in the database's name is written `%2F`.

    The credentials show nowhere. Connections are opened with the first call; `async with`, or `close`, gives them back,
    and ends with Unreachable what is under way.
    `ca`: a PEM file with the certificates of the authorities that may vouch for the server, instead of those that the
    system trusts. A proxy is used where the environment names one: `https_proxy` and its like, see couch_proxy.py.
    Raises InvalidEntity for an address that cannot be one, and for a file or proxy that cannot be used.
    """

    def __init__(self, url: str, *, ca: str | Path | None = None, timeouts: Timeouts = _DEFAULT_TIMEOUTS) -> None:
        address = parse_address(url)
        self._database = address.database
        self._shown = str(address)
        self._advice = address.advice
        self._path = "/" + quote(address.database, safe="")
        self._requests = Requests(route_to(address, ca), timeouts)
        self._answers = Answers(self._shown)
        self._writer = Writer(self._requests, self._answers, self._path, self._shown)
        self._feed = Feed(self._requests, self._answers, self._path, self._shown, timeouts)
        self._index = Index(self._requests, self._answers, self._path, self._shown, timeouts.feed)
        self._page_silence = timeouts.feed
        self._local_revs: dict[str, str] = {}  # of `_local` documents, as last read: other servers insist on them

    def __repr__(self) -> str:
        return f"CouchPeer({self._shown!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._requests.close()

    async def info(self) -> PeerInfo:
        attempted = f"look at {self._shown}"
        try:
            await self._requests.confirm_login()
            body = await self._requests.answer(Request("GET", self._path, attempted))
        except (NotFound, DatabaseMissing) as error:  # NotFound: it is taken for a document of another database
            raise DatabaseMissing(attempted, f"there is no database at {self._shown}", self._advice) from error
        return self._answers.info(body, attempted, self._database)

    async def read_local(self, local_id: str) -> Mapping[str, Any] | None:
        attempted = f"read the replication log at {self._shown}"
        try:
            body = await self._requests.answer(Request("GET", self._local_path(local_id), attempted))
        except NotFound:
            self._local_revs.pop(local_id, None)
            return None
        document = self._answers.local(body, attempted)
        self._local_revs[local_id] = str(document.get("_rev", ""))
        return {name: value for name, value in document.items() if not name.startswith("_")}

    async def write_local(self, local_id: str, document: Mapping[str, Any]) -> None:
        attempted = f"write the replication log at {self._shown}"
        rev = self._local_revs.get(local_id)
        text = _encode({**document, "_rev": rev} if rev else document)
        request = Request("PUT", self._local_path(local_id), attempted, body=json_body([text]))
        self._local_revs[local_id] = self._answers.done(await self._requests.answer(request), attempted)

    async def changes(self, since: Seq, *, limit: int, selector: Selector | None = None) -> Changes:
        attempted = f"read the changes of {self._shown}"
        query = {"style": "all_docs", "since": since, "limit": str(limit), "seq_interval": str(SEQ_INTERVAL)}
        path = self._path + "/_changes"
        if selector is None:
            request = Request("GET", path, attempted, query=query, silence=self._page_silence)
        else:
            text = _encode({"selector": selector})
            query["filter"] = "_selector"
            body = json_body([text])
            request = Request("POST", path, attempted, query=query, body=body, silence=self._page_silence)
        return self._answers.changes(await self._requests.answer(request), attempted)

    def follow(self, since: Seq, *, selector: Selector | None = None) -> AsyncGenerator[Changes, None]:
        return self._feed.follow(since, selector)

    def listed(self, hcp: HcpId) -> AsyncGenerator[Listing, None]:
        return self._index.listed(hcp)

    async def named(self, prefix: str, *, limit: int) -> Sequence[DocId]:
        """See Noticeboard. Source: docs.couchdb.org, "/{db}/_all_docs"."""
        attempted = f"list documents of {self._shown}"
        first, last = _encode(prefix).decode(), _encode(prefix + "\uffff").decode()
        query = {"startkey": first, "endkey": last, "limit": str(limit)}
        request = Request("GET", self._path + "/_all_docs", attempted, query=query)
        ids, _ = self._answers.listed(await self._requests.answer(request), attempted)
        return [doc_id for doc_id in ids[:limit] if doc_id.startswith(prefix)]

    async def missing(self, revs: Mapping[DocId, Sequence[Rev]]) -> Mapping[DocId, Missing]:
        attempted = f"compare revisions with {self._shown}"
        request = Request("POST", self._path + "/_revs_diff", attempted, body=json_body([_encode(revs)]))
        return self._answers.missing(await self._requests.answer(request), attempted)

    async def fetch(self, revs: Mapping[DocId, Sequence[Rev]]) -> Sequence[Revision | Refusal]:
        return await self._bulk_get([{"id": doc_id, "rev": rev} for doc_id, named in revs.items() for rev in named])

    async def leaves(self, ids: Sequence[DocId]) -> Sequence[Revision | Refusal]:
        return await self._bulk_get([{"id": doc_id} for doc_id in ids])

    async def attachment(self, doc_id: DocId, rev: Rev, name: str) -> AsyncGenerator[bytes, None]:
        path = self._path + path_of(doc_id) + "/" + quote(name, safe="")
        attempted = f"read attachment {name!r} of {doc_id} at {self._shown}"
        async with self._requests.open(Request("GET", path, attempted, query={"rev": rev}, accept="*/*")) as response:
            async for piece in response.content.iter_chunked(PIECE):
                yield piece

    async def write(self, revisions: Sequence[Revision], source: Peer) -> Sequence[Refusal]:
        return await self._writer.write(revisions, source)

    async def commit(self) -> None:
        """Ask for durability. CouchDB 3 writes through and says so; servers without the endpoint need no asking."""
        attempted = f"make the documents at {self._shown} durable"
        request = Request("POST", self._path + "/_ensure_full_commit", attempted, body=json_body([b"{}"]))
        try:
            body = await self._requests.answer(request)
        except NotFound:
            return
        self._answers.done(body, attempted)

    async def _bulk_get(self, wanted: Sequence[Mapping[str, str]]) -> Sequence[Revision | Refusal]:
        attempted = f"read documents of {self._shown}"
        body = json_body([_encode({"docs": wanted})])
        query = {"revs": "true", "att_encoding_info": "true"}
        request = Request("POST", self._path + "/_bulk_get", attempted, query=query, body=body)
        return self._answers.documents(await self._requests.answer(request), attempted)

    def _local_path(self, local_id: str) -> str:
        return f"{self._path}/_local/{quote(local_id, safe='')}"
