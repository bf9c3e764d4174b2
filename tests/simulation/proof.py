"""What must be true of a world that has become quiet. Looks at every revision on every store, with everybody's keys.

Owns the statements; raises AssertionError with the first that does not hold.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from icure_sync.crypto import sealing
from icure_sync.crypto.access import MAPS, Subject, parties, union
from icure_sync.crypto.chain import sealing_keys
from icure_sync.crypto.hcp_keys import HcpKey
from icure_sync.crypto.keyring import Keyring
from icure_sync.crypto.revision import revision_id
from icure_sync.engine.conflict import Reason
from icure_sync.engine.opening import UNREADABLE, Leaves
from icure_sync.errors import CryptoError, NotFound
from icure_sync.ids import DocId, HcpId, Kid, Rev
from icure_sync.model import Contact, Entity, Patient
from tests.keys import HCPS, identity
from tests.simulation.clinic import Clinic, Device
from tests.simulation.steps import all_values, body_values, shown

Document = Mapping[str, Any]


@dataclass(slots=True)
class World:
    """All that ever reached a store, and everybody's keys. `inside`: who has access, by all statements there are."""

    clinic: Clinic
    keyrings: dict[HcpId, Keyring]
    revisions: dict[str, dict[Rev, Document]] = field(default_factory=dict)  # genuine ones with a body
    inside: dict[str, frozenset[HcpId]] = field(default_factory=dict)

    def readers(self, doc_id: str) -> list[Device]:
        return [device for device in self.clinic.devices if device.hcp in self.inside[doc_id]]


async def check(clinic: Clinic) -> None:
    """Everything."""
    world = await _gathered(clinic)
    for doc_id in clinic.ledger.documents:
        await _check_agreement(world, doc_id)
        await _check_nothing_is_lost(world, doc_id)
        _check_secrecy(world, doc_id)
        await _check_merged(world, doc_id)
    await _check_links(world)


async def _gathered(clinic: Clinic) -> World:
    """Raises AssertionError if one revision id stands for two contents."""
    keys: dict[HcpId, list[HcpKey]] = {hcp: [] for hcp in HCPS}
    world = World(clinic, {})
    bodies: dict[tuple[str, Rev], Document] = {}
    for (doc_id, rev), body in clinic.written.items():
        _note(bodies, doc_id, rev, body)
    for device in clinic.devices:
        keys[device.hcp] += await device.run(lambda each: [*each.store.hcp_keys.all()], device)
        for revision in await device.run(_everything, device):
            _note(bodies, revision.id, revision.rev, revision.body)
    for server in clinic.servers:
        for doc in server._documents.values():
            for revision in doc.revisions.values():
                _note(bodies, revision.id, revision.rev, revision.body)
    world.keyrings = {hcp: Keyring(identity(hcp), held) for hcp, held in keys.items()}
    for (doc_id, rev), document in bodies.items():
        world.revisions.setdefault(doc_id, {})[rev] = document
    for doc_id in clinic.ledger.documents:
        found = world.revisions[doc_id].values()
        subject = Subject.of(doc_id, next(iter(found)))
        world.inside[doc_id] = parties(subject, union(*(each["access"] for each in found)))
    return world


def _everything(device: Device) -> list[Any]:
    documents = device.store.documents
    return [
        held.revision
        for change in documents.changes(limit=-1)
        for held in (*documents.held_leaves(change.id), *documents.displaced(change.id))
    ]


def _note(bodies: dict[tuple[str, Rev], Document], doc_id: str, rev: Rev, body: bytes) -> None:
    """A genuine one: its id is that of its content."""
    document = json.loads(body)
    if "encryptedSelf" not in document or revision_id(doc_id, document, document["written"]["by"]) != rev:
        return
    known = bodies.setdefault((doc_id, rev), document)
    assert known == document, f"{doc_id} {rev} has two contents"


async def _check_agreement(world: World, doc_id: str) -> None:
    """Devices of all who have access show the same; those of one Hcp hold the same revisions."""
    states: dict[str, Any] = {}
    for device in world.readers(doc_id):
        try:
            entity = await shown(device, doc_id)
        except (*UNREADABLE,) as error:
            raise AssertionError(f"{device} has access to {doc_id} and cannot open it: {error}") from error
        states[device.name] = _state(entity)
    distinct = {repr(state) for state in states.values()}
    assert len(distinct) == 1, f"{doc_id} differs: {states}"
    for hcp in world.inside[doc_id]:
        held = [await device.run(_named, device, doc_id) for device in world.readers(doc_id) if device.hcp == hcp]
        for one, other in itertools.pairwise(held):
            assert one == other, f"devices of {hcp} hold different revisions of {doc_id}: {one.keys()} {other.keys()}"


def _state(entity: Entity) -> Any:
    fields = sorted(all_values(entity)), sorted((path, repr(each)) for path, each in entity.alternatives.items())
    main = [getattr(entity, name, None) for name in ("first_name", "last_name", "note", "description", "services")]
    return fields, repr(main), entity.deleted, sorted(entity.shared_with), entity.parent_ids


def _named(device: Device, doc_id: str) -> dict[Rev, bytes]:
    """The live leaves that a server's filter brings. One by somebody who is out may name fewer: it comes by chance."""
    name = f'"{device.hcp}":['.encode()
    return {rev: body for rev, body in _live(device, doc_id).items() if name in body}


def _live(device: Device, doc_id: str) -> dict[Rev, bytes]:
    leaves = device.store.documents.held_leaves(DocId(doc_id))
    return {each.revision.rev: each.revision.body for each in leaves if not each.revision.deleted}


