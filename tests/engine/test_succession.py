"""Revoking devices: what a lost one has opens nothing that comes later, and the others get the new identity."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
import pytest_asyncio

from icure_sync import strict_json
from icure_sync.crypto import sealing
from icure_sync.crypto.access import Subject
from icure_sync.crypto.comparison import comparison
from icure_sync.crypto.devices import DeviceKeys
from icure_sync.crypto.envelope import from_text
from icure_sync.crypto.handover import Handover, hand_over
from icure_sync.crypto.hcp_keys import HcpKey, wrapped_keys
from icure_sync.crypto.identity import COMPROMISED, Identity
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.party import Party
from icure_sync.crypto.primitives import RsaPrivateKey, SymmetricKey
from icure_sync.crypto.publishing import publish
from icure_sync.crypto.sealed_to import open_from
from icure_sync.crypto.shares import RecoverySecret
from icure_sync.engine import succession
from icure_sync.engine.opening import Opener
from icure_sync.engine.published import Published
from icure_sync.engine.replica import Replica, replica_over
from icure_sync.engine.rescue import break_glass, recover
from icure_sync.errors import InvalidEntity, NoAccess, NotFound, Tampered, UnsupportedSuite, UntrustedKey
from icure_sync.model import Hcp, Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Revision
from icure_sync.store import Store
from tests.engine.meetings import met
from tests.keys import PARTY_KEYS, A, B, identity, seeded

DATABASE_KEY = bytes(range(32))  # test only
RSA = ("hcp-a, epoch 2", "hcp-b", "hcp-c")  # of later epochs, one after the other


@dataclass
class Clinic:
    """The devices of A, and one of B; each may be opened again, with any identity."""

    folder: Path
    stack: AsyncExitStack
    server: MemoryPeer = field(default_factory=lambda: MemoryPeer("clinic"))
    stores: dict[str, Store] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.db"

    def close(self, name: str) -> None:
        if name in self.stores:
            self.stores.pop(name).close()

    async def opened(self, name: str, one: Identity, **options: Any) -> Replica:
        self.close(name)
        store = self.stores[name] = Store.open(self.path(name), DATABASE_KEY)
        self.stack.callback(store.close)
        return await store.run(replica_over, store, one, **options)


@pytest.fixture(autouse=True)
def quick_keys() -> Iterator[None]:
    """Making an RSA key takes seconds."""
    drawn = iter([RsaPrivateKey(bytes.fromhex(PARTY_KEYS[name])) for name in (*RSA, *RSA)])
    with patch.object(RsaPrivateKey, "generate", lambda _: next(drawn)):
        yield


@pytest_asyncio.fixture
async def clinic(tmp_path: Path) -> AsyncIterator[Clinic]:
    async with AsyncExitStack() as stack:
        yield Clinic(tmp_path, stack)


@dataclass
class Four:
    """A's desk, phone and laptop (which is lost), and B's desk; all know one another."""

    clinic: Clinic
    desk: Replica
    phone: Replica
    lost: Replica
    b: Replica

    async def met(self) -> None:
        await met(self.clinic.server, self.desk, self.phone, self.b)


@pytest_asyncio.fixture
async def four(clinic: Clinic) -> Four:
    desk, phone, lost = [await clinic.opened(name, identity(A)) for name in ("desk", "phone", "lost")]
    b = await clinic.opened("b", identity(B))
    await met(clinic.server, desk, phone, lost, b)
    return Four(clinic, desk, phone, lost, b)


async def on(replica: Replica, call: Callable[..., Any], *given: Any) -> Any:
    return await replica._store.run(call, *given)


def own(replica: Replica) -> Identity:
    return replica._keyed.identity


async def alarms(replica: Replica) -> list[str]:
    return [each.kind for each in await replica.alarms.all() if each.dismissed is None]


async def names(replica: Replica) -> set[str]:
    return {each.first_name async for each in replica.find(Patient)}


async def confirmed(replica: Replica, other: Replica) -> None:
    """The person at `replica` has compared A's new identity."""
    standing = replica._keyed.parties.standing(A)
    assert [each.signing_key for each in standing.claims] == [own(other).signing_key.public]
    number = comparison(replica._keyed.parties.own, standing.claims[0])
    await replica.acquaintances.confirm(A, number)


