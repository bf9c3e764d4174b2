"""Feeds that sleep: those whom a row concerns are found, whatever their filters; none misses a row."""

import asyncio
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.hub import Hub, feeds
from icure_sync.hub.changes import parse_filter
from icure_sync.hub.feed import Arrival, Feed
from icure_sync.hub.filters import Filter, passing_leaves
from icure_sync.hub.queries import Query
from icure_sync.hub.sleepers import Sleepers
from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.merge.revtree import Leaf
from icure_sync.replication.filters import device_selector
from icure_sync.replication.wire import Revision
from icure_sync.store import DocumentChange, Store
from tests.hub.conftest import Browser
from tests.hub.test_changes import Line

delegates = st.sampled_from(["ann", "bob", "0"])
documents = st.fixed_dictionaries(
    {},
    optional={
        "delegations": st.dictionaries(delegates, st.just([])) | st.lists(st.integers(), max_size=1) | st.just("text"),
        "type": st.sampled_from(["Patient", "HealthcareParty"]),
        "_deleted": st.just(True),
    },
)
selectors = (
    delegates.map(lambda name: device_selector(HcpId(name)))
    | delegates.map(lambda name: {"$or": [{f"delegations.{name}": {"$exists": True}}, {"type": "Patient"}]})
    | delegates.map(lambda name: {"$or": [{f"delegations.{name}": {"$exists": False}}, {"type": "Patient"}]})
    | delegates.map(lambda name: {"$or": [{f"delegations.{name}": {"$exists": True}}]})
    | st.just({"type": "Patient"})
)


def filter_of(selector: dict[str, Any], *, all_leaves: bool) -> Filter:
    async def no_design(_: DocId) -> None:
        return None

    parsing = parse_filter(no_design, Query({"filter": "_selector"}), {"selector": selector}, all_leaves=all_leaves)
    wanted, _ = asyncio.run(parsing)
    assert wanted is not None
    return wanted


@given(st.lists(st.tuples(selectors, st.booleans()), max_size=6), st.lists(documents, min_size=1, max_size=3))
def test_a_row_concerns_exactly_those_whose_filter_it_passes(
    filters: list[tuple[dict[str, Any], bool]], leaves: list[dict[str, Any]]
) -> None:
    sleepers = Sleepers()
    waiting = [Feed(0, filter_of(selector, all_leaves=all_leaves)) for selector, all_leaves in filters]
    for feed in waiting:
        sleepers.add(feed)
    tips = tuple(Leaf(Rev(f"1-{number}"), deleted=False) for number in range(len(leaves)))
    change = DocumentChange(1, DocId("a"), tips)
    by_leaf = dict(zip(tips, leaves, strict=True))
    passed = {feed for feed in waiting if feed.filter and passing_leaves(feed.filter, change, by_leaf.get)}
    assert sleepers.concerned(Arrival(change, tuple(leaves))) == passed
    assert set(sleepers) == set(waiting)
    for feed in waiting:
        sleepers.remove(feed)
    assert not sleepers
    assert not set(sleepers)


@pytest.mark.parametrize("heartbeat", [60_000, 50])
@pytest.mark.parametrize("shown", ["", "&include_docs=true"])
async def test_no_feed_misses_a_row_and_none_gets_a_strangers(
    browse: Browser, clinic: str, heartbeat: int, shown: str
) -> None:
    """Also those that time out again and again in the middle of it, and those that read what they show."""
    names = [f"hcp-{number}" for number in range(12)]
    query = f"feed=continuous&since=0&heartbeat={heartbeat}&filter=_selector&style=all_docs{shown}"
    seen: dict[str, list[str]] = {name: [] for name in names}

    async def listen(name: str, count: int) -> None:
        async with Line(browse, clinic, query, device_selector(HcpId(name))) as feed:
            while len(seen[name]) < count:
                seen[name].append((await feed.next())["id"])

    listeners = [asyncio.create_task(listen(name, 20)) for name in names]

    async def write(name: str) -> None:
        for number in range(20):
            await browse("PUT", f"{clinic}/{name}:{number}", {"delegations": {name: []}})

    async with asyncio.timeout(60):
        await asyncio.gather(*(write(name) for name in names), *listeners)
    assert seen == {name: [f"{name}:{number}" for number in range(20)] for name in names}


