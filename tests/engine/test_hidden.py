"""What a server puts over genuine revisions: nothing is lost by it, and nothing taken in unasked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from icure_sync import Conflict, Reason, strict_json
from icure_sync.crypto.access import Subject
from icure_sync.crypto.envelope import to_text
from icure_sync.crypto.identity import signed_bytes
from icure_sync.crypto.primitives import SigningKey
from icure_sync.crypto.revision import revision_id
from icure_sync.crypto.sealing import signed
from icure_sync.engine import hcp_document
from icure_sync.engine.reconciling import PATIENCE_MS
from icure_sync.engine.replica import Replica
from icure_sync.errors import InvalidEntity, NotFound
from icure_sync.ids import DocId, Rev
from icure_sync.model import Code, Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.checkpoint import Direction
from icure_sync.replication.wire import Revision
from tests.replicas import rev

NOW = 1_800_000_000_000


async def body_of(replica: Replica, doc_id: str, wanted: Rev) -> bytes | None:
    held = await replica._store.run(replica._store.documents.get, doc_id, wanted)
    return held.body if held else None


async def live(replica: Replica, doc_id: str) -> set[str]:
    leaves = await replica._store.run(replica._store.documents.leaves, doc_id)
    return {each.rev for each in leaves if not each.deleted}


@pytest.mark.parametrize("is_retirement", [True, False])
async def test_a_tombstone_on_a_leaf_by_somebody_who_is_out_drops_nothing_and_brings_nothing_back(
    open_replica, is_retirement: bool
):
    server, time = MemoryPeer("clinic"), [NOW]
    laptop, phone, b = [
        await open_replica(hcp_id, name, clock=lambda: time[0])
        for hcp_id, name in (("hcp-a", "laptop"), ("hcp-a", "phone"), ("hcp-b", "laptop"))
    ]
    john = await laptop.save(Patient(first_name="John"))
    for replica in (laptop, phone, b, laptop):
        await replica.sync(server)
    await laptop.share(john, with_="hcp-b")
    for replica in (laptop, phone, b):
        await replica.sync(server)
    edited = await b.save((await b.get(Patient, john.id)).replace(note="by B"))
    await b.push(server)
    await laptop.pull(server)
    assert (await laptop.get(Patient, john.id)).note == "by B"
    ended = await phone.revoke(await phone.get(Patient, john.id), from_="hcp-b")
    await phone.push(server)
    await laptop.sync(server)
    assert await live(laptop, john.id) == {edited.rev, ended.rev}
    [genuine] = await server.fetch({john.id: [edited.rev]})
    forged = {"retired": True, "parents": [edited.rev]} if is_retirement else {}
    server.put(Revision(john.id, (rev(4, 1), *genuine.history), json.dumps(forged).encode(), deleted=True))
    await laptop.sync(server)
    time[0] += 2 * PATIENCE_MS
    await laptop.sync(server)
    assert (await laptop.get(Patient, john.id)).note is None
    assert await live(laptop, john.id) == {ended.rev}
    assert await body_of(laptop, john.id, edited.rev) == genuine.body


# What is hidden of those who are out


async def put_out(open_replica) -> tuple[MemoryPeer, Replica, Replica, Replica, Patient]:
    """A shared a patient with B. B's note has come to A's laptop; A's phone, which had not seen it, put B out."""
    server, laptop, phone, (b,), john = await shared_record(open_replica, "hcp-b")
    await b.save((await b.get(Patient, john.id)).replace(note="by B"))
    await b.push(server)
    await laptop.pull(server)
    await phone.revoke(await phone.get(Patient, john.id), from_="hcp-b")
    await phone.push(server)
    return server, laptop, phone, b, john


async def hide(server: MemoryPeer, doc_id: str, hidden: str, digit: int, *, is_retirement: bool = False) -> None:
    """A server, or whoever may write to it, puts a tombstone on a revision."""
    [genuine] = await server.fetch({DocId(doc_id): [Rev(hidden)]})
    forged = {"retired": True, "parents": [hidden]} if is_retirement else {}
    above = rev(int(hidden.partition("-")[0]) + 1, digit)
    server.put(Revision(genuine.id, (above, *genuine.history), json.dumps(forged).encode(), deleted=True))


