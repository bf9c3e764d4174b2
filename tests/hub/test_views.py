"""The built-in views: the rows that the JavaScript ones have on a CouchDB, and its options."""

import json as json_text
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import pytest

from icure_sync.hub import builtin_views, limits, views
from tests.hub.conftest import Browser

HIGH, LOW = "f" * 32, "0" * 31 + "1"
BY_DELEGATE = "_design/icure_sync/_view/by_delegate"
BY_KEY = "_design/icure_sync/_view/by_secret_foreign_key"
CLASSIC = "org.taktik.icure.entities.HealthcareParty"
DOCS: list[dict[str, Any]] = [
    {"_id": "p1", "type": "Patient", "delegations": {"hcp-a": [], "hcp-b": []}},
    {"_id": "p2", "type": "Patient", "delegations": {"hcp-a": []}},
    {"_id": "c1", "type": "Contact", "delegations": {"hcp-b": []}, "secretForeignKeys": ["s1", "s2"]},
    {"_id": "c2", "type": "Contact", "secretForeignKeys": ["s2"]},
    {"_id": "h1", "type": "HealthcareParty"},
    {"_id": "h2", "java_type": CLASSIC},
    {"_id": "h3", "type": "HealthcareParty"},
    {"_id": "h4", "java_type": CLASSIC},
    {"_id": "d1", "type": "DeviceHead", "delegations": {"hcp-z": []}},
    {"_id": "a1", "type": "Attestation"},
    {"_id": "n", "type": "Note"},
    {"_id": "gone", "_deleted": True, "type": "Patient", "delegations": {"hcp-a": []}},
]
FORK: list[dict[str, Any]] = [
    {"_id": "k", "_rev": f"1-{HIGH}", "type": "Patient", "delegations": {"hcp-a": []}, "secretForeignKeys": ["s1"]},
    {"_id": "k", "_rev": f"1-{LOW}", "type": "HealthcareParty", "delegations": {"hcp-lost": []}},
]
ALL = [
    ("k", [None]),
    ("a1", ["", "Attestation"]),
    ("d1", ["", "DeviceHead"]),
    ("h1", ["", "HealthcareParty"]),
    ("h2", ["", "HealthcareParty"]),
    ("h3", ["", "HealthcareParty"]),
    ("h4", ["", "HealthcareParty"]),
    ("k", ["hcp-a"]),
    ("p1", ["hcp-a"]),
    ("p2", ["hcp-a"]),
    ("c1", ["hcp-b"]),
    ("p1", ["hcp-b"]),
    ("d1", ["hcp-z"]),
]


def query(**options: Any) -> str:
    texts = {"startkey_docid", "endkey_docid", "update", "stale"}
    parts = (f"{name}={quote(one if name in texts else json_text.dumps(one))}" for name, one in options.items())
    return "?" + "&".join(parts)


def pairs(rows: Iterable[dict[str, Any]]) -> list[tuple[str, list[str | None]]]:
    return [(row["id"], row["key"]) for row in rows]


@pytest.fixture
async def filled(browse: Browser, clinic: str) -> str:
    assert (await browse("POST", f"{clinic}/_bulk_docs", {"docs": DOCS})).status == 201
    assert (await browse("POST", f"{clinic}/_bulk_docs", {"docs": FORK, "new_edits": False})).json == []
    return clinic


async def test_a_view_shows_what_live_winners_show_and_every_conflict(browse: Browser, filled: str):
    answer = (await browse("GET", f"{filled}/{BY_DELEGATE}")).json
    assert pairs(answer["rows"]) == ALL
    assert (answer["total_rows"], answer["offset"]) == (len(ALL), 0)
    assert {row["value"] for row in answer["rows"]} == {None}
    linked = (await browse("GET", f"{filled}/{BY_KEY}")).json
    assert pairs(linked["rows"]) == [("c1", ["s1"]), ("k", ["s1"]), ("c1", ["s2"]), ("c2", ["s2"])]
    assert linked["total_rows"] == 4


