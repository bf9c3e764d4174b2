"""Moving many documents: what is stored is what was sent, pages join, refusals are told one by one."""

import io
import json
import resource
import tracemalloc
from typing import Any

import aiohttp
import pytest

from icure_sync.hub import Hub, bulk
from icure_sync.hub.limits import MAX_VALUES
from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Revision
from icure_sync.store import Store
from tests.hub.conftest import ADMIN, Browser


def replicated(number: int, **members: object) -> dict[str, object]:
    return {"_id": f"d{number:05d}", "_rev": f"1-{number:032x}", **members}


async def test_documents_travel_through_the_hub_unchanged(browse: Browser, clinic: str) -> None:
    docs = [replicated(number, v={"list": [number, "é\U0001f600"], "none": None}) for number in range(1_200)]
    answer = await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": docs})
    assert (answer.status, answer.json) == (201, [])
    wanted = {"docs": [{"id": doc["_id"], "rev": doc["_rev"]} for doc in docs]}
    results = (await browse("POST", f"{clinic}/_bulk_get", wanted)).json["results"]
    assert [one["docs"][0]["ok"] for one in results] == docs


async def test_large_answers_come_in_pages_that_join(
    browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PAGE_BYTES", 10_000)
    monkeypatch.setattr(bulk, "PAGE_ROWS", 7)
    docs = [replicated(number, v="x" * 2_000) for number in range(100)]
    await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": docs})
    wanted = {"docs": [{"id": doc["_id"]} for doc in docs] + [{"id": "never"}, {"id": "d00000", "rev": "x"}]}
    results = (await browse("POST", f"{clinic}/_bulk_get?revs=true", wanted)).json["results"]
    assert [one["docs"][0]["ok"]["_id"] for one in results[:100]] == [doc["_id"] for doc in docs]
    assert [one["docs"][0]["error"]["error"] for one in results[100:]] == ["not_found", "bad_request"]


@pytest.mark.parametrize("query", ["_bulk_get", "wide?open_revs=all"])
async def test_a_document_with_many_large_leaves_is_sent_leaf_by_leaf(
    hub: Hub, browse: Browser, clinic: str, query: str
) -> None:
    body = b'{"v":"' + b"x" * 2**20 + b'"}'
    database = await hub.database("clinic")
    for number in range(40):
        await database.run(_apply, Revision(DocId("wide"), (Rev(f"1-{number:032x}"),), body))
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    headers["Authorization"] = aiohttp.encode_basic_auth(*ADMIN)
    method, data = ("GET", None) if "open_revs" in query else ("POST", b'{"docs":[{"id":"wide"}]}')
    tracemalloc.start()
    try:
        async with browse.session.request(method, f"{hub.url}{clinic}/{query}", data=data, headers=headers) as answer:
            ends = size = 0
            async for chunk in answer.content.iter_any():
                ends += chunk.count(b'"}}')
                size += len(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 40 * 2**20
    assert ends >= 39  # one or another mark may be cut in two
    assert peak < 16 * 2**20


def _apply(store: Store, revision: Revision) -> None:
    assert store.documents.apply([revision]) == []


async def test_the_leaves_of_one_document_go_over_several_pages(
    browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[int] = []
    whole = bulk._next_page

    def counted(store: Store, steps: Any) -> Any:
        pages.append(1)
        return whole(store, steps)

    monkeypatch.setattr(bulk, "_next_page", counted)
    monkeypatch.setattr(bulk, "PAGE_ROWS", 7)
    docs = [{"_id": "wide", "_rev": f"1-{number:032x}"} for number in range(30)]
    await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": docs})
    wanted = {"docs": [{"id": "wide"}, {"id": "never"}, {}, {"id": "wide", "rev": docs[3]["_rev"]}]}
    wide, never, bad, one = (await browse("POST", f"{clinic}/_bulk_get", wanted)).json["results"]
    assert [each["ok"] for each in wide["docs"]] == docs[::-1]
    assert [each["docs"][0]["error"]["error"] for each in (never, bad)] == ["not_found", "bad_request"]
    assert one == {"id": "wide", "docs": [{"ok": docs[3]}]}
    assert len(pages) >= 5


@pytest.mark.parametrize("path", ["_revs_diff", "_missing_revs"])
async def test_what_is_missing_is_looked_up_in_pages_that_join(
    browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    pages: list[int] = []
    whole = bulk._read_missing

    def counted(store: Store, revs: Any) -> Any:
        pages.append(len(revs))
        return whole(store, revs)

    monkeypatch.setattr(bulk, "_read_missing", counted)
    docs = [replicated(number) for number in range(20)]
    docs += [{"_id": "wide", "_rev": f"{generation}-{generation}a"} for generation in range(1, 15)]
    await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": docs})
    asked = {"wide": [f"{1 + number % 9}-{1 + number % 9}{'ab'[number % 2]}" for number in range(25)], "none": []}
    asked |= {f"d{number:05d}": [f"1-{number:032x}", f"{number % 3 + 1}-b"] for number in range(25)}
    at_once = (await browse("POST", f"{clinic}/{path}", asked)).json
    assert (pages, len(at_once.get("missing_revs", at_once))) == ([75], 26)
    monkeypatch.setattr(bulk, "PAGE_ROWS", 7)
    assert (await browse("POST", f"{clinic}/{path}", asked)).json == at_once
    assert pages[1:] == [7] * 10 + [5]


async def test_an_empty_bulk_get_is_answered_with_nothing(browse: Browser, clinic: str) -> None:
    assert (await browse("POST", f"{clinic}/_bulk_get", {"docs": []})).body == b'{"results":[]}\n'


async def test_a_refused_revision_does_not_keep_the_others_out(browse: Browser, clinic: str) -> None:
    docs = [replicated(1), {"_id": "far", "_rev": "200000-a"}, replicated(2)]
    refused = (await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": docs})).json
    assert [(one["id"], one["rev"], one["error"]) for one in refused] == [("far", "200000-a", "bad_request")]
    assert (await browse("GET", f"{clinic}/_all_docs")).json["total_rows"] == 2


async def test_a_batch_is_safe_to_repeat(browse: Browser, clinic: str) -> None:
    batch = {"new_edits": False, "docs": [replicated(number) for number in range(10)]}
    await browse("POST", f"{clinic}/_bulk_docs", batch)
    seq = (await browse("GET", clinic)).json["update_seq"]
    await browse("POST", f"{clinic}/_bulk_docs", batch)
    assert (await browse("GET", clinic)).json["update_seq"] == seq


async def test_edits_of_one_batch_see_each_other(browse: Browser, clinic: str) -> None:
    docs = [{"_id": "a", "v": 1}, {"_id": "a", "v": 2}, {"_id": "_local/cp", "v": 3}, {"_id": "b"}]
    rows = (await browse("POST", f"{clinic}/_bulk_docs", {"docs": docs})).json
    assert [row.get("error") for row in rows] == [None, "conflict", None, None]
    assert [row["id"] for row in rows] == ["a", "a", "_local/cp", "b"]


async def test_nothing_of_a_batch_with_a_lost_stub_is_stored(browse: Browser, clinic: str) -> None:
    docs = [replicated(1), replicated(2, _attachments={"f": {"stub": True, "revpos": 1}})]
    answer = await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": docs})
    assert (answer.status, answer.json["error"]) == (412, "missing_stub")
    assert (await browse("GET", f"{clinic}/_all_docs")).json["total_rows"] == 0


async def test_a_document_that_no_reader_can_hold_is_refused_alone(browse: Browser, clinic: str) -> None:
    path = f"{clinic}/_bulk_docs"
    headers = {"Content-Type": "application/json"}
    for number in (b"1e999", b"-1.5E+400", b"9" * 401, b"9" * 5_000):
        docs = b'[{"_id":"good"},{"_id":"bad","_rev":"1-a","v":[' + number + b"]}]"
        edits = (await browse("POST", path, data=b'{"docs":' + docs + b"}", headers=headers)).json
        assert [row.get("error") for row in edits][1] == "bad_request"
        docs = docs.replace(b'"good"', b'"good","_rev":"1-b"')
        rows = await browse("POST", path, data=b'{"new_edits":false,"docs":' + docs + b"}", headers=headers)
        assert [(row["id"], row["rev"], row["error"]) for row in rows.json] == [("bad", "1-a", "bad_request")]
        alone = await browse("PUT", f"{clinic}/bad", data=b'{"v":' + number + b"}", headers=headers)
        assert (alone.status, alone.json["error"]) == (400, "bad_request")
    assert [row["id"] for row in (await browse("GET", f"{clinic}/_all_docs")).json["rows"]] == ["good"]


async def test_entries_that_ask_for_nothing_readable_get_a_row_each(browse: Browser, clinic: str) -> None:
    await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": [replicated(1)]})
    asked = [
        1,
        {},
        {"id": 1},
        {"rev": "1-a"},
        {"id": ""},
        {"id": "_x"},
        {"id": "d00001", "rev": 5},
        {"id": "d00001", "rev": None},
        {"id": "d00001", "atts_since": 5},
        {"id": "d00001", "atts_since": ["x"]},
        {"id": "d00001"},
    ]
    results = (await browse("POST", f"{clinic}/_bulk_get", {"docs": asked})).json["results"]
    said = [(one["id"], one["docs"][0]["error"]["rev"], one["docs"][0]["error"]["error"]) for one in results[:-1]]
    assert said == [
        (None, None, "bad_request"),
        (None, None, "bad_request"),
        (None, None, "bad_request"),
        (None, None, "bad_request"),
        ("", None, "illegal_docid"),
        ("_x", None, "illegal_docid"),
        ("d00001", 5, "bad_request"),
        ("d00001", None, "bad_request"),
        ("d00001", 5, "bad_request"),
        ("d00001", "x", "bad_request"),
    ]
    assert results[-1]["docs"][0]["ok"]["_id"] == "d00001"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("_bulk_docs", b'{"docs":[' + b"{}," * MAX_VALUES + b"{}]}"),
        ("_bulk_get", b'{"docs":[' + b"[]," * MAX_VALUES + b"[]]}"),
        ("_revs_diff", b"{" + b'"a":[],' * MAX_VALUES + b'"b":[]}'),
        ("_all_docs", b'{"keys":[' + b"1," * MAX_VALUES + b"1]}"),
    ],
)
async def test_millions_of_small_values_are_refused_before_they_are_made(
    browse: Browser, clinic: str, path: str, text: bytes
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    headers = {"Content-Type": "application/json"}
    answer = await browse("POST", f"{clinic}/{path}", data=io.BytesIO(text), headers=headers)
    assert (answer.status, answer.json["error"]) == (413, "too_large")
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 10 * len(text)


@pytest.mark.parametrize("asked", [{f"d{number}": [] for number in range(100_001)}, {"a": ["1-a"] * 100_001}])
async def test_too_many_ids_or_revisions_are_refused(browse: Browser, clinic: str, asked: object) -> None:
    assert (await browse("POST", f"{clinic}/_revs_diff", asked)).json["error"] == "bad_request"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("_bulk_docs", {"docs": {}}),
        ("_bulk_docs", {"docs": [[]]}),
        ("_bulk_docs", {"docs": [], "new_edits": "no"}),
        ("_bulk_get", {"docs": {}}),
        ("_revs_diff", {"a": [1]}),
        ("_revs_diff", {"a": ["1"]}),
        ("_all_docs", {"keys": 1}),
        ("_all_docs", {"limit": -5}),
        ("_all_docs/queries", {"queries": [1]}),
        ("_changes?filter=_selector", {"selector": []}),
        ("_changes?filter=_selector", {"selector": {"a": 1}, "fields": 1}),
    ],
)
async def test_what_is_no_batch_is_a_bad_request(browse: Browser, clinic: str, path: str, body: object) -> None:
    assert (await browse("POST", f"{clinic}/{path}", body)).status == 400


async def test_a_listing_of_many_documents_is_one_json_object(browse: Browser, clinic: str) -> None:
    docs = [{"_id": f"d{number:04d}", "n": number} for number in range(1_000)]
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": docs})
    rows = (await browse("GET", f"{clinic}/_all_docs?include_docs=true")).json["rows"]
    assert [row["doc"]["n"] for row in rows] == list(range(1_000))
    part = (await browse("GET", f'{clinic}/_all_docs?startkey="d0300"&skip=10&limit=600')).json
    assert (part["offset"], len(part["rows"]), part["rows"][0]["id"]) == (310, 600, "d0310")
    some = json.dumps([f"d{number:04d}" for number in range(0, 1_000, 2)])
    assert len((await browse("POST", f"{clinic}/_all_docs", {"keys": json.loads(some)})).json["rows"]) == 500


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("startkey=null", ["a", "b"]),
        ("startkey={}", ["a", "b"]),
        ("endkey=null", []),
        ("endkey={}", []),
        ("descending=true&endkey={}", ["b", "a"]),
        ("descending=true&startkey={}", []),
        ('startkey="b"&endkey="a"', []),
        ('endkey="b"&inclusive_end=false', ["a"]),
        ('descending=true&endkey="a"&inclusive_end=false', ["b"]),
    ],
)
async def test_keys_collate_as_in_couchdb(browse: Browser, clinic: str, query: str, ids: list[str]) -> None:
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": "a"}, {"_id": "b"}]})
    rows = (await browse("GET", f"{clinic}/_all_docs?" + query.replace('"', "%22"))).json["rows"]
    assert [row["id"] for row in rows] == ids