async def listed(replica: Replica) -> list[Conflict]:
    """What is listed, which the counts agree with."""
    found = [each async for each in replica.conflicts()]
    assert (await replica.status()).conflicts == len(found)
    return found


async def displaced(replica: Replica, doc_id: str) -> list[Rev]:
    held = await replica._store.run(replica._store.documents.displaced, doc_id)
    return [each.revision.rev for each in held]


async def seq(replica: Replica) -> int:
    return await replica._store.run(replica._store.documents.update_seq)


@pytest.mark.parametrize("is_retirement", [True, False])
@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize("first", ["B's leaf", "the revocation"])
async def test_a_hidden_leaf_of_somebody_who_is_out_is_adopted_like_a_live_one(
    open_replica, is_retirement: bool, is_named: bool, first: str
):
    server, laptop, phone, b, john = await put_out(open_replica)
    edited = await b.get(Patient, john.id)
    replicas = (laptop, phone)
    for replica in replicas if first == "the revocation" else (phone,):  # else the laptop has B's leaf alone by now
        await replica.sync(server)
    await hide(server, john.id, edited.rev, 1, is_retirement=is_retirement)
    for replica in (*replicas, *replicas):
        await replica.sync(server)
    for replica in replicas:
        (conflict,) = await listed(replica)
        (standing,) = conflict.standing
        assert (standing.rev, standing.reason, standing.by) == (edited.rev, Reason.OUT, "hcp-b")
        assert standing.offers == {"note": ("by B",)}
        assert (conflict.entity.note, conflict.fields, conflict.versions) == (None, (), 2)
        assert edited.rev not in conflict.leaves
        before = await seq(replica)
        await replica.sync(server)
        assert await seq(replica) == before
    adopted = await laptop.adopt(conflict, standing.rev if is_named else None)
    assert adopted.note == "by B"
    assert await listed(laptop) == []
    for _ in range(2):
        for replica in replicas:
            await replica.sync(server)
            assert await replica.get(Patient, john.id) == adopted
            assert await live(replica, john.id) == {adopted.rev}
            assert await displaced(replica, john.id) == []
            assert await listed(replica) == []
    with pytest.raises(NotFound):
        await laptop.adopt(john.id, standing.rev)


async def test_what_its_own_writer_replaced_is_neither_listed_beside_it_nor_after_it_was_adopted(open_replica):
    """The laptop has each of B's notes, the phone the first and the last, a third device only the last."""
    server, laptop, phone, b, john = await put_out(open_replica)
    await phone.sync(server)
    await laptop.sync(server)
    for note in ("second", "third"):
        edited = await b.save((await b.get(Patient, john.id)).replace(note=note))
        await b.push(server)
        await laptop.sync(server)
        (conflict,) = await listed(laptop)
        assert [each.offers for each in conflict.standing] == [{"note": (note,)}]
    assert len(await displaced(laptop, john.id)) == 2
    await phone.sync(server)
    tablet = await open_replica("hcp-a", "tablet")
    await tablet.sync(server)
    await hide(server, john.id, edited.rev, 1)
    for replica in (laptop, phone):
        await replica.sync(server)
        (conflict,) = await listed(replica)
        assert [(each.rev, each.offers) for each in conflict.standing] == [(edited.rev, {"note": ("third",)})]
    adopted = await tablet.adopt(john.id)
    for replica in (tablet, laptop, phone, tablet):
        await replica.sync(server)
    for replica in (tablet, laptop, phone):
        assert await replica.get(Patient, john.id) == adopted
        assert await displaced(replica, john.id) == []
        assert await listed(replica) == []


