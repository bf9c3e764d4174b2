"""Hcp documents that two devices of an Hcp wrote without seeing each other: no Hcp key and no edit is lost."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from icure_sync import strict_json
from icure_sync.engine.replica import Replica, replica_over
from icure_sync.errors import NotFound, StaleRevision
from icure_sync.ids import DocId, Rev, generation
from icure_sync.model import Address, Contact, Hcp, Patient
from icure_sync.peers.couch import CouchPeer
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer
from icure_sync.replication.wire import Revision
from icure_sync.store import Store
from tests.engine.test_classic import CLASSIC, VECTORS
from tests.engine.test_classic import A as CLASSIC_A
from tests.engine.test_classic import B as CLASSIC_B
from tests.engine.test_classic import identity as classic_identity
from tests.servers import REAL_SERVERS, fresh_database, fresh_hub

OWN = DocId("hcp-a")


Server = Callable[[], Peer]


@pytest_asyncio.fixture(params=["hub", *REAL_SERVERS])
async def server(request: pytest.FixtureRequest, tmp_path) -> AsyncIterator[Server]:
    """A database, over HTTP."""
    async with AsyncExitStack() as stack:
        if request.param == "hub":
            url = await stack.enter_async_context(fresh_hub(tmp_path))
        else:
            url = request.getfixturevalue("couchdb_url")
        database = await stack.enter_async_context(fresh_database(url))
        yield lambda: CouchPeer(database)


@pytest_asyncio.fixture
async def devices(open_replica) -> tuple[Replica, Replica, Replica]:
    """A's laptop and phone, and B; all Hcp documents are everywhere."""
    found = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone"), await open_replica("hcp-b")
    met = MemoryPeer("elsewhere")
    for replica in (*found, *found):
        await replica.sync(met)
    return found


async def on(replica: Replica, call, *given):
    return await replica._store.run(call, *given)


async def reconcile(replica: Replica) -> int:
    """What follows a pull, as often as one likes."""
    keyed = replica._keyed
    classic = keyed.suites == CLASSIC
    return await on(replica, (keyed._classic_parties if classic else keyed.parties).reconcile)


async def live(replica: Replica, doc_id: str) -> dict[Rev, dict]:
    """The live leaves of a document, by revision."""
    leaves = await on(replica, replica._store.documents.leaves, DocId(doc_id))
    return {leaf.rev: json.loads(leaf.body) for leaf in leaves if not leaf.deleted}


async def take(replica: Replica, *revisions: Revision) -> None:
    """As a pull takes them; nothing is merged yet."""
    assert await on(replica, replica._store.documents.apply, list(revisions)) == []
    await on(replica, replica._keyed.parties.refresh)


async def leaves_of(replica: Replica, doc_id: str) -> tuple[Revision, ...]:
    return await on(replica, replica._store.documents.leaves, DocId(doc_id))


async def swap(one: Replica, other: Replica, doc_id: str) -> None:
    """Each gets the leaves that the other has of one document."""
    of_one, of_other = await leaves_of(one, doc_id), await leaves_of(other, doc_id)
    await take(one, *of_other)
    await take(other, *of_one)


async def settle(server: Server, *replicas: Replica) -> None:
    """Everybody syncs until nothing is left to tell."""
    for _ in range(3):
        for replica in replicas:
            await replica.sync(server())
            await reconcile(replica)
            await replica.sync(server())


async def share_each(laptop: Replica, phone: Replica, delegate: str) -> list[str]:
    """Both devices, offline, make the key towards the delegate, and records with it."""
    shared = []
    for number, replica in enumerate((laptop, phone)):
        patient = await replica.share(await replica.save(Patient(first_name=f"P{number}")), with_=delegate)
        visit = await replica.save(Contact(description="Cough"), patient=patient)
        await replica.share(visit, with_=delegate)
        shared.append(patient.id)
    return shared


async def assert_all_is_read(replicas, shared: list[str]) -> None:
    for replica in replicas:
        for number, doc_id in enumerate(shared):
            patient = await replica.get(Patient, doc_id)
            assert patient.first_name == f"P{number}"
            assert [each.description async for each in replica.contacts_of(patient)] == ["Cough"]


