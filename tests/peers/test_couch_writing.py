"""Writing revisions with attachments: stubs first, all bytes when they are missing, one refusal for one document."""

from __future__ import annotations

import json

import pytest

from icure_sync.errors import Forbidden, Unauthorized
from icure_sync.ids import DocId
from icure_sync.peers import couch_writing
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.trouble import BatchRefused, ServerFailed
from icure_sync.replication.wire import Refusal, Revision
from icure_sync.testing import ScriptedServer, json_answer
from tests.replicas import rev, revision

BULK = "POST /clinic/_bulk_docs"
PUT = "PUT /clinic/a"
DONE = json_answer({"ok": True, "id": "a", "rev": rev(2, 1)}, 201)
MISSING_STUB = json_answer({"error": "missing_stub", "reason": "id:a, name:f"}, 412)
LARGE = bytes(300_000)


def second_revision(**files: bytes) -> tuple[Revision, MemoryPeer]:
    """A revision that leaves the attachments of the first as they are, and the peer that has their bytes."""
    source = MemoryPeer()
    first = revision("a", rev(1, 1), files=files)
    second = Revision(DocId("a"), (rev(2, 1), rev(1, 1)), b'{"n":2}', False, first.attachments)
    source.put(first, files)
    source.put(second, files)
    return second, source


def parts(server: ScriptedServer) -> list[bytes]:
    """The parts of the last multipart body."""
    seen = server.last(PUT)
    boundary = seen.headers["Content-Type"].partition('boundary="')[2].rstrip('"')
    return [part.partition(b"\r\n\r\n")[2][:-2] for part in seen.body.split(b"--" + boundary.encode())[1:-1]]


async def test_what_the_server_should_have_goes_as_a_stub(server: ScriptedServer):
    server.on(PUT, DONE)
    second, source = second_revision(f=LARGE)
    async with server.peer() as peer:
        assert await peer.write([second], source) == []
    sent = json.loads(server.last(PUT).body)
    assert sent["_attachments"]["f"]["stub"] is True
    assert sent["_attachments"]["f"]["revpos"] == 1
    assert sent["_attachments"]["f"]["digest"].startswith("sha256-")
    assert sent["_rev"] == rev(2, 1)


async def test_a_server_that_lacks_what_a_stub_stands_for_gets_the_bytes(server: ScriptedServer):
    server.on(PUT, MISSING_STUB, DONE)
    second, source = second_revision(f=LARGE)
    async with server.peer() as peer:
        assert await peer.write([second], source) == []
    text, data = parts(server)
    assert json.loads(text)["_attachments"]["f"]["follows"] is True
    assert data == LARGE


async def test_a_new_attachment_beside_an_old_one_is_streamed_alone(server: ScriptedServer):
    server.on(PUT, DONE)
    second, source = second_revision(old=LARGE)
    new = b"n" * 300_000
    both = revision("a", rev(2, 1), rev(1, 1), files={"new": new})
    mixed = Revision(both.id, both.history, b"{}", False, {**second.attachments, **both.attachments})
    source.remove(DocId("a"))
    source.put(mixed, {"old": LARGE, "new": new})
    async with server.peer() as peer:
        assert await peer.write([mixed], source) == []
    text, data = parts(server)
    described = json.loads(text)["_attachments"]
    assert (described["old"].get("stub"), described["new"].get("follows")) == (True, True)
    assert data == new


async def test_an_attachment_that_holds_the_boundary_of_one_request_goes_by_another(server: ScriptedServer):
    server.on(PUT, DONE)
    source = MemoryPeer()
    source.put(revision("a", rev(1, 1), files={"f": LARGE}), {"f": LARGE})
    (first,) = await source.fetch({DocId("a"): [rev(1, 1)]})
    async with server.peer() as peer:
        assert await peer.write([first], source) == []
        seen = server.last(PUT).headers["Content-Type"].partition('boundary="')[2].rstrip('"')
        hostile = LARGE + f"\r\n--{seen}--\r\n\r\n--{seen}\r\n\r\n".encode()
        source.put(revision("a", rev(1, 2), files={"f": hostile}), {"f": hostile})
        (second,) = await source.fetch({DocId("a"): [rev(1, 2)]})
        assert await peer.write([second], source) == []
    _, data = parts(server)
    assert data == hostile


async def test_small_attachments_go_inline_with_the_other_documents(server: ScriptedServer):
    server.on(BULK, json_answer([], 201))
    source = MemoryPeer()
    first = revision("a", rev(1, 1), files={"f": b"abc"})
    source.put(first, {"f": b"abc"})
    async with server.peer() as peer:
        assert await peer.write([first, revision("b", rev(1, 1))], source) == []
    sent = json.loads(server.last(BULK).body)
    assert sent["new_edits"] is False
    assert [document["_id"] for document in sent["docs"]] == ["a", "b"]
    assert sent["docs"][0]["_attachments"]["f"]["data"] == "YWJj"


async def test_small_attachments_that_the_server_has_are_not_sent_again(server: ScriptedServer):
    server.on(BULK, json_answer([], 201))
    second, source = second_revision(f=b"abc")
    async with server.peer() as peer:
        assert await peer.write([second, revision("b", rev(1, 1))], source) == []
    assert server.count(BULK) == 1
    described = json.loads(server.last(BULK).body)["docs"][0]["_attachments"]["f"]
    assert (described["stub"], described["revpos"], "data" in described) == (True, 1, False)


