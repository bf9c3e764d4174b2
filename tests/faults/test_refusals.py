"""Faults 21, 22, 23: documents and batches that are refused, checkpoints that conflict, servers that are busy or fail.

21 the server refuses some documents, one by one or the whole batch because of one: 400, 412, 413, 500; 22 409 on a
checkpoint (other servers), a checkpoint overwritten by someone else (CouchDB); 23 412 missing stub; 413; 429; 500; 503
in the middle of a batch. More of 21 and 22, without HTTP: tests/engine/test_sync_faults.py. The rows of the error
policy: 400, 412, 413 and 5xx; per-document errors; 409; 429 and 503; fewer or other documents than asked for.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp
import pytest

from icure_sync.engine.sync import replicate
from icure_sync.errors import BadAnswer, Throttled
from icure_sync.ids import DocId
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.checkpoint import START
from icure_sync.replication.wire import Revision
from icure_sync.testing import Fault, json_answer, refusal, to, within
from icure_sync.testing.conformance.asking import content, got
from tests.faults.lines import PULL, PUSH, Line, document, documents, give, leaves
from tests.replicas import rev, revision, seeded_entropy
from tests.servers import REAL_SERVERS

BATCH = to("POST", "/_bulk_docs")
LARGE = bytes(range(256)) * 1_100  # an attachment too large to go inline: its document goes alone
VALIDATION = """function(doc) { if (doc.poison) throw({forbidden: "no poison here"}); }"""


async def test_documents_that_a_server_never_takes_are_listed_and_the_rest_goes_through(line: Line):
    """A hub refuses a number nobody can hold by itself, a CouchDB with its batch; both a batch with `_bad` in it."""
    device = MemoryPeer()
    for each in documents("ours", 60):
        device.put(each)
    device.put(revision("_bad", rev(1, 1)))
    device.put(revision("boundless", rev(1, 1), body=b'{"x":1e999}'))
    first = await replicate(device, line.peer, PUSH, clock=line.clock, entropy=seeded_entropy(1))
    assert {each.id for each in first.refused} == {"_bad", "boundless"}
    assert all(each.error and each.reason for each in first.refused)
    assert await leaves(line.direct) == {(each.id, each.rev) for each in documents("ours", 60)}
    again = await replicate(device, line.peer, PUSH, clock=line.clock, entropy=seeded_entropy(2))
    assert (again.refused, again.documents) == (first.refused, 0)
    device.put(revision("boundless", rev(2, 1), rev(1, 1), body=b'{"x":1}'))
    mended = await replicate(device, line.peer, PUSH, clock=line.clock, entropy=seeded_entropy(3))
    last = await replicate(device, line.peer, PUSH, clock=line.clock, entropy=seeded_entropy(4))
    assert mended.documents == 1
    assert {each.id for each in last.refused} == {"_bad"}


@pytest.mark.parametrize("status", [400, 412, 413, 500])
async def test_a_document_that_is_refused_alone_is_recorded_and_sent_again(line: Line, status: int):
    origin = MemoryPeer()
    for name in ("poison", "sound"):
        origin.put(document(name, 1, files={"scan": LARGE}), {"scan": LARGE})
    both = [await got(origin, name, rev(1, 1)) for name in ("poison", "sound")]
    await give(line.device, [*documents("ours", 20), *both], origin)
    held = await leaves(line.device)
    line.proxy.inject(Fault(answer=refusal(status, "refused", "not this one")), within("PUT", "/poison"))
    outcome = await line.push()
    assert {(each.id, each.rev) for each in outcome.refused} == {("poison", rev(1, 1))}
    assert all("not this one" in each.reason for each in outcome.refused)
    assert await leaves(line.direct) == held - {("poison", rev(1, 1))}
    await line.agree(held)


@pytest.mark.parametrize("status", [400, 412, 413, 500])
async def test_a_batch_that_is_refused_as_a_whole_is_taken_apart(line: Line, status: int):
    """As often as it takes a server to find the one that it does not want: here it wants them all in the end."""
    await give(line.device, documents("ours", 8))
    held = await leaves(line.device)
    rule = line.proxy.inject(Fault(answer=refusal(status)), BATCH, times=6)
    outcome = await line.push()
    assert rule.applied == 6
    assert len(await leaves(line.direct)) + len(outcome.refused) == 8
    await line.agree(held)


async def test_a_refused_document_is_served_again_only_as_long_as_it_is_offered(line: Line):
    await give(line.device, documents("ours", 2))
    line.proxy.inject(Fault(answer=refusal(413)), BATCH)
    assert len((await line.push()).refused) == 2
    later = [Revision(each.id, (rev(2, 9), each.rev), b'{"n":2}') for each in documents("ours", 2)]
    await give(line.device, later)
    line.proxy.heal()
    await line.push()
    assert (await line.push()).refused == ()
    await line.agree({(each.id, each.rev) for each in later})


async def test_a_conflict_on_a_checkpoint_is_decided_again(line: Line):
    await give(line.direct, documents("theirs", 4))
    held = await leaves(line.direct)
    rule = line.proxy.inject(
        Fault(answer=refusal(409, "conflict", "Document update conflict.")), within("PUT", "/_local/"), times=1
    )
    assert (await line.pull()).refused == ()
    assert rule.applied == 1
    assert (await line.pull()).since != START
    await line.agree(held)


async def test_a_checkpoint_that_always_conflicts_ends_with_an_explanation(line: Line):
    await give(line.direct, documents("theirs", 4))
    line.proxy.inject(Fault(answer=refusal(409, "conflict", "Document update conflict.")), within("PUT", "/_local/"))
    error = await line.failed(line.pull())
    assert isinstance(error, BadAnswer)
    assert "log" in error.wrong
    await line.agree(await leaves(line.direct))


@pytest.mark.parametrize("log", [{}, {"history": []}, {"history": "nonsense"}, {"name": 7, "history": [{"a": 1}]}])
async def test_a_checkpoint_that_someone_else_overwrote_means_starting_earlier(line: Line, log: dict):
    await give(line.direct, documents("theirs", 4))
    await line.pull()
    await give(line.direct, documents("later", 4))
    held = await leaves(line.direct)
    await line.direct.write_local(PULL.log_id, log)
    outcome = await line.pull()
    assert (outcome.since, outcome.documents) == (START, 4)
    await line.agree(held)


async def test_a_checkpoint_overwritten_with_one_that_is_too_far_loses_nothing(line: Line):
    """The other side's log claims what never was: ours does not have that session, so it counts for nothing."""
    await give(line.direct, documents("theirs", 4))
    await line.pull()
    log = await line.direct.read_local(PULL.log_id)
    assert log is not None
    await give(line.direct, documents("later", 4))
    held = await leaves(line.direct)
    far = (await line.direct.info()).update_seq
    forged = [{**log["history"][0], "recorded_seq": far}, {"session_id": "0" * 32, "recorded_seq": far, "end_time": 9}]
    await line.direct.write_local(PULL.log_id, {**log, "history": forged})
    assert (await line.pull()).documents == 4
    await line.agree(held)


