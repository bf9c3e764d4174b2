"""A server that shows an older state, or shows some devices less than others.

Everything that heads of devices tell: tests/engine/test_devices.py.
"""

from __future__ import annotations

from tests.keys import A
from tests.trust.conftest import Clinic, Open
from tests.trust.evil import Document, below


async def kinds(replica) -> set[str]:
    return {alarm.kind for alarm in await replica.alarms.all()}


async def test_a_server_that_shows_an_older_state_is_found_out_by_any_device_that_saw_more(
    clinic: Clinic, open_replica
):
    """Within one sync: the phone saw the laptop's newest head, and the server has it no more."""
    a, server = clinic.a, clinic.server
    phone = await open_replica(A, "phone")
    await clinic.meet(phone)
    head = f"device-{a.device}"
    old = await server.read(head)
    for number in range(2):
        await a.save((await clinic.john_of(a)).replace(note=f"newer {number}"))
        await clinic.meet(a, phone)
    assert "stale-server" not in await kinds(phone)
    newest = (await server.read(head))["_rev"]
    assert newest != old["_rev"]

    def as_before(path: str, value):
        """The head is what it was, in every answer."""
        return {**value, head: {"missing": [newest]}} if path.endswith("/_revs_diff") else value

    server.rewrites.append(as_before)
    await clinic.meet(phone)
    assert "stale-server" in await kinds(phone)


async def test_what_a_server_hides_from_one_device_is_kept_by_the_others_and_comes_when_it_is_shown(
    clinic: Clinic, open_replica: Open
):
    a, server = clinic.a, clinic.server
    phone = await open_replica(A, "phone")
    await clinic.meet(phone)
    await a.save((await clinic.john_of(a)).replace(note="hidden from the phone"))
    await clinic.meet(a)
    server.hide([clinic.john.id])
    await clinic.meet(phone)
    assert (await clinic.john_of(phone)).note == "consumption"
    server.rewrites.clear()
    await clinic.server.plant([_touched(await server.read(clinic.john.id))])
    await clinic.meet(a, phone)
    assert (await clinic.john_of(phone)).note == "hidden from the phone"


def _touched(document: Document) -> Document:
    """Something harmless on top, so that the feed names the record again."""

    return below(document, {"delegations": {A: []}})
