"""The endpoints of one document: GET, HEAD, PUT, DELETE, COPY, and POST to the database. Knows no attachments."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from urllib.parse import unquote

import msgspec
from aiohttp import web

from icure_sync.hub import bodies, multipart
from icure_sync.hub.answers import encode, entity_tags, etag, json_answer, stream_answer
from icure_sync.hub.call import DatabaseCall
from icure_sync.hub.drafts import MEMBERS, Draft, Part, check_named, parse_draft, parse_rev
from icure_sync.hub.errors import HttpRefusal, bad_request, conflict, illegal_docid, not_found, not_offered
from icure_sync.hub.local import is_local, parse_local, write_local
from icure_sync.hub.paths import check_doc_id
from icure_sync.hub.queries import Query
from icure_sync.hub.reading import (
    Found,
    find_rev,
    latest_revs,
    leaf_revs,
    parse_revs,
    parse_shape,
    read_latest,
    read_rev,
    read_winner,
    winner,
)
from icure_sync.hub.rendering import PLAIN, Rendered, Shape
from icure_sync.hub.transfer import chunks_of, find_blob
from icure_sync.hub.writing import File, Uploads, edit, graft
from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Revision
from icure_sync.store import Store

_FUNCTIONS: Mapping[str, str] = {"_show": "shows", "_list": "lists", "_update": "updates"}  # and where they are kept


async def get_document(call: DatabaseCall) -> web.StreamResponse:
    """GET and HEAD `/db/id`."""
    doc_id, query = check_doc_id_to_read(call.document), call.query
    open_revs = query.text("open_revs")
    if open_revs and open_revs != "[]":
        return await _get_open_revs(call, doc_id, open_revs)
    wants_parts = multipart.accepts(call.request, "multipart/related")
    shape = parse_shape(query, "follows" if wants_parts else "data")
    if "rev" not in query:
        found = await call.database.run(read_winner, doc_id, shape)
    else:
        rev = parse_rev(query.text("rev"))
        found = await call.database.run(read_latest if query.flag("latest") else read_rev, doc_id, rev, shape)
    headers = {} if found.extra else etag(found.revision.rev)
    if not found.extra and found.revision.rev in entity_tags(call.request, "If-None-Match"):
        return web.Response(status=304, headers=headers)
    if found.following:
        boundary = multipart.new_boundary()
        body = multipart.related(call.database, found, boundary)
        kind = {"Content-Type": f'multipart/related; boundary="{boundary}"'}
        return await stream_answer(call.request, body, headers=headers | kind)
    return await stream_answer(call.request, _with_line_feed(chunks_of(call.database, found.pieces)), headers=headers)


async def put_document(call: DatabaseCall) -> web.StreamResponse:
    """PUT `/db/id`: JSON, or multipart/related with attachments that follow."""
    doc_id = check_doc_id(call.document)
    if multipart.is_related(call.request):
        members, uploads = await multipart.read_related(call.request, call.database)
    else:
        members, uploads = bodies.decode(await bodies.read(call.request), MEMBERS, "Document"), {}
    draft = parse_draft(members, doc_id)
    history = _named_rev(call, draft)
    if not call.query.flag("new_edits", default=True):
        draft = await call.admit(check_named(draft if draft.has_ancestry else replace(draft, history=history)))
        await call.database.run(graft, draft, uploads)
        return _written(call, draft.id, draft.history[0])
    draft = await call.admit(replace(draft, history=history))
    if call.query.text("batch") == "ok":
        return await _edited_in_batch(call, draft, uploads)
    rev = await call.database.run(edit, draft, uploads)
    return _written(call, draft.id, rev)


async def delete_document(call: DatabaseCall) -> web.StreamResponse:
    """DELETE `/db/id`: a tombstone on the revision named."""
    doc_id = check_doc_id(call.document)
    await call.database.run(winner, doc_id)
    draft = Draft(doc_id, (), b"{}", deleted=True)
    draft = replace(draft, history=_named_rev(call, draft))
    if draft.rev is None:
        raise conflict()
    draft = await call.admit(draft)
    rev = await call.database.run(edit, draft, {})
    return json_answer({"ok": True, "id": doc_id, "rev": rev}, headers=etag(rev))


async def post_document(call: DatabaseCall) -> web.StreamResponse:
    """POST `/db`: a document whose id is in its body, or made up."""
    bodies.require_json(call.request)
    members = bodies.decode(await bodies.read(call.request), MEMBERS, "Document")
    if "_id" in members and is_local(bytes(members["_id"])):
        local = parse_local(members)
        local_rev = await call.database.run(write_local, local)
        return json_answer({"ok": True, "id": local.id, "rev": local_rev}, 201, call.location(local.id))
    draft = parse_draft(members, None if "_id" in members else DocId(uuid.uuid4().hex))
    draft = await call.admit(draft)
    if call.query.text("batch") == "ok":
        return await _edited_in_batch(call, draft, {})
    rev = await call.database.run(edit, draft, {})
    return json_answer({"ok": True, "id": draft.id, "rev": rev}, 201, call.location(draft.id))


async def copy_document(call: DatabaseCall) -> web.StreamResponse:
    """COPY `/db/id` with `Destination: id?rev=…`: the same body and attachments under another id."""
    destination = call.request.headers.get("Destination", "")
    name, _, query = destination.partition("?")
    if not name:
        raise bad_request("Destination header is mandatory for COPY.")
    if "://" in name:
        raise bad_request("Destination URL must be relative.")
    target, rev = check_doc_id(_unquoted(name)), Query.of("?" + query).text("rev")
    history = (parse_rev(rev),) if rev else ()
    source, uploads = await call.database.run(read_copied, call.document, call.query.text("rev"))
    parts = {one: Part("follows", stub.content_type) for one, stub in source.attachments.items()}
    draft = await call.admit(Draft(target, history, source.body, parts=parts))
    written = await call.database.run(edit, draft, uploads)
    return _written(call, target, written)


def read_copied(store: Store, doc_id: DocId, rev: str) -> tuple[Revision, Uploads]:
    """The revision to copy, and the bytes of its attachments. Raises not_found."""
    found = read_rev(store, doc_id, parse_rev(rev), PLAIN).revision if rev else winner(store, doc_id)
    attachments = found.attachments.items()
    return found, {name: File.of(stub, find_blob(store, doc_id, found.rev, name)) for name, stub in attachments}


async def _edited_in_batch(call: DatabaseCall, draft: Draft, uploads: Uploads) -> web.Response:
    """An edit with `batch=ok`: as on CouchDB, nobody hears what became of it."""
    with suppress(HttpRefusal):
        await call.database.run(edit, draft, uploads)
    return json_answer({"ok": True, "id": draft.id}, 202)


def _unquoted(text: str) -> str:
    """Raises illegal_docid for what is not UTF-8."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise illegal_docid("Document id must be valid UTF-8") from error


