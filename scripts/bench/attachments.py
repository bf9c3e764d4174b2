"""One large file from device to device: attached, pushed, pulled and read, in bounded memory.

    scripts/bench/run attachments [BYTES] [--json]

Each device and the hub are processes of their own. Beside each rate stands that of a plain copy: the same bytes through
the same kind of sockets, unread and unkept. With COUCHDB_URL (http://admin:password@host:port), through a CouchDB too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from processes import Process, Worker, hub, questions, reply, worker
from sync import database, replica

from icure_sync import Attachment, CouchPeer, Document, Identity

SIZE = 1_000_000_000
WARM = 1_000_000  # bytes of a first file, so that what any file takes is not counted as the large one's
PIECE = 1_000_000  # bytes read from the disk at once, say
COPIED = 64 * 1024  # bytes of a plain copy written to a socket at once
HCP, PASSPHRASE = "bench-hcp", "bench only"
MEGABYTE = 1_000_000


def content(size: int) -> Iterator[bytes]:
    """So many bytes that no server can compress."""
    block = os.urandom(PIECE)
    for start in range(0, size, PIECE):
        yield (start.to_bytes(8, "big") + block[8:])[: size - start]


async def device(path: Path, identity: Identity) -> None:
    """A device: told by lines on standard input to `attach`, `push`, `pull` and `read`; says how long each took."""
    async with replica(path, identity) as (one, _):
        for word, *values in questions():
            started = time.perf_counter()
            if word == "attach":
                document = await one.save(Document(name="scan"))
                await one.attach(document, "scan.bin", content(int(values[0])))
            elif word == "read":
                sizes = [len(piece) async for each in _files(one) async for piece in one.read_attachment(each)]
                assert sum(sizes) == values[0], sum(sizes)
            else:
                async with CouchPeer(values[0]) as peer:
                    outcome = await (one.push(peer) if word == "push" else one.pull(peer))
                assert not outcome.refused, outcome.refused
            reply(time.perf_counter() - started)


async def _files(one: Any) -> AsyncIterator[Attachment]:
    async for document in one.find(Document):
        async for each in one.attachments_of(document):
            yield each


async def serve_plainly() -> None:
    """A server that throws away what it is sent, and sends as many bytes as it is asked for."""

    async def take(request: web.Request) -> web.StreamResponse:
        async for _ in request.content.iter_any():
            pass
        return web.Response()

    async def give(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(int(request.query["bytes"]) // COPIED):
            await response.write(bytes(COPIED))
        return response

    app = web.Application()
    app.router.add_put("/", take)
    app.router.add_get("/", give)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reply(runner.addresses[0][1])
    await asyncio.to_thread(list, questions())
    await runner.cleanup()


async def copy_plainly(port: int, size: int) -> dict[str, float]:
    """Seconds for so many bytes there, and back."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size // COPIED):
            yield bytes(COPIED)

    async with aiohttp.ClientSession() as session:
        started = time.perf_counter()
        async with session.put(f"http://127.0.0.1:{port}/", data=pieces()) as answer:
            answer.raise_for_status()
        there = time.perf_counter() - started
        async with session.get(f"http://127.0.0.1:{port}/", params={"bytes": size}) as answer:
            async for _ in answer.content.iter_chunked(COPIED):
                pass
        return {"push": there, "pull": time.perf_counter() - started - there}


def step(one: Worker, question: list[Any], watched: dict[str, Process], steady: dict[str, int]) -> dict[str, Any]:
    """One step: its seconds, and the bytes of memory beyond `steady` that each process took."""
    for process in watched.values():
        process.forget_peak()
    seconds = one.ask(question)
    return {"seconds": seconds, "memory": {name: each.peak() - steady[name] for name, each in watched.items()}}


async def travel(server: str, size: int, folder: Path, others: dict[str, Process]) -> dict[str, Any]:
    """The file from one device over a server to another. `others`: processes to be watched beside the devices."""
    identity = folder / "identity"
    identity.write_bytes(Identity.create(HCP, "Bench").lock(PASSPHRASE))
    script = __file__
    async with database(server) as url:
        with (
            worker(script, "--device", str(folder / "from.db"), str(identity)) as giver,
            worker(script, "--device", str(folder / "to.db"), str(identity)) as taker,
        ):
            for one, question in _steps(giver, taker, url, WARM):
                one.ask(question)
            watched = {"from": giver.process, "to": taker.process, **others}
            steady = {name: each.resident() for name, each in watched.items()}
            steps = {
                question[0]: step(one, question, watched, steady)
                for one, question in _steps(giver, taker, url, size)[:-1]
            }
            steps["read"] = step(taker, ["read", size + WARM], watched, steady)
    return {"steady": steady, "steps": steps}


def _steps(giver: Worker, taker: Worker, url: str, size: int) -> list[tuple[Worker, list[Any]]]:
    return [(giver, ["attach", size]), (giver, ["push", url]), (taker, ["pull", url]), (taker, ["read", size])]


async def measure(size: int) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "hub-devices").mkdir()
        (folder / "couchdb-devices").mkdir()
        with worker(__file__, "--plain") as plain:
            figures["plain copy"] = await copy_plainly(plain.answer(), size)
        with hub(folder / "hub") as server:
            figures["hub"] = await travel(server.url, size, folder / "hub-devices", {"hub": server.process})
        if url := os.environ.get("COUCHDB_URL"):
            figures["couchdb"] = await travel(url.rstrip("/"), size, folder / "couchdb-devices", {})
    return figures


def show(figures: dict[str, Any], size: int) -> None:
    copied = figures.pop("plain copy")
    print(f"{size:,} bytes; memory in MiB beyond what the process had after a file of {WARM:,} bytes")
    for there, seconds in copied.items():
        print(f"plain copy   {there:6}  {size / seconds / MEGABYTE:7.0f} MB/s")
    for server, each in figures.items():
        for name, one in each["steps"].items():
            ratio = f"{copied[name] / one['seconds']:.2f} of the plain copy" if name in copied else ""
            memory = ", ".join(f"{who} {value / 2**20:.0f}" for who, value in one["memory"].items())
            print(f"{server:12} {name:6}  {size / one['seconds'] / MEGABYTE:7.0f} MB/s  memory: {memory}  {ratio}")
    if "couchdb" not in figures:
        print("COUCHDB_URL is not set: the real CouchDB was not tried")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", type=int, nargs="?", default=SIZE, metavar="BYTES")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device:
        path, identity = options.device
        asyncio.run(device(path, Identity.unlock(identity.read_bytes(), PASSPHRASE)))
    elif options.plain:
        asyncio.run(serve_plainly())
    else:
        figures = asyncio.run(measure(options.size))
        print(json.dumps(figures)) if options.json else show(figures, options.size)


if __name__ == "__main__":
    main()