async def test_small_attachments_that_the_server_lacks_after_all_go_with_their_bytes(server: ScriptedServer):
    server.on(BULK, MISSING_STUB, json_answer([], 201))
    second, source = second_revision(f=b"abc")
    gone = Revision(DocId("gone"), second.history, second.body, False, second.attachments)
    async with server.peer() as peer:
        (refusal,) = await peer.write([second, gone, revision("b", rev(1, 1))], source)
    assert (refusal.id, refusal.error) == ("gone", "bad_attachment")  # the source has none, either
    sent = json.loads(server.last(BULK).body)["docs"]
    assert [document["_id"] for document in sent] == ["a", "b"]
    assert sent[0]["_attachments"]["f"]["data"] == "YWJj"


async def test_a_bulk_that_is_refused_for_another_reason_is_tried_once(server: ScriptedServer):
    server.on(BULK, json_answer({"error": "bad_request", "reason": "why"}, 400))
    async with server.peer() as peer:
        with pytest.raises(BatchRefused):
            await peer.write([revision("b", rev(1, 1))], MemoryPeer())
    assert server.count(BULK) == 1


async def test_many_documents_go_in_requests_of_bounded_size(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(couch_writing, "REQUEST_BYTES", 1_000)
    server.on(BULK, json_answer([], 201))
    body = b'{"x":"' + b"y" * 300 + b'"}'
    async with server.peer() as peer:
        await peer.write([revision(f"doc-{n}", rev(1, n), body=body) for n in range(10)], MemoryPeer())
    sizes = [len(seen.body) for seen in server.seen]
    assert len(sizes) == 5
    assert max(sizes) < 1_100


@pytest.mark.parametrize(
    ("status", "error"),
    [(412, "missing_stub"), (413, "document_too_large"), (400, "bad_request"), (403, "forbidden"), (409, "conflict")],
)
async def test_a_document_refused_by_itself_is_a_refusal_and_the_next_is_written(server: ScriptedServer, status, error):
    server.on(PUT, json_answer({"error": error, "reason": "why"}, status))
    server.on(BULK, json_answer([], 201))
    second, source = second_revision(f=LARGE)
    async with server.peer() as peer:
        (refusal,) = await peer.write([second, revision("b", rev(1, 1))], source)
    assert (refusal.id, refusal.rev, refusal.error) == ("a", rev(2, 1), error)
    assert server.count(BULK) == 1


async def test_a_refusal_by_401_is_the_documents_if_the_database_answers(server: ScriptedServer):
    """A validation function may say `unauthorized`, which looks like a dead cookie."""
    server.on("POST /_session", json_answer({"ok": True}, Set_Cookie="AuthSession=abc; Path=/"))
    server.on(PUT, json_answer({"error": "unauthorized", "reason": "log in first"}, 401))
    second, source = second_revision(f=LARGE)
    async with server.peer("nurse:pw") as peer:
        (refusal,) = await peer.write([second], source)
    assert (refusal.error, refusal.rev) == ("unauthorized", rev(2, 1))
    assert "log in first" in refusal.reason


@pytest.mark.parametrize(("status", "kind"), [(401, Unauthorized), (403, Forbidden)])
async def test_a_refusal_of_the_database_itself_is_an_error(server: ScriptedServer, status, kind):
    server.on("POST /_session", json_answer({"ok": True}, Set_Cookie="AuthSession=abc; Path=/"))
    denied = json_answer({"error": "unauthorized" if status == 401 else "forbidden", "reason": "no"}, status)
    server.on(PUT, denied)
    server.on("GET /clinic", denied)
    second, source = second_revision(f=LARGE)
    async with server.peer("nurse:pw") as peer:
        with pytest.raises(kind):
            await peer.write([second], source)


async def test_a_server_that_fails_over_one_document_is_an_error_for_the_policy(server: ScriptedServer):
    server.on(PUT, json_answer({"error": "unknown_error", "reason": "crash"}, 500))
    second, source = second_revision(f=LARGE)
    async with server.peer() as peer:
        with pytest.raises(ServerFailed):
            await peer.write([second], source)


async def test_refusals_come_in_any_order_and_only_for_what_was_refused(server: ScriptedServer):
    answer = [
        {"id": "c", "rev": rev(1, 3), "error": "unauthorized", "reason": "log in first"},
        {"id": "a", "rev": rev(1, 1), "error": "forbidden", "reason": "no secrets"},
    ]
    server.on(BULK, json_answer(answer, 201))
    async with server.peer() as peer:
        refusals = await peer.write([revision(name, rev(1, n)) for n, name in enumerate("xabc")], MemoryPeer())
    assert refusals == [
        Refusal(DocId("c"), rev(1, 3), "unauthorized", "log in first"),
        Refusal(DocId("a"), rev(1, 1), "forbidden", "no secrets"),
    ]


async def test_a_log_is_written_over_the_revision_that_was_read(server: ScriptedServer):
    """CouchDB does not insist; other servers do."""
    log = "/clinic/_local/log-1"
    server.on(f"GET {log}", json_answer({"_id": "_local/log-1", "_rev": "0-7", "history": []}))
    server.on(f"PUT {log}", json_answer({"ok": True, "id": "_local/log-1", "rev": "0-8"}, 201))
    async with server.peer() as peer:
        await peer.write_local("log-1", {"history": [1]})
        assert json.loads(server.last(f"PUT {log}").body) == {"history": [1]}
        assert await peer.read_local("log-1") == {"history": []}
        for expected in ("0-7", "0-8"):
            await peer.write_local("log-1", {"history": [2]})
            assert json.loads(server.last(f"PUT {log}").body) == {"history": [2], "_rev": expected}
