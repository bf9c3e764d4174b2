"""Attachments: streamed in bounded memory, whole or in parts, beside a document or inside it."""

import asyncio
import base64
import hashlib
import io
import json
import resource
import zlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from icure_sync.hub import multipart
from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Attachment, Revision
from tests.hub.conftest import ADMIN, Browser

MEBIBYTE = 2**20


def md5(data: bytes) -> str:
    return "md5-" + base64.b64encode(hashlib.md5(data).digest()).decode()


async def many_pieces(count: int, size: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield number.to_bytes(4, "big") * (size // 4)


async def there_and_back(browse: Browser, path: str, mebibytes: int) -> None:
    put = await browse("PUT", path, data=many_pieces(mebibytes, MEBIBYTE))
    assert put.status == 201
    sent, received, length = hashlib.md5(), hashlib.md5(), 0
    async for piece in many_pieces(mebibytes, MEBIBYTE):
        sent.update(piece)
    async with browse.session.get(browse.hub.url + path, headers={"Authorization": _login()}) as answer:
        async for chunk in answer.content.iter_any():
            received.update(chunk)
            length += len(chunk)
    assert (length, received.digest()) == (mebibytes * MEBIBYTE, sent.digest())


async def test_fifty_megabytes_more_take_no_more_memory(browse: Browser, clinic: str) -> None:
    await there_and_back(browse, f"{clinic}/a/small", 20)  # fills the caches
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await there_and_back(browse, f"{clinic}/b/large", 70)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 25 * MEBIBYTE  # client and server together


async def test_a_large_attachment_inside_json_streams_too(browse: Browser, clinic: str) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    data = bytes(range(256)) * 8_192
    await browse("PUT", f"{clinic}/a/f", data=many_pieces(0, 0), headers=headers)
    rev = (await browse("GET", f"{clinic}/a")).json["_rev"]
    await browse("PUT", f"{clinic}/a/g?rev={rev}", data=io.BytesIO(data[:-1]), headers=headers)
    document = (await browse("GET", f"{clinic}/a?attachments=true", headers={"Accept": "application/json"})).json
    files = document["_attachments"]
    assert base64.b64decode(files["g"]["data"]) == data[:-1]
    assert files["f"]["data"] == ""
    assert files["g"]["digest"] == md5(data[:-1])


@pytest.mark.parametrize("size", [0, 1, 3, 300_000])
async def test_multipart_bodies_survive_any_cut(browse: Browser, clinic: str, size: int) -> None:
    files = {"one": b"\r\n--b\r" * (size // 6), "two": bytes(size), "three": b"--bound"}
    entries = {
        name: {"follows": True, "content_type": "text/plain", "length": len(data)} for name, data in files.items()
    }
    body = (
        b"preamble\r\n--bound\r\nContent-Type: application/json\r\n\r\n"
        + json.dumps({"_attachments": entries}).encode()
    )
    body += b"".join(b"\r\n--bound\r\nX: y\r\n\r\n" + data for data in files.values()) + b"\r\n--bound--epilogue"

    async def cut() -> AsyncIterator[bytes]:
        step = max(1, len(body) // 997)
        for start in range(0, len(body), step):
            yield body[start : start + step]

    kind = {"Content-Type": "multipart/related; boundary=bound"}
    assert (await browse("PUT", f"{clinic}/a", data=cut(), headers=kind)).status == 201
    for name, data in files.items():
        assert (await browse("GET", f"{clinic}/a/{name}")).body == data


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no parts at all",
        b"--bound\r\n\r\n{}",
        b"--bound\r\n\r\nnot json\r\n--bound--",
        b'--bound\r\n\r\n{"_attachments":{"f":{"follows":true,"length":2}}}\r\n--bound--',
        b'--bound\r\n\r\n{"_attachments":{"f":{"follows":true,"length":2}}}\r\n--bound\r\n\r\nabc\r\n--bound--',
        b'--bound\r\n\r\n{"_attachments":{"f":{"follows":true,"length":2}}}\r\n--bound\r\n\r\nab',
        b"--bound\r\n" + b"x" * 20_000,
    ],
)
async def test_a_broken_multipart_body_writes_nothing(browse: Browser, clinic: str, body: bytes) -> None:
    kind = {"Content-Type": "multipart/related; boundary=bound"}
    answer = await browse("PUT", f"{clinic}/a", data=body, headers=kind)
    assert (answer.status, answer.json["error"]) == (400, "bad_request")
    assert (await browse("GET", f"{clinic}/a")).status == 404


@pytest.mark.parametrize("stated", ["of what is inside", "of the gzip"])  # what a CouchDB knows of the length
async def test_what_a_couchdb_keeps_compressed_stays_so_and_is_read_plain(
    browse: Browser, clinic: str, stated: str
) -> None:
    plain = b"hello " * 1_000
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(plain) + packer.flush()
    entry = {"follows": True, "content_type": "text/plain", "encoding": "gzip", "revpos": 1, "digest": md5(packed)}
    entry |= {"encoded_length": len(packed), "length": len(packed if stated == "of the gzip" else plain)}
    head = json.dumps({"_rev": "1-a", "_attachments": {"f": entry}}).encode()
    body = b"--b\r\n\r\n" + head + b"\r\n--b\r\n\r\n" + packed + b"\r\n--b--"
    kind = {"Content-Type": 'multipart/related; boundary="b"'}
    answer = await browse("PUT", f"{clinic}/a?new_edits=false", data=body, headers=kind)
    assert answer.status == 201
    assert (await browse("GET", f"{clinic}/a/f")).body == plain
    stub = {"content_type": "text/plain", "revpos": 1, "digest": md5(packed), "length": len(plain), "stub": True}
    assert (await browse("GET", f"{clinic}/a")).json["_attachments"]["f"] == stub
    stub |= {"encoding": "gzip", "encoded_length": len(packed)}
    assert (await browse("GET", f"{clinic}/a?att_encoding_info=true")).json["_attachments"]["f"] == stub
    related = await browse("GET", f"{clinic}/a?attachments=true", headers={"Accept": "multipart/related"})
    assert b"\r\nContent-Encoding: gzip\r\n\r\n" + packed + b"\r\n--" in related.body
    inline = (await browse("GET", f"{clinic}/a?attachments=true", headers={"Accept": "application/json"})).json
    assert base64.b64decode(inline["_attachments"]["f"]["data"]) == plain


@pytest.mark.parametrize("damage", ["cut", "longer", "followed", "none of it"])
async def test_compressed_bytes_that_are_not_whole_write_nothing(browse: Browser, clinic: str, damage: str) -> None:
    plain = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(200))
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(plain) + packer.flush()
    packed = {"cut": packed[:-900], "followed": packed + b"x", "none of it": b""}.get(damage, packed)
    length = len(plain) + (damage == "longer")
    entry = {"follows": True, "content_type": "text/plain", "encoding": "gzip", "revpos": 1, "length": length}
    head = json.dumps({"_rev": "1-a", "_attachments": {"f": entry}}).encode()
    body = b"--b\r\n\r\n" + head + b"\r\n--b\r\n\r\n" + packed + b"\r\n--b--"
    kind = {"Content-Type": 'multipart/related; boundary="b"'}
    answer = await browse("PUT", f"{clinic}/a?new_edits=false", data=body, headers=kind)
    assert (answer.status, answer.json["error"]) == (400, "bad_request")
    assert (await browse("GET", f"{clinic}/a")).status == 404


async def test_a_revision_that_is_here_keeps_its_bytes(browse: Browser, clinic: str) -> None:
    def push(name: str, data: bytes) -> dict[str, object]:
        file = {"content_type": "text/plain", "data": base64.b64encode(data).decode()}
        docs = [{"_id": "a", "_rev": "1-a", "_attachments": {name: file}}, {"_id": f"with-{name}", "_rev": "1-a"}]
        return {"new_edits": False, "docs": docs}

    for name, data in (("f", b"one"), ("f", b"two"), ("g", b"two"), ("f", b"one")):
        answer = await browse("POST", f"{clinic}/_bulk_docs", push(name, data))
        assert (answer.status, answer.json) == (201, [])
    assert (await browse("GET", f"{clinic}/a/f")).body == b"one"
    assert (await browse("GET", f"{clinic}/a")).json["_attachments"].keys() == {"f"}
    assert (await browse("GET", f"{clinic}/with-g")).status == 200
    child = {"_attachments": {"f": {"stub": True, "revpos": 1, "digest": md5(b"one"), "length": 3}}, "_rev": "1-a"}
    await browse("PUT", f"{clinic}/a", child)
    assert (await browse("GET", f"{clinic}/a/f")).body == b"one"


AGELESS = {
    "a document": ("GET", "/a?attachments=true", None),
    "a child of what is known": ("GET", "/a?attachments=true&atts_since=[%221-a%22]", None),
    "leaves": ("GET", "/a?open_revs=[%222-b%22]&attachments=true", None),
    "_bulk_get": ("POST", "/_bulk_get?attachments=true", {"docs": [{"id": "a", "rev": "2-b"}]}),
    "_all_docs": ("GET", "/_all_docs?include_docs=true&attachments=true", None),
    "_changes": ("GET", "/_changes?include_docs=true&attachments=true", None),
}


@pytest.mark.parametrize("kind", ["application/json", "multipart/mixed"])
@pytest.mark.parametrize("way", AGELESS)
async def test_bytes_of_no_known_age_are_given_to_whoever_asks(
    browse: Browser, clinic: str, way: str, kind: str
) -> None:
    """A CouchDB keeps `revpos` 0 for what came inline without one, and passes that on."""
    data = base64.b64encode(b"ageless").decode()
    file = {"content_type": "application/octet-stream", "data": data, "revpos": 0}
    revisions = {"start": 2, "ids": ["b", "a"]}
    doc = {"_id": "a", "_revisions": revisions, "_attachments": {"f": file}}
    assert (await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": [doc]})).json == []
    assert (await browse("GET", f"{clinic}/a")).json["_attachments"]["f"]["revpos"] == 0
    method, path, body = AGELESS[way]
    answer = await browse(method, clinic + path, body, headers={"Accept": kind})
    assert answer.status == 200
    assert base64.b64encode(b"ageless") in answer.body or b"\r\nageless\r\n" in answer.body


async def test_a_stub_of_another_age_is_that_of_other_bytes(browse: Browser, clinic: str) -> None:
    """The device replaced the file in a revision that is not here: the bytes here are not those that it means."""
    inline = {"f": {"content_type": "text/plain", "data": base64.b64encode(b"old").decode(), "revpos": 1}}
    first = {"_id": "a", "_revisions": {"start": 1, "ids": ["1" * 32]}, "_attachments": inline}
    await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": [first]})
    stub = {"f": {"content_type": "text/plain", "stub": True, "revpos": 2, "length": 3, "digest": md5(b"new")}}
    ids = ["3" * 32, "2" * 32, "1" * 32]
    third = {"_id": "a", "_revisions": {"start": 3, "ids": ids}, "_attachments": stub}
    refused = await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": [third]})
    assert (refused.status, refused.json["error"]) == (412, "missing_stub")
    assert (await browse("GET", f"{clinic}/a")).json["_rev"] == "1-" + "1" * 32


async def test_bytes_that_a_revision_lacks_are_taken_if_they_have_its_digest(browse: Browser, clinic: str) -> None:
    assert browse.hub._databases is not None
    database = await browse.hub._databases.get("clinic")
    stub = Attachment("f", "text/plain", 3, md5(b"one"), 1)
    revision = Revision(DocId("a"), (Rev("1-a"),), b"{}", attachments={"f": stub})
    await database.run(lambda store: store.documents.apply([revision]))
    for data, status in ((b"two", 404), (b"one", 200)):
        file = {"content_type": "text/plain", "data": base64.b64encode(data).decode()}
        docs = [{"_id": "a", "_rev": "1-a", "_attachments": {"f": file}}]
        await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": docs})
        assert (await browse("GET", f"{clinic}/a/f")).status == status


async def test_a_revision_older_than_all_that_is_kept_brings_no_bytes(browse: Browser, clinic: str) -> None:
    await browse("PUT", f"{clinic}/_revs_limit", 1)
    file = {"content_type": "text/plain", "data": ""}
    docs = [
        {"_id": "a", "_rev": "2-b", "_revisions": {"start": 2, "ids": ["b", "a"]}},
        {"_id": "a", "_rev": "1-a", "_attachments": {"f": file}},
    ]
    for doc in docs:
        assert (await browse("POST", f"{clinic}/_bulk_docs", {"new_edits": False, "docs": [doc]})).status == 201
    assert (await browse("GET", f"{clinic}/a")).json["_rev"] == "2-b"


async def test_an_attachment_beyond_the_limit_is_refused(
    browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart, "MAX_ATTACHMENT", MEBIBYTE)
    answer = await browse("PUT", f"{clinic}/a/f", data=many_pieces(2, MEBIBYTE))
    assert answer.status == 413
    assert (await browse("GET", f"{clinic}/a")).status == 404


async def test_an_upload_for_a_stale_revision_is_refused(browse: Browser, clinic: str) -> None:
    await browse("PUT", f"{clinic}/a", {})
    for path in ("/a/f", "/a/f?rev=1-a"):
        assert (await browse("PUT", clinic + path, data=b"x")).status == 409


@pytest.mark.parametrize(
    ("span", "status", "content"),
    [
        ("bytes=0-0", 206, b"0"),
        ("bytes=5-", 206, b"56789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-99", 206, b"0123456789"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=0-1,4-5", 200, b"0123456789"),
        ("bytes=-", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
        ("bytes=10-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=5-4", 416, None),
    ],
)
async def test_ranges(browse: Browser, clinic: str, span: str, status: int, content: bytes | None) -> None:
    await browse("PUT", f"{clinic}/a/f", data=b"0123456789")
    answer = await browse("GET", f"{clinic}/a/f", headers={"Range": span})
    assert answer.status == status
    if content is not None:
        assert answer.body == content


async def test_an_entity_tag_saves_the_bytes(browse: Browser, clinic: str) -> None:
    await browse("PUT", f"{clinic}/a/f", data=b"0123456789")
    tag = (await browse("GET", f"{clinic}/a/f")).headers["ETag"]
    again = await browse("GET", f"{clinic}/a/f", headers={"If-None-Match": tag})
    assert (again.status, again.body) == (304, b"")


async def test_a_client_that_leaves_in_the_middle_of_an_upload_leaves_nothing(browse: Browser, clinic: str) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", browse.hub.port)
    head = f"PUT {clinic}/a/f HTTP/1.1\r\nHost: x\r\nAuthorization: {_login()}\r\nContent-Length: 1000000\r\n\r\n"
    writer.write(head.encode() + bytes(500_000))
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await browse("GET", f"{clinic}/a")).status == 404
    assert (await browse("PUT", f"{clinic}/a/f", data=b"whole")).status == 201


def _login() -> str:
    return aiohttp.encode_basic_auth(*ADMIN)
