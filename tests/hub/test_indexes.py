"""`_index`: making, listing and deleting indexes, which are design documents; and `_explain`."""

import asyncio
import json
from typing import Any

import pytest

from icure_sync.hub.databases import Database
from icure_sync.hub.selectors import MAX_PARTS, MAX_STORED_PARTS
from icure_sync.hub.server import Hub
from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Revision
from icure_sync.store import Store
from icure_sync.store import indexes as indexes_of_a_store
from tests.hub.conftest import ADMIN, Browser

ALL_DOCS = {"ddoc": None, "name": "_all_docs", "type": "special", "def": {"fields": [{"_id": "asc"}]}}


def listed(name: str, *fields: dict[str, str], ddoc: str = "", **more: Any) -> dict[str, Any]:
    """An index as `_index` lists it."""
    definition = {"fields": list(fields), **more}
    return {"ddoc": f"_design/{ddoc or name}", "name": name, "type": "json", "partitioned": False, "def": definition}


async def make(browse: Browser, path: str, name: str, *fields: Any, ddoc: str = "", **definition: Any) -> Any:
    body = {"index": {"fields": fields, **definition}, "name": name, "ddoc": ddoc or name}
    return (await browse("POST", f"{path}/_index", body)).json


async def indexes(browse: Browser, path: str) -> list[Any]:
    answer = (await browse("GET", f"{path}/_index")).json
    assert answer["total_rows"] == len(answer["indexes"])
    return answer["indexes"]


async def test_an_index_is_made_once(browse: Browser, clinic: str) -> None:
    assert await indexes(browse, clinic) == [ALL_DOCS]
    made = await make(browse, clinic, "by-age", "age")
    assert made == {"result": "created", "id": "_design/by-age", "name": "by-age"}
    assert (await make(browse, clinic, "by-age", "age"))["result"] == "exists"
    assert (await make(browse, clinic, "by-age", {"age": "desc"}))["result"] == "created"
    assert await indexes(browse, clinic) == [ALL_DOCS, listed("by-age", {"age": "desc"})]


async def test_an_index_by_an_absurd_place_in_an_array_stops_no_write(browse: Browser, clinic: str) -> None:
    place = "tags." + "9" * 5_000
    await make(browse, clinic, "by-place", place)
    assert (await browse("POST", f"{clinic}/_find", {"selector": {place: "x"}})).json["docs"] == []
    assert (await browse("PUT", f"{clinic}/a", {"tags": ["x"]})).status == 201
    assert (await browse("POST", f"{clinic}/_find", {"selector": {place: "x"}})).json["docs"] == []


async def test_an_index_is_a_view_of_a_design_document(browse: Browser, clinic: str) -> None:
    await make(browse, clinic, "one", {"age": "desc"}, {"name": "desc"}, ddoc="_design/both")
    await make(browse, clinic, "two", "name", ddoc="both", partial_filter_selector={"age": 1})
    assert (await browse("GET", f"{clinic}/_design/both")).json | {"_rev": ""} == {
        "_id": "_design/both",
        "_rev": "",
        "language": "query",
        "views": {
            "one": {
                "map": {"fields": {"age": "desc", "name": "desc"}, "partial_filter_selector": {}},
                "reduce": "_count",
                "options": {"def": {"fields": [{"age": "desc"}, {"name": "desc"}]}},
            },
            "two": {
                "map": {"fields": {"name": "asc"}, "partial_filter_selector": {"age": {"$eq": 1}}},
                "reduce": "_count",
                "options": {"def": {"fields": ["name"], "partial_filter_selector": {"age": 1}}},
            },
        },
    }
    assert [row["id"] for row in (await browse("GET", f"{clinic}/_design_docs")).json["rows"]] == ["_design/both"]
    assert await indexes(browse, clinic) == [
        ALL_DOCS,
        listed("one", {"age": "desc"}, {"name": "desc"}, ddoc="both"),
        listed("two", {"name": "asc"}, ddoc="both", partial_filter_selector={"age": {"$eq": 1}}),
    ]


