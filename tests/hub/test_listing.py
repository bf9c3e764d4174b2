"""Listings by id: every option of `_all_docs`, `_design_docs` and `_local_docs`, and the refusals of wrong ones."""

import json as json_text
import uuid
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest

from icure_sync.hub import listing, local_listing
from icure_sync.hub.limits import MAX_QUERIES
from tests.hub.conftest import Browser

TEXTS = {"startkey_docid", "endkey_docid", "update", "stale", "stable", "limit_text"}


def query(**options: Any) -> str:
    parts = (
        f"{name}={quote(one if isinstance(one, str) and name in TEXTS else json_text.dumps(one))}"
        for name, one in options.items()
    )
    return "?" + "&".join(parts)


async def fill(send: Any, database: str) -> None:
    """Documents a to e without c, which is deleted, a design document, and local ones."""
    for letter in "abcde":
        await send("PUT", f"{database}/{letter}", {"v": letter})
        await send("PUT", f"{database}/_local/{letter}", {"v": letter})
    await send("PUT", f"{database}/_local/B", {"v": "B"})
    rev = (await send("GET", f"{database}/c", None))["_rev"]
    await send("DELETE", f"{database}/c?rev={rev}", None)
    await send("PUT", f"{database}/_design/x", {})


@pytest.fixture
async def filled(browse: Browser, clinic: str) -> str:
    async def send(method: str, path: str, body: Any) -> Any:
        return (await browse(method, path, body)).json

    await fill(send, clinic)
    return clinic


async def ids(browse: Browser, path: str, **options: Any) -> list[str]:
    answer = (await browse("GET", path + query(**options))).json
    return [row.get("id", row["key"] if isinstance(row["key"], str) else "") for row in answer["rows"]]


async def test_local_documents_are_listed_by_every_option(browse: Browser, filled: str):
    path = f"{filled}/_local_docs"
    every = [f"_local/{letter}" for letter in "Babcde"]
    answer = (await browse("GET", path)).json
    assert [row["id"] for row in answer["rows"]] == every
    assert (answer["total_rows"], answer["offset"]) == (None, None)
    assert answer["rows"][0] == {"id": "_local/B", "key": "_local/B", "value": {"rev": "0-1"}}
    assert await ids(browse, path, limit=2, skip=1) == every[1:3]
    assert await ids(browse, path, descending=True, limit=2) == every[:-3:-1]
    assert await ids(browse, path, startkey="_local/b", endkey="_local/d", inclusive_end=False) == every[2:4]
    assert await ids(browse, path, key="_local/c") == ["_local/c"]
    assert await ids(browse, path, key="c") == []
    assert await ids(browse, path, keys=["_local/d", "_local/zz", "c", 5, "_local/a"]) == [
        "_local/d",
        "_local/zz",
        "_local/a",
    ]
    rows = (await browse("POST", path, {"keys": ["_local/a", "_local/zz"], "include_docs": True})).json["rows"]
    assert [row.get("doc", row.get("error")) for row in rows] == [
        {"_id": "_local/a", "_rev": "0-1", "v": "a"},
        "not_found",
    ]
    assert (await browse("GET", path + query(update_seq=True, limit=0))).json["update_seq"] is None
    queries = {"queries": [{"limit": 1}, {"key": "_local/e"}]}
    results = (await browse("POST", f"{path}/queries", queries)).json["results"]
    assert [[row["id"] for row in one["rows"]] for one in results] == [["_local/B"], ["_local/e"]]


