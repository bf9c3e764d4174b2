"""The endpoints of the server itself, from `/` to `_upstreams`. Knows no documents."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote

import msgspec
from aiohttp import web

from icure_sync.hub import bodies
from icure_sync.hub.answers import encode, entity_tags, etag, json_answer, raw_answer
from icure_sync.hub.call import Call, House
from icure_sync.hub.database_info import NODE, describe
from icure_sync.hub.errors import HttpRefusal, bad_content_type, bad_request, unauthorized
from icure_sync.hub.limits import MAX_INFO_KEYS, MAX_SMALL_BODY, SESSION_SECONDS
from icure_sync.hub.sessions import COOKIE
from icure_sync.hub.view_options import chosen_keys, id_range, query_options

VERSION = "3.5.0"  # of the protocol: what this server answers like
_MAX_UUIDS = 1_000
_NEVER_TWICE = {"Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "Mon, 01 Jan 1990 00:00:00 GMT"}
_LOGIN_TYPES = "Content-Type must be 'application/x-www-form-urlencoded' or 'application/json'"
_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"


async def get_welcome(call: Call) -> web.StreamResponse:
    """`/`: anyone may ask."""
    vendor = {"name": "icure_sync hub"}
    return json_answer(
        {"couchdb": "Welcome", "version": VERSION, "uuid": call.house.uuid, "features": [], "vendor": vendor}
    )


async def get_up(_: Call) -> web.StreamResponse:
    """`/_up`: anyone may ask."""
    return json_answer({"status": "ok", "seeds": {}})


async def get_upstreams(call: Call) -> web.StreamResponse:
    """`/_upstreams`: how databases stand with the servers behind them; administrators only."""
    call.caller.require_admin()
    found = [await describe_upstream() for _, describe_upstream in sorted(call.house.upstreams.items())]
    return json_answer({"upstreams": [upstream.shown() for upstream in found]})


async def get_uuids(call: Call) -> web.StreamResponse:
    """`/_uuids?count=N`."""
    text = call.query.text("count", "1")
    if not (text.isascii() and text.isdigit()):
        raise bad_request("count must be a positive integer")
    if len(text) > len(str(_MAX_UUIDS)) or int(text) > _MAX_UUIDS:
        raise bad_request("count parameter too large")
    uuids = [uuid.uuid4().hex for _ in range(int(text))]
    return json_answer({"uuids": uuids}, headers=_NEVER_TWICE | etag(uuids[0] if uuids else "none"))


async def get_all_dbs(call: Call) -> web.StreamResponse:
    """`/_all_dbs`: administrators only, as on CouchDB 3.x."""
    return _tagged(call, _listed(call))


def _tagged(call: Call, value: Any) -> web.StreamResponse:
    """An answer under a tag of its own text: who has it is told so."""
    body = encode(value) + b"\n"
    tag = hashlib.md5(body, usedforsecurity=False).hexdigest()
    if tag in entity_tags(call.request, "If-None-Match"):
        return web.Response(status=304, headers=etag(tag))
    return raw_answer(body, headers=etag(tag))


def _listed(call: Call) -> list[str]:
    """The names of the databases that a query asks for. Raises unauthorized."""
    call.caller.require_admin()
    options = query_options(call.query)
    if options.keys is not None:
        return [key for key in chosen_keys(options) if isinstance(key, str) and key in call.house.databases]
    chosen = id_range(options)
    names = [name for name in call.house.databases.names() if name in chosen]
    if options.descending:
        names.reverse()
    return names[options.skip : None if options.limit is None else options.skip + options.limit]


async def get_active_tasks(call: Call) -> web.StreamResponse:
    """`/_active_tasks`: the compactions under way; nothing else goes on behind the hub's answers."""
    call.caller.require_admin()
    running = [database.name for database in call.house.databases if database.compaction.is_running]
    return json_answer([{"type": "database_compaction", "node": NODE, "database": name} for name in running])


async def get_membership(call: Call) -> web.StreamResponse:
    """`/_membership`: a cluster of one."""
    call.caller.require_admin()
    return json_answer({"all_nodes": [NODE], "cluster_nodes": [NODE]})