async def test_an_index_without_a_name_has_the_one_that_couchdb_gives_it(browse: Browser, clinic: str) -> None:
    for body, name in (
        ({"index": {"fields": ["age"]}}, "ae8325de4e40689e6a6f4843a539d4b91f68c4f1"),
        (
            {"index": {"fields": ["a"], "partial_filter_selector": {}}, "name": "emptypart"},
            "f48d0b5f6d11ad3254101eb4e13d3a06c2fc9771",
        ),
        ({"index": {"fields": ["a"]}, "partitioned": False, "name": "p"}, "3ab6055373c223398b5f5a0d8124f5d0828e0e0f"),
    ):
        answer = (await browse("POST", f"{clinic}/_index", body)).json
        assert answer == {"result": "created", "id": f"_design/{name}", "name": body.get("name", name)}


async def test_indexes_are_listed_in_parts(browse: Browser, clinic: str) -> None:
    for name in ("c", "a", "b"):
        await make(browse, clinic, name, "x")
    answer = (await browse("GET", f"{clinic}/_index?limit=2&skip=1")).json
    assert (answer["total_rows"], [one["name"] for one in answer["indexes"]]) == (4, ["a", "b"])
    for query in ("limit=0", "skip=-1", "limit=x"):
        assert (await browse("GET", f"{clinic}/_index?{query}")).json["error"] == "invalid_list_index_params"


@pytest.mark.parametrize("path", ["both", "_design/both", "_design%2Fboth"])
async def test_an_index_is_deleted_and_its_design_document_with_the_last(
    browse: Browser, clinic: str, path: str
) -> None:
    await make(browse, clinic, "one", "age", ddoc="both")
    await make(browse, clinic, "two", "name", ddoc="both")
    for missing in ("both/json/three", "both/text/one", "other/json/one", "null/special/_all_docs"):
        answer = await browse("DELETE", f"{clinic}/_index/{missing}")
        assert (answer.status, answer.json) == (404, {"error": "not_found", "reason": "missing"})
    assert (await browse("DELETE", f"{clinic}/_index/{path}/json/one")).json == {"ok": True}
    assert await indexes(browse, clinic) == [ALL_DOCS, listed("two", {"name": "asc"}, ddoc="both")]
    assert (await browse("DELETE", f"{clinic}/_index/{path}/json/two")).json == {"ok": True}
    assert (await browse("GET", f"{clinic}/_design/both")).json["reason"] == "deleted"
    assert (await make(browse, clinic, "one", "age", ddoc="both"))["result"] == "created"