def check_doc_id_to_read(doc_id: DocId) -> DocId:
    """Reading a reserved name that does not exist is a miss, not a mistake."""
    if doc_id.startswith("_") and not doc_id.startswith(("_design/", "_local/")):
        raise not_found()
    return doc_id


async def refuse_function(call: DatabaseCall) -> web.StreamResponse:
    """Shows and the like are JavaScript. Raises not_found where there is none, else not_implemented."""
    found = await call.database.run(winner, call.document)
    kind = _FUNCTIONS.get(call.path.segments[3], "")
    if kind and not isinstance(msgspec.json.decode(found.body).get(kind), dict):
        raise not_found(f"missing json key: {kind}")
    raise not_offered("JavaScript on the server")


async def _get_open_revs(call: DatabaseCall, doc_id: DocId, wanted: str) -> web.StreamResponse:
    wants_json = multipart.accepts_json_only(call.request)
    shape = parse_shape(call.query, "data" if wants_json else "follows").of_revision()
    if not wants_json:
        shape = replace(shape, attachments="follows")  # asked for or not: CouchDB's replicator counts on it
    if wanted == "all":
        revs = await call.database.run(leaf_revs, doc_id)
    else:
        revs = parse_revs(call.query.json("open_revs"), "open_revs")
        if call.query.flag("latest"):
            revs = await call.database.run(latest_revs, doc_id, revs)
    found = _each(call, doc_id, revs, shape)
    if wants_json:
        return await stream_answer(call.request, _json_list(call, found))
    boundary = multipart.new_boundary()
    headers = {"Content-Type": f'multipart/mixed; boundary="{boundary}"'}
    return await stream_answer(call.request, multipart.mixed(call.database, found, boundary), headers=headers)


async def _each(call: DatabaseCall, doc_id: DocId, revs: Sequence[Rev], shape: Shape) -> AsyncIterator[Found]:
    """One revision at a time: a document may have hundreds of large leaves."""
    for rev in revs:
        yield await call.database.run(find_rev, doc_id, rev, shape)


async def _json_list(call: DatabaseCall, found: AsyncIterator[Found]) -> AsyncIterator[bytes]:
    separator = b"["
    async for one in found:
        if isinstance(one, Rendered):
            yield separator + b'{"ok":'
            async for chunk in chunks_of(call.database, one.pieces):
                yield chunk
            yield b"}"
        else:
            yield separator + encode({"missing": one})
        separator = b","
    yield b"]\n" if separator == b"," else b"[]\n"


async def _with_line_feed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield chunk
    yield b"\n"


def _named_rev(call: DatabaseCall, draft: Draft) -> tuple[Rev, ...]:
    """The revision that an edit is based on: in the body, `rev=` or `If-Match`; they must not differ."""
    named = [parse_rev(call.query.text("rev"))] if "rev" in call.query else []
    tags = [parse_rev(tag) for tag in entity_tags(call.request, "If-Match")]
    if draft.has_ancestry and not named and not tags:
        return draft.history
    named += draft.history[:1]
    if len(set(named)) > 1:
        raise bad_request("Document rev from request body and query string have different values")
    if len(set(named + tags)) > 1:
        raise bad_request("Document rev and etag have different values")
    return tuple((named + tags)[:1])


def _written(call: DatabaseCall, doc_id: DocId, rev: Rev) -> web.Response:
    headers = {**etag(rev), **call.location(doc_id)}
    return json_answer({"ok": True, "id": doc_id, "rev": rev}, 201, headers)
