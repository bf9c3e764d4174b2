"""Documents as deep as CouchDB's clients write them: a hub takes them, a device does not, and neither stumbles."""

from pathlib import Path

import pytest

from icure_sync import CouchPeer, Replica
from icure_sync.canonical import MAX_DEPTH
from icure_sync.hub.limits import MAX_DOCUMENT_DEPTH
from tests.hub.conftest import ADMIN, Browser


def nested(depth: int) -> bytes:
    """A document of so many levels."""
    return b'{"v":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, MAX_DOCUMENT_DEPTH])
async def test_a_hub_takes_deep_documents_and_every_reader_of_them_comes_back(browse: Browser, clinic: str, depth: int):
    json = {"Content-Type": "application/json"}
    body = nested(depth)
    put = await browse("PUT", f"{clinic}/deep", data=body, headers=json)
    assert put.status == 201
    assert (await browse("GET", f"{clinic}/deep")).body.rstrip().endswith(body[1:])
    index = {"index": {"fields": ["v"]}, "name": "v"}
    assert (await browse("POST", f"{clinic}/_index", index)).status == 200
    for method, path, value in (
        ("GET", "_all_docs?include_docs=true&conflicts=true", None),
        ("GET", "_changes?include_docs=true", None),
        ("POST", "_changes?filter=_selector", {"selector": {"v": {"$gt": None}}}),
        ("POST", "_find", {"selector": {"v": {"$gt": None}}}),
        ("POST", "_bulk_get", {"docs": [{"id": "deep"}]}),
    ):
        answer = await browse(method, f"{clinic}/{path}", value)
        assert (answer.status, b"deep" in answer.body) == (200, True), path
    other = b'{"new_edits":false,"docs":[{"_id":"deep","_rev":"1-f",' + body[1:] + b"]}"
    assert (await browse("POST", f"{clinic}/_bulk_docs", data=other, headers=json)).json == []
    view = (await browse("GET", f"{clinic}/_design/icure_sync/_view/by_delegate")).json
    assert [row["id"] for row in view["rows"]] == ["deep"]  # in conflict
    assert (await browse("POST", f"{clinic}/_purge", {"deep": ["1-f"]})).json["purged"] == {"deep": ["1-f"]}


async def test_what_is_deeper_than_the_hubs_own_readers_go_is_refused_alone(browse: Browser, clinic: str):
    docs = b'{"docs":[{"_id":"a"},{"_id":"deep",' + nested(MAX_DOCUMENT_DEPTH + 1)[1:] + b',{"_id":"b"}]}'
    answer = await browse("POST", f"{clinic}/_bulk_docs", data=docs, headers={"Content-Type": "application/json"})
    assert [row.get("error") for row in answer.json] == [None, "bad_request", None]
    assert f"deeper than {MAX_DOCUMENT_DEPTH} levels" in answer.json[1]["reason"]


async def test_a_device_refuses_the_deep_document_and_takes_the_others(browse: Browser, clinic: str, tmp_path: Path):
    json = {"Content-Type": "application/json"}
    for name, depth in (("a", 1), ("deep", MAX_DEPTH), ("z", MAX_DEPTH - 1)):
        assert (await browse("PUT", f"{clinic}/{name}", data=nested(depth + 1), headers=json)).status == 201
    address = browse.hub.url.replace("://", f"://{ADMIN[0]}:{ADMIN[1].replace(' ', '%20')}@") + clinic
    async with (
        Replica.open(tmp_path / "replica", None, passphrase="a long passphrase") as replica,
        CouchPeer(address) as peer,
    ):
        report = await replica.sync(peer)
    assert report.pulled == 2
    assert [(one.id, "deep" in one.reason) for one in report.refused] == [("deep", True)]
