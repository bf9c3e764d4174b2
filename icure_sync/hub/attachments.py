"""The endpoints of one attachment: `/db/id/name`. Streams both ways; knows no multipart."""

from __future__ import annotations

import re

from aiohttp import web

from icure_sync.hub import bodies
from icure_sync.hub.answers import JSON_HEADERS, entity_tags, etag, json_answer, open_stream
from icure_sync.hub.call import DatabaseCall
from icure_sync.hub.drafts import Draft, check_attachment_name, check_content_type, parse_rev
from icure_sync.hub.errors import HttpRefusal, bad_content_type, bad_request, conflict, missing_rev, not_found
from icure_sync.hub.limits import MAX_ATTACHMENT
from icure_sync.hub.multipart import store_bytes, store_packed
from icure_sync.hub.packing import takes_gzip
from icure_sync.hub.paths import check_doc_id
from icure_sync.hub.reading import read_rev, winner
from icure_sync.hub.rendering import PLAIN
from icure_sync.hub.transfer import blob_chunks, find_blob, plain_chunks
from icure_sync.hub.writing import attach
from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Attachment
from icure_sync.store import Blob, Store

_SANDBOX = {"Content-Security-Policy": "sandbox"}  # an attachment that is a page runs nothing in the hub's name
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z", re.ASCII)


async def get_attachment(call: DatabaseCall) -> web.StreamResponse:
    """GET and HEAD, with ranges (RFC 9110, 14)."""
    rev = parse_rev(call.query.text("rev")) if "rev" in call.query else None
    stub, blob = await call.database.run(_find, call.document, rev, call.attachment)
    headers = {**JSON_HEADERS, **_SANDBOX, "Content-Type": stub.content_type, **etag(blob.digest.removeprefix("md5-"))}
    if blob.digest.removeprefix("md5-") in entity_tags(call.request, "If-None-Match"):
        return web.Response(status=304, headers=headers)
    if stub.gzip_length is not None:
        return await _answer_packed(call, stub, blob, headers)
    headers["Accept-Ranges"] = "bytes"
    start, length = 0, blob.length
    status = 200
    if "Range" in call.request.headers:
        span = _span(call.request.headers["Range"], blob.length)
        if span is not None:
            start, length = span
            status = 206
            headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{blob.length}"
    headers["Content-Length"] = str(length)
    response = await open_stream(call.request, status, headers)
    if call.request.method != "HEAD":
        async for chunk in blob_chunks(call.database, blob, start, length):
            await response.write(chunk)
    await response.write_eof()
    return response


async def _answer_packed(
    call: DatabaseCall, stub: Attachment, blob: Blob, headers: dict[str, str]
) -> web.StreamResponse:
    """What is kept as gzip: given so to those who take it, else unpacked; always whole."""
    headers |= {"Accept-Ranges": "none", "Vary": "Accept-Encoding"}
    if takes_gzip(call.request):
        headers |= {"Content-Encoding": "gzip", "Content-Length": str(blob.length)}
        chunks = blob_chunks(call.database, blob, 0, blob.length)
    else:
        headers["Content-Length"] = str(stub.length)
        chunks = plain_chunks(call.database, stub, blob)
    response = await open_stream(call.request, 200, headers)
    if call.request.method != "HEAD":
        async for chunk in chunks:
            await response.write(chunk)
    await response.write_eof()
    return response


async def put_attachment(call: DatabaseCall) -> web.StreamResponse:
    """PUT: the body as it comes; it makes the document if there is none."""
    doc_id, name = check_doc_id(call.document), check_attachment_name(call.attachment)
    rev = _named_rev(call)
    kind = check_content_type(call.request.headers.get("Content-Type", "application/octet-stream"))
    coding = call.request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in {"identity", "gzip", ""}:
        raise bad_content_type("Only gzip and identity content-encodings are supported")
    await call.admit(Draft(doc_id, (), b"{}"))
    await call.database.run(_check_current, doc_id, rev)
    declared = call.request.content_length
    if declared is not None and declared > MAX_ATTACHMENT:
        raise HttpRefusal(413, "attachment_too_large", name)
    keep = store_packed if coding == "gzip" else store_bytes
    file = await keep(call.database, bodies.raw_pieces(call.request))
    written = await call.database.run(attach, doc_id, rev, name, (kind, file))
    return json_answer({"ok": True, "id": doc_id, "rev": written}, 201, call.location(doc_id, name))


async def delete_attachment(call: DatabaseCall) -> web.StreamResponse:
    """DELETE: a new revision without it."""
    doc_id, rev = check_doc_id(call.document), _named_rev(call)
    await call.admit(Draft(doc_id, (), b"{}"))
    await call.database.run(_check_current, doc_id, rev)
    await call.database.run(_find, doc_id, rev, call.attachment)
    written = await call.database.run(attach, doc_id, rev, call.attachment, None)
    return json_answer({"ok": True, "id": doc_id, "rev": written})


def _find(store: Store, doc_id: DocId, rev: Rev | None, name: str) -> tuple[Attachment, Blob]:
    revision = winner(store, doc_id) if rev is None else read_rev(store, doc_id, rev, PLAIN).revision
    stub = revision.attachments.get(name)
    if stub is None:
        raise not_found("Document is missing attachment")
    return stub, find_blob(store, doc_id, revision.rev, name)


def _check_current(store: Store, doc_id: DocId, rev: Rev | None) -> None:
    """Before a large body is taken: would the edit stand? Raises conflict, missing_rev."""
    tree = store.documents.tree(doc_id)
    if rev is not None and (tree is None or rev not in tree):
        raise missing_rev()
    if tree is None:
        return
    fits = tree.winner().deleted if rev is None else any(leaf.rev == rev for leaf in tree.leaves())
    if not fits:
        raise conflict()


def _named_rev(call: DatabaseCall) -> Rev | None:
    named = [call.query.text("rev")] if "rev" in call.query else []
    named += entity_tags(call.request, "If-Match")
    if len(set(named)) > 1:
        raise bad_request("Document rev and etag have different values")
    return parse_rev(named[0]) if named else None


def _span(header: str, size: int) -> tuple[int, int] | None:
    """Start and length of a single range; None for what is answered whole, as `bytes=0-` is. Raises 416."""
    match = _RANGE.match(header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if match[1]:
        start = int(match[1])
        end = min(int(match[2]), size - 1) if match[2] else size - 1
        if not start and not match[2]:
            return None
    else:
        start, end = max(0, size - int(match[2])), size - 1
    if start >= size or (match[2] and match[1] and int(match[2]) < start) or end < start:
        headers = {"Content-Range": f"bytes */{size}"}
        raise HttpRefusal(416, "requested_range_not_satisfiable", "Requested range not satisfiable", headers)
    return start, end - start + 1
