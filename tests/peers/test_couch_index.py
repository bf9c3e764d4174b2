"""The index by delegate: read in pages that join, from a pinned seq, and absent without a fuss."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from icure_sync.errors import BadAnswer, DatabaseMissing, Forbidden, IcureSyncError, NotFound, TimedOut, Unauthorized
from icure_sync.ids import HcpId
from icure_sync.peers import couch_index
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.couch_requests import Timeouts
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.trouble import ServerFailed, Undecodable
from icure_sync.replication.wire import Listing
from icure_sync.testing import ScriptedServer, json_answer, raw_answer
from tests.replicas import rev, revision
from tests.servers import REAL_SERVERS, fresh_database
from tests.tidiness import nothing_left

VIEW = "GET /clinic/_design/icure_sync/_view/by_delegate"
HCP = HcpId("hcp-a")


async def listed(peer: CouchPeer) -> list[Listing]:
    return [page async for page in peer.listed(HCP)]


def view(rows: dict[str, list[str]], seq: object = "9-pinned", limits: list[dict[str, str]] | None = None):
    """A view with these ids under these keys, as a CouchDB answers for it."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        query = dict(request.query)
        if limits is not None:
            limits.append(query)
        assert query["startkey"] == query["endkey"]
        found = [doc_id for doc_id in rows.get(query["startkey"], []) if doc_id >= query.get("startkey_docid", "")]
        part = [{"id": doc_id, "key": json.loads(query["startkey"]), "value": None} for doc_id in found]
        said = {"total_rows": 99, "offset": 7, "rows": part[: int(query["limit"])]}
        return web.json_response({**said, "update_seq": seq} if query.get("update_seq") == "true" else said)

    return answer


SMALL = {'["hcp-a"]': ["a", "b", "c", "d", "e"], '["","HealthcareParty"]': ["hcp-a", "hcp-b"], "[null]": ["b", "z"]}


async def test_ones_own_documents_those_for_everyone_and_those_in_conflict_are_listed(server: ScriptedServer):
    asked: list[dict[str, str]] = []
    server.on(VIEW, view(SMALL, limits=asked))
    async with server.peer() as peer:
        pages = await listed(peer)
    assert [page.ids for page in pages] == [("a", "b", "c", "d", "e"), ("hcp-a", "hcp-b"), ("b", "z")]
    assert {page.seq for page in pages} == {"9-pinned"}
    keys = ['["hcp-a"]', '["","HealthcareParty"]', '["","DeviceHead"]', '["","Attestation"]', "[null]"]
    assert [query["startkey"] for query in asked] == keys
    assert [query.get("update_seq") for query in asked] == ["true", None, None, None, None]
    assert not any({"skip", "sorted", "stable"} & query.keys() for query in asked)


@pytest.mark.parametrize("rows", [2, 3, 5, 6])
async def test_pages_join_without_a_gap_or_a_repetition(server: ScriptedServer, rows: int, monkeypatch):
    monkeypatch.setattr(couch_index, "LISTED_ROWS", rows)
    server.on(VIEW, view(SMALL))
    async with server.peer() as peer:
        found = [doc_id for page in await listed(peer) for doc_id in page.ids]
    assert found == ["a", "b", "c", "d", "e", "hcp-a", "hcp-b", "b", "z"]


async def test_an_index_without_a_row_is_one_and_says_where_the_feed_goes_on(server: ScriptedServer):
    server.on(VIEW, view({}, seq=[7, "x"]))
    async with server.peer() as peer:
        (page,) = await listed(peer)
    assert (page.ids, json.loads(page.seq)) == ((), [7, "x"])


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize("reason", ["missing", "missing_named_view", "deleted"])
async def test_where_there_is_no_view_there_is_no_page(server: ScriptedServer, status: int, reason: str):
    server.on(VIEW, json_answer({"error": "not_found", "reason": reason}, status))
    async with server.peer() as peer:
        assert await listed(peer) == []


async def test_an_index_that_pins_no_seq_is_none(server: ScriptedServer):
    """Nobody could say where the feed goes on."""
    server.on(VIEW, view(SMALL, seq=None))
    async with server.peer() as peer:
        assert await listed(peer) == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (json_answer({"error": "not_found", "reason": "Database does not exist."}, 404), DatabaseMissing),
        (json_answer({"error": "unauthorized", "reason": "You are not authorized"}, 401), Unauthorized),
        (json_answer({"error": "forbidden", "reason": "You are not allowed"}, 403), Forbidden),
        (json_answer({"error": "compilation_error", "reason": "Expression does not eval"}, 500), ServerFailed),
        (raw_answer(b"<html>", 404, "text/html"), BadAnswer),
        (raw_answer(b"<html>"), BadAnswer),
        (raw_answer(b'{"rows":[{"id":"a"'), Undecodable),
        (json_answer({"rows": [{"key": None, "value": 3}], "update_seq": "1"}), BadAnswer),
    ],
)
async def test_everything_else_is_an_error(server: ScriptedServer, answer, kind: type[IcureSyncError]):
    server.on(VIEW, answer)
    async with server.peer() as peer:
        with pytest.raises(IcureSyncError) as raised:
            await listed(peer)
    assert type(raised.value) is kind
    assert "read the index of" in str(raised.value) or kind is Unauthorized


