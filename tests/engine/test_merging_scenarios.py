"""Concurrent writes under clocks that are wrong, files that are put back, Hcp keys made twice, and servers that lie."""

from __future__ import annotations

import shutil

import pytest

from icure_sync.engine.replica import Replica, replica_over
from icure_sync.model import Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Revision
from icure_sync.store import Store
from tests.engine.conftest import DATABASE_KEY
from tests.engine.meetings import met
from tests.replicas import rev

NOW = 1_800_000_000_000
TEN_YEARS = 10 * 365 * 86_400_000


async def live(replica: Replica, doc_id: str) -> dict[str, bytes]:
    leaves = await replica._store.run(replica._store.documents.leaves, doc_id)
    return {each.rev: each.body for each in leaves if not each.deleted}


@pytest.mark.parametrize("skew", [TEN_YEARS, -TEN_YEARS])
async def test_a_clock_ten_years_off_changes_no_result(open_replica, skew):
    """The same edits in the same order: what is shown does not depend on when the phone thinks that it is."""
    shown = []
    for name, wrong in (("right", 0), ("wrong", skew)):
        peer = MemoryPeer(name)
        laptop = await open_replica("hcp-a", f"laptop-{name}", clock=lambda: NOW)
        phone = await open_replica("hcp-a", f"phone-{name}", clock=lambda wrong=wrong: NOW + wrong)
        john = await laptop.save(Patient(first_name="John"))
        await met(peer, laptop, phone)
        await laptop.save(john.replace(note="first"))
        edited = await phone.save(john.replace(last_name="Keats"))
        await phone.save(edited.replace(note="second"))
        await met(peer, laptop, phone)
        seen = [await each.get(Patient, john.id) for each in (laptop, phone)]
        assert seen[0] == seen[1]
        assert len(await live(laptop, john.id)) == 1
        shown.append((seen[0].first_name, seen[0].last_name, seen[0].note, dict(seen[0].alternatives)))
    assert shown[0] == shown[1]
    assert shown[0] == ("John", "Keats", "second", {"note": ("first",)})


async def test_a_file_that_was_put_back_while_offline_loses_neither_of_its_lives(tmp_path, identities, server):
    """What it wrote before, and had sent, meets what it writes afterwards under the same revision."""

    async def opened(name: str) -> tuple[Store, Replica]:
        store = Store.open(tmp_path / name / "replica.db", DATABASE_KEY)
        return store, await store.run(replica_over, store, identities["hcp-a"])

    for name in ("laptop", "phone"):
        (tmp_path / name).mkdir()
    store, laptop = await opened("laptop")
    john = await laptop.save(Patient(first_name="John"))
    await laptop.sync(server)
    store.close()
    shutil.copytree(tmp_path / "laptop", tmp_path / "backup")
    store, laptop = await opened("laptop")
    await laptop.save(john.replace(note="first life", last_name="Keats"))
    await laptop.sync(server)
    store.close()
    shutil.rmtree(tmp_path / "laptop")
    shutil.copytree(tmp_path / "backup", tmp_path / "laptop")
    store, laptop = await opened("laptop")
    await laptop.save((await laptop.get(Patient, john.id)).replace(note="second life"))
    other_store, phone = await opened("phone")
    await met(server, laptop, phone)
    for replica in (laptop, phone):
        seen = await replica.get(Patient, john.id)
        assert {seen.note, *seen.alternatives["note"]} == {"first life", "second life"}
        assert seen.last_name == "Keats"
        assert len(await live(replica, john.id)) == 1
    store.close()
    other_store.close()


async def test_two_devices_that_both_made_the_key_towards_an_hcp_and_edit_the_same_record_offline_agree(
    open_replica, server
):
    laptop, phone, b = [
        await open_replica(*each) for each in (("hcp-a", "laptop"), ("hcp-a", "phone"), ("hcp-b", "laptop"))
    ]
    john = await laptop.save(Patient(first_name="John"))
    await met(server, laptop, phone, b)
    for replica, change in ((laptop, {"note": "laptop"}), (phone, {"last_name": "Keats"})):
        await replica.share(await replica.save(john.replace(**change)), with_="hcp-b")
    kept = [
        laptop._keyed.parties.keyring.pair("hcp-a", "hcp-b").kid,
        phone._keyed.parties.keyring.pair("hcp-a", "hcp-b").kid,
    ]
    assert kept[0] != kept[1]
    await met(server, laptop, phone, b)
    await met(server, laptop, phone, b)
    for replica in (laptop, phone, b):
        seen = await replica.get(Patient, john.id)
        assert (seen.first_name, seen.last_name, seen.note) == ("John", "Keats", "laptop")
    assert await live(laptop, john.id) == await live(phone, john.id) == await live(b, john.id)
    edited = await b.save((await b.get(Patient, john.id)).replace(first_name="Johnny"))
    await met(server, b, laptop, phone)
    for replica in (laptop, phone):
        assert (await replica.get(Patient, john.id)).rev == edited.rev


async def test_what_a_server_displaced_with_a_forgery_comes_back_although_nobody_has_read_it(open_replica, server):
    """The forgery goes over an edit that the phone never got; the laptop does not open the record in between."""
    laptop, phone = await open_replica("hcp-a", "laptop"), await open_replica("hcp-a", "phone")
    john = await laptop.save(Patient(first_name="John"))
    await met(server, laptop, phone)
    edited = await laptop.save(john.replace(note="a cough"))
    await laptop.push(server)
    [genuine] = await server.fetch({john.id: [edited.rev]})
    server.put(Revision(john.id, (rev(3, 1), *genuine.history), genuine.body))
    await met(server, laptop, phone)
    for replica in (laptop, phone):
        assert (await replica.get(Patient, john.id)).note == "a cough"
