"""Somebody passed for an Hcp, and was believed on first use: what is left of it once a person has compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import icure_sync.store.store as store_module
from icure_sync import strict_json
from icure_sync.crypto.hcp_keys import wrapped_keys
from icure_sync.crypto.identity import COMPROMISED, PLANNED, Birth, Former, Identity
from icure_sync.crypto.primitives import RsaPrivateKey, SigningKey, SymmetricKey
from icure_sync.crypto.retirements import Retired, retired
from icure_sync.crypto.signers import Judgement
from icure_sync.engine import hcp_document
from icure_sync.engine.alarms import AlarmKind
from icure_sync.engine.identities import CLAIMS_MOST
from icure_sync.engine.parties import Parties
from icure_sync.engine.refusing import NAMED_MOST
from icure_sync.engine.replica import Replica
from icure_sync.errors import IcureSyncError, StoreFull, Tampered, UntrustedKey
from icure_sync.model import Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Revision
from tests.engine.conftest import OpenAs
from tests.engine.meetings import met
from tests.keys import PARTY_KEYS, A, B, C, identity, seeded, successor

NOW = 1_700_000_000_000
REAL = identity(A).signing_key.public


def another() -> Identity:
    """Keys that say they are A's, and have nothing to do with A's."""
    entropy = seeded("impostor")
    party_key = RsaPrivateKey(bytes.fromhex(PARTY_KEYS["hcp-c"]))
    self_key = SymmetricKey(entropy(32))
    birth = Birth(party_key.public.encrypt(self_key, entropy), entropy(8).hex())
    return Identity(A, "Practice A", party_key, SigningKey(entropy(32)), self_key, birth)


def lost_once(one: Identity) -> Identity:
    """The same at epoch 2, after a key that nobody has seen."""
    return replace(one, epoch=2, former=(Former(identity(C).party_key, bytes(range(32)), one.self_key, COMPROMISED),))


def first_of(one: Identity) -> Revision:
    made = hcp_document.first(one)
    return Revision(made.id, (made.rev,), strict_json.dumps(made.document))


def parties(replica: Replica) -> Parties:
    return replica._keyed.parties


async def on(replica: Replica, call: Callable[..., Any], *given: Any) -> Any:
    return await replica._store.run(call, *given)


async def confirm(replica: Replica, key: bytes | None = REAL) -> Any:
    return await on(replica, parties(replica).confirm, A, NOW, key)


async def believing(open_as: OpenAs, server: MemoryPeer, impostor: Identity) -> Replica:
    """B, who met the impostor first, shared with him, and now hears of A."""
    b = await open_as(identity(B))
    server.put(first_of(impostor))
    await b.sync(server)
    await b.share(await b.save(Patient(first_name="Jane")), with_=A)
    server.put(first_of(identity(A)))
    await b.sync(server)
    return b


async def own_document(replica: Replica) -> Any:
    return (await on(replica, parties(replica).shown, B)).document


# What was wrapped for him


@pytest.mark.parametrize("impostor", [another(), lost_once(another())], ids=["epoch 1", "epoch 2"])
async def test_nothing_new_goes_under_a_key_that_an_impostor_unwraps(open_as, server, impostor):
    """At his epoch 2 what was wrapped for him stays, whatever is wrapped for A's epoch 1."""
    b = await believing(open_as, server, impostor)
    [old] = parties(b).keyring.pairs(B, A)
    await confirm(b)
    assert Retired(old.kid, COMPROMISED) in retired(await own_document(b))
    for _ in range(2):
        assert parties(b).keyring.is_exposed(B, old.kid)
        assert (await on(b, parties(b).key_towards, A)).kid != old.kid
        b = await open_as(identity(B))
    again = await own_document(b)
    await on(b, parties(b).refresh)
    assert await own_document(b) == again  # once is enough