@pytest.mark.parametrize("body", [b'{"language":"query"}', b"{}"])
async def test_an_index_that_another_takes_away_meanwhile_is_a_conflict(
    browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """The design document loses its views, or is deleted, between two visits to the store."""
    await make(browse, clinic, "one", "age")
    first = Rev((await browse("GET", f"{clinic}/_design/one")).json["_rev"])
    rival = Revision(DocId("_design/one"), (Rev("2-f"), first), body, deleted=body == b"{}")
    with monkeypatch.context() as meanwhile:
        _let_in(meanwhile, rival)
        answer = await browse("DELETE", f"{clinic}/_index/one/json/one")
    assert (answer.status, answer.json["error"]) == (500, "error_saving_ddoc")
    assert (await browse("DELETE", f"{clinic}/_index/one/json/one")).status == 404


async def test_of_many_indexes_that_are_deleted_one_may_fail(
    browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        await make(browse, clinic, name, "x")
    design = (await browse("GET", f"{clinic}/_design/a")).json
    first = Rev(design.pop("_rev"))
    rival = Revision(DocId(design.pop("_id")), (Rev("2-f"), first), json.dumps(design | {"more": 1}).encode(), False)
    with monkeypatch.context() as meanwhile:
        _let_in(meanwhile, rival)
        answer = await browse("POST", f"{clinic}/_index/_bulk_delete", {"docids": ["a", "b"]})
    assert (answer.status, answer.json) == (
        200,
        {"success": [{"id": "_design/b", "ok": True}], "fail": [{"id": "_design/a", "error": "conflict"}]},
    )
    assert await indexes(browse, clinic) == [ALL_DOCS, listed("a", {"x": "asc"})]


def _let_in(meanwhile: pytest.MonkeyPatch, rival: Revision) -> None:
    """Have a revision arrive between two visits to the store."""
    rivals = [rival]
    run = Database.run

    async def run_with_a_rival(database: Database, function: Any, *args: Any) -> Any:
        found = await run(database, function, *args)
        if rivals:
            await run(database, _apply, rivals.pop())
        return found

    meanwhile.setattr(Database, "run", run_with_a_rival)


def _apply(store: Store, revision: Revision) -> None:
    assert store.documents.apply([revision]) == []


async def test_many_indexes_are_deleted_at_once(browse: Browser, clinic: str) -> None:
    for name in ("a", "b", "c"):
        await make(browse, clinic, name, "x")
    await make(browse, clinic, "c2", "y", ddoc="c")
    answer = await browse("POST", f"{clinic}/_index/_bulk_delete", {"docids": ["a", "none", "_design/c"], "w": 3})
    assert answer.json == {
        "success": [{"id": "_design/c", "ok": True}, {"id": "_design/a", "ok": True}],
        "fail": [{"id": "_design/none", "error": "not_found"}],
    }
    assert await indexes(browse, clinic) == [ALL_DOCS, listed("b", {"x": "asc"})]


async def test_a_design_document_deleted_or_replicated_in_takes_or_brings_its_indexes(
    browse: Browser, clinic: str
) -> None:
    await browse("PUT", f"{clinic}/ann", {"age": 31})
    await make(browse, clinic, "by-age", "age")
    rev = (await browse("GET", f"{clinic}/_design/by-age")).json["_rev"]
    await browse("DELETE", f"{clinic}/_design/by-age?rev={rev}")
    assert await indexes(browse, clinic) == [ALL_DOCS]
    view = {"map": {"fields": {"age": "asc"}}, "reduce": "_count", "options": {"def": {"fields": ["age"]}}}
    design = {"_id": "_design/from-afar", "_rev": f"1-{'a' * 32}", "language": "query", "views": {"by-age": view}}
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": [design], "new_edits": False})
    assert await indexes(browse, clinic) == [ALL_DOCS, listed("by-age", {"age": "asc"}, ddoc="from-afar")]
    found = (await browse("POST", f"{clinic}/_find", {"selector": {"age": 31}})).json
    assert (found["docs"][0]["_id"], "warning" in found) == ("ann", False)


async def test_what_is_left_of_deleted_indexes_can_be_cleaned_up(
    browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes_of_a_store, "DROPPED_ROWS", 1)
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"age": age} for age in range(5)]})
    await make(browse, clinic, "by-age", "age")
    await browse("POST", f"{clinic}/_find", {"selector": {"age": 1}})
    await browse("DELETE", f"{clinic}/_index/by-age/json/by-age")
    assert browse.hub._databases is not None
    database = (await browse.hub._databases.get("clinic")).store._database
    assert database.value("SELECT count(*) FROM index_rows") == 4
    assert (await browse("POST", f"{clinic}/_view_cleanup", {})).status == 202
    assert database.value("SELECT count(*) FROM index_rows") == 0


async def test_a_design_document_says_how_far_its_indexes_have_come(browse: Browser, clinic: str) -> None:
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"age": age} for age in range(5)]})
    await make(browse, clinic, "by-age", "age")
    info = (await browse("GET", f"{clinic}/_design/by-age/_info")).json
    assert (info["name"], info["view_index"]["language"]) == ("by-age", "query")
    assert (info["view_index"]["update_seq"], info["view_index"]["updates_pending"]["total"]) == (0, 6)
    await browse("POST", f"{clinic}/_find", {"selector": {"age": 1}})
    info = (await browse("GET", f"{clinic}/_design/by-age/_info")).json
    assert (info["view_index"]["update_seq"], info["view_index"]["updates_pending"]["total"]) == (6, 0)


