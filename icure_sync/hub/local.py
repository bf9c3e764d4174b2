"""`_local` documents: checkpoints outside of the revision tree. The last writer wins, as on CouchDB 3.5.

Their revisions are `0-N`: one more than the revision that the writer names, 1 if he names none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from icure_sync.hub import bodies
from icure_sync.hub.answers import etag, json_answer
from icure_sync.hub.call import DatabaseCall
from icure_sync.hub.drafts import MEMBERS, Members
from icure_sync.hub.errors import bad_request, document_too_large, not_found
from icure_sync.hub.paths import LOCAL, check_doc_id
from icure_sync.ids import DocId
from icure_sync.replication.limits import MAX_DOCUMENT
from icure_sync.store import Store

_REV = re.compile(r"0-(\d{1,15})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class LocalDraft:
    """A `_local` document to be written; `number`: of the revision that the writer names, 0 for none."""

    id: DocId
    number: int
    members: dict[str, Any]
    deleted: bool = False


def is_local(raw_id: bytes) -> bool:
    """True if this `_id`, as JSON text, is that of a local document."""
    return raw_id.startswith(b'"_local/')


def parse_local(members: Members, doc_id: DocId | None = None) -> LocalDraft:
    """Raises bad_request, illegal_docid, document_too_large."""
    values = {name: bodies.strict_value(bytes(raw)) for name, raw in members.items()}
    doc_id = check_doc_id(values.get("_id") if doc_id is None else doc_id)
    if sum(map(len, members.values())) > MAX_DOCUMENT:
        raise document_too_large(doc_id)
    body = {name: value for name, value in values.items() if not name.startswith("_")}
    return LocalDraft(doc_id, _number(values.get("_rev")), body, values.get("_deleted") is True)


def write_local(store: Store, draft: LocalDraft) -> str:
    """Returns the new revision; `0-0` for a deletion, also of what is not there."""
    name = draft.id.removeprefix(LOCAL)
    if draft.deleted:
        store.local.remove(name)
        return "0-0"
    rev = f"0-{draft.number + 1}"
    store.local.put(name, {**draft.members, "_rev": rev})
    return rev


def find_local(store: Store, doc_id: DocId) -> dict[str, Any] | None:
    """The document with `_id` and `_rev`, or None."""
    document = store.local.get(doc_id.removeprefix(LOCAL))
    return None if document is None else {"_id": doc_id, "_rev": "0-1", **document}


def read_local(store: Store, doc_id: DocId) -> dict[str, Any]:
    """The same; raises not_found."""
    document = find_local(store, doc_id)
    if document is None:
        raise not_found()
    return document


async def get_local(call: DatabaseCall) -> web.StreamResponse:
    """GET and HEAD `/db/_local/id`."""
    document = await call.database.run(read_local, call.document)
    return json_answer(document, headers=etag(document["_rev"]))


async def put_local(call: DatabaseCall) -> web.StreamResponse:
    """PUT `/db/_local/id`."""
    members = bodies.decode(await bodies.read(call.request), MEMBERS, "Document")
    if "rev" in call.query and "_rev" not in members:
        members["_rev"] = msgspec.Raw(msgspec.json.encode(call.query.text("rev")))
    draft = parse_local(members, call.document)
    rev = await call.database.run(write_local, draft)
    headers = {**etag(rev), **call.location(call.document)}
    return json_answer({"ok": True, "id": call.document, "rev": rev}, 200 if draft.deleted else 201, headers)


async def delete_local(call: DatabaseCall) -> web.StreamResponse:
    """DELETE `/db/_local/id`; here it is a mistake if there is nothing to delete."""
    rev = await call.database.run(_delete, call.document)
    return json_answer({"ok": True, "id": call.document, "rev": rev}, headers=etag(rev))


def _delete(store: Store, doc_id: DocId) -> str:
    read_local(store, doc_id)
    return write_local(store, LocalDraft(doc_id, 0, {}, deleted=True))


def _number(rev: object) -> int:
    if rev is None:
        return 0
    match = _REV.match(rev) if isinstance(rev, str) else None
    if match is None:
        raise bad_request("Invalid rev format")
    return int(match[1])
