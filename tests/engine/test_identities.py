"""Identities that follow each other: which are believed, what a person must confirm, and what an old key still does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from icure_sync import strict_json
from icure_sync.crypto import hcp_keys
from icure_sync.crypto.access import Subject
from icure_sync.crypto.attestations import ATTESTATION, attest, attestation_id
from icure_sync.crypto.chain import sealing_keys
from icure_sync.crypto.comparison import comparison
from icure_sync.crypto.envelope import kid, to_text
from icure_sync.crypto.hcp_keys import HcpKey, wrapped_keys
from icure_sync.crypto.identity import COMPROMISED, ENDINGS, PLANNED, Identity
from icure_sync.crypto.party import Party
from icure_sync.crypto.primitives import SigningKey, SymmetricKey
from icure_sync.crypto.retirements import Retired, retired
from icure_sync.crypto.revision import written
from icure_sync.engine import hcp_document
from icure_sync.engine.attesting import Attesting
from icure_sync.engine.replica import Replica
from icure_sync.engine.suite import Stored
from icure_sync.errors import NoAccess, NotFound, UntrustedKey
from icure_sync.ids import DocId, HcpId, Kid, Rev
from icure_sync.model import Hcp, Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Revision
from icure_sync.store import Pin
from tests.engine.conftest import OpenAs
from tests.keys import A, B, C, identity, seeded, successor

NOW = 1_700_000_000_000
FIRST = identity(A).signing_key.public


@pytest.fixture
def server() -> MemoryPeer:
    return MemoryPeer("clinic")


async def met(server: MemoryPeer, *replicas: Replica) -> None:
    for replica in (*replicas, *replicas):
        await replica.sync(server)


def parties(replica: Replica) -> Any:
    return replica._keyed.parties


async def on(replica: Replica, call: Callable[..., Any], *given: Any) -> Any:
    return await replica._store.run(call, *given)


async def confirm(replica: Replica, hcp_id: HcpId, key: bytes | None = None) -> Any:
    return await on(replica, parties(replica).confirm, hcp_id, NOW, key)


async def own_document(replica: Replica, hcp_id: HcpId = A) -> dict[str, Any]:
    found = await on(replica, parties(replica).shown, hcp_id)
    return dict(found.document)


async def put(server: MemoryPeer, *revisions: Revision) -> None:
    for revision in revisions:
        server.put(revision)


def hcp_revision(stored: Stored, above: tuple[Rev, ...] = ()) -> Revision:
    return Revision(stored.id, (stored.rev, *above), strict_json.dumps(stored.document))


def rogue(ended: str) -> Identity:
    """What whoever has the first keys of A makes of them: a second identity that A never made."""
    return replace(successor(ended), signing_key=SigningKey(b"\x07" * 32))


def endorsed(one: Identity) -> Identity:
    return replace(one, endorsement=identity(A).sign("endorsement", *one.stated()))


def first_of(one: Identity) -> Revision:
    made = hcp_document.first(one)
    return hcp_revision(Stored(made.id, made.rev, made.document))


# What is followed


async def test_a_planned_change_is_followed_by_itself(open_as, server):
    a, b = await open_as(identity(A)), await open_as(identity(B))
    await met(server, a, b)
    john = await b.save(Patient(first_name="John"))
    await b.share(john, with_=A)
    jane = await a.share(await a.save(Patient(first_name="Jane")), with_=B)
    await met(server, a, b)
    a = await open_as(successor(PLANNED))
    await met(server, a, b)
    standing = parties(b).standing(A)
    assert (standing.party.epoch, standing.trouble, standing.claims) == (2, "", ())
    assert (await a.get(Patient, john.id)).first_name == "John"
    await a.save((await a.get(Patient, jane.id)).replace(note="with the new key"))
    await b.share(await b.save(Patient(first_name="Jim")), with_=A)
    await met(server, a, b)
    assert (await b.get(Patient, jane.id)).note == "with the new key"
    assert {each.first_name async for each in a.find(Patient)} == {"John", "Jane", "Jim"}
    assert not any(each.ended == COMPROMISED for each in retired(await own_document(a)))


async def test_a_key_that_was_lost_is_followed_by_a_person_s_word_alone(open_as, server):
    a, b = await open_as(identity(A)), await open_as(identity(B))
    await met(server, a, b)
    john = await b.share(await b.save(Patient(first_name="John")), with_=A)
    await met(server, a, b)
    a = await open_as(successor(COMPROMISED))
    jane = await a.share(await a.save(Patient(first_name="Jane")), with_=B)
    await met(server, a, b)

    standing = parties(b).standing(A)
    assert standing.party is not None
    assert (standing.party.epoch, [each.epoch for each in standing.claims]) == (1, [2])
    assert standing.pin.verified is None
    assert "not the one that was pinned" in standing.trouble
    assert A in (await b.status()).untrusted
    jim = await b.save(Patient(first_name="Jim"))
    with pytest.raises(UntrustedKey, match="another identity is claimed for hcp-a"):
        await b.share(jim, with_=A)
    with pytest.raises(NotFound, match="nothing vouches"):
        await b.get(Patient, jane.id)

    number = comparison(parties(b).own, standing.claims[0])
    assert number == comparison(parties(a).own, parties(b).own)
    after = await confirm(b, A)
    assert (after.party.epoch, after.trouble, after.claims, after.pin.verified) == (2, "", (), NOW)
    assert (await b.get(Patient, jane.id)).first_name == "Jane"
    await b.share(jim, with_=A)
    await met(server, a, b)
    assert {each.first_name async for each in a.find(Patient)} == {"John", "Jane", "Jim"}
    document = await own_document(b, B)
    (old,) = {each.kid for each in retired(document)}
    assert Retired(old, COMPROMISED) in retired(document)
    towards_a = [each for each in wrapped_keys(B, document) if each.delegate == A]
    assert {each.epochs for each in towards_a} == {(1, 2)}  # both: the old one so that new devices read history
    assert len(towards_a) == 2
    assert john.id


async def test_a_new_device_that_never_had_the_old_keys_reads_what_was_shared_before(open_as, server):
    """A lost everything and begins anew: nothing explains its new keys but a person."""
    a, b = await open_as(identity(A)), await open_as(identity(B))
    await met(server, a, b)
    john = await b.share(await b.save(Patient(first_name="John")), with_=A)
    await met(server, a, b)
    anew = replace(successor(COMPROMISED), former=(), epoch=1)
    fresh = await open_as(anew, "new laptop")
    await met(server, fresh, b)
    with pytest.raises(UntrustedKey):
        await b.share(await b.save(Patient(first_name="Jane")), with_=A)
    await confirm(b, A)
    await met(server, b, fresh)
    assert parties(b).standing(A).pin.refused == (FIRST,)  # as if somebody else had passed for A: who can say?
    assert (await fresh.get(Patient, john.id)).first_name == "John"


async def test_what_was_refused_for_an_unknown_key_is_looked_at_again(open_as, server):
    """The record comes before the document that says whose key it is."""
    a, b = await open_as(identity(A)), await open_as(identity(B))
    await met(server, a, b)
    a = await open_as(successor(PLANNED))
    jane = await a.share(await a.save(Patient(first_name="Jane")), with_=B)
    await a.sync(server)
    alone = MemoryPeer("half a clinic")
    for revision in await on(a, a._store.documents.leaves, DocId(jane.id)):
        alone.put(revision)
    await b.sync(alone)
    assert [each async for each in b.find(Patient)] == []
    await b.sync(server)
    assert (await b.get(Patient, jane.id)).first_name == "Jane"


# What is not


@pytest.mark.parametrize("ended", ENDINGS)
async def test_of_two_identities_at_one_epoch_a_person_takes_one_and_the_other_is_never_taken(open_as, server, ended):
    a, b = await open_as(identity(A)), await open_as(identity(B))
    await met(server, a, b)
    evil = endorsed(rogue(PLANNED))
    await put(server, first_of(evil))
    a = await open_as(successor(ended))
    await met(server, a)
    await b.sync(server)
    standing = parties(b).standing(A)
    assert standing.pin.signing_key == FIRST
    keys = {each.signing_key for each in standing.claims}
    assert keys == {evil.signing_key.public, successor(ended).signing_key.public}
    with pytest.raises(UntrustedKey, match="2 other identities are claimed"):
        await confirm(b, A)
    with pytest.raises(UntrustedKey, match="nothing states that key"):
        await confirm(b, A, b"\x00" * 32)
    after = await confirm(b, A, successor(ended).signing_key.public)
    assert (after.claims, after.pin.refused) == ((), (evil.signing_key.public,))
    assert after.party.signing_key == successor(ended).signing_key.public
    await b.share(await b.save(Patient(first_name="John")), with_=A)
    await met(server, b, a)
    assert [each.first_name async for each in a.find(Patient)] == ["John"]


async def test_a_person_may_keep_what_is_pinned_and_is_not_asked_again(open_as, server):
    a, b = await open_as(identity(A)), await open_as(identity(B))
    await met(server, a, b)
    evil = rogue(COMPROMISED)
    await put(server, first_of(evil))
    await b.sync(server)
    assert parties(b).standing(A).claims
    after = await confirm(b, A, FIRST)
    assert (after.claims, after.pin.verified, after.pin.epoch) == ((), NOW, 1)
    await b.share(await b.save(Patient(first_name="John")), with_=A)
    again = await open_as(identity(B))
    assert parties(again).standing(A).claims == ()
    assert retired(await own_document(again, B)) == frozenset()


async def test_who_has_the_old_keys_adds_nothing_to_the_document_once_they_are_known_to_be_lost(open_as, server):
    a, b, thief = await open_as(identity(A)), await open_as(identity(B)), await open_as(identity(A), "stolen")
    c = await open_as(identity(C))
    await met(server, a, b, c, thief)
    a = await open_as(successor(COMPROMISED))
    await met(server, a, b)
    await confirm(b, A)
    await thief.share(await thief.save(Patient(first_name="Bait")), with_=C)
    await on(thief, parties(thief).retire, C, PLANNED)
    elsewhere = MemoryPeer("what the thief puts there")
    await thief.sync(elsewhere)
    for revision in await on(thief, thief._store.documents.leaves, DocId(A)):
        await on(b, b._store.documents.apply, [revision])
        await on(a, a._store.documents.apply, [revision])
    for replica in (a, b):
        await on(replica, parties(replica).refresh)
        await on(replica, parties(replica).reconcile)
        document = await own_document(replica, A)
        assert [each.delegate for each in wrapped_keys(A, document)] == [A, A]
        assert {each.ended for each in retired(document)} == {COMPROMISED}
        assert Party.of(A, document) == Party.of_identity(successor(COMPROMISED))
        assert "a key that it lost" in parties(replica).standing(A).trouble
        assert parties(replica).standing(A).claims == ()  # sharing goes on
    await b.share(await b.save(Patient(first_name="John")), with_=A)


async def test_another_device_s_revision_of_the_old_epoch_that_was_seen_before_is_carried_on(open_as, server):
    a, phone, b = await open_as(identity(A)), await open_as(identity(A), "phone"), await open_as(identity(B))
    await met(server, a, phone, b)
    jane = await phone.share(await phone.save(Patient(first_name="Jane")), with_=B)  # {AB}, on the phone alone
    a = await open_as(successor(COMPROMISED))
    await met(server, a)
    phone = await open_as(successor(COMPROMISED), "phone")
    await met(server, phone, a, phone)
    for replica in (a, phone):
        document = await own_document(replica)
        (key,) = [each for each in wrapped_keys(A, document) if each.delegate == B]
        assert Retired(key.kid, COMPROMISED) in retired(document)
    leaves = await on(a, a._store.documents.leaves, DocId(A))
    assert len([each for each in leaves if not each.deleted]) == 1
    await b.sync(server)
    await confirm(b, A)
    assert parties(b).keyring.get(A, B, key.kid) is not None
    assert jane.id


async def test_the_own_hcp_is_never_given_another_identity_by_a_document(open_as, server):
    a, phone = await open_as(identity(A)), await open_as(identity(A), "phone")
    b = await open_as(identity(B))
    await met(server, a, phone, b)
    a = await open_as(successor(PLANNED))
    await met(server, a, phone)
    assert parties(phone).standing(A).pin.signing_key == FIRST
    assert [each.epoch for each in parties(phone).standing(A).claims] == [2]
    with pytest.raises(UntrustedKey, match="another identity is claimed for hcp-a"):
        await phone.share(await phone.save(Patient(first_name="John")), with_=B)
    with pytest.raises(UntrustedKey, match="take its new identity over"):
        await confirm(phone, A)
    phone = await open_as(successor(PLANNED), "phone")
    await phone.sync(server)
    assert parties(phone).standing(A).trouble == ""
    with pytest.raises(UntrustedKey, match="under another identity"):
        await open_as(identity(A), "phone")


async def test_an_identity_that_is_not_known_at_all_cannot_be_confirmed(open_as):
    b = await open_as(identity(B))
    assert parties(b).standing(A) is None
    with pytest.raises(UntrustedKey, match="nothing is known"):
        await confirm(b, A)


async def test_a_key_that_its_own_identity_says_it_lost_does_not_come_back(open_as, server):
    """The highest revision may be of the older epoch: what a new replica pins is the highest epoch."""
    a = await open_as(identity(A))
    for place in ("Ghent", "Liège", "Bonn"):
        await a.save((await a.get(Hcp, A)).replace(speciality=place))
    old = await on(a, parties(a).shown, A)
    await put(server, hcp_revision(old), first_of(successor(COMPROMISED)))
    b = await open_as(identity(B))
    await b.sync(server)
    standing = parties(b).standing(A)
    assert (standing.pin.epoch, standing.claims) == (2, ())
    assert Party.of(A, await own_document(b, A)).epoch == 2


# Signatures of a key that was lost


async def test_what_a_lost_key_signed_is_believed_where_it_was_before_and_else_once_attested(
    open_as, server, monkeypatch
):
    a, b = await open_as(identity(A)), await open_as(identity(B))
    await met(server, a, b)
    john = await a.share(await a.save(Patient(first_name="John")), with_=B)
    await met(server, a, b)
    assert (await b.get(Patient, john.id)).first_name == "John"
    with monkeypatch.context() as patched:
        patched.setattr(Attesting, "attest", lambda *_: 0)  # it was killed before it came to that
        a = await open_as(successor(COMPROMISED))
    await met(server, a, b)
    await confirm(b, A)
    assert (await b.get(Patient, john.id)).first_name == "John"  # it was verified before
    edited = await b.save((await b.get(Patient, john.id)).replace(note="by B"))
    await b.sync(server)

    fresh = await open_as(identity(B), "new phone")
    await fresh.sync(server)
    with pytest.raises(NotFound, match="nothing vouches"):
        await fresh.get(Patient, john.id)
    await a.sync(server)
    a = await open_as(successor(COMPROMISED))
    await a.sync(server)
    assert (await a.get(Patient, john.id)).note == "by B"
    await fresh.sync(server)
    assert (await fresh.get(Patient, john.id)).rev == edited.rev
    again = await open_as(identity(B), "new phone")
    assert (await again.get(Patient, john.id)).rev == edited.rev


async def test_each_device_attests_once_what_it_alone_has(open_as, server):
    a, phone, b = await open_as(identity(A)), await open_as(identity(A), "phone"), await open_as(identity(B))
    await met(server, a, phone, b)
    mine = await phone.share(await phone.save(Patient(first_name="Jane")), with_=B)
    john = await a.share(await a.save(Patient(first_name="John")), with_=B)
    a = await open_as(successor(COMPROMISED))
    await met(server, a, b)
    await confirm(b, A)
    phone = await open_as(successor(COMPROMISED), "phone")
    for _ in range(2):
        await met(server, phone, a, b)
        assert {each.first_name async for each in b.find(Patient)} == {"Jane", "John"}
        found = await on(b, b._store.documents.ids_of_type, ATTESTATION)
        assert found == [attestation_id(A, 2, 0)]  # one, though both wrote it, and not seeing each other
        leaves = await on(b, b._store.documents.leaves, found[0])
        assert len(leaves) == 2
        a, phone = await open_as(successor(COMPROMISED)), await open_as(successor(COMPROMISED), "phone")
    assert (mine.id, john.id) != ("", "")


async def test_an_attestation_that_the_hcp_did_not_sign_attests_nothing(open_as, server):
    b = await open_as(identity(B))
    await put(server, first_of(successor(COMPROMISED)))
    doc_id, rev, document = next(attest(successor(COMPROMISED), [b"x" * 16]))
    unsigned = {name: value for name, value in document.items() if name != "written"}
    unsigned["signingKey"] = to_text(FIRST)
    forged_rev, forged = written(doc_id, unsigned, identity(A))
    await put(server, Revision(doc_id, (forged_rev,), strict_json.dumps(forged)))
    await put(server, Revision(DocId("attestation-junk"), (Rev("1-" + "0" * 32),), b'{"type":"Attestation"}'))
    other_id, other_rev, other = next(attest(replace(successor(COMPROMISED), hcp_id=HcpId("hcp-z")), [b"x" * 16]))
    await put(server, Revision(other_id, (other_rev,), strict_json.dumps(other)))
    await b.sync(server)
    signer = parties(b).signer(A)
    assert len(signer.attested) == 0
    await put(server, Revision(doc_id, (rev,), strict_json.dumps(document)))
    await b.sync(server)
    assert len(parties(b).signer(A).attested) == 1


# Several devices of the Hcp that compares


async def test_what_one_device_pinned_another_takes_over(open_as, server):
    a, b, tablet = await open_as(identity(A)), await open_as(identity(B)), await open_as(identity(B), "tablet")
    await met(server, a, b, tablet)
    a = await open_as(successor(COMPROMISED))
    await met(server, a, b, tablet)
    await confirm(b, A)
    await b.sync(server)
    (pin,) = [each for each in await on(b, parties(b).pins) if each.hcp == A]
    await on(tablet, parties(tablet).take_pin, pin)
    await tablet.sync(server)
    standing = parties(tablet).standing(A)
    assert (standing.party.epoch, standing.trouble, standing.pin.verified) == (2, "", NOW)
    await tablet.share(await tablet.save(Patient(first_name="John")), with_=A)
    older = Pin(A, FIRST, Rev(""))
    await on(tablet, parties(tablet).take_pin, older)  # what it knew once: nothing changes
    assert parties(tablet).standing(A).pin.epoch == 2
    seen = replace(pin, verified=NOW + 1)
    await on(tablet, parties(tablet).take_pin, seen)
    assert parties(tablet).standing(A).pin.verified == NOW + 1
    await on(tablet, parties(tablet).take_pin, seen)
    unknown = Pin(HcpId("hcp-z"), b"z" * 32, Rev("1-a"))
    await on(tablet, parties(tablet).take_pin, unknown)
    assert parties(tablet).standing(HcpId("hcp-z")).pin == unknown
    with pytest.raises(UntrustedKey, match="another device of yours"):
        await on(tablet, parties(tablet).take_pin, Pin(A, b"y" * 32, Rev("1-a")))
    assert "another device of yours" in parties(tablet).standing(A).trouble
    assert HcpId("hcp-z") in [each.hcp_id for each in await on(tablet, parties(tablet).standings)]


async def test_comparing_without_anything_new_is_remembered(open_as, server):
    a, b = await open_as(identity(A)), await open_as(identity(B))
    await met(server, a, b)
    assert (await confirm(b, A)).pin.verified == NOW
    again = await open_as(identity(B))
    assert parties(again).standing(A).pin.verified == NOW


# What is sealed with what somebody knows who should not


async def content_keys(replica: Replica, doc_id: str) -> list[str]:
    (leaf,) = await on(replica, replica._store.documents.leaves, DocId(doc_id))
    return list(json.loads(leaf.body)["sealedWith"])


@pytest.mark.parametrize("write", ["edit", "delete", "share"])
async def test_the_next_write_over_what_a_lost_device_can_open_draws_a_new_key(open_as, server, write):
    a, b, c = await open_as(identity(A)), await open_as(identity(B)), await open_as(identity(C))
    await met(server, a, b, c)
    own = await a.save(Patient(first_name="Own"))
    john = await b.share(await b.save(Patient(first_name="John")), with_=A)
    await met(server, a, b, c)
    a = await open_as(successor(COMPROMISED))
    await met(server, a, b, c)
    await confirm(b, A)
    await confirm(c, A)
    await met(server, b, a, c)

    async def written(replica: Replica, entity: Patient) -> None:
        before = await content_keys(replica, entity.id)
        entity = await replica.get(Patient, entity.id)
        if write == "edit":
            await replica.save(entity.replace(note="new"))
        elif write == "delete":
            await replica.delete(entity)
        else:
            await replica.share(entity, with_=C)
        after = await content_keys(replica, entity.id)
        assert set(before).isdisjoint(after)
        if write == "edit":
            await replica.save((await replica.get(Patient, entity.id)).replace(note="newer"))
            assert await content_keys(replica, entity.id) == after  # once is enough

    await written(b, john)
    await written(a, own)
    await met(server, a, b, c)
    thief = await open_as(identity(A), "stolen")
    await thief.sync(server)
    for doc_id in (john.id, own.id):
        (leaf,) = await on(a, a._store.documents.leaves, DocId(doc_id))
        document = json.loads(leaf.body)
        with pytest.raises(NoAccess):
            sealing_keys(Subject.of(doc_id, document), document, parties(thief).keyring)


async def test_of_a_merge_under_a_lost_key_nothing_is_stored_until_somebody_writes(open_as, server):
    a, b, phone = await open_as(identity(A)), await open_as(identity(B)), await open_as(identity(B), "phone")
    await met(server, a, b, phone)
    john = await b.share(await b.save(Patient(first_name="John")), with_=A)
    await met(server, a, b, phone)
    await b.save((await b.get(Patient, john.id)).replace(note="left"))
    await phone.save((await phone.get(Patient, john.id)).replace(gender="male"))
    a = await open_as(successor(COMPROMISED))
    await met(server, a)
    await b.sync(server)
    await confirm(b, A)
    await phone.sync(server)
    await b.sync(server)
    shown = await b.get(Patient, john.id)
    assert (shown.note, shown.gender) == ("left", "male")
    await b.save(shown.replace(note="both"))
    keys = parties(b).keyring
    (leaf,) = [each for each in await on(b, b._store.documents.leaves, DocId(john.id)) if not each.deleted]
    document = json.loads(leaf.body)
    current = [
        entry
        for entries in document["encryptionKeys"].values()
        for entry in entries
        if entry["of"] in document["sealedWith"]
    ]
    assert current
    assert not any(keys.is_exposed(entry["owner"], entry["kid"]) for entry in current)


async def test_revoking_retires_the_key_of_the_pair_and_nothing_is_sealed_anew_for_that(open_as, server):
    a, b = await open_as(identity(A)), await open_as(identity(B))
    await met(server, a, b)
    jane = await a.share(await a.save(Patient(first_name="Jane")), with_=B)
    john = await a.share(await a.save(Patient(first_name="John")), with_=B)
    old = parties(a).keyring.pair(A, B)
    assert old is not None
    await a.revoke(john, from_=B)
    assert retired(await own_document(a)) == {Retired(old.kid, PLANNED)}
    assert parties(a).keyring.pair(A, B) is None
    before = await content_keys(a, jane.id)
    await a.save((await a.get(Patient, jane.id)).replace(note="still under the same key"))
    assert await content_keys(a, jane.id) == before
    again = await a.share(await a.get(Patient, john.id), with_=B)
    new = parties(a).keyring.pair(A, B)
    assert new is not None
    assert new.kid != old.kid
    await met(server, a, b)
    assert (await b.get(Patient, again.id)).first_name == "John"
    assert (await b.get(Patient, jane.id)).note == "still under the same key"


# What a key says after its end


async def claimed(open_as: OpenAs, server: MemoryPeer, ended: str) -> tuple[Replica, Replica, Replica, Patient]:
    """A's laptop has a new identity, and B follows it; A's tablet and what a thief has made of the first keys have not
    heard of it. Last, the record that all have."""
    laptop, tablet = await open_as(identity(A)), await open_as(identity(A), "tablet")
    b, thief = await open_as(identity(B)), await open_as(identity(A), "thief")
    await met(server, laptop, tablet, b)
    john = await laptop.share(await laptop.save(Patient(first_name="John")), with_=B)
    await met(server, laptop, tablet, b, thief)
    assert (await tablet.get(Patient, john.id)).note is None
    laptop = await open_as(successor(ended))
    await met(server, laptop, b)
    if ended == COMPROMISED:
        await confirm(b, A)
        await met(server, laptop, b)
    return laptop, tablet, b, john


async def test_what_a_thief_signs_after_the_claim_no_device_vouches_for(open_as, server):
    laptop, tablet, b, john = await claimed(open_as, server, COMPROMISED)
    thief = await open_as(identity(A), "thief")
    await thief.save((await thief.get(Patient, john.id)).replace(note="forged"))
    bait = await thief.save(Patient(first_name="Bait"))
    await thief.push(server)
    await tablet.sync(server)  # brings the claim and the forgeries at once
    assert (await tablet.get(Patient, john.id)).note is None
    with pytest.raises(NotFound, match="nothing vouches"):
        await tablet.get(Patient, bait.id)
    own = await tablet.save((await tablet.get(Patient, john.id)).replace(gender="male"))
    assert (await tablet.get(Patient, john.id)).gender == "male"
    tablet = await open_as(identity(A), "tablet")  # what came before the claim is known after a restart, too
    await tablet.sync(server)
    with pytest.raises(NotFound, match="nothing vouches"):
        await tablet.get(Patient, bait.id)
    tablet = await open_as(successor(COMPROMISED), "tablet")
    await met(server, tablet, b, laptop)
    for replica in (tablet, b, laptop):
        shown = await replica.get(Patient, john.id)
        assert (shown.note, shown.gender) == (None, "male")
    for replica in (tablet, laptop):
        with pytest.raises(NotFound, match="nothing vouches"):
            await replica.get(Patient, bait.id)
    assert own.id == john.id


async def test_what_came_while_nobody_looked_at_claims_was_not_there_before_one(open_as, server):
    """The device stops between the pull and what it takes in of it."""
    _, tablet, b, john = await claimed(open_as, server, COMPROMISED)
    thief = await open_as(identity(A), "thief")
    await thief.save((await thief.get(Patient, john.id)).replace(note="forged"))
    await thief.push(server)
    for doc_id in (DocId(A), john.id):
        for leaf in await server.leaves([doc_id]):
            if isinstance(leaf, Revision):
                await on(tablet, tablet._store.documents.apply, [leaf])
    tablet = await open_as(identity(A), "tablet")
    assert (await tablet.get(Patient, john.id)).note is None
    tablet = await open_as(successor(COMPROMISED), "tablet")
    await met(server, tablet, b)
    assert (await b.get(Patient, john.id)).note is None


async def test_a_third_device_vouches_for_what_it_wrote_itself_after_the_claim(open_as, server):
    desk = await open_as(identity(A), "desk")
    await desk.sync(server)
    laptop, tablet, _b, _ = await claimed(open_as, server, COMPROMISED)
    jane = await desk.save(Patient(first_name="Jane"))
    await desk.push(server)
    await tablet.sync(server)
    with pytest.raises(NotFound, match="nothing vouches"):
        await tablet.get(Patient, jane.id)
    tablet = await open_as(successor(COMPROMISED), "tablet")
    await met(server, tablet)
    with pytest.raises(NotFound, match="nothing vouches"):
        await tablet.get(Patient, jane.id)
    desk = await open_as(successor(COMPROMISED), "desk")
    await met(server, desk, tablet, laptop)
    for replica in (desk, tablet, laptop):
        assert (await replica.get(Patient, jane.id)).first_name == "Jane"


async def test_a_claim_that_a_person_refuses_holds_nothing_up_any_longer(open_as, server):
    """Anybody can state an identity that names the own key as lost."""
    laptop, tablet = await open_as(identity(A)), await open_as(identity(A), "tablet")
    await met(server, laptop, tablet)
    await put(server, first_of(rogue(COMPROMISED)))
    jane = await laptop.save(Patient(first_name="Jane"))
    await laptop.save((await laptop.get(Hcp, A)).replace(speciality="dentist"))
    await laptop.push(server)
    await tablet.sync(server)
    with pytest.raises(NotFound, match="nothing vouches"):
        await tablet.get(Patient, jane.id)
    assert (await tablet.get(Hcp, A)).speciality is None
    await confirm(tablet, A, FIRST)
    await tablet.sync(server)
    assert (await tablet.get(Patient, jane.id)).first_name == "Jane"
    assert (await tablet.get(Hcp, A)).speciality == "dentist"


@pytest.mark.parametrize("ended", ENDINGS)
async def test_a_profile_that_a_former_key_states_after_its_end_is_shown_to_nobody(open_as, server, ended):
    laptop, tablet, b, _ = await claimed(open_as, server, ended)
    thief = await open_as(identity(A), "thief")
    await thief.save((await thief.get(Hcp, A)).replace(name="Another practice"))
    await thief.push(server)
    await met(server, tablet, b)
    assert (await tablet.get(Hcp, A)).name == (await b.get(Hcp, A)).name == "Practice A"
    tablet = await open_as(successor(ended), "tablet")
    await met(server, tablet, laptop, b)
    for replica in (tablet, laptop, b):
        assert (await replica.get(Hcp, A)).name == "Practice A"


@pytest.mark.parametrize("ended", ENDINGS)
async def test_a_profile_that_a_reader_took_for_true_is_not_shown_once_the_key_has_ended(open_as, server, ended):
    a, b = await open_as(identity(A)), await open_as(identity(B))
    await met(server, a, b)
    thief = await open_as(identity(A), "thief")
    await thief.save((await thief.get(Hcp, A)).replace(name="Another practice"))
    elsewhere = MemoryPeer("what the thief puts there")
    await thief.push(elsewhere)
    await b.pull(elsewhere)
    assert (await b.get(Hcp, A)).name == "Another practice"
    a = await open_as(successor(ended))
    await met(server, a, b)
    if ended == COMPROMISED:
        await confirm(b, A)
    await met(server, a, b)
    for replica in (a, b):
        assert (await replica.get(Hcp, A)).name == "Practice A"


@pytest.mark.parametrize("ended", ENDINGS)
async def test_of_what_a_former_key_states_a_reader_takes_what_the_present_document_has(open_as, server, ended):
    """B verified it before it heard that the key has ended, and A's devices never saw it."""
    a, b = await open_as(identity(A)), await open_as(identity(B))
    await met(server, a, b)
    await a.share(await a.save(Patient(first_name="John")), with_=B)
    await met(server, a, b)
    (kept,) = parties(b).keyring.pairs(A, B)
    shown = await on(a, parties(a).shown, A)
    planted, forged = planted_over(Stored(shown.id, shown.rev, shown.document), retires=kept.kid)
    await on(b, b._store.documents.apply, [hcp_revision(forged, (shown.rev,))])
    await on(b, parties(b).refresh)
    assert parties(b).keyring.pair(A, B).kid == planted
    a = await open_as(successor(ended))
    await met(server, a, b)
    if ended == COMPROMISED:
        await confirm(b, A)
    for _ in range(2):
        assert parties(b).keyring.get(A, B, planted) is not None  # what it wrapped stays readable
        present = parties(b).keyring.pair(A, B)
        assert (present and present.kid) == (kept.kid if ended == PLANNED else None)
        b = await open_as(identity(B))


