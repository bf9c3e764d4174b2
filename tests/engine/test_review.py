"""What is left to a person: fields with several values, who wrote them, leaves of those who are out; settling it."""

from __future__ import annotations

import json

import pytest

from icure_sync import Conflict, Identity, Reason
from icure_sync.engine.replica import Replica
from icure_sync.errors import InvalidEntity, NotFound, StaleRevision, Tampered
from icure_sync.ids import generation
from icure_sync.model import Address, Contact, Hcp, Patient, Service
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Revision
from tests.crypto.classic_clinic import A, vectors

VECTORS = vectors()


@pytest.fixture
def server() -> MemoryPeer:
    return MemoryPeer("clinic")


async def met(server: MemoryPeer, *replicas: Replica) -> None:
    for replica in (*replicas, *replicas):
        await replica.sync(server)


async def leaves(replica: Replica, doc_id: str) -> list[str]:
    tree = await replica._store.run(replica._store.documents.tree, doc_id)
    return [leaf.rev for leaf in tree.leaves() if not leaf.deleted]


async def listed(replica: Replica) -> list[Conflict]:
    """What is listed, which the counts agree with."""
    found = [each async for each in replica.conflicts()]
    assert (await replica.status()).conflicts == len(found)
    return found


async def disputed(open_replica, server: MemoryPeer) -> tuple[Replica, Replica, Patient]:
    """Two devices of A wrote one note without seeing each other, and have met."""
    laptop = await open_replica("hcp-a", "laptop", clock=lambda: 1_000)
    phone = await open_replica("hcp-a", "phone", clock=lambda: 2_000)
    john = await laptop.save(Patient(first_name="John"))
    await met(server, laptop, phone)
    await laptop.save(john.replace(note="laptop"))
    await phone.save(john.replace(note="phone", last_name="Keats"))
    await met(server, laptop, phone)
    return laptop, phone, john


async def test_a_field_written_concurrently_is_listed_with_who_wrote_what_and_when(open_replica, server):
    laptop, phone, john = await disputed(open_replica, server)
    (conflict,) = await listed(laptop)
    assert [conflict] == await listed(phone)
    assert (await laptop.sync(server)).conflicts == 1
    assert (conflict.id, conflict.type, conflict.entity) == (john.id, "Patient", await laptop.get(Patient, john.id))
    assert (conflict.standing, conflict.versions, len(conflict.leaves)) == ((), 2, 1)
    (field,) = conflict.fields
    assert (field.path, field.name) == (("note",), "note")
    found = {each.value: (each.hcp, each.device, each.time) for each in (field.shown, *field.alternatives)}
    assert found == {"laptop": ("hcp-a", laptop.device, 1_000), "phone": ("hcp-a", phone.device, 2_000)}
    assert field.shown.value == conflict.entity.note


async def test_edits_that_merge_by_themselves_are_not_listed(open_replica, server):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    john = await laptop.save(Patient(first_name="John"))
    await met(server, laptop, phone)
    await laptop.save(john.replace(note="laptop"))
    await phone.save(john.replace(last_name="phone"))
    await met(server, laptop, phone)
    assert await listed(laptop) == await listed(phone) == []


@pytest.mark.parametrize("which", ["shown", "other", "new"])
async def test_settling_a_field_is_one_write_that_every_device_shows(open_replica, server, which):
    laptop, phone, john = await disputed(open_replica, server)
    (conflict,) = await listed(laptop)
    field = conflict.fields[0]
    choice = {"shown": field.shown, "other": field.alternatives[0], "new": "both"}[which]
    settled = await laptop.resolve(conflict, {"note": choice})
    wanted = choice if which == "new" else choice.value
    assert (settled.note, settled.alternatives, settled.last_name) == (wanted, {}, "Keats")
    await met(server, laptop, phone)
    assert await phone.get(Patient, john.id) == settled
    assert await listed(laptop) == await listed(phone) == []