async def shared(replica: Replica, name: str, *others: str) -> Patient:
    patient = await replica.save(Patient(first_name=name, note="before"))
    for other in others:
        patient = await replica.share(patient, with_=other)
    return patient


# What the lost device has


async def opened_with(keyring: Any, revisions: dict[str, list[bytes]]) -> list[str]:
    """Ids of documents of which anything sealed opens with these keys."""
    found = []
    for doc_id, bodies in revisions.items():
        for body in bodies:
            document = msgspec.json.decode(body)
            if "encryptedSelf" in document:
                try:
                    sealing.open_body(Subject.of(doc_id, document), document, keyring)
                except NoAccess:
                    continue
                found.append(doc_id)
    return found


async def everything_that_opens(lost: Replica, server: MemoryPeer, *others: Replica) -> Keyring:
    """All Hcp keys that a thief comes to, who believes everybody: with what is in the file of the lost device, and with
    every wrapped key on the server and on all other devices."""
    keyring = Keyring(own(lost), await on(lost, lost._store.hcp_keys.all))
    tried = 0
    bodies = [(leaf.id, leaf.body) for leaf in await server.leaves([A, B]) if isinstance(leaf, Revision)]
    for replica in others:
        for hcp_id in (A, B):
            held = await on(replica, replica._store.documents.held_leaves, hcp_id)
            bodies += [(hcp_id, each.revision.body) for each in held]
    for hcp_id, body in bodies:
        for wrapped in wrapped_keys(hcp_id, msgspec.json.decode(body)):
            tried += 1
            for party_key in (own(lost).party_key, *(each.party_key for each in own(lost).former)):
                for ciphertext in wrapped.ciphertexts:
                    with suppress(Tampered, ValueError):
                        key = SymmetricKey(party_key.decrypt(from_text(ciphertext)))
                        keyring.add(HcpKey(wrapped.owner, wrapped.delegate, wrapped.kid, key))
    assert tried > len(keyring)
    device = lost._keyed.device_heads.own
    for leaf in await server.leaves([f"handover-{A}-2-{each.device}" for each in others]):
        if isinstance(leaf, Revision):
            for name, sealed in msgspec.json.decode(leaf.body)["sealed"].items():
                with pytest.raises(Tampered):
                    open_from(device.keys.exchange, from_text(sealed), "handover", leaf.id, name)
    return keyring


async def test_what_a_revoked_device_has_opens_nothing_that_is_written_later(four: Four):
    desk, lost, b = four.desk, four.lost, four.b
    john, mary = await shared(desk, "John", B), await shared(b, "Mary", A)
    await met(four.clinic.server, desk, lost, b)
    assert await names(lost) == {"John", "Mary"}
    await desk.devices.revoke([lost.device])
    await four.met()
    with pytest.raises(UntrustedKey):
        await b.share(await b.save(Patient(first_name="Jane")), with_=A)
    await confirmed(b, desk)
    written = [
        await desk.save((await desk.get(Patient, john.id)).replace(note="later")),
        await desk.save(Patient(first_name="New")),
        await shared(desk, "For B", B),
        await b.save((await b.get(Patient, mary.id)).replace(note="later")),
        await shared(b, "By B", A),
        await b.share(await b.get(Patient, (await shared(b, "Late", A)).id), with_=A),
    ]
    await four.met()
    revisions: dict[str, list[bytes]] = {}
    for replica, entity in zip((desk, desk, desk, b, b, b), written, strict=True):
        held = await on(replica, replica._store.documents.get, entity.id, entity.rev)
        revisions.setdefault(entity.id, []).append(held.body)
    keys = await everything_that_opens(lost, four.clinic.server, desk, b)
    assert await opened_with(keys, revisions) == []
    assert len(await opened_with(desk._keyed.parties.keyring, revisions)) == len(written)
    # and by its own program, with all that a server gives it
    await lost.sync(four.clinic.server)
    assert await opened_with(lost._keyed.parties.keyring, revisions) == []
    assert await names(lost) == {"John", "Mary"}
    assert {(await lost.get(Patient, each.id)).note for each in (john, mary)} == {"before"}
    assert await names(b) >= {"John", "Mary", "For B", "By B", "Late"}
    assert await names(desk) == {"John", "Mary", "New", "For B", "By B", "Late"}


