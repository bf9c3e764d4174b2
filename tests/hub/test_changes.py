"""Feeds: who is woken, what a filter lets pass, where a feed goes on."""

import asyncio
import json
from typing import Any, Self

import aiohttp
import pytest

from icure_sync.errors import StoreCorrupt
from icure_sync.hub import change_rows, changes, feeds
from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Revision
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


async def test_a_slow_filter_keeps_others_waiting_for_one_document_at_most(
    browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_rows, "PAGE_SECONDS", -1.0)
    pages, read = [], change_rows.read_page

    def counted(*given: Any) -> change_rows.Page:
        pages.append(read(*given))
        return pages[-1]

    monkeypatch.setattr(changes, "read_page", counted)
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": f"d{n}", "n": n % 2} for n in range(5)]})
    found = (await browse("POST", f"{clinic}/_changes?filter=_selector", {"selector": {"n": 0}})).json
    assert [row["id"] for row in found["results"]] == ["d0", "d2", "d4"]
    assert [page.looked_at for page in pages] == [1] * 5


@pytest.mark.parametrize(
    "condition", [{"$regex": "^a"}, {"$in": ["a", "x" * 5_000]}, {"$or": [{"$eq": "a"}, {"$elemMatch": {"$eq": "a"}}]}]
)
async def test_a_selector_that_may_be_slow_is_never_asked_where_all_would_wait(
    browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch, condition: dict[str, Any]
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(feeds, "_read_arrivals", lambda *given: asked.append(given) or ([], False))
    query = "feed=continuous&since=now&heartbeat=60000&filter=_selector"
    async with Line(browse, clinic, query, {"n": condition}) as feed:
        for doc_id, value in (("1", "b"), ("2", "a"), ("3", "b"), ("4", "a")):
            await browse("PUT", f"{clinic}/{doc_id}", {"n": value})
        assert [(await feed.next())["id"] for _ in range(2)] == ["2", "4"]
    assert not asked


async def test_a_selector_is_as_long_as_a_query_at_most(browse: Browser, clinic: str) -> None:
    body = {"selector": {"n": {"$in": ["x" * 1_000] * 1_100}}, "doc_ids": []}
    assert (await browse("POST", f"{clinic}/_changes?filter=_selector", body)).status == 413
    assert (await browse("POST", f"{clinic}/_changes?filter=_doc_ids", body)).status == 200


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


async def poison(browse: Browser, number: str) -> None:
    """A document that no reader can hold, as an older store or another writer may have kept it."""
    assert browse.hub._databases is not None
    database = await browse.hub._databases.get("clinic")
    revision = Revision(DocId(f"poison-{number}"), (Rev("1-a"),), f'{{"v":{number}}}'.encode())
    await database.run(lambda store: store.documents.apply([revision]))


async def test_a_document_that_cannot_be_read_passes_no_filter_and_stops_no_feed(browse: Browser, clinic: str) -> None:
    for number in ("1e999", "9" * 5_000, "9" * 401):
        await poison(browse, number)
    await write(browse, clinic, "hers", "ann")
    path = f"{clinic}/_changes?filter=_selector"
    for selector in (FOR_ANN, {"$or": [FOR_ANN, {"v": {"$mod": [3, 1]}}]}):
        rows = (await browse("POST", path, {"selector": selector})).json["results"]
        assert [row["id"] for row in rows] == ["hers"]
    fields = {"selector": {"v": {"$exists": True}}, "fields": ["v"]}
    assert (await browse("POST", path + "&include_docs=true", fields)).status == 200


async def test_a_sleeping_feed_sleeps_on_past_a_document_that_cannot_be_read(browse: Browser, clinic: str) -> None:
    async with Line(browse, clinic, "feed=continuous&since=now&heartbeat=60&filter=_selector", FOR_ANN) as feed:
        await feed.beat()
        await poison(browse, "1e999")
        await write(browse, clinic, "hers", "ann")
        async with asyncio.timeout(10):
            assert (await feed.next())["id"] == "hers"


async def test_sleepers_read_for_themselves_when_nobody_can_read_for_them(
    browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise StoreCorrupt("read the new rows", "a page is damaged", "put a backup in its place")

    async with Line(browse, clinic, "feed=continuous&since=now&heartbeat=60&filter=_selector", FOR_ANN) as feed:
        await feed.beat()
        monkeypatch.setattr(feeds, "_read_arrivals", fail)
        await write(browse, clinic, "hers", "ann")
        async with asyncio.timeout(10):
            assert (await feed.next())["id"] == "hers"
    assert "a page is damaged" in caplog.text


@pytest.mark.parametrize("kind", ["normal", "longpoll"])
async def test_the_newest_come_first_page_by_page_whatever_since_says(
    browse: Browser, clinic: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_rows, "PAGE_ROWS", 7)
    ids = [f"d{number:02d}" for number in range(40)]
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": one, "n": one[-1]} for one in ids]})
    for since in ("0", "now", "anything"):
        path = f"{clinic}/_changes?descending=true&feed={kind}&since={since}"
        answer = (await browse("GET", path)).json
        assert [row["id"] for row in answer["results"]] == ids[::-1]
        assert (answer["last_seq"], answer["pending"]) == (answer["results"][-1]["seq"], 0)
        few = (await browse("GET", path + "&limit=9")).json
        assert ([row["id"] for row in few["results"]], few["pending"]) == (ids[:-10:-1], 31)
    found = (await browse("POST", path + "&filter=_selector&limit=2", {"selector": {"n": "3"}})).json
    assert ([row["id"] for row in found["results"]], found["pending"]) == (["d33", "d23"], 23)


async def test_a_limit_below_zero_is_none(browse: Browser, clinic: str) -> None:
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": "a"}, {"_id": "b"}]})
    for limit in ("-1", "-50"):
        assert len((await browse("GET", f"{clinic}/_changes?limit={limit}")).json["results"]) == 2


async def test_a_normal_feed_has_a_tag_that_stays_until_something_changes(browse: Browser, clinic: str) -> None:
    first = await browse("GET", f"{clinic}/_changes")
    tag = {"If-None-Match": first.headers["ETag"]}
    again = await browse("GET", f"{clinic}/_changes", headers=tag)
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert (await browse("HEAD", f"{clinic}/_changes", headers=tag)).status == 304
    await browse("PUT", f"{clinic}/john", {})
    assert (await browse("GET", f"{clinic}/_changes", headers=tag)).status == 200
    waiting = await browse("GET", f"{clinic}/_changes?feed=longpoll", headers=tag)
    assert (waiting.status, "ETag" in waiting.headers) == (200, False)
