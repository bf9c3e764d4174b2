"""The same documents and the same queries, here and on a real CouchDB: the same answers."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
from yarl import URL

from tests.hub.conftest import Browser
from tests.servers import fresh_database

VALUES: list[Any] = [
    None,
    False,
    True,
    -1,
    0,
    1,
    1.5,
    2,
    2**60,
    2**60 + 1,
    "",
    " ",
    "1",
    "10",
    "9",
    "A",
    "AB",
    "Ab",
    "a",
    "a b",
    "a-b",
    "a_b",
    "ab",
    "b",
    "é",
    "e\u0301x",
    "ex",
    "ø",
    "ß",
    "ss",
    "Зоя",
    [],
    [1],
    [1, 2],
    ["a"],
    [{"k": 1}, {"k": 2}],
    [["a"]],
    {},
    {"k": 1},
    {"k": 1, "l": 2},
    {"l": 2, "k": 1},
]
DOCUMENTS = [
    *({"_id": f"v{n:02}", "v": value} for n, value in enumerate(VALUES)),
    {"_id": "Aa", "w": 1},
    {"_id": "aA", "w": {"k": {"m": [1, 2]}}},
    {"_id": "dotted", "w.k": 1, "v": 1, "w": 2},
]
ARGUMENTS: list[Any] = [None, True, 1, 1.5, 2**60, "", "a", "ab", "é", [], [1], ["a"], {}, {"k": 1}]
PATTERNS = [
    *("^a", "b$", "[0-9]", "(?i)^A", "a.b", "^$", "(A|B)+", ".*a.*b*", "^[[:alpha:]]+$", "(?i:aB)", "a(?:b| b)?$"),
    *(
        "[^a-z]",
        "\\d{2}",
        "\\W",
        "^\\w+$",
        "\\bb",
        "a\\Sb",
        "a{1,2}b",
        "a{,2}",
        "(?s)^a.?$",
        "[]a]",
        "\\x61",
        "(?m)^b$",
    ),
]
CONDITIONS: list[dict[str, Any]] = [
    *({name: value} for name in ("$eq", "$ne", "$lt", "$lte", "$gt", "$gte") for value in ARGUMENTS),
    *(
        {name: value}
        for name in ("$in", "$nin", "$all")
        for value in ([], [1], ["a", None], [["a"]], [1.0], [{"k": 1}])
    ),
    *({"$type": name} for name in ("null", "boolean", "number", "string", "array", "object", "thing")),
    *({"$size": size} for size in (0, 1, 2)),
    *({"$mod": pair} for pair in ([2, 0], [2, 1], [-2, -1])),
    *({"$beginsWith": text} for text in ("", "a", "A", "é")),
    *({"$regex": pattern} for pattern in PATTERNS),
    {"$exists": True},
    {"$exists": False},
    {"$elemMatch": {"$gt": 1}},
    {"$elemMatch": {"k": {"$gte": 2}}},
    {"$elemMatch": {"$not": {"$eq": 1}}},
    {"$elemMatch": {}},
    {"$allMatch": {"$gt": 0}},
    {"$allMatch": {"k": {"$exists": True}}},
    {"$keyMapMatch": {"$eq": "k"}},
    {"$gt": 0, "$lt": 2},
    {"$gte": "a", "$lt": "b", "$ne": "ab"},
    {"$or": [{"$lt": 1}, {"$eq": "a"}]},
    {"$nor": [{"$lt": 1}, {"$gt": "a"}]},
    {"k": 1},
    {"k": {"$exists": False}},
]
SELECTORS: list[Any] = [
    {},
    *({"v": condition} for condition in CONDITIONS),
    *({"v": {"$not": condition}} for condition in CONDITIONS),
    {"w.k.m.1": 2},
    {"w.k.m.2": {"$exists": False}},
    {"w.k.x.y": {"$exists": False}},
    {"w\\.k": 1},
    {"v.k": {"$gt": 0}},
    {"v.0": {"$gte": 1}},
    {"$and": [{"v": {"$gt": 1}}, {"v": {"$lt": "b"}}]},
    {"$or": [{"v": 1}, {"w": 1}]},
    {"$nor": [{"v": {"$gt": 1}}, {"w": 2}]},
    {"$not": {"v": 1, "w": 2}},
    {"v": 1, "$or": []},
    {"$and": []},
    *({"_id": {name: value}} for name in ("$gt", "$lt", "$eq") for value in ("Aa", "a", "v05", 5, None, [], {})),
    {"_id": {"$gt": "A", "$lt": "b"}},
    {"_id": {"$beginsWith": "v0"}},
    {"_id": {"$in": ["aA", "v01"]}},
    {"_rev": {"$gt": "1"}},
    {"$text": "x"},
]
REFUSED: list[dict[str, Any]] = [
    {},
    {"selector": [1, 2.5, "a", None, True, {"a": 1}]},
    {"selector": {"a": {"$in": {"k": "v"}}}},
    {"selector": {"a": {"$nope": 1}}},
    {"selector": {"$geoWithin": 1}},
    {"selector": {"a": {"$regex": 1}}},
    {"selector": {"a": {"$regex": "("}}},
    {"selector": {"a": {"$text": "x"}}},
    {"selector": {"$not": {}}},
    {"selector": {}, "sort": [{"a": "asc", "b": "asc"}]},
    {"selector": {}, "sort": [1e22]},
    {"selector": {}, "fields": [None]},
    {"selector": {}, "use_index": "a/b/c/d"},
    {"selector": {}, "nokey": 1},
    {"selector": {}, "allow_fallback": False},
    {"selector": {"a": 1}, "sort": ["a"]},
]
EXPLAINED: list[Any] = [
    {},
    {"_id": {"$gte": "a", "$lt": "b"}, "c": {"d": {"$not": {"$elemMatch": {"e": 1}}}}},
    {"$nor": [{"a": {"$or": [{"$lt": 1}, {"$in": [5]}]}}, {"b": {"$beginsWith": "x"}}]},
]


class RealDatabase:
    """Requests to a database of a real CouchDB."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = URL(url)

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self._session.request(method, self._url / path, json=body) as answer:
            return answer.status, await answer.json()


