"""Faults 13, 14, 15, 16, 17: connections reset, cut, sliced, silent, and answers that are something else.

13 a connection reset in the middle of a POST; 14 an answer cut at any byte; 15 answers in 1-byte pieces; 16 silence;
17 200 with HTML, an empty body, bad gzip. The rows of the error policy: connection refused, reset, timeout, truncated
or undecodable body; 200 with HTML, wrong JSON.
"""

from __future__ import annotations

import asyncio

import pytest

from icure_sync.errors import BadAnswer, TimedOut, Unreachable
from icure_sync.ids import DocId
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.checkpoint import START
from icure_sync.replication.trouble import Trouble, trouble_of
from icure_sync.testing import (
    BAD_GZIP,
    CAPTIVE_PORTAL,
    EMPTY,
    OTHER_JSON,
    RESET_AFTER,
    RESET_BEFORE,
    SILENCE,
    Ending,
    Fault,
    to,
    within,
)
from icure_sync.testing.conformance.asking import got
from icure_sync.testing.faults import Picks
from tests.faults.lines import Leaves, Line, document, documents, give, leaves
from tests.replicas import rev
from tests.tidiness import until

FILE = bytes(range(256)) * 1_100  # bytes of an attachment too large to go inline
PULLING: dict[str, Picks] = {
    "login": to("POST", "/_session"),
    "feed": to("GET", "/_changes"),
    "documents": to("POST", "/_bulk_get"),
    "attachment": to("GET", "/scan"),
    "log": within("GET", "/_local/"),
    "checkpoint": within("PUT", "/_local/"),
}
PUSHING: dict[str, Picks] = {
    "login": to("POST", "/_session"),
    "comparison": to("POST", "/_revs_diff"),
    "documents": to("POST", "/_bulk_docs"),
    "attachment": within("PUT", "/ours-file"),
    "durability": to("POST", "/_ensure_full_commit"),
    "log": within("GET", "/_local/"),
    "checkpoint": within("PUT", "/_local/"),
}
WAYS = {"pull": PULLING, "push": PUSHING}

TRANSPORT = {
    "reset before": RESET_BEFORE,
    "reset after": RESET_AFTER,
    "reset in the middle of the request": Fault(cut_request=150, ending=Ending.RESET),
    "answer cut in its head": Fault(cut_answer=20),
    "answer reset in its body": Fault(cut_answer=260, ending=Ending.RESET),
}
ELSE = {
    "captive portal": CAPTIVE_PORTAL,
    "empty": EMPTY,
    "other JSON": OTHER_JSON,
    "bad gzip": BAD_GZIP,
}


async def furnish(line: Line, turn: str) -> Leaves:
    """Something new on each side, an attachment too; all that there is."""
    origin = MemoryPeer()
    names = {"ours": DocId(f"ours-file-{turn}"), "theirs": DocId(f"theirs-file-{turn}")}
    for name in names.values():
        origin.put(document(name, 7, files={"scan": FILE}), {"scan": FILE})
    for side, peer in (("ours", line.device), ("theirs", line.direct)):
        await give(peer, [*documents(f"{side}-{turn}", 3), await got(origin, names[side], rev(1, 7))], origin)
    return await leaves(line.device) | await leaves(line.direct)


@pytest.mark.parametrize("fault", TRANSPORT)
@pytest.mark.parametrize("way", WAYS)
async def test_a_line_that_breaks_once_costs_a_repetition_and_nothing_else(line: Line, way: str, fault: str):
    for name, picks in WAYS[way].items():
        held = await furnish(line, name)
        rule = line.proxy.inject(TRANSPORT[fault], picks, times=1)
        error = await line.tried(line.run(way))
        assert rule.applied == 1, name
        if error is not None:
            assert name in ("login", "log"), "only the first contact is not repeated within the attempt"
            assert trouble_of(error) is Trouble.TRANSPORT
    await line.agree(held)


@pytest.mark.parametrize("after", [None, 30])
@pytest.mark.parametrize("way", WAYS)
async def test_silence_costs_its_time_and_a_repetition(line: Line, way: str, after: int | None):
    """From the beginning, or in the middle of an answer. Who has little patience may be too hasty elsewhere, too."""
    silence = SILENCE if after is None else Fault(cut_answer=after, ending=Ending.SILENCE)
    for name in ("feed", "comparison", "documents", "attachment", "checkpoint"):
        if name in WAYS[way]:
            held = await furnish(line, name)
            rule = line.proxy.inject(silence, WAYS[way][name], times=1)
            while not rule.applied:
                error = await line.tried(line.run(way, line.hasty))
                assert error is None or isinstance(error, TimedOut)
    await line.agree(held)


