"""The access list of a record: proven statements, told so that a person sees who let whom in and who put whom out."""

from __future__ import annotations

import json

import pytest

from icure_sync.crypto.access import Subject, grant
from icure_sync.crypto.access import digest as digest_of
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.merging import notice
from icure_sync.crypto.sealing import Sealed
from icure_sync.engine.access_list import Granted, Member, PutOut, Unproven
from icure_sync.errors import NotFound
from icure_sync.ids import DocId, Rev
from icure_sync.model import Patient
from icure_sync.replication.wire import Revision
from tests.crypto.classic_clinic import A, vectors
from tests.engine.meetings import met, stored_of

VECTORS = vectors()


async def test_it_says_who_let_whom_in_through_whom(replicas, server):
    a, b, c, _ = replicas
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    await met(server, a, b)
    await b.share(await b.get(Patient, john.id), with_="hcp-c")
    await met(server, b, c, a)
    shown = await a.get(Patient, john.id)
    statements = (await stored_of(a, shown)).document["access"]
    first, second = sorted(statements, key=lambda each: each["grant"])
    expected = (
        Member("hcp-a", is_creator=True),
        Member("hcp-b", False, (Granted("hcp-a", (), digest_of(first), ""),)),
        Member("hcp-c", False, (Granted("hcp-b", ("hcp-a",), digest_of(second), digest_of(first)),)),
    )
    for replica in (a, b, c):
        for record in (shown, john.id):
            found = await replica.access_of(record)
            assert (found.id, found.type, found.creator, found.is_signed) == (john.id, "Patient", "hcp-a", True)
            assert (found.members, found.put_out, found.pending) == (expected, (), ())


async def test_it_says_who_was_put_out_and_who_lost_access_with_him(replicas, server):
    a, b, c, d = replicas
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    await met(server, a, b)
    await b.share(await b.get(Patient, john.id), with_="hcp-c")
    await met(server, b, c, a)
    john = await a.share(await a.get(Patient, john.id), with_="hcp-d")
    await met(server, a, d)
    await a.revoke(await a.get(Patient, john.id), from_="hcp-b")
    await met(server, a, d)
    for replica in (a, d):
        found = await replica.access_of(john)
        assert (
            {member.hcp for member in found.members}
            == {"hcp-a", "hcp-d"}
            == (await replica.get(Patient, john.id)).shared_with
        )
        assert found.put_out == (PutOut("hcp-b", ("hcp-a",)), PutOut("hcp-c", (), ("hcp-b",)))
    again = await a.share(await a.get(Patient, john.id), with_="hcp-b")
    found = await a.access_of(again)
    assert {member.hcp for member in found.members} == {"hcp-a", "hcp-b", "hcp-d"}
    assert found.put_out == (PutOut("hcp-c", (), ("hcp-b",)),)
    assert (await b.sync(server)).withdrawn == 1
    with pytest.raises(NotFound, match="access to it was ended"):
        await b.access_of(john.id)


async def test_what_nobody_can_judge_is_told_apart_and_what_is_forged_not_at_all(open_replica, identities, server):
    """B has not got C's keys. A server says that C let D in, and that A let E in, who did not sign that."""
    a, b = await open_replica("hcp-a"), await open_replica("hcp-b")
    await met(server, a, b)
    john = await a.share(await a.save(Patient(first_name="John")), with_="hcp-b")
    await met(server, a, b)
    document = (await stored_of(a, john)).document
    subject = Subject.of(john.id, document)
    unknown = {**grant(subject, "hcp-d", document["access"], identities["hcp-b"]), "by": "hcp-c"}
    forged = {**unknown, "by": "hcp-a", "grant": "hcp-e"}
    for statement in (unknown, forged):
        sealed = notice(Sealed(DocId(john.id), Rev(john.rev), document), [statement], ["hcp-b"])
        [genuine] = await server.fetch({DocId(john.id): [Rev(john.rev)]})
        body = json.dumps(sealed.document).encode()
        server.put(Revision(genuine.id, (sealed.rev, *genuine.history), body, deleted=True))
    await b.sync(server)
    found = await b.access_of(john)
    assert {member.hcp for member in found.members} == {"hcp-a", "hcp-b"}
    assert found.pending == (Unproven("hcp-d", "hcp-c", is_grant=True),)
    assert (await b.get(Patient, john.id)).first_name == "John"


async def test_in_icure_classic_it_says_what_the_entries_say_and_that_nobody_signed_it(open_replica, identities):
    identities[A] = Identity.from_private_key(A, bytes.fromhex(VECTORS["keys"][A]["pkcs8Hex"]))
    a = await open_replica(A, suites=("icure-classic",))
    given = [
        Revision(doc["_id"], (doc["_rev"],), json.dumps({k: v for k, v in doc.items() if k[0] != "_"}).encode())
        for doc in VECTORS["docs"]
    ]
    await a._store.run(a._store.documents.apply, given)
    john = await a.get(Patient, VECTORS["ids"]["patient"])
    found = await a.access_of(john)
    assert (found.type, found.is_signed, found.creator, found.put_out) == ("Patient", False, None, ())
    assert {member.hcp for member in found.members} == john.shared_with
    assert {each.by for member in found.members if member.hcp != A for each in member.grants} == {A}
