"""Access that is injected or taken away, links that are forged, and delegates who go on after they were put out.

What statements are worth in every order: tests/crypto/test_access.py, tests/engine/test_revoking.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from icure_sync import strict_json
from icure_sync.canonical import canonical_set, pack
from icure_sync.crypto import sealing
from icure_sync.crypto.access import SUITE, Subject, _statement_fields, digest, grant, parties
from icure_sync.crypto.chain import unwrap_chain
from icure_sync.crypto.envelope import from_text, open_envelope
from icure_sync.crypto.primitives import SymmetricKey
from icure_sync.crypto.revision import written
from icure_sync.engine.opening import UNREADABLE
from icure_sync.engine.replica import Replica
from icure_sync.errors import NoAccess, Tampered
from icure_sync.model import Contact, Patient
from icure_sync.replication.wire import Revision
from tests.keys import A, B, C, identity
from tests.trust.conftest import Clinic
from tests.trust.evil import Document, below, planted


def plain(document: Document) -> Document:
    """What the writer wrote of it."""
    return {name: value for name, value in document.items() if not name.startswith("_")}


def signed_by(hcp_id: str, document: Document, members: Mapping[str, Any], above: Document) -> Revision:
    """What an Hcp can write who has keys of his own: a fitting id, and his signature."""
    content = {**plain(document), **members, "parents": [above["_rev"]]}
    content.pop("written", None)
    rev, made = written(above["_id"], content, identity(hcp_id))
    history = [
        f"{above['_revisions']['start'] - place}-{each}" for place, each in enumerate(above["_revisions"]["ids"])
    ]
    return Revision(above["_id"], (rev, *history), strict_json.dumps(made))


async def secret_ids(replica: Replica, doc_id: str) -> set[str]:
    def read() -> set[str]:
        opened = replica._keyed.opener.open(doc_id)
        return set(opened.suite.secret_ids(opened.stored))

    return await replica._store.run(read)


async def shown(replica: Replica) -> dict[str, Any]:
    """Everything that a device shows."""
    found = {each.id: each async for each in replica.find(Patient)}
    return {**found, **{each.id: each async for each in replica.find(Contact)}}


# Links


async def test_a_secret_id_that_the_server_adds_files_nothing_under_the_wrong_patient(clinic: Clinic):
    a, b = clinic.a, clinic.b
    fanny_s = await secret_ids(a, clinic.fanny.id)
    await a.share(clinic.fanny, with_=B)
    await clinic.meet(a)

    def misfile(document: Document) -> Document:
        if document["_id"] != clinic.visit.id:
            return document
        return {**document, "secretForeignKeys": canonical_set([*document["secretForeignKeys"], *fanny_s])}

    await a.save((await a.get(Contact, clinic.visit.id)).replace(location="here"))
    await clinic.meet(a)
    clinic.server.rewrite_documents(misfile)
    await clinic.meet(b)
    fanny = await b.get(Patient, clinic.fanny.id)
    assert [each async for each in b.contacts_of(fanny)] == []
    assert [each.location async for each in b.contacts_of(await clinic.john_of(b))] == [None], "the one before"
    assert "tampered" in {alarm.kind for alarm in await b.alarms.all()}


async def test_a_link_that_is_not_sealed_counts_nowhere(clinic: Clinic):
    """B may write the visit, knows Fanny's secret id, and says in clear that the visit is hers; or seals what he does
    not show."""
    a = clinic.a
    fanny = await a.share(clinic.fanny, with_=B)
    fanny_s = await secret_ids(a, fanny.id)
    above = await clinic.server.read(clinic.visit.id)
    claims = canonical_set([*above["secretForeignKeys"], *fanny_s])
    for members in ({"secretForeignKeys": claims}, {"secretForeignKeys": sorted(fanny_s)}, {"secretForeignKeys": []}):
        await clinic.server.plant([planted(signed_by(B, above, members, above))])
        await clinic.meet(a)
        assert [each async for each in a.contacts_of(await a.get(Patient, fanny.id))] == []
    patient = await a.patient_of(await a.get(Contact, clinic.visit.id))
    assert patient.id == clinic.john.id


# Injected access


async def test_an_entry_alone_gives_access_to_nobody(clinic: Clinic):
    """C is handed the entries of B, under his own name."""
    a, c = clinic.a, clinic.c
    above = await clinic.server.read(clinic.john.id)
    maps = {
        name: {**above[name], C: [{**entry, "delegatedTo": C} for entry in above[name][B]]}
        for name in ("delegations", "encryptionKeys", "cryptedForeignKeys")
        if B in above[name]
    }
    await clinic.server.plant([below(above, {**plain(above), **maps})])
    await clinic.meet(a, c)
    with pytest.raises(UNREADABLE):
        await c.get(Patient, clinic.john.id)
    assert (await clinic.john_of(a)).shared_with == {A, B}


def forged_grants(subject: Subject, above: Document, of_another: Document) -> dict[str, Document]:
    """Grants to C that nobody gave him who could; where they are signed for this record, by C himself."""
    own = grant(subject, C, above["access"], identity(A))
    to_b = next(each for each in above["access"] if each.get("grant") == B)
    by_c, by_b, chained = ({**own, "by": C}, {**own, "by": B}, {**own, "by": B, "from": digest(to_b)})
    return {
        "the creator's, under another signature of his": {**own, "signature": to_b["signature"]},
        "the creator's, of another record": of_another,
        "the creator's, signed by C": _signed(subject, own),
        "one to B, made out to C": {**to_b, "grant": C},
        "by C himself": _signed(subject, by_c),
        "by C himself, by way of B's": _signed(subject, {**by_c, "from": digest(to_b)}),
        "B's, signed by C": _signed(subject, by_b),
        "B's, by way of his own, signed by C": _signed(subject, chained),
    }


def _signed(subject: Subject, fields: Document) -> Document:
    signature = identity(C).sign("grant", *_statement_fields(subject, fields))
    return {**fields, "signature": signature}


@pytest.mark.parametrize("signs", [False, True], ids=["in the server's revision", "in one of C"])
async def test_a_forged_grant_has_no_effect(clinic: Clinic, *, signs: bool):
    a, b, server = clinic.a, clinic.b, clinic.server
    above = await server.read(clinic.john.id)
    await a.share(clinic.fanny, with_=C)
    await clinic.meet(a)
    of_fanny = next(each for each in (await server.read(clinic.fanny.id))["access"] if each.get("grant") == C)
    forged = forged_grants(Subject.of(clinic.john.id, above), above, of_fanny)
    for number, (how, statement) in enumerate(forged.items()):
        members = {**plain(above), "access": canonical_set([*above["access"], statement])}
        revision = planted(signed_by(C, above, members, above)) if signs else below(above, members, f"{number:032x}")
        await server.plant([revision])
        await clinic.meet(a, b)
        for replica in (a, b):
            john = await clinic.john_of(replica)
            assert (john.shared_with, john.note) == ({A, B}, "consumption"), how
    edited = await a.save((await clinic.john_of(a)).replace(note="better"))
    carried = json.loads((await a._store.run(a._store.documents.get, clinic.john.id, edited.rev)).body)["access"]
    added = [each for each in carried if each not in above["access"]]
    assert all(each["by"] == C for each in added), "what C says he has signed, and it counts for nothing"
    assert parties(Subject.of(clinic.john.id, above), carried) == {A, B}
    await clinic.meet(a, clinic.c)
    with pytest.raises(UNREADABLE):
        await clinic.c.get(Patient, clinic.john.id)


async def test_a_leaf_that_claims_to_have_seen_everything_takes_no_field_away(clinic: Clinic):
    """By C, who has no access, under a key of his own that he also wraps for A: an empty body with a full context."""
    a, c = clinic.a, clinic.c
    above = await clinic.server.read(clinic.john.id)
    keyring = c._keyed.parties.keyring
    await c._store.run(c._keyed.parties.key_towards, A)
    genuine = await a._store.run(_body_of, a, clinic.john.id)
    body = {**genuine, "context": dict.fromkeys(genuine["context"], 2**40), "fields": []}
    draft = sealing.Draft(Subject.create("Patient", identity(C), lambda n: b"\x07" * n), "11" * 16, body)
    own = sealing.create(draft, keyring, lambda n: b"\x09" * n)
    stolen = {name: own.document[name] for name in ("encryptedSelf", "sealedWith", "encryptionKeys", "delegations")}
    await clinic.meet(c, a)
    await clinic.server.plant([planted(signed_by(C, above, stolen, above))])
    await clinic.meet(a, clinic.b, a)
    for replica in (a, clinic.b):
        john = await clinic.john_of(replica)
        assert (john.first_name, john.last_name, john.note) == ("John", "Keats", "consumption")


def _body_of(replica: Replica, doc_id: str) -> dict[str, Any]:
    stored = replica._keyed.opener.open(doc_id).stored
    return sealing.open_body(Subject.of(doc_id, stored.document), stored.document, replica._keyed.parties.keyring)


async def test_an_older_revision_that_is_played_again_changes_nothing(clinic: Clinic):
    """Below what came after it, and as a leaf of its own."""
    a, server = clinic.a, clinic.server
    old = await server.read(clinic.john.id)
    newest = await a.save((await clinic.john_of(a)).replace(note="better"))
    await clinic.meet(a)
    above = await server.read(clinic.john.id)
    await server.plant([below(above, plain(old))])
    await clinic.meet(a, clinic.b, a)
    for replica in (a, clinic.b):
        assert (await clinic.john_of(replica)).note == "better"
    fork = {**plain(old), "_id": old["_id"], "_rev": old["_rev"]}
    ids = old["_revisions"]["ids"]
    await server.plant([{**fork, "_revisions": {"start": old["_revisions"]["start"], "ids": [ids[0], "d" * 32]}}])
    await clinic.meet(a, clinic.b, a)
    assert (await clinic.john_of(a)).note == "better"
    assert newest.rev.split("-")[0] <= (await clinic.john_of(a)).rev.split("-")[0]


async def test_statements_that_are_left_out_are_not_forgotten(clinic: Clinic):
    """B, who was put out, writes over the revision before, as if nobody had revoked anything; the server leaves out all
    statements."""
    a, b, server = clinic.a, clinic.b, clinic.server
    before = await server.read(clinic.john.id)
    await a.revoke(await clinic.john_of(a), from_=B)
    await clinic.meet(a)
    await server.plant([planted(signed_by(B, before, {}, before))])
    await server.plant([below(before, {**plain(before), "access": []})])
    await clinic.meet(a, b, a)
    assert (await clinic.john_of(a)).shared_with == {A}
    await a.save((await clinic.john_of(a)).replace(note="after he left"))
    await clinic.meet(a, b)
    with pytest.raises(UNREADABLE):
        await b.get(Patient, clinic.john.id)


# Who is out


async def test_all_that_a_delegate_had_opens_nothing_that_was_written_after_he_was_put_out(clinic: Clinic):
    a, b, server = clinic.a, clinic.b, clinic.server
    old_keys = await b._store.run(_content_keys, b, clinic.john.id)
    keyring = b._keyed.parties.keyring
    await a.revoke(await clinic.john_of(a), from_=B)
    later = []
    for number in range(5):
        await a.save((await clinic.john_of(a)).replace(note=f"later {number}"))
        await clinic.meet(a)
        later.append(await server.read(clinic.john.id))
    for document in later:
        subject = Subject.of(clinic.john.id, document)
        with pytest.raises((NoAccess, Tampered)):
            sealing.open_body(subject, plain(document), keyring)
        for key in old_keys:
            assert not _opens(key, subject, document)


def _content_keys(replica: Replica, doc_id: str) -> list[bytes]:
    stored = replica._keyed.opener.open(doc_id).stored
    subject = Subject.of(doc_id, stored.document)
    chain = unwrap_chain(subject, stored.document, replica._keyed.parties.keyring)
    keys = [bytes(key) for key in chain.content_keys.values()]
    assert keys
    return keys


def _opens(key: bytes, subject: Subject, document: Document) -> bool:
    place = pack(["icure-sync/body/1", SUITE, subject.type, subject.id, subject.creator, document["sealedWith"]])
    try:
        open_envelope(SymmetricKey(key), from_text(document["encryptedSelf"]), place)
    except Tampered:
        return False
    return True


async def test_what_a_delegate_writes_after_he_was_put_out_changes_nothing_and_is_for_a_person(clinic: Clinic):
    a, b = clinic.a, clinic.b
    await b.save((await clinic.john_of(b)).replace(note="his own view"))
    await a.revoke(await clinic.john_of(a), from_=B)
    await clinic.meet(a, b, a)
    assert (await clinic.john_of(a)).note == "consumption"
    assert (await clinic.john_of(a)).shared_with == {A}
    assert [each.id async for each in a.conflicts()] == [clinic.john.id]


@pytest.mark.parametrize("name", ["delegations", "encryptionKeys", "cryptedForeignKeys"])
async def test_a_delegate_cannot_keep_others_from_sharing_or_revoking_by_entries_that_hold_nothing(
    clinic: Clinic, name: str
):
    a, b, c, server = clinic.a, clinic.b, clinic.c, clinic.server
    above = await server.read(clinic.john.id)
    junk = {**above["encryptionKeys"][A][0], "key": "AAAA", "of": "f" * 32 if name == "encryptionKeys" else ""}
    entries = canonical_set([*above[name].get(A, []), junk])
    await server.plant([planted(signed_by(B, above, {name: {**above[name], A: entries}}, above))])
    await clinic.meet(a)
    john = await clinic.john_of(a)
    assert [each.id async for each in a.contacts_of(john)] == [clinic.visit.id]
    john = await a.share(john, with_=C)
    await a.revoke(john, from_=B)
    await clinic.meet(a, b, c)
    assert (await clinic.john_of(a)).shared_with == {A, C}
    assert (await clinic.john_of(c)).first_name == "John"
