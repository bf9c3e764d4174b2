"""Faults 13, 14, 16, 17, 23, 24: a device's first sync, by the server's index where it has one, on a line that breaks.

Whatever broke: the next attempt ends with everything that the device's Hcp has a part in, and nothing else.
"""

from __future__ import annotations

import pytest

from icure_sync.engine.plan import Plan
from icure_sync.engine.sync import Outcome, replicate
from icure_sync.errors import BadAnswer, Throttled, TimedOut
from icure_sync.ids import HcpId
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.checkpoint import Direction
from icure_sync.replication.filters import device_selector
from icure_sync.testing import CAPTIVE_PORTAL, EMPTY, RESET_AFTER, RESET_BEFORE, SILENCE, Fault, refusal, to, within
from icure_sync.testing.conformance.asking import OTHERS, OWN
from tests.faults.lines import Leaves, Line, give, leaves
from tests.replicas import rev, revision, seeded_entropy
from tests.servers import change_database

FIRST = Plan("device-1", "hcp-a", Direction.PULL, device_selector(HcpId("hcp-a")))

EXCHANGES = {
    "index": to("GET", "/by_delegate"),
    "documents": to("POST", "/_bulk_get"),
    "feed": to("POST", "/_changes"),
    "log": within("PUT", "/_local/"),
}
FAULTS = {
    "reset before": RESET_BEFORE,
    "reset after": RESET_AFTER,
    "answer cut": Fault(cut_answer=300),
    "answer in pieces": Fault(piece=7),
    "captive portal": Fault(answer=CAPTIVE_PORTAL),
    "empty": Fault(answer=EMPTY),
    "busy": Fault(answer=refusal(503)),
    "failing": Fault(answer=refusal(500)),
}


@pytest.fixture(autouse=True)
def _whatever_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index of these few documents is used, too."""
    monkeypatch.setattr("icure_sync.engine.first_pull.INDEX_LEAST", 0)


async def furnish(line: Line) -> Leaves:
    """What hcp-a has a part in, a conflict whose winner is not his, and what others have; the first two."""
    own = [revision(f"own-{number:02}", rev(1, number), body=OWN) for number in range(40)]
    everybody = [revision("hcp-b", rev(1, 1), body=b'{"type":"HealthcareParty"}')]
    losing = [revision("both", rev(2, 1), rev(1, 1), body=OWN)]
    others = [revision(f"others-{number:02}", rev(1, number), body=OTHERS) for number in range(40)]
    winning = [revision("both", rev(2, 2), rev(1, 1), body=OTHERS)]
    await give(line.direct, [*others, *own, *everybody, *losing, *winning])
    return {(each.id, each.rev) for each in (*own, *everybody, *losing)}


async def first_sync(line: Line, device: MemoryPeer, peer: CouchPeer | None = None) -> Outcome:
    line.seed += 1
    return await replicate(peer or line.peer, device, FIRST, clock=line.clock, entropy=seeded_entropy(line.seed))


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_first_sync_that_breaks_is_finished_by_the_next_one(line: Line, fault: str):
    wanted = await furnish(line)
    for name, picks in EXCHANGES.items():
        device = MemoryPeer(name)
        line.proxy.inject(FAULTS[fault], picks, times=1)
        error = await line.tried(first_sync(line, device))
        assert error is None or isinstance(error, BadAnswer | Throttled), name
        line.proxy.heal()
        await first_sync(line, device)
        assert await leaves(device) == wanted, name
        assert (await first_sync(line, device)).documents == 0


async def test_the_index_is_used_where_there_is_one_and_comes_to_the_same(line: Line):
    wanted = await furnish(line)
    has_index = [page async for page in line.direct.listed(HcpId("hcp-a"))] != []
    device = MemoryPeer()
    line.proxy.inject(Fault(piece=50))
    assert (await first_sync(line, device)).by_index is has_index
    assert await leaves(device) == wanted


async def test_a_first_sync_that_meets_silence_ends_in_time_and_goes_on(line: Line):
    wanted = await furnish(line)
    device = MemoryPeer()
    rule = line.proxy.inject(SILENCE, EXCHANGES["documents"], times=1)
    while not rule.applied:
        error = await line.tried(first_sync(line, device, line.hasty))
        assert error is None or isinstance(error, TimedOut)
    await first_sync(line, device)
    assert await leaves(device) == wanted


@pytest.mark.parametrize("after", range(1, 12, 2))
async def test_a_network_that_goes_at_any_request_of_a_first_sync_costs_nothing_but_time(line: Line, after: int):
    wanted = await furnish(line)
    device = MemoryPeer()
    line.proxy.inject(RESET_BEFORE, first=after)
    await line.tried(first_sync(line, device))
    line.proxy.heal()
    late = revision("late", rev(1, 1), body=OWN)
    await give(line.direct, [late])
    await first_sync(line, device)
    assert await leaves(device) == wanted | {("late", rev(1, 1))}


async def test_a_database_made_anew_between_two_halves_of_a_first_sync_is_read_from_its_beginning(line: Line):
    await furnish(line)
    device = MemoryPeer()
    line.proxy.inject(RESET_BEFORE, EXCHANGES["documents"], first=2)
    await line.tried(first_sync(line, device))
    line.proxy.heal()
    await change_database(line.url, "DELETE", "PUT")
    wanted = await furnish(line)
    await give(line.direct, [revision("other-life", rev(1, 1), body=OWN)])
    await first_sync(line, device)
    assert await leaves(device) == wanted | {("other-life", rev(1, 1))}
