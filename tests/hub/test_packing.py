"""gzip both ways: requests packed by clients, answers packed for them, attachments that came packed."""

import asyncio
import base64
import gzip
import hashlib
import io
import json as json_text
from typing import Any

import aiohttp
import pytest

from icure_sync.hub import bodies, multipart
from icure_sync.hub.limits import ANSWER_CHUNK, MIN_PACKED
from tests.hub.conftest import ADMIN, Answer, Browser

JSON = {"Content-Type": "application/json"}
PACKED = {"Content-Encoding": "gzip"}
TEXT = b"hello " * 1_000


@pytest.fixture
async def raw(browse: Browser) -> Any:
    """Requests whose answers stay as they come."""
    session = aiohttp.ClientSession(auto_decompress=False, headers={"Authorization": aiohttp.encode_basic_auth(*ADMIN)})

    async def send(method: str, path: str, *, accept: str = "gzip", **more: Any) -> Answer:
        headers = {"Accept-Encoding": accept, **more.pop("headers", {})}
        async with session.request(method, browse.hub.url + path, headers=headers, **more) as response:
            return Answer(response, await response.read())

    yield send
    await session.close()


def packed(value: Any) -> bytes:
    return gzip.compress(json_text.dumps(value).encode())


async def test_every_json_endpoint_takes_packed_bodies(browse: Browser, clinic: str):
    for method, path, value, status in (
        ("PUT", "john", {"v": 1}, 201),
        ("POST", "", {"v": 1}, 201),
        ("PUT", "_local/x", {"v": 1}, 201),
        ("POST", "_bulk_docs", {"docs": [{"_id": "ann"}]}, 201),
        ("POST", "_bulk_get", {"docs": [{"id": "ann"}]}, 200),
        ("POST", "_revs_diff", {"ann": []}, 200),
        ("POST", "_changes?filter=_doc_ids", {"doc_ids": ["ann"]}, 200),
        ("POST", "_all_docs", {"keys": ["ann"]}, 200),
        ("POST", "_find", {"selector": {}}, 200),
        ("POST", "_design/icure_sync/_view/by_delegate", {"keys": []}, 200),
        ("POST", "_purge", {}, 201),
        ("PUT", "_security", {}, 200),
        ("PUT", "_revs_limit", 5, 200),
        ("PUT", "_purged_infos_limit", 5, 200),
        ("POST", "_compact", {}, 202),
    ):
        answer = await browse(method, f"{clinic}/{path}", data=packed(value), headers=JSON | PACKED)
        assert answer.status == status, path
    login = await browse(
        "POST", "/_session", data=packed({"name": ADMIN[0], "password": ADMIN[1]}), headers=JSON | PACKED
    )
    assert login.json["ok"] is True
    assert (await browse("GET", f"{clinic}/john")).json["v"] == 1


async def test_what_is_not_gzip_is_refused_in_the_words_of_couchdb(browse: Browser, clinic: str):
    whole = packed({"v": 1})
    for data in (b'{"v":1}', whole[:-5], whole + b"more", b""):
        answer = await browse("PUT", f"{clinic}/john", data=data, headers=JSON | PACKED)
        assert (answer.status, answer.json["reason"]) == (400, "Request body is not properly gzipped.")
    answer = await browse("PUT", f"{clinic}/john", data=whole, headers=JSON | {"Content-Encoding": "deflate"})
    assert (answer.status, answer.json["reason"]) == (415, "deflate is not a supported content encoding.")
    assert (await browse("GET", f"{clinic}/john")).status == 404


