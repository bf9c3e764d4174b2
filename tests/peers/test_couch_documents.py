"""Documents as they are sent."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

import pytest

from icure_sync.ids import DocId, Rev
from icure_sync.peers.couch_documents import (
    WrongLength,
    document,
    follows,
    inline,
    is_likely_there,
    multipart,
    path_of,
    stub,
)
from icure_sync.replication.wire import Attachment, Revision

PICTURE = Attachment("x.png", "image/png", 3, "md5-abc", 1)


@pytest.mark.parametrize("body", [b"{}", b"{ }", b' {"n":1} ', b'{"n":1.0,"m":{}}'])
def test_a_document_is_its_body_behind_its_history(body: bytes):
    text = document(Revision(DocId('a"b\u00e9'), (Rev("2-bb"), Rev("1-aa")), body))
    expected = {"_id": 'a"bé', "_rev": "2-bb", "_revisions": {"start": 2, "ids": ["bb", "aa"]}, **json.loads(body)}
    assert json.loads(text) == expected


def test_a_tombstone_says_so():
    assert json.loads(document(Revision(DocId("a"), (Rev("1-aa"),), b"{}", True)))["_deleted"] is True


def test_attachments_always_carry_their_revpos_and_stubs_their_digest():
    forms = (inline(PICTURE, b"abc"), stub(PICTURE), follows(PICTURE))
    assert all(form["revpos"] == 1 for form in forms)
    assert inline(PICTURE, b"abc")["data"] == "YWJj"
    assert stub(PICTURE)["digest"] == inline(PICTURE, b"abc")["digest"] == "md5-abc"
    assert "digest" not in follows(PICTURE)


def test_an_attachment_of_an_earlier_revision_is_likely_there():
    first, second = Revision(DocId("a"), (Rev("1-aa"),), b"{}"), Revision(DocId("a"), (Rev("2-bb"),), b"{}")
    assert not is_likely_there(PICTURE, first)
    assert is_likely_there(PICTURE, second)
    assert not is_likely_there(Attachment("x", "image/png", 3, "", 0), second)


async def three() -> AsyncGenerator[bytes, None]:
    for piece in (b"a", b"bc"):
        yield piece


async def test_a_multipart_body_has_the_length_that_it_announces():
    body = multipart(b'{"_id":"a"}', [(PICTURE, three), (PICTURE, three)], "5a5a")
    for _ in range(2):  # and can be sent again
        sent = b"".join([piece async for piece in body.pieces()])
        assert len(sent) == body.length
    boundary = body.content_type.partition('boundary="')[2].rstrip('"').encode()
    assert [part.partition(b"\r\n\r\n")[2] for part in sent.split(b"--" + boundary)] == [
        b"",
        b'{"_id":"a"}\r\n',
        b"abc\r\n",
        b"abc\r\n",
        b"",
    ]


@pytest.mark.parametrize("length", [2, 4])
async def test_an_attachment_of_another_length_breaks_the_request_off(length: int):
    body = multipart(b"{}", [(Attachment("x", "image/png", length, "", 1), three)], "5a5a")
    with pytest.raises(WrongLength):
        _ = [piece async for piece in body.pieces()]


@pytest.mark.parametrize(
    ("doc_id", "path"),
    [("a", "/a"), ("a/b", "/a%2Fb"), ("_design/a b", "/_design/a%20b"), ("é?#%+&", "/%C3%A9%3F%23%25%2B%26")],
)
def test_an_id_is_encoded_into_one_step_of_a_path(doc_id: str, path: str):
    assert path_of(DocId(doc_id)) == path
