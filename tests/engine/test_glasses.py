"""Emergency access: k people together read one patient's records, and the owner learns that they did."""

from __future__ import annotations

import json

import pytest
import pytest_asyncio

from icure_sync.crypto.glass import OPENED_TYPE
from icure_sync.crypto.identity import COMPROMISED, PLANNED, Identity
from icure_sync.crypto.primitives import RsaPrivateKey, system_entropy
from icure_sync.crypto.publishing import publish, withdraw
from icure_sync.crypto.shares import Purpose, RecoverySecret
from icure_sync.engine import hcp_document
from icure_sync.engine.glasses import Shared
from icure_sync.engine.rescue import break_glass, recover
from icure_sync.errors import Forbidden, InvalidEntity, NoAccess, NotFound, UntrustedKey
from icure_sync.ids import DocId, Rev
from icure_sync.model import Contact, Document, Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Refusal, Revision
from icure_sync.strict_json import dumps
from tests.engine.meetings import met

WHO, WHY, WHEN = "Dr Bree", "unconscious, no relatives", 1_790_000_000_000


@pytest.fixture(autouse=True)
def emergency_hcps(monkeypatch, identities):
    """Making an RSA key takes seconds: emergency Hcps share one here, and nothing else."""
    real = Identity.create
    party_key = identities["hcp-c"].party_key

    def quick(hcp_id, name, **options):
        if not hcp_id.startswith("glass-"):
            return real(hcp_id, name, **options)
        identity = Identity.from_private_key(hcp_id, party_key.pkcs8(), name=name)
        identities[hcp_id] = identity
        return identity

    monkeypatch.setattr(Identity, "create", quick)


@pytest_asyncio.fixture
async def chart(open_replica, server):
    """A's replica, and John, who has a contact and a document with a file."""
    a = await open_replica("hcp-a")
    john = await a.save(Patient(first_name="John"))
    await a.save(Contact(description="Cough"), patient=john)
    scan = await a.save(Document(name="scan"), patient=john)
    await a.attach(scan, "scan.txt", b"shadow")
    await a.save(Patient(first_name="Fanny"))
    await a.sync(server)
    return a, john


async def opened(server, shares, **options):
    secret = RecoverySecret.combined(shares)
    return await break_glass(server, secret, shares, **{"by": WHO, "reason": WHY, "time": WHEN} | options)


async def home_of(open_replica, broken, name="emergency"):
    """What the command line makes of it: a home that begins with who opened it."""
    replica = await open_replica(broken.glass.hcp, name)
    await replica.glass.begin(broken)
    return replica


async def test_enough_people_read_the_patient_with_all_that_is_linked_and_nothing_else(open_replica, server, chart):
    a, john = chart
    prepared = await a.glass.prepare(john, 3, 2)
    assert (prepared.shared.records, prepared.shared.failed) == (4, ())
    await a.sync(server)
    broken = await opened(server, prepared.shares[1:])
    assert (broken.glass.patient, broken.glass.owner) == (john.id, "hcp-a")
    emergency = await home_of(open_replica, broken)
    await emergency.sync(server)
    assert [each.first_name async for each in emergency.find(Patient)] == ["John"]
    assert [each.description async for each in emergency.contacts_of(john)] == ["Cough"]
    (document,) = [each async for each in emergency.documents_of(john)]
    (file,) = [each async for each in emergency.attachments_of(document)]
    assert b"".join([piece async for piece in emergency.read_attachment(file)]) == b"shadow"


async def test_the_owner_learns_at_the_next_sync_who_opened_it_and_why(open_replica, server, chart):
    a, john = chart
    phone = await open_replica("hcp-a", "phone")
    prepared = await a.glass.prepare(john, 3, 2)
    await met(server, a, phone)
    broken = await opened(server, prepared.shares[::2])
    for device in (a, phone):
        await device.sync(server)
        assert await device.glass.openings() == [broken.opened]
        alarms = [alarm for alarm in await device.alarms.all() if alarm.kind == "glass-opened"]
        assert [alarm.subject for alarm in alarms] == [broken.opened.id]
        assert WHO in alarms[0].why
        assert WHY in alarms[0].why
        rows = [row async for row in device.trail.rows(action="glass-opened")]
        assert [(row.subject, row.detail["by"], row.detail["reason"]) for row in rows] == [(broken.opened.id, WHO, WHY)]
        assert rows[0].detail["shares"] == [1, 3]
    await a.sync(server)
    assert len([row async for row in a.trail.rows(action="glass-opened")]) == 1