async def test_a_device_that_has_only_what_its_writer_replaced_comes_to_rest_by_the_adoption(open_replica):
    server, laptop, phone, b, john = await put_out(open_replica)
    for replica in (phone, laptop):
        await replica.sync(server)
    edited = await b.save((await b.get(Patient, john.id)).replace(note="last"))
    await b.push(server)
    await laptop.sync(server)
    await hide(server, john.id, edited.rev, 1)
    await laptop.sync(server)
    adopted = await laptop.adopt(john.id)
    for replica in (laptop, phone, laptop):
        await replica.sync(server)
        assert await replica.get(Patient, john.id) == adopted
        assert await displaced(replica, john.id) == []
        assert await listed(replica) == []


async def test_the_hidden_leaves_of_two_who_are_out_are_each_adopted(open_replica):
    server, laptop, phone, (b, c), john = await shared_record(open_replica, "hcp-b", "hcp-c")
    edits = []
    for replica, changes in ((b, {"note": "by B"}), (c, {"gender": "female"})):
        edits.append(await replica.save((await replica.get(Patient, john.id)).replace(**changes)))
        await replica.push(server)
    for hcp_id in ("hcp-b", "hcp-c"):
        john = await phone.revoke(await phone.get(Patient, john.id), from_=hcp_id)
    for replica in (phone, laptop):
        await replica.sync(server)
    for number, edit in enumerate(edits):
        await hide(server, john.id, edit.rev, number)
    for replica in (phone, laptop):
        await replica.sync(server)
        (conflict,) = await listed(replica)
        assert {each.rev: each.by for each in conflict.standing} == {edits[0].rev: "hcp-b", edits[1].rev: "hcp-c"}
    with pytest.raises(InvalidEntity, match="2 of its leaves"):
        await laptop.adopt(conflict)
    await laptop.adopt(conflict, edits[0].rev)
    assert [each.by for each in (await laptop.conflict_of(john.id)).standing] == ["hcp-c"]
    adopted = await laptop.adopt(john.id)
    assert (adopted.note, adopted.gender) == ("by B", "female")
    for replica in (laptop, phone, laptop):
        await replica.sync(server)
        assert await replica.get(Patient, john.id) == adopted
        assert await listed(replica) == []


async def test_what_a_merge_took_in_is_not_listed_when_its_writer_is_put_out(open_replica):
    server, laptop, phone, (b,), john = await shared_record(open_replica, "hcp-b")
    await laptop.save(john.replace(last_name="Keats"))
    await b.save((await b.get(Patient, john.id)).replace(note="by B"))
    await b.push(server)
    for replica in (laptop, phone):
        await replica.sync(server)
    merged = await laptop.get(Patient, john.id)
    assert (merged.note, merged.last_name) == ("by B", "Keats")
    revoked = await laptop.revoke(merged, from_="hcp-b")
    await laptop.save(revoked.replace(note=None))
    for replica in (laptop, phone, laptop):
        await replica.sync(server)
        assert await listed(replica) == []
        assert (await replica.get(Patient, john.id)).note is None


async def test_a_hidden_leaf_that_does_not_verify_or_says_nothing_new_is_not_listed(open_replica):
    server, laptop, phone, b, john = await put_out(open_replica)
    edited = await b.get(Patient, john.id)
    genuine = json.loads(await body_of(b, john.id, edited.rev))
    junk = Revision(DocId(john.id), (rev(9, 1),), json.dumps({**genuine, "merged": [rev(3, 3)]}).encode())
    server.put(junk)
    for replica in (laptop, phone):
        await replica.sync(server)
        assert {each.reason for each in (await replica.conflict_of(john.id)).standing} == {Reason.OUT, Reason.TAMPERED}
    for number, hidden in enumerate((edited.rev, junk.rev)):
        await hide(server, john.id, hidden, number)
    for replica in (laptop, phone):
        await replica.sync(server)
        assert [each.rev for each in (await replica.conflict_of(john.id)).standing] == [edited.rev]
    with pytest.raises(NotFound):
        await laptop.adopt(john.id, junk.rev)
    await laptop.save((await laptop.get(Patient, john.id)).replace(note="by B"))
    for replica in (laptop, phone):
        await replica.sync(server)
        assert await listed(replica) == []