async def test_what_is_shown_can_be_kept_everywhere_and_a_lone_field_settled_by_its_value(open_replica, server):
    laptop, phone, john = await disputed(open_replica, server)
    shown = (await laptop.get(Patient, john.id)).note
    assert (await laptop.resolve(john.id)).note == shown
    (conflict,) = await listed(phone)
    assert (await phone.resolve(conflict, "phone again")).note == "phone again"
    await met(server, laptop, phone)
    (again,) = await listed(laptop)
    assert {again.fields[0].shown.value, again.fields[0].alternatives[0].value} == {shown, "phone again"}


async def test_values_that_came_after_the_look_are_not_settled_unseen(open_replica, server):
    laptop, phone, john = await disputed(open_replica, server)
    (conflict,) = await listed(laptop)
    await phone.save((await phone.get(Patient, john.id)).replace(note="later"))
    await met(server, phone, laptop)
    with pytest.raises(StaleRevision):
        await laptop.resolve(conflict, {"note": "too late"})


@pytest.mark.parametrize(
    ("choices", "wrong"),
    [
        ({"gender": "male"}, "gender is not in dispute"),
        ({("services", "x"): None}, "services/x is not in dispute"),
        ({}, "no field is named"),
        ({"note": 5}, "note"),
    ],
)
async def test_what_is_not_in_dispute_cannot_be_settled(open_replica, server, choices, wrong):
    laptop, _, john = await disputed(open_replica, server)
    with pytest.raises(InvalidEntity, match=wrong):
        await laptop.resolve(john.id, choices)
    assert len(await listed(laptop)) == 1
    await laptop.resolve(john.id)
    with pytest.raises(InvalidEntity, match="nothing in it is in dispute"):
        await laptop.resolve(john.id)


async def test_a_service_is_settled_as_a_record_and_two_fields_one_after_the_other(open_replica, server):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    john = await laptop.save(Patient(first_name="John"))
    visit = await laptop.save(Contact(description="visit", services=[Service(label="weight")]), patient=john)
    await met(server, laptop, phone)
    (weight,) = visit.services
    await laptop.save(visit.replace(services=[weight.replace(label="70 kg")], description="laptop"))
    await phone.save(visit.replace(services=[], description="phone"))
    await met(server, laptop, phone)
    conflict = await laptop.conflict_of(visit)
    fields = {each.name: each for each in conflict.fields}
    assert set(fields) == {"description", f"services/{weight.id}"}
    service = fields[f"services/{weight.id}"]
    assert {each.value for each in (service.shown, *service.alternatives)} == {None, weight.replace(label="70 kg")}
    with pytest.raises(InvalidEntity, match="say which value"):
        await laptop.resolve(visit.id, "both")
    settled = await laptop.resolve(conflict, {service.path: Service(label="71 kg")})
    assert settled.services == (weight.replace(label="71 kg"),)
    assert set(settled.alternatives) == {"description"}
    settled = await laptop.resolve(settled, {"description": "both"})
    assert (settled.description, settled.alternatives) == ("both", {})
    await met(server, laptop, phone)
    assert await phone.get(Contact, visit.id) == settled


@pytest.mark.parametrize("gone", [True, False])
async def test_a_deletion_that_had_not_seen_an_edit_is_decided(open_replica, server, gone):
    laptop, phone, john = await disputed(open_replica, server)
    john = await laptop.resolve(john.id)
    await met(server, laptop, phone)
    await laptop.delete(john)
    await phone.save(john.replace(gender="male"))
    await met(server, laptop, phone)
    (conflict,) = await listed(laptop)
    (field,) = conflict.fields
    assert (field.name, field.shown.value, [each.value for each in field.alternatives]) == ("deleted", False, [True])
    assert (field.alternatives[0].hcp, field.alternatives[0].time) == ("hcp-a", 1_000)
    with pytest.raises(InvalidEntity, match="True or False"):
        await laptop.resolve(conflict, "deleted")
    settled = await laptop.resolve(conflict, {("deleted",): gone})
    assert settled.deleted == gone
    await met(server, laptop, phone)
    assert await listed(phone) == await listed(laptop) == []
    assert len([each async for each in phone.find_deleted(Patient)]) == gone