async def test_a_revoked_device_writes_on_and_nobody_believes_it(four: Four):
    desk, lost, b = four.desk, four.lost, four.b
    john = await shared(desk, "John", B)
    await met(four.clinic.server, desk, lost, b)
    head = await on(desk, desk._store.device_heads.get, lost.device)
    await desk.devices.revoke([lost.device])
    await four.met()
    await confirmed(b, desk)
    await lost.save((await lost.get(Patient, john.id)).replace(note="by a thief"))
    await shared(lost, "Forged", B)
    await lost.sync(four.clinic.server)
    await four.met()
    for replica in (desk, b):
        assert (await replica.get(Patient, john.id)).note == "before"
        assert await names(replica) == {"John"}
    assert await on(desk, desk._store.device_heads.get, lost.device) == head


async def test_the_old_recovery_code_gives_nothing_back_and_the_new_one_the_new_identity(four: Four):
    desk, server = four.desk, four.clinic.server
    before = await desk.recovery.new_code()
    shares = await desk.recovery.split(3, 2)
    await desk.sync(server)
    made = await desk.devices.revoke([four.lost.device])
    await desk.sync(server)
    for secret in (before, type(before).combined(shares[:2])):
        with pytest.raises(NoAccess):
            await recover(server, secret)
    assert made.code is not None
    assert (await recover(server, made.code)).secret() == own(desk).secret()
    assert [each.epoch for each in await desk.recovery.standing()] == [2]


async def test_an_emergency_access_is_made_anew_and_opens_what_is_written_later(four: Four):
    desk, server = four.desk, four.clinic.server
    john = await shared(desk, "John")
    old = await desk.glass.prepare(john, 3, 2)
    await desk.sync(server)
    await desk.devices.revoke([four.lost.device])
    (standing,) = await desk.glass.standing()
    await desk.glass.withdraw(standing.hcp)
    new = await desk.glass.prepare(await desk.get(Patient, john.id), 3, 2)
    await desk.save((await desk.get(Patient, john.id)).replace(note="later"))
    await desk.sync(server)
    with pytest.raises(NoAccess):
        await break_glass(server, RecoverySecret.combined(old.shares[:2]), old.shares[:2], by="B", reason="?", time=1)
    shares = new.shares[:2]
    broken = await break_glass(server, RecoverySecret.combined(shares), shares, by="B", reason="?", time=1)
    emergency = await four.clinic.opened("emergency", broken.identity)
    await emergency.glass.begin(broken)
    await emergency.sync(server)
    assert (await emergency.get(Patient, john.id)).note == "later"


async def test_what_a_device_that_stays_published_under_the_old_identity_stays_withdrawn(four: Four):
    desk, phone, server = four.desk, four.phone, four.clinic.server
    before = await desk.recovery.new_code()
    await met(server, desk, phone)
    made = await desk.devices.revoke([four.lost.device])
    await desk.sync(server)
    await phone.sync(server)
    assert "undone" not in await alarms(phone)
    late = await phone.recovery.new_code()
    await phone.sync(server)
    await phone.devices.adopt(made.number)
    await four.met()
    for replica in (desk, phone):
        assert [each.epoch for each in await replica.recovery.standing()] == [2]
    for secret in (before, late):
        with pytest.raises(NoAccess):
            await recover(server, secret)


# The devices that stay