async def test_a_hidden_leaf_whose_writer_is_let_in_again_is_merged_and_no_more_listed(open_replica):
    server, laptop, phone, b, john = await put_out(open_replica)
    edited = await b.get(Patient, john.id)
    for replica in (laptop, phone):
        await replica.sync(server)
    await hide(server, john.id, edited.rev, 1)
    await laptop.sync(server)
    assert len(await listed(laptop)) == 1
    await laptop.share(await laptop.get(Patient, john.id), with_="hcp-b")
    for replica in (laptop, b, laptop, phone):
        await replica.sync(server)
    for replica in (laptop, b, phone):
        assert (await replica.get(Patient, john.id)).note == "by B"
        assert await listed(replica) == []


async def shared_record(open_replica, *others: str) -> tuple[MemoryPeer, Replica, Replica, list[Replica], Patient]:
    """A's laptop and phone, and others, with a patient that A shared with all of these."""
    server = MemoryPeer("clinic")
    laptop, phone = [await open_replica("hcp-a", name) for name in ("laptop", "phone")]
    replicas = [await open_replica(hcp_id) for hcp_id in others]
    for replica in (*replicas, laptop, phone, *replicas):
        await replica.sync(server)
    john = await laptop.save(Patient(first_name="John"))
    for hcp_id in others:
        john = await laptop.share(john, with_=hcp_id)
    for replica in (laptop, phone, *replicas):
        await replica.sync(server)
    return server, laptop, phone, replicas, john


async def history_of(replica: Replica, doc_id: str, wanted: str) -> tuple[Rev, ...]:
    tree = await replica._store.run(replica._store.documents.tree, doc_id)
    return tree.history(Rev(wanted))


async def test_a_server_that_puts_an_edit_below_what_never_saw_it_hides_nothing(open_replica):
    """Whichever of two claimed parents has the higher hash: six tries see both."""
    server, laptop, phone, _, john = await shared_record(open_replica)
    for _ in range(6):
        john = await laptop.get(Patient, john.id)
        second = await laptop.save(john.replace(last_name="Second"))
        third = await laptop.save(second.replace(last_name="Third"))
        typed = await phone.save((await phone.get(Patient, john.id)).replace(note=f"typed after {john.rev}"))
        body = await body_of(laptop, john.id, Rev(third.rev))
        true = await history_of(laptop, john.id, third.rev)
        false = (Rev(third.rev), *await history_of(phone, john.id, typed.rev))
        for history in (true, false):
            await phone._store.run(phone._store.documents.apply, [Revision(john.id, history, body)])
        await phone.sync(server)
        await laptop.sync(server)
        for replica in (phone, laptop):
            seen = await replica.get(Patient, john.id)
            assert (seen.last_name, seen.note) == ("Third", typed.note)
        await phone.sync(server)


async def test_a_notice_that_puts_nobody_out_hides_nothing(open_replica):
    server, laptop, _, _, john = await shared_record(open_replica, "hcp-b")
    revoked = await laptop.revoke(john, from_="hcp-b")
    await laptop.sync(server)
    body = json.loads(await body_of(laptop, john.id, Rev(revoked.rev)))
    kept = {name: body[name] for name in ("type", "cryptoSuite", "creator", "access")}
    for mark, named in enumerate(("hcp-b", "hcp-z")):  # out already, and never in
        shown = await laptop.get(Patient, john.id)
        notice = {"notice": True, **kept, "delegations": {named: []}, "parents": [shown.rev]}
        above = await history_of(laptop, john.id, shown.rev)
        forged = (rev(int(shown.rev.partition("-")[0]) + 1, mark), *above)
        await laptop._store.run(
            laptop._store.documents.apply, [Revision(john.id, forged, json.dumps(notice).encode(), deleted=True)]
        )
        assert (await laptop.sync(server)).undone == 1