async def test_a_deleted_record_among_them_breaks_no_list_and_comes_back_with_its_restoring(open_replica, server):
    laptop, phone, john = await disputed(open_replica, server)
    await laptop.delete(await laptop.get(Patient, john.id))
    await met(server, laptop, phone)
    assert await listed(laptop) == await listed(phone) == []
    await laptop.restore(john)
    await met(server, laptop, phone)
    assert [each.id for each in await listed(phone)] == [john.id]


async def test_a_merge_that_is_left_to_others_is_listed_once_there_is_something_to_decide(open_replica, server):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    b = await open_replica("hcp-b")
    john = await laptop.save(Patient(first_name="John"))
    await met(server, laptop, phone, b)
    john = await laptop.share(john, with_="hcp-b")
    await met(server, laptop, phone, b)
    await laptop.save(john.replace(note="laptop"))
    await phone.save((await phone.get(Patient, john.id)).replace(last_name="Keats"))
    await laptop.push(server)
    await phone.push(server)
    await b.pull(server)
    assert len(await leaves(b, john.id)) == 2
    assert await listed(b) == []
    await phone.save((await phone.get(Patient, john.id)).replace(note="phone"))
    await phone.push(server)
    await b.pull(server)
    (conflict,) = await listed(b)
    assert [each.reason for each in conflict.standing] == [Reason.WAITING, Reason.WAITING]
    assert {each.by for each in conflict.standing} == {"hcp-a"}
    settled = await b.resolve(conflict, {"note": "B's"})
    assert await leaves(b, john.id) == [settled.rev]


async def test_a_file_that_cannot_be_written_lists_the_same(open_replica, server, monkeypatch):
    laptop, _, john = await disputed(open_replica, server)
    monkeypatch.setattr(laptop._store, "read_only", True)
    assert [each.id for each in await listed(laptop)] == [john.id]


# The own Hcp


async def two_profiles(open_replica, server: MemoryPeer) -> tuple[Replica, Replica, Replica]:
    """A's laptop and phone wrote A's civility without seeing each other, and have met; and B."""
    laptop = await open_replica("hcp-a", "laptop", clock=lambda: 1_000)
    phone = await open_replica("hcp-a", "phone", clock=lambda: 2_000)
    b = await open_replica("hcp-b")
    await met(server, laptop, phone, b)
    for replica, civility in ((laptop, "Dr"), (phone, "Prof")):
        me = await replica.get(Hcp, "hcp-a")
        await replica.save(me.replace(civility=civility, **({"nihii": "123"} if replica is phone else {})))
    await met(server, laptop, phone, b)
    return laptop, phone, b


async def test_a_field_of_the_own_hcp_is_listed_on_its_devices_and_on_no_others(open_replica, server):
    laptop, phone, b = await two_profiles(open_replica, server)
    (conflict,) = await listed(laptop)
    assert [conflict] == await listed(phone)
    assert conflict == await laptop.conflict_of("hcp-a") == await laptop.conflict_of(conflict.entity)
    assert (await laptop.sync(server)).conflicts == 1
    me = await laptop.get(Hcp, "hcp-a")
    assert (conflict.id, conflict.type, conflict.entity) == ("hcp-a", "HealthcareParty", me)
    assert (conflict.standing, conflict.versions, conflict.leaves) == ((), 2, (me.rev,))
    (field,) = conflict.fields
    assert (field.path, field.name) == (("civility",), "civility")
    found = {each.value: (each.hcp, each.device, each.time) for each in (field.shown, *field.alternatives)}
    assert found == {"Dr": ("hcp-a", laptop.device, 1_000), "Prof": ("hcp-a", phone.device, 2_000)}
    assert field.shown.value == me.civility
    assert (await b.get(Hcp, "hcp-a")).alternatives
    assert await listed(b) == []
    assert await b.conflict_of("hcp-a") is None


