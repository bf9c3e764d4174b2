"""Ids and names of every kind: what CouchDB takes is taken and comes back the same; what it refuses is refused."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.hub.conftest import Browser

IDS = (
    "a/b",
    "a b",
    "a+b",
    "100%",
    "a%2Fb",
    "a?b#c&d=e;f",
    "..",
    '"quoted"',
    "back\\slash",
    "tab\tline\nfeed",
    "ä",
    "a\u0308",
    "\u20ac\u4e2d\U0001f600",
    "\x00",
    "x" * 3_000,
    "[1]",
    "constructor",
    "0",
)
NAMES = ("a b.txt", "a/b/c", "a+b%20c?d#e", "ü€\U0001f600", '"q".txt', "..", "x" * 500, "name_")
LEGAL_DATABASES = ("a", "with/slash", "a$b(c)+-_/0", "z" * 238)
ILLEGAL_DATABASES = ("A", "1a", "_a", "a.b", "ä", "a b", "a*", "-a", "aA")


@pytest.mark.parametrize("doc_id", IDS)
async def test_an_id_of_any_kind_is_kept_in_every_way_in_and_out(browse: Browser, clinic: str, doc_id: str) -> None:
    path = f"{clinic}/{quote(doc_id, safe='')}"
    put = await browse("PUT", path, {"n": 1})
    assert (put.status, put.json["id"]) == (201, doc_id)
    assert (await browse("GET", path)).json["_id"] == doc_id
    listed = (await browse("POST", f"{clinic}/_all_docs", {"keys": [doc_id]})).json["rows"]
    assert listed == [{"id": doc_id, "key": doc_id, "value": {"rev": put.json["rev"]}}]
    changes = (await browse("POST", f"{clinic}/_changes?filter=_doc_ids", {"doc_ids": [doc_id]})).json["results"]
    assert [row["id"] for row in changes] == [doc_id]
    (bulk,) = (await browse("POST", f"{clinic}/_bulk_get", {"docs": [{"id": doc_id}]})).json["results"]
    assert (bulk["id"], bulk["docs"][0]["ok"]["_rev"]) == (doc_id, put.json["rev"])
    location = put.headers["Location"].partition(clinic + "/")[2]
    assert (await browse("GET", f"{clinic}/{location}")).json["_id"] == doc_id
    assert (await browse("DELETE", f"{path}?rev={put.json['rev']}")).json["id"] == doc_id


@pytest.mark.parametrize("name", NAMES)
async def test_an_attachment_name_of_any_kind_is_kept(browse: Browser, clinic: str, name: str) -> None:
    path = f"{clinic}/doc/{quote(name, safe='')}"
    assert (await browse("PUT", path, data=b"bytes")).status == 201
    assert (await browse("GET", path)).body == b"bytes"
    assert (await browse("GET", f"{clinic}/doc/{quote(name)}")).body == b"bytes"
    assert list((await browse("GET", f"{clinic}/doc")).json["_attachments"]) == [name]


@pytest.mark.parametrize(
    ("doc_id", "error"),
    [("_", "illegal_docid"), ("_x", "illegal_docid"), ("_design", "illegal_docid"), ("_design/", "illegal_docid")],
)
async def test_reserved_ids_are_refused(browse: Browser, clinic: str, doc_id: str, error: str) -> None:
    for answer in (
        await browse("PUT", f"{clinic}/{doc_id}", {}),
        await browse("POST", clinic, {"_id": doc_id}),
        await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": doc_id}]}),
    ):
        assert (answer.status, answer.json["error"]) == (400, error)


@pytest.mark.parametrize("path", ["_local", "_local/", "_local%2F"])
async def test_a_local_document_needs_a_name(browse: Browser, clinic: str, path: str) -> None:
    for method in ("PUT", "GET"):
        answer = await browse(method, f"{clinic}/{path}", {} if method == "PUT" else None)
        assert (answer.status, answer.json["error"]) == (400, "bad_request")


async def test_a_local_id_may_hold_a_slash_and_no_attachment(browse: Browser, clinic: str) -> None:
    assert (await browse("PUT", f"{clinic}/_local/a%2Fb", {"n": 1})).json["id"] == "_local/a/b"
    assert (await browse("GET", f"{clinic}/_local/a%2Fb")).json["n"] == 1
    assert (await browse("PUT", f"{clinic}/_local/a/b", {})).status == 400


@pytest.mark.parametrize("doc_id", [1, True, {}, [], "", None])
async def test_an_id_is_a_text_that_is_not_empty(browse: Browser, clinic: str, doc_id: object) -> None:
    answer = await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": doc_id}]})
    assert (answer.status, answer.json["error"]) == (400, "illegal_docid")


async def test_an_attachment_name_may_not_begin_with_an_underscore(browse: Browser, clinic: str) -> None:
    reason = "Attachment name '_x' starts with prohibited character '_'"
    inline = {"_attachments": {"_x": {"data": ""}}}
    for answer in (await browse("PUT", f"{clinic}/a/_x", data=b""), await browse("PUT", f"{clinic}/a", inline)):
        assert (answer.status, answer.json["reason"]) == (400, reason)


@pytest.mark.parametrize("name", LEGAL_DATABASES)
async def test_a_legal_database_name_is_kept(browse: Browser, name: str) -> None:
    path = "/" + quote(name, safe="")
    made = await browse("PUT", path)
    assert (made.status, made.headers["Location"]) == (201, browse.hub.url + path)
    assert (await browse("GET", path)).json["db_name"] == name
    assert name in (await browse("GET", "/_all_dbs")).json
    assert (await browse("DELETE", path)).status == 200


@pytest.mark.parametrize("name", ILLEGAL_DATABASES)
async def test_an_illegal_database_name_is_refused_when_it_is_made_and_unknown_otherwise(
    browse: Browser, name: str
) -> None:
    made = await browse("PUT", "/" + quote(name))
    assert (made.status, made.json["error"]) == (400, "illegal_database_name")
    for method in ("GET", "DELETE"):
        answer = await browse(method, "/" + quote(name))
        assert (answer.status, answer.json["error"]) == (404, "not_found")


async def test_a_database_name_that_is_too_long_is_refused_as_such(browse: Browser) -> None:
    answer = await browse("PUT", "/" + "a" * 239)
    assert (answer.status, answer.json["error"]) == (400, "database_name_too_long")
