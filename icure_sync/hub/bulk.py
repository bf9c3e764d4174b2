"""The endpoints that move many documents: `_bulk_docs`, `_bulk_get`, `_revs_diff`, `_missing_revs`.

The replication path: bodies stay text in both directions, answers are streamed page by page. Knows no changes feed.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import msgspec
from aiohttp import web

from icure_sync.hub import bodies
from icure_sync.hub.answers import encode, json_answer, stream_answer
from icure_sync.hub.call import DatabaseCall
from icure_sync.hub.drafts import Draft, Members, check_named, parse_draft, parse_rev
from icure_sync.hub.errors import HttpRefusal, bad_request, not_found
from icure_sync.hub.limits import MAX_BULK_IDS, PAGE_BYTES, PAGE_ROWS, PAGE_SECONDS
from icure_sync.hub.local import LocalDraft, is_local, parse_local, write_local
from icure_sync.hub.paths import check_doc_id
from icure_sync.hub.reading import find_rev, latest_revs, leaf_revs, parse_shape
from icure_sync.hub.rendering import Piece, Rendered, Shape
from icure_sync.hub.transfer import chunks_of
from icure_sync.hub.writing import edit_all, graft_all
from icure_sync.ids import DocId, Rev
from icure_sync.replication.wire import Missing, Refusal
from icure_sync.store import Store


class _BulkDocs(msgspec.Struct):
    docs: msgspec.Raw = msgspec.Raw(b"")
    new_edits: Any = True
    all_or_nothing: Any = False


class _BulkGet(msgspec.Struct):
    docs: list[Any] | None = None


_BULK_DOCS = msgspec.json.Decoder(_BulkDocs)
_DOCS = msgspec.json.Decoder(list[Members])
_BULK_GET = msgspec.json.Decoder(_BulkGet)
_REVS = msgspec.json.Decoder(dict[str, list[str]])


async def post_bulk_docs(call: DatabaseCall) -> web.StreamResponse:
    """`_bulk_docs`: everything in it is stored in one transaction, or refused one by one.

    What cannot be read as a batch of documents, and a lost stub, refuse all of it, as on CouchDB.
    """
    bodies.require_json(call.request)
    batch = bodies.decode(await bodies.read(call.request), _BULK_DOCS)
    drafts = _drafts(batch)
    if batch.all_or_nothing is True:
        return json_answer([_refused(_all_or_nothing(draft)) for draft in drafts if isinstance(draft, Draft)], 417)
    admitted = [await _admitted(call, draft) for draft in drafts]
    fit = [one for one in admitted if not isinstance(one, HttpRefusal)]
    if not batch.new_edits:
        rows = [
            {"id": draft.id, "rev": draft.rev, "error": one.error, "reason": one.reason}
            for draft, one in zip(drafts, admitted, strict=True)
            if isinstance(draft, Draft) and isinstance(one, HttpRefusal)
        ]
        refusals = await call.database.run(_graft_drafts, fit)
        return json_answer(rows + [_refused(refusal) for refusal in refusals], 201)
    written = iter(await call.database.run(_edit_drafts, fit))
    outcomes = [one if isinstance(one, HttpRefusal) else next(written) for one in admitted]
    return json_answer([_outcome(draft.id, one) for draft, one in zip(drafts, outcomes, strict=True)], 201)


def _drafts(batch: _BulkDocs) -> list[Draft | LocalDraft]:
    """Raises bad_request for what is no batch of documents."""
    if not memoryview(batch.docs).nbytes:
        raise bad_request("POST body must include `docs` parameter.")
    if bytes(memoryview(batch.docs)[:1]) != b"[":
        raise bad_request("`docs` parameter must be an array.")
    if not isinstance(batch.new_edits, bool):
        raise bad_request("`new_edits` parameter must be a boolean.")
    try:
        docs = _DOCS.decode(batch.docs)
    except msgspec.ValidationError as error:
        raise bad_request("Document must be a JSON object") from error
    drafts: list[Draft | LocalDraft] = []
    for members in docs:
        if "_id" in members and is_local(bytes(members["_id"])):
            drafts.append(parse_local(members))
            continue
        draft = parse_draft(members, None if "_id" in members else DocId(uuid.uuid4().hex))
        drafts.append(draft if batch.new_edits else check_named(draft))
    return drafts


def _all_or_nothing(draft: Draft) -> Refusal:
    return Refusal(draft.id, draft.rev or Rev("0-"), "not_implemented", "all_or_nothing is not supported")


async def _admitted(call: DatabaseCall, draft: Draft | LocalDraft) -> Draft | LocalDraft | HttpRefusal:
    if isinstance(draft, LocalDraft):
        return draft
    try:
        return await call.admit(draft)
    except HttpRefusal as refusal:
        return refusal


async def post_bulk_get(call: DatabaseCall) -> web.StreamResponse:
    """`_bulk_get`: many revisions, each beside the id that was asked for."""
    bodies.require_json(call.request)
    wanted = bodies.decode(await bodies.read(call.request), _BULK_GET).docs
    if wanted is None:
        raise bad_request("Missing JSON list of 'docs'.")
    if len(wanted) > MAX_BULK_IDS:
        raise bad_request(f"more than {MAX_BULK_IDS} documents were asked for at once")
    shape = parse_shape(call.query, "data").of_revision()
    items = [_item(one, shape) for one in wanted]
    return await stream_answer(call.request, _bulk_get_chunks(call, items))


async def post_revs_diff(call: DatabaseCall) -> web.StreamResponse:
    """`_revs_diff`: what of these revisions is not here, and what it may descend from."""
    missing = await _missing(call)
    answer = {}
    for doc_id, one in missing.items():
        answer[doc_id] = {"missing": one.revs}
        if one.possible_ancestors:
            answer[doc_id]["possible_ancestors"] = one.possible_ancestors
    return json_answer(answer)


async def post_missing_revs(call: DatabaseCall) -> web.StreamResponse:
    """`_missing_revs`: the older form."""
    missing = await _missing(call)
    return json_answer({"missing_revs": {doc_id: one.revs for doc_id, one in missing.items()}})


async def _missing(call: DatabaseCall) -> Mapping[DocId, Missing]:
    bodies.require_json(call.request)
    asked = bodies.decode(await bodies.read(call.request), _REVS)
    if len(asked) + sum(map(len, asked.values())) > MAX_BULK_IDS:
        raise bad_request(f"more than {MAX_BULK_IDS} ids and revisions were asked for at once")
    revs = [(DocId(doc_id), parse_rev(rev)) for doc_id, named in asked.items() for rev in named]
    missing: dict[DocId, Missing] = {}
    for at in range(0, len(revs), PAGE_ROWS):
        found = await call.database.run(_read_missing, revs[at : at + PAGE_ROWS])
        for doc_id, one in found.items():
            missing[doc_id] = _joined(missing[doc_id], one) if doc_id in missing else one
    return missing


def _read_missing(store: Store, revs: Sequence[tuple[DocId, Rev]]) -> Mapping[DocId, Missing]:
    wanted: dict[DocId, list[Rev]] = {}
    for doc_id, rev in revs:
        wanted.setdefault(doc_id, []).append(rev)
    return store.documents.missing(wanted)


def _joined(one: Missing, other: Missing) -> Missing:
    """Of one document, from two pages: the leaves below the higher revision are those below either."""
    return Missing(one.revs + other.revs, max(one.possible_ancestors, other.possible_ancestors, key=len))


@dataclass(frozen=True, slots=True)
class _Item:
    """One entry of a `_bulk_get` that can be read. `rev` None: all leaves."""

    id: DocId
    rev: Rev | None
    shape: Shape


def _item(entry: object, shape: Shape) -> _Item | bytes:
    """The row of an entry that cannot be read says why, with what was named in it."""
    if not isinstance(entry, dict) or not entry:
        return _bad_entry(None, None, bad_request("document must be a JSON object"))
    doc_id = entry.get("id")
    if not isinstance(doc_id, str):
        return _bad_entry(None, None, bad_request("document id missed"))
    named = None
    try:
        check_doc_id(doc_id)
        rev = parse_rev(named := entry["rev"]) if "rev" in entry else None
        if "atts_since" in entry:
            named = entry["atts_since"]
            if not isinstance(named, list):
                raise bad_request("att_since value must be array of revs.")
            since = tuple(parse_rev(named := one) for one in named)
            shape = replace(shape, atts_since=since)
    except HttpRefusal as refusal:
        return _bad_entry(doc_id, named, refusal)
    return _Item(DocId(doc_id), rev, shape)


def _bad_entry(doc_id: str | None, named: object, refusal: HttpRefusal) -> bytes:
    return b'{"id":' + encode(doc_id) + b',"docs":[' + _error(doc_id, named, refusal) + b"]}"


async def _bulk_get_chunks(call: DatabaseCall, items: Sequence[_Item | bytes]) -> AsyncIterator[bytes]:
    steps = _bulk_get_steps(call.database.store, items, call.query.flag("latest"))
    more = True
    while more:
        pieces, more = await call.database.run(_next_page, steps)
        async for chunk in chunks_of(call.database, pieces):
            yield chunk


def _bulk_get_steps(store: Store, items: Sequence[_Item | bytes], is_latest: bool) -> Iterator[Sequence[Piece]]:
    """The whole answer, a step for each revision, which is read only then: a document may have a thousand of them.

    Goes on in the store's thread.
    """
    before = b'{"results":['
    for item in items:
        if isinstance(item, bytes):
            yield (before, item)
            before = b","
            continue
        before += b'{"id":' + encode(item.id) + b',"docs":['
        for row in _rows(store, item, is_latest):
            yield (before, *row)
            before = b","
        before = b"]},"
    yield (before.removesuffix(b",") + b"]}\n",)


def _next_page(_: Store, steps: Iterator[Sequence[Piece]]) -> tuple[list[Piece], bool]:
    """As many steps as fit a page, adjacent texts joined; and whether there may be more. In the store's thread."""
    texts: list[bytes] = []
    pieces: list[Piece] = []
    size = 0
    deadline = time.monotonic() + PAGE_SECONDS
    more = False
    for number, step in enumerate(islice(steps, PAGE_ROWS), 1):
        for piece in step:
            if isinstance(piece, bytes):
                texts.append(piece)
                size += len(piece)
            else:
                pieces += [b"".join(texts), piece]
                texts.clear()
        if more := number == PAGE_ROWS or size > PAGE_BYTES or time.monotonic() > deadline:
            break
    if texts:
        pieces.append(b"".join(texts))
    return pieces, more