async def test_two_devices_that_mint_the_same_key_offline_lose_no_record(devices, server):
    laptop, phone, b = devices
    shared = await share_each(laptop, phone, "hcp-b")
    await settle(server, *devices)
    await assert_all_is_read(devices, shared)
    ((rev, document),) = (await live(laptop, OWN)).items()
    assert len(document["hcPartyKeyIds"]["hcp-b"]) == 2
    for replica in (phone, b):
        assert await live(replica, OWN) == {rev: document}
    assert all(not replica._keyed.parties.troubles for replica in devices)
    assert [dict((await replica.status()).unreadable) for replica in devices] == [{}, {}, {}]


async def test_the_delegate_reads_everything_before_the_merge_is_written(devices):
    laptop, phone, b = devices
    shared = await share_each(laptop, phone, "hcp-b")
    for replica in (laptop, phone):
        for doc_id in (OWN, *shared):
            await take(b, *await leaves_of(replica, doc_id))
    assert len(await live(b, OWN)) == 2
    names = {(await b.get(Patient, doc_id)).first_name for doc_id in shared}
    assert names == {"P0", "P1"}


async def test_new_entries_use_the_lowest_key_on_every_device_and_others_stay_readable(devices, server):
    laptop, phone, b = devices
    shared = await share_each(laptop, phone, "hcp-b")
    await settle(server, *devices)
    lowest = next(iter((await live(b, OWN)).values()))["hcPartyKeyIds"]["hcp-b"][0]
    for replica in (laptop, phone):
        fanny = await replica.share(await replica.save(Patient(first_name="Fanny")), with_="hcp-b")
        (document,) = (await live(replica, fanny.id)).values()
        assert [entry["kid"] for entry in document["encryptionKeys"]["hcp-b"]] == [lowest]
    await assert_all_is_read((laptop, phone, b), shared)


async def test_both_devices_write_the_merge_alike(devices):
    laptop, phone, _ = devices
    await share_each(laptop, phone, "hcp-b")
    await swap(laptop, phone, OWN)
    assert [len(await live(replica, OWN)) for replica in (laptop, phone)] == [2, 2]
    for replica in (laptop, phone):
        await reconcile(replica)
    held = [await leaves_of(replica, OWN) for replica in (laptop, phone)]
    assert [(leaf.rev, leaf.history, leaf.body, leaf.deleted) for leaf in held[0]] == [
        (leaf.rev, leaf.history, leaf.body, leaf.deleted) for leaf in held[1]
    ]
    assert len(await live(laptop, OWN)) == 1
    assert await reconcile(laptop) == await reconcile(phone) == 0


async def test_profile_edits_of_both_devices_are_shown(devices):
    laptop, phone, _ = devices
    me = await laptop.get(Hcp, "hcp-a")
    await laptop.save(me.replace(speciality="poetry", civility="Dr"))
    await phone.save(me.replace(first_name="Ada", civility="Prof"))
    await swap(laptop, phone, OWN)
    for replica in (laptop, phone):
        shown = await replica.get(Hcp, "hcp-a")
        assert (shown.speciality, shown.first_name) == ("poetry", "Ada")
        assert {shown.civility, *shown.alternatives["civility"]} == {"Dr", "Prof"}
        await reconcile(replica)
        assert await replica.get(Hcp, "hcp-a") == shown


async def test_others_see_both_edits_before_they_are_merged(devices):
    laptop, phone, b = devices
    me = await laptop.get(Hcp, "hcp-a")
    await laptop.save(me.replace(speciality="poetry"))
    await phone.save(me.replace(first_name="Ada"))
    for replica in (laptop, phone):
        await take(b, *await leaves_of(replica, OWN))
    shown = await b.get(Hcp, "hcp-a")
    assert (shown.speciality, shown.first_name) == ("poetry", "Ada")
    assert await reconcile(b) == 0  # the document of A is for devices of A to write