async def test_before_it_is_merged_it_is_listed_on_its_devices_only(open_replica, server):
    laptop, phone, b = await two_profiles(open_replica, server)
    for replica in (laptop, phone):
        me = await replica.resolve("hcp-a", "Dr")
        await replica.save(me.replace(speciality=replica.device))
    given = await phone._store.run(phone._store.documents.leaves, "hcp-a")
    for replica in (laptop, b):
        await replica._store.run(replica._store.documents.apply, list(given))
    await b._store.run(b._store.documents.apply, list(await laptop._store.run(laptop._store.documents.leaves, "hcp-a")))
    assert len(await leaves(b, "hcp-a")) == 2
    assert await listed(b) == []
    (conflict,) = await listed(laptop)
    assert [each.name for each in conflict.fields] == ["speciality"]
    assert [(each.reason, each.by) for each in conflict.standing] == [(Reason.WAITING, "hcp-a")] * 2
    settled = await laptop.resolve(conflict, "poetry")
    assert (settled.speciality, settled.civility, settled.alternatives) == ("poetry", "Dr", {})
    assert await leaves(laptop, "hcp-a") == [settled.rev]
    assert await listed(laptop) == []


@pytest.mark.parametrize("which", ["shown", "other", "new", "nothing"])
async def test_settling_it_is_one_write_of_the_own_document(open_replica, server, which):
    laptop, phone, b = await two_profiles(open_replica, server)
    (conflict,) = await listed(laptop)
    field = conflict.fields[0]
    choice = {"shown": field.shown, "other": field.alternatives[0], "new": "Mx", "nothing": ""}[which]
    settled = await laptop.resolve(conflict, {"civility": choice})
    wanted = {"new": "Mx", "nothing": None}.get(which, getattr(choice, "value", None))
    assert (settled.civility, settled.alternatives, settled.nihii) == (wanted, {}, "123")
    assert generation(settled.rev) == generation(conflict.entity.rev) + 1
    await met(server, laptop, phone, b)
    for replica in (laptop, phone, b):
        assert await replica.get(Hcp, "hcp-a") == settled
        assert await listed(replica) == []


async def test_a_profile_that_was_replaced_since_the_look_is_not_settled_unseen(open_replica, server):
    laptop, phone, _ = await two_profiles(open_replica, server)
    (conflict,) = await listed(laptop)
    await phone.save((await phone.get(Hcp, "hcp-a")).replace(civility="later"))
    await met(server, phone, laptop)
    for seen in (conflict, conflict.entity):
        with pytest.raises(StaleRevision):
            await laptop.resolve(seen, {"civility": "too late"})


@pytest.mark.parametrize(
    ("choices", "wrong"), [({"gender": "male"}, "gender is not in dispute"), ({}, "no field"), (5, "civility")]
)
async def test_what_no_hcp_has_cannot_settle_it(open_replica, server, choices, wrong):
    laptop, _, _ = await two_profiles(open_replica, server)
    before = await laptop.get(Hcp, "hcp-a")
    with pytest.raises(InvalidEntity, match=wrong):
        await laptop.resolve("hcp-a", choices)
    assert await laptop.get(Hcp, "hcp-a") == before
    assert len(await listed(laptop)) == 1
    with pytest.raises(NotFound):
        await laptop.adopt("hcp-a", before.rev)


