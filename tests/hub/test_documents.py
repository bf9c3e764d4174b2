"""Documents as clients edit and read them, beyond what the recorded scenarios show."""

import asyncio
import hashlib
import zlib
from urllib.parse import quote

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icure_sync.hub.drafts import MEMBERS, parse_draft
from icure_sync.hub.rendering import splice
from icure_sync.hub.rev_ids import next_rev
from icure_sync.replication.limits import MAX_DOCUMENT
from tests.hub.conftest import ADMIN, Browser


async def test_numbers_and_escapes_come_back_as_they_were_sent(browse: Browser, clinic: str) -> None:
    text = b'{"big":123456789012345678901234567890,"exact":1.10,"escaped":"\\u00e9\\/","nested":{"_fine":[1e3]}}'
    headers = {"Content-Type": "application/json"}
    assert (await browse("PUT", f"{clinic}/a", data=text, headers=headers)).status == 201
    answer = await browse("GET", f"{clinic}/a")
    assert text[1:-1] in answer.body


async def test_the_same_edit_gets_the_same_revision_everywhere(browse: Browser) -> None:
    revs = set()
    for name in ("/one", "/two"):
        await browse("PUT", name)
        revs.add((await browse("PUT", f"{name}/a", {"v": 1, "list": [1, 2]})).json["rev"])
    assert len(revs) == 1


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b'{"v":"\xff"}', "bad_request"),
        (b'{"v":"\\ud800"}', "bad_request"),
        (b'{"v":"\\udc00 alone"}', "bad_request"),
        (b'{"v":NaN}', "bad_request"),
        (b'{"v":1}{"v":2}', "bad_request"),
        (b'"text"', "bad_request"),
        (b"[" * 100_000, "bad_request"),
        (b'{"v":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "bad_request"),
        (b'{"_id":1}', None),
        (b'{"_rev":"9007199254740993-a"}', "bad_request"),
        (b'{"_revisions":{"start":1,"ids":["a","b"]}}', "doc_validation"),
        (b'{"_attachments":{"f":{"data":"","content_type":"a\\r\\nb"}}}', "bad_request"),
        (b'{"_attachments":{"f":{"data":"","length":-1}}}', "doc_validation"),
        (b'{"_attachments":{"f":1}}', "doc_validation"),
    ],
)
async def test_what_is_no_document_is_refused(browse: Browser, clinic: str, text: bytes, error: str | None) -> None:
    answer = await browse("PUT", f"{clinic}/a", data=text, headers={"Content-Type": "application/json"})
    assert answer.json.get("error") == error
    assert (await browse("GET", f"{clinic}/b")).status == 404


async def test_a_document_over_the_limit_is_refused_and_the_rest_of_the_batch_with_it(
    browse: Browser, clinic: str
) -> None:
    large = {"_id": "large", "v": "x" * MAX_DOCUMENT}
    assert (await browse("PUT", f"{clinic}/large", large)).json["error"] == "document_too_large"
    assert (await browse("POST", f"{clinic}/_bulk_docs", {"docs": [{"_id": "small"}, large]})).status == 413
    assert (await browse("GET", f"{clinic}/_all_docs")).json["total_rows"] == 0


async def test_a_compressed_bomb_is_refused(browse: Browser, clinic: str) -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(b" " * 2**20) for _ in range(100)) + packer.flush()
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await browse("POST", f"{clinic}/_bulk_docs", data=bomb, headers=headers)
    assert (answer.status, answer.json["error"]) == (413, "too_large")


async def test_ids_of_any_kind_come_back(browse: Browser, clinic: str) -> None:
    for doc_id in ("a/b", "a b", "+%?#&=", "é\U0001f600", "..", ".", "a//b", '"quoted"', "\u0000nul", "_design/d/e"):
        path = f"{clinic}/" + quote(doc_id, safe="")
        assert (await browse("PUT", path, {"v": 1})).status == 201, doc_id
        assert (await browse("GET", path)).json["_id"] == doc_id


async def test_the_bodies_of_ancestors_stay_until_the_database_is_compacted(browse: Browser, clinic: str) -> None:
    first = (await browse("PUT", f"{clinic}/a", {"v": 1})).json["rev"]
    await browse("PUT", f"{clinic}/a", {"v": 2, "_rev": first})
    assert (await browse("GET", f"{clinic}/a?rev={first}")).json["v"] == 1
    assert (await browse("POST", f"{clinic}/_compact", {})).status == 202
    assert (await browse("GET", f"{clinic}/a?rev={first}")).status == 404
    assert (await browse("GET", f"{clinic}/a")).json["v"] == 2


async def test_functions_of_the_server_are_refused_clearly(browse: Browser, clinic: str) -> None:
    design = {
        "filters": {"f": "function (doc) { return true; }"},
        "updates": {"u": "function (doc, request) { return [doc, '']; }"},
        "views": {"v": {"map": "function (doc) {}"}},
    }
    await browse("PUT", f"{clinic}/_design/d", design)
    for method, path in (
        ("GET", "/_changes?filter=d/f"),
        ("GET", "/_changes?filter=_view&view=d/v"),
        ("GET", "/_design/d/_view/v"),
        ("POST", "/_design/d/_update/u"),
    ):
        answer = await browse(method, clinic + path)
        assert (answer.status, answer.json["error"]) == (501, "not_implemented"), path


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text().filter(lambda name: not name.startswith("_")), st.integers() | st.text()))
def test_a_body_is_what_is_left_without_the_underscored_members(members: dict[str, object]) -> None:
    text = msgspec.json.encode({"_id": "a", "_rev": "1-a", **members})
    draft = parse_draft(MEMBERS.decode(text))
    assert msgspec.json.decode(draft.body) == members
    whole = splice(msgspec.json.encode({"_id": "a", "_rev": "1-a"}), draft.body)
    assert msgspec.json.decode(whole) == {"_id": "a", "_rev": "1-a", **members}


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_different_edits_get_different_revisions(one: bytes, other: bytes) -> None:
    drafts = [
        parse_draft(MEMBERS.decode(msgspec.json.encode({"_id": "a", "v": hashlib.sha256(body).hexdigest()})))
        for body in (one, other)
    ]
    assert (next_rev(drafts[0], None, {}) == next_rev(drafts[1], None, {})) == (one == other)