async def test_listings_of_any_page_size_join(browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch):
    for module in (listing, local_listing):
        monkeypatch.setattr(module, "PAGE_BYTES", 3_000)
        monkeypatch.setattr(module, "PAGE_ROWS", 7)
    docs = [{"_id": f"{number:03d}", "v": "x" * 1_000} for number in range(40)]
    locals_ = [{**doc, "_id": f"_local/{doc['_id']}"} for doc in docs]
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": docs + locals_})
    listed = (await browse("GET", f"{clinic}/_local_docs?include_docs=true")).json
    assert [row["doc"] for row in listed["rows"]] == [{**doc, "_rev": "0-1"} for doc in locals_]
    names = [doc["_id"] for doc in docs]
    for options in ({}, {"include_docs": True}, {"limit": 25, "skip": 9}, {"endkey": "020", "inclusive_end": False}):
        for descending in (False, True):
            turned = {"startkey" if descending and name == "endkey" else name: one for name, one in options.items()}
            found = await ids(browse, f"{clinic}/_all_docs", descending=descending, **turned)
            wanted = names[::-1] if descending else names
            wanted = [one for one in wanted if one <= "020"] if "endkey" in options else wanted
            wanted = wanted[:-1] if "endkey" in options and not descending else wanted
            assert found == wanted[options.get("skip", 0) :][: options.get("limit", 40)], (options, descending)
    assert await ids(browse, f"{clinic}/_all_docs", keys=names[::-1]) == names[::-1]


REFUSED: list[tuple[str, str, str]] = [
    ("limit=x", "query_parse_error", 'Invalid value for integer: "x"'),
    ("limit=-1", "query_parse_error", 'Invalid value for positive integer: "-1"'),
    ("skip=-1", "query_parse_error", 'Invalid value for positive integer: "-1"'),
    ("descending=maybe", "query_parse_error", 'Invalid boolean parameter: "maybe"'),
    ("include_docs=1", "query_parse_error", 'Invalid boolean parameter: "1"'),
    ("sorted=no", "query_parse_error", 'Invalid boolean parameter: "no"'),
    ("reduce=true", "query_parse_error", "Reduce is invalid for map-only views."),
    ("group=true", "query_parse_error", "Invalid use of grouping on a map view."),
    ("group_level=1", "query_parse_error", "Invalid use of grouping on a map view."),
    ("stale=foo", "query_parse_error", "Invalid value for `stale`."),
    ("stable=foo", "query_parse_error", "Invalid value for `stable`."),
    ("update=foo", "query_parse_error", "Invalid value for `update`."),
    ("key=x", "bad_request", "invalid UTF-8 JSON"),
    ("keys={}", "bad_request", "`keys` parameter must be an array."),
    (
        "keys=[%22a%22,%22b%22]&key=%22a%22",
        "query_parse_error",
        "`keys` is incompatible with `key`, `start_key` and `end_key`",
    ),
]


@pytest.mark.parametrize("path", ["_all_docs", "_design_docs", "_local_docs"])
async def test_wrong_options_are_refused_in_the_words_of_couchdb(browse: Browser, clinic: str, path: str):
    for given, error, reason in REFUSED:
        answer = await browse("GET", f"{clinic}/{path}?{given}")
        assert (answer.status, answer.json) == (400, {"error": error, "reason": reason})
    for body, reason in (
        ([], "Request body must be a JSON object"),
        ({"keys": "x"}, "`keys` body member must be an array."),
    ):
        assert (await browse("POST", f"{clinic}/{path}", body)).json["reason"] == reason
    for body, reason in (
        ({}, "POST body must include `queries` parameter."),
        ({"queries": {}}, "`queries` member must be an array."),
    ):
        assert (await browse("POST", f"{clinic}/{path}/queries", body)).json["reason"] == reason
    assert (await browse("POST", f"{clinic}/{path}", data=b"", headers={"Content-Type": "text/plain"})).status == 415
    assert (await browse("GET", f"{clinic}/{path}/queries")).headers["Allow"] == "POST"
    assert (await browse("PUT", f"{clinic}/{path}", {})).status == 405


