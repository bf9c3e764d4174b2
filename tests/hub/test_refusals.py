"""What CouchDB refuses is refused with its status, its error and its words: clients switch on them, people read it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.hub.conftest import Answer, Browser

NO_REV = "4-" + "a" * 32


def refusal(answer: Answer) -> tuple[int, str, str]:
    return answer.status, answer.json["error"], answer.json["reason"]


@pytest.mark.parametrize("body", [b"[]", b"5", b'"text"', b"null"])
async def test_a_body_that_is_no_object_is_refused_as_what_it_should_have_been(
    browse: Browser, clinic: str, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    document = (400, "bad_request", "Document must be a JSON object")
    assert refusal(await browse("PUT", f"{clinic}/a", data=body, headers=headers)) == document
    assert refusal(await browse("POST", clinic, data=body, headers=headers)) == document
    for path in ("_bulk_docs", "_bulk_get", "_revs_diff", "_missing_revs", "_all_docs", "_changes"):
        answer = await browse("POST", f"{clinic}/{path}", data=body, headers=headers)
        assert refusal(answer) == (400, "bad_request", "Request body must be a JSON object"), path


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"doc": []}, "POST body must include `docs` parameter."),
        ({"docs": "text"}, "`docs` parameter must be an array."),
        ({"docs": {}}, "`docs` parameter must be an array."),
        ({"docs": [], "new_edits": 0}, "`new_edits` parameter must be a boolean."),
        ({"docs": [[]]}, "Document must be a JSON object"),
        ({"docs": [{"_id": "a"}, 5]}, "Document must be a JSON object"),
    ],
)
async def test_a_batch_that_is_none_is_refused_whole(browse: Browser, clinic: str, body: Any, reason: str) -> None:
    assert refusal(await browse("POST", f"{clinic}/_bulk_docs", body)) == (400, "bad_request", reason)
    assert (await browse("GET", clinic)).json["doc_count"] == 0


async def test_all_or_nothing_is_not_promised(browse: Browser, clinic: str) -> None:
    answer = await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": "a"}], "all_or_nothing": True})
    wanted = {"id": "a", "rev": "0-", "error": "not_implemented", "reason": "all_or_nothing is not supported"}
    assert (answer.status, answer.json) == (417, [wanted])
    assert (await browse("GET", f"{clinic}/a")).status == 404


@pytest.mark.parametrize(
    "data", ["notBase64Encoded=", "====", "YQ", "YQ=", "YQ==YQ==", "-_-_", "YWJj!", None, 5], ids=str
)
async def test_attachment_data_that_is_no_base64_is_refused(browse: Browser, clinic: str, data: object) -> None:
    answer = await browse("PUT", f"{clinic}/a", {"_attachments": {"f": {"data": data}}})
    assert refusal(answer) == (400, "bad_request", "Invalid attachment data for f")


@pytest.mark.parametrize("data", ["Y Q==", "YQ==\n", "\r\nYQ\t=="])
async def test_blanks_within_base64_are_skipped(browse: Browser, clinic: str, data: str) -> None:
    assert (await browse("PUT", f"{clinic}/a", {"_attachments": {"f": {"data": data}}})).status == 201
    assert (await browse("GET", f"{clinic}/a/f")).body == b"a"


async def test_attachments_that_are_no_object_are_a_bad_member(browse: Browser, clinic: str) -> None:
    wanted = (400, "doc_validation", "Bad special document member: _attachments")
    assert refusal(await browse("PUT", f"{clinic}/a", {"_attachments": []})) == wanted


async def test_a_stub_of_another_age_is_that_of_another_attachment(browse: Browser, clinic: str) -> None:
    data = base64.b64encode(b"bytes").decode()
    rev = (await browse("PUT", f"{clinic}/a", {"_attachments": {"f": {"data": data}}})).json["rev"]
    stub = {"_rev": rev, "_attachments": {"f": {"stub": True, "revpos": 10}}}
    wanted = (412, "missing_stub", "Invalid attachment stub in a for f")
    assert refusal(await browse("PUT", f"{clinic}/a", stub)) == wanted
    stub["_attachments"] = {"f": {"stub": True}}
    assert (await browse("PUT", f"{clinic}/a", stub)).status == 201
    assert (await browse("GET", f"{clinic}/a/f")).body == b"bytes"


async def test_an_attachment_for_a_revision_that_never_was_is_a_miss_that_conflicts(
    browse: Browser, clinic: str
) -> None:
    await browse("PUT", f"{clinic}/a/f", data=b"bytes")
    missing = (409, "not_found", "missing_rev")
    for doc in ("a", "never"):
        for method, body in (("PUT", b"new"), ("DELETE", None)):
            assert refusal(await browse(method, f"{clinic}/{doc}/f?rev={NO_REV}", data=body)) == missing
    assert refusal(await browse("DELETE", f"{clinic}/a/f"))[:2] == (409, "conflict")
    assert refusal(await browse("DELETE", f"{clinic}/never/f")) == (404, "not_found", "missing")


async def test_revisions_named_in_two_ways_have_to_be_one(browse: Browser, clinic: str) -> None:
    rev = (await browse("PUT", f"{clinic}/a", {})).json["rev"]
    query = (400, "bad_request", "Document rev from request body and query string have different values")
    assert refusal(await browse("PUT", f"{clinic}/a?rev={NO_REV}", {"_rev": rev})) == query
    tag = (400, "bad_request", "Document rev and etag have different values")
    match = {"If-Match": NO_REV}
    assert refusal(await browse("PUT", f"{clinic}/a", {"_rev": rev}, headers=match)) == tag
    assert refusal(await browse("DELETE", f"{clinic}/a?rev={rev}", headers=match)) == tag
    assert refusal(await browse("PUT", f"{clinic}/a/f?rev={rev}", data=b"", headers=match)) == tag
    assert (await browse("PUT", f"{clinic}/a?rev={rev}", {"_rev": rev}, headers={"If-Match": f'"{rev}"'})).status == 201


async def test_a_revision_made_elsewhere_may_be_named_in_the_query(browse: Browser, clinic: str) -> None:
    answer = await browse("PUT", f"{clinic}/a?new_edits=false&rev={NO_REV}", {"n": 1})
    assert (answer.status, answer.json["rev"]) == (201, NO_REV)
    unnamed = (400, "bad_request", "When `new_edits: false`, the document needs `_rev` or `_revisions` specified")
    assert refusal(await browse("PUT", f"{clinic}/b?new_edits=false", {})) == unnamed
    assert refusal(await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{}], "new_edits": False})) == unnamed


async def test_a_history_stands_above_the_revision_beside_it(browse: Browser, clinic: str) -> None:
    doc = {"_id": "a", "_rev": "3-c", "_revisions": {"start": 2, "ids": ["c", "a"]}}
    assert (await browse("POST", f"{clinic}/_bulk_docs", {"docs": [doc], "new_edits": False})).json == []
    assert (await browse("GET", f"{clinic}/a?revs=true")).json == {**doc, "_rev": "2-c"}


@pytest.mark.parametrize("selector", [5, "text", [], None])
async def test_a_feed_filters_by_an_object_only(browse: Browser, clinic: str, selector: object) -> None:
    answer = await browse("POST", f"{clinic}/_changes?filter=_selector", {"selector": selector})
    assert refusal(answer) == (400, "bad_request", "Selector error: expected a JSON object")


async def test_in_a_batch_nobody_hears_of_a_conflict(browse: Browser, clinic: str) -> None:
    for number in range(3):
        answer = await browse("PUT", f"{clinic}/a?batch=ok", {"n": number})
        assert (answer.status, answer.json) == (202, {"ok": True, "id": "a"})
    assert (await browse("GET", f"{clinic}/a")).json["n"] == 0
    posted = await browse("POST", f"{clinic}?batch=ok", {"_id": "b"})
    assert (posted.status, posted.json) == (202, {"ok": True, "id": "b"})


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("heartbeat=x", "Invalid heartbeat value. Expecting a positive integer value (in milliseconds)."),
        ("heartbeat=-1", "The heartbeat value should be a positive integer (in milliseconds)."),
        ("heartbeat=0", "The heartbeat value should be a positive integer (in milliseconds)."),
        ("seq_interval=x", "invalid_seq_interval"),
        ("seq_interval=0", "invalid_seq_interval"),
        ("since=x", "Malformed sequence supplied in 'since' parameter."),
        ("feed=x", "Supported `feed` types: normal, continuous, live, longpoll, eventsource"),
        ("filter=x", "`filter` must be of the form `designname/filtername`"),
        ("filter=_x", "unknown builtin filter name"),
        ("filter=_view", "`view` filter parameter is not provided."),
        ("filter=_doc_ids", "`doc_ids` filter parameter is not a list of doc ids."),
        ("filter=_selector", "Selector must be specified in POST payload"),
    ],
)
async def test_a_feed_that_cannot_be_is_refused(browse: Browser, clinic: str, query: str, reason: str) -> None:
    assert refusal(await browse("GET", f"{clinic}/_changes?{query}")) == (400, "bad_request", reason)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("filter=d/never", "missing json key: never"),
        ("filter=_view&view=d/never", "missing json key: never"),
        ("filter=empty/never", "missing json key: filters"),
        ("filter=_view&view=empty/never", "missing json key: views"),
        ("filter=never/f", "missing"),
    ],
)
async def test_a_filter_that_no_design_document_has_is_not_found(
    browse: Browser, clinic: str, query: str, reason: str
) -> None:
    await browse("PUT", f"{clinic}/_design/d", {"filters": {"f": "code"}, "views": {"v": {"map": "code"}}})
    await browse("PUT", f"{clinic}/_design/empty", {})
    assert refusal(await browse("GET", f"{clinic}/_changes?{query}")) == (404, "not_found", reason)
    for known in ("filter=d/f", "filter=_view&view=d/v"):
        assert refusal(await browse("GET", f"{clinic}/_changes?{known}"))[:2] == (501, "not_implemented")


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({}, 400, "Referer header required."),
        ({"Referer": "http://elsewhere/form"}, 400, "Referer header must match host."),
        ({"Referer": "{base}/form", "Content-Type": "text/plain"}, 415, "Content-Type must be multipart/form-data"),
        ({"Referer": "{base}/f", "Content-Type": "multipart/form-data; boundary=x"}, 501, None),
    ],
)
async def test_a_form_is_refused_step_by_step(
    browse: Browser, clinic: str, headers: dict[str, str], status: int, reason: str | None
) -> None:
    said = {name: value.format(base=browse.hub.url) for name, value in headers.items()}
    answer = await browse("POST", f"{clinic}/doc", data=b"field=value", headers=said)
    assert answer.status == status
    assert reason is None or answer.json["reason"] == reason


@pytest.mark.parametrize("count", ["x", "-1", "1.5", ""])
async def test_a_count_of_ids_that_is_none_is_refused(browse: Browser, count: str) -> None:
    answer = await browse("GET", f"/_uuids?count={count}")
    assert refusal(answer) == (400, "bad_request", "count must be a positive integer")


async def test_more_ids_than_allowed_are_refused(browse: Browser) -> None:
    assert refusal(await browse("GET", "/_uuids?count=1001")) == (400, "bad_request", "count parameter too large")
    assert len((await browse("GET", "/_uuids?count=1000")).json["uuids"]) == 1_000


async def test_a_login_without_a_name_is_refused_and_one_without_a_password_is_wrong(browse: Browser) -> None:
    nameless = await browse("POST", "/_session", {}, auth=None)
    assert refusal(nameless) == (400, "bad_request", "request body must contain a username")
    wrong = await browse("POST", "/_session", {"name": "nobody"}, auth=None)
    assert refusal(wrong) == (401, "unauthorized", "Name or password is incorrect.")
    typeless = await browse("POST", "/_session", data=b"name=x", auth=None, headers={"Content-Type": "text/plain"})
    assert refusal(typeless)[:2] == (415, "bad_content_type")


async def test_deleting_a_database_with_a_revision_is_taken_for_a_slip(browse: Browser, clinic: str) -> None:
    answer = await browse("DELETE", f"{clinic}?rev={NO_REV}")
    assert answer.status == 400
    assert "Did you mean to DELETE a document instead?" in answer.json["reason"]
    assert (await browse("GET", clinic)).status == 200


async def test_temporary_views_are_gone(browse: Browser, clinic: str) -> None:
    wanted = (410, "gone", "Temporary views are not supported in CouchDB")
    assert refusal(await browse("POST", f"{clinic}/_temp_view", {"map": "code"})) == wanted
    assert refusal(await browse("GET", f"{clinic}/_temp_view")) == wanted


async def test_a_copy_goes_to_an_id_of_the_same_database(browse: Browser, clinic: str) -> None:
    await browse("PUT", f"{clinic}/a", {"n": 1})
    elsewhere = await browse("COPY", f"{clinic}/a", headers={"Destination": "http://other:5984/db/b"})
    assert refusal(elsewhere) == (400, "bad_request", "Destination URL must be relative.")
    nowhere = await browse("COPY", f"{clinic}/a")
    assert refusal(nowhere) == (400, "bad_request", "Destination header is mandatory for COPY.")
    broken = await browse("COPY", f"{clinic}/a", headers={"Destination": "%FF"})
    assert refusal(broken) == (400, "illegal_docid", "Document id must be valid UTF-8")
    assert (await browse("COPY", f"{clinic}/a", headers={"Destination": "b%2Fc"})).json["id"] == "b/c"