async def _check_nothing_is_lost(world: World, doc_id: str) -> None:
    """A value that nobody has replaced who had seen it is shown, among the alternatives, or in a leaf for review."""
    ledger = world.clinic.ledger
    standing = ledger.of(doc_id)
    review: set[str] = set()  # a leaf that does not name an Hcp does not come to its devices: one Hcp can look at it
    for device in world.readers(doc_id):
        review |= await _in_review(world, device, doc_id)
    for device in world.readers(doc_id):
        entity = await shown(device, doc_id)
        there = all_values(entity)
        for place, values in standing.items():
            lost = values - there - review
            assert not lost, f"{device} lost {lost} of {doc_id} {place}: shows {there}, review {review}"
        standing_values = {value for values in standing.values() for value in values}
        if entity.deleted:
            covering = [seen for each, seen in ledger.deletions if each == doc_id and standing_values - review <= seen]
            assert covering, f"{doc_id} is deleted, although nobody who deleted it had seen {standing_values}"
        elif doc_id not in ledger.revived and not review:
            undone = [seen for each, seen in ledger.deletions if each == doc_id and standing_values <= seen]
            assert not undone, f"{doc_id} is shown, although it was deleted by somebody who had seen everything"


async def _in_review(world: World, device: Device, doc_id: str) -> set[str]:
    """The values that somebody has to look at: in leaves by those who are out, live or listed although displaced."""
    found: set[str] = set()
    conflict = await device.replica.conflict_of(doc_id)
    listed = {each.rev for each in conflict.standing if each.reason is Reason.OUT} if conflict else set()
    for rev in listed | {*await device.run(_live, device, doc_id)}:
        document = world.revisions[doc_id].get(rev)
        if document is not None and document["written"]["by"] not in world.inside[doc_id]:
            found |= _values(world, doc_id, document)
    return found


def _values(world: World, doc_id: str, document: Document) -> set[str]:
    """In a body, opened with whatever keyring opens it."""
    subject = Subject.of(doc_id, document)
    for keyring in world.keyrings.values():
        try:
            body = sealing.open_body(subject, document, keyring)
        except CryptoError:
            continue
        return body_values(body)
    return set()


def _check_secrecy(world: World, doc_id: str) -> None:
    """Nobody opens what he was not given, nor what was written after he was put out: really tried, with every key that
    anything which the writer had seen ever gave him."""
    revisions = world.revisions[doc_id]
    given = {
        hcp: {rev: _content_keys(doc_id, document, keyring) for rev, document in revisions.items()}
        for hcp, keyring in world.keyrings.items()
    }
    for rev, document in revisions.items():
        subject = Subject.of(doc_id, document)
        inside = parties(subject, document["access"])
        if document["written"]["by"] not in inside:
            continue  # he knows no better, and gives away nothing but his own
        seen = _seen(revisions, rev)
        for hcp, keyring in world.keyrings.items():
            if hcp in inside:
                continue
            assert not any(document[name].get(hcp) for name in MAPS), f"{doc_id} {rev} has entries for {hcp}"
            known = {name for each in seen for name in given[hcp][each]}
            assert not known.issuperset(document["sealedWith"]), f"{hcp} knows the keys of {doc_id} {rev}"
            with pytest.raises(CryptoError):
                sealing.open_body(subject, document, keyring)


def _seen(revisions: Mapping[Rev, Document], rev: Rev) -> set[Rev]:
    """What a revision was made from, directly or not."""
    seen: set[Rev] = set()
    waiting = [rev]
    while waiting:
        one = waiting.pop()
        if one not in seen and one in revisions:
            seen.add(one)
            waiting += map(Rev, revisions[one]["parents"])
    return seen


def _content_keys(doc_id: str, document: Document, keyring: Keyring) -> set[Kid]:
    """What a party unwraps from one revision."""
    subject = Subject.of(doc_id, document)
    found: set[Kid] = set()
    for of in {entry["of"] for entry in document["encryptionKeys"].get(keyring.identity.hcp_id, ())}:
        with suppress(CryptoError):
            found.update(name for name, _ in sealing_keys(subject, {**document, "sealedWith": [of]}, keyring))
    return found


async def _check_merged(world: World, doc_id: str) -> None:
    """No conflict is left that some device could have merged."""
    for device in world.readers(doc_id):
        found: Leaves = await device.run(device.replica._keyed.opener.leaves, DocId(doc_id))
        inside = world.inside[doc_id]
        good = [each for each in found.opened if each.stored.document["written"]["by"] in inside]
        if len(good) > 1:
            joined = await device.run(lambda one: one[0].suite.join([each.stored for each in one]), good)
            assert joined.written is None, f"{device} could merge {[each.stored.rev for each in good]} of {doc_id}"


async def _check_links(world: World) -> None:
    """Whoever has access to both finds a contact under its patient."""
    for contact_id, patient_id in world.clinic.ledger.links.items():
        for device in world.readers(contact_id):
            if device.hcp not in world.inside[patient_id]:
                continue
            contact, patient = await shown(device, contact_id), await shown(device, patient_id)
            if contact.deleted or patient.deleted:
                continue
            assert isinstance(contact, Contact)
            assert isinstance(patient, Patient)
            under = {each.id async for each in device.replica.contacts_of(patient)}
            assert contact_id in under, f"{device} does not find {contact_id} under {patient_id}"
            try:
                assert (await device.replica.patient_of(contact)).id == patient_id
            except NotFound as error:
                raise AssertionError(f"{device} does not find the patient of {contact_id}") from error