async def test_an_hcp_that_begins_again_with_epoch_1_is_confirmed(open_as, server):
    a, b = await open_as(successor(PLANNED)), await open_as(identity(B))
    await met(server, a, b)
    await b.share(await b.save(Patient(first_name="Jane")), with_=A)
    old = parties(b).keyring.pair(B, A)
    server.put(first_of(another()))
    await b.sync(server)
    standing = await confirm(b, None)
    assert (standing.party.epoch, standing.claims) == (1, ())
    assert parties(b).keyring.pair(B, A) is None
    assert Retired(old.kid, COMPROMISED) in retired(await own_document(b))


async def test_a_confirmation_that_is_broken_off_leaves_nothing_behind(open_as, server, monkeypatch):
    b = await believing(open_as, server, another())
    [old] = parties(b).keyring.pairs(B, A)
    before, listed = parties(b).standing(A), parties(b).standings()
    [number] = [each.number for each in (await b.acquaintances.get(A)).claimed]

    def killed(*_: Any) -> None:
        raise SystemError("killed here")

    for place in ((Parties, "_renew_keys"), (type(b._keyed.recorder), "did"), (type(b._keyed), "match_alarms")):
        with monkeypatch.context() as patched:
            patched.setattr(*place, killed)
            with pytest.raises(SystemError):
                await b.acquaintances.confirm(A, number)
        assert (parties(b).standing(A), parties(b).standings()) == (before, listed)
        assert not parties(b).keyring.is_exposed(B, old.kid)
        assert (await on(b, b._store.pins.get, A)).verified is None
        with pytest.raises(UntrustedKey):
            await on(b, parties(b).key_towards, A)
    after = await b.acquaintances.confirm(A, number)
    assert (after.verified is not None, after.claimed) == (True, ())
    assert (await on(b, parties(b).key_towards, A)).kid != old.kid


async def test_what_was_pinned_and_not_carried_through_is_carried_through_at_the_next_opening(
    open_as, server, monkeypatch
):
    b = await believing(open_as, server, another())
    [old] = parties(b).keyring.pairs(B, A)
    with monkeypatch.context() as patched:
        patched.setattr(Parties, "_renew_keys", lambda _: None)
        await confirm(b)
    b = await open_as(identity(B))
    assert parties(b).keyring.pair(B, A) is None
    document = await own_document(b)
    assert Retired(old.kid, COMPROMISED) in retired(document)
    [wrapped] = [each for each in wrapped_keys(B, document) if each.delegate == A]
    assert wrapped.signed["fingerprints"][1] == identity(A).fingerprint  # A reads what was shared before


async def test_what_one_device_s_person_said_another_device_carries_through(open_as, server):
    tablet = await open_as(identity(B), "tablet")
    b = await believing(open_as, server, another())
    await tablet.sync(server)
    await confirm(b)
    await met(server, b, tablet)
    standing = parties(tablet).standing(A)
    assert (standing.pin.signing_key, standing.pin.refused) == (REAL, (another().signing_key.public,))
    assert parties(tablet).keyring.pair(B, A) is None
    told = await on(tablet, parties(tablet).pins)
    await on(b, parties(b).take_pin, replace(told[0], verified=NOW + 1))
    older = replace(told[0], signing_key=another().signing_key.public, refused=(), verified=None)
    await on(b, parties(b).take_pin, older)  # of a device on which nobody has compared
    assert parties(b).standing(A).pin.signing_key == REAL
    with pytest.raises(UntrustedKey, match="another device of yours"):
        await on(b, parties(b).take_pin, replace(older, refused=(REAL,)))  # a person said the contrary there


# What he signed


