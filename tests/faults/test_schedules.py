"""Any order of edits, faults and attempts on two devices and a hub ends with all alike, and with every edit there.

Faults 12 to 17, 19, 23 and 24 in combination, drawn at random; an edit counts as acknowledged when its write returned.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from icure_sync.engine.local_peer import LocalPeer
from icure_sync.engine.plan import Plan
from icure_sync.engine.sync import replicate
from icure_sync.errors import PeerError
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer
from icure_sync.replication.checkpoint import Direction
from icure_sync.replication.wire import Attachment
from icure_sync.store import Store
from icure_sync.testing import CAPTIVE_PORTAL, EMPTY, Ending, Fault, FaultProxy, refusal, to, within
from icure_sync.testing.conformance.asking import content, contents, got, rows
from tests.faults.lines import PASSWORD
from tests.replicas import rev, revision, seeded_entropy, still_clock
from tests.servers import REAL_SERVERS, change_database, fresh_database, fresh_hub

T = TypeVar("T")

DEVICES = ("laptop", "phone")
EXAMPLES = 10
STEPS = 15

devices = st.sampled_from(DEVICES)
sizes = st.sampled_from([None, None, None, 10, 300_000])  # bytes of a new file: inline, or streamed by itself
picked = st.sampled_from(
    [
        to("GET", "/_changes"),
        to("POST", "/_bulk_get"),
        to("POST", "/_revs_diff"),
        to("POST", "/_bulk_docs"),
        to("POST", "/_session"),
        within("GET", "/_local/"),
        within("PUT", "/_local/"),
        within("GET", "/file-"),
        to("PUT", "/a", "/b", "/c"),
    ]
)
faults = st.one_of(
    st.builds(lambda n, how: Fault(cut_answer=n, ending=how), st.integers(0, 600), st.sampled_from([*Ending][:2])),
    st.builds(lambda n, how: Fault(cut_request=n, ending=how), st.integers(0, 600), st.sampled_from([*Ending][:2])),
    st.builds(lambda status: Fault(answer=refusal(status)), st.sampled_from([401, 429, 500, 502, 503])),
    st.sampled_from([CAPTIVE_PORTAL, EMPTY]).map(lambda answer: Fault(answer=answer)),
    st.builds(lambda s, n: Fault(latency=s, piece=n), st.floats(0, 0.01), st.integers(20, 200)),
)


class TwoDevices(RuleBasedStateMachine):
    """A database, and two devices that each have a line of their own to it. `server`: None for a new hub."""

    def __init__(self, server: str | None) -> None:
        super().__init__()
        self.server = server
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.acknowledged: set[tuple[str, str]] = set()
        self.marks = 0
        self.run(self.begin())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def begin(self) -> None:
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        server = self.server or await self.stack.enter_async_context(fresh_hub(self.folder, PASSWORD))
        self.url = await self.stack.enter_async_context(fresh_database(server))
        self.direct = await self.stack.enter_async_context(CouchPeer(self.url))
        self.proxies = {name: await self.stack.enter_async_context(FaultProxy(self.url)) for name in DEVICES}
        self.stores = {name: Store.open(self.folder / f"{name}.db", bytes(32)) for name in DEVICES}

    @rule(name=devices, doc=st.sampled_from("abc"), deleted=st.booleans(), fork=st.booleans(), size=sizes)
    def edit(self, name: str, doc: str, deleted: bool, fork: bool, size: int | None) -> None:
        """A revision below one of the leaves that this device has, or beside them; with a new file, or those it had."""
        self.run(self.write(name, doc, deleted=deleted, fork=fork, size=size))

    async def write(self, name: str, doc: str, *, deleted: bool, fork: bool, size: int | None) -> None:
        self.marks += 1
        device, origin = LocalPeer(self.stores[name]), MemoryPeer()
        leaves = [row.leaves for row in await rows(device) if row.id == doc]
        above: tuple[str, ...] = ()
        kept: Mapping[str, Attachment] = {}
        if leaves and not fork:
            parent = await got(device, doc, leaves[0][0])
            above, kept = parent.history, parent.attachments
        files = {} if size is None else {f"file-{self.marks % 3}": bytes([self.marks % 256]) * size}
        new = revision(doc, rev(len(above) + 1, self.marks), *above, body=b'{"n":%d}' % self.marks, files=files)
        new = replace(new, deleted=deleted, attachments={**kept, **new.attachments})
        origin.put(new, files)
        assert list(await device.write([new], origin)) == []
        self.acknowledged.add((new.id, new.rev))

    @rule(name=devices, fault=faults, picks=picked, first=st.integers(1, 3), times=st.integers(1, 6))
    def put_a_fault_on_the_line(self, name: str, fault: Fault, picks, first: int, times: int) -> None:
        self.proxies[name].inject(fault, picks, first=first, times=times)

    @rule(name=devices)
    def go_offline(self, name: str) -> None:
        self.run(self.proxies[name].offline())

    @rule(name=devices)
    def come_back(self, name: str) -> None:
        self.run(self.proxies[name].online())

    @rule(name=devices, way=st.sampled_from([*Direction]))
    def try_to_sync(self, name: str, way: Direction) -> None:
        with contextlib.suppress(PeerError):
            self.run(self.attempt(name, way))

    @rule(name=devices, way=st.sampled_from([*Direction]), turns=st.integers(1, 200))
    def begin_to_sync_and_be_cancelled(self, name: str, way: Direction, turns: int) -> None:
        self.run(self.cancelled(name, way, turns))

    async def cancelled(self, name: str, way: Direction, turns: int) -> None:
        task = asyncio.ensure_future(self.attempt(name, way))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(PeerError, asyncio.CancelledError):
            await task

    async def attempt(self, name: str, way: Direction) -> None:
        async with CouchPeer(self.proxies[name].url) as peer:
            device = LocalPeer(self.stores[name])
            source, target = (peer, device) if way is Direction.PULL else (device, peer)
            await self.carry(name, source, target, way)

    async def carry(self, name: str, source: Peer, target: Peer, way: Direction) -> None:
        self.marks += 1
        entropy = seeded_entropy(self.marks)
        await replicate(source, target, Plan(name, None, way), clock=still_clock(), entropy=entropy)

    @rule(name=devices)
    def restart(self, name: str) -> None:
        self.stores[name].close()
        self.stores[name] = Store.open(self.folder / f"{name}.db", bytes(32))

    @precondition(lambda self: self.acknowledged)
    @rule()
    def make_the_database_anew(self) -> None:
        self.run(change_database(self.url, "DELETE", "PUT"))

    def teardown(self) -> None:
        try:
            self.run(self.end())
        finally:
            for store in self.stores.values():
                store.close()
            self.run(self.stack.aclose())
            self.runner.close()

    async def end(self) -> None:
        """The lines are mended, and each device syncs as it would."""
        for proxy in self.proxies.values():
            proxy.heal()
            await proxy.online()
        for name in (*DEVICES, *DEVICES):
            for way in Direction:
                await self.attempt(name, way)
        peers = [*map(LocalPeer, self.stores.values()), self.direct]
        sides = [await contents(peer) for peer in peers]
        assert sides[0] == sides[1] == sides[2]
        for (doc_id, leaf), (_, _, _, files) in sides[0].items():
            for file in files:
                same = {await content(peer, doc_id, leaf, file) for peer in peers}
                assert len(same) == 1
        known = {(doc_id, each) for (doc_id, _), (history, *_) in sides[0].items() for each in history}
        assert self.acknowledged <= known, "an acknowledged edit was lost"


@pytest.mark.parametrize("kind", ["hub", *REAL_SERVERS])
def test_any_schedule_of_edits_faults_and_attempts_ends_with_all_alike_and_nothing_lost(
    kind: str, request: pytest.FixtureRequest
):
    server = None if kind == "hub" else request.getfixturevalue("couchdb_url")
    run_state_machine_as_test(
        partial(TwoDevices, server), settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
    )