async def test_a_record_of_the_own_profile_is_settled_like_a_service(open_replica, server):
    laptop, phone, _ = await two_profiles(open_replica, server)
    me = await laptop.resolve("hcp-a")
    me = await laptop.save(me.replace(addresses=[Address(city="Ghent")]))
    await met(server, laptop, phone)
    (home,) = me.addresses
    await laptop.save(me.replace(addresses=[home.replace(city="Liège")]))
    await phone.save((await phone.get(Hcp, "hcp-a")).replace(addresses=[home.replace(city="Mons")]))
    await met(server, laptop, phone)
    (conflict,) = await listed(phone)
    (field,) = conflict.fields
    assert field.name == f"addresses/{home.id}"
    settled = await phone.resolve(conflict, {field.name: Address(city="Namur")})
    assert settled.addresses == (home.replace(city="Namur"),)
    await met(server, phone, laptop)
    assert await listed(laptop) == await listed(phone) == []


async def test_keys_that_both_devices_made_are_nothing_for_a_person(open_replica, server):
    laptop, phone, _ = await two_profiles(open_replica, server)
    await laptop.resolve("hcp-a")
    await met(server, laptop, phone)
    for replica in (laptop, phone):
        await replica.share(await replica.save(Patient(first_name="John")), with_="hcp-b")
    await met(server, laptop, phone)
    assert await listed(laptop) == await listed(phone) == []


# icure-classic


@pytest.fixture
async def classic(open_replica, identities, server):
    """Two devices of the SDK's first party, with its patient."""
    identities[A] = Identity.from_private_key(A, bytes.fromhex(VECTORS["keys"][A]["pkcs8Hex"]))
    clocks = {"laptop": 1_000, "phone": 2_000}
    found = [
        await open_replica(A, name, suites=("icure-classic",), clock=lambda at=at: at) for name, at in clocks.items()
    ]
    given = [
        Revision(doc["_id"], (doc["_rev"],), json.dumps({k: v for k, v in doc.items() if k[0] != "_"}).encode())
        for doc in VECTORS["docs"]
    ]
    await found[0]._store.run(found[0]._store.documents.apply, given)
    await met(server, *found)
    return (*found, await found[0].get(Patient, VECTORS["ids"]["patient"]))


@pytest.mark.parametrize("which", ["shown", "other", "new"])
async def test_fields_of_classic_records_are_listed_and_settled_alike(classic, server, which):
    laptop, phone, john = classic
    await laptop.save(john.replace(note="laptop"))
    await phone.save(john.replace(note="phone", last_name="Keats"))
    await met(server, laptop, phone)
    (conflict,) = await listed(laptop)
    assert [conflict] == await listed(phone)
    (field,) = conflict.fields
    found = {each.value: (each.hcp, each.device, each.time) for each in (field.shown, *field.alternatives)}
    assert found == {"laptop": (A, laptop.device, 1_000), "phone": (A, phone.device, 2_000)}
    choice = {"shown": field.shown, "other": field.alternatives[0], "new": "both"}[which]
    settled = await laptop.resolve(conflict, {"note": choice})
    assert (settled.note, settled.last_name) == (choice if which == "new" else choice.value, "Keats")
    await met(server, laptop, phone)
    assert await phone.get(Patient, john.id) == settled
    assert await listed(laptop) == await listed(phone) == []


@pytest.mark.parametrize("gone", [True, False])
async def test_a_deletion_of_a_classic_record_is_decided_alike(classic, server, gone):
    laptop, phone, john = classic
    john = await laptop.save(john.replace(note="stamped"))
    await met(server, laptop, phone)
    await laptop.delete(john)
    await phone.save(john.replace(note="still needed"))
    await met(server, laptop, phone)
    (conflict,) = await listed(phone)
    assert [(each.name, each.shown.value) for each in conflict.fields] == [("deleted", False)]
    assert (await phone.resolve(conflict, gone)).deleted == gone
    await met(server, laptop, phone)
    assert await listed(phone) == await listed(laptop) == []
    assert (john.id in {each.id async for each in laptop.find_deleted(Patient)}) == gone


