"""Putting an Hcp out: its device opens nothing written later, those who stay read on; and who lacks keys gets them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from icure_sync import strict_json
from icure_sync.crypto import sealing
from icure_sync.crypto.access import Subject
from icure_sync.crypto.identity import Identity
from icure_sync.engine.sealed import SealedSuite
from icure_sync.engine.suite import Stored
from icure_sync.errors import InvalidEntity, NoAccess, NotFound, UnsupportedSuite
from icure_sync.model import Contact, Document, Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Revision
from tests.engine.meetings import leaves, met, stored_of

SDK_VECTORS = Path(__file__).parents[1] / "vectors" / "icure-classic-4.2.39.json"


async def run(replica, method: str, *args):
    """A method of the replica's sealed suite, in its store's thread."""
    suite = replica._keyed.opener._suites["sealed-1"]
    assert isinstance(suite, SealedSuite)
    return await replica._store.run(getattr(suite, method), *args)


def as_stored(written) -> Stored:
    return Stored(written.id, written.rev, written.document)


async def put(replica, revision: Revision):
    """What a server that is not filtered gives."""
    await replica._store.run(replica._store.documents.apply, [revision])


async def shown(replica, cls, entity):
    return (await replica.get(cls, entity.id)).note


async def test_what_is_written_after_a_revocation_opens_with_nothing_that_the_revoked_device_has(replicas, server):
    a, b, c, d = replicas
    john = await a.save(Patient(first_name="John", note="for B too"))
    for delegate in ("hcp-b", "hcp-c"):
        john = await a.share(john, with_=delegate)
    await met(server, a, b, c)
    old = await stored_of(b, john)
    subject = Subject.of(john.id, old.document)
    later = [await a.revoke(john, from_="hcp-b")]
    assert later[0].shared_with == {"hcp-a", "hcp-c"}
    later.append(await a.save(later[-1].replace(note="not for B")))
    later.append(await a.share(later[-1], with_="hcp-d"))
    later.append(await a.delete(later[-1]))
    keyring = b._keyed.parties.keyring
    known = sealing.sealing_keys(subject, old.document, keyring)
    for entity in later:
        held = await a._store.run(a._store.documents.get, john.id, entity.rev)
        if held is not None:  # others have been displaced
            document = msgspec.json.decode(held.body)
            assert not {name for name, _ in known} & {*document["sealedWith"]}
            assert all("hcp-b" not in document[name] for name in ("delegations", "encryptionKeys"))
            with pytest.raises(NoAccess):
                sealing.open_body(subject, document, keyring)
            await put(b, held)
            assert await shown(b, Patient, john) == "for B too"
    await met(server, a, c, d)
    for replica in (c, d):
        assert [each.note async for each in replica.find_deleted(Patient)] == ["not for B"]


async def test_who_is_put_out_is_told(replicas, server):
    a, b, *_ = replicas
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    await met(server, a, b)
    await a.revoke(john, from_="hcp-b")
    await a.sync(server)
    told = await b.sync(server)
    assert told.pulled == 2  # the notice, and that the key of the pair is retired
    leaves = await b._store.run(b._store.documents.held_leaves, john.id)
    (notice,) = [each.revision for each in leaves if each.revision.deleted]
    document = msgspec.json.decode(notice.body)
    assert (document["notice"], document["delegations"], document["parents"]) == (True, {"hcp-b": []}, [john.rev])
    assert notice.history[1] == john.rev


async def test_those_who_stay_find_contacts_that_were_filed_before_and_after(replicas, server):
    a, b, c, _ = replicas
    john = await a.save(Patient(first_name="John"))
    await a.save(Contact(description="before"), patient=john)
    for delegate in ("hcp-b", "hcp-c"):
        await a.share(john, with_=delegate, include_linked=True)
    await met(server, a, b, c)
    kept = await a.revoke(john, from_="hcp-b")
    await met(server, a, c)
    after = await c.save(Contact(description="after"), patient=await c.get(Patient, john.id))
    await c.share(after, with_="hcp-a")
    await met(server, c, a)
    for replica in (a, c):
        assert {each.description async for each in replica.contacts_of(kept)} == {"before", "after"}
        assert (await replica.patient_of(after)).id == john.id
    filed = (await stored_of(a, after)).document["secretForeignKeys"]
    earlier = await run(b, "secret_ids", await stored_of(b, john))
    assert not {*filed} & {*earlier}


async def test_files_attached_before_stay_readable_for_those_who_stay(replicas, server):
    a, _, c, _ = replicas
    letter = await a.save(Document(name="Letter"))
    await a.attach(letter, "scan.pdf", b"bytes of a scan")
    for delegate in ("hcp-b", "hcp-c"):
        await a.share(letter, with_=delegate, include_linked=True)
    await a.revoke(await a.get(Document, letter.id), from_="hcp-b", include_linked=True)
    await met(server, a, c)
    for replica in (a, c):
        (scan,) = [each async for each in replica.attachments_of(letter)]
        assert scan.shared_with == {"hcp-a", "hcp-c"}
        assert b"".join([piece async for piece in replica.read_attachment(scan)]) == b"bytes of a scan"


async def test_granting_again_works_and_does_not_bring_back_whom_the_party_had_granted(replicas, server):
    a, b, c, _ = replicas
    john = await a.share(await a.save(Patient(first_name="John", note="before")), with_="hcp-b")
    await met(server, a, b)
    await b.share(await b.get(Patient, john.id), with_="hcp-c")
    await met(server, a, b, c)
    out = await a.revoke(await a.get(Patient, john.id), from_="hcp-b")
    assert out.shared_with == {"hcp-a"}
    again = await a.share(await a.save(out.replace(note="after")), with_="hcp-b")
    assert again.shared_with == {"hcp-a", "hcp-b"}
    await met(server, a, b)
    assert await shown(b, Patient, john) == "after"
    await put(c, await a._store.run(a._store.documents.get, john.id))
    assert await shown(c, Patient, john) == "before"
    assert (await b.revoke(await b.share(again, with_="hcp-c"), from_="hcp-c")).shared_with == {"hcp-a", "hcp-b"}


async def test_everything_linked_is_revoked_but_what_the_party_cannot_open(replicas):
    a, *_ = replicas
    john = await a.save(Patient(first_name="John"))
    shared, own = [await a.save(Contact(description=text), patient=john) for text in ("shared", "own")]
    await a.share(shared, with_="hcp-b")
    own = await a.get(Contact, own.id)
    await a.revoke(john, from_="hcp-b", include_linked=True)
    assert (await a.get(Contact, shared.id)).shared_with == {"hcp-a"}
    assert await a.get(Contact, own.id) == own
    assert (await a.get(Patient, john.id)).rev == john.rev


async def test_what_was_linked_by_others_is_named_and_the_rest_is_revoked(replicas, server):
    a, b, *_ = replicas
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    visit = await a.share(await a.save(Contact(description="of A"), patient=john), with_="hcp-b")
    await met(server, a, b)
    foreign = await b.save(Contact(description="of B"), patient=await b.get(Patient, john.id))
    await b.share(foreign, with_="hcp-a")
    await met(server, b, a)
    with pytest.raises(NoAccess, match="1 records could not be revoked, the others were") as failed:
        await a.revoke(john, from_="hcp-b", include_linked=True)
    assert failed.value.attempts == (f"{foreign.id}: hcp-b made it, and nobody can put its creator out",)
    assert (await a.get(Patient, john.id)).shared_with == (await a.get(Contact, visit.id)).shared_with == {"hcp-a"}


async def test_a_revocation_that_would_change_nothing_writes_nothing(replicas, server):
    a, b, *_ = replicas
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    john = await a.share(john, with_="hcp-c")
    await met(server, a, b)
    for replica, delegate, message in (
        (a, "hcp-a", "nobody can put its creator out"),
        (a, "hcp-d", "has no access"),
        (a, "not an id", "no Hcp id"),
        (b, "hcp-b", "nobody puts himself out"),
        (b, "hcp-c", "hcp-a granted it too; ask hcp-a"),
    ):
        with pytest.raises(InvalidEntity, match=message):
            await replica.revoke(john, from_=delegate)
        assert (await replica.get(Patient, john.id)).rev == john.rev
    with pytest.raises(InvalidEntity, match="not saved yet"):
        await a.revoke(Patient(), from_="hcp-b")


async def test_icure_classic_knows_no_revocation(open_replica, identities):
    vectors = strict_json.loads(SDK_VECTORS.read_bytes(), "vectors")
    me, patient_id = vectors["ids"]["A"], vectors["ids"]["patient"]
    identities[me] = Identity.from_private_key(me, bytes.fromhex(vectors["keys"][me]["pkcs8Hex"]))
    a = await open_replica(me, suites=("icure-classic",))
    for document in vectors["docs"]:
        body = {name: value for name, value in document.items() if not name.startswith("_")}
        await put(a, Revision(document["_id"], (document["_rev"],), msgspec.json.encode(body)))
    john = await a.get(Patient, patient_id)
    with pytest.raises(UnsupportedSuite, match="icure-classic cannot"):
        await a.revoke(john, from_=vectors["ids"]["B"])


async def test_an_entity_read_before_revoking_can_be_written_after_it(replicas):
    a, *_ = replicas
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    await a.revoke(john, from_="hcp-b")
    assert (await a.save(john.replace(note="a cough"))).shared_with == {"hcp-a"}


async def test_a_deleted_record_stays_deleted_when_somebody_is_put_out(replicas):
    a, *_ = replicas
    gone = await a.delete(await a.share(await a.save(Patient(first_name="John")), with_="hcp-b"))
    out = await a.revoke(gone, from_="hcp-b")
    assert (out.deleted, out.shared_with) == (True, {"hcp-a"})
    with pytest.raises(NotFound):
        await a.get(Patient, gone.id)
    assert (await a.restore(out)).first_name == "John"


# Over several leaves


async def forked(open_replica, replicas, server) -> tuple[list[Stored], list[Stored]]:
    """A's laptop and phone wrote at once: leaves of edits, and of a revocation of B that crosses a share with D."""
    a, *_ = replicas
    phone = await open_replica("hcp-a", "phone")
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    john = await a.share(john, with_="hcp-c")
    await met(server, a, phone)
    edits, accesses = [], []
    for replica, written in ((a, "laptop"), (phone, "phone")):
        before = await stored_of(replica, john)
        edits.append(as_stored(await run(replica, "edit", before, john.replace(**{_FIELDS[written]: written}))))
    accesses.append(as_stored(await run(a, "revoke", before, "hcp-b")))
    accesses.append(as_stored(await run(phone, "share", before, "hcp-d")))
    await met(server, a, phone)
    return edits, accesses


