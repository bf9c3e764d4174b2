"""The same edit gets the same revision id on a hub as on a CouchDB 3.5, which answered with the ids here."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hub.conftest import Browser

BODIES: list[tuple[str, str]] = [
    ("{}", "1-967a00dff5e02add41819138abb3284d"),
    ('{"a":1}', "1-23202479633c2b380f79507a776743d5"),
    ('{"a":[1,2,3],"b":[1,300],"c":[]}', "1-57c24abbd41de8ce021ff723f43c66f8"),
    (
        '{"f":1.5,"g":1e300,"h":-0.0,"i":100000000000000000000,"j":-5,"k":2147483648,"l":-2147483649,"m":255,"n":256}',
        "1-d2c4f31960116eb0c538fdd2b4c56a87",
    ),
    (
        '{"s":"é\U0001f600","t":"","n":null,"b":true,"c":false,"o":{"x":{"y":{}}},"z":[[],{},[{}]]}',
        "1-292d9345db8b8d1e41735b5f6e3638ac",
    ),
    ('{"a":1.0,"b":1e3,"c":1E-5,"d":-0,"e":12345678901234567890,"f":0.1}', "1-2e7aad206a7b5080bc69fceac9526ec5"),
]


@pytest.mark.parametrize(("body", "rev"), BODIES)
async def test_a_first_revision_is_called_as_on_couchdb(browse: Browser, clinic: str, body: str, rev: str) -> None:
    assert (await browse("PUT", f"{clinic}/a", data=body.encode())).json["rev"] == rev
    assert (await browse("POST", clinic, {"_id": "b", "a": 1})).json["rev"] == BODIES[1][1]


async def test_later_revisions_tombstones_and_what_comes_after_them_are_called_as_on_couchdb(
    browse: Browser, clinic: str
) -> None:
    async def put(doc: dict[str, Any]) -> str:
        return str((await browse("PUT", f"{clinic}/a", doc)).json["rev"])

    first = await put({})
    second = await put({"_rev": first, "_deleted": True, "why": 1})
    third = await put({"back": 1})
    assert [first, second, third] == [
        "1-967a00dff5e02add41819138abb3284d",
        "2-f65d45b415a21c92a553e6dcf83dc5b7",
        "3-c1c84ba7d699ef890f461d5c5094180a",
    ]


async def test_an_edit_of_a_revision_that_is_no_md5_is_called_as_on_couchdb(browse: Browser, clinic: str) -> None:
    docs = [{"_id": "k", "_rev": "1-abc", "x": 1}]
    await browse("POST", f"{clinic}/_bulk_docs", {"docs": docs, "new_edits": False})
    edit = await browse("PUT", f"{clinic}/k", {"_rev": "1-abc", "y": 2})
    assert edit.json["rev"] == "2-7b1ed9124daa3a029271941106bdde8e"


async def test_attachments_that_are_not_compressed_count_as_on_couchdb(browse: Browser, clinic: str) -> None:
    files = {"x": {"data": "YQ==", "content_type": "a/b"}, "y": {"data": "Yg=="}, "b": {"data": ""}}
    put = await browse("PUT", f"{clinic}/a", {"_attachments": files, "q": 1})
    assert put.json["rev"] == "1-5452747179bb90ddb707799aaff392fc"
    one = await browse("PUT", f"{clinic}/b/f", data=b"bytes", headers={"Content-Type": "a/b"})
    assert one.json["rev"] == "1-fc8ecc8676ee1d1a99aa021f528440b9"
    two = await browse("PUT", f"{clinic}/b/g?rev={one.json['rev']}", data=b"more", headers={"Content-Type": "a/c"})
    assert two.json["rev"] == "2-34e0bd48de04a523137bf79d3b7c7eb7"


async def test_the_deepest_document_gets_an_id_too(browse: Browser, clinic: str) -> None:
    deep = b'{"a":' * 255 + b"1" + b"}" * 255
    assert (await browse("PUT", f"{clinic}/a", data=deep)).status == 201
    nested = b'{"a":' + b"[" * 254 + b"]" * 254 + b"}"
    assert (await browse("PUT", f"{clinic}/b", data=nested)).status == 201