@pytest.mark.parametrize("wrong", ELSE)
@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_that_is_something_else_changes_nothing(line: Line, way: str, wrong: str):
    target = line.device if way == "pull" else line.direct
    for name, picks in WAYS[way].items():
        held = await furnish(line, name)
        before = await leaves(target)
        rule = line.proxy.inject(Fault(answer=ELSE[wrong]), picks)
        error = await line.tried(line.run(way))
        line.proxy.heal()
        assert rule.applied >= 1, name
        if name == "attachment":  # the documents without one arrive
            assert not [doc_id for doc_id, _ in await leaves(target) - before if "file" in doc_id]
        elif name in ("login", "feed", "comparison"):
            assert await leaves(target) == before
        if error is not None:
            assert isinstance(error, BadAnswer), name
        else:  # a log may be missing, and what is read of a document is put down to that document
            assert name == "log" or wrong == "bad gzip" or way == "pull", name
    await line.agree(held)


@pytest.mark.parametrize("after", [0, 1, 2, 9, 60, 150, 200, 250, 300, 400, 700, 1_100, 1_600])
async def test_an_answer_cut_at_any_byte_gives_nothing_of_its_batch(line: Line, after: int):
    await give(line.direct, documents("theirs", 9))
    held = await leaves(line.direct)
    rows = (await line.direct.changes(START, limit=9)).rows
    line.proxy.inject(Fault(cut_answer=after), to("POST", "/_bulk_get"), times=1)
    error = await line.failed(line.peer.fetch({row.id: row.leaves for row in rows}))
    assert trouble_of(error) is Trouble.TRANSPORT
    assert await leaves(line.device) == set()
    for picks in (to("GET", "/_changes"), to("POST", "/_bulk_get"), within("PUT", "/_local/")):
        line.proxy.inject(Fault(cut_answer=after), picks, times=1)
    assert await line.tried(line.pull()) is None
    await line.agree(held)


async def test_a_post_that_is_reset_again_and_again_is_done_once(line: Line):
    """Its outcome is unknown each time; repeating it makes no second document and no conflict."""
    await give(line.device, documents("ours", 9))
    held = await leaves(line.device)
    rule = line.proxy.inject(RESET_AFTER, to("POST", "/_bulk_docs"), times=4)
    outcome = await line.push()
    assert (rule.applied, outcome.refused) == (4, ())
    assert await leaves(line.direct) == held
    await line.agree(held)


async def test_answers_in_pieces_of_one_byte_are_the_same_answers(line: Line):
    held = await furnish_lightly(line)
    line.proxy.inject(Fault(piece=1))
    await line.sync()
    assert await leaves(line.device) == await leaves(line.direct) == held
    await line.agree(held)


async def test_a_server_that_says_nothing_any_more_ends_the_attempt_in_time(line: Line):
    held = await furnish_lightly(line)
    line.proxy.inject(SILENCE)
    error = await line.failed(line.pull(line.hasty))
    assert isinstance(error, TimedOut)
    await line.agree(held)


@pytest.mark.parametrize("fault", [SILENCE, Fault(cut_answer=40, ending=Ending.SILENCE), Fault(latency=60.0)])
@pytest.mark.parametrize("picks", [to("GET", "/_changes"), to("POST", "/_bulk_get", "/_bulk_docs")])
async def test_silence_can_be_cancelled_and_leaves_no_socket(line: Line, fault: Fault, picks: Picks):
    held = await furnish_lightly(line)
    rule = line.proxy.inject(fault, picks)
    async with CouchPeer(line.proxy.url) as patient:  # with the timeouts that everybody has
        for run in (line.pull, line.push):
            waiting = asyncio.ensure_future(run(patient))
            if run == line.pull or picks("POST", "/_bulk_docs"):
                applied = rule.applied
                await until(lambda before=applied: rule.applied > before)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert waiting.cancelled() or waiting.done()
    await until(lambda: not line.proxy.connections)
    await line.agree(held)


async def test_without_a_network_the_attempt_ends_and_goes_on_when_it_is_back(line: Line):
    held = await furnish_lightly(line)
    await line.proxy.offline()
    assert isinstance(await line.failed(line.pull()), Unreachable)
    await line.agree(held)


async def test_a_network_that_goes_in_the_middle_ends_the_attempt_after_a_bounded_number_of_tries(line: Line):
    await give(line.device, documents("ours", 200))
    held = await leaves(line.device)
    line.proxy.inject(RESET_BEFORE, first=12)
    assert isinstance(await line.failed(line.push()), Unreachable)
    assert len(line.proxy.exchanges) < 60
    await line.agree(held)


async def furnish_lightly(line: Line) -> Leaves:
    """A few small documents on each side; all of them."""
    await give(line.device, documents("ours", 4))
    await give(line.direct, documents("theirs", 4))
    return await leaves(line.device) | await leaves(line.direct)
