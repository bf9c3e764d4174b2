"""The head audit: a server that claims to hold what it does not is found out, and gets it again (faults 29)."""

from __future__ import annotations

from icure_sync.errors import Unreachable
from icure_sync.ids import DocId
from icure_sync.model import Patient
from icure_sync.replication.wire import Refusal
from icure_sync.testing import FaultyPeer


async def test_a_server_that_only_says_that_it_has_documents_gets_them_again(open_replica, server):
    laptop = await open_replica("hcp-a", "laptop")
    patients = [await laptop.save(Patient(first_name=f"P{number}")) for number in range(250)]
    liar = FaultyPeer(server)
    liar.change("missing", lambda _: {})
    report = await laptop.sync(liar)
    assert report.pushed == 0
    assert not server.all_leaves()
    found = await laptop.audit(liar)
    assert (found.documents, found.sent, found.refused) == (251, 251, ())
    assert {patient.id for patient in patients} <= set(server.all_leaves())
    assert (await laptop.audit(liar)).sent == 0


async def test_documents_that_a_server_lost_are_sent_again(open_replica, server):
    laptop = await open_replica("hcp-a", "laptop")
    john = await laptop.save(Patient(first_name="John"))
    await laptop.sync(server)
    server.remove(DocId(john.id))
    assert (await laptop.sync(server)).pushed == 0  # nobody looked
    assert (await laptop.audit(server)).sent == 1
    assert john.id in server.all_leaves()


async def test_a_revision_that_was_superseded_elsewhere_is_not_missing(open_replica, server):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    john = await laptop.save(Patient(first_name="John"))
    await laptop.sync(server)
    await phone.sync(server)
    await phone.save((await phone.get(Patient, john.id)).replace(note="later"))
    await phone.sync(server)
    assert (await laptop.audit(server)).sent == 0


async def test_what_the_server_does_not_take_is_reported(open_replica, server):
    laptop = await open_replica("hcp-a", "laptop")
    john = await laptop.save(Patient(first_name="John"))
    picky = FaultyPeer(server)
    picky.change("write", lambda _: [Refusal(DocId(john.id), None, "forbidden", "no")])
    found = await laptop.audit(picky)
    assert [(one.id, one.error) for one in found.refused] == [(john.id, "forbidden")]


async def test_a_network_that_fails_now_and_then_is_no_end(open_replica, server):
    laptop = await open_replica("hcp-a", "laptop")
    gone = FaultyPeer(server)
    gone.fail("leaves", Unreachable("ask", "there is no connection", "try again"), times=2)
    assert (await laptop.audit(gone)).documents == 1