async def leaves_left(laptop: Replica, phone: Replica) -> None:
    """The laptop has a leaf of each, and has not merged them."""
    me = await laptop.get(Hcp, "hcp-a")
    await laptop.save(me.replace(speciality="poetry"))
    await phone.save(me.replace(first_name="Ada"))
    revisions = await leaves_of(phone, OWN)
    assert await on(laptop, laptop._store.documents.apply, list(revisions)) == []


@pytest.mark.parametrize("write", ["profile", "key"])
async def test_a_write_over_several_leaves_takes_them_all_in(devices, write: str):
    laptop, phone, _ = devices
    await leaves_left(laptop, phone)
    before = set(await live(laptop, OWN))
    if write == "profile":
        await laptop.save((await laptop.get(Hcp, "hcp-a")).replace(nihii="123"))
    else:
        await laptop.share(await laptop.save(Patient(first_name="John")), with_="hcp-b")
    (document,) = (await live(laptop, OWN)).values()
    assert set(document["parents"]) == before
    assert len(document["merged"]) == 1
    shown = await laptop.get(Hcp, "hcp-a")
    assert (shown.speciality, shown.first_name) == ("poetry", "Ada")
    assert await reconcile(laptop) == 0


async def test_a_profile_read_before_the_other_leaf_came_is_stale(devices):
    laptop, phone, _ = devices
    me = await laptop.get(Hcp, "hcp-a")
    await leaves_left(laptop, phone)
    with pytest.raises(StaleRevision):
        await laptop.save(me.replace(nihii="123"))


async def test_an_emptied_list_is_gone_from_the_document(open_replica):
    a = await open_replica("hcp-a")
    me = await a.save((await a.get(Hcp, "hcp-a")).replace(addresses=(Address(city="Ghent"),)))
    (document,) = (await live(a, OWN)).values()
    assert [each["city"] for each in document["addresses"]] == ["Ghent"]
    await a.save(me.replace(addresses=()))
    (document,) = (await live(a, OWN)).values()
    assert "addresses" not in document
    assert (await a.get(Hcp, "hcp-a")).addresses == ()


def child_of(leaf: Revision, body: bytes, *, deleted: bool, digit: str = "f") -> Revision:
    rev = Rev(f"{generation(leaf.rev) + 1}-{digit * 32}")
    return Revision(leaf.id, (rev, *leaf.history), body, deleted)


async def test_a_tombstone_that_no_merge_made_up_for_takes_no_key_away(devices):
    laptop, phone, b = devices
    shared = await share_each(laptop, phone, "hcp-b")
    (leaf,) = await leaves_of(phone, OWN)
    body = strict_json.dumps(
        {"retired": True, "type": "HealthcareParty", "cryptoSuite": "sealed-1", "parents": [leaf.rev]}
    )
    for replica in (laptop, b):
        await take(replica, *await leaves_of(laptop, OWN), leaf, child_of(leaf, body, deleted=True))
        assert not replica._keyed.parties.troubles
    await take(b, *await leaves_of(phone, shared[1]))
    assert (await b.get(Patient, shared[1])).first_name == "P1"
    await reconcile(laptop)
    (document,) = (await live(laptop, OWN)).values()
    assert len(document["hcPartyKeyIds"]["hcp-b"]) == 2
    assert await on(laptop, laptop._store.documents.displaced, OWN) == ()


async def test_an_own_document_that_somebody_deleted_is_written_again(devices):
    laptop, phone, _ = devices
    (leaf,) = await leaves_of(laptop, OWN)
    gone = child_of(leaf, b"{}", deleted=True)
    for replica in (laptop, phone):
        await take(replica, gone)
        await reconcile(replica)
    ((rev, document),) = (await live(laptop, OWN)).items()
    assert await live(phone, OWN) == {rev: document}
    assert document["parents"] == [leaf.rev]
    assert document["name"] == "Practice A"
    assert await reconcile(laptop) == 0


