"""The port: what a replication counts on, for every kind of peer."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from icure_sync.engine.local_peer import LocalPeer
from icure_sync.errors import DatabaseMissing, NotFound, Unauthorized
from icure_sync.hub import Hub
from icure_sync.ids import DocId, HcpId, Rev, Seq
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer
from icure_sync.replication.checkpoint import START
from icure_sync.replication.filters import device_selector
from icure_sync.replication.wire import Attachment, Missing, Refusal, Revision
from icure_sync.store import Store
from tests.replicas import rev, revision
from tests.servers import REAL_SERVERS, fresh_database

LOCAL = ["memory", "store"]
SERVERS = ["hub", *REAL_SERVERS]
ADMIN = ("admin", "hub-pw-1")


@pytest.fixture(params=LOCAL + SERVERS)
async def peer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Peer]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield MemoryPeer()
        elif request.param == "store":
            store = Store.open(tmp_path / "store.db", bytes(32))
            stack.callback(store.close)
            yield LocalPeer(store)
        else:
            server = (
                request.getfixturevalue("couchdb_url") if request.param == "couchdb" else await hub(stack, tmp_path)
            )
            url = await stack.enter_async_context(fresh_database(server))
            yield await stack.enter_async_context(CouchPeer(url))


async def hub(stack: AsyncExitStack, folder: Path) -> str:
    running = await stack.enter_async_context(Hub(folder / "hub", admin=ADMIN))
    return running.url.replace("//", "//{}:{}@".format(*ADMIN))


NOWHERE = MemoryPeer()  # a source without any attachment


async def give(peer: Peer, *revisions: Revision) -> None:
    assert await peer.write(revisions, NOWHERE) == []


async def test_what_was_written_is_announced_missing_nowhere_and_fetched_with_its_history(peer: Peer):
    body = b'{"type":"Patient","z":[1,2.5,{"x":null}],"e\xc3\xa9":"\xf0\x9f\x98\x80"}'
    await give(peer, revision("a", rev(3, 1), rev(2, 1), rev(1, 1), body=body))
    page = await peer.changes(START, limit=10)
    assert [(row.id, row.leaves, row.deleted) for row in page.rows] == [("a", (rev(3, 1),), False)]
    assert await peer.missing({DocId("a"): [rev(3, 1), rev(2, 1)]}) == {}
    (found,) = await peer.fetch({DocId("a"): [rev(3, 1)]})
    assert isinstance(found, Revision)
    assert found.history == (rev(3, 1), rev(2, 1), rev(1, 1))
    assert json.loads(found.body) == json.loads(body)
    assert not found.deleted
    assert (await peer.info()).doc_count == 1


async def test_writing_the_same_again_changes_nothing(peer: Peer):
    await give(peer, revision("a", rev(2, 1), rev(1, 1)))
    before = await peer.changes(START, limit=10)
    await give(peer, revision("a", rev(2, 1), rev(1, 1)))
    after = await peer.changes(before.last_seq, limit=10)
    assert after.rows == ()


async def test_all_leaves_are_announced_the_winner_first(peer: Peer):
    await give(
        peer,
        revision("a", rev(2, 1), rev(1, 1)),
        revision("a", rev(2, 3), rev(1, 1)),
        revision("a", rev(3, 2), rev(2, 2), rev(1, 1), deleted=True),
    )
    (row,) = (await peer.changes(START, limit=10)).rows
    assert row.leaves[0] == rev(2, 3)
    assert set(row.leaves) == {rev(2, 1), rev(2, 3), rev(3, 2)}
    assert not row.deleted


async def test_a_tombstone_keeps_its_body(peer: Peer):
    await give(peer, revision("a", rev(2, 1), rev(1, 1), body=b'{"erased":{"by":"x"}}', deleted=True))
    (row,) = (await peer.changes(START, limit=10)).rows
    assert row.deleted
    (found,) = await peer.fetch({DocId("a"): [rev(2, 1)]})
    assert isinstance(found, Revision)
    assert found.deleted
    assert json.loads(found.body) == {"erased": {"by": "x"}}


async def test_what_is_missing_names_the_leaves_that_it_may_descend_from(peer: Peer):
    await give(peer, revision("a", rev(2, 1), rev(1, 1)))
    missing = await peer.missing({DocId("a"): [rev(3, 1), rev(2, 1)], DocId("b"): [rev(1, 9)]})
    assert missing == {DocId("a"): Missing((rev(3, 1),), (rev(2, 1),)), DocId("b"): Missing((rev(1, 9),))}


async def test_what_is_not_there_is_a_refusal(peer: Peer):
    await give(peer, revision("a", rev(1, 1)))
    found = await peer.fetch({DocId("a"): [rev(1, 1), rev(7, 7)], DocId("never"): [rev(1, 1)]})
    kinds = {(each.id, each.rev): type(each) for each in found}
    assert kinds == {("a", rev(1, 1)): Revision, ("a", rev(7, 7)): Refusal, ("never", rev(1, 1)): Refusal}
    assert {each.error for each in found if isinstance(each, Refusal)} == {"not_found"}


async def test_a_feed_is_read_in_pages_that_join_without_a_gap(peer: Peer):
    await give(peer, *(revision(f"doc-{number}", rev(1, number)) for number in range(10)))
    await give(peer, revision("doc-3", rev(2, 1), rev(1, 3)))
    seen: list[str] = []
    since = START
    while (page := await peer.changes(since, limit=4)).rows:
        assert len(page.rows) <= 4
        seen += [row.id for row in page.rows]
        since = page.last_seq
    assert page.pending in (0, None)
    assert sorted(seen) == [f"doc-{number}" for number in range(10)]
    await give(peer, revision("late", rev(1, 1)))
    assert [row.id for row in (await peer.changes(since, limit=4)).rows] == ["late"]


async def test_a_filtered_feed_judges_each_leaf_by_its_own_body(peer: Peer):
    own, others = b'{"type":"Patient","delegations":{"hcp-a":[]}}', b'{"type":"Patient","delegations":{"hcp-b":[]}}'
    await give(
        peer,
        revision("mine", rev(1, 1), body=own),
        revision("theirs", rev(1, 1), body=others),
        revision("hcp-b", rev(1, 1), body=b'{"type":"HealthcareParty"}'),
        revision("gone", rev(1, 1), body=b"{}", deleted=True),
        revision("put-out", rev(2, 2), rev(1, 1), body=others),
        revision("put-out", rev(2, 1), rev(1, 1), body=own, deleted=True),
    )
    page = await peer.changes(START, limit=50, selector=device_selector("hcp-a"))
    assert {row.id: row.leaves for row in page.rows} == {
        "mine": (rev(1, 1),),
        "hcp-b": (rev(1, 1),),
        "gone": (rev(1, 1),),
        "put-out": (rev(2, 1),),
    }
    assert (await peer.changes(page.last_seq, limit=50, selector=device_selector("hcp-a"))).rows == ()


@pytest.mark.parametrize("doc_id", ["a/b", "é ?#%+&", '"quoted"', "x" * 200, "日本", "a\tb"])
async def test_odd_ids_come_through(peer: Peer, doc_id: str):
    await give(peer, revision(doc_id, rev(1, 1)))
    assert [row.id for row in (await peer.changes(START, limit=5)).rows] == [doc_id]
    (found,) = await peer.fetch({DocId(doc_id): [rev(1, 1)]})
    assert isinstance(found, Revision)


async def test_a_local_document_is_kept_and_overwritten_and_is_no_change(peer: Peer):
    before = (await peer.info()).update_seq
    assert await peer.read_local("log-1") is None
    await peer.write_local("log-1", {"history": [1, {"a": None}]})
    await peer.write_local("log-1", {"history": [2]})
    assert await peer.read_local("log-1") == {"history": [2]}
    assert (await peer.changes(START, limit=5)).rows == ()
    assert (await peer.info()).update_seq.partition("-")[0] == before.partition("-")[0]


@pytest.mark.parametrize("peer", LOCAL, indirect=True)  # a server refuses the batch, which the engine takes apart
async def test_a_bad_history_is_refused_and_the_others_are_taken(peer: Peer):
    bad = Revision(DocId("bad"), (Rev("3-aa"), Rev("1-aa")), b"{}")
    (refusal,) = await peer.write([bad, revision("good", rev(1, 1))], NOWHERE)
    assert refusal.id == "bad"
    assert [row.id for row in (await peer.changes(START, limit=5)).rows] == ["good"]


SIZES = {"empty": 0, "small": 1_000, "large": 300_000, "huge": 3_000_000}


@pytest.mark.parametrize("name", SIZES)
async def test_attachment_bytes_come_from_the_source_and_go_out_again(peer: Peer, name: str):
    data = os.urandom(SIZES[name])
    source = MemoryPeer()
    source.put(revision("a", rev(1, 1), files={"dir/ü.bin": data}), {"dir/ü.bin": data})
    (original,) = await source.fetch({DocId("a"): [rev(1, 1)]})
    assert isinstance(original, Revision)
    assert await peer.write([original], source) == []
    (found,) = await peer.fetch({DocId("a"): [rev(1, 1)]})
    assert isinstance(found, Revision)
    stub = found.attachments["dir/ü.bin"]
    assert (stub.length, stub.revpos, stub.content_type) == (len(data), 1, "application/octet-stream")
    pieces = [piece async for piece in peer.attachment(DocId("a"), rev(1, 1), "dir/ü.bin")]
    assert b"".join(pieces) == data


@pytest.mark.parametrize("size", [1_000, 400_000])
async def test_an_attachment_that_a_server_compresses_comes_back_as_it_was(peer: Peer, size: int):
    """Its digest is then not that of the bytes."""
    data = b"text " * (size // 5)
    source = MemoryPeer()
    stub = Attachment("note.txt", "text/plain", size, "md5-AAAAAAAAAAAAAAAAAAAAAA==", 1)
    original = Revision(DocId("a"), (rev(1, 1),), b"{}", False, {"note.txt": stub})
    source.put(original, {"note.txt": data})
    assert await peer.write([original], source) == []
    (found,) = await peer.fetch({DocId("a"): [rev(1, 1)]})
    assert isinstance(found, Revision)
    assert found.attachments["note.txt"].length == size
    assert b"".join([piece async for piece in peer.attachment(DocId("a"), rev(1, 1), "note.txt")]) == data
    onward = MemoryPeer()
    assert await onward.write([found], peer) == []


async def test_a_later_revision_needs_no_bytes_again(peer: Peer):
    data = os.urandom(300_000)
    source = MemoryPeer()
    source.put(revision("a", rev(1, 1), files={"f": data}), {"f": data})
    (first,) = await source.fetch({DocId("a"): [rev(1, 1)]})
    assert isinstance(first, Revision)
    assert await peer.write([first], source) == []
    (stored,) = await peer.fetch({DocId("a"): [rev(1, 1)]})
    assert isinstance(stored, Revision)
    second = Revision(DocId("a"), (rev(2, 1), rev(1, 1)), b'{"n":2}', False, stored.attachments)
    assert await peer.write([second], NOWHERE) == []
    pieces = [piece async for piece in peer.attachment(DocId("a"), rev(2, 1), "f")]
    assert b"".join(pieces) == data


async def test_a_revision_whose_bytes_the_source_does_not_have_is_refused_and_the_others_are_taken(peer: Peer):
    lacking = [revision(f"lacking-{size}", rev(1, 1), files={"f": bytes(size)}) for size in (10, 300_000)]
    refusals = await peer.write([*lacking, revision("good", rev(1, 1))], NOWHERE)
    assert {(each.id, each.error) for each in refusals} == {
        ("lacking-10", "bad_attachment"),
        ("lacking-300000", "bad_attachment"),
    }
    assert [row.id for row in (await peer.changes(START, limit=5)).rows] == ["good"]


@pytest.mark.parametrize(("announced", "given"), [(10, 9), (10, 11), (300_000, 299_999), (300_000, 300_001)])
async def test_an_attachment_of_another_length_is_refused(peer: Peer, announced: int, given: int):
    source = MemoryPeer()
    source.put(revision("a", rev(1, 1), files={"f": bytes(announced)}), {"f": bytes(given)})
    (refusal,) = await peer.write([revision("a", rev(1, 1), files={"f": bytes(announced)})], source)
    assert (refusal.id, refusal.rev, refusal.error) == ("a", rev(1, 1), "bad_attachment")
    assert (await peer.changes(START, limit=5)).rows == ()


async def test_an_attachment_that_is_not_there_is_not_found(peer: Peer):
    await give(peer, revision("a", rev(1, 1)))
    with pytest.raises(NotFound):
        _ = [piece async for piece in peer.attachment(DocId("a"), rev(1, 1), "f")]


async def test_after_closing_the_next_call_works(peer: Peer):
    await peer.close()
    await peer.commit()
    assert (await peer.info()).update_seq


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_database_with_a_slash_in_its_name_is_one(kind, request, tmp_path):
    async with AsyncExitStack() as stack:
        server = request.getfixturevalue("couchdb_url") if kind == "couchdb" else await hub(stack, tmp_path)
        url = await stack.enter_async_context(fresh_database(server, "test%2Fa%2B%24"))
        peer = await stack.enter_async_context(CouchPeer(url))
        source, large = MemoryPeer(), bytes(300_000)
        source.put(revision("a", rev(1, 1), files={"f": large}), {"f": large})
        assert (await peer.info()).name.startswith("test/a+$")
        assert await peer.write(await source.fetch({DocId("a"): [rev(1, 1)]}), source) == []
        await give(peer, revision("b", rev(1, 1), body=b'{"type":"HealthcareParty"}'))
        assert len((await peer.changes(START, limit=9, selector=device_selector(HcpId("hcp-a")))).rows) == 1
        assert len(await peer.fetch({DocId("a"): [rev(1, 1)]})) == 1
        assert b"".join([piece async for piece in peer.attachment(DocId("a"), rev(1, 1), "f")]) == large
        await peer.write_local("log", {"n": 1})
        assert await peer.read_local("log") == {"n": 1}


@pytest.mark.parametrize("kind", SERVERS)
async def test_who_is_not_known_is_unauthorized(kind, request, tmp_path):
    async with AsyncExitStack() as stack:
        server = request.getfixturevalue("couchdb_url") if kind == "couchdb" else await hub(stack, tmp_path)
        url = await stack.enter_async_context(fresh_database(server))
        made_up = f"nobody-{os.urandom(4).hex()}:wrong"  # never a real name: five wrong passwords lock it
        stranger = url.replace(urlsplit(url).netloc.rpartition("@")[0], made_up)
        nobody = url.replace(urlsplit(url).netloc.rpartition("@")[0] + "@", "")
        for address in (stranger, nobody):
            with pytest.raises(Unauthorized):
                await (await stack.enter_async_context(CouchPeer(address))).info()


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_database_that_is_not_there_is_said_to_be_missing(kind, request, tmp_path):
    async with AsyncExitStack() as stack:
        server = request.getfixturevalue("couchdb_url") if kind == "couchdb" else await hub(stack, tmp_path)
        absent = await stack.enter_async_context(CouchPeer(f"{server}/never-made"))
        calls = [
            absent.info,
            lambda: absent.read_local("log-1"),
            lambda: absent.changes(Seq("0"), limit=1),
            lambda: absent.missing({DocId("a"): [rev(1, 1)]}),
            lambda: absent.fetch({DocId("a"): [rev(1, 1)]}),
            lambda: absent.write([revision("a", rev(1, 1))], NOWHERE),
        ]
        for call in calls:
            with pytest.raises(DatabaseMissing):
                await call()