async def test_a_device_that_stays_is_told_works_on_and_takes_over_by_a_person_s_word(four: Four):
    desk, phone, b = four.desk, four.phone, four.b
    john = await shared(desk, "John", B)
    await four.met()
    made = await desk.devices.revoke([four.lost.device])
    await desk.sync(four.clinic.server)
    await phone.sync(four.clinic.server)
    assert own(phone).epoch == 1
    assert "new-identity" in await alarms(phone)
    assert A in (await phone.status()).untrusted
    (offer,) = await phone.devices.offers()
    assert (offer.device, offer.revoked, offer.is_for_this) == (desk.device, (four.lost.device,), True)
    assert offer.number == made.number
    await phone.save((await phone.get(Patient, john.id)).replace(note="by the phone"))
    await phone.save(Patient(first_name="Jane"))
    await desk.save((await desk.get(Patient, john.id)).replace(last_name="Keats"))
    await four.met()
    await confirmed(b, desk)
    taken = await phone.devices.adopt(offer.number)
    assert (taken.number, taken.code, taken.revoked) == (made.number, None, (four.lost.device,))
    assert own(phone).secret() == own(desk).secret()
    await phone.devices.kept()
    assert await phone.devices.succession() is None
    await four.met()
    assert "new-identity" not in await alarms(phone)
    assert await phone.devices.offers() == []
    for replica in (desk, phone, b):
        shown = await replica.get(Patient, john.id)
        assert (shown.note, shown.last_name) == ("by the phone", "Keats")
    assert await names(desk) == await names(phone) == {"John", "Jane"}
    assert {(each.id, each.is_revoked) for each in await phone.devices.all()} == {
        (phone.device, False),
        (desk.device, False),
        (four.lost.device, True),
    }


async def test_what_the_old_key_signs_after_the_handover_is_believed_of_this_device_alone(four: Four):
    desk, phone, lost = four.desk, four.phone, four.lost
    john = await shared(desk, "John")
    await met(four.clinic.server, desk, phone, lost)
    await desk.devices.revoke([lost.device])
    await met(four.clinic.server, desk, phone)
    await lost.save((await lost.get(Patient, john.id)).replace(note="by a thief"))
    await lost.save(Patient(first_name="Forged"))
    await lost.sync(four.clinic.server)
    await phone.sync(four.clinic.server)
    await phone.save(Patient(first_name="Jane"))
    assert await names(phone) == {"John", "Jane"}
    await phone.devices.adopt((await phone.devices.offers())[0].number)
    await four.met()
    for replica in (desk, phone):
        assert await names(replica) == {"John", "Jane"}
        assert (await replica.get(Patient, john.id)).note == "before"


@pytest.mark.parametrize("stops", [False, True])
async def test_a_profile_that_comes_with_the_handover_is_not_believed(four: Four, *, stops: bool):
    """The server holds the new Hcp document back. Or the device stops before it looks at what came."""
    desk, phone, lost, server = four.desk, four.phone, four.lost, four.clinic.server
    await desk.devices.revoke([lost.device])
    await desk.sync(server)
    await lost.save((await lost.get(Hcp, A)).replace(name="Another practice"))
    brought = MemoryPeer("what the server gives")
    for replica, begin in ((lost, A), (desk, "handover-")):
        for doc_id in [
            each.id for each in await on(replica, replica._store.documents.ids) if each.id.startswith(begin)
        ]:
            for leaf in await on(replica, replica._store.documents.leaves, doc_id):
                brought.put(leaf)
                if stops:
                    await on(phone, phone._store.documents.apply, [leaf])
    if stops:
        phone = four.phone = await four.clinic.opened("phone", identity(A))
    else:
        await phone.pull(brought)
    assert (await phone.get(Hcp, A)).name == "Practice A"
    await phone.devices.adopt((await phone.devices.offers())[0].number)
    await four.met()
    for replica in (desk, phone):
        assert (await replica.get(Hcp, A)).name == "Practice A"


async def test_what_nobody_had_looked_at_is_vouched_for_and_stays_readable(four: Four):
    desk, phone, lost, server = four.desk, four.phone, four.lost, four.clinic.server
    await shared(lost, "By the lost one", B)
    await met(server, lost, desk, phone)
    await shared(lost, "Known to the phone alone")
    await met(server, lost, phone)
    made = await desk.devices.revoke([lost.device])
    await desk.sync(server)
    await phone.sync(server)
    phone = four.phone = await four.clinic.opened("phone", identity(A))
    assert await names(phone) == {"By the lost one", "Known to the phone alone"}
    await phone.devices.adopt(made.number)
    await four.met()
    await confirmed(four.b, desk)
    await four.met()
    assert await names(desk) == await names(phone) == {"By the lost one", "Known to the phone alone"}
    assert await names(four.b) == {"By the lost one"}


