"""A database that a released iCure SDK wrote, replicated into replicas of its three parties over HTTP.

The vectors hold what the SDK itself decrypted; here our replicas must show the same, and leave a layout that the SDK
still reads when they edit and share.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from icure_sync.crypto.identity import Identity
from icure_sync.engine.replica import Replica, replica_over
from icure_sync.errors import UnsupportedSuite
from icure_sync.hub import Hub
from icure_sync.model import Contact, Document, Hcp, HealthcareElement, Patient, entity_class, to_record
from icure_sync.peers.couch import CouchPeer
from icure_sync.store import Store
from tests.servers import REAL_SERVERS, fresh_database

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "icure-classic-4.2.39.json").read_text("utf-8"))
IDS = VECTORS["ids"]
A, B, C = IDS["A"], IDS["B"], IDS["C"]
ADMIN = ("admin", "test-only")
CLASSIC = ("icure-classic",)


@pytest_asyncio.fixture(params=["hub", *REAL_SERVERS])
async def database(request, tmp_path) -> AsyncIterator[str]:
    """A database on a CouchDB-protocol server that holds the SDK's documents and the attachment."""
    async with AsyncExitStack() as stack:
        if request.param == "couchdb":
            server = request.getfixturevalue("couchdb_url")
        else:
            hub = await stack.enter_async_context(Hub(tmp_path / "hub", admin=ADMIN))
            server = hub.url.replace("//", f"//{ADMIN[0]}:{ADMIN[1]}@")
        url = await stack.enter_async_context(fresh_database(server))
        await _fill(url)
        yield url


@pytest_asyncio.fixture
async def replicas(tmp_path, database) -> AsyncIterator[dict[str, Replica]]:
    """A, B and C, synced."""
    async with AsyncExitStack() as stack:
        found = {}
        for party in (A, B, C):
            store = Store.open(tmp_path / f"{party}.db", b"k" * 32)
            stack.callback(store.close)
            found[party] = await store.run(replica_over, store, identity(party), suites=CLASSIC)
            await found[party].sync(CouchPeer(database))
        yield found


def identity(party: str) -> Identity:
    return Identity.from_private_key(party, bytes.fromhex(VECTORS["keys"][party]["pkcs8Hex"]))