async def test_a_key_that_ended_as_planned_states_no_keys_any_more(open_as, server):
    """Who has an old backup, or a code for it, has that key."""
    a, b = await open_as(identity(A)), await open_as(identity(B))
    await met(server, a, b)
    await a.share(await a.save(Patient(first_name="John")), with_=B)
    await met(server, a, b)
    (kept,) = parties(a).keyring.pairs(A, B)
    a = await open_as(successor(PLANNED))
    await met(server, a, b)
    first = hcp_document.first(identity(A))
    planted, forged = planted_over(Stored(first.id, first.rev, first.document), retires=kept.kid)
    await put(server, hcp_revision(forged, (first.rev,)))
    await met(server, a, b)
    for replica in (a, b):
        assert parties(replica).keyring.pair(A, B) == kept
        assert parties(replica).keyring.get(A, B, planted) is None
        assert "a key that it has given up" in parties(replica).standing(A).trouble
    assert planted not in {each.kid for each in wrapped_keys(A, await own_document(a))}
    await a.share(await a.save(Patient(first_name="Jane")), with_=B)
    await met(server, a, b)
    assert {each.first_name async for each in b.find(Patient)} == {"John", "Jane"}


def planted_over(shown: Stored, *, retires: str) -> tuple[str, Stored]:
    """What whoever has the first keys of A writes over this: a key {AB} of a low kid, that one retired."""
    drawn = (SymmetricKey(hashlib.sha256(bytes([number])).digest()) for number in range(200))
    lowest = min(drawn, key=kid)
    old = identity(A)
    wrapped = hcp_keys.wrap(old, Party.of_identity(identity(B)), HcpKey(A, B, kid(lowest), lowest), seeded("planted"))
    made = hcp_document.with_keys(old, shown, [wrapped], {Retired(Kid(retires), PLANNED)})
    return kid(lowest), Stored(made.id, made.rev, made.document)