async def test_the_trail_of_the_emergency_begins_with_who_opened_it_and_why(open_replica, server, chart):
    a, john = chart
    prepared = await a.glass.prepare(john, 2, 2)
    await a.sync(server)
    emergency = await home_of(open_replica, await opened(server, prepared.shares))
    await emergency.sync(server)
    first = await anext(emergency.trail.rows())
    assert (first.action, first.subject, first.hcp) == ("glass-opened", john.id, prepared.glass.hcp)
    assert (first.detail["by"], first.detail["reason"]) == (WHO, WHY)


async def test_there_is_no_identity_before_the_server_has_the_evidence(server, chart):
    class Refusing(MemoryPeer):
        async def write(self, revisions, source):  # noqa: ARG002  as the port names it
            return [Refusal(each.id, each.rev, "forbidden", "no") for each in revisions]

    a, john = chart
    prepared = await a.glass.prepare(john, 2, 2)
    await a.sync(server)
    refusing = Refusing()
    for doc_id in server.all_leaves():
        for leaf in await server.leaves([doc_id]):
            refusing.put(leaf)
    with pytest.raises(Forbidden, match="does not take the evidence"):
        await opened(refusing, prepared.shares)
    await opened(server, prepared.shares)
    await opened(server, prepared.shares)  # each time leaves evidence of its own
    await a.sync(server)
    assert len(await a.glass.openings()) == 2


async def test_the_server_learns_neither_who_nor_why(server, chart):
    a, john = chart
    prepared = await a.glass.prepare(john, 2, 2)
    await a.sync(server)
    broken = await opened(server, prepared.shares)
    (leaf,) = await server.leaves([broken.opened.id])
    assert WHO.encode() not in leaf.body
    assert WHY.encode() not in leaf.body


async def test_fewer_people_and_people_of_other_sets_open_nothing(server, chart):
    a, john = chart
    prepared, other = await a.glass.prepare(john, 3, 3), await a.glass.prepare(john, 3, 3)
    await a.sync(server)
    with pytest.raises(InvalidEntity, match="2 of the 3"):
        await opened(server, prepared.shares[:2])
    with pytest.raises(InvalidEntity, match="different sets"):
        await opened(server, [*prepared.shares[:2], other.shares[2]])
    shares = await a.recovery.split(2, 2)
    with pytest.raises(InvalidEntity, match="recovery restore"):
        await opened(server, shares)
    with pytest.raises(InvalidEntity):
        await recover(server, RecoverySecret.combined(prepared.shares))
    assert await a.glass.openings() == []


async def test_what_comes_later_is_included_by_a_refresh(open_replica, server, chart):
    a, john = chart
    b = await open_replica("hcp-b")
    await met(server, a, b)
    prepared = await a.glass.prepare(john, 2, 2)
    assert (await a.glass.refresh()).records == 0
    await a.share(john, with_="hcp-b")
    await met(server, a, b)
    visit = await b.save(Contact(description="Second opinion"), patient=await b.get(Patient, john.id))
    await b.share(visit, with_="hcp-a")
    await met(server, b, a)
    assert (await a.glass.refresh()).records == 1
    assert (await a.glass.refresh()).records == 0
    await a.sync(server)
    emergency = await home_of(open_replica, await opened(server, prepared.shares))
    await emergency.sync(server)
    seen = [each.description async for each in emergency.contacts_of(await emergency.get(Patient, john.id))]
    assert sorted(seen) == ["Cough", "Second opinion"]


async def test_a_refresh_gives_nothing_back_that_a_person_has_taken(server, chart):
    a, john = chart
    prepared = await a.glass.prepare(john, 2, 2)
    (visit,) = [each async for each in a.contacts_of(john)]
    await a.revoke(visit, from_=prepared.glass.hcp)
    assert (await a.glass.refresh()).records == 0
    await a.sync(server)
    assert prepared.glass.hcp not in (await a.get(Contact, visit.id)).shared_with


