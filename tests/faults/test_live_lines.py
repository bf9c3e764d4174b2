"""Faults 13, 14, 16, 17, 19, 23, 24: the same lines while two devices sync live, which goes on by itself.

With real records: what is in them, and the password, is in no log.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from icure_sync.engine.clock import SYSTEM_CLOCK, Clock
from icure_sync.engine.live import Live
from icure_sync.engine.progress import Progress
from icure_sync.engine.replica import Replica, replica_over
from icure_sync.model import Patient
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.couch_requests import Timeouts
from icure_sync.replication.limits import BACKOFF_MOST
from icure_sync.store import Store
from icure_sync.testing import CAPTIVE_PORTAL, Ending, Fault, FaultProxy, refusal, to
from icure_sync.testing.faults import Picks
from tests.faults.lines import PASSWORD, SECRET
from tests.keys import A, identity
from tests.servers import change_database, fresh_database
from tests.tidiness import PATIENCE, until

WATCHFUL = Timeouts(
    silence=1.0, feed=1.0, heartbeat=0.2
)  # without a sign of life for so long, a feed is taken for dead
NAMES = ("laptop", "phone")


def hasty_clock() -> Clock:
    """Waits between attempts are short; what is asked only now and then is never asked."""

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0.02 if seconds <= BACKOFF_MOST else 3600)

    return Clock(SYSTEM_CLOCK.now, SYSTEM_CLOCK.monotonic, sleep)


@dataclass
class Clinic:
    """Two devices of one Hcp, each live over a line of its own. `told`: what they said of it."""

    replicas: dict[str, Replica]
    proxies: dict[str, FaultProxy]
    lives: dict[str, Live]
    url: str
    told: list[Progress]

    async def write(self, name: str, first_name: str) -> Patient:
        return await self.replicas[name].save(Patient(first_name=first_name, note=SECRET))

    async def caught_up(self) -> None:
        """Whatever is on one device is on the other."""
        async with asyncio.timeout(PATIENCE):
            while len({await self.seen(name) for name in NAMES}) > 1:  # noqa: ASYNC110  # replicas tell of no record
                await asyncio.sleep(0.02)

    async def seen(self, name: str) -> frozenset[str]:
        return frozenset([each.first_name or "" async for each in self.replicas[name].find(Patient)])


@pytest.fixture
async def clinic(server: str, tmp_path: Path) -> AsyncIterator[Clinic]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(fresh_database(server))
        built = Clinic({}, {}, {}, url, [])
        for name in NAMES:
            store = Store.open(tmp_path / f"{name}.db", bytes(32))
            stack.callback(store.close)
            built.proxies[name] = await stack.enter_async_context(FaultProxy(url))
            built.replicas[name] = await store.run(replica_over, store, identity(A))
        for name in NAMES:
            peer = CouchPeer(built.proxies[name].url, timeouts=WATCHFUL)
            live = built.replicas[name].live(peer, progress=built.told.append, waiting=hasty_clock())
            built.lives[name] = await stack.enter_async_context(live)
        await built.write("laptop", "first")
        await built.caught_up()
        yield built
        for progress in built.told:
            assert PASSWORD not in progress.trouble
            assert SECRET not in progress.trouble


async def test_devices_that_were_offline_agree_by_themselves_when_the_network_is_back(clinic: Clinic):
    for name in NAMES:
        await clinic.proxies[name].offline()
        await clinic.write(name, f"offline on the {name}")
    await until(lambda: any(progress.trouble for progress in clinic.told))
    for name in NAMES:
        await clinic.proxies[name].online()
    await clinic.caught_up()
    assert await clinic.seen("phone") == {"first", "offline on the laptop", "offline on the phone"}


FEED = to("POST", "/_changes")
EXPIRED = "a login that has expired"
BROKEN: dict[str, tuple[Fault, Picks]] = {
    "a feed that falls silent": (Fault(cut_answer=120, ending=Ending.SILENCE), FEED),
    "a feed that is cut": (Fault(cut_answer=130), FEED),
    "a feed that is reset": (Fault(cut_answer=0, ending=Ending.RESET), FEED),
    "a captive portal": (Fault(answer=CAPTIVE_PORTAL), FEED),
    "a busy server": (Fault(answer=refusal(503)), to("POST", "/_bulk_docs", "/_bulk_get")),
    EXPIRED: (Fault(answer=refusal(401, "unauthorized", "again")), FEED),
    "writes whose answers are lost": (Fault(cut_answer=0, ending=Ending.RESET), to("POST", "/_bulk_docs")),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_what_breaks_is_begun_again_and_nothing_is_missed(clinic: Clinic, what: str):
    fault, picks = BROKEN[what]
    rules = [clinic.proxies[name].inject(fault, picks, times=1) for name in NAMES]
    for name in NAMES:
        await clinic.proxies[name].offline()  # what was open before the fault is opened again
        await clinic.proxies[name].online()
    for name in NAMES:
        await clinic.write(name, f"written on the {name}")
    await clinic.caught_up()
    await until(lambda: all(rule.applied for rule in rules))
    await clinic.write("phone", "later")
    await clinic.caught_up()
    assert await clinic.seen("laptop") == {"first", "later", "written on the laptop", "written on the phone"}


async def test_a_database_that_is_made_anew_gets_everything_again_from_the_devices(clinic: Clinic):
    """One that was there is waited for: somebody may be putting it back."""
    await change_database(clinic.url, "DELETE")
    await clinic.write("phone", "meanwhile")
    await until(lambda: any("there is no database" in progress.trouble for progress in clinic.told))
    await change_database(clinic.url, "PUT")
    await clinic.caught_up()
    async with CouchPeer(clinic.url) as direct, asyncio.timeout(PATIENCE):
        for live in clinic.lives.values():
            await live.caught_up()
        while (await direct.info()).doc_count != 3:  # noqa: ASYNC110  # two patients, and the Hcp's own document
            await asyncio.sleep(0.02)
    assert await clinic.seen("laptop") == {"first", "meanwhile"}


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_to_two_live_lines_both_devices_agree_in_the_end(clinic: Clinic, seed: int):
    chance = random.Random(seed)
    saved = {"first"}
    for number in range(40):
        name = chance.choice(NAMES)
        match chance.randrange(6):
            case 0:
                await clinic.proxies[name].offline()
            case 1 | 2:
                await clinic.proxies[name].online()
            case 3:
                fault, picks = BROKEN[
                    chance.choice(sorted(BROKEN.keys() - {EXPIRED}))
                ]  # twice in a row, that is the end
                clinic.proxies[name].inject(fault, picks, times=1)
            case _:
                await clinic.write(name, f"{number} on the {name}")
                saved.add(f"{number} on the {name}")
        await asyncio.sleep(chance.choice([0, 0, 0.01, 0.05]))
    for proxy in clinic.proxies.values():
        proxy.heal()
        await proxy.online()
    await clinic.caught_up()
    async with asyncio.timeout(PATIENCE):
        for live in clinic.lives.values():
            await live.caught_up()
    assert await clinic.seen("laptop") == await clinic.seen("phone") == saved