async def test_a_bomb_is_refused_before_it_is_in_memory(browse: Browser, clinic: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(multipart, "MAX_ATTACHMENT", 100_000)
    bomb = gzip.compress(bytes(70 * 2**20))
    assert len(bomb) < 100_000
    answer = await browse("PUT", f"{clinic}/john", data=bomb, headers=JSON | PACKED)
    assert (answer.status, answer.json["error"]) == (413, "too_large")
    answer = await browse("PUT", f"{clinic}/john/file", data=bomb, headers=PACKED)
    assert (answer.status, answer.json["error"]) == (413, "too_large")
    assert (await browse("GET", f"{clinic}/john")).status == 404
    assert bodies.MAX_JSON_BODY < 70 * 2**20


async def fill(browse: Browser, clinic: str, size: int) -> None:
    docs = [{"_id": f"{number:03d}", "v": "text " * 20} for number in range(size // 100)]
    assert (await browse("POST", f"{clinic}/_bulk_docs", {"docs": docs})).status == 201


@pytest.mark.parametrize("size", [2 * MIN_PACKED, 3 * ANSWER_CHUNK])
async def test_large_answers_are_packed_for_those_who_take_it(browse: Browser, clinic: str, raw: Any, size: int):
    await fill(browse, clinic, size)
    ids = [f"{number:03d}" for number in range(size // 100)]
    wanted: dict[str, Any] = {"docs": [{"id": one} for one in ids]}
    for method, path, body in (
        ("GET", "_all_docs?include_docs=true", None),
        ("GET", "_changes?include_docs=true", None),
        ("GET", "_changes?filter=_design", None),
        ("POST", "_bulk_get", wanted),
        ("POST", "_revs_diff", {one: ["1-" + "a" * 32] for one in ids}),
    ):
        found = await raw(method, f"{clinic}/{path}", json=body)
        plain = await raw(method, f"{clinic}/{path}", json=body, accept="identity")
        assert "Content-Encoding" not in plain.headers
        if len(plain.body) < MIN_PACKED and "_changes" not in path:
            assert "Content-Encoding" not in found.headers
            continue
        assert found.headers["Content-Encoding"] == "gzip", path
        assert found.headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(found.body) == plain.body
        assert len(found.body) < max(200, len(plain.body) / 2)


async def test_small_answers_go_out_as_they_are(browse: Browser, clinic: str, raw: Any):
    await browse("PUT", f"{clinic}/john", {"v": 1})
    for path in ("", "/john", "/_all_docs"):
        assert "Content-Encoding" not in (await raw("GET", clinic + path)).headers


async def test_a_large_document_is_packed_and_keeps_its_tag(browse: Browser, clinic: str, raw: Any):
    rev = (await browse("PUT", f"{clinic}/john", {"v": "text " * 2_000})).json["rev"]
    found = await raw("GET", f"{clinic}/john", accept="br, gzip;q=0.5")
    assert json_text.loads(gzip.decompress(found.body))["_rev"] == rev
    assert found.headers["ETag"] == f'"{rev}"'
    tag = {"If-None-Match": found.headers["ETag"]}
    assert (await raw("GET", f"{clinic}/john", headers=tag)).status == 304
    for accept in ("gzip;q=0", "br", ""):
        assert "Content-Encoding" not in (await raw("GET", f"{clinic}/john", accept=accept)).headers
    assert "Content-Encoding" not in (await raw("HEAD", f"{clinic}/john")).headers


@pytest.mark.parametrize("feed", ["longpoll", "continuous", "eventsource"])
async def test_a_feed_that_waits_is_not_packed(browse: Browser, clinic: str, raw: Any, feed: str):
    await fill(browse, clinic, MIN_PACKED * 4)
    found = await raw("GET", f"{clinic}/_changes?feed={feed}&limit=30&timeout=1")
    assert "Content-Encoding" not in found.headers


async def test_heartbeats_of_a_packed_feed_are_not_held_back(browse: Browser, clinic: str, raw: Any):
    """A filter that lets nothing pass: the blank lines go out although nothing else does."""
    await fill(browse, clinic, 20_000)
    found = await raw("POST", f"{clinic}/_changes?filter=_selector&heartbeat=50", json={"selector": {"v": 1}})
    assert json_text.loads(gzip.decompress(found.body))["results"] == []


async def test_attachments_are_never_packed_by_the_hub(browse: Browser, clinic: str, raw: Any):
    await browse("PUT", f"{clinic}/john/text", data=TEXT, headers={"Content-Type": "application/json"})
    found = await raw("GET", f"{clinic}/john/text")
    assert "Content-Encoding" not in found.headers
    assert (found.body, found.headers["Accept-Ranges"]) == (TEXT, "bytes")
    related = await raw("GET", f"{clinic}/john?attachments=true", headers={"Accept": "multipart/related"})
    assert TEXT in related.body


async def test_an_attachment_that_came_packed_is_given_so_to_those_who_take_it(browse: Browser, clinic: str, raw: Any):
    zipped = gzip.compress(TEXT)
    digest = base64.b64encode(hashlib.md5(zipped, usedforsecurity=False).digest()).decode()
    put = await browse("PUT", f"{clinic}/john/text", data=zipped, headers={"Content-Type": "text/plain"} | PACKED)
    stub = (await browse("GET", f"{clinic}/john?att_encoding_info=true")).json["_attachments"]["text"]
    assert stub == {
        "content_type": "text/plain",
        "revpos": 1,
        "digest": f"md5-{digest}",
        "length": len(TEXT),
        "stub": True,
        "encoding": "gzip",
        "encoded_length": len(zipped),
    }
    found = await raw("GET", f"{clinic}/john/text", headers={"Range": "bytes=0-9"})
    assert (found.status, found.body, found.headers["Content-Encoding"]) == (200, zipped, "gzip")
    plain = await raw("GET", f"{clinic}/john/text", accept="identity")
    assert (plain.body, plain.headers["Content-Length"]) == (TEXT, str(len(TEXT)))
    for one in (found, plain):
        assert (one.headers["Accept-Ranges"], one.headers["ETag"]) == ("none", f'"{digest}"')
    head = await raw("HEAD", f"{clinic}/john/text")
    assert (head.headers["Content-Encoding"], head.headers["Content-Length"]) == ("gzip", str(len(zipped)))
    edited = {"_rev": put.json["rev"], "_attachments": {"text": {"stub": True, "revpos": 1}}}
    await browse("PUT", f"{clinic}/john", edited)
    await browse("COPY", f"{clinic}/john", headers={"Destination": "ann"})
    for name in ("john", "ann"):
        assert (await raw("GET", f"{clinic}/{name}/text", accept="identity")).body == TEXT
        kept = (await browse("GET", f"{clinic}/{name}?att_encoding_info=true")).json["_attachments"]["text"]
        assert (kept["encoded_length"], kept["length"]) == (len(zipped), len(TEXT))


async def test_an_attachment_that_is_said_to_be_gzip_and_is_not_is_refused(browse: Browser, clinic: str):
    for data in (b"not gzip", gzip.compress(TEXT)[:-4], gzip.compress(TEXT) + b"more"):
        answer = await browse("PUT", f"{clinic}/john/text", data=io.BytesIO(data), headers=PACKED)
        assert (answer.status, answer.json["reason"]) == (400, "Request body is not properly gzipped.")
    answer = await browse("PUT", f"{clinic}/john/text", data=b"x", headers={"Content-Encoding": "deflate"})
    assert (answer.status, answer.json["reason"]) == (415, "Only gzip and identity content-encodings are supported")
    assert (await browse("GET", f"{clinic}/john")).status == 404


async def test_packing_does_not_stop_the_others(browse: Browser, clinic: str, raw: Any):
    await fill(browse, clinic, 600_000)
    answers = await asyncio.gather(*(raw("GET", f"{clinic}/_all_docs?include_docs=true") for _ in range(4)))
    assert len({gzip.decompress(one.body) for one in answers}) == 1
