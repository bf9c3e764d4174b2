"""Many live devices on one hub: what the hub's process takes while others write, and how soon each device has it.

    scripts/bench/run live [--devices N] [--writes N] [--rate N] [--json]

Each device is a replica of an Hcp of its own, in an encrypted file, live on the hub with the filter that devices have.
A writer writes sealed records one by one, each shared with one of them. The hub is a process of its own. Then as many
filtered feeds that fetch nothing, with the same writes; before both, as many requests for nothing at the same pace.
With COUCHDB_URL (http://admin:password@host:port on this machine) also: the hub in front of that CouchDB, as its only
client, and, to compare, the feeds on the CouchDB itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from processes import Process, Worker, hub, listener, questions_meanwhile, reply, worker
from sync import database, replica

from icure_sync import CouchPeer, Hcp, Identity, Patient, Replica
from icure_sync.crypto.primitives import RsaPrivateKey, system_entropy
from icure_sync.engine.local_peer import LocalPeer
from icure_sync.ids import HcpId
from icure_sync.replication.filters import device_selector
from icure_sync.replication.wire import Revision
from icure_sync.store import Store

WRITER = "bench-writer"
CLIENTS = 4  # processes that the devices are spread over
HEARTBEAT = 20_000  # milliseconds, of the feeds that stand for devices on a CouchDB
SETTLING = 2.0  # seconds of quiet before anything is measured
LOOKING = 0.05  # seconds between two looks whether everything has come
NAME = "clinic"  # of the hub's database


def hcp_of(number: int) -> str:
    return f"bench-hcp-{number}"


def identity_of(hcp_id: str, key: Path) -> Identity:
    """One RSA key pair serves them all: to make one takes a second, and plays no part in what is measured."""
    return Identity.from_private_key(hcp_id, key.read_bytes(), name=hcp_id)


# The devices


@dataclass
class Device:
    """One replica, and when each document came (seconds, by the clock that all processes share)."""

    replica: Replica
    store: Store
    arrived: dict[str, float] = field(default_factory=dict)
    seq: int = 0
    reading: asyncio.Task[None] | None = None

    async def go_live(self, url: str, stack: AsyncExitStack) -> None:
        stack.enter_context(self.store.watch(self._changed))
        live = await stack.enter_async_context(self.replica.live(CouchPeer(url)))
        await live.caught_up()

    def _changed(self) -> None:
        self.reading = asyncio.create_task(self._read(time.monotonic()))

    async def _read(self, now: float) -> None:
        for change in await self.store.run(self.store.documents.changes, self.seq):
            self.arrived.setdefault(change.id, now)
            self.seq = max(self.seq, change.seq)


async def be_devices(folder: Path, url: str, key: Path, numbers: range) -> None:
    """Some of the devices: told to `push`, to go `live`, and to say when documents came."""
    async with AsyncExitStack() as stack:
        devices = []
        for number in numbers:
            path = folder / f"device-{number}.db"
            devices.append(Device(*await stack.enter_async_context(replica(path, identity_of(hcp_of(number), key)))))
        async for word, *values in questions_meanwhile():
            if word == "push":
                for device in devices:
                    await device.replica.push(CouchPeer(url))
                reply(word)
            elif word == "live":
                for device in devices:
                    await device.go_live(url, stack)
                reply(word)
            else:
                reply(await _arrivals(devices, set(values[0])))


async def _arrivals(devices: list[Device], wanted: set[str]) -> Mapping[str, float]:
    arrived: dict[str, float] = {}
    while arrived.keys() != wanted:
        await asyncio.sleep(LOOKING)
        arrived = {name: when for device in devices for name, when in device.arrived.items() if name in wanted}
    return arrived


# The writer


async def be_writer(folder: Path, url: str, key: Path, devices: int, writes: int) -> None:
    """Told to `prepare` sealed records, then to `write` them at a rate; says to which device each goes, and when each
    write was acknowledged."""
    async with AsyncExitStack() as stack:
        one, store = await stack.enter_async_context(replica(folder / "writer.db", identity_of(WRITER, key)))
        records: list[Revision] = []
        async for word, *values in questions_meanwhile():
            if word == "prepare":
                await one.pull(CouchPeer(url))
                records = await _sealed(one, store, devices, writes)
                await _write_hcps(one, store, url)
                reply([each.id for each in records])
            else:
                reply(await _write(records, store, values[0], values[1]))


async def _sealed(one: Replica, store: Store, devices: int, writes: int) -> list[Revision]:
    """Record i is shared with device i modulo their number."""
    records = []
    for number in range(writes):
        saved = await one.save(Patient(first_name=f"First{number}", last_name=f"Last{number}", note="a cough"))
        shared = await one.share(saved, with_=hcp_of(number % devices))
        found = await store.run(store.documents.get, shared.id)
        assert found is not None
        records.append(found)
    return records


async def _write_hcps(one: Replica, store: Store, url: str) -> None:
    """The Hcps with their new keys go first: all devices take them, which is not what is measured."""
    hcps = [await store.run(store.documents.leaves, each.id) async for each in one.find(Hcp)]
    async with CouchPeer(url) as peer:
        assert await peer.write([leaf for leaves in hcps for leaf in leaves], LocalPeer(store)) == []


async def _write(records: list[Revision], store: Store, url: str, rate: float) -> Mapping[str, float]:
    acknowledged = {}
    source = LocalPeer(store)
    async with CouchPeer(url) as peer:
        await peer.info()
        started = time.monotonic()
        for number, record in enumerate(records):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            assert await peer.write([record], source) == []
            acknowledged[record.id] = time.monotonic()
    return acknowledged


# What is measured


@contextmanager
def crowd(folder: Path, url: str, devices: int, writes: int) -> Iterator[tuple[Worker, list[Worker], list[list[str]]]]:
    """The writer and the devices, ready: the Hcps know each other, the records are sealed. Also which records go to
    which process."""
    key = folder / "key"
    key.write_bytes(RsaPrivateKey.generate(system_entropy).pkcs8())
    shares = [range(start, devices, CLIENTS) for start in range(min(CLIENTS, devices))]
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                worker(__file__, "--as-devices", str(folder), url, str(key), *map(str, (share.start, devices)))
            )
            for share in shares
        ]
        writer = stack.enter_context(
            worker(__file__, "--as-writer", str(folder), url, str(key), str(devices), str(writes))
        )
        _all(clients, ["push"])
        ids = writer.ask(["prepare"])
        parts = [[name for number, name in enumerate(ids) if number % devices in share] for share in shares]
        yield writer, clients, parts


def _all(workers: list[Worker], question: Any) -> list[Any]:
    for each in workers:
        each.tell(question)
    return [each.answer() for each in workers]


def measure_live(url: str, watched: Mapping[str, Process], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Devices live at `url`, where the writer writes; the CPU and memory of `watched` meanwhile."""
    with crowd(folder, url, options.devices, options.writes) as (writer, clients, parts):
        _all(clients, ["live"])
        time.sleep(SETTLING)
        before = {name: process.cpu() for name, process in watched.items()}
        for process in watched.values():
            process.forget_peak()
        acknowledged = writer.ask(["write", url, options.rate])
        for client, part in zip(clients, parts, strict=True):
            client.tell(["arrivals", part])
        arrived = {name: when for client in clients for name, when in client.answer().items()}
        return {
            "cpu": {name: process.cpu() - before[name] for name, process in watched.items()},
            "peak": {name: process.peak() for name, process in watched.items()},
            **_latency(acknowledged, arrived),
        }