async def get_dbs_info(call: Call) -> web.StreamResponse:
    """GET `/_dbs_info`: of the databases that `_all_dbs` would list."""
    databases = [await call.house.databases.get(name) for name in _listed(call)]
    return _tagged(call, [{"key": one.name, "info": await describe(one)} for one in databases])


async def post_dbs_info(call: Call) -> web.StreamResponse:
    """POST `/_dbs_info` with `keys`."""
    bodies.require_json(call.request)
    call.caller.require_admin()
    keys = (await bodies.strict_object(call.request, MAX_SMALL_BODY)).get("keys")
    if keys is None:
        raise bad_request("`keys` member must exist.")
    if not isinstance(keys, list):
        raise bad_request("`keys` member must be an array.")
    if len(keys) > MAX_INFO_KEYS:
        raise bad_request("too_many_keys")
    rows: list[dict[str, Any]] = []
    for key in keys:
        if isinstance(key, str) and key in call.house.databases:
            rows.append({"key": key, "info": await describe(await call.house.databases.get(key))})
        else:
            rows.append({"key": key, "error": "not_found"})
    return json_answer(rows)


async def get_session(call: Call) -> web.StreamResponse:
    """`/_session`: who the server thinks is asking. Raises unauthorized if `basic=true` wants someone."""
    if call.caller.name is None and call.query.flag("basic"):
        raise unauthorized("Please login.")
    info: dict[str, Any] = {"authentication_handlers": ["cookie", "default"]}
    if call.caller.how:
        info["authenticated"] = call.caller.how
    return json_answer(
        {"ok": True, "userCtx": {"name": call.caller.name, "roles": sorted(call.caller.roles)}, "info": info}
    )


async def post_session(call: Call) -> web.StreamResponse:
    """Log in, by JSON or a form."""
    fields = await _login_fields(call)
    name, password = fields.get("name", fields.get("username")), fields.get("password", "")
    if not isinstance(name, str) or not isinstance(password, str):
        raise bad_request("request body must contain a username")
    try:
        account = await call.house.gate.login(name, password, call.request.remote or "")
    except HttpRefusal as refusal:
        refusal.headers["Set-Cookie"] = cookie_header(call.house, "")
        raise
    cookie = cookie_header(call.house, call.house.gate.issue(account))
    return _logged(call, {"ok": True, "name": account.name, "roles": sorted(account.roles)}, cookie)


async def delete_session(call: Call) -> web.StreamResponse:
    """Log out: the cookie is taken back."""
    return _logged(call, {"ok": True}, cookie_header(call.house, ""))


def _logged(call: Call, answer: Mapping[str, Any], cookie: str) -> web.StreamResponse:
    """The answer to a login or logout; `next=/path`: a browser goes on there, on this very server."""
    target = call.query.text("next")
    if not target.startswith("/") or target.startswith("//"):
        return json_answer(answer, headers={"Set-Cookie": cookie})
    return json_answer(answer, 302, {"Set-Cookie": cookie, "Location": call.base + quote(target, safe="/?&=#%")})


def cookie_header(house: House, value: str) -> str:
    """A login cookie, or an empty one that ends it; never readable by scripts, over TLS only where there is TLS."""
    parts = [
        f"{COOKIE}={value}",
        "Version=1",
        "Path=/",
        "HttpOnly",
        "SameSite=Strict",
        f"Max-Age={SESSION_SECONDS if value else 0}",
    ]
    return "; ".join([*parts, "Secure"] if house.is_tls else parts)


async def _login_fields(call: Call) -> dict[str, Any]:
    data = await bodies.read(call.request, MAX_SMALL_BODY)
    kind = call.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == _FORM:
        try:
            return dict(parse_qsl(data.decode(), keep_blank_values=True))
        except ValueError as error:
            raise bad_request("the form is not UTF-8") from error
    if kind != _JSON:
        raise bad_content_type(_LOGIN_TYPES)
    return bodies.decode(data, msgspec.json.Decoder(dict[str, Any]))