async def test_what_is_no_definition_defines_no_index(browse: Browser, clinic: str) -> None:
    views = {
        "no options": {"map": {"fields": {"a": "asc"}}},
        "a list": {"map": {"fields": ["a"]}, "options": {}},
        "text": {"map": "text", "options": {}},
        "nothing": None,
        "good": {"map": {"fields": {"a": "asc"}}, "options": {}},
        "bad filter": {"map": {"fields": {"a": "asc"}, "partial_filter_selector": {"$nope": 1}}, "options": {}},
    }
    await browse("PUT", f"{clinic}/ann", {"a": 1})
    assert browse.hub._databases is not None
    store = (await browse.hub._databases.get("clinic")).store
    for name, language in (("mixed", "query"), ("javascript", "javascript")):
        body = json.dumps({"language": language, "views": views}).encode()
        revision = Revision(DocId(f"_design/{name}"), (Rev(f"1-{'a' * 32}"),), body, False, {})
        await store.run(store.documents.apply, [revision])
    assert [one["name"] for one in await indexes(browse, clinic)] == ["_all_docs", "bad filter", "good"]
    for use_index, count in (("mixed/good", 1), ("mixed/bad filter", 0)):
        answer = await browse("POST", f"{clinic}/_find", {"selector": {"a": 1}, "use_index": use_index})
        assert len(answer.json["docs"]) == count