def _rows(store: Store, item: _Item, is_latest: bool) -> Iterator[Sequence[Piece]]:
    """At least one."""
    try:
        revs = _revs_of(store, item, is_latest)
    except HttpRefusal as refusal:
        yield (_error(item.id, "undefined", refusal),)
        return
    for rev in revs:
        found = find_rev(store, item.id, rev, item.shape)
        yield (b'{"ok":', *found.pieces, b"}") if isinstance(found, Rendered) else (_error(item.id, rev, not_found()),)


def _revs_of(store: Store, item: _Item, is_latest: bool) -> Sequence[Rev]:
    if item.rev is None:
        return leaf_revs(store, item.id)
    return latest_revs(store, item.id, [item.rev]) if is_latest else (item.rev,)


def _error(doc_id: str | None, rev: object, refusal: HttpRefusal) -> bytes:
    return encode({"error": {"id": doc_id, "rev": rev, "error": refusal.error, "reason": refusal.reason}})


def _edit_drafts(store: Store, drafts: Sequence[Draft | LocalDraft]) -> list[Rev | HttpRefusal]:
    with store.transaction():
        local = {id(draft): write_local(store, draft) for draft in drafts if isinstance(draft, LocalDraft)}
        edited = iter(edit_all(store, [draft for draft in drafts if isinstance(draft, Draft)]))
        return [Rev(local[id(draft)]) if id(draft) in local else next(edited) for draft in drafts]


def _graft_drafts(store: Store, drafts: Sequence[Draft | LocalDraft]) -> list[Refusal]:
    with store.transaction():
        for draft in drafts:
            if isinstance(draft, LocalDraft):
                write_local(store, draft)
        return graft_all(store, [draft for draft in drafts if isinstance(draft, Draft)], {})


def _outcome(doc_id: DocId, outcome: Rev | HttpRefusal) -> dict[str, Any]:
    if isinstance(outcome, HttpRefusal):
        return {"id": doc_id, "error": outcome.error, "reason": outcome.reason}
    return {"ok": True, "id": doc_id, "rev": outcome}


def _refused(refusal: Refusal) -> dict[str, Any]:
    return {"id": refusal.id, "rev": refusal.rev, "error": refusal.error, "reason": refusal.reason}
