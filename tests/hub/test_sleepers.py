"""Feeds that sleep: those whom a row concerns are found, whatever their filters; none misses a row."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icure_sync.hub.changes import parse_filter
from icure_sync.hub.feed import Arrival, Feed
from icure_sync.hub.filters import Filter, passing_leaves
from icure_sync.hub.queries import Query
from icure_sync.hub.sleepers import Sleepers
from icure_sync.ids import DocId, HcpId, Rev
from icure_sync.merge.revtree import Leaf
from icure_sync.replication.filters import device_selector
from icure_sync.store import DocumentChange
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
    feeds = [Feed(0, filter_of(selector, all_leaves=all_leaves)) for selector, all_leaves in filters]
    for feed in feeds:
        sleepers.add(feed)
    tips = tuple(Leaf(Rev(f"1-{number}"), deleted=False) for number in range(len(leaves)))
    change = DocumentChange(1, DocId("a"), tips)
    by_leaf = dict(zip(tips, leaves, strict=True))
    passed = {feed for feed in feeds if feed.filter and passing_leaves(feed.filter, change, by_leaf.get)}
    assert sleepers.concerned(Arrival(change, tuple(leaves))) == passed
    assert set(sleepers) == set(feeds)
    for feed in feeds:
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
