"""The server swaps public keys, and makes up Hcp keys: the first two of its tricks.

10,000 swaps, each through a whole device: scripts/trust. Whether a person's word lets a new key in:
tests/engine/test_identities.py.
"""

from __future__ import annotations

import random

import pytest
import pytest_asyncio

from icure_sync.crypto.envelope import to_text
from icure_sync.crypto.hcp_keys import wrapped_keys
from icure_sync.errors import NotFound, UntrustedKey
from icure_sync.model import Hcp, Patient
from tests.keys import A, B, identity
from tests.trust.conftest import Open
from tests.trust.evil import Document, EvilServer, planted
from tests.trust.swaps import OF_B, THIEF, Genuine, Target, made_up_key, of_a

SWAPS = 200


@pytest_asyncio.fixture
async def two(evil: EvilServer, open_replica: Open):
    """A and B, who have met and shared nothing."""
    a, b = await open_replica(A), await open_replica(B)
    for replica in (a, b, a):
        await replica.sync(evil.peer())
    return a, b


async def wrapped_for_b(replica) -> list[str]:
    """Fingerprints of the party keys for which A wrapped a key towards B."""
    shown = await replica._store.run(replica._keyed.parties.shown, A)
    return [each.signed["fingerprints"][1] for each in wrapped_keys(A, shown.document) if each.delegate == B]


async def test_no_swap_of_keys_has_a_key_wrapped_for_the_attacker_and_each_is_reported(two):
    a, _ = two
    target = await a._store.run(Target, a._store, 1)
    await a._store.run(target.attack, SWAPS)
    tally = target.tally
    assert tally.wins == []
    assert tally.reported == tally.count == SWAPS
    assert len(tally.swaps) >= len(OF_B) + 3, "every kind of swap was tried"


@pytest.mark.parametrize("kind", [*OF_B, of_a], ids=lambda kind: kind.__name__)
async def test_a_swap_that_the_server_planted_reaches_the_device_and_is_reported(two, evil: EvilServer, kind):
    a, _ = two
    attacked = A if kind is of_a else B
    target = await a._store.run(Target, a._store, 1)
    genuine: Genuine = target._genuine[attacked]
    swap = kind(genuine, random.Random(7))
    await evil.plant(planted(revision) for revision in swap.revisions)
    john = await a.save(Patient(first_name="John"))
    await a.sync(evil.peer())
    assert attacked in a._keyed.parties.troubles or a._keyed.parties.standing(attacked).claims
    try:
        await a.share(john, with_=B)
    except (UntrustedKey, NotFound):
        assert await wrapped_for_b(a) == []
    else:
        assert await wrapped_for_b(a) == [identity(B).fingerprint]
    assert any(alarm.kind == "untrusted-key" for alarm in await a.alarms.all())


async def test_keys_that_are_swapped_in_the_answers_alone_are_refused(two, evil: EvilServer):
    """Under the revision id that is B's own."""
    a, b = two
    await b.save((await b.get(Hcp, B)).replace(speciality="cardiology"))
    await b.sync(evil.peer())

    def swap(document: Document) -> Document:
        return {**document, "publicKey": to_text(THIEF.public.spki)} if document["_id"] == B else document

    evil.rewrite_documents(swap)
    john = await a.save(Patient(first_name="John"))
    await a.sync(evil.peer())
    assert B in a._keyed.parties.troubles
    await a.share(john, with_=B)
    assert await wrapped_for_b(a) == [identity(B).fingerprint], "the pinned one"


async def test_a_made_up_key_neither_opens_nor_wraps(two, evil: EvilServer):
    """An Hcp key that the server put into B's document, and a record that it made with that key for A to open."""
    a, b = two
    target = await a._store.run(Target, a._store, 1)
    for seed in range(4):
        swap = made_up_key(target._genuine[B], random.Random(seed))
        await evil.plant(planted(revision) for revision in swap.revisions)
        await a.sync(evil.peer())
        keyring = a._keyed.parties.keyring
        assert keyring.get(B, A, swap.made_up) is None
    await a.share(await a.save(Patient(first_name="John")), with_=B)
    await a.sync(evil.peer())
    await b.sync(evil.peer())
    assert [each.first_name async for each in b.find(Patient)] == ["John"]


async def test_copies_of_a_key_that_the_server_exchanged_are_not_used(two, evil: EvilServer):
    """B cannot be given another {AB} by bytes that nobody signed, and what A wrapped for him stays as it is."""
    a, b = two
    await a.share(await a.save(Patient(first_name="John")), with_=B)
    await a.sync(evil.peer())
    other = THIEF.public.encrypt(bytes(32), random.Random(1).randbytes)

    def exchange(document: Document) -> Document:
        if document["_id"] != A or B not in document["hcPartyKeys"]:
            return document
        for_a, _ = document["hcPartyKeys"][B]
        return {**document, "hcPartyKeys": {**document["hcPartyKeys"], B: [for_a, to_text(other)]}}

    evil.rewrite_documents(exchange)
    await b.sync(evil.peer())
    assert b._keyed.parties.keyring.pairs(A, B) == []
    assert A in b._keyed.parties.troubles
    assert [each async for each in b.find(Patient)] == []
