"""The first sync of a device whose Hcp has one document in a hundred: by the index against by the filtered feed.

    scripts/bench/run partial [--documents N] [--own PERCENT] [--rounds N] [--json]

On a hub in a process of its own, and, if COUCHDB_URL (http://admin:password@host:port on this machine) is set, a
CouchDB too. Both ways read the same database in the same run, in turn, into empty encrypted files.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from processes import Process, hub, listener
from sync import database, replica

from icure_sync import CouchPeer, Identity, Patient
from icure_sync.app.server import Wish, provision_database
from icure_sync.engine.local_peer import LocalPeer
from icure_sync.engine.plan import Plan
from icure_sync.engine.sync import replicate
from icure_sync.ids import HcpId
from icure_sync.replication.checkpoint import START, Direction
from icure_sync.replication.filters import device_selector
from icure_sync.replication.limits import INDEX_LEAST
from icure_sync.replication.wire import Listing, Revision
from icure_sync.store import Store

OWN = "bench-hcp"
OTHERS = 20  # Hcps who share the rest
BATCH = 1_000  # documents of one request while the database is filled
VIEW = "/_design/icure_sync/_view/by_delegate"
INDEXING = aiohttp.ClientTimeout(total=None)  # an index is built before it answers


class Unlisted(CouchPeer):
    """The same server to a device that knows no index."""

    async def listed(self, hcp: HcpId) -> AsyncGenerator[Listing, None]:  # noqa: ARG002  # as the port names it
        pages: tuple[Listing, ...] = ()
        for page in pages:
            yield page


@dataclass(frozen=True, slots=True)
class Cost:
    """What one first sync took, in seconds."""

    clock: float
    client: float
    server: float


async def template(folder: Path) -> str:
    """The body of a sealed patient, as JSON, in which OWN is the delegate."""
    async with replica(folder / "template.db", Identity.create(OWN, "Bench")) as (source, store):
        saved = await source.save(Patient(first_name="John", last_name="Keats", note="a cough, short of breath"))
        (one,) = await LocalPeer(store).fetch({saved.id: [saved.rev]})
        assert isinstance(one, Revision)
        return one.body.decode()


def batches(body: str, documents: int, own: int) -> Iterator[bytes]:
    """Bodies of `_bulk_docs`: every document as heavy as a sealed one, `own` of them spread among the others'."""
    every = documents // own
    bodies = [body.replace(OWN, f"hcp-{number:02d}-bench"[: len(OWN)]) for number in range(OTHERS)]
    for start in range(0, documents, BATCH):
        docs = []
        for number in range(start, min(start + BATCH, documents)):
            text = body if number % every == 0 and number // every < own else bodies[number % OTHERS]
            docs.append(f'{{"_id":"{number * 2654435761 % 2**32:08x}","_rev":"1-{number:032x}",{text[1:]}')
        yield f'{{"new_edits":false,"docs":[{",".join(docs)}]}}'.encode()


async def fill(url: str, body: str, documents: int, own: int) -> None:
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:
        for batch in batches(body, documents, own):
            async with session.post(f"{url}/_bulk_docs", data=batch) as answer:
                answer.raise_for_status()
                assert not await answer.json()


async def build_index(url: str) -> float:
    """Seconds until the index has taken in everything."""
    started = time.perf_counter()
    async with (
        aiohttp.ClientSession(timeout=INDEXING) as session,
        session.get(url + VIEW, params={"limit": 0}) as answer,
    ):
        answer.raise_for_status()
        await answer.read()
    return time.perf_counter() - started


async def first_sync(peer: CouchPeer, path: Path, server: Process, *, expected: int, by_index: bool) -> Cost:
    plan = Plan(path.stem, OWN, Direction.PULL, device_selector(HcpId(OWN)))
    store = Store.open(path, bytes(32))
    try:
        local = LocalPeer(store)
        clock, client, cpu = time.perf_counter(), time.process_time(), server.cpu()
        async with peer:
            outcome = await replicate(peer, local, plan)
        cost = Cost(time.perf_counter() - clock, time.process_time() - client, server.cpu() - cpu)
        assert (outcome.documents, outcome.by_index) == (expected, by_index), outcome
        assert len((await local.changes(START, limit=expected + 1)).rows) == expected
    finally:
        await asyncio.to_thread(store.close)
    return cost


async def measure_server(url: str, process: Process, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    own = options.documents * options.own // 100
    async with database(url) as name:
        await asyncio.to_thread(provision_database, name, Wish())
        started = time.perf_counter()
        await fill(name, await template(folder), options.documents, own)
        filled = time.perf_counter() - started
        indexed = await build_index(name)
        costs: dict[str, list[Cost]] = {"index": [], "feed": []}
        for number in range(options.rounds):
            for way, peer in (("index", CouchPeer(name)), ("feed", Unlisted(name))):
                path = folder / f"{way}-{number}.db"
                costs[way].append(await first_sync(peer, path, process, expected=own, by_index=way == "index"))
    figures: dict[str, Any] = {"own": own, "fill_seconds": filled, "index_seconds": indexed}
    for way, measured in costs.items():
        for name in ("clock", "client", "server"):
            figures[f"{way}_{name}_seconds"] = statistics.median(getattr(cost, name) for cost in measured)
    figures["ratio"] = statistics.median(
        feed.clock / index.clock for feed, index in zip(costs["feed"], costs["index"], strict=True)
    )
    return figures


async def measure(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with hub(folder / "hub") as server:
            figures["hub"] = await measure_server(server.url, server.process, folder, options)
        if "COUCHDB_URL" in os.environ:
            url = os.environ["COUCHDB_URL"].rstrip("/")
            inner = folder / "couchdb"
            inner.mkdir()
            figures["couchdb"] = await measure_server(url, listener(urlsplit(url).port or 5984), inner, options)
    return figures


def show(server: str, figures: dict[str, Any], options: argparse.Namespace) -> None:
    print(f"{server}: {options.documents:,} documents, filled in {figures['fill_seconds']:.0f} s;", end=" ")
    print(f"the index answers after {figures['index_seconds']:.2f} s.")
    print(f"First sync of a device to whom {figures['own']:,} of them belong, median of {options.rounds}, seconds:")
    print("              on the clock   client CPU   server CPU")
    for way, text in (("index", "by the index"), ("feed", "by the feed ")):
        costs = [figures[f"{way}_{name}_seconds"] for name in ("clock", "client", "server")]
        print(f"  {text} {costs[0]:11.2f} {costs[1]:12.2f} {costs[2]:12.2f}")
    print(f"  the feed takes {figures['ratio']:.1f} times as long (median of the rounds' ratios)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000, help=f"{INDEX_LEAST} or more: fewer need no index")
    parser.add_argument("--own", type=int, default=1, metavar="PERCENT", help="from 1 to 99")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.documents < INDEX_LEAST:
        parser.error(f"--documents {options.documents}: a first sync of fewer than {INDEX_LEAST} asks for no index")
    if not 1 <= options.own <= 99:
        parser.error(f"--own {options.own}: give a percentage from 1 to 99")
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: give 1 or more")
    figures = asyncio.run(measure(options))
    if options.json:
        print(json.dumps(figures))
        return
    for server, each in figures.items():
        show(server, each, options)
    if "couchdb" not in figures:
        print("COUCHDB_URL is not set: the real CouchDB was not tried")


if __name__ == "__main__":
    main()