def options_of(prefix: str) -> list[dict[str, Any]]:
    return [
        {},
        {"limit": 2},
        {"limit": 0},
        {"skip": 2},
        {"skip": 99},
        {"limit": 2, "skip": 1, "descending": True},
        {"key": prefix + "b"},
        {"key": "b"},
        {"keys": [prefix + "b", prefix + "zz", "c", 5]},
        {"keys": [prefix + "a", prefix + "b"], "descending": True, "limit": 1},
        {"keys": []},
        {"startkey": prefix + "b"},
        {"startkey": prefix + "b", "endkey": prefix + "d", "inclusive_end": False},
        {"startkey": prefix + "d", "endkey": prefix + "b"},
        {"startkey": prefix + "d", "endkey": prefix + "b", "descending": True},
        {"startkey_docid": prefix + "c"},
        {"endkey_docid": prefix + "c"},
        {"startkey": 5},
        {"endkey": 5},
        {"endkey": {}},
        {"keys": [prefix + "a", prefix + "c"], "include_docs": True},
        {"include_docs": True, "limit": 1},
        {"stale": "ok", "limit": 1},
        {"sorted": False, "limit": 1},
    ]


async def test_every_option_is_answered_as_by_couchdb(browse: Browser, filled: str, couchdb_url: str):
    parts = urlsplit(couchdb_url)
    login = aiohttp.encode_basic_auth(parts.username or "", parts.password or "")
    base, database = f"{parts.scheme}://{parts.hostname}:{parts.port}", f"/listing-{uuid.uuid4().hex}"
    async with aiohttp.ClientSession(headers={"Authorization": login}) as session:

        async def send(method: str, path: str, body: Any) -> Any:
            async with session.request(method, base + path, json=body) as answer:
                return await answer.json()

        await send("PUT", f"{database}?q=1", None)
        try:
            await fill(send, database)
            for path, prefix in (("_all_docs", ""), ("_design_docs", "_design/"), ("_local_docs", "_local/")):
                for options in options_of(prefix):
                    here = (await browse("GET", f"{filled}/{path}{query(**options)}")).json
                    there = await send("GET", f"{database}/{path}{query(**options)}", None)
                    if path == "_design_docs" and options.get("descending"):
                        here.pop("offset"), there.pop("offset")  # it counts from the wrong end there
                    assert bare(here) == bare(there), (path, options)
        finally:
            await send("DELETE", database, None)


def bare(value: Any) -> Any:
    """Without revisions, which two servers make differently."""
    if isinstance(value, dict):
        return {name: bare(one) for name, one in value.items() if name not in {"_rev", "rev"}}
    return [bare(one) for one in value] if isinstance(value, list) else value


@pytest.mark.usefixtures("clinic")
async def test_all_dbs_takes_the_options_of_a_listing(browse: Browser):
    await browse("PUT", "/ward")
    for given, names in (
        ("", ["_users", "clinic", "ward"]),
        ("?descending=true&limit=1", ["ward"]),
        ("?startkey=%22c%22&skip=1", ["ward"]),
        ("?key=%22clinic%22", ["clinic"]),
        ("?keys=[%22ward%22,%22nope%22]", ["ward"]),
        ("?startkey=%22clinic%22&endkey=%22ward%22&inclusive_end=false", ["clinic"]),
    ):
        assert (await browse("GET", f"/_all_dbs{given}")).json == names
        infos = (await browse("GET", f"/_dbs_info{given}")).json
        assert [one["info"]["db_name"] for one in infos] == names
    assert (await browse("GET", "/_all_dbs?limit=x")).status == 400
    for body, reason in (
        ({}, "`keys` member must exist."),
        ({"keys": 5}, "`keys` member must be an array."),
        ({"keys": ["x"] * 101}, "too_many_keys"),
    ):
        assert (await browse("POST", "/_dbs_info", body)).json["reason"] == reason


@pytest.mark.parametrize("path", ["_all_docs", "_design_docs", "_local_docs"])
async def test_so_many_queries_at_once_and_no_more(browse: Browser, clinic: str, path: str):
    for count, status in ((MAX_QUERIES, 200), (MAX_QUERIES + 1, 400)):
        answer = await browse("POST", f"{clinic}/{path}/queries", {"queries": [{"limit": 0}] * count})
        assert answer.status == status
    assert answer.json == {"error": "bad_request", "reason": f"more than {MAX_QUERIES} queries were asked for at once"}