_FIELDS = {"laptop": "note", "phone": "last_name"}


async def test_revoking_over_several_leaves_takes_them_in_and_ends_the_others(open_replica, replicas, server):
    a, *_ = replicas
    leaves, _ = await forked(open_replica, replicas, server)
    joined = (await run(a, "join", leaves)).shown
    written = await run(a, "revoke", joined, "hcp-b")
    assert {*written.document["parents"]} == {leaf.rev for leaf in leaves}
    assert written.parent == max(leaf.rev for leaf in leaves)
    kinds = [{"retired", "notice"} & each.document.keys() for each in written.beside]
    assert kinds == [{"retired"}, {"notice"}]
    assert written.beside[1].parent == written.parent
    content = await run(a, "open", as_stored(written))
    assert (content.record["note"], content.record["lastName"]) == ("laptop", "phone")


async def test_a_share_that_crosses_a_revocation_is_repaired_once(open_replica, replicas, server):
    a, b, c, d = replicas
    _, leaves = await forked(open_replica, replicas, server)
    (merged,) = (await run(a, "join", leaves)).written
    assert await run(c, "repair", as_stored(merged)) is None
    with pytest.raises(NoAccess):
        await run(d, "open", as_stored(merged))
    repaired = await run(a, "repair", as_stored(merged))
    assert (repaired.parent, repaired.beside) == (merged.rev, ())
    assert repaired.document["encryptedSelf"] == merged.document["encryptedSelf"]
    assert await run(a, "repair", as_stored(repaired)) is None
    await met(server, a, d)
    assert (await run(d, "open", as_stored(repaired))).record["firstName"] == "John"
    assert len(await run(d, "secret_ids", as_stored(repaired))) == 2
    with pytest.raises(NoAccess):
        await run(b, "open", as_stored(repaired))


