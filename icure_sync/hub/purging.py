"""The endpoints that purge: `_purge`, `_purged_infos`, `_purged_infos_limit`. Server administrators only.

Source: CouchDB's documentation of `_purge`, and what it answers. What goes and what stays: store/purges.py.
"""

from __future__ import annotations

from aiohttp import web

from icure_sync.hub import bodies
from icure_sync.hub.answers import json_answer
from icure_sync.hub.call import DatabaseCall
from icure_sync.hub.drafts import parse_rev
from icure_sync.hub.errors import HttpRefusal, bad_request
from icure_sync.hub.limits import HIGHEST_LIMIT, MAX_PURGED_IDS, MAX_PURGED_REVS, MAX_SMALL_BODY
from icure_sync.ids import DocId, Rev


async def post_purge(call: DatabaseCall) -> web.StreamResponse:
    """POST `_purge` with `{id: [revs]}`: answers which leaves went. `purge_seq` is null, as on a cluster."""
    bodies.require_json(call.request)
    call.caller.require_admin()
    wanted = {DocId(doc_id): _revs(revs) for doc_id, revs in (await bodies.strict_object(call.request)).items()}
    if len(wanted) > MAX_PURGED_IDS:
        raise bad_request("Exceeded maximum number of documents.")
    if sum(map(len, wanted.values())) > MAX_PURGED_REVS:
        raise bad_request("Exceeded maximum number of revisions.")
    purged = await call.database.run(lambda store: store.purges.purge(wanted))
    return json_answer({"purge_seq": None, "purged": purged}, 201)


async def get_purged_infos(call: DatabaseCall) -> web.StreamResponse:
    """GET `_purged_infos`: what was to be purged, as far as it is on record."""
    records = await call.database.run(lambda store: store.purges.records())
    infos = sorted(({"id": one.id, "revs": one.revs} for one in records), key=lambda info: (info["id"], info["revs"]))
    return json_answer({"purged_infos": infos})


async def get_purged_infos_limit(call: DatabaseCall) -> web.StreamResponse:
    """How many of them a compaction keeps."""
    call.caller.require_admin()
    return json_answer(await call.database.purged_infos_limit())


async def put_purged_infos_limit(call: DatabaseCall) -> web.StreamResponse:
    """PUT `_purged_infos_limit`."""
    call.caller.require_admin()
    limit = await bodies.strict_body(call.request, MAX_SMALL_BODY)
    if type(limit) is not int or not 1 <= limit <= HIGHEST_LIMIT:
        raise bad_request("`purged_infos_limit` must be positive integer")
    await call.database.set_purged_infos_limit(limit)
    return json_answer({"ok": True})


def _revs(revs: object) -> tuple[Rev, ...]:
    if not isinstance(revs, list):
        raise bad_request("Invalid list of revisions")
    return tuple(map(_rev, revs))


def _rev(text: object) -> Rev:
    """A revision id, or something close to one: then it is on record, and purges nothing. Raises bad_request."""
    try:
        return parse_rev(text)
    except HttpRefusal:
        if isinstance(text, str) and text.partition("-")[0].isdecimal() and "-" in text and text.isascii():
            return Rev(text[:MAX_SMALL_BODY])
        raise
