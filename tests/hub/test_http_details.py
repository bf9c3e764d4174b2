"""Headers, methods and small endpoints as clients and proxies of CouchDB know them."""

from __future__ import annotations

import json
import re

import pytest

from tests.hub.conftest import Browser

PAGE = 300 * 1024  # bytes: more than goes out in one piece


async def test_every_answer_carries_a_request_id_of_the_client_or_its_own(browse: Browser, clinic: str) -> None:
    await browse("PUT", f"{clinic}/big", {"text": "x" * PAGE})
    for path in ("/", clinic, f"{clinic}/big", f"{clinic}/big?open_revs=all", f"{clinic}/_changes", f"{clinic}/never"):
        answer = await browse("GET", path)
        assert re.fullmatch(r"[0-9a-f]{10}", answer.headers["X-Couch-Request-ID"]), path
        assert answer.headers["X-CouchDB-Body-Time"].isdigit()
        given = await browse("GET", path, headers={"X-Couch-Request-ID": "E7498DE1-mine_1"})
        assert given.headers["X-Couch-Request-ID"] == "E7498DE1-mine_1"
        forged = await browse("GET", path, headers={"X-Couch-Request-ID": "a b"})
        assert forged.headers["X-Couch-Request-ID"] != "a b"


async def test_a_client_that_knows_get_and_post_only_says_what_it_means(browse: Browser, clinic: str) -> None:
    async def say(method: str, path: str, body: object = None) -> int:
        answer = await browse("POST", path, body, headers={"X-HTTP-Method-Override": method})
        return answer.status

    assert await say("PUT", f"{clinic}/a", {"n": 1}) == 201
    rev = (await browse("GET", f"{clinic}/a")).json["_rev"]
    assert await say("GET", f"{clinic}/a") == 200
    assert await say("DELETE", f"{clinic}/a?rev={rev}") == 200
    assert (await browse("GET", f"{clinic}/a")).status == 404
    assert await say("put", f"{clinic}/a", {}) == 400
    ignored = await browse("GET", f"{clinic}/a", headers={"X-HTTP-Method-Override": "PUT"})
    assert ignored.status == 404


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"X-Forwarded-Host": "clinic.example"}, "http://clinic.example"),
        ({"X-Forwarded-Host": "clinic.example:6984", "X-Forwarded-Proto": "https"}, "https://clinic.example:6984"),
        ({"X-Forwarded-Host": "clinic.example", "X-Forwarded-Ssl": "on"}, "https://clinic.example"),
        ({"X-Forwarded-Host": "clinic.example", "X-Forwarded-Proto": "gopher"}, "http://clinic.example"),
        ({"Host": "named.example"}, "http://named.example"),
    ],
)
async def test_a_location_is_where_the_client_found_the_hub(
    browse: Browser, clinic: str, headers: dict[str, str], base: str
) -> None:
    answer = await browse("PUT", f"{clinic}/a%20b", {}, headers=headers)
    assert answer.headers["Location"] == f"{base}{clinic}/a%20b"


async def test_ids_are_never_taken_from_a_cache(browse: Browser) -> None:
    answer = await browse("GET", "/_uuids?count=2")
    assert (answer.headers["Cache-Control"], answer.headers["Pragma"]) == ("no-cache", "no-cache")
    assert answer.headers["ETag"] != (await browse("GET", "/_uuids?count=2")).headers["ETag"]


@pytest.mark.parametrize(
    ("header", "status", "body"),
    [
        ("bytes=0-", 200, b"0123456789"),
        ("bytes=0-9", 206, b"0123456789"),
        ("bytes=7-100", 206, b"789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=5-3", 416, None),
        ("bytes=10-", 416, None),
        ("bytes:0-", 200, b"0123456789"),
        ("bytes=0-,0-,0-", 200, b"0123456789"),
        ("bytes=a-b", 200, b"0123456789"),
    ],
)
async def test_a_range_of_an_attachment_is_what_couchdb_gives(
    browse: Browser, clinic: str, header: str, status: int, body: bytes | None
) -> None:
    await browse("PUT", f"{clinic}/a/f", data=b"0123456789", headers={"Content-Type": "application/x-test"})
    answer = await browse("GET", f"{clinic}/a/f", headers={"Range": header})
    assert answer.status == status
    assert ("Content-Range" in answer.headers) == (status != 200)
    assert body is None or answer.body == body