async def test_a_view_follows_what_is_written_deleted_and_resolved(browse: Browser, filled: str):
    await browse("DELETE", f"{filled}/k?rev=1-{HIGH}")
    answer = (await browse("GET", f"{filled}/{BY_DELEGATE}")).json
    assert ("k", [None]) not in pairs(answer["rows"])
    assert pairs(answer["rows"])[-2:] == [("k", ["hcp-lost"]), ("d1", ["hcp-z"])]
    assert answer["total_rows"] == len(answer["rows"]) == len(ALL)
    assert ("k", ["", "HealthcareParty"]) in pairs(answer["rows"])
    p2 = (await browse("GET", f"{filled}/p2")).json
    await browse("PUT", f"{filled}/p2", p2 | {"delegations": {"hcp-b": []}})
    answer = (await browse("GET", f"{filled}/{BY_DELEGATE}{query(keys=[['hcp-b'], ['hcp-a']])}")).json
    assert pairs(answer["rows"]) == [("c1", ["hcp-b"]), ("p1", ["hcp-b"]), ("p2", ["hcp-b"]), ("p1", ["hcp-a"])]


OPTIONS: list[dict[str, Any]] = [
    {"key": ["hcp-a"]},
    {"key": ["nope"]},
    {"key": [None]},
    {"key": ["", "HealthcareParty"]},
    {"key": ["", "HealthcareParty"], "limit": 2},
    {"key": ["", "HealthcareParty"], "limit": 3, "descending": True},
    {"key": ["", "HealthcareParty"], "startkey_docid": "h2", "limit": 2},
    {"key": ["", "HealthcareParty"], "startkey_docid": "h3", "descending": True, "limit": 2},
    {"keys": [["hcp-z"], [None], ["nope"], ["", "DeviceHead"]]},
    {"keys": [["hcp-b"], ["hcp-a"]], "descending": True},
    {"keys": []},
    {"startkey": ["hcp-a"], "endkey": ["hcp-a", {}]},
    {"startkey": ["hcp-a"], "endkey": ["hcp-b"], "inclusive_end": False},
    {"startkey": ["hcp-b"], "endkey": ["hcp-a"], "descending": True},
    {"startkey": ["hcp-a", None], "endkey": ["hcp-z"]},
    {"startkey": [""], "endkey": ["", {}]},
    {"startkey": ["", "E"]},
    {"endkey": ["", "E"]},
    {"startkey": [False]},
    {"startkey": [{}]},
    {"startkey": None},
    {"startkey": {}},
    {"endkey": "text"},
    {"endkey": []},
    {"startkey": ["hcp-a"], "startkey_docid": "p1"},
    {"key": ["hcp-a"], "startkey_docid": "l"},
    {"key": ["hcp-a"], "endkey_docid": "p1"},
    {"key": ["hcp-a"], "endkey_docid": "p1", "inclusive_end": False},
    {"key": ["hcp-a"], "startkey_docid": "p1", "skip": 1},
    {"limit": 0},
    {"skip": 3, "limit": 2},
    {"skip": 100},
    {"descending": True, "limit": 3},
    {"descending": True, "skip": 7},
    {"sorted": False, "limit": 2},
    {"reduce": False, "limit": 1},
    {"update": "false", "limit": 1},
    {"stale": "ok", "limit": 1},
    {"include_docs": True, "conflicts": True, "key": ["hcp-a"]},
    {"conflicts": True, "limit": 1},
    {"group": True},
    {"reduce": True},
    {"limit": -1},
    {"skip": "x"},
    {"descending": "maybe"},
    {"startkey": ["hcp-b"], "endkey": ["hcp-a"]},
    {"keys": {}},
]


async def test_every_option_is_answered_as_by_couchdb(browse: Browser, filled: str, couchdb_url: str):
    """Against the JavaScript views of a real one: the same statuses and bodies, but for revisions and the like."""
    async with couchdb_clinic(couchdb_url) as (session, base):
        for options in OPTIONS:
            here = await browse("GET", f"{filled}/{BY_DELEGATE}{query(**options)}")
            async with session.get(f"{base}/{BY_DELEGATE}{query(**options)}") as there:
                assert (here.status, bare(here.json)) == (there.status, bare(await there.json())), options
            if not {"update", "stale", "skip", "descending"} & options.keys() or "limit" in options:
                posted = await browse("POST", f"{filled}/{BY_DELEGATE}", options)
                async with session.post(f"{base}/{BY_DELEGATE}", json=options) as there:
                    assert (posted.status, bare(posted.json)) == (there.status, bare(await there.json())), options