async def test_a_revocation_that_is_here_counts_whether_anybody_has_read_it_or_not(open_replica):
    """B, who is in, writes over A's revocation of C as if it had not seen it; the phone has pulled that, unread."""
    server, laptop, phone, (b, _), john = await shared_record(open_replica, "hcp-b", "hcp-c")
    old = json.loads(await body_of(b, john.id, Rev(john.rev)))
    await laptop.revoke(john, from_="hcp-c")
    await laptop.push(server)
    await phone._exchange._attempt(Direction.PULL, server, None)
    await b.pull(server)
    opened = await b._store.run(b._keyed.opener.open, john.id)
    subject = Subject.of(john.id, opened.stored.document)
    stripped = {**opened.stored.document, "access": old["access"], "parents": [opened.stored.rev]}
    evil = signed(subject, stripped, b._keyed.parties.keyring)
    history = (evil.rev, *await history_of(b, john.id, opened.stored.rev))
    server.put(Revision(john.id, history, strict_json.dumps(evil.document)))
    await phone.sync(server)
    assert "hcp-c" not in (await phone.get(Patient, john.id)).shared_with


async def test_a_hundred_leaves_are_merged_in_one_step(open_replica):
    server, laptop, phone, _, john = await shared_record(open_replica)
    suite = phone._keyed.opener._suites["sealed-1"]
    opened = await phone._store.run(phone._keyed.opener.open, john.id)
    history = await history_of(phone, john.id, opened.stored.rev)
    for number in range(100):
        written = suite.edit(opened.stored, opened.entity.replace(tags=[Code(type="t", code=str(number))]))
        server.put(Revision(john.id, (written.rev, *history), strict_json.dumps(written.document)))
    await laptop.save(john.replace(last_name="Keats"))
    assert (await laptop.sync(server)).merged == 1
    assert len(await live(laptop, john.id)) == 1
    seen = await laptop.get(Patient, john.id)
    assert seen.last_name == "Keats"
    assert {tag.code for tag in seen.tags} == {str(number) for number in range(100)}
    await phone.sync(server)
    assert await phone.get(Patient, john.id) == seen


# Those who learn only from a notice that they are out


async def test_a_device_of_who_was_put_out_does_not_undo_the_end_of_its_leaf_for_ever(open_replica):
    server, laptop, phone, b, john = await put_out(open_replica)
    for replica in (phone, laptop):
        await replica.sync(server)
    adopted = await laptop.adopt(john.id)
    for _ in range(3):
        reports = [await replica.sync(server) for replica in (laptop, b, phone)]
    assert [(each.pushed, each.undone, each.conflicts) for each in reports] == [(0, 0, 0)] * 3
    for replica in (laptop, phone):
        assert await replica.get(Patient, john.id) == adopted


async def test_two_who_were_put_out_agree_on_it_whatever_each_had_seen_before(open_replica):
    """B's laptop saw that A was put out; A, and B's phone, write and merge as if they had all still access."""
    server, laptop, _, (a, b), john = await shared_record(open_replica, "hcp-b", "hcp-c")
    phone = await open_replica("hcp-c", "phone")
    await phone.sync(server)
    seen = await a.get(Patient, john.id), await phone.get(Patient, john.id)
    john = await laptop.revoke(john, from_="hcp-b")
    await laptop.push(server)
    await b.sync(server)
    assert (await b.get(Patient, john.id)).shared_with == {"hcp-a", "hcp-c"}
    john = await laptop.revoke(john, from_="hcp-c")
    await laptop.push(server)
    sealed = await server.fetch({DocId(john.id): [Rev(john.rev)]})  # as from another device, which filters nothing
    await b._store.run(b._store.documents.apply, sealed)
    await a.save(seen[0].replace(note="by A"))
    await phone.save(seen[1].replace(gender="other"))
    for replica in (a, phone):
        await replica.push(server)
    await b.sync(server)
    for _ in range(4):
        reports = [await replica.sync(server) for replica in (a, b, phone)]
    assert [(each.pushed, each.merged, each.undone) for each in reports] == [(0, 0, 0)] * 3
    assert (await laptop.get(Patient, john.id)).shared_with == {"hcp-a"}


