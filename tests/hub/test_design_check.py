"""Design documents that no server could use are refused as CouchDB refuses them."""

from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.hub.conftest import Browser
from tests.servers import fresh_database

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"language": 1}, "`language` field must have string type"),
    ({"views": 1}, "`views` field must have object type"),
    ({"views": None}, "`views` field must have object type"),
    ({"views": {"v": 1}}, "`views.v` field must have object type"),
    ({"views": {"v": {}}}, "View `v` must contain map function"),
    ({"views": {"v": {"map": {"fields": {}}}}}, "`views.v.map` field must have string type"),
    ({"language": "query", "views": {"v": {"map": "x"}}}, "`views.v.map` field must have object type"),
    ({"views": {"v": {"map": "x", "reduce": 1}}}, "`views.v.reduce` field must have string type"),
    (
        {"language": "query", "views": {"v": {"map": {"fields": {"a": "asc"}}, "reduce": "_nope"}}},
        "`_nope` is not a supported reduce function.",
    ),
    ({"views": {"lib": 1}}, "`views.lib` field must have object type"),
    ({"filters": {"f": 1}}, "`filters.f` field must have string or object type"),
    ({"updates": {"u": []}}, "`updates.u` field must have string or object type"),
    ({"shows": {"s": None}}, "`shows.s` field must have string or object type"),
    ({"lists": 1}, "`lists` field must have object type"),
    ({"rewrites": {}}, "`rewrites` field must have array or string type"),
    ({"validate_doc_update": 1}, "`validate_doc_update` field must have string type"),
    ({"options": 1}, "`options` field must have object type"),
    ({"options": {"partitioned": 1}}, "`options.partitioned` field must have boolean type"),
    (
        {"options": {"partitioned": True}},
        "partitioned option cannot be true in a non-partitioned database.",
    ),
]
TAKEN: list[dict[str, Any]] = [
    {},
    {"language": "erlang", "views": {"v": {"map": "x", "reduce": "_nope"}}},
    {"views": {"lib": {"a": 1}, "v": {"map": "function (d) {}", "reduce": "_sum"}}},
    {"language": "query", "views": {"lib": {"x": 1}, "v": {"map": {}}}},
    {"rewrites": [], "filters": {"f": "function () {}", "g": {}}, "options": {"local_seq": True, "else": 1}},
]


@pytest.mark.parametrize(("body", "reason"), REFUSED)
async def test_what_no_server_could_use_is_refused_however_it_comes(
    browse: Browser, clinic: str, body: dict[str, Any], reason: str
) -> None:
    refusal = {"error": "invalid_design_doc", "reason": reason}
    named = {"_id": "_design/d", "_rev": f"1-{'a' * 32}", **body}
    answer = await browse("PUT", f"{clinic}/_design/d", body)
    assert (answer.status, answer.json) == (400, refusal)
    assert (await browse("PUT", f"{clinic}/_design/d?new_edits=false", named)).json == refusal
    rows = (await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": "_design/d", **body}, {"_id": "a"}]})).json
    assert (rows[0], rows[1]["id"]) == ({"id": "_design/d", **refusal}, "a")
    replicated = (await browse("POST", f"{clinic}/_bulk_docs", {"docs": [named], "new_edits": False})).json
    assert [row["error"] for row in replicated] == ["invalid_design_doc"]


@pytest.mark.parametrize("body", TAKEN)
async def test_other_design_documents_are_taken_and_can_always_be_deleted(
    browse: Browser, clinic: str, body: dict[str, Any]
) -> None:
    made = await browse("PUT", f"{clinic}/_design/d", body)
    assert made.status == 201
    tombstone = {"_rev": made.json["rev"], "_deleted": True, "views": "whatever"}
    assert (await browse("PUT", f"{clinic}/_design/d", tombstone)).status == 201


async def test_numbers_beyond_all_readers_are_refused_here_too(browse: Browser, clinic: str) -> None:
    answer = await browse("PUT", f"{clinic}/_design/d", data=b'{"views":{},"n":1e999}')
    assert (answer.status, answer.json["error"]) == (400, "bad_request")


async def test_a_real_couchdb_refuses_and_takes_the_same(couchdb_url: str) -> None:
    async with fresh_database(couchdb_url) as url, aiohttp.ClientSession() as session:
        for number, (body, reason) in enumerate(REFUSED):
            async with session.put(URL(url) / f"_design/r{number}", json=body) as answer:
                assert (await answer.json()) == {"error": "invalid_design_doc", "reason": reason}
