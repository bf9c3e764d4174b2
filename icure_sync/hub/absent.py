"""What a CouchDB server has beside its databases and a hub has not: each with an answer that says so.

Lists of what a hub never has are empty; everything else is `not_implemented`. Knows no databases.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from icure_sync.hub.answers import json_answer
from icure_sync.hub.call import Call
from icure_sync.hub.errors import HttpRefusal, method_not_allowed, not_offered

_REPLICATE = (
    "a hub starts no replications: name it as source or target to a CouchDB's _replicate, "
    "or let `icure-sync sync --live` or `icure-sync hub --upstream` run"
)
_ABSENT = frozenset({"_node", "_reshard", "_db_updates", "_search_analyze", "_nouveau_analyze"})


def absent_handler(segments: tuple[str, ...], method: str) -> Callable[[Call], Awaitable[web.StreamResponse]] | None:
    """Who answers for this path, if it is one of these. Raises method_not_allowed."""
    found = _ENDPOINTS.get(segments[:2]) or (_refuse if segments[:1] and segments[0] in _ABSENT else None)
    if found in {_get_jobs, _get_replicator_documents, _get_setup} and method not in {"GET", "HEAD"}:
        raise method_not_allowed("GET,HEAD")
    if found is _refuse_replication and method != "POST":
        raise method_not_allowed("POST")
    return found


async def _get_jobs(call: Call) -> web.StreamResponse:
    """`/_scheduler/jobs`: there are none."""
    call.caller.require_admin()
    return json_answer({"total_rows": 0, "offset": 0, "jobs": []})


async def _get_replicator_documents(call: Call) -> web.StreamResponse:
    """`/_scheduler/docs`: there is no `_replicator` database."""
    call.caller.require_admin()
    return json_answer({"total_rows": 0, "offset": 0, "docs": []})


async def _get_setup(call: Call) -> web.StreamResponse:
    """`/_cluster_setup`: one server, ready."""
    call.caller.require_admin()
    return json_answer({"state": "single_node_enabled"})


async def _refuse_replication(call: Call) -> web.StreamResponse:
    """`/_replicate`. Raises not_implemented, saying what to use instead."""
    call.caller.require_admin()
    raise HttpRefusal(501, "not_implemented", _REPLICATE)


async def _refuse(call: Call) -> web.StreamResponse:
    """Raises not_implemented."""
    call.caller.require_admin()
    raise not_offered(f"/{call.path.first}")


_ENDPOINTS: Mapping[tuple[str, ...], Callable[[Call], Awaitable[web.StreamResponse]]] = {
    ("_scheduler", "jobs"): _get_jobs,
    ("_scheduler", "docs"): _get_replicator_documents,
    ("_cluster_setup",): _get_setup,
    ("_replicate",): _refuse_replication,
}
