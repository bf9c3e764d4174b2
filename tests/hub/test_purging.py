"""Purging over HTTP: what goes, what stays, who may, and what everything else shows afterwards."""

import asyncio

import pytest

from tests.hub.conftest import Browser

A, B, C = (letter * 32 for letter in "abc")


async def fork(browse: Browser, clinic: str) -> str:
    """John with the leaves 2-c (the winner) and 2-b; returns the revision that both descend from."""
    first = (await browse("PUT", f"{clinic}/john", {"type": "Patient"})).json["rev"]
    docs = [
        {
            "_id": "john",
            "_rev": f"2-{digits}",
            "_revisions": {"start": 2, "ids": [digits, first[2:]]},
            "delegations": {f"hcp-{digits[0]}": []},
        }
        for digits in (B, C)
    ]
    assert (await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": docs})).json == []
    return str(first)


async def test_a_purged_leaf_leaves_the_others_and_the_next_of_them_wins(browse: Browser, clinic: str):
    first = await fork(browse, clinic)
    before = (await browse("GET", clinic)).json
    answer = await browse("POST", f"{clinic}/_purge", {"john": [f"2-{C}", first]})
    assert (answer.status, answer.json) == (201, {"purge_seq": None, "purged": {"john": [f"2-{C}"]}})
    john = (await browse("GET", f"{clinic}/john?revs=true&conflicts=true")).json
    assert john["_revisions"] == {"start": 2, "ids": [B, first[2:]]}
    assert "_conflicts" not in john
    assert (await browse("GET", f"{clinic}/john?rev=2-{C}")).json == {"error": "not_found", "reason": "missing"}
    after = (await browse("GET", clinic)).json
    assert (before["purge_seq"].split("-")[0], after["purge_seq"].split("-")[0]) == ("0", "1")
    assert after["update_seq"] != before["update_seq"]
    rows = (await browse("GET", f"{clinic}/_changes?style=all_docs&since={before['update_seq']}")).json["results"]
    assert [row["changes"] for row in rows] == [[{"rev": f"2-{B}"}]]
    views = f"{clinic}/_design/icure_sync/_view/by_delegate"
    assert [row["key"] for row in (await browse("GET", views)).json["rows"]] == [["hcp-b"]]


async def test_a_document_purged_whole_is_gone_from_everywhere(browse: Browser, clinic: str):
    rev = (await browse("PUT", f"{clinic}/scan/page", data=b"bytes", headers={"Content-Type": "image/png"})).json["rev"]
    await browse("PUT", f"{clinic}/ann", {})
    assert (await browse("POST", f"{clinic}/_purge", {"scan": [rev], "never": [f"1-{A}"]})).json["purged"] == {
        "scan": [rev],
        "never": [],
    }
    for path in ("scan", "scan/page", f"scan?rev={rev}", "scan?open_revs=all"):
        assert (await browse("GET", f"{clinic}/{path}")).status == 404
    assert [row["id"] for row in (await browse("GET", f"{clinic}/_all_docs")).json["rows"]] == ["ann"]
    assert [row["id"] for row in (await browse("GET", f"{clinic}/_changes")).json["results"]] == ["ann"]
    info = (await browse("GET", clinic)).json
    assert (info["doc_count"], info["doc_del_count"]) == (1, 0)
    missing = await browse("POST", f"{clinic}/_revs_diff", {"scan": [rev]})
    assert missing.json == {"scan": {"missing": [rev]}}
    again = await browse("PUT", f"{clinic}/scan", {})
    assert again.json["rev"].startswith("1-")


async def test_a_feed_that_waits_hears_of_what_a_purge_left(browse: Browser, clinic: str):
    await fork(browse, clinic)
    since = (await browse("GET", clinic)).json["update_seq"]
    feed = asyncio.create_task(browse("GET", f"{clinic}/_changes?feed=longpoll&since={since}&timeout=20000"))
    await asyncio.sleep(0.1)  # for the feed to fall asleep; it hears of it either way
    await browse("POST", f"{clinic}/_purge", {"john": [f"2-{C}"]})
    assert [row["changes"] for row in (await feed).json["results"]] == [[{"rev": f"2-{B}"}]]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "Request body must be a JSON object"),
        ({"a": "text"}, "Invalid list of revisions"),
        ({"a": None}, "Invalid list of revisions"),
        ({"a": [1]}, "Invalid rev format"),
        ({"a": ["nope"]}, "Invalid rev format"),
        ({f"doc-{number}": [f"1-{A}"] for number in range(101)}, "Exceeded maximum number of documents."),
        ({"a": [f"{number}-{A}" for number in range(1, 1002)]}, "Exceeded maximum number of revisions."),
    ],
)
async def test_what_cannot_be_purged_is_refused_as_by_couchdb(browse: Browser, clinic: str, body: object, reason: str):
    answer = await browse("POST", f"{clinic}/_purge", body)
    assert (answer.status, answer.json) == (400, {"error": "bad_request", "reason": reason})
    assert (await browse("GET", f"{clinic}/_purged_infos")).json == {"purged_infos": []}