async def test_a_real_couchdb_finds_the_same_documents(browse: Browser, clinic: str, couchdb_url: str) -> None:
    """With an index, and without one."""
    await browse("PUT", "/indexed")
    await browse("POST", "/indexed/_index", {"index": {"fields": ["v"]}, "ddoc": "v", "name": "v"})
    for path in (clinic, "/indexed"):
        await browse("POST", f"{path}/_bulk_docs", {"docs": DOCUMENTS})
    different = []
    async with fresh_database(couchdb_url) as url, aiohttp.ClientSession() as session:
        real = RealDatabase(session, url)
        await real("POST", "_bulk_docs", {"docs": DOCUMENTS})
        for selector in SELECTORS:
            body = {"selector": selector, "fields": ["_id"], "limit": 1_000}
            _, answer = await real("POST", "_find", body)
            expected = sorted(doc["_id"] for doc in answer["docs"])
            for path in (clinic, "/indexed"):
                found = sorted(doc["_id"] for doc in (await browse("POST", f"{path}/_find", body)).json["docs"])
                if found != expected:
                    different.append((path, selector, expected, found))
    assert not different, json.dumps(different)


async def test_a_real_couchdb_orders_the_same_way(browse: Browser, clinic: str, couchdb_url: str) -> None:
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": DOCUMENTS})
    await browse("POST", f"{clinic}/_index", {"index": {"fields": ["v"]}, "ddoc": "v", "name": "v"})
    query = {"selector": {"v": {"$exists": True}}, "sort": ["v"], "fields": ["_id"], "limit": 1_000}
    found = [doc["_id"] for doc in (await browse("POST", f"{clinic}/_find", query)).json["docs"]]
    async with fresh_database(couchdb_url) as url, aiohttp.ClientSession() as session:
        real = RealDatabase(session, url)
        await real("POST", "_bulk_docs", {"docs": DOCUMENTS})
        view = {"map": "function (doc) { if (doc.v !== undefined) { emit(doc.v, null); } }"}
        await real("PUT", "_design/order", {"views": {"by_value": view}})
        _, rows = await real("GET", "_design/order/_view/by_value")
    assert found == [row["id"] for row in rows["rows"]]


async def test_a_real_couchdb_refuses_the_same_in_the_same_words(
    browse: Browser, clinic: str, couchdb_url: str
) -> None:
    async with fresh_database(couchdb_url) as url, aiohttp.ClientSession() as session:
        real = RealDatabase(session, url)
        for body in REFUSED:
            status, answer = await real("POST", "_find", body)
            ours = await browse("POST", f"{clinic}/_find", body)
            assert (ours.status, ours.json) == (status, answer), body


async def test_a_real_couchdb_explains_the_same(browse: Browser, clinic: str, couchdb_url: str) -> None:
    async with fresh_database(couchdb_url) as url, aiohttp.ClientSession() as session:
        real = RealDatabase(session, url)
        for selector in EXPLAINED:
            _, expected = await real("POST", "_explain", {"selector": selector})
            found = (await browse("POST", f"{clinic}/_explain", {"selector": selector})).json
            assert {**found, "dbname": ""} == {**expected, "dbname": ""}