async def test_a_copy_takes_the_attachments_along(browse: Browser, clinic: str) -> None:
    await browse("PUT", f"{clinic}/a/f", data=b"bytes", headers={"Content-Type": "application/x-test"})
    assert (await browse("COPY", f"{clinic}/a", headers={"Destination": "b"})).status == 201
    stub = (await browse("GET", f"{clinic}/b")).json["_attachments"]["f"]
    assert (stub["content_type"], stub["length"], stub["revpos"]) == ("application/x-test", 5, 1)
    assert (await browse("GET", f"{clinic}/b/f")).body == b"bytes"


async def test_open_revs_in_parts_carry_the_attachments_unasked(browse: Browser, clinic: str) -> None:
    rev = (await browse("PUT", f"{clinic}/a/f", data=b"the bytes")).json["rev"]
    for query in ("all", json.dumps([rev]).replace('"', "%22")):
        parts = await browse("GET", f"{clinic}/a?open_revs={query}&revs=true", headers={"Accept": "multipart/mixed"})
        assert b"the bytes" in parts.body
        assert b'"follows":true' in parts.body
        listed = await browse("GET", f"{clinic}/a?open_revs={query}", headers={"Accept": "application/json"})
        assert listed.json[0]["ok"]["_attachments"]["f"]["stub"] is True


async def test_what_a_replicator_notes_in_its_documents_is_taken_and_not_kept(browse: Browser, clinic: str) -> None:
    put = await browse("PUT", f"{clinic}/a", {"_replication_state": "triggered", "_replication_stats": {}, "n": 1})
    assert put.status == 201
    assert (await browse("GET", f"{clinic}/a")).json == {"_id": "a", "_rev": put.json["rev"], "n": 1}
    refused = await browse("PUT", f"{clinic}/b", {"_replication_foo": 1})
    assert (refused.status, refused.json["error"]) == (400, "doc_validation")


async def test_nothing_is_missing_of_a_document_of_which_nothing_was_asked(browse: Browser, clinic: str) -> None:
    asked = {"a": ["1-a"], "b": []}
    assert (await browse("POST", f"{clinic}/_revs_diff", asked)).json == {"a": {"missing": ["1-a"]}}
    assert (await browse("POST", f"{clinic}/_missing_revs", asked)).json == {"missing_revs": {"a": ["1-a"]}}


async def test_a_feed_that_is_called_live_is_a_continuous_one(browse: Browser, clinic: str) -> None:
    await browse("PUT", f"{clinic}/a", {})
    lines = (await browse("GET", f"{clinic}/_changes?feed=live&timeout=10")).body.splitlines()
    assert [json.loads(line).get("id") for line in lines] == ["a", None]


async def test_a_server_that_is_none_of_a_cluster_says_so(browse: Browser, clinic: str) -> None:
    assert (await browse("GET", "/_active_tasks")).json == []
    membership = (await browse("GET", "/_membership")).json
    assert membership["all_nodes"] == membership["cluster_nodes"] == ["nonode@nohost"]
    rows = (await browse("GET", "/_dbs_info")).json
    assert [row["key"] for row in rows] == ["_users", clinic[1:]]
    assert rows[1]["info"]["doc_count"] == 0
    refused = await browse("POST", "/_replicate", {"source": "a", "target": "b"})
    assert (refused.status, refused.json["error"]) == (501, "not_implemented")
    for path in ("/_active_tasks", "/_membership", "/_dbs_info"):
        assert (await browse("GET", path, auth=None)).status == 401


async def test_a_listing_has_a_line_for_each_row(browse: Browser, clinic: str) -> None:
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": doc_id} for doc_id in "abc"]})
    lines = (await browse("GET", f"{clinic}/_all_docs")).body.splitlines()
    assert [json.loads(line.rstrip(b","))["id"] for line in lines[1:-1]] == ["a", "b", "c"]


async def test_the_design_documents_are_listed_as_a_part_of_all(browse: Browser, clinic: str) -> None:
    ids = ["0", "_design/a", "_design/b", "_design/c", "z"]
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": doc_id} for doc_id in ids]})

    async def listed(query: str) -> list[str]:
        answer = await browse("GET", f"{clinic}/_design_docs?" + query.replace('"', "%22"))
        assert answer.json["total_rows"] == 3
        return [row["id"].removeprefix("_design/") for row in answer.json["rows"]]

    assert await listed("") == ["a", "b", "c"]
    assert await listed("descending=true") == ["c", "b", "a"]
    assert await listed('endkey="_design/b"') == ["a", "b"]
    assert await listed('endkey="_design/b"&inclusive_end=false') == ["a"]
    assert await listed('start_key="_design/b"') == ["b", "c"]
    assert await listed('endkey="zzz"') == ["a", "b", "c"]
    assert await listed('keys=["_design/c","z","_design/a"]') == ["c", "a"]
