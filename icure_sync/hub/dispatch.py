"""Which endpoint answers which request: the routing table, who is let through to it, and what becomes of refusals.

Knows every endpoint by name, and none of their work. Log lines hold method, path and status; never bodies, credentials,
cookies or queries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from aiohttp import web

from icure_sync.discretion import logger
from icure_sync.errors import InvalidEntity, NotFound, StoreCorrupt, StoreError, StoreFull
from icure_sync.hub import (
    attachments,
    bulk,
    changes,
    database_info,
    documents,
    find,
    indexes,
    listing,
    local,
    local_listing,
    node,
    purging,
    views,
)
from icure_sync.hub.absent import absent_handler
from icure_sync.hub.answers import about_request, refusal_answer
from icure_sync.hub.call import Call, DatabaseCall, House
from icure_sync.hub.errors import (
    HttpRefusal,
    bad_content_type,
    bad_request,
    database_missing,
    forbidden,
    method_not_allowed,
    not_found,
    not_offered,
    unauthorized,
)
from icure_sync.hub.packing import pack_whole
from icure_sync.hub.paths import LOCAL, Path, parse_path
from icure_sync.hub.queries import Query
from icure_sync.hub.security import Caller
from icure_sync.hub.users import USERS, user_id

T = TypeVar("T")

log = logger(__name__)

NodeHandler = Callable[[Call], Awaitable[web.StreamResponse]]
DatabaseHandler = Callable[[DatabaseCall], Awaitable[web.StreamResponse]]

_NODE: Mapping[str, Mapping[str, NodeHandler]] = {
    "": {"GET": node.get_welcome},
    "_up": {"GET": node.get_up},
    "_uuids": {"GET": node.get_uuids},
    "_all_dbs": {"GET": node.get_all_dbs},
    "_active_tasks": {"GET": node.get_active_tasks},
    "_dbs_info": {"GET": node.get_dbs_info, "POST": node.post_dbs_info},
    "_membership": {"GET": node.get_membership},
    "_session": {"GET": node.get_session, "POST": node.post_session, "DELETE": node.delete_session},
    "_upstreams": {"GET": node.get_upstreams},
}
_ONE_INDEX = "_index/{ddoc}/{type}/{name}"
_COMPACT_DESIGN = "_compact/{ddoc}"
_SHARD_OF = "_shards/{docid}"
_DATABASE: Mapping[str, Mapping[str, DatabaseHandler]] = {
    "": {
        "DELETE": database_info.delete_database,
        "GET": database_info.get_database,
        "POST": documents.post_document,
    },
    "_all_docs": {"GET": listing.get_all_docs, "POST": listing.get_all_docs},
    "_all_docs/queries": {"POST": listing.post_queries},
    "_bulk_docs": {"POST": bulk.post_bulk_docs},
    "_bulk_get": {"POST": bulk.post_bulk_get},
    "_changes": {"GET": changes.get_changes, "POST": changes.get_changes},
    "_compact": {"POST": database_info.post_compact},
    _COMPACT_DESIGN: {"POST": database_info.post_compact_design},
    "_design_docs": {"GET": listing.get_design_docs, "POST": listing.get_design_docs},
    "_design_docs/queries": {"POST": listing.post_design_queries},
    "_ensure_full_commit": {"POST": database_info.post_ensure_full_commit},
    "_local_docs": {"GET": local_listing.get_local_docs, "POST": local_listing.get_local_docs},
    "_local_docs/queries": {"POST": local_listing.post_local_queries},
    "_missing_revs": {"POST": bulk.post_missing_revs},
    "_purge": {"POST": purging.post_purge},
    "_purged_infos": {"GET": purging.get_purged_infos},
    "_purged_infos_limit": {"GET": purging.get_purged_infos_limit, "PUT": purging.put_purged_infos_limit},
    "_revs_diff": {"POST": bulk.post_revs_diff},
    "_revs_limit": {"GET": database_info.get_revs_limit, "PUT": database_info.put_revs_limit},
    "_security": {"GET": database_info.get_security, "PUT": database_info.put_security},
    "_explain": {"POST": find.post_explain},
    "_find": {"POST": find.post_find},
    "_index": {"GET": indexes.get_indexes, "POST": indexes.post_index},
    "_index/_bulk_delete": {"POST": indexes.post_bulk_delete},
    _ONE_INDEX: {"DELETE": indexes.delete_index},
    "_shards": {"GET": database_info.get_shards},
    _SHARD_OF: {"GET": database_info.get_shard_of},
    "_sync_shards": {"POST": database_info.post_sync_shards},
    "_view_cleanup": {"POST": database_info.post_view_cleanup},
}
_DOCUMENT: Mapping[str, DatabaseHandler] = {
    "GET": documents.get_document,
    "PUT": documents.put_document,
    "DELETE": documents.delete_document,
    "COPY": documents.copy_document,
}
_LOCAL: Mapping[str, DatabaseHandler] = {
    "GET": local.get_local,
    "PUT": local.put_local,
    "DELETE": local.delete_local,
}
_ATTACHMENT: Mapping[str, DatabaseHandler] = {
    "DELETE": attachments.delete_attachment,
    "GET": attachments.get_attachment,
    "PUT": attachments.put_attachment,
}
_UNAUTHORIZED = 401
_DOCUMENT_METHODS = "DELETE,GET,HEAD,POST,PUT,COPY"
_OVERRIDES = frozenset({"GET", "PUT", "DELETE", "COPY"})  # by POST, for clients that cannot say these
_JAVASCRIPT = frozenset({"_show", "_list", "_update", "_rewrite", "_search", "_nouveau"})
_DESIGN_PARTS: Mapping[str, DatabaseHandler] = {"_view": views.answer_view, "_info": views.get_view_info}


async def answer(request: web.BaseRequest, house: House) -> web.StreamResponse:
    """The answer to one request, refusals included."""
    if request.method == "POST" and request.headers.get("X-HTTP-Method-Override") in _OVERRIDES:
        request = request.clone(method=request.headers["X-HTTP-Method-Override"])
    try:
        response = await _answer(request, house)
    except HttpRefusal as refusal:
        response = refusal_answer(refusal)
    except (ConnectionError, web.RequestPayloadError):
        response = refusal_answer(bad_request("the request was cut short"))  # for the record: nobody reads it
    except InvalidEntity as error:
        response = refusal_answer(bad_request(f"{error.attempted}: {error.wrong}"))
    except NotFound as error:
        response = refusal_answer(not_found(error.wrong))
    except StoreFull as error:
        log.warning("%s", error)
        response = refusal_answer(HttpRefusal(507, "insufficient_storage", "no room, or no permission, to write"))
    except StoreError as error:
        log.error("%s", error)  # noqa: TRY400  (the error says it all in one line)
        kind = "file_corruption" if isinstance(error, StoreCorrupt) else "internal_server_error"
        response = refusal_answer(HttpRefusal(500, kind, "the database cannot be used; see the server's log"))
    await _finish(request, response)
    log.debug("%s %s %d", request.method, request.raw_path.partition("?")[0], response.status)
    return response


async def _finish(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """What every answer has that is not under way yet."""
    await pack_whole(request, response)
    if response.prepared:
        return
    response.headers.update(about_request(request))
    challenge = request.headers.get("X-CouchDB-WWW-Authenticate", "")
    if response.status == _UNAUTHORIZED and challenge.isprintable() and challenge:
        response.headers["WWW-Authenticate"] = challenge  # the client says how its user is to be asked
    if request.writer.output_size > 0 and request.transport is not None:
        request.transport.abort()  # in the middle of another answer: a cut connection is the only way to say so


async def _answer(request: web.BaseRequest, house: House) -> web.StreamResponse:
    path = parse_path(request.raw_path)
    query = Query.of(request.raw_path)
    caller = await house.gate.identify(request)
    if path.first in _NODE and len(path.segments) <= 1:
        handler = _method(_NODE[path.first], request)
        response = await handler(Call(request, path, query, caller, house))
    elif (absent := absent_handler(path.segments, request.method)) is not None:
        response = await absent(Call(request, path, query, caller, house))
    elif len(path.segments) == 1 and request.method == "PUT":
        response = await database_info.put_database(Call(request, path, query, caller, house))
    else:
        response = await _answer_for_database(request, path, query, caller, house)
    await _renew_cookie(request, caller, house, response)
    return response


async def _answer_for_database(
    request: web.BaseRequest, path: Path, query: Query, caller: Caller, house: House
) -> web.StreamResponse:
    if path.first not in house.databases:
        raise database_missing()
    database = await house.databases.get(path.first)
    if request.method == "DELETE" and len(path.segments) == 1:
        caller.require_admin()
    call = DatabaseCall(request, path, query, caller, house, database)
    if database.name == USERS and not caller.is_admin:
        return await _users_handler(call)(call)
    database.security.check_member(caller)
    return await _database_handler(call)(call)


def _users_handler(call: DatabaseCall) -> DatabaseHandler:
    """A user's own document is all that he has to do with in the users database, and one leaf of it at a time: another
    would stand when an administrator deletes the winner. Raises unauthorized, forbidden, not_found."""
    if call.caller.name is None:
        raise unauthorized("You are not authorized to access this db.")
    if call.path.segments[1:] != (user_id(call.caller.name),):
        raise not_found()
    if not call.query.flag("new_edits", default=True):
        raise forbidden("Only administrators may bring revisions of users.")
    return _method({"GET": documents.get_document, "PUT": documents.put_document}, call.request)


def _database_handler(call: DatabaseCall) -> DatabaseHandler:
    """The endpoint for a path within a database. Raises not_found, method_not_allowed, not_implemented."""
    rest = call.path.segments[1:]
    if (name := _endpoint(rest)) in _DATABASE:
        return _method(_DATABASE[name], call.request)
    if rest[0] == "_design" and len(rest) > 2 and rest[2] in _DESIGN_PARTS:
        return _DESIGN_PARTS[rest[2]]
    if rest[0] == "_design" and len(rest) > 2 and rest[2] in _JAVASCRIPT:
        return documents.refuse_function
    if rest == ("_temp_view",):
        raise HttpRefusal(410, "gone", "Temporary views are not supported in CouchDB")
    if call.document in {LOCAL, LOCAL.rstrip("/")}:
        raise bad_request("Invalid _local document id.")
    if call.request.method == "POST" and not call.attachment:
        raise _form_refusal(call)
    if call.document.startswith(LOCAL):
        if call.attachment:
            raise bad_request("_local documents do not accept attachments.")
        return _method(_LOCAL, call.request)
    if call.attachment:
        return _method(_ATTACHMENT, call.request)
    return _method(_DOCUMENT, call.request, _DOCUMENT_METHODS)


def _form_refusal(call: DatabaseCall) -> HttpRefusal:
    """POST to a document is an HTML form with attachments on CouchDB: refused as there, up to the form itself."""
    referer = call.request.headers.get("Referer")
    if referer is None:
        return bad_request("Referer header required.")
    if referer.partition("://")[2].partition("/")[0] != call.request.headers.get("Host", ""):
        return bad_request("Referer header must match host.")
    if not call.request.headers.get("Content-Type", "").lower().startswith("multipart/form-data"):
        return bad_content_type("Content-Type must be multipart/form-data")
    return not_offered("a form with attachments")


def _endpoint(rest: tuple[str, ...]) -> str:
    """What a path within a database is called in the table. Raises not_found."""
    if rest[:1] == ("_index",) and rest[1:] not in {(), ("_bulk_delete",)}:
        if len(rest) != (5 if rest[1] == "_design" else 4):
            raise not_found()
        return _ONE_INDEX
    if rest[:1] == ("_compact",) and len(rest) > 1:
        return _COMPACT_DESIGN
    if rest[:1] == ("_shards",) and len(rest) > 1:
        return _SHARD_OF
    return "/".join(rest)


def _method(handlers: Mapping[str, T], request: web.BaseRequest, allowed: str = "") -> T:
    """The handler for the request's method; HEAD is a GET whose body stays here. Raises method_not_allowed."""
    handler = handlers.get("GET" if request.method == "HEAD" else request.method)
    if handler is None:
        raise method_not_allowed(allowed or ",".join(handlers).replace("GET", "GET,HEAD"))
    return handler


async def _renew_cookie(request: web.BaseRequest, caller: Caller, house: House, response: web.StreamResponse) -> None:
    """A login lasts as long as it is used."""
    if caller.how == "cookie" and not response.prepared and "Set-Cookie" not in response.headers:
        fresh = await house.gate.renewed(request)
        if fresh is not None:
            response.headers.add("Set-Cookie", node.cookie_header(house, fresh))