async def test_what_an_impostor_signed_is_shown_no_more_and_an_alarm_names_it(open_as, server):
    evil, b = await open_as(another(), "evil"), await open_as(identity(B))
    await met(server, evil, b)
    forged = await evil.share(await evil.save(Patient(first_name="Forged")), with_=B)
    mine = await b.save(Patient(first_name="Mine"))
    await met(server, evil, b)
    edited = await b.save((await b.get(Patient, forged.id)).replace(note="by B"))
    assert edited.note == "by B"
    [key] = parties(b).keyring.pairs(A, B)
    server.put(first_of(identity(A)))
    await b.sync(server)
    await confirm(b)
    [alarm] = [each for each in await b.alarms.all() if each.kind == AlarmKind.IMPOSTOR]
    assert (alarm.subject, forged.id in alarm.why, mine.id in alarm.why) == (A, True, False)
    for _ in range(2):
        await b.sync(server)
        with pytest.raises(IcureSyncError):
            await b.get(Patient, forged.id)
        assert {each.first_name async for each in b.find(Patient)} == {"Mine"}
        assert parties(b).keyring.is_exposed(A, key.kid)
        assert parties(b).keyring.pair(A, B) is None
        signer = parties(b).signer(A)
        assert signer.judge(another().sign("x", "y"), b"x") is Judgement.FORGED
        assert parties(b).standing(A).trouble == ""  # a person has decided
        b = await open_as(identity(B))
    await b.share(mine, with_=A)


async def test_what_was_not_looked_at_before_is_never_shown(open_as, server):
    evil, b = await open_as(another(), "evil"), await open_as(identity(B))
    await met(server, evil, b)
    forged = await evil.share(await evil.save(Patient(first_name="Forged")), with_=B)
    await evil.sync(server)
    server.put(first_of(identity(A)))
    await b.sync(server)
    await confirm(b)
    await b.sync(server)
    with pytest.raises(Tampered):
        await b.get(Patient, forged.id)
    assert [each for each in await b.alarms.all() if each.kind == AlarmKind.IMPOSTOR] == []  # it never was shown


async def test_an_alarm_names_some_of_many(open_as, server):
    evil, b = await open_as(another(), "evil"), await open_as(identity(B))
    await met(server, evil, b)
    for number in range(NAMED_MOST + 2):
        await evil.share(await evil.save(Patient(first_name=f"P{number}")), with_=B)
    await met(server, evil, b)
    assert len([each async for each in b.find(Patient)]) == NAMED_MOST + 2
    server.put(first_of(identity(A)))
    await b.sync(server)
    await confirm(b)
    [alarm] = [each for each in await b.alarms.all() if each.kind == AlarmKind.IMPOSTOR]
    assert alarm.why.endswith(" and 2 more")


# Many who say that they are A


async def test_of_many_claims_a_few_are_shown_and_tried_and_the_others_counted(open_as, server):
    a, b = await open_as(identity(A)), await open_as(identity(B))
    await met(server, a, b)
    for number in range(CLAIMS_MOST + 5):
        server.put(first_of(replace(identity(A), signing_key=SigningKey(number.to_bytes(32)))))
    server.put(first_of(successor(COMPROMISED)))
    await b.sync(server)
    standing, known = parties(b).standing(A), await b.acquaintances.get(A)
    assert (len(standing.claims), standing.more_claims) == (CLAIMS_MOST, 6)
    assert standing.claims[0].signing_key == successor(COMPROMISED).signing_key.public  # which names the pinned one
    assert len(parties(b).signer(A).claimed) == CLAIMS_MOST
    assert (len(known.claimed), known.more_claimed) == (CLAIMS_MOST, 6)
    after = await confirm(b)
    assert (after.claims, after.more_claims, len(after.pin.refused)) == ((), 0, CLAIMS_MOST + 6)
    await b.sync(server)
    await b.share(await b.save(Patient(first_name="Jane")), with_=A)


# A file that cannot be written


async def test_on_a_file_that_cannot_be_written_nothing_is_confirmed(open_as, server, monkeypatch):
    b = await believing(open_as, server, another())
    b._store.close()
    monkeypatch.setattr(store_module, "is_writable", lambda _: False)
    b = await open_as(identity(B))
    before = parties(b).standing(A)
    [number] = [each.number for each in (await b.acquaintances.get(A)).claimed]
    with pytest.raises(StoreFull):
        await b.acquaintances.confirm(A, number)
    assert parties(b).standing(A) == before
    assert before.party.signing_key == another().signing_key.public
