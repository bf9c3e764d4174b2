"""The endpoints of indexes: `_index`, its `_bulk_delete`, and one index by name. Source: CouchDB's `mango_httpd`.

An index is a view in a design document of language "query", written and deleted like any other document; the store
reads from there what it has to keep.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from icure_sync.hub import bodies
from icure_sync.hub.answers import encode, json_answer
from icure_sync.hub.call import DatabaseCall
from icure_sync.hub.definitions import FILTER, LANGUAGE, Definition, all_definitions
from icure_sync.hub.drafts import Draft
from icure_sync.hub.erlang import Atom, Pair, pack_term, write_term
from icure_sync.hub.errors import HttpRefusal, not_found
from icure_sync.hub.find_options import IndexOptions, parse_bulk_delete, parse_index
from icure_sync.hub.limits import MAX_QUERY
from icure_sync.hub.paths import DESIGN, check_doc_id
from icure_sync.hub.writing import edit
from icure_sync.ids import DocId
from icure_sync.replication.wire import Revision
from icure_sync.store import Store

Body = dict[str, Any]
_NOT_SAVED: Final = "error_saving_ddoc"


async def get_indexes(call: DatabaseCall) -> web.StreamResponse:
    """GET `_index`."""
    found = [one.listed() for one in await call.database.run(all_definitions)]
    limit, skip = _number(call, "limit", len(found)), _number(call, "skip", 0)
    if limit < 1 or skip < 0:
        raise _bad_range()
    return json_answer({"total_rows": len(found), "indexes": found[skip : skip + limit]})


async def post_index(call: DatabaseCall) -> web.StreamResponse:
    """POST `_index`: administrators of the database only."""
    bodies.require_json(call.request)
    options = parse_index(await bodies.strict_object(call.request, MAX_QUERY))
    automatic = hashlib.sha1(_named_by(options), usedforsecurity=False).hexdigest()
    design = options.design or automatic
    doc_id = check_doc_id(design if design.startswith(DESIGN) else DESIGN + design)
    name = options.name or automatic
    before = await call.database.run(_winner, doc_id)
    body = _read_design(before)
    after = _with_index(body, name, options, doc_id, is_new=before is None)
    if before is None or after != body:
        await _save(call, doc_id, before, after)
        result = "created"
    else:
        result = "exists"
    return json_answer({"result": result, "id": doc_id, "name": name})


async def delete_index(call: DatabaseCall) -> web.StreamResponse:
    """DELETE `_index/{ddoc}/json/{name}`, the design document with or without `_design/`."""
    *design, kind, name = call.path.segments[2:]
    doc_id = _design_id("/".join(design))
    if kind != "json" or not await _delete(call, lambda one: (one.design, one.name) == (doc_id, name)):
        raise not_found()
    return json_answer({"ok": True})


async def post_bulk_delete(call: DatabaseCall) -> web.StreamResponse:
    """POST `_index/_bulk_delete`: all indexes of these design documents."""
    bodies.require_json(call.request)
    success: list[dict[str, Any]] = []
    fail: list[dict[str, Any]] = []
    for docid in parse_bulk_delete(await bodies.strict_object(call.request, MAX_QUERY)):
        doc_id = _design_id(docid)
        error = await _failure(call, doc_id)
        if error is None:
            success.insert(0, {"id": doc_id, "ok": True})
        else:
            fail.insert(0, {"id": doc_id, "error": error})
    return json_answer({"success": success, "fail": fail})


async def _failure(call: DatabaseCall, doc_id: DocId) -> str | None:
    """Delete all indexes of a design document: what is said if that fails, None if it does not."""
    try:
        return None if await _delete(call, lambda one: one.design == doc_id) else "not_found"
    except HttpRefusal as refusal:
        if refusal.error != _NOT_SAVED:
            raise
        return "conflict"


async def _delete(call: DatabaseCall, is_meant: Callable[[Definition], bool]) -> bool:
    """Take these indexes out of their design document, and delete it if nothing is left. False if there is none."""
    found = await call.database.run(_find, is_meant)
    if found is None:
        return False
    doc_id, names, before = found
    body = _read_design(before)
    views = {name: view for name, view in body["views"].items() if name not in names}
    after = {name: value for name, value in body.items() if name != "views"} | ({"views": views} if views else {})
    await _save(call, doc_id, before, None if after == {"language": LANGUAGE} else after)
    return True


async def _save(call: DatabaseCall, doc_id: DocId, before: Revision | None, body: Body | None) -> None:
    """`body` None: a tombstone. Raises forbidden, error_saving_ddoc."""
    history = () if before is None else (before.rev,)
    draft = await call.admit(Draft(doc_id, history, encode(body or {}), deleted=body is None))
    try:
        await call.database.run(edit, draft, {})
    except HttpRefusal as refusal:
        if refusal.error != "conflict":
            raise
        reason = "Encountered a conflict while saving the design document."
        raise HttpRefusal(500, _NOT_SAVED, reason) from refusal


def _find(store: Store, is_meant: Callable[[Definition], bool]) -> tuple[DocId, set[str], Revision | None] | None:
    """The design document that defines these indexes, and their names in it: in one visit, so that they are there."""
    meant = [one for one in all_definitions(store) if is_meant(one)]
    if not meant or meant[0].design is None:
        return None
    doc_id = meant[0].design
    return doc_id, {one.name for one in meant}, _winner(store, doc_id)


def _winner(store: Store, doc_id: DocId) -> Revision | None:
    """If it is live."""
    revision = store.documents.get(doc_id)
    return None if revision is None or revision.deleted else revision


def _read_design(revision: Revision | None) -> Body:
    """Raises invalid_ddoc_lang for a design document that is not for indexes."""
    if revision is None:
        return {"language": LANGUAGE}
    body: Body = msgspec.json.decode(revision.body)
    if body.get("language") != LANGUAGE:
        language = (
            f"{{<<108,97,110,103,117,97,103,101>>,{write_term(body['language'])}}}" if "language" in body else "false"
        )
        reason = f"Existing design doc has an invalid language: {language}"
        raise HttpRefusal(400, "invalid_ddoc_lang", reason)
    return body


def _with_index(body: Body, name: str, options: IndexOptions, doc_id: DocId, *, is_new: bool) -> Body:
    """The design document with this index in it. Raises invalid_partitioned_option."""
    held = body.get("options")
    partitioned = held.get("partitioned") if isinstance(held, Mapping) else None
    if options.partitioned != partitioned:
        if not is_new:
            reason = f"Requested partitioned option does not match existing value on design document {doc_id}"
            raise HttpRefusal(400, "invalid_partitioned_option", reason)
        body = body | {"options": {"partitioned": options.partitioned}}
    view = {
        "map": {"fields": options.sort, FILTER: options.filter},
        "reduce": "_count",
        "options": {"def": options.definition},
    }
    views = body.get("views")
    return body | {"views": {**(views if isinstance(views, Mapping) else {}), name: view}}


def _named_by(options: IndexOptions) -> bytes:
    """What CouchDB makes a name of: so the same index gets the same name there and here."""
    automatic = Atom("auto_name")
    settings = {
        "ddoc": options.design or automatic,
        "def": options.definition,
        "name": options.name or automatic,
        "partitioned": Atom("db_default") if options.partitioned is None else options.partitioned,
        "type": "json",
        "w": options.w,
    }
    return pack_term(Pair(options.definition, [Pair(Atom(name), value) for name, value in settings.items()]))


def _design_id(text: str) -> DocId:
    return DocId(text if text.startswith(DESIGN) else DESIGN + text)


def _number(call: DatabaseCall, name: str, default: int) -> int:
    text = call.query.text(name, str(default))
    if not (text.removeprefix("-").isascii() and text.removeprefix("-").isdigit() and len(text) <= 18):
        raise _bad_range()
    return int(text)


def _bad_range() -> HttpRefusal:
    """With the status that CouchDB gives it."""
    return HttpRefusal(500, "invalid_list_index_params", "Index parameter ranges: limit > 1, skip > 0")