# Re-keying


@pytest.mark.parametrize("write", ["edit", "delete", "restore", "share", "revoke", "repair"])
async def test_a_write_over_a_merge_that_has_no_safe_key_draws_a_new_one(replicas, server, write):
    a, b, c, d = replicas
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    await met(server, a, b, c)
    await b.share(await b.get(Patient, john.id), with_="hcp-c")
    await met(server, b, a, c)
    before = replace(await stored_of(a, john), is_safe=False)
    if write == "repair":  # B, whom A granted it, lacks what opens it
        keys = {hcp: entries for hcp, entries in before.document["encryptionKeys"].items() if hcp != "hcp-b"}
        before = replace(before, document={**before.document, "encryptionKeys": keys})
    arguments = {"edit": [john.replace(note="a cough")], "share": ["hcp-d"], "revoke": ["hcp-c"]}.get(write, [])
    written = await run(a, write, before, *arguments)
    (name,) = written.document["sealedWith"]
    assert name not in before.document["sealedWith"]
    inside = (await run(a, "open", as_stored(written))).shared_with
    assert inside == {"hcp-a", "hcp-b", "hcp-c", *(["hcp-d"] if write == "share" else [])} - {
        *(["hcp-c"] if write == "revoke" else [])
    }
    await met(server, a, b, c, d)
    for replica in replicas:
        if replica.hcp_id in inside:
            content = await run(replica, "open", as_stored(written))
            assert (content.record["firstName"], content.deleted) == ("John", write == "delete")
        else:
            with pytest.raises(NoAccess):
                await run(replica, "open", as_stored(written))


