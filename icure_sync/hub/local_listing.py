"""The endpoint `_local_docs`, and several queries of it at once: `_local` documents by id. Streams.

As `_all_docs`, but that nothing is counted and unknown keys that are no local ids have no row, as on CouchDB.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiohttp import web

from icure_sync.hub.answers import encode, stream_answer
from icure_sync.hub.call import DatabaseCall
from icure_sync.hub.limits import PAGE_BYTES, PAGE_ROWS
from icure_sync.hub.listing import ROW_BREAK, ROWS_HEAD, ROWS_TAIL, results_of
from icure_sync.hub.local import find_local
from icure_sync.hub.paths import LOCAL
from icure_sync.hub.view_options import ViewOptions, chosen_keys, id_range, listing_options, view_queries
from icure_sync.ids import DocId
from icure_sync.store import Store


async def get_local_docs(call: DatabaseCall) -> web.StreamResponse:
    """GET, HEAD and POST `_local_docs`."""
    return await stream_answer(call.request, _chunks(call, await listing_options(call), b"\n"))


async def post_local_queries(call: DatabaseCall) -> web.StreamResponse:
    """POST `_local_docs/queries`."""
    listings = [_chunks(call, one, b"") for one in await view_queries(call)]
    return await stream_answer(call.request, results_of(listings))


async def _chunks(call: DatabaseCall, options: ViewOptions, tail: bytes) -> AsyncIterator[bytes]:
    head: dict[str, Any] = {"total_rows": None, "offset": None}
    if options.update_seq:
        head["update_seq"] = None
    yield encode(head)[:-1] + b"," + ROWS_HEAD
    ids = await call.database.run(_ids, options)
    done = 0
    separator = b""
    while done < len(ids):
        rows, taken = await call.database.run(_page, ids[done : done + PAGE_ROWS], options)
        done += taken
        if rows:
            yield separator + ROW_BREAK.join(rows)
            separator = ROW_BREAK
    yield ROWS_TAIL + tail


def _ids(store: Store, options: ViewOptions) -> Sequence[str]:
    """The ids that have a row, in the order of their rows."""
    if options.keys is not None:
        return [key for key in chosen_keys(options) if isinstance(key, str) and key.startswith(LOCAL)]
    chosen = id_range(options)
    ids = [one for name in store.local.ids() if (one := LOCAL + name) in chosen]
    if chosen.descending:
        ids.reverse()
    return ids[options.skip : None if options.limit is None else options.skip + options.limit]


def _page(store: Store, ids: Sequence[str], options: ViewOptions) -> tuple[list[bytes], int]:
    """The rows of as many of these as fit a page, and how many were looked at."""
    rows: list[bytes] = []
    taken = size = 0
    for doc_id in ids:
        taken += 1
        document = find_local(store, DocId(doc_id))
        if document is not None:
            row = {"id": doc_id, "key": doc_id, "value": {"rev": document["_rev"]}}
            rows.append(encode(row | {"doc": document} if options.include_docs else row))
        elif options.keys is not None:
            rows.append(encode({"key": doc_id, "error": "not_found"}))
        else:
            continue  # gone since it was listed
        size += len(rows[-1])
        if size > PAGE_BYTES:
            break
    return rows, taken