async def test_of_a_classic_profile_nothing_is_in_dispute_for_it_says_not_who_wrote_what(classic, server):
    laptop, phone, _ = classic
    for replica, speciality in ((laptop, "poetry"), (phone, "prose")):
        await replica.save((await replica.get(Hcp, A)).replace(speciality=speciality))
    await met(server, laptop, phone)
    assert await laptop.get(Hcp, A) == await phone.get(Hcp, A)
    assert await listed(laptop) == await listed(phone) == []
    assert await laptop.conflict_of(A) is None


# Leaves of those who are out


async def put_out(open_replica, server: MemoryPeer) -> tuple[Replica, Replica, Replica, Patient]:
    """A's laptop put B out while B, offline, wrote a note; the phone has seen neither. Both have gone to the server."""
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    b, c = await open_replica("hcp-b"), await open_replica("hcp-c")
    await met(server, laptop, phone, b, c)
    john = await laptop.save(Patient(first_name="John", gender="male"))
    for delegate in ("hcp-b", "hcp-c"):
        john = await laptop.share(john, with_=delegate)
    await met(server, laptop, phone, b, c)
    await b.save((await b.get(Patient, john.id)).replace(note="by B", first_name="Johnny"))
    await b.push(server)
    john = await laptop.revoke(john, from_="hcp-b")
    john = await laptop.save(john.replace(gender="other"))
    return laptop, phone, c, john


@pytest.mark.parametrize("first", ["B's leaf", "the revocation"])
async def test_a_leaf_of_somebody_who_is_out_is_listed_and_adopted_by_a_person(open_replica, server, first):
    laptop, phone, c, john = await put_out(open_replica, server)
    if first == "B's leaf":  # it verified there, before its writer was out
        await phone.pull(server)
        assert (await phone.get(Patient, john.id)).note == "by B"
    await met(server, laptop, phone, c)
    for replica in (laptop, phone, c):
        (conflict,) = await listed(replica)
        assert (conflict.fields, conflict.entity.note, conflict.versions) == ((), None, 2)
        (standing,) = conflict.standing
        assert (standing.reason, standing.by) == (Reason.OUT, "hcp-b")
        assert standing.offers == {"first_name": ("Johnny",), "note": ("by B",)}
    adopted = await laptop.adopt(conflict, standing.rev)
    assert (adopted.note, adopted.first_name, adopted.gender) == ("by B", "Johnny", "other")
    assert adopted.shared_with == {"hcp-a", "hcp-c"}
    await met(server, laptop, phone, c)
    for replica in (laptop, phone, c):
        assert await replica.get(Patient, john.id) == adopted
        assert await leaves(replica, john.id) == [adopted.rev]
        assert await listed(replica) == []
    with pytest.raises(NotFound):
        await laptop.adopt(john.id, standing.rev)


async def test_adopting_names_a_leaf_by_itself_and_refuses_what_is_none(open_replica, server):
    laptop, phone, c, john = await put_out(open_replica, server)
    with pytest.raises(InvalidEntity, match="0 of its leaves"):
        await laptop.adopt(john.id)
    await met(server, laptop, phone, c)
    with pytest.raises(NotFound, match="in what is shown"):
        await laptop.adopt(john.id, (await laptop.get(Patient, john.id)).rev)
    with pytest.raises(NotFound, match="no live leaf"):
        await laptop.adopt(john.id, "9-" + "f" * 32)
    assert (await laptop.adopt(john.id)).note == "by B"