async def test_an_index_that_goes_away_between_two_pages_is_an_error(server: ScriptedServer):
    server.on(VIEW, view(SMALL), json_answer({"error": "not_found", "reason": "deleted"}, 404))
    async with server.peer() as peer:
        with pytest.raises(NotFound):
            await listed(peer)


async def test_a_server_that_gives_the_same_page_again_is_not_asked_for_ever(server: ScriptedServer, monkeypatch):
    monkeypatch.setattr(couch_index, "LISTED_ROWS", 2)
    server.on(VIEW, json_answer({"rows": [{"id": "a"}, {"id": "b"}], "update_seq": "1"}))
    async with server.peer() as peer:
        with pytest.raises(BadAnswer, match="the same page again"):
            await listed(peer)


async def test_an_index_may_take_as_long_to_build_as_a_feed_may_be_silent(server: ScriptedServer):
    async def building(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.4)
        return await view(SMALL)(request)

    server.on(VIEW, building)
    async with server.peer(timeouts=Timeouts(silence=0.1, feed=30)) as peer:
        assert await listed(peer)
    async with server.peer(timeouts=Timeouts(silence=30, feed=0.1)) as peer:
        with pytest.raises(TimedOut):
            await listed(peer)


MAP = """function (doc) {
  for (var hcp in doc.delegations || {}) emit([hcp], null);
  if (["HealthcareParty", "DeviceHead", "Attestation"].indexOf(doc.type) >= 0) emit(["", doc.type], null);
  if (doc._conflicts) emit([null], null);
}"""

if REAL_SERVERS:

    @pytest.fixture
    async def indexed(couchdb_url: str) -> AsyncIterator[str]:
        """A database on the real CouchDB, with the view."""
        async with fresh_database(couchdb_url) as url:
            design = {"views": {"by_delegate": {"map": MAP}}, "options": {"partitioned": False}}
            async with (
                aiohttp.ClientSession() as session,
                session.put(url + "/_design/icure_sync", json=design) as answer,
            ):
                assert answer.status == 201, await answer.text()
            yield url

    async def test_a_real_index_is_read_in_pages_while_others_write(indexed: str, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(couch_index, "LISTED_ROWS", 7)
        own, nowhere = b'{"delegations":{"hcp-a":[],"hcp-b":[]}}', MemoryPeer()
        odd = ["a\tb", "é", "日本", '"q"', "a/b", "A", "z"]
        names = [f"doc-{number:02}" for number in range(30)] + odd
        async with CouchPeer(indexed) as peer:
            sent = [revision(name, rev(1, 1), body=own) for name in names]
            sent += [
                revision(f"theirs-{number}", rev(1, 1), body=b'{"delegations":{"hcp-c":[]}}') for number in range(9)
            ]
            sent += [revision("hcp-a", rev(1, 1), body=b'{"type":"HealthcareParty"}')]
            sent += [revision("torn", rev(1, number), body=b'{"delegations":{"hcp-c":[]}}') for number in (1, 2)]
            assert await peer.write(sent, nowhere) == []
            found: list[str] = []
            seqs = set()
            async for page in peer.listed(HCP):
                found += page.ids
                seqs.add(page.seq)
                late = f"doc-{len(found):02}-late"
                assert await peer.write([revision(late, rev(1, 1), body=own)], nowhere) == []
            assert {*names, "hcp-a", "torn"} <= set(found)
            assert not [name for name in found if name.startswith("theirs")]
            assert len(found) == len(set(found))
            (seq,) = seqs
            later = await peer.changes(seq, limit=100)
            assert {row.id for row in later.rows} >= {"doc-07-late"}
            assert not {row.id for row in later.rows} & set(names)

    async def test_leaving_an_index_gives_its_connection_back(indexed: str):
        async with CouchPeer(indexed) as peer:
            await peer.info()
            async with nothing_left():
                pages = peer.listed(HCP)
                assert (await anext(pages)).ids == ()
                await pages.aclose()