async def _fill(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        body = {"docs": VECTORS["docs"], "new_edits": False}
        async with session.post(f"{url}/_bulk_docs", json=body) as answer:
            assert await answer.json() == []
        for doc_id, content in VECTORS["attachments"].items():
            rev = next(doc["_rev"] for doc in VECTORS["docs"] if doc["_id"] == doc_id)
            data = base64.b64decode(content["encryptedB64"])
            path, named = f"{url}/{doc_id}/letter", {"rev": rev}
            async with session.put(path, params=named, data=data, headers={"Content-Type": "text/plain"}) as answer:
                assert answer.status == 201


async def _document(url: str, doc_id: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/{doc_id}") as answer:
        document: dict[str, Any] = await answer.json()
        return document


KINDS = {"Patient": "Patient", "Contact": "Contact", "HealthElement": "HealthcareElement", "Document": "Document"}
METADATA = ("id", "rev", "delegations", "cryptedForeignKeys", "encryptionKeys", "secretForeignKeys", "encryptedSelf")


def _plain(value: Any) -> Any:
    """What the SDK decrypted, without its bookkeeping and empty members."""
    if isinstance(value, dict):
        members = {name: _plain(each) for name, each in value.items() if name not in METADATA[2:]}
        return {name: each for name, each in members.items() if each not in ([], {}, None, "")}
    return [_plain(each) for each in value] if isinstance(value, list) else value


async def test_every_party_sees_what_the_sdk_showed_it(replicas):
    for party, replica in replicas.items():
        for doc_id, expected in VECTORS["expected"][party].items():
            entity = await replica.get(entity_class(KINDS[expected["kind"]]), doc_id)
            wanted = {name: each for name, each in expected["decrypted"].items() if name not in METADATA}
            assert _plain(to_record(entity)) == _plain(wanted)
            assert not entity.authenticated


async def test_both_scenarios_find_what_the_sdk_found(replicas):
    for party, replica in replicas.items():
        expected = VECTORS["expected"][party]
        patient = await replica.get(Patient, IDS["patient"])
        found = [contact.id async for contact in replica.contacts_of(patient)]
        assert found == expected[IDS["patient"]]["contactsFound"]
        contact = await replica.get(Contact, IDS["contact"])
        assert [(await replica.patient_of(contact)).id] == expected[IDS["contact"]]["owningEntitiesFound"]


async def test_the_attachment_is_decrypted(replicas):
    plain = base64.b64decode(VECTORS["attachments"][IDS["document"]]["plainB64"])
    for party in (A, B):
        document = await replicas[party].get(Document, IDS["document"])
        (file,) = [each async for each in replicas[party].attachments_of(document)]
        assert file.name == "letter"
        assert b"".join([piece async for piece in replicas[party].read_attachment(file)]) == plain


async def test_an_edit_and_a_share_keep_the_layout_and_reach_everyone(replicas, database):
    before = await _document(database, IDS["healthElement"])
    element = await replicas[B].get(HealthcareElement, IDS["healthElement"])
    element = await replicas[B].save(element.replace(note="à revoir"))
    await replicas[B].share(element, with_=C)
    for party in (B, A, C):
        await replicas[party].sync(CouchPeer(database))
    for party in (A, B, C):
        assert (await replicas[party].get(HealthcareElement, IDS["healthElement"])).note == "à revoir"
    after = await _document(database, IDS["healthElement"])
    assert after["java_type"] == before["java_type"]
    assert after["secretForeignKeys"] == before["secretForeignKeys"]
    for name in ("delegations", "cryptedForeignKeys", "encryptionKeys"):
        assert {party: after[name][party] for party in (A, B)} == before[name]
        (entry,) = after[name][C]
        assert (entry["owner"], entry["delegatedTo"]) == (B, C)
        assert set(entry) == {"owner", "delegatedTo", "key"}
    assert "à revoir" not in json.dumps(after, ensure_ascii=False)
    hcp = await _document(database, B)
    assert [len(key) for key in hcp["hcPartyKeys"][C]] == [512, 512]


async def test_new_records_are_read_by_those_they_are_shared_with(replicas, database):
    patient = await replicas[A].get(Patient, IDS["patient"])
    visit = await replicas[A].save(Contact(description="Contrôle"), patient=patient)
    await replicas[A].share(visit, with_=B)
    await replicas[A].sync(CouchPeer(database))
    await replicas[B].sync(CouchPeer(database))
    seen = await replicas[B].get(Contact, visit.id)
    assert seen.description == "Contrôle"
    assert (await replicas[B].patient_of(seen)).id == IDS["patient"]
    assert visit.id in [each.id async for each in replicas[B].contacts_of(patient)]
    assert [each.id async for each in replicas[B].find(Contact, text="controle")] == [visit.id]


async def test_deleting_is_soft_and_can_be_undone(replicas, database):
    contact = await replicas[A].get(Contact, IDS["contact"])
    gone = await replicas[A].delete(contact)
    await replicas[A].sync(CouchPeer(database))
    assert isinstance((await _document(database, IDS["contact"]))["deleted"], int)
    assert not (await replicas[A].restore(gone)).deleted


async def test_rsa_is_used_once_for_each_exchange_key(tmp_path, database):
    party = identity(B)
    store = Store.open(tmp_path / "once.db", b"k" * 32)
    try:
        replica = await store.run(replica_over, store, party, suites=CLASSIC)
        await replica.sync(CouchPeer(database))
        for _ in range(3):
            assert [each.id async for each in replica.find(Patient)] == [IDS["patient"]]
            assert [each.id async for each in replica.find(Contact)] == [IDS["contact"]]
        assert party.party_key.decryptions == 1
    finally:
        store.close()


async def test_hcps_of_the_database_are_shown(replicas):
    assert [each.id async for each in replicas[A].find(Hcp)] == [A, B, C]


async def test_a_replica_that_was_not_opened_for_the_suite_shows_nothing_of_it(tmp_path, database):
    store = Store.open(tmp_path / "sealed.db", b"k" * 32)
    try:
        replica = await store.run(replica_over, store, identity(B))
        await replica.pull(CouchPeer(database))
        with pytest.raises(UnsupportedSuite):
            await replica.get(Patient, IDS["patient"])
        assert [each async for each in replica.find(Patient)] == []
    finally:
        store.close()


async def test_an_edit_changes_nothing_but_what_was_edited(replicas, database):
    before = await _document(database, IDS["patient"])
    patient = await replicas[A].get(Patient, IDS["patient"])
    await replicas[A].save(patient.replace(note="édité"))
    await replicas[A].sync(CouchPeer(database))
    after = await _document(database, IDS["patient"])
    assert {name for name in before | after if before.get(name) != after.get(name)} == {
        "_rev",
        "modified",
        "encryptedSelf",
    }


async def _leaves(url: str, doc_id: str) -> list[dict[str, Any]]:
    params, json_only = {"open_revs": "all"}, {"Accept": "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/{doc_id}", params=params, headers=json_only) as answer,
    ):
        return [row["ok"] for row in await answer.json()]


async def test_concurrent_edits_by_three_parties_and_other_software_become_one_revision(replicas, database):
    patient = {party: await replicas[party].get(Patient, IDS["patient"]) for party in (A, B, C)}
    await replicas[A].save(patient[A].replace(note="a cough"))
    await replicas[B].save(patient[B].replace(note="a cold", alias="Junkets"))
    await replicas[C].save(patient[C].replace(profession="poet"))
    theirs = {**await _document(database, IDS["patient"]), "maidenName": "Jennings"}
    async with aiohttp.ClientSession() as session, session.put(f"{database}/{IDS['patient']}", json=theirs) as answer:
        assert answer.status == 201
    for party in (A, B, C, A, B, C):
        await replicas[party].sync(CouchPeer(database))
    shown = [await replicas[party].get(Patient, IDS["patient"]) for party in (A, B, C)]
    assert len({each.rev for each in shown}) == 1
    for each in shown:
        assert (each.alias, each.profession, each.maiden_name) == ("Junkets", "poet", "Jennings")
        assert {"a cough", "a cold"} <= {each.note, *each.alternatives["note"]}
    leaves = await _leaves(database, IDS["patient"])
    assert [leaf["_rev"] for leaf in leaves if not leaf.get("_deleted")] == [shown[0].rev]
    assert all(leaf.keys() == {"_id", "_rev", "_deleted"} for leaf in leaves if leaf.get("_deleted"))
    settled = await replicas[C].save(shown[2].replace(note="a chill"))
    assert settled.alternatives == {}


async def test_edits_of_different_fields_are_shown_together_and_go_on_as_one(replicas, database):
    contact = {party: await replicas[party].get(Contact, IDS["contact"]) for party in (A, B)}
    await replicas[A].save(contact[A].replace(description="fièvre"))
    await replicas[B].save(contact[B].replace(location="Rome"))
    await replicas[A].push(CouchPeer(database))
    await replicas[B].push(CouchPeer(database))
    await replicas[C].pull(CouchPeer(database))
    seen = await replicas[C].get(Contact, IDS["contact"])
    assert (seen.description, seen.location, seen.alternatives) == ("fièvre", "Rome", {})
    assert [service.id for service in seen.services] == [service.id for service in contact[A].services]
    edited = await replicas[C].save(seen.replace(location="Naples"))
    await replicas[C].push(CouchPeer(database))
    await replicas[A].pull(CouchPeer(database))
    assert (await replicas[A].get(Contact, IDS["contact"])).rev == edited.rev


async def test_a_leaf_that_other_software_put_a_file_on_is_not_ended_by_a_merge(replicas, database):
    patient = {party: await replicas[party].get(Patient, IDS["patient"]) for party in (A, B)}
    await replicas[A].save(patient[A].replace(note="a cough"))
    file = f"{database}/{IDS['patient']}/scan?rev={patient[B].rev}"
    async with aiohttp.ClientSession() as session, session.put(file, data=b"a scan") as answer:
        assert answer.status == 201
        with_file = (await answer.json())["rev"]
    for party in (A, B, A):
        await replicas[party].sync(CouchPeer(database))
    leaves = await _leaves(database, IDS["patient"])
    assert with_file in {leaf["_rev"] for leaf in leaves if "scan" in leaf.get("_attachments", {})}