@pytest.mark.parametrize("limit", [{"PAGE_BYTES": 300}, {"ARRIVALS": 2}])
async def test_a_document_with_too_many_leaves_to_be_read_ahead_is_missed_by_nobody(
    browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch, limit: dict[str, int]
) -> None:
    """Between rows that are handed over: these come too, each once, and strangers get nothing."""
    for name, value in limit.items():
        monkeypatch.setattr(feeds, name, value)
    query = "feed=continuous&since=0&heartbeat=60000&filter=_selector&style=all_docs"
    docs: list[dict[str, Any]] = []
    for number in range(12):
        docs += [
            {"_id": f"wide{number}", "_rev": f"1-{leaf}", "delegations": {name: []}, "v": "x" * 200}
            for leaf, name in enumerate(["cy", "cy", "cy", "ann"])
        ]
        docs.append({"_id": f"plain{number}", "_rev": "1-a", "delegations": {"ann": []}})
    docs.append({"_id": "last", "_rev": "1-a", "delegations": {"ann": [], "bob": []}})
    seen: dict[str, list[str]] = {"ann": [], "bob": []}

    async def listen(name: str) -> None:
        async with Line(browse, clinic, query, device_selector(HcpId(name))) as feed:
            while "last" not in seen[name]:
                row = await feed.next()
                assert len(row["changes"]) == 1
                seen[name].append(row["id"])

    listeners = [asyncio.create_task(listen(name)) for name in seen]
    async with asyncio.timeout(60):
        for at in range(0, len(docs), 10):  # never a part of a document
            await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": docs[at : at + 10]})
        await asyncio.gather(*listeners)
    assert seen["bob"] == ["last"]
    assert seen["ann"] == list(dict.fromkeys(doc["_id"] for doc in docs))


async def test_the_leaves_of_one_document_are_not_read_ahead_without_bound(hub: Hub, clinic: str) -> None:
    database = await hub.database(clinic.removeprefix("/"))
    body = b'{"v":"' + b"x" * 2**20 + b'"}'
    for number in range(40):
        await database.run(_apply, Revision(DocId("wide"), (Rev(f"1-{number:032x}"),), body))
    await database.run(_apply, Revision(DocId("plain"), (Rev("1-a"),), body + b" " * 2**20))
    tracemalloc.start()
    try:
        (wide,), more = await database.run(feeds._read_arrivals, 0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (wide.change.id, len(wide.change.leaves), wide.documents, more) == ("wide", 40, None, True)
    assert peak < 8 * 2**20
    (plain,), more = await database.run(feeds._read_arrivals, wide.change.seq)
    assert (plain.change.id, more) == ("plain", False)
    assert plain.documents is not None  # a single large leaf is read once for all


def _apply(store: Store, revision: Revision) -> None:
    assert store.documents.apply([revision]) == []


def test_a_row_that_was_not_read_concerns_all_but_those_who_ask_for_other_ids() -> None:
    sleepers = Sleepers()
    asks = [Filter(ids={"a"}.__contains__), Filter(ids={"b"}.__contains__), filter_of({"x": 1}, all_leaves=True)]
    asks.append(filter_of(device_selector(HcpId("ann")), all_leaves=True))
    waiting = [Feed(0, wanted) for wanted in asks]
    for feed in waiting:
        sleepers.add(feed)
    change = DocumentChange(1, DocId("a"), (Leaf(Rev("1-a"), deleted=False),))
    assert sleepers.concerned(Arrival(change, None)) == {waiting[0], *waiting[2:]}