async def test_a_device_that_was_killed_as_it_learnt_of_a_handover_knows_what_it_had(four: Four):
    phone, server = four.phone, four.clinic.server
    await shared(four.desk, "John")
    await met(server, four.desk, phone)
    await four.desk.devices.revoke([four.lost.device])
    await four.desk.sync(server)
    with patch.object(Opener, "try_open", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        await phone.sync(server)
    phone = await four.clinic.opened("phone", identity(A))
    assert await names(phone) == {"John"}
    assert len(await phone.devices.offers()) == 1


async def test_another_number_takes_nothing_over(four: Four):
    with pytest.raises(UntrustedKey, match="there is none"):
        await four.phone.devices.adopt("1" * 60)
    await four.desk.devices.revoke([four.lost.device])
    await four.met()
    with pytest.raises(UntrustedKey, match="has that number"):
        await four.phone.devices.adopt("1" * 60)
    assert own(four.phone).epoch == 1


async def test_a_device_that_missed_several_takes_them_over_one_after_the_other(four: Four):
    desk, phone = four.desk, four.phone
    tablet = await four.clinic.opened("tablet", identity(A))
    await met(four.clinic.server, tablet, desk)
    first = await desk.devices.revoke([four.lost.device])
    await desk.devices.kept()
    second = await desk.devices.revoke([tablet.device])
    await desk.save(Patient(first_name="John"))
    await desk.sync(four.clinic.server)
    await phone.sync(four.clinic.server)
    for made in (first, second):
        (offer,) = await phone.devices.offers()
        assert offer.number == made.number
        await phone.devices.adopt(offer.number)
    assert own(phone).secret() == own(desk).secret()
    await phone.sync(four.clinic.server)
    assert await names(phone) == {"John"}
    await tablet.sync(four.clinic.server)
    out = await tablet.devices.shut_out()
    assert out is not None
    assert out.device == desk.device


async def test_a_device_that_was_not_known_is_told_that_it_must_be_paired_anew(four: Four):
    late = await four.clinic.opened("late", identity(A))
    await four.desk.devices.revoke([four.lost.device])
    await four.desk.sync(four.clinic.server)
    await late.sync(four.clinic.server)
    (offer,) = await late.devices.offers()
    assert not offer.is_for_this
    with pytest.raises(NoAccess, match="not given to this device"):
        await late.devices.adopt(offer.number)
    assert await late.devices.shut_out() is None


# Interrupted


async def test_whoever_opens_the_replica_after_it_was_begun_completes_it(four: Four):
    desk = four.desk
    await shared(desk, "John", B)
    with (
        patch.object(succession, "complete", side_effect=KeyboardInterrupt),
        patch("icure_sync.engine.replica.complete", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        await desk.devices.revoke([four.lost.device])
    for again in (1, 2):  # with the identity before; the second time it is all there
        desk = four.desk = await four.clinic.opened("desk", identity(A))
        assert (own(desk).epoch, again) == (2, again)
    begun = await desk.devices.succession()
    assert begun is not None
    assert begun.identity is not None
    assert (begun.revoked, begun.is_written) == ((four.lost.device,), True)
    assert begun.identity.secret() == own(desk).secret()
    await four.met()
    assert [each.number for each in await four.phone.devices.offers()] == [begun.number]
    await desk.devices.shown()  # too early: the identity is not kept
    await desk.devices.kept()
    kept = await desk.devices.succession()
    assert kept is not None
    assert (kept.identity, kept.code, kept.number) == (None, begun.code, begun.number)
    desk = await four.clinic.opened("desk", begun.identity)
    await desk.devices.shown()
    assert await desk.devices.succession() is None
    await desk.devices.kept()  # nothing is left to do
    assert await names(desk) == {"John"}
    with pytest.raises(UntrustedKey, match="newest identity"):
        await four.clinic.opened("desk", identity(A))


async def test_what_fails_on_the_way_leaves_all_or_nothing(four: Four):
    desk, server = four.desk, four.clinic.server
    await shared(desk, "John", B)
    await desk.sync(server)
    before = await on(desk, desk._store.documents.update_seq)
    with patch.object(Published, "withdraw", side_effect=OSError), patch.object(Published, "publish") as published:
        published.side_effect = OSError("full")
        with pytest.raises(OSError, match="full"):
            await desk.devices.revoke([four.lost.device])
    assert await on(desk, desk._store.documents.update_seq) == before
    assert own(desk).epoch == 1
    await desk.save(Patient(first_name="Jane"))  # it works on
    begun = await desk.devices.succession()
    assert begun is not None
    assert begun.identity is not None
    await desk.unlock(identity(A))
    assert own(desk).secret() == begun.identity.secret()
    await desk.sync(server)
    await four.phone.sync(server)
    await four.phone.devices.adopt(begun.number)
    await four.met()
    assert await names(four.phone) == {"John", "Jane"}


async def test_a_replica_that_may_not_be_written_opens_with_what_there_is(four: Four):
    made = await four.desk.devices.revoke([four.lost.device])
    four.clinic.close("desk")
    path = four.clinic.path("desk")
    path.chmod(0o400)
    try:
        with patch("icure_sync.store.store.is_writable", return_value=False):
            desk = await four.clinic.opened("desk", identity(A))
        assert own(desk).epoch == 2
        assert made.identity is not None
        assert own(desk).secret() == made.identity.secret()
    finally:
        path.chmod(0o600)


# Who may be revoked


async def test_what_cannot_be_revoked_changes_nothing(four: Four):
    desk, lost = four.desk, four.lost
    with pytest.raises(InvalidEntity, match="no device"):
        await desk.devices.revoke([])
    with pytest.raises(InvalidEntity, match="this device itself"):
        await desk.devices.revoke([desk.device])
    with pytest.raises(NotFound, match="no device"):
        await desk.devices.revoke(["00" * 8])
    with pytest.raises(NotFound, match="no device"):
        await desk.devices.revoke([four.b.device])
    assert own(desk).epoch == 1
    await desk.devices.revoke([lost.device])
    with pytest.raises(InvalidEntity, match="revoked already"):
        await desk.devices.revoke([lost.device])
    await four.met()
    tablet = await four.clinic.opened("tablet", own(desk))
    await tablet.sync(four.clinic.server)
    with pytest.raises(InvalidEntity, match="take it over first"):
        await four.phone.devices.revoke([tablet.device, lost.device][1:])


async def test_other_software_s_databases_have_no_devices_to_revoke(clinic: Clinic):
    classic = await clinic.opened("classic", identity(A), suites=["icure-classic"])
    assert await classic.devices.offers() == []
    assert await classic.devices.shut_out() is None
    for call in (classic.devices.revoke(["00" * 8]), classic.devices.adopt("1"), classic.devices.all()):
        with pytest.raises(UnsupportedSuite):
            await call


# The word that a device is shut out


async def test_the_revoked_device_learns_it_and_no_other(four: Four):
    made = await four.desk.devices.revoke([four.lost.device])
    assert await four.lost.devices.shut_out() is None
    await met(four.clinic.server, four.desk, four.phone, four.lost, four.b)
    out = await four.lost.devices.shut_out()
    assert out is not None
    assert (out.device, out.number) == (four.desk.device, made.number)
    assert "device-revoked" in await alarms(four.lost)
    assert await four.lost.devices.offers() == []
    for replica in (four.desk, four.phone, four.b):
        assert await replica.devices.shut_out() is None
    again = await four.clinic.opened("lost", identity(A))
    assert await again.devices.shut_out() == out


def forged(
    former: Identity, following: Identity, device: str, keys: DeviceKeys, revoked: str
) -> tuple[Any, Any, dict[str, Any]]:
    return hand_over(former, following, device, keys, revoked=[revoked], remaining={}, entropy=seeded("forged"))


async def put(server: MemoryPeer, doc_id: Any, rev: Any, document: dict[str, Any]) -> None:
    server.put(Revision(doc_id, (rev,), strict_json.dumps(document)))


async def test_a_forged_word_is_none(four: Four):
    """By the server, by another Hcp, with a signature lacking, or by the device itself."""
    server, phone, lost = four.clinic.server, four.phone, four.lost
    mine, theirs = identity(A), identity(B)
    following = mine.succeed(COMPROMISED, seeded("following"))
    stranger = DeviceKeys.draw(seeded("stranger"))
    desk, laptop = four.desk._keyed.device_heads.own, lost._keyed.device_heads.own
    lies = [
        forged(theirs, following, desk.device, stranger, phone.device),  # not signed by the identity that ends
        forged(mine, following, desk.device, stranger, phone.device),  # not by the device that it names
        forged(mine, following, phone.device, phone._keyed.device_heads.own.keys, lost.device),
    ]
    doc_id, _, document = forged(mine, following, laptop.device, laptop.keys, phone.device)
    lies[2] = (doc_id, *publish(doc_id, document, theirs))  # not by the identity that begins
    for doc_id, rev, document in lies:
        await put(server, doc_id, rev, document)
    await phone.sync(server)
    assert await phone.devices.shut_out() is None
    assert await phone.devices.offers() == []
    assert "tampered" in await alarms(phone)
    own_word = forged(mine, following, phone.device, phone._keyed.device_heads.own.keys, four.desk.device)
    await put(server, *own_word)
    await phone.sync(server)
    assert await phone.devices.shut_out() is None


async def test_a_device_does_not_shut_itself_out(four: Four):
    """Its copy made the word, or somebody who has its keys."""
    mine = identity(A)
    following = mine.succeed(COMPROMISED, seeded("following"))
    keys = four.phone._keyed.device_heads.own.keys
    made = forged(mine, following, four.phone.device, keys, four.phone.device)
    with pytest.raises(Tampered):
        Handover.of(*made, Party.of_identity(mine))
    await put(four.clinic.server, *made)
    await four.phone.sync(four.clinic.server)
    assert await four.phone.devices.shut_out() is None


async def test_if_two_devices_revoke_each_other_people_decide(four: Four):
    desk, lost, server = four.desk, four.lost, four.clinic.server
    made = await desk.devices.revoke([lost.device])
    thief = await lost.devices.revoke([desk.device, four.phone.device])
    await desk.sync(server)
    await lost.sync(server)
    phone = four.phone
    await phone.sync(server)
    assert await phone.devices.shut_out() is None
    assert [each.number for each in await phone.devices.offers()] == [made.number]
    await phone.devices.adopt(made.number)
    assert made.number != thief.number
    for replica in (desk, lost):
        assert await replica.devices.shut_out() is None
    await four.met()
    assert own(phone).secret() == own(desk).secret()


async def test_a_person_can_revoke_the_device_that_made_an_identity_he_does_not_want(four: Four):
    desk, lost, server = four.desk, four.lost, four.clinic.server
    await lost.devices.revoke([desk.device])
    await lost.sync(server)
    await four.phone.sync(server)
    made = await four.phone.devices.revoke([lost.device])
    await four.phone.sync(server)
    await desk.sync(server)
    assert await desk.devices.shut_out() is None
    await desk.devices.adopt(made.number)
    assert own(desk).secret() == own(four.phone).secret()


# Records that go on


async def test_a_handover_that_somebody_deletes_is_written_again(four: Four):
    desk, server = four.desk, four.clinic.server
    made = await desk.devices.revoke([four.lost.device])
    await desk.sync(server)
    doc_id = f"handover-{A}-2-{desk.device}"
    (leaf,) = await server.leaves([doc_id])
    server.put(Revision(leaf.id, ("2-" + "0" * 32, *leaf.history), b'{"delegations":{"hcp-a":[]}}', deleted=True))
    await desk.sync(server)
    await four.phone.sync(server)
    assert [each.number for each in await four.phone.devices.offers()] == [made.number]


async def test_the_trail_says_who_was_shut_out_and_what_was_taken_over(four: Four):
    await four.desk.devices.revoke([four.lost.device])
    await four.met()
    await four.phone.devices.adopt((await four.phone.devices.offers())[0].number)
    for replica, action in ((four.desk, "devices-revoked"), (four.phone, "taken-over")):
        (row,) = [row async for row in replica.trail.rows(action=action)]
        assert (row.subject, row.detail) == (A, {"devices": [four.lost.device], "epoch": 2})