async def test_withdrawn_it_opens_nothing_and_who_was_in_reads_nothing_later(open_replica, server, chart):
    a, john = chart
    prepared = await a.glass.prepare(john, 2, 2)
    await a.sync(server)
    emergency = await home_of(open_replica, await opened(server, prepared.shares))
    await emergency.sync(server)
    assert (await a.glass.withdraw(prepared.glass.hcp)).id == prepared.glass.id
    john = await a.get(Patient, john.id)
    await a.save(john.replace(note="later"))
    await a.sync(server)
    with pytest.raises(NoAccess, match="it was withdrawn"):
        await opened(server, prepared.shares)
    await emergency.sync(server)
    notes = [each.note async for each in emergency.find(Patient)]
    assert "later" not in notes
    assert await a.glass.standing() == []
    assert (await a.glass.refresh()).records == 0
    with pytest.raises(NotFound, match="see break-glass list"):
        await a.glass.withdraw(prepared.glass.hcp)


@pytest.mark.parametrize("ended", [PLANNED, COMPROMISED])
@pytest.mark.parametrize("by", ["the owner", "another"])
async def test_a_withdrawal_that_the_owner_signed_with_a_later_identity_counts(
    server, chart, identities, monkeypatch, *, ended, by
):
    a, john = chart
    prepared = await a.glass.prepare(john, 2, 2)
    await a.sync(server)
    monkeypatch.setattr(RsaPrivateKey, "generate", lambda *_: identities["hcp-b"].party_key)
    later = identities["hcp-a"].succeed(ended, system_entropy)
    if by == "another":
        later = Identity.from_private_key("hcp-a", identities["hcp-b"].party_key.pkcs8(), name="Practice A")
    stated = hcp_document.first(later)
    server.put(Revision(stated.id, (stated.rev,), dumps(stated.document)))
    (leaf,) = await server.leaves([prepared.glass.id])
    rev, tombstone = withdraw(prepared.glass.id, json.loads(leaf.body), leaf.rev, later)
    server.put(Revision(prepared.glass.id, (rev, leaf.rev), dumps(tombstone), deleted=True))
    server.put(Revision(prepared.glass.id, (Rev("2-" + "f" * 32), leaf.rev), leaf.body))  # somebody writes it again
    if by == "another":
        assert (await opened(server, prepared.shares)).glass.hcp == prepared.glass.hcp
        return
    with pytest.raises(NoAccess, match="it was withdrawn"):
        await opened(server, prepared.shares)


async def test_it_is_withdrawn_also_by_an_owner_who_has_no_access_any_more(open_replica, server, chart):
    a, _ = chart
    b = await open_replica("hcp-b")
    await met(server, a, b)
    fanny = await b.share(await b.save(Patient(first_name="Fanny")), with_="hcp-a")
    await met(server, b, a)
    prepared = await a.glass.prepare(await a.get(Patient, fanny.id), 2, 2)
    await met(server, a, b)
    await b.revoke(await b.get(Patient, fanny.id), from_="hcp-a")
    await met(server, b, a)
    assert (await a.glass.refresh()).records == 0
    await a.glass.withdraw(prepared.glass.hcp)
    await a.sync(server)
    with pytest.raises(NoAccess, match="it was withdrawn"):
        await opened(server, prepared.shares)


async def test_evidence_that_comes_after_the_end_is_read_all_the_same(open_replica, server, chart):
    a, john = chart
    phone = await open_replica("hcp-a", "phone")
    prepared = await a.glass.prepare(john, 2, 2)
    await met(server, a, phone)
    broken = await opened(server, prepared.shares)
    await a.glass.withdraw(prepared.glass.id)
    await met(server, a, phone)
    for device in (a, phone):
        assert await device.glass.openings() == [broken.opened]


