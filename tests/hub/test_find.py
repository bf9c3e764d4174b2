"""`_find`: what it finds, in which order and by which index; what it says beside; what it refuses."""

import asyncio
import json
from typing import Any

import pytest

from icure_sync.hub import running
from icure_sync.hub.limits import PAGE_ROWS, SCAN_WARNING
from icure_sync.store.indexes import Indexes
from tests.hub.conftest import Browser

PEOPLE: list[dict[str, Any]] = [
    {"_id": "ann", "name": "Ann", "age": 31, "tags": ["x", "y"], "home": {"city": "Riga"}},
    {"_id": "bob", "name": "Bob", "age": 25, "tags": ["y"], "home": {"city": "Oslo"}},
    {"_id": "cyd", "name": "Cyd", "age": 40},
    {"_id": "dee", "tags": [{"k": 2}]},
    {"_id": "eve", "name": "Eve", "age": None},
]


@pytest.fixture
async def people(browse: Browser, clinic: str) -> str:
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": PEOPLE})
    return clinic


async def find(browse: Browser, path: str, selector: Any, **options: Any) -> Any:
    answer = await browse("POST", f"{path}/_find", {"selector": selector, **options})
    assert answer.status == 200, answer.body
    return answer.json


async def ids(browse: Browser, path: str, selector: Any, **options: Any) -> list[str]:
    return [doc["_id"] for doc in (await find(browse, path, selector, **options))["docs"]]


async def make_index(browse: Browser, path: str, *fields: Any, name: str, **definition: Any) -> None:
    body = {"index": {"fields": fields, **definition}, "name": name, "ddoc": name}
    assert (await browse("POST", f"{path}/_index", body)).json["result"] == "created"


async def test_without_an_index_documents_come_by_id_with_a_warning(browse: Browser, people: str) -> None:
    found = await find(browse, people, {"age": {"$gt": 26}})
    assert [(doc["_id"], doc["age"], doc["_rev"][:2]) for doc in found["docs"]] == [
        ("ann", 31, "1-"),
        ("cyd", 40, "1-"),
    ]
    assert found["warning"] == "No matching index found, create an index to optimize query time."


async def test_values_that_differ_far_behind_are_told_apart_with_an_index_as_without(
    browse: Browser, clinic: str
) -> None:
    texts = [letter * 3_000 + end for letter in "aéﷺ" for end in ("", "1", "2", "b", "B")] + ["a", "b", "\u200bb"]
    docs = [{"_id": f"d{n:02}", "text": text, "n": n % 4} for n, text in enumerate(texts)]
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": docs})
    conditions = [{operator: text} for text in texts for operator in ("$eq", "$lt", "$gte", "$beginsWith")]
    selectors = [{"text": one, **two} for one in conditions for two in ({"n": {"$gte": 0}}, {"n": {"$gt": 1}})]
    selectors.append({"text": {"$exists": True}, "n": {"$exists": True}})
    without = [sorted(await ids(browse, clinic, selector, limit=100)) for selector in selectors]
    await make_index(browse, clinic, "text", "n", name="by-text")
    for selector, expected in zip(selectors, without, strict=True):
        found = await find(browse, clinic, selector, limit=100, use_index="by-text")
        assert sorted(doc["_id"] for doc in found["docs"]) == expected
        assert "warning" not in found
    seen, bookmark = [], None
    while page := await find(browse, clinic, selectors[-1], sort=["text"], limit=4, bookmark=bookmark):
        if not page["docs"]:
            break
        seen += [doc["_id"] for doc in page["docs"]]
        bookmark = page["bookmark"]
    assert sorted(seen) == [doc["_id"] for doc in docs]


async def test_an_index_gives_its_order_and_no_warning(browse: Browser, people: str) -> None:
    await make_index(browse, people, "age", name="by-age")
    found = await find(browse, people, {"age": {"$gt": 0}}, sort=["age"], fields=["_id", "age"])
    assert found["docs"] == [{"_id": "bob", "age": 25}, {"_id": "ann", "age": 31}, {"_id": "cyd", "age": 40}]
    assert "warning" not in found
    assert await ids(browse, people, {"age": {"$gt": None}}, sort=[{"age": "desc"}]) == ["cyd", "ann", "bob"]
    assert await ids(browse, people, {"age": {"$lt": 31}}) == ["eve", "bob"]