async def test_a_leaf_that_is_not_believed_is_left_alone(devices):
    laptop, _, b = devices
    (leaf,) = await leaves_of(b, "hcp-b")
    junk = Revision(OWN, (Rev("9-" + "a" * 32),), leaf.body)
    await take(laptop, junk)
    assert "hcp-a" in laptop._keyed.parties.troubles
    assert await reconcile(laptop) == 0
    assert junk.rev in await live(laptop, OWN)
    assert (await laptop.get(Hcp, "hcp-a")).name == "Practice A"


async def test_a_leaf_that_the_merge_has_taken_in_is_only_ended(devices):
    laptop, phone, _ = devices
    await share_each(laptop, phone, "hcp-b")
    await swap(laptop, phone, OWN)
    await reconcile(laptop)
    (merge,) = [each for each in await leaves_of(laptop, OWN) if not each.deleted]
    await take(phone, merge)
    assert len(await live(phone, OWN)) == 2
    await reconcile(phone)
    assert await leaves_of(phone, OWN) == await leaves_of(laptop, OWN)


async def test_a_replica_that_may_only_be_read_shows_the_merge_and_writes_nothing(devices):
    laptop, phone, _ = devices
    await leaves_left(laptop, phone)
    laptop._store.read_only = True
    assert await reconcile(laptop) == 0
    shown = await laptop.get(Hcp, "hcp-a")
    assert (shown.speciality, shown.first_name) == ("poetry", "Ada")
    assert len(await live(laptop, OWN)) == 2


async def test_without_a_believed_document_of_its_own_an_hcp_makes_no_key(devices):
    laptop, _, b = devices
    await on(laptop, laptop._store.purges.purge, {OWN: [each.rev for each in await leaves_of(laptop, OWN)]})
    (other,) = await leaves_of(b, "hcp-b")
    await take(laptop, Revision(OWN, (Rev("1-" + "a" * 32),), other.body))
    john = await laptop.save(Patient(first_name="John"))
    with pytest.raises(NotFound, match="no revision of it is believed"):
        await laptop.share(john, with_="hcp-b")


# icure-classic


@pytest_asyncio.fixture
async def classic_devices(tmp_path) -> tuple[Replica, Replica, Replica]:
    """A's laptop and phone, and B, on a database in which A has no key towards B."""
    found = []
    for party, name in ((CLASSIC_A, "laptop"), (CLASSIC_A, "phone"), (CLASSIC_B, "laptop")):
        store = Store.open(tmp_path / f"{party}-{name}.db", b"k" * 32)
        found.append(await store.run(replica_over, store, classic_identity(party), suites=CLASSIC))
        await take(found[-1], *classic_documents())
    yield tuple(found)
    for replica in found:
        replica._store.close()


def classic_documents() -> list[Revision]:
    """The Hcp documents of the vectors; of A's keys, {AA} alone."""
    found = []
    for given in VECTORS["docs"]:
        if given["_id"] in (CLASSIC_A, CLASSIC_B):
            document = {name: value for name, value in given.items() if not name.startswith("_")}
            if given["_id"] == CLASSIC_A:
                document["hcPartyKeys"] = {CLASSIC_A: document["hcPartyKeys"][CLASSIC_A]}
            found.append(Revision(DocId(given["_id"]), (Rev(given["_rev"]),), strict_json.dumps(document)))
    return found


async def test_in_a_classic_database_two_devices_that_mint_the_same_key_lose_no_record(classic_devices, server):
    laptop, phone, b = classic_devices
    shared = await share_each(laptop, phone, CLASSIC_B)
    minted = set()
    for replica in (laptop, phone):
        (document,) = (await live(replica, CLASSIC_A)).values()
        minted.update(document["hcPartyKeys"][CLASSIC_B])
    await settle(server, *classic_devices)
    await assert_all_is_read(classic_devices, shared)
    ((rev, document),) = (await live(laptop, CLASSIC_A)).items()
    for replica in (phone, b):
        assert await live(replica, CLASSIC_A) == {rev: document}
    maps = document["aesExchangeKeys"]
    assert sorted(name[:1] for name in maps) == ["3", "x"]
    assert {text for pairs in maps.values() for text in pairs[CLASSIC_B].values()} == minted
    (owner_place,) = [name for name in maps if not name.startswith("x")]
    assert set(document["hcPartyKeys"][CLASSIC_B]) == set(maps[owner_place][CLASSIC_B].values())