async def test_what_somebody_who_is_out_put_on_top_of_the_record_is_listed_and_adopted_as_well(open_replica, server):
    """B's device never heard of the revocation that it wrote over."""
    laptop, phone, _, john = await put_out(open_replica, server)
    b = await open_replica("hcp-b", "other")
    await b.pull(server)
    seen = await b._store.run(b._keyed.opener.open, john.id)
    genuine = await laptop._store.run(laptop._store.documents.get, john.id)
    body = json.loads(genuine.body)

    def forged() -> Revision:
        from icure_sync.crypto.access import Subject
        from icure_sync.crypto.sealing import signed

        document = {**seen.stored.document, "parents": [genuine.rev], "access": body["access"]}
        made = signed(Subject.of(john.id, document), document, b._keyed.parties.keyring)
        return Revision(john.id, (made.rev, *genuine.history), json.dumps(made.document).encode())

    await laptop._store.run(laptop._store.documents.apply, [forged()])
    assert (await laptop.get(Patient, john.id)).gender == "other"
    (conflict,) = await listed(laptop)
    assert [each.reason for each in conflict.standing] == [Reason.OUT]
    adopted = await laptop.adopt(conflict)
    assert (adopted.note, adopted.gender) == ("by B", "other")
    await met(server, laptop, phone)
    assert await phone.get(Patient, john.id) == adopted
    (conflict,) = await listed(phone)  # the leaf that B wrote before, which has only now come here
    await phone.adopt(conflict)
    await met(server, laptop, phone)
    assert await listed(laptop) == await listed(phone) == []


async def test_what_does_not_verify_is_listed_and_never_adopted(open_replica):
    laptop = await open_replica("hcp-a")
    john = await laptop.save(Patient(first_name="John"))
    genuine = await laptop._store.run(laptop._store.documents.get, john.id)
    junk = Revision(genuine.id, (f"1-{'f' * 32}",), genuine.body)
    await laptop._store.run(laptop._store.documents.apply, [junk])
    (conflict,) = await listed(laptop)
    assert [(each.rev, each.reason, each.by) for each in conflict.standing] == [(junk.rev, Reason.TAMPERED, None)]
    with pytest.raises(Tampered):
        await laptop.adopt(john.id, junk.rev)
    with pytest.raises(InvalidEntity, match="nothing in it is in dispute"):
        await laptop.resolve(conflict)


async def test_a_keyless_replica_tells_which_documents_have_several_leaves(open_replica, server):
    laptop, _, john = await disputed(open_replica, server)
    await laptop.push(server)
    keyless = await open_replica(None)
    await keyless.sync(server)
    assert await listed(keyless) == []
    genuine = await keyless._store.run(keyless._store.documents.get, john.id)
    await keyless._store.run(keyless._store.documents.apply, [Revision(genuine.id, (f"1-{'f' * 32}",), genuine.body)])
    (conflict,) = await listed(keyless)
    assert (conflict.id, len(conflict.leaves)) == (john.id, 2)


async def test_adopting_lets_nobody_in_whom_the_leaf_let_in_and_its_end_counts_where_it_had_been_believed(
    open_replica, server
):
    """B had shared the record on: what that states is carried on, and does not count, since B is out."""
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    b, c = await open_replica("hcp-b"), await open_replica("hcp-c")
    await met(server, laptop, phone, b, c)
    john = await laptop.share(await laptop.save(Patient(first_name="John")), with_="hcp-b")
    await met(server, laptop, phone, b)
    shared = await b.share(await b.get(Patient, john.id), with_="hcp-c")
    await b.save(shared.replace(note="by B"))
    await b.push(server)
    await phone.pull(server)
    assert (await phone.get(Patient, john.id)).shared_with == {"hcp-a", "hcp-b", "hcp-c"}
    await laptop.revoke(john, from_="hcp-b")
    await laptop.sync(server)
    adopted = await laptop.adopt(john.id)
    assert (adopted.note, adopted.shared_with) == ("by B", {"hcp-a"})
    stored = await laptop._store.run(laptop._store.documents.get, john.id)
    assert set(json.loads(stored.body)["encryptionKeys"]) == {"hcp-a"}
    await met(server, laptop, phone, c)
    assert await phone.get(Patient, john.id) == adopted
    assert await leaves(phone, john.id) == [adopted.rev]
    assert await listed(phone) == await listed(laptop) == []