async def test_evidence_that_the_server_or_another_makes_up_is_not_believed(server, chart, identities):
    a, john = chart
    prepared = await a.glass.prepare(john, 2, 2)
    await a.sync(server)
    broken = await opened(server, prepared.shares)
    (leaf,) = await server.leaves([broken.opened.id])
    genuine = json.loads(leaf.body)
    forgeries = {
        "copied": genuine,  # to another id
        "by-b": publish(DocId("glass-opened-by-b"), genuine, identities["hcp-b"])[1],
        "unknown": genuine | {"glass": "glass-x", "written": {"by": "glass-x", "signature": ""}},
        "broken": {"type": OPENED_TYPE, "delegations": {"hcp-a": []}},
    }
    for name, document in forgeries.items():
        server.put(Revision(DocId(f"glass-opened-{name}"), (Rev("1-" + "a" * 32),), dumps(document)))
    tail = Rev("2-" + "b" * 32)
    server.put(Revision(broken.opened.id, (tail, leaf.rev), leaf.body))
    other = Revision(broken.opened.id, (Rev("2-" + "c" * 32), leaf.rev), b"{}", deleted=True)
    server.put(other)
    await a.sync(server)
    assert await a.glass.openings() == []
    assert [row async for row in a.trail.rows(action="glass-opened")] == []


async def test_evidence_without_end_is_looked_at_only_so_far(server, chart, monkeypatch):
    monkeypatch.setattr("icure_sync.engine.evidence.EVIDENCE_MOST", 3)
    a, john = chart
    prepared, other = await a.glass.prepare(john, 2, 2), await a.glass.prepare(john, 2, 2)
    await a.sync(server)
    first = (await opened(server, prepared.shares)).opened
    await a.sync(server)
    for _ in range(4):
        await opened(server, prepared.shares)
    await opened(server, other.shares)
    await a.sync(server)
    found = await a.glass.openings()
    assert first in found
    assert [sum(one.hcp == glass.glass.hcp for one in found) for glass in (prepared, other)] == [3, 1]
    alarms = {alarm.subject for alarm in await a.alarms.all() if alarm.kind == "glass-opened"}
    assert alarms == {prepared.glass.hcp, *(one.id for one in found)}
    await a.sync(server)
    assert len([row async for row in a.trail.rows(action="glass-opened")]) == 4


async def test_evidence_that_is_longer_than_any_can_be_is_not_looked_at(server, chart, monkeypatch):
    monkeypatch.setattr("icure_sync.engine.evidence.BODY_MOST", 100)
    a, john = chart
    prepared = await a.glass.prepare(john, 2, 2)
    await a.sync(server)
    await opened(server, prepared.shares)
    await a.sync(server)
    assert await a.glass.openings() == []


async def test_a_glass_that_somebody_deleted_on_the_server_is_written_again(server, chart):
    a, john = chart
    prepared = await a.glass.prepare(john, 2, 2)
    await a.sync(server)
    rev = server.tree(prepared.glass.id).winner().rev
    server.put(Revision(prepared.glass.id, (Rev("2-" + "f" * 32), rev), b"{}", deleted=True))
    await a.sync(server)
    assert (await opened(server, prepared.shares)).glass.hcp == prepared.glass.hcp


async def test_a_server_cannot_put_another_in_the_owners_place(open_replica, server, chart, identities):
    a, john = chart
    prepared = await a.glass.prepare(john, 2, 2)
    await a.sync(server)
    broken = await opened(server, prepared.shares)
    impostor = Identity.from_private_key("hcp-a", identities["hcp-b"].party_key.pkcs8(), name="Practice A")
    identities["impostor"], identities["hcp-a"] = identities["hcp-a"], impostor
    try:
        false = MemoryPeer("false")
        await (await open_replica("hcp-a", "impostor")).sync(false)
    finally:
        identities["hcp-a"] = identities.pop("impostor")
    emergency = await home_of(open_replica, broken)
    await emergency.sync(false)
    assert "hcp-a" in (await emergency.status()).untrusted
    own = await emergency.save(Patient(first_name="X"))
    with pytest.raises(UntrustedKey):
        await emergency.share(own, with_="hcp-a")


