"""The endpoints that query documents: `_find`, `_explain`. Source: CouchDB's documentation, and its `mango_httpd`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from icure_sync.hub import bodies
from icure_sync.hub.answers import encode, json_answer, stream_answer
from icure_sync.hub.bookmarks import NONE, Bookmark, read_bookmark, write_bookmark
from icure_sync.hub.call import DatabaseCall
from icure_sync.hub.definitions import Definition, all_definitions
from icure_sync.hub.errors import HttpRefusal, bad_request, query_parse_error
from icure_sync.hub.explain import explain
from icure_sync.hub.find_options import FindOptions, parse_find
from icure_sync.hub.limits import MAX_QUERY, SCAN_WARNING
from icure_sync.hub.planner import Plan, make_plan
from icure_sync.hub.running import Query, State, build, read_page

_NO_INDEX = "No matching index found, create an index to optimize query time."
_LONG_SCAN = (
    "The number of documents examined is high in proportion to the number of results returned. "
    "Consider adding a more specific index to improve this."
)


async def post_find(call: DatabaseCall) -> web.StreamResponse:
    """POST `_find`."""
    options = await _options(call)
    plan = make_plan(await call.database.run(all_definitions), options)
    if plan.index is None:
        reason = "No index exists for this sort, try indexing by the sort fields."
        raise HttpRefusal(400, "no_usable_index", reason)
    if options.partition:
        raise query_parse_error("`partition` parameter is not supported on this db")
    if plan.ranges is None:
        return json_answer({"docs": []})
    query = Query.of(plan.index, plan.ranges, options, is_covering=plan.is_covering)
    state = State(options.skip, options.limit, after=_start(options, plan.index))
    return await stream_answer(call.request, _answer(call, query, state))


async def post_explain(call: DatabaseCall) -> web.StreamResponse:
    """POST `_explain`."""
    options = await _options(call)
    plan: Plan = make_plan(await call.database.run(all_definitions), options)
    return json_answer(explain(call.database.name, plan, options))


async def _options(call: DatabaseCall) -> FindOptions:
    bodies.require_json(call.request)
    body = await bodies.strict_object(call.request, MAX_QUERY)
    if "partition" in call.query:
        partition = call.query.text("partition")
        if body.setdefault("partition", partition) != partition:
            raise bad_request("`partition` is given twice, and differently")
    return parse_find(body)


def _start(options: FindOptions, index: Definition) -> Bookmark | None:
    """Raises `invalid_bookmark` for one that is another query's as well."""
    if options.bookmark is None:
        return None
    mark = read_bookmark(options.bookmark)
    if (mark.fields is None) != (index.design is None):
        raise HttpRefusal(400, "invalid_bookmark", f"Invalid bookmark value: {encode(options.bookmark).decode()}")
    return mark


async def _answer(call: DatabaseCall, query: Query, state: State) -> AsyncIterator[bytes]:
    began = time.perf_counter()
    if not query.index.built and query.options.update and not query.options.stale:
        while not await call.database.run(build, query.index.number):
            pass
    separator = b'{"docs":['
    if query.options.limit == 0 and not query.options.execution_stats:
        state = State(0, 0, is_over=True)
    while not state.is_over:
        for row in await call.database.run(read_page, query, state):
            yield separator + row
            separator = b","
    if separator != b",":
        yield separator
    yield b"]," + encode(_tail(query, state, (time.perf_counter() - began) * 1_000))[1:] + b"\n"


def _tail(query: Query, state: State, elapsed: float) -> dict[str, Any]:
    """What follows the documents. `elapsed`: milliseconds."""
    options = query.options
    mark = (options.bookmark or NONE) if state.mark is None else write_bookmark(state.mark)
    tail: dict[str, Any] = {"bookmark": mark}
    if options.execution_stats:
        tail["execution_stats"] = {
            "total_keys_examined": state.keys,
            "total_docs_examined": state.documents if options.r == 1 else 0,
            "total_quorum_docs_examined": 0 if options.r == 1 else state.documents,
            "results_returned": state.returned,
            "execution_time_ms": round(elapsed, 3),
        }
    warnings = _warnings(query, state)
    if warnings:
        tail["warning"] = "\n".join(warnings)
    return tail


def _warnings(query: Query, state: State) -> list[str]:
    warnings = []
    wanted, index = query.options.use_index, query.index
    if wanted:
        design = wanted[0].removeprefix("_design/")
        if index.design != f"_design/{design}" or wanted[1:] not in ((), (index.name,)):
            what = "it is not a valid index" if wanted[1:] else "it does not contain a valid index"
            warnings.append(f"_design/{', '.join((design, *wanted[1:]))} was not used because {what} for this query.")
    if index.design is None:
        warnings.append(_NO_INDEX)
    if state.documents > SCAN_WARNING * max(state.returned, 1):
        warnings.append(_LONG_SCAN)
    return warnings