async def test_a_deletion_by_somebody_who_is_out_is_adopted_as_such(open_replica, server):
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    b = await open_replica("hcp-b")
    await met(server, laptop, phone, b)
    john = await laptop.share(await laptop.save(Patient(first_name="John")), with_="hcp-b")
    await met(server, laptop, phone, b)
    await b.delete(await b.get(Patient, john.id))
    await b.push(server)
    await laptop.revoke(john, from_="hcp-b")
    await laptop.sync(server)
    (conflict,) = await listed(laptop)
    assert conflict.standing[0].offers == {"deleted": (True,)}
    assert (await laptop.adopt(conflict)).deleted
    await met(server, laptop, phone)
    assert [each.id async for each in phone.find_deleted(Patient)] == [john.id]
    assert await listed(laptop) == await listed(phone) == []


async def test_adopting_keeps_what_the_leaf_had_as_an_alternative_and_lists_it(open_replica, server):
    """B had merged its note with A's, which shows; A's phone put B out without having seen that merge."""
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    b = await open_replica("hcp-b")
    await met(server, laptop, phone, b)
    john = await laptop.share(await laptop.save(Patient(first_name="John")), with_="hcp-b")
    await met(server, laptop, phone, b)
    seen = await laptop.get(Patient, john.id)
    for note in ("1", "2", "laptop"):
        seen = await laptop.save(seen.replace(note=note))
    await laptop.push(server)
    await phone.sync(server)
    await b.save((await b.get(Patient, john.id)).replace(note="typed by B"))
    await b.sync(server)
    merged = await b.get(Patient, john.id)
    assert (merged.note, merged.alternatives) == ("laptop", {"note": ("typed by B",)})
    await phone.revoke(await phone.get(Patient, john.id), from_="hcp-b")
    await phone.sync(server)
    (conflict,) = await listed(phone)
    assert [each.offers for each in conflict.standing] == [{"note": ("typed by B",)}]
    adopted = await phone.adopt(conflict)
    assert (adopted.note, adopted.alternatives) == ("typed by B", {"note": ("laptop",)})
    await met(server, phone, laptop)
    assert await laptop.get(Patient, john.id) == adopted
    for replica in (laptop, phone):
        (conflict,) = await listed(replica)
        assert (conflict.standing, [each.name for each in conflict.fields]) == ((), ["note"])


async def test_leaves_that_cannot_be_judged_yet_are_listed_as_such(open_replica, server):
    """C, who is not known to B, edits."""
    a, b, c = [await open_replica(hcp) for hcp in ("hcp-a", "hcp-b", "hcp-c")]
    elsewhere = MemoryPeer("elsewhere")
    await met(server, a, b)
    await met(elsewhere, a, c)
    john = await a.save(Patient(first_name="John"))
    for delegate in ("hcp-b", "hcp-c"):
        john = await a.share(john, with_=delegate)
    given = await a._store.run(a._store.documents.get, john.id)
    for replica in (b, c):
        hcp_a = await a._store.run(a._store.documents.get, "hcp-a")
        await replica._store.run(replica._store.documents.apply, [hcp_a, given])
        await replica._store.run(replica._keyed.parties.refresh)
    by_c = await c.save((await c.get(Patient, john.id)).replace(note="by C"))
    await b.save((await b.get(Patient, john.id)).replace(gender="male"))
    given = await c._store.run(c._store.documents.get, john.id)
    await b._store.run(b._store.documents.apply, [given])
    (conflict,) = await listed(b)
    assert [(each.rev, each.reason, each.by) for each in conflict.standing] == [(by_c.rev, Reason.PENDING, "hcp-c")]
    assert (conflict.entity.note, conflict.fields) == (None, ())
    with pytest.raises(NotFound, match="not here yet"):
        await b.adopt(conflict, by_c.rev)
    await met(server, a, b, a)
    assert (await b.get(Patient, john.id)).note == "by C"
    assert await listed(b) == []
