"""The endpoints of a database as a whole: its life, its description, its security, its upkeep. Knows no documents."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from aiohttp import web

from icure_sync.hub import bodies
from icure_sync.hub.answers import json_answer
from icure_sync.hub.builtin_views import BUILTIN_DESIGN
from icure_sync.hub.call import Call, DatabaseCall
from icure_sync.hub.databases import Database
from icure_sync.hub.errors import bad_request, forbidden, not_found, unauthorized
from icure_sync.hub.limits import HIGHEST_LIMIT, MAX_SMALL_BODY
from icure_sync.hub.paths import DESIGN, SYSTEM_DATABASES, check_database_name
from icure_sync.ids import DocId
from icure_sync.store import Store

NODE = "nonode@nohost"  # what CouchDB calls itself without a cluster
_EVERYTHING = "00000000-ffffffff"  # the range of its only shard


async def describe(database: Database) -> dict[str, Any]:
    """What `GET /db` answers."""
    live, deleted, seq, purge_seq, free = await database.run(_counts)
    size = database.size()
    return {
        "db_name": database.name,
        "instance_start_time": str(database.facts.created),
        "update_seq": database.seq_text(seq),
        "purge_seq": database.seq_text(purge_seq),
        "doc_count": live,
        "doc_del_count": deleted,
        "sizes": {"file": size, "external": max(0, size - free), "active": max(0, size - free)},
        "disk_format_version": 8,
        "compact_running": database.compaction.is_running,
        "props": {},
        "cluster": {"q": 1, "n": 1, "w": 1, "r": 1},
    }


async def get_database(call: DatabaseCall) -> web.StreamResponse:
    """GET and HEAD `/db`."""
    return json_answer(await describe(call.database))


async def put_database(call: Call) -> web.StreamResponse:
    """PUT `/db`: administrators only."""
    call.caller.require_admin()
    name = check_database_name(call.path.first)
    database = await call.house.databases.create(name)
    return json_answer({"ok": True}, 201, {"Location": f"{call.base}/{quote(database.name, safe='')}"})


async def delete_database(call: DatabaseCall) -> web.StreamResponse:
    """DELETE `/db`: administrators only; its feeds end."""
    call.caller.require_admin()
    if "rev" in call.query:
        reason = "You tried to DELETE a database with a ?=rev parameter. Did you mean to DELETE a document instead?"
        raise bad_request(reason)
    if call.database.name in SYSTEM_DATABASES:
        raise forbidden("the users database cannot be deleted")
    await call.house.databases.delete(call.database.name)
    return json_answer({"ok": True})


async def get_security(call: DatabaseCall) -> web.StreamResponse:
    """GET `_security`: members may read it."""
    return json_answer(call.database.security.value)


async def put_security(call: DatabaseCall) -> web.StreamResponse:
    """PUT `_security`: administrators of the database only."""
    call.require_database_admin()
    await call.database.set_security(await bodies.strict_object(call.request, MAX_SMALL_BODY))
    return json_answer({"ok": True})


async def post_ensure_full_commit(call: DatabaseCall) -> web.StreamResponse:
    """Every answer to a write means that it is on the disk: nothing is left to do."""
    bodies.require_json(call.request)
    return json_answer({"ok": True, "instance_start_time": str(call.database.facts.created)}, 201)


async def post_compact(call: DatabaseCall) -> web.StreamResponse:
    """POST `_compact`: begins to drop what nothing needs any more; `compact_running` tells when it is over."""
    _require_upkeep(call)
    bodies.require_json(call.request)
    database = call.database
    database.compaction.start(database.revs_limit, await database.purged_infos_limit())
    return json_answer({"ok": True}, 202)


async def post_compact_design(call: DatabaseCall) -> web.StreamResponse:
    """POST `_compact/design`: indexes are a part of the database, so there is nothing to do. Raises not_found."""
    _require_upkeep(call)
    bodies.require_json(call.request)
    names = call.path.segments[2:]
    if names != (BUILTIN_DESIGN,):
        design = await call.database.run(lambda store: store.documents.get(DocId(DESIGN + "/".join(names))))
        if design is None or design.deleted:
            raise not_found()
    return json_answer({"ok": True}, 202)


async def post_view_cleanup(call: DatabaseCall) -> web.StreamResponse:
    """Remove what is left of indexes that nothing defines any more."""
    _require_upkeep(call)
    while await call.database.run(_sweep):
        pass
    return json_answer({"ok": True}, 202)


def _require_upkeep(call: DatabaseCall) -> None:
    """Raises unauthorized unless the caller administers the database or the server."""
    if not (call.caller.is_admin or call.caller in call.database.security.admins):
        raise unauthorized("You are not a server or db admin.")


async def get_revs_limit(call: DatabaseCall) -> web.StreamResponse:
    """How many generations of history are kept."""
    return json_answer(call.database.revs_limit)


async def put_revs_limit(call: DatabaseCall) -> web.StreamResponse:
    """PUT `_revs_limit`: administrators of the database only."""
    call.require_database_admin()
    limit = await bodies.strict_body(call.request, MAX_SMALL_BODY)
    if type(limit) is not int or not 1 <= limit <= HIGHEST_LIMIT:
        raise bad_request("revs_limit must be a positive integer")
    await call.database.set_revs_limit(limit)
    return json_answer({"ok": True})


async def get_shards(_: DatabaseCall) -> web.StreamResponse:
    """GET `_shards`: there is one."""
    return json_answer({"shards": {_EVERYTHING: [NODE]}})


async def get_shard_of(_: DatabaseCall) -> web.StreamResponse:
    """GET `_shards/id`: the same for every document."""
    return json_answer({"range": _EVERYTHING, "nodes": [NODE]})


async def post_sync_shards(call: DatabaseCall) -> web.StreamResponse:
    """POST `_sync_shards`: there is nothing to be brought into step."""
    call.caller.require_admin()
    return json_answer({"ok": True}, 202)


def _counts(store: Store) -> tuple[int, int, int, int, int]:
    documents = store.documents
    return documents.count(), documents.deleted_count(), documents.update_seq(), store.purges.seq(), store.free_bytes()


def _sweep(store: Store) -> bool:
    return store.indexes.sweep()