async def test_what_is_written_later_is_found_by_the_index(browse: Browser, people: str) -> None:
    await make_index(browse, people, "age", name="by-age")
    assert await ids(browse, people, {"age": 31}) == ["ann"]
    await browse("PUT", f"{people}/fay", {"age": 31})
    rev = (await browse("GET", f"{people}/ann")).json["_rev"]
    await browse("DELETE", f"{people}/ann?rev={rev}")
    replicated = {"_id": "gil", "_rev": f"1-{'a' * 32}", "age": 31}
    await browse("POST", f"{people}/_bulk_docs", {"docs": [replicated], "new_edits": False})
    assert await ids(browse, people, {"age": 31}) == ["fay", "gil"]
    await browse("POST", f"{people}/_purge", {"gil": [f"1-{'a' * 32}"]})
    assert await ids(browse, people, {"age": 31}) == ["fay"]


async def test_an_index_over_a_large_database_is_built_while_others_are_served(browse: Browser, clinic: str) -> None:
    docs = [{"_id": f"doc-{n:05}", "age": n % 7} for n in range(3 * PAGE_ROWS)]
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": docs})
    await make_index(browse, clinic, "age", name="by-age")
    found, other = await asyncio.gather(
        ids(browse, clinic, {"age": 3}, limit=10_000), browse("GET", f"{clinic}/doc-00000")
    )
    assert found == [doc["_id"] for doc in docs if doc["age"] == 3]
    assert other.status == 200


async def test_an_index_may_be_taken_as_far_as_it_has_come(browse: Browser, clinic: str) -> None:
    docs = [{"_id": f"doc-{n:05}", "age": 1} for n in range(PAGE_ROWS)]
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": docs})
    await make_index(browse, clinic, "age", name="by-age")
    assert await ids(browse, clinic, {"age": 1}, update=False) == []
    assert await ids(browse, clinic, {"age": 1}, stale="ok") == []
    assert len(await ids(browse, clinic, {"age": 1})) == 25


async def test_a_partial_index_holds_what_passes_and_is_used_when_named(browse: Browser, people: str) -> None:
    await make_index(browse, people, "name", name="grown", partial_filter_selector={"age": {"$gt": 26}})
    assert await ids(browse, people, {"name": {"$gt": None}}, use_index="grown") == ["ann", "cyd"]
    found = await find(browse, people, {"name": {"$gt": None}})
    assert [doc["_id"] for doc in found["docs"]] == ["ann", "bob", "cyd", "eve"]
    assert "No matching index" in found["warning"]


async def test_several_fields_are_one_order(browse: Browser, clinic: str) -> None:
    docs = [{"_id": f"{a}{b}", "a": a, "b": b} for a in (1, 2) for b in (3, 1, 2)]
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": docs})
    await make_index(browse, clinic, "a", "b", name="both")
    assert await ids(browse, clinic, {"a": {"$gt": 0}}, sort=["a", "b"]) == ["11", "12", "13", "21", "22", "23"]
    assert await ids(browse, clinic, {"a": 2, "b": {"$gte": 2}}) == ["22", "23"]
    assert await ids(browse, clinic, {"a": 2}, sort=[{"b": "desc"}]) == ["23", "22", "21"]
    stats = (await find(browse, clinic, {"a": 2, "b": {"$gt": 1}}, execution_stats=True))["execution_stats"]
    assert stats["total_keys_examined"] == 3


async def test_a_sort_needs_an_index(browse: Browser, people: str) -> None:
    await make_index(browse, people, "age", name="by-age")
    for sort in (["name"], ["age", "name"], [{"_id": "asc"}]):
        answer = await browse("POST", f"{people}/_find", {"selector": {"age": {"$gt": 0}}, "sort": sort})
        assert (answer.status, answer.json["error"]) == (400, "no_usable_index")
        assert answer.json["reason"] == "No index exists for this sort, try indexing by the sort fields."