async def test_a_tombstone_beside_a_live_leaf_can_be_edited(browse: Browser, clinic: str) -> None:
    for doc_id in ("a", "b", "c"):
        leaves = [{"_id": doc_id, "_rev": "1-a"}, {"_id": doc_id, "_rev": "2-dead", "_deleted": True}]
        await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": leaves})
    assert (await browse("PUT", f"{clinic}/a", {"_rev": "2-dead", "v": 1})).status == 201
    revived = (await browse("GET", f"{clinic}/a?conflicts=true&revs=true")).json
    assert (revived["v"], revived["_conflicts"], revived["_revisions"]["ids"][1]) == (1, ["1-a"], "dead")
    assert (await browse("DELETE", f"{clinic}/b?rev=2-dead")).status == 200
    assert (await browse("PUT", f"{clinic}/c/f?rev=2-dead", data=b"x")).status == 201
    leaves = (await browse("GET", f"{clinic}/c?open_revs=all", headers={"Accept": "application/json"})).json
    assert [("_deleted" in one["ok"], "_attachments" in one["ok"]) for one in leaves] == [(False, False), (True, True)]


async def test_where_all_is_deleted_no_tombstone_can_be_edited(browse: Browser, clinic: str) -> None:
    first = (await browse("PUT", f"{clinic}/a", {})).json["rev"]
    gone = (await browse("DELETE", f"{clinic}/a?rev={first}")).json["rev"]
    for body in ({"_rev": gone}, {"_rev": gone, "_deleted": True}):
        assert (await browse("PUT", f"{clinic}/a", body)).status == 409
    assert (await browse("PUT", f"{clinic}/a", {})).json["rev"].startswith("3-")


async def test_a_revision_asked_for_by_name_shows_nothing_of_the_whole_document(browse: Browser, clinic: str) -> None:
    first = (await browse("PUT", f"{clinic}/a", {"v": 1})).json["rev"]
    second = (await browse("PUT", f"{clinic}/a", {"v": 2, "_rev": first})).json["rev"]
    every = "meta=true&revs_info=true&conflicts=true&local_seq=true"
    headers = {"Accept": "application/json"}
    for rev, value in ((first, 1), (second, 2)):
        plain = {"_id": "a", "_rev": rev, "v": value}
        assert (await browse("GET", f"{clinic}/a?rev={rev}&{every}")).json == plain
        listed = await browse("GET", f"{clinic}/a?open_revs=[%22{rev}%22]&{every}", headers=headers)
        assert listed.json == [{"ok": plain}]
        results = (await browse("POST", f"{clinic}/_bulk_get?{every}", {"docs": [{"id": "a", "rev": rev}]})).json
        assert results["results"][0]["docs"] == [{"ok": plain}]
    for path in (f"/a?{every}", f"/a?rev={first}&latest=true&{every}"):
        whole = (await browse("GET", clinic + path)).json
        assert [one["rev"] for one in whole["_revs_info"]] == [second, first]
        assert whole["_local_seq"] == 2


async def test_local_documents_take_no_attachments(browse: Browser, clinic: str) -> None:
    await browse("PUT", f"{clinic}/_local/a", {"v": 1})
    for method, body in (("PUT", {"v": 2}), ("GET", None), ("DELETE", None)):
        answer = await browse(method, f"{clinic}/_local/a/b", body)
        assert (answer.status, answer.json["error"]) == (400, "bad_request")
    assert (await browse("GET", f"{clinic}/_local/a")).json["v"] == 1
    assert (await browse("PUT", f"{clinic}/_local/a%2Fb", {"v": 3})).json["id"] == "_local/a/b"


async def test_a_local_document_written_as_deleted_need_not_be_there(browse: Browser, clinic: str) -> None:
    for _ in range(2):
        answer = await browse("PUT", f"{clinic}/_local/a", {"_deleted": True})
        assert (answer.status, answer.json["rev"]) == (200, "0-0")
        assert (await browse("DELETE", f"{clinic}/_local/a")).status == 404
        docs = [{"_id": "_local/b", "_deleted": True}, {"_id": "_local/a"}]
        assert (await browse("POST", f"{clinic}/_bulk_docs", {"docs": docs})).status == 201


@pytest.mark.parametrize("path", ["/a", "/_all_docs?include_docs=true", "/a?open_revs=all", "/a/f", "/_local_docs"])
async def test_the_answer_to_a_head_has_no_body(browse: Browser, clinic: str, path: str) -> None:
    await browse("PUT", f"{clinic}/a", {"v": "x" * 600_000})
    rev = (await browse("GET", f"{clinic}/a")).json["_rev"]
    await browse("PUT", f"{clinic}/a/f?rev={rev}", data=bytes(600_000))
    login = aiohttp.encode_basic_auth(*ADMIN)
    reader, writer = await asyncio.open_connection("127.0.0.1", browse.hub.port)
    for method, target in (("HEAD", clinic + path), ("GET", "/_up")):
        writer.write(f"{method} {target} HTTP/1.1\r\nHost: hub\r\nAuthorization: {login}\r\n\r\n".encode())
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        following = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 200")
    assert following.startswith(b"HTTP/1.1 200")