async def test_a_stub_whose_bytes_the_server_has_not_is_sent_with_them(line: Line):
    """412 missing stub: the revision that brought the file never went to this server."""
    for name, size in (("small", 1_000), ("large", len(LARGE))):
        origin, data = MemoryPeer(), LARGE[:size]
        origin.put(document(name, 1, files={"scan": data}), {"scan": data})
        first = await got(origin, name, rev(1, 1))
        second = Revision(DocId(name), (rev(2, 1), rev(1, 1)), b'{"n":2}', False, first.attachments)
        await give(line.device, [first], origin)
        await give(line.device, [second], origin)
    outcome = await line.push()
    assert outcome.refused == ()
    assert await content(line.direct, "small", rev(2, 1), "scan") == LARGE[:1_000]
    assert await content(line.direct, "large", rev(2, 1), "scan") == LARGE
    await line.agree()


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_given_the_pause_that_it_asks_for(line: Line, status: int):
    await give(line.device, documents("ours", 60))
    held = await leaves(line.device)
    rule = line.proxy.inject(Fault(answer=refusal(status, Retry_After="20")), BATCH, first=2, times=2)
    assert (await line.push()).refused == ()
    assert rule.applied == 2
    assert sum(wait >= 20 for wait in line.waits) == 2
    assert await leaves(line.direct) == held
    await line.agree(held)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_is_busy_for_long_ends_the_attempt_and_says_for_how_long(line: Line, status: int):
    await give(line.device, documents("ours", 60))
    held = await leaves(line.device)
    line.proxy.inject(Fault(answer=refusal(status, Retry_After="3600")), BATCH, first=2)
    error = await line.failed(line.push())
    assert isinstance(error, Throttled)
    assert error.retry_after == 3600
    assert line.waits == []
    await line.agree(held)