def bare(value: Any) -> Any:
    """Without what two servers cannot agree on."""
    if isinstance(value, dict):
        return {name: bare(one) for name, one in value.items() if name not in {"_rev", "ref", "update_seq"}}
    return [bare(one) for one in value] if isinstance(value, list) else value


@asynccontextmanager
async def couchdb_clinic(url: str) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A database on a real CouchDB with the same documents and the JavaScript view, deleted at the end."""
    by_delegate = (
        "function (doc) { for (var d in doc.delegations || {}) emit([d], null);"
        f"if (doc.type === 'HealthcareParty' || doc.java_type === '{CLASSIC}') emit(['', 'HealthcareParty'], null);"
        "if (doc.type === 'DeviceHead' || doc.type === 'Attestation') emit(['', doc.type], null);"
        "if (doc._conflicts) emit([null], null); }"
    )
    parts = urlsplit(url)
    login = aiohttp.encode_basic_auth(parts.username or "", parts.password or "")
    base = f"{parts.scheme}://{parts.hostname}:{parts.port}/views-{uuid.uuid4().hex}"
    async with aiohttp.ClientSession(headers={"Authorization": login}) as session:

        async def send(method: str, path: str, body: Any) -> None:
            async with session.request(method, base + path, json=body) as answer:
                assert answer.status in {200, 201}, await answer.text()

        await send("PUT", "?q=1", None)
        try:
            await send("PUT", "/_design/icure_sync", {"views": {"by_delegate": {"map": by_delegate}}})
            await send("POST", "/_bulk_docs", {"docs": DOCS})
            await send("POST", "/_bulk_docs", {"docs": FORK, "new_edits": False})
            yield session, base
        finally:
            await send("DELETE", "", None)


async def test_the_seq_of_a_view_is_where_the_feed_goes_on(browse: Browser, filled: str):
    answer = (await browse("GET", f"{filled}/{BY_DELEGATE}{query(key=['hcp-a'], update_seq=True)}")).json
    assert answer["update_seq"] == (await browse("GET", filled)).json["update_seq"]
    await browse("PUT", f"{filled}/later", {})
    rows = (await browse("GET", f"{filled}/_changes?since={answer['update_seq']}")).json["results"]
    assert [row["id"] for row in rows] == ["later"]
    assert "update_seq" not in (await browse("GET", f"{filled}/{BY_DELEGATE}")).json


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("room", [1, 2, 3])
async def test_pages_of_any_size_make_the_same_view(
    browse: Browser, filled: str, monkeypatch: pytest.MonkeyPatch, room: int, descending: bool
):
    monkeypatch.setattr(views, "VIEW_ROWS", room)
    monkeypatch.setattr(views, "PAGE_ROWS", room)
    answer = (await browse("GET", f"{filled}/{BY_DELEGATE}{query(descending=descending, include_docs=True)}")).json
    assert pairs(answer["rows"]) == (ALL[::-1] if descending else ALL)
    assert [row["doc"]["_id"] for row in answer["rows"]] == [row["id"] for row in answer["rows"]]
    found: list[tuple[str, list[str | None]]] = []
    more: dict[str, Any] = {}
    while True:
        page = pairs(
            (await browse("GET", f"{filled}/{BY_DELEGATE}{query(**more, limit=room + 1, descending=descending)}")).json[
                "rows"
            ]
        )
        found += page[:room]
        if len(page) <= room:
            break
        more = {"startkey": page[-1][1], "startkey_docid": page[-1][0]}
    assert found == (ALL[::-1] if descending else ALL)


async def test_many_keys_are_answered_in_their_order(browse: Browser, filled: str):
    keys = [["hcp-b"], *[[f"nobody-{number}"] for number in range(200)], ["hcp-a"], [None]]
    for descending in (False, True):
        body = {"keys": keys, "descending": descending, "skip": 1, "limit": 5}
        rows = pairs((await browse("POST", f"{filled}/{BY_DELEGATE}", body)).json["rows"])
        wanted = [*ALL[10:12], *ALL[7:10], ALL[0]]
        assert rows == (wanted[::-1] if descending else wanted)[1:6]


async def test_an_offset_that_would_cost_a_scan_is_not_known(
    browse: Browser, filled: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(builtin_views, "MAX_OFFSET", 3)
    near = (await browse("GET", f"{filled}/{BY_DELEGATE}{query(key=['', 'HealthcareParty'])}")).json
    far = (await browse("GET", f"{filled}/{BY_DELEGATE}{query(key=['hcp-z'])}")).json
    assert (near["offset"], far["offset"]) == (3, None)
    assert limits.MAX_OFFSET > 3


async def test_several_queries_are_answered_at_once(browse: Browser, filled: str):
    queries = [{"key": ["hcp-z"]}, {"limit": 1, "include_docs": True}, {"keys": [["hcp-b"]], "update_seq": True}]
    answer = (await browse("POST", f"{filled}/{BY_DELEGATE}/queries", {"queries": queries})).json
    assert [pairs(one["rows"]) for one in answer["results"]] == [ALL[-1:], ALL[:1], ALL[10:12]]
    assert "update_seq" in answer["results"][2]
    assert (await browse("GET", f"{filled}/{BY_DELEGATE}/queries")).headers["Allow"] == "POST"
    for body, reason in (
        ({}, "POST body must include `queries` parameter."),
        ({"queries": 5}, "`queries` member must be an array."),
        ({"queries": [5]}, "each of `queries` must be a JSON object"),
    ):
        assert (await browse("POST", f"{filled}/{BY_DELEGATE}/queries", body)).json["reason"] == reason


async def test_other_views_are_not_there_or_not_offered(browse: Browser, clinic: str):
    missing, no_view = (404, "not_found", "missing"), (404, "not_found", "missing_named_view")
    offered = (501, "not_implemented", "JavaScript on the server is not offered by this server")

    async def refusal(path: str) -> tuple[int, str, str]:
        answer = await browse("GET", f"{clinic}/{path}")
        return answer.status, answer.json["error"], answer.json["reason"]

    assert await refusal("_design/icure_sync/_view/mine") == no_view
    assert await refusal("_design/other/_view/by_delegate") == missing
    await browse("PUT", f"{clinic}/_design/other", {"views": {"mine": {"map": "function (doc) {}"}}})
    assert await refusal("_design/other/_view/mine") == offered
    assert await refusal("_design/other/_view/by_delegate") == no_view
    assert (await browse("PUT", f"{clinic}/{BY_DELEGATE}", {})).headers["Allow"] == "GET,POST,HEAD"
    answer = await browse("POST", f"{clinic}/{BY_DELEGATE}", {"queries": []})
    assert answer.json["reason"] == "The `queries` parameter is no longer supported at this endpoint"


async def test_a_provisioned_design_document_changes_nothing(browse: Browser, filled: str):
    design = {"views": {"by_delegate": {"map": "function (doc) { while (true); }"}, "mine": {"map": "…"}}}
    assert (await browse("PUT", f"{filled}/_design/icure_sync", design)).status == 201
    assert pairs((await browse("GET", f"{filled}/{BY_DELEGATE}")).json["rows"]) == ALL
    assert (await browse("GET", f"{filled}/_design/icure_sync/_view/mine")).status == 501
    info = (await browse("GET", f"{filled}/_design/icure_sync/_info")).json
    assert (info["name"], info["view_index"]["updater_running"]) == ("icure_sync", False)


async def test_members_read_the_views_and_others_do_not(browse: Browser, filled: str):
    member, other = await browse.make_user("m", "password"), await browse.make_user("o", "password")
    await browse("PUT", f"{filled}/_security", {"members": {"names": ["m"]}})
    assert (await browse("GET", f"{filled}/{BY_DELEGATE}", auth=member)).status == 200
    assert (await browse("HEAD", f"{filled}/{BY_DELEGATE}", auth=member)).status == 200
    assert (await browse("GET", f"{filled}/{BY_DELEGATE}", auth=other)).status == 403
