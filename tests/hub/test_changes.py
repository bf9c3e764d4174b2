"""Feeds: who is woken, what a filter lets pass, where a feed goes on."""

import asyncio
import json
from typing import Any, Self

import aiohttp
import pytest

from tests.hub.conftest import ADMIN, Browser

FOR_ANN = {"delegations.ann": {"$exists": True}}


class Line:
    """A feed that stays open, line by line."""

    def __init__(self, browse: Browser, clinic: str, query: str, selector: dict[str, Any] | None = None) -> None:
        headers = {"Authorization": aiohttp.encode_basic_auth(*ADMIN), "Content-Type": "application/json"}
        url = f"{browse.hub.url}{clinic}/_changes?{query}"
        body = {} if selector is None else {"selector": selector}
        self._request = browse.session.post(url, json=body, headers=headers)

    async def __aenter__(self) -> Self:
        self._answer = await self._request.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._answer.close()

    async def next(self) -> Any:
        """The next line that is not blank, as JSON."""
        while True:
            line = await self._answer.content.readline()
            if line.strip():
                return json.loads(line)

    async def beat(self) -> None:
        """The next blank line."""
        assert await self._answer.content.readline() == b"\n"

    async def rest(self) -> Any:
        return json.loads(await self._answer.read())


async def write(browse: Browser, clinic: str, doc_id: str, *delegates: str, **more: Any) -> str:
    body = {"delegations": {name: [] for name in delegates}, **more}
    return (await browse("PUT", f"{clinic}/{doc_id}", body)).json["rev"]


async def test_a_longpoll_wakes_with_the_write(browse: Browser, clinic: str) -> None:
    async with Line(browse, clinic, "feed=longpoll&since=now&heartbeat=60000") as feed:
        await write(browse, clinic, "a")
        async with asyncio.timeout(10):
            assert [row["id"] for row in (await feed.rest())["results"]] == ["a"]


async def test_hundreds_of_feeds_wait_and_all_are_woken(browse: Browser, clinic: str) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        many = Browser(session, browse.hub)
        waiting = [
            asyncio.create_task(many("GET", f"{clinic}/_changes?feed=longpoll&since=0&heartbeat=60000"))
            for _ in range(200)
        ]
        await asyncio.wait(waiting, timeout=1.5)
        await write(browse, clinic, "a")
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*waiting)
        assert all(answer.json["results"][0]["id"] == "a" for answer in answers)


async def test_a_filtered_feed_sleeps_through_what_does_not_concern_it(browse: Browser, clinic: str) -> None:
    query = "feed=continuous&since=now&heartbeat=60000&filter=_selector&style=all_docs"
    async with Line(browse, clinic, query, FOR_ANN) as feed:
        for number in range(20):
            await write(browse, clinic, f"other{number}", "bob")
        rev = await write(browse, clinic, "hers", "ann")
        async with asyncio.timeout(10):
            row = await feed.next()
        assert (row["id"], row["changes"]) == ("hers", [{"rev": rev}])


async def test_a_quiet_filtered_feed_ends_beyond_what_it_passed_over(browse: Browser, clinic: str) -> None:
    query = "feed=longpoll&since=now&timeout=500&filter=_selector"
    async with Line(browse, clinic, query, FOR_ANN) as feed:
        await write(browse, clinic, "other", "bob")
        answer = await feed.rest()
    assert answer["results"] == []
    assert answer["last_seq"] == (await browse("GET", clinic)).json["update_seq"]


async def test_heartbeats_keep_a_quiet_feed_alive(browse: Browser, clinic: str) -> None:
    async with Line(browse, clinic, "feed=continuous&since=now&heartbeat=60&timeout=100") as feed:
        for _ in range(4):
            await feed.beat()
        await write(browse, clinic, "a")
        assert (await feed.next())["id"] == "a"


async def test_a_feed_ends_when_its_database_is_deleted(browse: Browser, clinic: str) -> None:
    async with Line(browse, clinic, "feed=continuous&since=now&heartbeat=60000") as feed:
        await browse("DELETE", clinic)
        async with asyncio.timeout(10):
            assert "last_seq" in await feed.next()


async def test_every_leaf_is_filtered_by_its_own_body(browse: Browser, clinic: str) -> None:
    leaves = [
        {"_id": "a", "_rev": "1-a", "delegations": {"ann": []}},
        {"_id": "a", "_rev": "1-b", "delegations": {"bob": []}},
        {"_id": "b", "_rev": "1-b", "delegations": {"bob": []}},
        {"_id": "c", "_rev": "1-a", "_deleted": True, "delegations": {"ann": []}},
    ]
    await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": leaves})
    path, body = f"{clinic}/_changes?filter=_selector", {"selector": FOR_ANN}
    rows = (await browse("POST", path + "&style=all_docs", body)).json["results"]
    assert [(row["id"], row["changes"]) for row in rows] == [("a", [{"rev": "1-a"}]), ("c", [{"rev": "1-a"}])]
    winners = (await browse("POST", path, body)).json["results"]
    assert [row["id"] for row in winners] == ["c"]


async def test_paging_through_a_filtered_feed_meets_every_row_once(browse: Browser, clinic: str) -> None:
    docs = [{"_id": f"d{number:04d}", "n": number} for number in range(700)]
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": docs})
    body, since, met = {"selector": {"n": {"$mod": [7, 0]}}}, "0", []
    while True:
        path = f"{clinic}/_changes?filter=_selector&limit=9&since={since}"
        page = (await browse("POST", path, body)).json
        met += [row["id"] for row in page["results"]]
        since = page["last_seq"]
        if not page["results"]:
            break
    assert met == [f"d{number:04d}" for number in range(0, 700, 7)]


async def test_pending_counts_what_a_limit_left(browse: Browser, clinic: str) -> None:
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": f"d{number}"} for number in range(10)]})
    assert (await browse("GET", f"{clinic}/_changes?limit=4")).json["pending"] == 6
    assert (await browse("GET", f"{clinic}/_changes?limit=10")).json["pending"] == 0


async def test_a_client_that_leaves_does_not_disturb_the_others(browse: Browser, clinic: str) -> None:
    query = "feed=continuous&since=now&heartbeat=60"
    async with Line(browse, clinic, query) as left:
        await left.beat()
    async with Line(browse, clinic, query) as feed:
        for number in range(5):
            await write(browse, clinic, f"d{number}")
        assert [(await feed.next())["id"] for _ in range(5)] == [f"d{number}" for number in range(5)]


@pytest.mark.parametrize("kind", ["normal", "longpoll"])
async def test_a_large_feed_is_one_json_object(browse: Browser, clinic: str, kind: str) -> None:
    docs = [{"_id": f"d{number:04d}", "v": "x" * 500} for number in range(1_000)]
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": docs})
    feed = (await browse("GET", f"{clinic}/_changes?feed={kind}&include_docs=true")).json
    assert [row["doc"]["_id"] for row in feed["results"]] == [doc["_id"] for doc in docs]
    assert feed["last_seq"] == feed["results"][-1]["seq"]