async def test_a_server_that_stays_busy_blames_no_document(line: Line):
    await give(line.device, documents("ours", 20))
    line.proxy.inject(Fault(answer=refusal(503)), BATCH)
    assert isinstance(await line.failed(line.push()), Throttled)
    await line.agree(await leaves(line.device))


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_a_server_that_fails_now_and_then_is_asked_again(line: Line, status: int):
    await give(line.device, documents("ours", 60))
    held = await leaves(line.device)
    for picks in (BATCH, to("POST", "/_revs_diff"), within("PUT", "/_local/"), to("POST", "/_ensure_full_commit")):
        line.proxy.inject(Fault(answer=refusal(status)), picks, times=2)
    assert (await line.push()).refused == ()
    assert await leaves(line.direct) == held
    await line.agree(held)


async def test_a_server_that_fails_altogether_blames_no_document(line: Line):
    await give(line.device, documents("ours", 20))
    line.proxy.inject(Fault(answer=refusal(500)), first=6)
    await line.failed(line.push())
    assert not await line.device.read_local(PUSH.own_log_id) or (await leaves(line.direct)) == await leaves(line.device)
    await line.agree(await leaves(line.device))


async def test_documents_that_did_not_come_are_asked_for_alone_then_recorded(line: Line):
    await give(line.direct, documents("theirs", 10))
    held = await leaves(line.direct)
    line.proxy.inject(Fault(answer=json_answer({"results": []})), to("POST", "/_bulk_get"))
    outcome = await line.pull()
    assert len(outcome.refused) == 10
    assert len([each for each in line.proxy.exchanges if each.path.endswith("/_bulk_get")]) > 10
    line.proxy.heal()
    assert (await line.pull()).documents == 10
    await line.agree(held)


async def test_other_documents_than_asked_for_are_not_written(line: Line):
    await give(line.direct, documents("theirs", 3))
    stranger = {"_id": "slipped-in", "_rev": "1-a", "_revisions": {"start": 1, "ids": ["a"]}}
    answer = json_answer({"results": [{"id": "slipped-in", "docs": [{"ok": stranger}]}]})
    line.proxy.inject(Fault(answer=answer), to("POST", "/_bulk_get"), times=1)
    assert (await line.pull()).refused == ()
    assert await leaves(line.device) == await leaves(line.direct)
    await line.agree()


async def test_another_databases_identity_under_the_address_ends_the_attempt(line: Line):
    await give(line.direct, documents("theirs", 3))
    other = json_answer({"db_name": "another", "update_seq": "5-x", "instance_start_time": "1"})
    line.proxy.inject(Fault(answer=other), lambda method, path: method == "GET" and path == urlsplit(line.url).path)
    error = await line.failed(line.pull())
    assert isinstance(error, BadAnswer)
    assert await leaves(line.device) == set()
    await line.agree()


if REAL_SERVERS:

    @pytest.mark.parametrize("server", ["couchdb"], indirect=True)
    async def test_documents_that_a_validation_function_forbids_are_listed_until_it_is_gone(line: Line):
        """201, with an error for each of those: a CouchDB alone has validation functions."""
        design = line.url.replace(urlsplit(line.url).netloc.rpartition("@")[0] + "@", "") + "/_design/guard"
        login = aiohttp.encode_basic_auth(urlsplit(line.url).username or "", urlsplit(line.url).password or "")
        async with aiohttp.ClientSession(headers={"Authorization": login}) as session:
            async with session.put(design, json={"validate_doc_update": VALIDATION}) as answer:
                made = (await answer.json())["rev"]
            await give(line.device, documents("ours", 20))
            await give(line.device, [revision(f"poison-{n}", rev(1, n), body=b'{"poison":1}') for n in range(3)])
            outcome = await line.push()
            assert {(each.id, each.error) for each in outcome.refused} == {
                (f"poison-{n}", "forbidden") for n in range(3)
            }
            assert (outcome.documents, outcome.seq != START) == (20, True)
            async with session.delete(design, params={"rev": made}) as answer:
                assert answer.status == 200
        await line.agree()
