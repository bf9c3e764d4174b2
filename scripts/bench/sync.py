"""Pulling and pushing sealed records, against a drain that only moves the same bytes over the same requests.

    scripts/bench/run sync [--records N] [--rounds N] [--json]

Against a hub in a process of its own, and, if COUCHDB_URL (http://admin:password@host:port) is set, a CouchDB too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from icure_sync import CouchPeer, Identity, Patient, Replica
from icure_sync.engine.local_peer import LocalPeer
from icure_sync.engine.replica import replica_over
from icure_sync.replication.filters import device_selector
from icure_sync.store import Store

HCP = "bench-hcp"
ADMIN = ("admin", "bench-only")
ROWS = 500  # of a drain's batch; ours are chosen by the replicator
STARTING = 30  # seconds that a hub may take to listen


@contextmanager
def hub(folder: Path) -> Iterator[str]:
    """A hub in a process of its own, so that its CPU is not counted as the client's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from icure_sync.app.cli import main; main()"]
    command += ["hub", "--listen", f"127.0.0.1:{port}", "--data", str(folder)]
    environment = {**os.environ, "ICURE_SYNC_HUB_ADMIN": ":".join(ADMIN)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + STARTING
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://{ADMIN[0]}:{ADMIN[1]}@127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def database(server: str) -> AsyncIterator[str]:
    """A database of its own, gone afterwards."""
    url = f"{server}/bench-{uuid.uuid4().hex}"
    async with aiohttp.ClientSession() as session:
        async with session.put(url) as answer:
            answer.raise_for_status()
        try:
            yield url
        finally:
            async with session.delete(url) as answer:
                answer.raise_for_status()


@asynccontextmanager
async def replica(path: Path, identity: Identity) -> AsyncIterator[tuple[Replica, Store]]:
    store = Store.open(path, bytes(32))
    try:
        yield await store.run(replica_over, store, identity), store
    finally:
        await asyncio.to_thread(store.close)


async def drain_pull(url: str) -> float:
    """Seconds to read and throw away what a pull reads: the filtered feed, then every document with its history."""
    selector = {"selector": device_selector(HCP)}
    started = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        since: Any = 0
        while True:
            query = {"filter": "_selector", "style": "all_docs", "limit": ROWS, "since": since}
            async with session.post(f"{url}/_changes", params=query, json=selector) as answer:
                changes = await answer.json()
            if not changes["results"]:
                return time.perf_counter() - started
            since = changes["last_seq"]
            wanted = [{"id": row["id"], "rev": each["rev"]} for row in changes["results"] for each in row["changes"]]
            async with session.post(f"{url}/_bulk_get?revs=true", json={"docs": wanted}) as answer:
                await answer.read()


async def drain_push(url: str, batches: list[bytes]) -> float:
    """Seconds to write ready-made batches."""
    started = time.perf_counter()
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:
        for batch in batches:
            async with session.post(f"{url}/_bulk_docs", data=batch) as answer:
                await answer.read()
    return time.perf_counter() - started


async def ready_made(store: Store) -> list[bytes]:
    """What a push sends, as `_bulk_docs` bodies."""
    peer = LocalPeer(store)
    changes = await peer.changes("0", limit=1_000_000)
    batches = []
    for start in range(0, len(changes.rows), ROWS):
        revisions = await peer.fetch({row.id: row.leaves for row in changes.rows[start : start + ROWS]})
        docs = [
            {"_id": each.id, "_rev": each.rev, **json.loads(each.body)} for each in revisions if hasattr(each, "body")
        ]
        batches.append(json.dumps({"new_edits": False, "docs": docs}).encode())
    return batches


async def measure_server(server: str, folder: Path, records: int, rounds: int) -> dict[str, float]:
    identity = Identity.create(HCP, "Bench")
    seconds: dict[str, list[float]] = {name: [] for name in ("push", "pull", "drain_push", "drain_pull", "pull_cpu")}
    async with replica(folder / "source.db", identity) as (source, store):
        for number in range(records):
            await source.save(Patient(first_name=f"First{number}", last_name=f"Last{number}", note="a cough"))
        batches = await ready_made(store)
        for number in range(rounds):
            async with database(server) as other:
                seconds["drain_push"].append(await drain_push(other, batches))
            async with database(server) as url:
                started = time.perf_counter()
                await source.push(CouchPeer(url))
                seconds["push"].append(time.perf_counter() - started)
                seconds["drain_pull"].append(await drain_pull(url))
                async with replica(folder / f"target-{number}.db", identity) as (target, _):
                    started, cpu = time.perf_counter(), time.process_time()
                    outcome = await target.pull(CouchPeer(url))
                    seconds["pull_cpu"].append(time.process_time() - cpu)
                    seconds["pull"].append(time.perf_counter() - started)
                    assert outcome.documents == records, outcome
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "pulled_per_second": records / medians["pull"],
        "pushed_per_second": records / medians["push"],
        "pull_cpu_us": medians["pull_cpu"] / records * 1e6,
        "pull_to_drain": medians["drain_pull"] / medians["pull"],
        "push_to_drain": medians["drain_push"] / medians["push"],
    }


async def measure(records: int, rounds: int) -> dict[str, dict[str, float]]:
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        with hub(Path(folder) / "hub") as server:
            figures["hub"] = await measure_server(server, Path(folder), records, rounds)
        if "COUCHDB_URL" in os.environ:
            inner = Path(folder) / "couchdb"
            inner.mkdir()
            figures["couchdb"] = await measure_server(os.environ["COUCHDB_URL"].rstrip("/"), inner, records, rounds)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.records, options.rounds))
    if options.json:
        print(json.dumps(figures))
        return
    for server, each in figures.items():
        print(f"{options.records} small sealed patients, {server}")
        print(f"  pulled {each['pulled_per_second']:8,.0f}/s  {each['pull_to_drain']:.2f} of the drain,", end=" ")
        print(f"{each['pull_cpu_us']:.0f} us of client CPU each")
        print(f"  pushed {each['pushed_per_second']:8,.0f}/s  {each['push_to_drain']:.2f} of the drain")
    if "couchdb" not in figures:
        print("COUCHDB_URL is not set: the real CouchDB was not tried")


if __name__ == "__main__":
    main()
