"""Recovery: which codes and shares stand, what of them reaches the server, and what a new device makes of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from icure_sync.crypto.publishing import publish, withdraw
from icure_sync.crypto.recovery import RECOVERY_TYPE, recovery_id
from icure_sync.crypto.shares import Purpose, RecoverySecret
from icure_sync.engine.rescue import recover
from icure_sync.errors import InvalidEntity, Locked, NoAccess, NotFound, Tampered
from icure_sync.ids import DocId, Rev
from icure_sync.model import Patient
from icure_sync.replication.wire import Revision
from icure_sync.strict_json import dumps
from tests.engine.meetings import met

FORGED = Rev("2-" + "f" * 32)


def forge(server, doc_id, above, body=b"{}", *, deleted=True, rev=FORGED):
    """Whoever may write to the server puts something on a document."""
    server.put(Revision(doc_id, (rev, *server.tree(doc_id).history(above)), body, deleted))


def winner(server, doc_id):
    return server.tree(doc_id).winner()


async def test_a_device_with_nothing_but_the_code_gets_everything_back(open_replica, server):
    a = await open_replica("hcp-a")
    john = await a.save(Patient(first_name="John"))
    secret = await a.recovery.new_code()
    await a.sync(server)

    identity = await recover(server, RecoverySecret.of_code(secret.code))
    assert identity.secret() == a._keyed.identity.secret()
    again = await open_replica("hcp-a", "new")
    await again.sync(server)
    assert (await again.get(Patient, john.id)).first_name == "John"
    assert [each.id for each in await again.recovery.standing()] == [recovery_id(secret)]


async def test_shares_give_the_identity_back_and_stand_beside_the_code(open_replica, server):
    a = await open_replica("hcp-a")
    await a.recovery.new_code()
    shares = await a.recovery.split(5, 3)
    await a.sync(server)
    identity = await recover(server, RecoverySecret.combined(shares[1:4]))
    assert identity.hcp_id == "hcp-a"
    standing = await a.recovery.standing()
    assert sorted((each.split.threshold, each.split.count) if each.split else () for each in standing) == [(), (3, 5)]
    assert a.recovery.epoch == 1


async def test_a_new_code_ends_the_one_before_and_leaves_the_shares(open_replica, server):
    a = await open_replica("hcp-a")
    first = await a.recovery.new_code()
    shares = await a.recovery.split(3, 2)
    await a.sync(server)
    second = await a.recovery.new_code()
    await a.sync(server)
    with pytest.raises(NoAccess, match="it was withdrawn"):
        await recover(server, first)
    for secret in (second, RecoverySecret.combined(shares)):
        assert (await recover(server, secret)).hcp_id == "hcp-a"


async def test_shares_are_withdrawn_without_the_code(open_replica, server):
    a = await open_replica("hcp-a")
    code = await a.recovery.new_code()
    secret = RecoverySecret.combined(await a.recovery.split(3, 2))
    await a.sync(server)
    assert (await a.recovery.withdraw(recovery_id(secret))).split is not None
    await a.sync(server)
    with pytest.raises(NoAccess):
        await recover(server, secret)
    assert (await recover(server, code)).hcp_id == "hcp-a"
    with pytest.raises(NotFound, match="see recovery list"):
        await a.recovery.withdraw(recovery_id(secret))


async def test_what_was_sealed_under_a_withdrawn_code_is_gone_from_all_devices(open_replica, server):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    doc_id = recovery_id(await laptop.recovery.new_code())
    await met(server, laptop, phone)
    await phone.recovery.withdraw(doc_id)
    await met(server, phone, laptop)
    for device in (laptop, phone):
        assert await device.recovery.standing() == []
        held = await device._store.run(lambda store: store.documents.displaced(doc_id), device._store)
        assert held == ()
        leaves = await device._store.run(device._store.documents.leaves, doc_id)
        assert all(b'sealed"' not in leaf.body for leaf in leaves)


async def test_another_device_of_the_hcp_can_make_a_new_code(open_replica, server):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    first = await laptop.recovery.new_code()
    await met(server, laptop, phone)
    second = await phone.recovery.new_code()
    await met(server, phone, laptop)
    assert [each.id for each in await laptop.recovery.standing()] == [recovery_id(second)]
    with pytest.raises(NoAccess):
        await recover(server, first)


async def test_a_code_that_nobody_made_finds_nothing(open_replica, server):
    await (await open_replica("hcp-a")).sync(server)
    secret = RecoverySecret(Purpose.RECOVERY, bytes(16))
    with pytest.raises(NotFound, match="the server has nothing for this secret"):
        await recover(server, secret)
    with pytest.raises(InvalidEntity, match="break-glass open"):
        await recover(server, RecoverySecret(Purpose.GLASS, bytes(16)))


@pytest.mark.parametrize("numbers", [(1, 1), (3, 4), (33, 2)])
async def test_other_numbers_are_refused_and_nothing_is_written(open_replica, numbers):
    a = await open_replica("hcp-a")
    with pytest.raises(InvalidEntity):
        await a.recovery.split(*numbers)
    assert await a.recovery.standing() == []


async def test_a_keyless_replica_makes_no_codes(open_replica):
    keyless = await open_replica(None)
    with pytest.raises(NoAccess):
        await keyless.recovery.standing()


async def test_a_locked_replica_makes_no_codes_whoever_asked_before(open_replica):
    a = await open_replica("hcp-a")
    before = a.recovery
    await before.new_code()
    await a.lock()
    for asked in (before.new_code, before.standing, a.recovery.standing, a.glass.standing):
        with pytest.raises(Locked):
            await asked()


@pytest.mark.parametrize("deleted", [True, False])
async def test_what_somebody_did_to_the_document_on_the_server_is_undone_and_reported(open_replica, server, deleted):
    a = await open_replica("hcp-a")
    secret = await a.recovery.new_code()
    doc_id = recovery_id(secret)
    await a.sync(server)
    body = b"{}" if deleted else dumps({"type": RECOVERY_TYPE, "delegations": {"hcp-a": []}})
    forge(server, doc_id, winner(server, doc_id).rev, body, deleted=deleted)
    if deleted:
        with pytest.raises(NotFound, match="somebody deleted the document"):
            await recover(server, secret)
    await a.sync(server)
    assert (await recover(server, secret)).hcp_id == "hcp-a"
    assert [each.id for each in await a.recovery.standing()] == [doc_id]
    assert [(alarm.kind, alarm.subject) for alarm in await a.alarms.all()] == [("undone", doc_id)]
    before = winner(server, doc_id)
    await a.sync(server)
    assert winner(server, doc_id) == before


async def test_a_withdrawal_stays_whatever_else_is_on_the_server(open_replica, server):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    secret = await laptop.recovery.new_code()
    doc_id = recovery_id(secret)
    await met(server, laptop, phone)
    first = winner(server, doc_id).rev
    await laptop.recovery.withdraw(doc_id)  # and at the same time the phone mends what somebody deleted
    forge(server, doc_id, first)
    await phone.sync(server)
    assert not winner(server, doc_id).deleted
    await met(server, laptop, phone)
    assert winner(server, doc_id).deleted
    assert await phone.recovery.standing() == []
    with pytest.raises(NoAccess, match="withdrawn"):
        await recover(server, secret)


async def test_a_document_that_was_withdrawn_is_not_opened_beside_its_end(open_replica, server, identities):
    """A server that keeps both is asked for all leaves."""
    a = await open_replica("hcp-a")
    secret = await a.recovery.new_code()
    doc_id = recovery_id(secret)
    await a.sync(server)
    (leaf,) = await server.leaves([doc_id])
    document = json.loads(leaf.body)
    rev, tombstone = withdraw(doc_id, document, leaf.rev, identities["hcp-b"])
    server.put(Revision(doc_id, (rev, leaf.rev), dumps(tombstone), deleted=True))
    other, copy = publish(doc_id, document, identities["hcp-a"], Rev("1-" + "a" * 32))
    server.put(Revision(doc_id, (other,), dumps(copy)))
    assert (await recover(server, secret)).hcp_id == "hcp-a"  # another's word counts for nothing
    rev, tombstone = withdraw(doc_id, document, leaf.rev, identities["hcp-a"])
    server.put(Revision(doc_id, (rev, leaf.rev), dumps(tombstone), deleted=True))
    with pytest.raises(NoAccess, match="withdrawn"):
        await recover(server, secret)


async def test_a_document_by_somebody_else_in_the_name_of_the_hcp_is_not_listed(open_replica, server, identities):
    a = await open_replica("hcp-a")
    secret = await a.recovery.new_code()
    await a.sync(server)
    (leaf,) = await server.leaves([recovery_id(secret)])
    document = json.loads(leaf.body)
    for place, (by, identity) in enumerate({"hcp-a": "hcp-b", "hcp-b": "hcp-b"}.items()):
        doc_id = DocId(f"recovery-{place}")
        rev, forged = publish(doc_id, document, identities[identity])
        forged["written"] = {**forged["written"], "by": by}
        server.put(Revision(doc_id, (rev,), dumps(forged)))
    server.put(Revision(DocId("recovery-9"), (Rev("1-9"),), b'{"type":"Recovery","delegations":{"hcp-a":[]},"x":[1,]}'))
    await a.sync(server)
    assert [each.id for each in await a.recovery.standing()] == [recovery_id(secret)]


async def test_a_document_that_was_exchanged_on_the_server_opens_nothing(open_replica, server):
    a = await open_replica("hcp-a")
    secret, other = await a.recovery.new_code(), RecoverySecret.combined(await a.recovery.split(3, 2))
    await a.sync(server)
    body = (await server.leaves([recovery_id(other)]))[0].body
    server.remove(recovery_id(secret))
    server.put(Revision(recovery_id(secret), (Rev("1-" + "e" * 32),), body))
    with pytest.raises(Tampered):
        await recover(server, secret)


async def test_a_code_of_an_identity_that_was_changed_since_is_refused(open_replica, server):
    a = await open_replica("hcp-a")
    secret = await a.recovery.new_code()
    await a.sync(server)
    later = Revision(
        DocId("hcp-a"),
        (Rev("9-" + "c" * 32),),
        dumps({"type": "HealthcareParty", "identity": {"epoch": 2}}),
    )
    server.put(later)
    server.put(replace(later, history=(Rev("9-" + "d" * 32),), body=b'{"identity":1}'))
    server.put(replace(later, history=(Rev("9-" + "e" * 32),), body=b'{"identity":{"epoch":"3"}}'))
    with pytest.raises(NoAccess, match="was changed after this code was made"):
        await recover(server, secret)
    server.remove(DocId("hcp-a"))
    assert (await recover(server, secret)).hcp_id == "hcp-a"


async def test_the_trail_names_what_was_made_and_withdrawn_and_no_code(open_replica):
    a = await open_replica("hcp-a")
    first, second = await a.recovery.new_code(), await a.recovery.new_code()
    await a.recovery.recovered([2, 3])
    rows = [row async for row in a.trail.rows() if row.action.startswith("recover")]
    assert [(row.action, row.subject) for row in rows] == [
        ("recovery-made", recovery_id(first)),
        ("recovery-made", recovery_id(second)),
        ("recovery-withdrawn", recovery_id(first)),
        ("recovered", "hcp-a"),
    ]
    assert rows[3].detail == {"shares": [2, 3]}
    assert not any(
        secret.value.hex() in str(row) or secret.code in str(row) for row in rows for secret in (first, second)
    )


async def test_a_server_that_cannot_be_read_as_json_is_as_one_that_has_nothing(server):
    secret = RecoverySecret(Purpose.RECOVERY, bytes(16))
    for place, body in enumerate((b"[1,", b"[]")):
        server.put(Revision(recovery_id(secret), (Rev(f"1-{place}"),), body))
    with pytest.raises(NotFound, match="the server has nothing"):
        await recover(server, secret)
