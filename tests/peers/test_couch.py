"""A database on a server, as its address names it.

What every peer holds to is stated in icure_sync/testing/conformance, and tried in tests/testing.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from icure_sync.errors import DatabaseMissing, Unauthorized
from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.checkpoint import START
from icure_sync.replication.filters import device_selector
from icure_sync.replication.wire import Revision
from icure_sync.testing import ScriptedServer, json_answer
from tests.replicas import rev, revision
from tests.servers import REAL_SERVERS, fresh_database, fresh_hub

NOWHERE = MemoryPeer()  # a source without any attachment
HCP = HcpId("hcp-a")


@pytest.fixture(params=["hub", *REAL_SERVERS])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """`http://admin:password@host:port` of a hub, and of the real CouchDB."""
    if request.param == "couchdb":
        yield request.getfixturevalue("couchdb_url")
    else:
        async with fresh_hub(tmp_path) as url:
            yield url


async def test_a_database_with_a_slash_in_its_name_is_one(server: str):
    async with fresh_database(server, "test%2Fa%2B%24") as url, CouchPeer(url) as peer:
        source, large = MemoryPeer(), bytes(300_000)
        source.put(revision("a", rev(1, 1), files={"f": large}), {"f": large})
        assert (await peer.info()).name.startswith("test/a+$")
        assert await peer.write(await source.fetch({DocId("a"): [rev(1, 1)]}), source) == []
        assert await peer.write([revision("b", rev(1, 1), body=b'{"type":"HealthcareParty"}')], NOWHERE) == []
        assert len((await peer.changes(START, limit=9, selector=device_selector(HCP))).rows) == 1
        assert len(await peer.fetch({DocId("a"): [rev(1, 1)]})) == len(await peer.leaves([DocId("a")])) == 1
        assert b"".join([piece async for piece in peer.attachment(DocId("a"), rev(1, 1), "f")]) == large
        async with aclosing(peer.follow(START, selector=device_selector(HCP))) as feed:
            assert [row.id for row in (await anext(feed)).rows] == ["b"]
        assert all(page.seq for page in [page async for page in peer.listed(HCP)])
        await peer.write_local("log", {"n": 1})
        assert await peer.read_local("log") == {"n": 1}


async def test_who_is_not_known_is_unauthorized(server: str):
    async with fresh_database(server) as url:
        made_up = f"nobody-{os.urandom(4).hex()}:wrong"  # never a real name: five wrong passwords lock it
        stranger = url.replace(urlsplit(url).netloc.rpartition("@")[0], made_up)
        nobody = url.replace(urlsplit(url).netloc.rpartition("@")[0] + "@", "")
        for address in (stranger, nobody):
            async with CouchPeer(address) as peer:
                with pytest.raises(Unauthorized):
                    await peer.info()
                with pytest.raises(Unauthorized):
                    await anext(peer.follow(START))
                with pytest.raises(Unauthorized):
                    await anext(peer.listed(HCP))


async def test_a_database_that_is_not_there_is_said_to_be_missing(server: str):
    async with CouchPeer(f"{server}/never-made") as absent:
        calls = [
            absent.info,
            lambda: absent.read_local("log-1"),
            lambda: absent.changes(START, limit=1),
            lambda: anext(absent.follow(START)),
            lambda: anext(absent.listed(HCP)),
            lambda: absent.named("a", limit=1),
            lambda: absent.missing({DocId("a"): [rev(1, 1)]}),
            lambda: absent.fetch({DocId("a"): [rev(1, 1)]}),
            lambda: absent.leaves([DocId("a")]),
            lambda: absent.write([revision("a", rev(1, 1))], NOWHERE),
        ]
        for call in calls:
            with pytest.raises(DatabaseMissing):
                await call()


async def test_documents_are_listed_by_how_their_ids_begin(server: str):
    async with fresh_database(server) as url, CouchPeer(url) as couch:
        memory = MemoryPeer()
        for peer in (couch, memory):
            ids = ["pairing", "pairing-", "pairing-12", "pairing-1", "pairing-é", "pairinh", "a"]
            assert await peer.write([revision(one, rev(1, 1)) for one in ids], NOWHERE) == []
            gone = Revision(DocId("pairing-12"), (rev(2, 2), rev(1, 1)), b"{}", deleted=True)
            assert await peer.write([gone], NOWHERE) == []
            assert await peer.named("pairing-", limit=9) == ["pairing-", "pairing-1", "pairing-é"]
            assert await peer.named("pairing-", limit=2) == ["pairing-", "pairing-1"]
            assert await peer.named("no", limit=2) == []


async def test_a_list_by_prefix_is_believed_no_further_than_it_was_asked_for():
    rows = [{"id": one} for one in ("other", "pairing-1", "pairing-2", "pairing-3")]
    async with ScriptedServer() as script, script.peer() as peer:
        script.on("GET /clinic/_all_docs", json_answer({"rows": rows}))
        assert await peer.named("pairing-", limit=3) == ["pairing-1", "pairing-2"]


async def test_a_peer_in_memory_refuses_a_bad_history_and_takes_the_others():
    """A server refuses the batch, which the engine takes apart."""
    peer = MemoryPeer()
    bad = Revision(DocId("bad"), (Rev("3-aa"), Rev("1-aa")), b"{}")
    (refusal,) = await peer.write([bad, revision("good", rev(1, 1))], NOWHERE)
    assert refusal.id == "bad"
    assert [row.id for row in (await peer.changes(START, limit=5)).rows] == ["good"]