async def test_in_a_classic_database_all_leaves_are_read_before_the_merge(classic_devices):
    laptop, phone, b = classic_devices
    shared = await share_each(laptop, phone, CLASSIC_B)
    for replica, doc_id in zip((laptop, phone), shared, strict=True):
        for each in (CLASSIC_A, doc_id):
            await take(b, *await leaves_of(replica, each))
    assert len(await live(b, CLASSIC_A)) == 2
    assert [(await b.get(Patient, doc_id)).first_name for doc_id in shared] == ["P0", "P1"]
    assert await reconcile(b) == 0


async def test_in_a_classic_database_both_devices_write_the_merge_alike(classic_devices):
    laptop, phone, _ = classic_devices
    await share_each(laptop, phone, CLASSIC_B)
    await swap(laptop, phone, CLASSIC_A)
    for replica in (laptop, phone):
        await reconcile(replica)
    held = [await leaves_of(replica, CLASSIC_A) for replica in (laptop, phone)]
    assert [(leaf.history, leaf.body, leaf.deleted) for leaf in held[0]] == [
        (leaf.history, leaf.body, leaf.deleted) for leaf in held[1]
    ]
    assert len(await live(laptop, CLASSIC_A)) == 1
    assert await reconcile(laptop) == await reconcile(phone) == 0


async def test_in_a_classic_database_a_leaf_that_the_merge_has_taken_in_is_only_ended(classic_devices):
    laptop, phone, _ = classic_devices
    await share_each(laptop, phone, CLASSIC_B)
    await swap(laptop, phone, CLASSIC_A)
    await reconcile(laptop)
    (merge,) = [each for each in await leaves_of(laptop, CLASSIC_A) if not each.deleted]
    await take(phone, merge)
    assert len(await live(phone, CLASSIC_A)) == 2
    assert await reconcile(phone) == 1
    assert await leaves_of(phone, CLASSIC_A) == await leaves_of(laptop, CLASSIC_A)


async def test_in_a_classic_database_keys_of_older_software_wait_for_the_document_of_their_delegate(classic_devices):
    laptop, phone, _ = classic_devices
    for replica, digit in ((laptop, "e"), (phone, "f")):
        await share_each(replica, replica, CLASSIC_B)
        (leaf,) = await leaves_of(replica, CLASSIC_A)
        document = {name: value for name, value in json.loads(leaf.body).items() if name != "aesExchangeKeys"}
        await take(replica, child_of(leaf, strict_json.dumps(document), deleted=False, digit=digit))
    await swap(laptop, phone, CLASSIC_A)
    known = [Revision(each.id, each.history, each.body) for each in await leaves_of(laptop, CLASSIC_B)]
    await on(laptop, laptop._store.purges.purge, {DocId(CLASSIC_B): [each.rev for each in known]})
    assert await reconcile(laptop) == 0
    assert len(await live(laptop, CLASSIC_A)) == 2
    await take(laptop, *known)
    await reconcile(laptop)
    (document,) = (await live(laptop, CLASSIC_A)).values()
    assert [name[:1] for name in document["aesExchangeKeys"]] == ["x"]


async def test_in_a_classic_database_a_profile_is_saved_over_several_leaves(classic_devices):
    laptop, phone, _ = classic_devices
    await share_each(laptop, phone, CLASSIC_B)
    revisions = await leaves_of(phone, CLASSIC_A)
    assert await on(laptop, laptop._store.documents.apply, list(revisions)) == []
    me = await laptop.get(Hcp, CLASSIC_A)
    assert (await laptop.save(me.replace(speciality="poetry"))).speciality == "poetry"
    (document,) = (await live(laptop, CLASSIC_A)).values()
    assert len(document["aesExchangeKeys"]) == 2
    assert await reconcile(laptop) == 0
