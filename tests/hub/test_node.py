"""The server itself: what there is beside databases, what there is not, and how logins answer."""

import pytest

from tests.hub.conftest import ADMIN, Browser


async def test_what_a_hub_never_has_is_an_empty_list(browse: Browser):
    for path, answer in (
        ("/_scheduler/jobs", {"total_rows": 0, "offset": 0, "jobs": []}),
        ("/_scheduler/docs", {"total_rows": 0, "offset": 0, "docs": []}),
        ("/_active_tasks", []),
        ("/_cluster_setup", {"state": "single_node_enabled"}),
        ("/_membership", {"all_nodes": ["nonode@nohost"], "cluster_nodes": ["nonode@nohost"]}),
    ):
        assert (await browse("GET", path)).json == answer
        assert (await browse("GET", path, auth=None)).status == 401
        assert (await browse("DELETE", path)).status == 405


async def test_a_replication_is_refused_with_what_to_use_instead(browse: Browser):
    answer = await browse("POST", "/_replicate", {"source": "a", "target": "b"})
    assert (answer.status, answer.json["error"]) == (501, "not_implemented")
    for word in ("source or target", "icure-sync sync", "hub --upstream"):
        assert word in answer.json["reason"]
    assert (await browse("POST", "/_replicate", {}, auth=None)).status == 401
    assert (await browse("GET", "/_replicate")).headers["Allow"] == "POST"


@pytest.mark.parametrize("path", ["/_node/_local/_config", "/_node/_local", "/_reshard", "/_search_analyze"])
async def test_the_upkeep_of_a_cluster_is_not_offered(browse: Browser, path: str):
    answer = await browse("GET", path)
    assert (answer.status, answer.json["error"]) == (501, "not_implemented")


async def test_every_document_is_in_the_only_shard(browse: Browser, clinic: str):
    assert (await browse("GET", f"{clinic}/_shards/john")).json == {
        "range": "00000000-ffffffff",
        "nodes": ["nonode@nohost"],
    }
    assert (await browse("POST", f"{clinic}/_sync_shards")).status == 202
    member = await browse.make_user("m", "password")
    assert (await browse("POST", f"{clinic}/_sync_shards", auth=member)).status in {401, 403}


async def test_a_login_goes_on_where_the_browser_wants_on_this_server_alone(browse: Browser):
    body = {"name": ADMIN[0], "password": ADMIN[1]}
    for target, location in (("/clinic", f"{browse.hub.url}/clinic"), ("//elsewhere", None), ("http://x", None)):
        answer = await browse("POST", f"/_session?next={target}", body, auth=None, allow_redirects=False)
        assert (answer.status, answer.headers.get("Location")) == (302 if location else 200, location)
        assert answer.headers["Set-Cookie"].startswith("AuthSession=")
    answer = await browse("DELETE", "/_session?next=/bye", auth=None, allow_redirects=False)
    assert answer.headers["Location"] == f"{browse.hub.url}/bye"


async def test_a_failed_login_takes_the_cookie_back(browse: Browser):
    answer = await browse("POST", "/_session", {"name": "nobody", "password": "x"}, auth=None)
    assert answer.status == 401
    assert answer.headers["Set-Cookie"].startswith("AuthSession=;")


async def test_a_session_may_insist_on_someone(browse: Browser):
    answer = await browse("GET", "/_session?basic=true", auth=None)
    assert (answer.status, answer.json) == (401, {"error": "unauthorized", "reason": "Please login."})
    assert (await browse("GET", "/_session?basic=true")).json["userCtx"]["name"] == ADMIN[0]


async def test_a_client_says_how_it_wants_to_be_asked_who_it_is(browse: Browser, clinic: str):
    asked = await browse("GET", clinic, auth=None, headers={"X-CouchDB-WWW-Authenticate": "Cookie"})
    assert (asked.status, asked.headers["WWW-Authenticate"]) == (401, "Cookie")
    assert "WWW-Authenticate" not in (await browse("GET", clinic, auth=None)).headers


async def test_functions_of_design_documents_are_missing_or_not_offered(browse: Browser, clinic: str):
    await browse("PUT", f"{clinic}/_design/x", {"shows": {"y": "function () {}"}})
    for method, path, status, reason in (
        ("GET", "_show/y", 501, "JavaScript on the server is not offered by this server"),
        ("GET", "_list/y/z", 404, "missing json key: lists"),
        ("POST", "_update/y", 404, "missing json key: updates"),
        ("GET", "_rewrite/y", 501, "JavaScript on the server is not offered by this server"),
    ):
        answer = await browse(method, f"{clinic}/_design/x/{path}", {} if method == "POST" else None)
        assert (answer.status, answer.json["reason"]) == (status, reason)
    assert (await browse("GET", f"{clinic}/_design/none/_show/y")).status == 404


@pytest.mark.parametrize("path", ["/_all_dbs", "/_dbs_info"])
async def test_lists_of_databases_have_a_tag_of_what_they_say(browse: Browser, path: str):
    first = await browse("GET", path)
    tag = {"If-None-Match": first.headers["ETag"]}
    assert (await browse("GET", path, headers=tag)).status == 304
    await browse("PUT", "/ward")
    assert (await browse("GET", path, headers=tag)).status == 200
