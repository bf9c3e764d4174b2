"""Ciphertexts that are changed, moved, or made to open in two ways.

1,000,000 mutated envelopes: scripts/trust.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from icure_sync.crypto.envelope import SALT_BYTES, open_envelope, seal
from icure_sync.crypto.primitives import SymmetricKey, gcm_decrypt, hkdf_sha512
from icure_sync.engine.opening import UNREADABLE
from icure_sync.engine.replica import Replica
from icure_sync.errors import NotFound, Tampered
from icure_sync.model import Contact, Patient
from icure_sync.replication.wire import Revision
from tests.keys import A, B
from tests.places import at, places, with_value
from tests.trust.conftest import Clinic, Open
from tests.trust.evil import Document
from tests.trust.mutations import MUTATIONS, mutate
from tests.trust.two_openings import two_openings

MUTATED = 20_000


def test_no_mutated_envelope_is_accepted():
    tried = mutate(MUTATED, seed=1)
    assert tried.accepted == 0
    assert tried.by_kind.total() == MUTATED
    assert len(tried.by_kind) == len(MUTATIONS)


def test_a_ciphertext_that_two_keys_open_is_no_envelope_of_either():
    one, other, place = SymmetricKey(b"\x01" * 32), SymmetricKey(b"\x02" * 32), b"a place"
    salt = bytes(SALT_BYTES)
    derived = [hkdf_sha512(key, salt, b"icure-sync/envelope/1", 64) for key in (one, other)]
    both = two_openings(derived[0][:32], derived[1][:32], place)
    plain = [gcm_decrypt(each[:32], bytes(12), both, place) for each in derived]
    assert plain[0] != plain[1], "AES-GCM itself opens it with both"
    for committed in derived:
        envelope = b"\x01" + salt + committed[32:] + both
        opened = []
        for key in (one, other):
            try:
                opened.append(open_envelope(key, envelope, place))
            except Tampered:
                continue
        assert len(opened) == 1, "to whom it was committed alone"
    assert open_envelope(one, seal(one, b"text", place, salt), place) == b"text"


def ciphertexts(document: Document) -> Iterator[tuple[Any, ...]]:
    """Where the ciphertexts of a record stand."""
    for place in places(document):
        if place and (place[-1] == "key" or place == ("encryptedSelf",)):
            yield place


async def revisions_of(replica: Replica, *ids: str) -> list[Revision]:
    """The bodies that the replica has of these documents, those that were displaced too."""

    def read() -> list[Revision]:
        documents = replica._store.documents
        return [
            held.revision
            for doc_id in ids
            for held in (*documents.held_leaves(doc_id), *documents.displaced(doc_id))
            if not held.revision.deleted
        ]

    return await replica._store.run(read)


class _TakenBack(Exception):
    pass


async def test_no_two_ciphertexts_of_a_set_of_records_can_be_swapped(clinic: Clinic, open_replica: Open):
    """Every pair, put in each other's place, on a device that sees them for the first time so."""
    other_visit = await clinic.a.save(Contact(description="Blood"), patient=await clinic.john_of(clinic.a))
    other_visit = await clinic.a.share(other_visit, with_=B)
    ids = [clinic.john.id, clinic.visit.id, other_visit.id]
    revisions = {each.id: each for each in await revisions_of(clinic.a, *ids)}
    bodies = {doc_id: json.loads(each.body) for doc_id, each in revisions.items()}
    sites = [(doc_id, place) for doc_id in ids for place in ciphertexts(bodies[doc_id])]
    phone = await open_replica(B, "phone")
    for hcp_id in (A, B):
        hcps = await revisions_of(clinic.a, hcp_id)
        await phone._store.run(phone._store.documents.apply, hcps)
    await phone._store.run(phone._keyed.parties.refresh)
    keyed = phone._keyed

    def swapped(one: Any, other: Any) -> list[str]:
        """Of the records that were changed, those that open all the same."""
        changed = dict(bodies)
        (left_id, left), (right_id, right) = one, other
        values = at(bodies[left_id], left), at(bodies[right_id], right)
        changed[left_id] = with_value(changed[left_id], left, values[1])
        changed[right_id] = with_value(changed[right_id], right, values[0])
        opened: list[str] = []
        try:
            with phone._store.transaction():
                for doc_id in {left_id, right_id}:
                    body = json.dumps(changed[doc_id]).encode()
                    phone._store.documents.apply([Revision(doc_id, revisions[doc_id].history, body)])
                for doc_id in {left_id, right_id}:
                    try:
                        keyed.opener.open(doc_id)
                        opened.append(doc_id)
                    except UNREADABLE:
                        continue
                raise _TakenBack  # noqa: TRY301  # so that the next pair meets the same device
        except _TakenBack:
            return opened

    assert len(sites) >= 16
    pairs = list(itertools.combinations(sites, 2))
    for one, other in pairs:
        assert await phone._store.run(swapped, one, other) == [], (one, other)


@pytest.mark.parametrize("member", ["access", "encryptionKeys", "encryptedSelf", "creator"])
async def test_a_member_of_an_older_revision_beside_the_current_ones_is_refused(
    clinic: Clinic, open_replica: Open, member: str
):
    old = await clinic.server.read(clinic.john.id)
    await clinic.b.save((await clinic.john_of(clinic.b)).replace(note="better"))
    await clinic.a.save((await clinic.a.get(Patient, clinic.fanny.id)).replace(note="ill"))
    other = await clinic.server.read(clinic.fanny.id)
    await clinic.meet(clinic.b, clinic.a)
    taken = other[member] if member in ("creator", "access") else old[member]
    await clinic.a.revoke(await clinic.john_of(clinic.a), from_=B)
    await clinic.meet(clinic.a)

    def mixed(document: Document) -> Document:
        return {**document, member: taken} if document["_id"] == clinic.john.id else document

    clinic.server.rewrite_documents(mixed)
    phone = await open_replica(A, "phone")
    await phone.sync(clinic.server.peer())
    with pytest.raises((Tampered, NotFound)):
        await phone.get(Patient, clinic.john.id)
    assert [each.id async for each in phone.find(Patient)] == [clinic.fanny.id]
    await phone.alarms.look()
    assert "tampered" in {alarm.kind for alarm in await phone.alarms.all()}


async def test_flipped_bits_on_the_way_are_refused_and_the_others_come(clinic: Clinic, open_replica: Open):
    def flip(document: Document) -> Document:
        if document["_id"] != clinic.john.id:
            return document
        text = document["encryptedSelf"]
        return {**document, "encryptedSelf": text[:100] + ("A" if text[100] != "A" else "B") + text[101:]}

    clinic.server.rewrite_documents(flip)
    phone = await open_replica(A, "phone")
    await phone.sync(clinic.server.peer())
    assert {each.id async for each in phone.find(Patient)} == {clinic.fanny.id}
    clinic.server.rewrites.clear()
    kept = await clinic.a.save((await clinic.john_of(clinic.a)).replace(note="still here"))
    await clinic.meet(clinic.a)
    await phone.sync(clinic.server.peer())
    assert (await phone.get(Patient, clinic.john.id)).note == kept.note