def false_hcp_document(hcp_id, identities) -> Revision:
    """What a server says an Hcp's document is, whose keys it has itself."""
    impostor = Identity.from_private_key(hcp_id, identities["hcp-b"].party_key.pkcs8(), name="Emergency access")
    made = hcp_document.first(impostor)
    return Revision(made.id, (made.rev,), dumps(made.document))


async def without(server, *hidden) -> MemoryPeer:
    """What the server shows of itself, these documents hidden."""
    shown = MemoryPeer("shown")
    for doc_id in server.all_leaves().keys() - set(hidden):
        for leaf in await server.leaves([doc_id]):
            shown.put(leaf)
    return shown


@pytest.mark.parametrize("comes_first", ["the false document", "the BreakGlass document", "neither"])
async def test_no_record_is_wrapped_for_a_key_that_the_server_says_the_emergency_has(
    open_replica, server, chart, identities, comes_first
):
    a, john = chart
    prepared = await a.glass.prepare(john, 3, 2)
    await a.sync(server)
    emergency = prepared.glass.hcp
    shown = await without(server, emergency, "hcp-a", prepared.glass.id)
    parts = [[false_hcp_document(emergency, identities)], await server.leaves([prepared.glass.id])]
    if comes_first == "the BreakGlass document":
        parts.reverse()
    if comes_first == "neither":
        parts = [[*parts[0], *parts[1]]]
    phone = await open_replica("hcp-a", "phone")
    for part in parts:
        for leaf in part:
            shown.put(leaf)
        await phone.sync(shown)
    note = await phone.save(Contact(description="Note"), patient=await phone.get(Patient, john.id))
    shared = await phone.glass.refresh()
    assert shared.records == 0
    assert [each.partition(":")[0] for each in shared.failed] == [note.id]
    assert (await phone.get(Contact, note.id)).shared_with == {"hcp-a"}
    with pytest.raises(UntrustedKey):
        await phone.share(note, with_=emergency)
    for _ in range(2):
        await phone.sync(shown)
        alarms = [(alarm.kind, alarm.subject) for alarm in await phone.alarms.all()]
        assert ("untrusted-key", emergency) in alarms
        assert emergency in (await phone.status()).untrusted
    await phone.glass.withdraw(emergency)  # what the alarm asks for works
    await phone.sync(shown)
    assert await phone.glass.standing() == []


async def test_a_second_device_shares_with_the_emergency_hcp_that_its_owner_made(open_replica, server, chart):
    a, john = chart
    prepared = await a.glass.prepare(john, 2, 2)
    await a.sync(server)
    phone = await open_replica("hcp-a", "phone")
    await phone.sync(server)
    await phone.save(Contact(description="Note"), patient=await phone.get(Patient, john.id))
    assert await phone.glass.refresh() == Shared(1, ())
    await phone.sync(server)
    emergency = await home_of(open_replica, await opened(server, prepared.shares))
    await emergency.sync(server)
    assert sorted([each.description async for each in emergency.contacts_of(john)]) == ["Cough", "Note"]


async def test_only_a_patient_that_can_be_opened_gets_one(server, chart):
    a, john = chart
    (visit,) = [each async for each in a.contacts_of(john)]
    with pytest.raises(NotFound, match="it is a Contact"):
        await a.glass.prepare(visit, 2, 2)  # type: ignore[arg-type]  # what a caller may do all the same
    with pytest.raises(NotFound):
        await a.glass.prepare(Patient(id="nobody"), 2, 2)
    with pytest.raises(InvalidEntity):
        await a.glass.prepare(john, 2, 1)
    assert await a.glass.standing() == []
    assert server.all_leaves().keys() >= {john.id}


async def test_the_records_name_the_emergency_hcp_and_no_share(server, chart):
    a, john = chart
    prepared = await a.glass.prepare(john, 2, 2)
    await a.sync(server)
    rows = [row async for row in a.trail.rows(action="glass-prepared")]
    assert [(row.subject, row.detail["glass"]) for row in rows] == [(john.id, prepared.glass.hcp)]
    assert prepared.glass.hcp in (await a.get(Patient, john.id)).shared_with
    assert RecoverySecret.combined(prepared.shares).purpose is Purpose.GLASS
    assert not any(share.text in str(row) for row in rows for share in prepared.shares)