# What cannot be judged


async def cover(server: MemoryPeer, doc_id: str, written: dict[str, str]) -> None:
    """A server puts on the leaf what claims to be by somebody."""
    (leaf,) = [each for each in await server.leaves([DocId(doc_id)]) if isinstance(each, Revision)]
    document = json.loads(leaf.body) | {"parents": [leaf.rev]}
    document["encryptedSelf"] = document["encryptedSelf"][:-8] + "AAAAAAA="
    above = revision_id(doc_id, {name: value for name, value in document.items() if name != "written"}, written["by"])
    if "key" in written:
        message = signed_bytes("written", ("sealed-1", document["type"], doc_id, above))
        signature = to_text(SigningKey(bytes.fromhex(written["key"])).sign(message))
    else:
        signature = "A" * 86 + "=="
    document["written"] = {"by": written["by"], "signature": signature}
    server.put(Revision(leaf.id, (above, *leaf.history), strict_json.dumps(document)))


async def test_a_leaf_by_somebody_whom_nobody_knows_or_granted_access_hides_nothing(open_replica):
    server, laptop, _, _, john = await shared_record(open_replica)
    await cover(server, john.id, {"by": "hcp-zzz"})
    assert (await laptop.sync(server)).undone == 1
    assert {alarm.kind for alarm in await laptop.alarms.all()} == {"undone"}
    new = await open_replica("hcp-a", "new")
    await new.sync(server)
    assert (await new.get(Patient, john.id)).first_name == "John"
    (conflict,) = await listed(new)
    assert {each.reason for each in conflict.standing} == {Reason.TAMPERED}


async def test_what_hides_a_record_and_cannot_be_judged_for_a_day_raises_an_alarm(open_replica, identities):
    """By a key that claims to be the new one of the creator, and that nobody has confirmed."""
    server, time = MemoryPeer("clinic"), [NOW]
    laptop = await open_replica("hcp-a", clock=lambda: time[0])
    john = await laptop.save(Patient(first_name="John"))
    await laptop.sync(server)
    key = SigningKey(bytes(32))
    claimed = hcp_document.first(replace(identities["hcp-a"], signing_key=key))
    server.put(Revision(claimed.id, (claimed.rev,), strict_json.dumps(claimed.document)))
    await cover(server, john.id, {"by": "hcp-a", "key": bytes(32).hex()})
    await laptop.sync(server)
    assert "unjudged" not in {alarm.kind for alarm in await laptop.alarms.all()}
    time[0] += PATIENCE_MS
    await laptop.sync(server)
    (alarm,) = [alarm for alarm in await laptop.alarms.all() if alarm.kind == "unjudged"]
    assert alarm.subject == john.id
    assert (await laptop.get(Patient, john.id)).first_name == "John"


async def test_a_notice_that_a_later_grant_overrides_hides_nothing(open_replica):
    """It is B's, so B alone is given it, and waits for nobody to write again what is A's."""
    server, laptop, _, (b,), john = await shared_record(open_replica, "hcp-b")
    john = await laptop.revoke(john, from_="hcp-b")
    await laptop.push(server)
    (told,) = [each for each in await server.leaves([DocId(john.id)]) if each.deleted]
    john = await laptop.share(john, with_="hcp-b")
    john = await laptop.save(john.replace(note="important"))
    for replica in (laptop, b):
        await replica.sync(server)
    [leaf] = await server.fetch({DocId(john.id): [Rev(john.rev)]})
    above = rev(int(john.rev.partition("-")[0]) + 1, 7)
    server.put(Revision(leaf.id, (above, *leaf.history), told.body, deleted=True))
    assert (await b.sync(server)).undone == 1
    assert {alarm.kind for alarm in await b.alarms.all()} == {"undone"}
    new = await open_replica("hcp-a", "new")
    for replica in (laptop, new, b):
        await replica.sync(server)
        assert (await replica.get(Patient, john.id)).note == "important"