async def test_a_partial_index_of_as_many_conditions_as_a_selector_may_have_holds_what_passes_them(
    browse: Browser, clinic: str
) -> None:
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": "ann", "a": 1, "n": 7}, {"_id": "jo", "a": 1}]})
    conditions = {"$or": [{"n": n} for n in range(MAX_PARTS // 2 - 1)]}
    made = await make(browse, clinic, "part", "a", partial_filter_selector=conditions)
    assert made["result"] == "created"
    found = await browse("POST", f"{clinic}/_find", {"selector": {"a": 1}, "use_index": "part"})
    assert [doc["_id"] for doc in found.json["docs"]] == ["ann"]


async def test_a_partial_index_that_could_not_be_read_again_is_refused(browse: Browser, clinic: str) -> None:
    """The outer name is stored with each name within."""
    conditions = {"é" * 500: {f"b{n}": n for n in range(1_000)}}
    assert (await browse("POST", f"{clinic}/_find", {"selector": conditions})).status == 200
    refused = await make(browse, clinic, "part", "a", partial_filter_selector=conditions)
    assert refused == {"error": "bad_arg", "reason": "the values in the selector are more than allowed"}


async def test_a_partial_index_of_more_conditions_is_refused_and_empty_where_it_comes_as_a_document(
    browse: Browser, clinic: str
) -> None:
    await browse("PUT", f"{clinic}/ann", {"a": 1, "n": 7})
    conditions = {"$or": [{"n": {"$eq": n}} for n in range(MAX_STORED_PARTS // 3 + 1)]}
    refused = await make(browse, clinic, "part", "a", partial_filter_selector=conditions)
    assert refused == {"error": "bad_arg", "reason": f"more than {MAX_PARTS} names and alternatives in one selector"}
    view = {"map": {"fields": {"a": "asc"}, "partial_filter_selector": conditions}, "options": {"def": {}}}
    design = {"_id": "_design/part", "_rev": f"1-{'a' * 32}", "language": "query", "views": {"part": view}}
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": [design], "new_edits": False})
    found = await browse("POST", f"{clinic}/_find", {"selector": {"a": 1}, "use_index": "part"})
    assert (found.status, found.json["docs"]) == (200, [])


async def test_indexes_last_across_restarts(tmp_path: Any, hub: Hub, browse: Browser, clinic: str) -> None:
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": name, "age": len(name)} for name in ("ann", "jo")]})
    await make(browse, clinic, "by-age", "age")
    await browse("POST", f"{clinic}/_find", {"selector": {"age": 3}})
    await hub.close()
    async with Hub(tmp_path / "hub", admin=ADMIN) as again:
        later = Browser(browse.session, again)
        found = (await later("POST", f"{clinic}/_find", {"selector": {"age": {"$gt": 0}}, "update": False})).json
        assert [doc["_id"] for doc in found["docs"]] == ["jo", "ann"]
        assert "warning" not in found


async def test_only_administrators_of_the_database_make_and_delete_indexes(browse: Browser, clinic: str) -> None:
    rita = await browse.make_user("rita", "a long password")
    adam = await browse.make_user("adam", "a long password")
    await browse("PUT", f"{clinic}/_security", {"members": {"names": ["rita"]}, "admins": {"names": ["adam"]}})
    body = {"index": {"fields": ["age"]}, "name": "by-age", "ddoc": "by-age"}
    bulk = {"docids": ["by-age"]}
    assert (await browse("POST", f"{clinic}/_index", body, auth=rita)).status == 403
    assert (await browse("POST", f"{clinic}/_index", body, auth=adam)).json["result"] == "created"
    assert (await browse("GET", f"{clinic}/_index", auth=rita)).json["total_rows"] == 2
    assert (await browse("GET", f"{clinic}/_index", auth=None)).status == 401
    assert (await browse("DELETE", f"{clinic}/_index/by-age/json/by-age", auth=rita)).status == 403
    assert (await browse("POST", f"{clinic}/_index/_bulk_delete", bulk, auth=rita)).status == 403
    assert (await browse("POST", f"{clinic}/_index/_bulk_delete", bulk, auth=adam)).json["fail"] == []


async def test_an_index_made_twice_at_once_is_made(browse: Browser, clinic: str) -> None:
    answers = await asyncio.gather(
        *(browse("POST", f"{clinic}/_index", {"index": {"fields": ["a"]}, "ddoc": "d", "name": name}) for name in "ab")
    )
    for answer in answers:
        assert answer.status == 200 or answer.json == {
            "error": "error_saving_ddoc",
            "reason": "Encountered a conflict while saving the design document.",
        }


REFUSED: list[tuple[Any, int, str, str]] = [
    ({}, 400, "missing_required_key", "Missing required key: index"),
    ({"index": {}}, 400, "missing_required_key", "Missing required key: fields"),
    ({"index": "x"}, 400, "invalid_index", "JSON indexes must be an object, not: <<120>>"),
    ({"index": {"fields": [""]}}, 400, "invalid_sort_field", "Invalid sort field: <<>>"),
    ({"index": {"fields": ["a"], "selector": {}}}, 400, "invalid_key", "Invalid key selector for this request."),
    ({"index": {"fields": ["a"]}, "type": "text"}, 503, "required index service unavailable", "text"),
    ({"index": {"fields": ["a"]}, "type": "nouveau"}, 503, "required index service unavailable", "nouveau"),
    ({"index": {"fields": ["a"]}, "type": "geo"}, 400, "invalid_index", "Invalid type for index: geo"),
    ({"index": {"fields": ["a"]}, "type": 1}, 400, "invalid_string", "Invalid string: 1"),
    (
        {"index": {"fields": ["a"]}, "name": ""},
        400,
        "invalid_empty_string",
        "Index name or ddoc cannot be empty string",
    ),
    (
        {"index": {"fields": ["a"]}, "partitioned": 1},
        400,
        "invalid_partitioned_value",
        "Invalid value for partitioned: 1",
    ),
    ({"index": {"fields": ["a"]}, "partitioned": True}, 400, "invalid_design_doc", "this database is not partitioned"),
    (
        {"index": {"fields": ["a"]}, "ddoc": "js"},
        400,
        "invalid_ddoc_lang",
        "Existing design doc has an invalid language: false",
    ),
    (
        {"index": {"fields": ["a"]}, "ddoc": "old", "partitioned": False},
        400,
        "invalid_partitioned_option",
        "Requested partitioned option does not match existing value on design document _design/old",
    ),
    (
        {"index": {"fields": ["a"], "partial_filter_selector": {"a": {"$nope": 1}}}},
        400,
        "invalid_operator",
        "Invalid operator: $nope",
    ),
]


@pytest.mark.parametrize(("body", "refusal"), [(body, refusal) for body, *refusal in REFUSED])
async def test_what_is_refused_is_refused_in_couchdbs_words(
    browse: Browser, clinic: str, body: Any, refusal: list[Any]
) -> None:
    await browse("PUT", f"{clinic}/_design/js", {"views": {}})
    await browse("PUT", f"{clinic}/_design/old", {"language": "query"})
    answer = await browse("POST", f"{clinic}/_index", body)
    assert [answer.status, answer.json["error"], answer.json["reason"]] == refusal


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "missing_required_key"),
        ({"docids": "x"}, "invalid_bulk_docs"),
        ({"docids": [None]}, "invalid_index_name"),
        ({"docids": [["a"]]}, "invalid_index_name"),
    ],
)
async def test_what_is_no_list_of_design_documents_is_refused(
    browse: Browser, clinic: str, body: Any, error: str
) -> None:
    answer = await browse("POST", f"{clinic}/_index/_bulk_delete", body)
    assert (answer.status, answer.json["error"]) == (400, error)


async def test_methods_that_an_index_does_not_have_are_refused(browse: Browser, clinic: str) -> None:
    assert (await browse("DELETE", f"{clinic}/_index")).status == 405
    assert (await browse("GET", f"{clinic}/_index/_bulk_delete")).status == 405
    assert (await browse("GET", f"{clinic}/_index/a/json/b")).status == 405
    for path in ("a", "a/b", "a/b/c/d", "_design/a/json"):
        for method in ("GET", "PUT", "POST", "DELETE", "COPY"):
            assert (await browse(method, f"{clinic}/_index/{path}")).json == {"error": "not_found", "reason": "missing"}


OPTIONS = {
    "use_index": [],
    "bookmark": "nil",
    "limit": 25,
    "skip": 0,
    "sort": {},
    "fields": [],
    "partition": "",
    "r": 1,
    "conflicts": False,
    "stale": False,
    "update": True,
    "stable": False,
    "execution_stats": False,
    "allow_fallback": True,
}


async def explained(browse: Browser, path: str, selector: Any, **options: Any) -> Any:
    answer = await browse("POST", f"{path}/_explain", {"selector": selector, **options})
    assert answer.status == 200, answer.body
    return answer.json


async def test_a_query_is_explained_in_couchdbs_shape(browse: Browser, clinic: str) -> None:
    await make(browse, clinic, "age", "age")
    await make(browse, clinic, "both", "age", "name")
    await make(browse, clinic, "part", "name", partial_filter_selector={"age": {"$gt": 26}})
    age, both = listed("age", {"age": "asc"}), listed("both", {"age": "asc"}, {"name": "asc"})
    part = listed("part", {"name": "asc"}, partial_filter_selector={"age": {"$gt": 26}})

    def candidate(index: Any, reason: str, ranking: int, *, usable: bool, covering: bool | None) -> Any:
        analysis = {"usable": usable, "reasons": [{"name": reason}], "ranking": ranking, "covering": covering}
        return {"index": index, "analysis": analysis}

    selector = {"age": {"$gt": 5, "$lte": 30}, "name": "x"}
    chosen = {"fields": ["age", "_id"], "sort": [{"age": "desc"}], "limit": 3, "r": 2, "use_index": "both"}
    assert await explained(browse, clinic, selector, **chosen) == {
        "dbname": "clinic",
        "index": both,
        "partitioned": False,
        "selector": {"$and": [{"$and": [{"age": {"$gt": 5}}, {"age": {"$lte": 30}}]}, {"name": {"$eq": "x"}}]},
        "opts": {**OPTIONS, **chosen, "use_index": ["both"], "sort": {"age": "desc"}},
        "limit": 3,
        "skip": 0,
        "fields": ["age", "_id"],
        "index_candidates": [
            candidate(part, "is_partial", 3, usable=False, covering=False),
            candidate(age, "excluded_by_user", 1, usable=True, covering=True),
            candidate(ALL_DOCS, "field_mismatch", 2, usable=False, covering=None),
        ],
        "selector_hints": [{"type": "json", "indexable_fields": ["age", "name"], "unindexable_fields": []}],
        "mrargs": {
            "include_docs": False,
            "view_type": "map",
            "reduce": False,
            "partition": None,
            "start_key": [30, "x", "<MAX>"],
            "end_key": [5, "x"],
            "direction": "rev",
            "stable": False,
            "update": True,
            "conflicts": "undefined",
        },
        "covering": True,
    }


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ({}, ("_all_docs", None, "<MAX>")),
        ({"_id": {"$gt": "a"}}, ("_all_docs", "a", "<MAX>")),
        ({"_id": {"$lt": "a"}}, ("_all_docs", "", "a")),
        ({"_id": {"$beginsWith": "a"}}, ("_all_docs", "a", "a\uffff")),
        ({"age": {"$gt": 5}}, ("age", [5], ["<MAX>"])),
        ({"age": {"$lte": 5}}, ("age", [], [5, "<MAX>"])),
        ({"age": {"$eq": 5}, "name": "x"}, ("both", [5, "x"], [5, "x", "<MAX>"])),
        ({"age": {"$in": [1, 2]}}, ("age", [], ["<MAX>"])),
        ({"age": {"$exists": True}}, ("age", [], ["<MAX>"])),
        ({"age": {"$exists": False}}, ("_all_docs", None, "<MAX>")),
        ({"age": {"$gt": 5, "$lt": 3}}, ("age", None, None)),
        ({"age": {"$not": {"$gt": 5}}}, ("age", [], [5, "<MAX>"])),
        ({"age": {"$and": [{"$gte": 5}, {"$lte": 5}]}}, ("age", [5], [5, "<MAX>"])),
        ({"age": {"$gte": 5, "$gt": 5, "$eq": 6, "$lt": 8}}, ("age", [6], [6, "<MAX>"])),
        ({"$or": [{"age": 1}, {"age": 2}]}, ("age", [], ["<MAX>"])),
        ({"$or": [{"age": 1}, {"name": "x"}]}, ("_all_docs", None, "<MAX>")),
        ({"age": {"$regex": "x"}, "name": {"$beginsWith": "x"}}, ("age", [], ["<MAX>"])),
    ],
)
async def test_the_planner_takes_the_index_and_the_range_that_couchdb_takes(
    browse: Browser, clinic: str, selector: Any, chosen: tuple[str, Any, Any]
) -> None:
    await make(browse, clinic, "age", "age")
    await make(browse, clinic, "both", "age", "name")
    found = await explained(browse, clinic, selector)
    assert (found["index"]["name"], found["mrargs"]["start_key"], found["mrargs"]["end_key"]) == chosen


async def test_of_equal_indexes_the_first_by_name_is_taken(browse: Browser, clinic: str) -> None:
    for name in ("b", "a", "c"):
        await make(browse, clinic, name, "age")
    found = await explained(browse, clinic, {"age": 1})
    assert found["index"]["name"] == "a"
    reasons = [(one["index"]["name"], one["analysis"]["reasons"][0]["name"]) for one in found["index_candidates"]]
    assert reasons == [
        ("c", "alphabetically_comes_after"),
        ("b", "alphabetically_comes_after"),
        ("_all_docs", "unfavored_type"),
    ]


async def test_a_query_that_no_index_can_answer_is_explained_too(browse: Browser, clinic: str) -> None:
    found = await explained(browse, clinic, {"foo": 1}, sort=["foo"], bookmark="kept as it is")
    assert (found["index"], "mrargs" in found, found["opts"]["bookmark"]) == (None, False, "kept as it is")
    assert found["index_candidates"][0]["analysis"]["reasons"] == [{"name": "field_mismatch"}]
    partitioned = await explained(browse, clinic, {"foo": 1}, partition="x")
    assert partitioned["mrargs"]["partition"] == "x"
