"""Fault 32: hostile document ids, `_design` documents, 10,000 keys, 10,000 levels: bounded, never executed.

What hostile records do to those who read them: tests/engine/test_hostile.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from icure_sync.engine.plan import Plan
from icure_sync.engine.sync import replicate
from icure_sync.ids import HcpId
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.checkpoint import Direction
from icure_sync.replication.filters import device_selector
from icure_sync.store.limits import MAX_ID
from icure_sync.testing import Answer, json_answer
from icure_sync.testing.conformance.asking import contents, rows
from tests.faults.lines import PUSH, Line, documents, give, leaves
from tests.faults.scripts import serving
from tests.replicas import rev, revision, seeded_entropy

HOSTILE_IDS = [
    "../../etc/passwd",
    "..",
    ".",
    "/",
    "//evil.example/x",
    "a/../b",
    "%2e%2e%2f",
    "constructor",
    "'; drop table documents; --",
    '"}],"x":[{"',
    "<script>alert(1)</script>",
    "\u202egnp.exe",
    "a\nSet-Cookie: x=y",
    "a\x00b",
    "\x7f",
    " ",
    "null",
    "1e999",
    "😀" * 50,
    "é",
    "e\u0301",
    "$(touch pwned)",
]
MANY_KEYS = json.dumps({f"key-{number}": number for number in range(10_000)}).encode()
VIEW = b'{"language":"javascript","views":{"x":{"map":"function(doc){throw 1}"}},"validate_doc_update":"syntax error("}'


def nested(levels: int) -> bytes:
    return b'"x":' + b"[" * levels + b"]" * levels


async def test_odd_ids_are_names_and_nothing_else(line: Line, tmp_path: Path):
    before = set(tmp_path.iterdir())
    await give(line.device, [revision(doc_id, rev(1, 1)) for doc_id in HOSTILE_IDS])
    outcome = await line.push()
    assert {each.id for each in outcome.refused} <= {"a\x00b"}, "a server need not keep a NUL"
    there = {doc_id for doc_id, _ in await leaves(line.direct)}
    assert there == set(HOSTILE_IDS) - {each.id for each in outcome.refused}
    await give(line.direct, [revision(doc_id, rev(1, 2)) for doc_id in sorted(there)])
    assert (await line.pull()).refused == ()
    assert set(tmp_path.iterdir()) == before
    assert {row.id: len(row.leaves) for row in await rows(line.device) if row.id in there} == dict.fromkeys(there, 2)


async def test_files_with_odd_names_are_names_too(line: Line):
    origin = MemoryPeer()
    names = ["../../x", "a/b", "a?b#c", "ü \u202e.bin", "%2F", '"', "x" * 200]
    files = {name: name.encode() * 3 for name in names}
    origin.put(revision("a", rev(1, 1), files=files), files)
    await give(line.device, list(await origin.leaves(["a"])), origin)
    assert (await line.push()).refused == ()
    other = MemoryPeer()
    outcome = await replicate(line.peer, other, Plan("x", None, Direction.PULL), clock=line.clock)
    assert outcome.refused == ()
    for name in names:
        assert b"".join([piece async for piece in other.attachment("a", rev(1, 1), name)]) == files[name]


async def test_an_id_longer_than_any_is_recorded_and_holds_up_nothing(line: Line):
    texts = {"x" * (MAX_ID + 1): b'"n":1', "fine": b'"n":2'}
    async with serving(texts) as server, server.peer() as peer:
        outcome = await replicate(peer, line.device, Plan("d", None, Direction.PULL), clock=line.clock)
    assert [(len(each.id), each.rev) for each in outcome.refused] == [(MAX_ID + 1, "1-a")]
    assert await leaves(line.device) == {("fine", "1-a")}


@pytest.mark.parametrize("doc_id", ["_local/log", "__proto__", "", "_design"])
async def test_ids_that_are_no_documents_break_nothing(line: Line, doc_id: str):
    texts = {doc_id: b'"n":1', "fine": b'"n":2'}
    async with serving(texts) as server, server.peer() as peer:
        outcome = await replicate(peer, line.device, Plan("d", None, Direction.PULL), clock=line.clock)
    assert ("fine", "1-a") in await leaves(line.device)
    assert {each.id for each in outcome.refused} | {each for each, _ in await leaves(line.device)} == set(texts)


async def test_a_design_document_is_carried_by_a_daemon_wanted_by_no_device_and_run_by_nobody(line: Line):
    design = revision("_design/evil", rev(1, 1), body=VIEW)
    texts = {"_design/evil": VIEW[1:-1], "fine": b'"n":2'}
    async with serving(texts) as server, server.peer() as peer:
        outcome = await replicate(peer, line.device, Plan("daemon", None, Direction.PULL), clock=line.clock)
    assert outcome.refused == ()
    assert {doc_id for doc_id, _ in await leaves(line.device)} == {"_design/evil", "fine"}
    store_of = MemoryPeer()
    store_of.put(design)
    wanted = Plan("device", "hcp-a", Direction.PULL, device_selector(HcpId("hcp-a")))
    mine = MemoryPeer()
    assert (await replicate(store_of, mine, wanted, clock=line.clock)).documents == 0
    assert [each async for each in line.device.listed(HcpId("hcp-a"))] == []


async def test_ten_thousand_keys_go_both_ways(line: Line):
    await give(line.device, [revision("ours", rev(1, 1), body=MANY_KEYS)])
    await give(line.direct, [revision("theirs", rev(1, 1), body=MANY_KEYS)])
    await line.agree({("ours", rev(1, 1)), ("theirs", rev(1, 1))})
    assert len((await contents(line.device))["theirs", rev(1, 1)][1]) == 10_000


@pytest.mark.parametrize("levels", [65, 1_000, 10_000, 1_000_000])
async def test_a_document_nested_too_deeply_is_recorded_and_the_others_come(line: Line, levels: int):
    texts = {f"fine-{number}": b'"n":1' for number in range(10)} | {"deep": nested(levels)}
    async with serving(texts) as server, server.peer() as peer:
        outcome = await replicate(peer, line.device, Plan("d", None, Direction.PULL), clock=line.clock)
    assert [each.id for each in outcome.refused] == ["deep"]
    assert "deep" in outcome.refused[0].reason or "levels" in outcome.refused[0].reason
    assert {doc_id for doc_id, _ in await leaves(line.device)} == texts.keys() - {"deep"}


@pytest.mark.parametrize("levels", [65, 10_000])
async def test_a_deep_document_of_a_device_stops_no_other(line: Line, levels: int):
    """A hub refuses it; a CouchDB takes it, and gives it to whoever can read it."""
    device = MemoryPeer()
    for each in documents("ours", 10):
        device.put(each)
    device.put(revision("deep", rev(1, 1), body=b"{" + nested(levels) + b"}"))
    outcome = await replicate(device, line.peer, PUSH, clock=line.clock, entropy=seeded_entropy())
    assert {each.id for each in outcome.refused} <= {"deep"}
    there = {row.id for row in (await line.direct.changes("0", limit=100)).rows}
    assert there | {each.id for each in outcome.refused} == {"deep", *(each.id for each in documents("ours", 10))}
    pulled = await line.pull()
    assert len(await leaves(line.device)) == 10
    assert {each.id for each in pulled.refused} == there & {"deep"}


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"results":' + b"[" * 50_000 + b"]" * 50_000 + b',"last_seq":"1"}',
        b'{"results":[{"id":7,"seq":1,"changes":[]}],"last_seq":"1"}',
        b'{"results":[{"id":"a","seq":1,"changes":[{"rev":{}}]}],"last_seq":"1"}',
        b'{"results":[],"last_seq":1e999}',
        b'{"results":[{"id":"\\ud800","seq":1,"changes":[{"rev":"1-a"}]}],"last_seq":"1"}',
    ],
)
async def test_a_feed_that_is_no_feed_ends_the_attempt_with_a_typed_error(line: Line, body: bytes):
    async with serving({}) as server, server.peer() as peer:
        server.on("GET /clinic/_changes", Answer(200, body, {"Content-Type": "application/json"}))
        error = await line.tried(replicate(peer, line.device, Plan("d", None, Direction.PULL), clock=line.clock))
        assert error is not None or await leaves(line.device) == set()
        server.on("GET /clinic/_changes", json_answer({"results": [], "last_seq": "1", "pending": 0}))
        await replicate(peer, line.device, Plan("d", None, Direction.PULL), clock=line.clock)