async def test_what_is_no_json_is_not_purged(browse: Browser, clinic: str):
    for data, kind, status in ((b"{bad", "application/json", 400), (b"{}", "text/plain", 415)):
        answer = await browse("POST", f"{clinic}/_purge", data=data, headers={"Content-Type": kind})
        assert answer.status == status
    assert (await browse("GET", f"{clinic}/_purge")).headers["Allow"] == "POST"


async def test_purges_are_on_record_until_a_compaction_trims_them(browse: Browser, clinic: str):
    limit = f"{clinic}/_purged_infos_limit"
    assert (await browse("GET", limit)).json == 1000
    for wrong in (0, -1, 1.5, "x", {}, 2**64):
        answer = await browse("PUT", limit, wrong)
        assert answer.status == 400
        assert answer.json["reason"] == "`purged_infos_limit` must be positive integer"
    for number in range(3):
        await browse("POST", f"{clinic}/_purge", {f"doc-{number}": [f"1-{A}"]})
    assert (await browse("PUT", limit, 2)).json == {"ok": True}
    assert (await browse("GET", limit)).json == 2
    infos = f"{clinic}/_purged_infos"
    assert len((await browse("GET", infos)).json["purged_infos"]) == 3
    await browse("POST", f"{clinic}/_compact", {})
    async with asyncio.timeout(30):
        while (await browse("GET", clinic)).json["compact_running"]:  # noqa: ASYNC110  (it is another process's to say)
            await asyncio.sleep(0.01)
    assert (await browse("GET", infos)).json == {
        "purged_infos": [{"id": f"doc-{number}", "revs": [f"1-{A}"]} for number in (1, 2)]
    }


async def test_server_administrators_alone_purge(browse: Browser, clinic: str):
    member, admin = await browse.make_user("m", "password"), await browse.make_user("a", "password")
    security = {"members": {"names": ["m"]}, "admins": {"names": ["a"]}}
    await browse("PUT", f"{clinic}/_security", security)
    for user in (member, admin):
        for method, path, body in (
            ("POST", "_purge", {"john": [f"1-{A}"]}),
            ("GET", "_purged_infos_limit", None),
            ("PUT", "_purged_infos_limit", 5),
        ):
            answer = await browse(method, f"{clinic}/{path}", body, auth=user)
            assert (answer.status, answer.json["reason"]) == (401, "You are not a server admin.")
        assert (await browse("GET", f"{clinic}/_purged_infos", auth=user)).json == {"purged_infos": []}


async def test_a_query_finds_what_a_purge_left(browse: Browser, clinic: str):
    await fork(browse, clinic)
    await browse("PUT", f"{clinic}/ann", {"delegations": {"hcp-c": []}})
    index = {"index": {"fields": ["delegations"]}, "name": "delegations"}
    assert (await browse("POST", f"{clinic}/_index", index)).json["result"] == "created"

    async def found() -> list[tuple[str, str]]:
        query = {"selector": {"delegations": {"$gt": None}}, "use_index": "delegations"}
        docs = (await browse("POST", f"{clinic}/_find", query)).json["docs"]
        return sorted((doc["_id"], next(iter(doc["delegations"]))) for doc in docs)

    assert await found() == [("ann", "hcp-c"), ("john", "hcp-c")]
    await browse("POST", f"{clinic}/_purge", {"john": [f"2-{C}"]})
    assert await found() == [("ann", "hcp-c"), ("john", "hcp-b")]
    await browse("POST", f"{clinic}/_purge", {"john": [f"2-{B}"]})
    assert await found() == [("ann", "hcp-c")]