async def test_a_merge_that_has_no_safe_key_is_written_under_a_new_one_without_anybody_editing(
    open_replica, replicas, server
):
    """B and C have both granted D access. A's laptop puts B out and A's phone C: each key is one that D has."""
    a, b, c, d = replicas
    phone = await open_replica("hcp-a", "phone")
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    john = await a.share(john, with_="hcp-c")
    await met(server, a, b, c, d)
    await b.share(await b.get(Patient, john.id), with_="hcp-d")
    await c.share(await c.get(Patient, john.id), with_="hcp-d")
    await met(server, b, c, d, a, phone)
    await a.save((await a.revoke(await a.get(Patient, john.id), from_="hcp-b")).replace(note="by the laptop"))
    await phone.save((await phone.revoke(await phone.get(Patient, john.id), from_="hcp-c")).replace(gender="male"))
    await met(server, a, phone, b, c, d)
    stored = [await stored_of(replica, john) for replica in (a, phone)]
    assert stored[0].rev == stored[1].rev
    assert await leaves(a, john.id) == await leaves(phone, john.id) == [stored[0].rev]
    merged = await a.get(Patient, john.id)
    assert (merged.note, merged.gender, merged.shared_with) == ("by the laptop", "male", {"hcp-a"})
    for replica in (b, c, d):
        await put(replica, await a._store.run(a._store.documents.get, john.id, merged.rev))
        with pytest.raises(NoAccess):
            await run(replica, "open", stored[0])


@pytest.mark.parametrize("is_forged", [False, True])
async def test_a_party_that_is_not_known_or_not_trusted_gets_no_key_and_its_granter_serves_it(
    open_replica, replicas, server, is_forged
):
    _, b, c, _ = replicas
    phone = await open_replica("hcp-a", "phone")
    theirs = await b._store.run(b._store.documents.get, "hcp-b")
    await put(phone, theirs)
    john = await phone.save(Patient(first_name="John"))
    await phone._store.run(phone._keyed.parties.refresh)
    john = await phone.share(john, with_="hcp-b")
    await phone.sync(MemoryPeer("nobody"))
    for doc_id in ("hcp-a", john.id):
        await put(b, await phone._store.run(phone._store.documents.get, doc_id))
    await b._store.run(b._keyed.parties.refresh)
    await b.share(await b.get(Patient, john.id), with_="hcp-c")
    await put(phone, await b._store.run(b._store.documents.get, john.id))
    if is_forged:
        genuine = await c._store.run(c._store.documents.get, "hcp-c")
        document = {**msgspec.json.decode(genuine.body), "name": "Practice X"}
        await put(phone, Revision("hcp-c", genuine.history, msgspec.json.encode(document)))
    unsafe = replace(await stored_of(phone, john), is_safe=False)
    written = as_stored(await run(phone, "edit", unsafe, john.replace(note="a cough")))
    assert ("hcp-c" in (await phone.status()).untrusted) == is_forged
    assert await run(phone, "repair", written) is None
    await put(b, await phone._store.run(phone._store.documents.get, "hcp-a"))
    await b._store.run(b._keyed.parties.refresh)
    served = as_stored(await run(b, "repair", written))
    assert (await run(b, "open", served)).record["note"] == "a cough"
    await met(server, b, c)
    with pytest.raises(NoAccess):
        await run(c, "open", written)
    assert (await run(c, "open", served)).record["note"] == "a cough"