async def test_the_index_asked_for_is_taken_or_a_warning_given(browse: Browser, people: str) -> None:
    await make_index(browse, people, "age", name="by-age")
    for use_index in ("by-age", "_design/by-age", ["by-age", "by-age"], "by-age/by-age"):
        assert "warning" not in await find(browse, people, {"age": 31}, use_index=use_index)
    found = await find(browse, people, {"age": 31}, use_index="by-name")
    assert found["warning"] == (
        "_design/by-name was not used because it does not contain a valid index for this query."
    )
    found = await find(browse, people, {"age": 31}, use_index=["by-age", "other"])
    assert found["warning"] == "_design/by-age, other was not used because it is not a valid index for this query."
    refused = {"selector": {"age": 31}, "use_index": "by-name", "allow_fallback": False}
    answer = await browse("POST", f"{people}/_find", refused)
    assert answer.json["reason"] == "_design/by-name specified by `use_index` could not be found or it is not suitable."
    answer = await browse("POST", f"{people}/_find", {"selector": {"name": "Ann"}, "allow_fallback": False})
    assert answer.json["reason"] == "You must specify an index with the `use_index` parameter."


@pytest.mark.parametrize("sort", [[], ["age"], [{"age": "desc"}]])
async def test_bookmarks_lead_through_all_pages(browse: Browser, clinic: str, sort: list[Any]) -> None:
    docs = [{"_id": f"doc-{n}", "age": n // 3} for n in range(11)]
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": docs})
    await make_index(browse, clinic, "age", name="by-age")
    selector = {"age": {"$gte": 0}} if sort else {"_id": {"$gt": None}}
    whole = await ids(browse, clinic, selector, sort=sort)
    pages: list[str] = []
    bookmark = None
    while page := (found := await find(browse, clinic, selector, sort=sort, limit=4, bookmark=bookmark))["docs"]:
        pages += [doc["_id"] for doc in page]
        bookmark = found["bookmark"]
        await browse("DELETE", f"{clinic}/{page[-1]['_id']}?rev={page[-1]['_rev']}")  # where the next page begins
    assert pages == whole
    assert len(pages) == 11
    assert found["bookmark"] == bookmark


async def test_skip_and_limit_count_documents_that_pass(browse: Browser, people: str) -> None:
    assert await ids(browse, people, {"name": {"$gt": None}}, skip=1, limit=2) == ["bob", "cyd"]
    found = await find(browse, people, {}, limit=0)
    assert (found["docs"], found["bookmark"]) == ([], "nil")


async def test_twenty_five_documents_are_the_default(browse: Browser, clinic: str) -> None:
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": f"doc-{n}"} for n in range(30)]})
    assert len(await ids(browse, clinic, {})) == 25
    assert len(await ids(browse, clinic, {}, limit=100)) == 30


async def test_chosen_fields_keep_their_places(browse: Browser, people: str) -> None:
    found = await find(browse, people, {"_id": "ann"}, fields=["name", "home.city", "nothing", "name.first"])
    assert found["docs"] == [{"name": "Ann", "home": {"city": "Riga"}}]
    await browse("PUT", f"{people}/dot", {"a.b": 1, "a": {"c": 2}})
    assert (await find(browse, people, {"a\\.b": 1}, fields=["a\\.b", "a.c"]))["docs"] == [{"a.b": 1, "a": {"c": 2}}]


async def test_design_documents_are_never_found(browse: Browser, people: str) -> None:
    await make_index(browse, people, "_id", name="by-id")
    assert await ids(browse, people, {"_id": {"$gt": None}}) == ["ann", "bob", "cyd", "dee", "eve"]
    assert await ids(browse, people, {"language": "query"}) == []


async def test_ids_are_compared_bytewise(browse: Browser, clinic: str) -> None:
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": name} for name in ("a", "B", "b", "é")]})
    assert await ids(browse, clinic, {"_id": {"$gt": "B"}}) == ["a", "b", "é"]
    assert await ids(browse, clinic, {"_id": {"$gt": "a", "$lte": "b"}}) == ["b"]
    assert await ids(browse, clinic, {"_id": {"$gt": 5}}) == ["B", "a", "b", "é"]
    assert await ids(browse, clinic, {"_id": {"$gt": ["z"]}}) == ["B", "a", "b", "é"]
    assert await ids(browse, clinic, {"_id": {"$lt": 5}}) == []
    assert await ids(browse, clinic, {"_id": {"$beginsWith": "b"}}) == ["b"]


async def test_a_selector_that_holds_nothing_is_not_run(browse: Browser, people: str) -> None:
    await make_index(browse, people, "age", name="by-age")
    for selector in ({"$and": []}, {"$or": []}, {"age": {"$gt": 5, "$lt": 3}}, {"_id": {"$gt": "z", "$lt": "a"}}):
        assert await find(browse, people, selector) == {"docs": []}


async def test_conflicts_are_shown_and_can_be_looked_for(browse: Browser, clinic: str) -> None:
    revs = [{"_id": "john", "_rev": f"1-{letter * 32}", "name": letter} for letter in "ab"]
    await browse(
        "POST", f"{clinic}/_bulk_docs", {"docs": [*revs, {"_id": "ann", "_rev": f"1-{'c' * 32}"}], "new_edits": False}
    )
    found = await find(browse, clinic, {"_conflicts": {"$exists": True}}, conflicts=True)
    assert found["docs"] == [{"_id": "john", "_rev": f"1-{'b' * 32}", "name": "b", "_conflicts": [f"1-{'a' * 32}"]}]
    assert "_conflicts" not in (await find(browse, clinic, {"_id": "john"}))["docs"][0]
    await make_index(browse, clinic, "_conflicts", name="by-conflicts")
    selector = {"_conflicts": {"$exists": True}}
    assert await ids(browse, clinic, selector, conflicts=True, use_index="by-conflicts") == ["john"]


async def test_attachments_are_stubs_and_can_be_looked_for(browse: Browser, clinic: str) -> None:
    text = {"content_type": "text/plain", "data": "aGVsbG8="}
    await browse("PUT", f"{clinic}/john", {"_attachments": {"a.txt": text}})
    found = await find(browse, clinic, {"_attachments.a\\.txt.length": 5})
    assert found["docs"][0]["_attachments"]["a.txt"]["stub"] is True


async def test_stats_count_what_was_looked_at(browse: Browser, people: str) -> None:
    async def stats(selector: Any, **options: Any) -> tuple[int, int, int, int]:
        found = (await find(browse, people, selector, execution_stats=True, **options))["execution_stats"]
        assert found["execution_time_ms"] > 0
        return (
            found["total_keys_examined"],
            found["total_docs_examined"],
            found["total_quorum_docs_examined"],
            found["results_returned"],
        )

    assert await stats({"age": {"$gt": 26}}) == (5, 5, 0, 2)
    await make_index(browse, people, "age", name="by-age")
    assert await stats({"age": {"$gt": 26}}) == (2, 2, 0, 2)
    assert await stats({"age": {"$gt": 26}}, r=2) == (2, 0, 2, 2)
    assert await stats({"age": {"$gt": 0}}, limit=1) == (2, 2, 0, 1)
    assert await stats({"age": {"$gt": 0}}, fields=["_id", "age"]) == (3, 0, 0, 3)


async def test_a_query_that_reads_much_and_finds_little_warns(browse: Browser, clinic: str) -> None:
    docs = [{"_id": f"doc-{n}", "age": n, "name": "x"} for n in range(SCAN_WARNING + 1)]
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": docs})
    await make_index(browse, clinic, "age", name="by-age")
    found = await find(browse, clinic, {"age": {"$gte": 0}, "name": "y"})
    assert found["warning"].startswith("The number of documents examined is high in proportion")


async def test_pages_are_bounded_in_bytes_and_in_time(
    browse: Browser, people: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, bound in (("PAGE_BYTES", 1), ("PAGE_SECONDS", 0.0), ("PAGE_ROWS", 2)):
        with monkeypatch.context() as patch:
            patch.setattr(running, name, bound)
            assert await ids(browse, people, {"name": {"$gt": None}}) == ["ann", "bob", "cyd", "eve"]
            assert await ids(browse, people, {}, limit=3, skip=1) == ["bob", "cyd", "dee"]


async def test_large_fields_are_found_and_shown_page_by_page(browse: Browser, clinic: str) -> None:
    docs = [{"_id": f"doc-{n}", "text": f"{n}{'x' * 400_000}"} for n in range(6)]
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": docs})
    await make_index(browse, clinic, "text", name="by-text")
    found = await find(browse, clinic, {"text": {"$gt": "1"}}, sort=["text"])
    assert [doc["_id"] for doc in found["docs"]] == [f"doc-{n}" for n in range(1, 6)]
    assert await ids(
        browse, clinic, {"text": {"$gt": None}}, sort=[{"text": "desc"}], fields=["_id", "text"], skip=4
    ) == [
        "doc-1",
        "doc-0",
    ]


async def test_an_index_that_is_deleted_meanwhile_ends_the_query(
    browse: Browser, people: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_index(browse, people, "age", name="by-age")
    monkeypatch.setattr(Indexes, "has", lambda *_: False)
    answer = await browse("POST", f"{people}/_find", {"selector": {"age": 31}})
    assert (answer.status, answer.json["reason"]) == (404, "the index was deleted meanwhile")


REFUSED = [
    ({}, "missing_required_key", "Missing required key: selector"),
    ({"selector": "text"}, "invalid_selector_json", "Selector must be a JSON object, not: <<116,101,120,116>>"),
    ({"selector": {"a": {"$in": 1}}}, "bad_arg", "Bad argument for operator $in: 1"),
    ({"selector": {"$where": 1}}, "not_supported", "Unsupported operator: $where"),
    ({"selector": {"a..b": 1}}, "invalid_field_name", "Invalid field name: a..b"),
    ({"limit": -1}, "invalid_non_neg_integer", "-1 is not an integer greater than or equal to zero"),
    ({"skip": "x"}, "invalid_non_neg_integer", "<<120>> is not an integer greater than or equal to zero"),
    ({"r": 0}, "invalid_pos_integer", "0 is not an integer greater than zero"),
    ({"conflicts": 1}, "invalid_boolean", "Invalid boolean value: 1"),
    ({"stale": "x"}, "invalid_ok_or_false_value", "Invalid value for stale: <<120>>"),
    ({"fields": "name"}, "invalid_fields", "Fields must be an array of strings, not: <<110,97,109,101>>"),
    ({"fields": [1.0]}, "invalid_field", "Invalid JSON for field spec: 1.0"),
    ({"fields": ["a."]}, "invalid_field_name", "Invalid field name: a."),
    ({"sort": "age"}, "invalid_sort_json", 'Sort must be an array of sort specs, not: <<"age">>'),
    ({"sort": [{"a": "up"}]}, "invalid_sort_field", 'Invalid sort field: {[{<<"a">>,<<"up">>}]}'),
    (
        {"sort": ["a", {"b": "desc"}]},
        "unsupported_mixed_sort",
        "Sorts currently only support a single direction for all fields.",
    ),
    ({"use_index": ["a", "b", "c"]}, "invalid_index_name", "Invalid index name: [<<97>>,<<98>>,<<99>>]"),
    ({"bookmark": "nonsense"}, "invalid_bookmark", 'Invalid bookmark value: "nonsense"'),
    ({"bookmark": 1}, "invalid_bookmark", "Invalid bookmark value: 1"),
    ({"partition": 1}, "illegal_partition", "Partition must be a string"),
    ({"partition": "x"}, "query_parse_error", "`partition` parameter is not supported on this db"),
    ({"limits": 1}, "invalid_key", "Invalid key limits for this request."),
]


@pytest.mark.parametrize(("body", "error", "reason"), REFUSED, ids=[json.dumps(body) for body, *_ in REFUSED])
async def test_what_is_refused_is_refused_in_couchdbs_words(
    browse: Browser, people: str, body: dict[str, Any], error: str, reason: str
) -> None:
    whole = body if not body or "selector" in body else {"selector": {"a": 1}, **body}
    answer = await browse("POST", f"{people}/_find", whole)
    assert (answer.status, answer.json) == (400, {"error": error, "reason": reason})


async def test_a_bookmark_of_another_query_is_refused(browse: Browser, people: str) -> None:
    await make_index(browse, people, "age", name="by-age")
    bookmark = (await find(browse, people, {"age": {"$gt": 0}}, limit=1))["bookmark"]
    answer = await browse("POST", f"{people}/_find", {"selector": {"name": "Ann"}, "bookmark": bookmark})
    assert (answer.status, answer.json["error"]) == (400, "invalid_bookmark")


async def test_members_may_search_and_strangers_not(browse: Browser, people: str) -> None:
    rita = await browse.make_user("rita", "a long password")
    adam = await browse.make_user("adam", "a long password")
    await browse("PUT", f"{people}/_security", {"members": {"names": ["rita"]}, "admins": {"names": []}})
    query = {"selector": {"_id": "ann"}}
    for path in ("_find", "_explain"):
        assert (await browse("POST", f"{people}/{path}", query, auth=rita)).status == 200
        assert (await browse("POST", f"{people}/{path}", query, auth=adam)).status == 403
        assert (await browse("POST", f"{people}/{path}", query, auth=None)).status == 401
        assert (await browse("GET", f"{people}/{path}")).status == 405
        plain = await browse("POST", f"{people}/{path}", headers={"Content-Type": "text/plain"}, data=b"{}")
        assert plain.status == 415