def _latency(acknowledged: Mapping[str, float], arrived: Mapping[str, float]) -> dict[str, float]:
    waits = sorted(arrived[name] - when for name, when in acknowledged.items())
    span = max(acknowledged.values()) - min(acknowledged.values())
    return {
        "median": statistics.median(waits),
        "p95": waits[int(len(waits) * 0.95)],
        "rate": (len(waits) - 1) / span,
    }


def measure_feeds(
    url: str, watched: Mapping[str, Process], options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """As many filtered feeds at `url`, which fetch nothing: what the server's part of the work costs by itself."""
    with crowd(folder, url, options.devices, options.writes) as (writer, _, _):
        arrived: dict[str, float] = {}

        async def run() -> tuple[dict[str, float], dict[str, float]]:
            async with _listening(url, options.devices, arrived):
                await asyncio.sleep(SETTLING)
                before = {name: process.cpu() for name, process in watched.items()}
                acknowledged = await asyncio.to_thread(writer.ask, ["write", url, options.rate])
                while not acknowledged.keys() <= arrived.keys():  # noqa: ASYNC110  (many tasks fill it, a row each)
                    await asyncio.sleep(LOOKING)
                return {name: process.cpu() - before[name] for name, process in watched.items()}, acknowledged

        cpu, acknowledged = asyncio.run(run())
        return {"cpu": cpu, "peak": {}, **_latency(acknowledged, arrived)}


def measure_bare(url: str, watched: Mapping[str, Process], options: argparse.Namespace) -> dict[str, Any]:
    """The baseline: as many requests at the same pace, each answered with next to nothing. A process that is woken a
    hundred times a second takes more time for each request than one that has no pause."""

    async def run() -> tuple[dict[str, float], dict[str, float]]:
        sent, answered = {}, {}
        async with aiohttp.ClientSession() as session:
            started = time.monotonic()
            for number in map(str, range(options.writes)):
                await asyncio.sleep(max(0.0, started + int(number) / options.rate - time.monotonic()))
                sent[number] = time.monotonic()
                async with session.get(f"{url}/_up") as answer:
                    assert answer.status == 200
                answered[number] = time.monotonic()
        return sent, answered

    before = {name: process.cpu() for name, process in watched.items()}
    sent, answered = asyncio.run(run())
    cpu = {name: process.cpu() - before[name] for name, process in watched.items()}
    return {"cpu": cpu, "peak": {}, **_latency(sent, answered)}


@asynccontextmanager
async def _listening(url: str, devices: int, arrived: dict[str, float]) -> AsyncIterator[None]:
    """One continuous filtered feed for each device; `arrived`: when the row of each document came."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        async with session.get(url) as answer:
            since = (await answer.json())["update_seq"]

        async def listen(number: int) -> None:
            query = {"feed": "continuous", "style": "all_docs", "heartbeat": HEARTBEAT, "since": since}
            selector = {"selector": device_selector(HcpId(hcp_of(number)))}
            async with session.post(
                f"{url}/_changes", params={**query, "filter": "_selector"}, json=selector
            ) as answer:
                async for line in answer.content:
                    if line.strip():
                        arrived.setdefault(json.loads(line)["id"], time.monotonic())

        feeds = [asyncio.create_task(listen(number)) for number in range(devices)]
        try:
            yield
        finally:
            for feed in feeds:
                feed.cancel()
            await asyncio.gather(*feeds, return_exceptions=True)


async def measure(options: argparse.Namespace) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Each way of serving the devices, as soon as it is measured."""
    with tempfile.TemporaryDirectory() as name:
        folders = {each: Path(name) / each for each in ("hub", "fed", "front", "feeds")}
        for folder in folders.values():
            folder.mkdir()
        with hub(folders["hub"] / "data") as server:
            watched = {"hub": server.process}
            yield "hub, bare requests", await asyncio.to_thread(measure_bare, server.url, watched, options)
            async with database(server.url) as url:
                yield "hub", await asyncio.to_thread(measure_live, url, watched, options, folders["hub"])
            async with database(server.url) as url:
                yield "hub, feeds alone", await asyncio.to_thread(measure_feeds, url, watched, options, folders["fed"])
        if couchdb := os.environ.get("COUCHDB_URL", "").rstrip("/"):
            behind = listener(urlsplit(couchdb).port or 5984)
            async with database(couchdb) as url:
                found = await asyncio.to_thread(measure_front, url, behind, options, folders["front"])
            yield "hub before CouchDB", found
            async with database(couchdb) as url:
                found = await asyncio.to_thread(measure_feeds, url, {"couchdb": behind}, options, folders["feeds"])
            yield "CouchDB, feeds alone", found


def measure_front(url: str, behind: Process, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The same with a hub that is the only client of a CouchDB."""
    parts = urlsplit(url)
    plain = f"{parts.scheme}://{parts.hostname}:{parts.port}{parts.path}"
    login = f"{parts.username}:{parts.password}"
    with hub(folder / "data", "--upstream", f"{NAME}={plain}", ICURE_SYNC_HUB_UPSTREAM=login) as server:
        watched = {"hub": server.process, "couchdb": behind}
        return measure_live(f"{server.url}/{NAME}", watched, options, folder)


def show(name: str, found: dict[str, Any]) -> None:
    cpu = ", ".join(f"{who} {seconds:.1f} s" for who, seconds in found["cpu"].items())
    peak = "".join(f", {who} at most {size / 2**20:.0f} MiB" for who, size in found["peak"].items() if who == "hub")
    median, p95 = found["median"] * 1000, found["p95"] * 1000
    print(f"{name:22} CPU: {cpu}{peak}; {found['rate']:.0f} a second")
    print(f"{'':22} there after: median {median:.0f} ms, 95 % {p95:.0f} ms", flush=True)


async def run(options: argparse.Namespace) -> None:
    if not options.json:
        print(f"{options.devices} live devices, {options.writes} writes")
    figures = {}
    async for name, found in measure(options):
        figures[name] = found
        if not options.json:
            show(name, found)
    if options.json:
        print(json.dumps(figures))
    elif not os.environ.get("COUCHDB_URL"):
        print("COUCHDB_URL is not set: the real CouchDB was not tried")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--writes", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=100.0, help="writes a second at most")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--as-devices", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--as-writer", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_devices:
        folder, url, key, first, devices = options.as_devices
        asyncio.run(be_devices(Path(folder), url, Path(key), range(int(first), int(devices), CLIENTS)))
    elif options.as_writer:
        folder, url, key, devices, writes = options.as_writer
        asyncio.run(be_writer(Path(folder), url, Path(key), int(devices), int(writes)))
    else:
        asyncio.run(run(options))


if __name__ == "__main__":
    main()
