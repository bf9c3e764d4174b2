"""What may happen in a world: edits, sharing, partitions, kills, backups, wrong clocks, and a server that lies."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

from icure_sync.crypto import merging
from icure_sync.crypto.access import Subject
from icure_sync.crypto.sealing import Sealed, open_body
from icure_sync.engine.conflict import Reason
from icure_sync.errors import InvalidEntity, NoAccess, NotFound, StaleRevision, Tampered, UnsupportedSuite, WriterOut
from icure_sync.ids import DocId, Rev
from icure_sync.merge.registers import DELETED, SECRET_ID, Body
from icure_sync.model import Contact, Entity, Patient, Service
from icure_sync.peers.memory import MemoryPeer
from icure_sync.peers.port import Peer
from icure_sync.replication.wire import Revision
from tests.keys import HCPS
from tests.simulation.clinic import Clinic, Device

MOST_DOCUMENTS = 5
MOST_BACKUPS = 2
FIELDS = ("first_name", "last_name", "note")
HOUR = 3_600_000

# What a device may rightly refuse: it knows less than the world does, or is not allowed to.
REFUSED = (NotFound, NoAccess, StaleRevision, InvalidEntity, Tampered, UnsupportedSuite, WriterOut)

Step = Callable[[Clinic, Device], Awaitable[None]]


async def shown(device: Device, doc_id: str) -> Entity:
    """What the device shows, deleted or not."""
    opened = await device.run(device.replica._keyed.opener.open, DocId(doc_id))
    return opened.entity


def values_at(entity: Entity, place: str) -> set[str]:
    """Shown at a place, or among its alternatives."""
    held = list(entity.alternatives.get(place, ()))
    if "/" in place:
        held += [each for each in getattr(entity, "services", ()) if f"services/{each.id}" == place]
        return {each.label for each in held if each is not None}
    return {each for each in (*held, getattr(entity, place, None)) if each is not None}


def all_values(entity: Entity) -> set[str]:
    places = {
        *FIELDS,
        "description",
        *entity.alternatives,
        *(f"services/{each.id}" for each in getattr(entity, "services", ())),
    }
    return {value for place in places if place != "deleted" for value in values_at(entity, place)}


async def write(clinic: Clinic, device: Device) -> None:
    """A new record, or an edit of one as it is shown now."""
    ledger = clinic.ledger
    if not ledger.documents or (len(ledger.documents) < MOST_DOCUMENTS and clinic.chance.random() < 0.1):
        await create(clinic, device)
        return
    await _edit(clinic, device, await _one(clinic, device))


async def create(clinic: Clinic, device: Device) -> None:
    """A patient, or a contact under one."""
    ledger, value = clinic.ledger, clinic.ledger.value()
    patients = [each for each in ledger.documents if each not in ledger.links]
    if patients and clinic.chance.random() < 0.5:
        parent = await shown(device, clinic.chance.choice(patients))
        made: Entity = await device.replica.save(Contact(description=value), patient=parent)
        ledger.links[made.id] = parent.id
        ledger.wrote(made.id, "description", value, ())
    else:
        made = await device.replica.save(Patient(first_name=value))
        ledger.wrote(made.id, "first_name", value, ())
    ledger.documents.append(made.id)


async def look(clinic: Clinic, device: Device) -> None:
    """Somebody opens a record, to write it later."""
    entity = await _one(clinic, device)
    device.read[entity.id] = entity


async def write_late(clinic: Clinic, device: Device) -> None:
    """An edit of what was opened some time ago."""
    if device.read:
        doc_id = clinic.chance.choice(sorted(device.read))
        await _edit(clinic, device, device.read.pop(doc_id))


async def share(clinic: Clinic, device: Device) -> None:
    entity = await _one(clinic, device)
    await device.replica.share(entity, with_=clinic.chance.choice(HCPS), include_linked=clinic.chance.random() < 0.3)


async def revoke(clinic: Clinic, device: Device) -> None:
    entity = await _one(clinic, device)
    clinic.ledger.revived.update({entity.id, *(each for each, parent in clinic.ledger.links.items())})
    others = sorted(entity.shared_with - {device.hcp})
    if others:
        out = clinic.chance.choice(others)
        await device.replica.revoke(entity, from_=out, include_linked=clinic.chance.random() < 0.3)


async def delete(clinic: Clinic, device: Device) -> None:
    entity = await _one(clinic, device)
    if not entity.deleted:
        await device.replica.delete(entity)
        clinic.ledger.deletions.append((entity.id, frozenset(all_values(entity))))


async def restore(clinic: Clinic, device: Device) -> None:
    entity = await _one(clinic, device)
    if entity.deleted:
        clinic.ledger.revived.add(entity.id)
        await device.replica.restore(entity)


async def resolve(clinic: Clinic, device: Device) -> None:
    """Somebody says that what is shown is right."""
    entity = await _one(clinic, device)
    conflict = await device.replica.conflict_of(entity)
    if conflict is not None and conflict.fields:
        clinic.ledger.revived.add(entity.id)
        after = await device.replica.resolve(conflict)
        _decided(clinic, entity.id, all_values(entity) - all_values(after))


async def adopt(clinic: Clinic, device: Device) -> None:
    """Somebody takes in what somebody wrote who is out; or leaves it, where it was changed since."""
    entity = await _one(clinic, device)
    conflict = await device.replica.conflict_of(entity)
    leaves = [each.rev for each in conflict.standing if each.reason is Reason.OUT] if conflict else []
    if leaves:
        rev = clinic.chance.choice(leaves)
        seen = all_values(entity) | await device.run(_offered, device, DocId(entity.id), rev)
        clinic.ledger.revived.add(entity.id)
        after = await device.replica.adopt(entity.id, rev)
        _decided(clinic, entity.id, seen - all_values(after))


def _offered(device: Device, doc_id: DocId, rev: Rev) -> set[str]:
    document = json.loads(device.store.documents.get(doc_id, rev).body)
    return body_values(open_body(Subject.of(doc_id, document), document, device.replica._keyed.parties.keyring))


def body_values(body: Body) -> set[str]:
    """What was written, in a stamped body."""
    return {
        value["label"] if isinstance(value, dict) else value
        for path, siblings in body["fields"]
        for _, _, value in siblings
        if tuple(path) not in (SECRET_ID, DELETED)
        and (isinstance(value, str) or (isinstance(value, dict) and "label" in value))
    }


def _decided(clinic: Clinic, doc_id: str, gone: set[str]) -> None:
    for place in clinic.ledger.of(doc_id):
        clinic.ledger.wrote(doc_id, place, None, gone)


async def sync(clinic: Clinic, device: Device) -> None:
    await clinic.sync(device, _other_side(clinic, device))


async def pull(clinic: Clinic, device: Device) -> None:
    await device.replica.pull(_other_side(clinic, device))


async def push(clinic: Clinic, device: Device) -> None:
    await device.replica.push(_other_side(clinic, device))


async def kill(clinic: Clinic, device: Device) -> None:
    await clinic.killed(device, _other_side(clinic, device), clinic.chance.randint(1, 30))


async def restart(clinic: Clinic, device: Device) -> None:
    await clinic.restart(device)


async def back_up(clinic: Clinic, device: Device) -> None:
    if len(clinic.backups) < MOST_BACKUPS:
        await clinic.back_up(device)


async def put_back(clinic: Clinic, device: Device) -> None:  # noqa: ARG001  # one of Step
    if clinic.backups:
        await clinic.put_back(*clinic.backups.pop())


async def time_passes(clinic: Clinic, device: Device) -> None:  # noqa: ARG001  # one of Step
    clinic.now += clinic.chance.choice([HOUR, 10 * HOUR, 30 * HOUR])


async def lie(clinic: Clinic, device: Device) -> None:  # noqa: ARG001  # one of Step
    """A server puts something over a leaf that nobody wrote.

    Where devices meet on servers alone it names those who had the leaf: a server that says nothing at all to whoever
    lacks the record withholds it, and no merging helps against that.
    """
    server = clinic.chance.choice(clinic.servers)
    known = [each for each in clinic.ledger.documents if server.tree(DocId(each))]
    if not known:
        return
    doc_id = DocId(clinic.chance.choice(known))
    tree = server.tree(doc_id)
    leaf = clinic.chance.choice(tree.leaves()).rev
    [found] = await server.fetch({doc_id: [leaf]})
    document = json.loads(found.body)
    told = {} if clinic.meets_directly else {"delegations": document.get("delegations", {})}
    body, deleted = told, True
    rev = Rev(f"{len(tree.history(leaf)) + 1}-{clinic.chance.randbytes(16).hex()}")
    kind = clinic.chance.choice(["empty", "retired", "retired otherwise", "junk", "altered"])
    if kind == "junk":
        body, deleted = {**told, "type": "Patient", "cryptoSuite": "sealed-1"}, False
    elif "encryptedSelf" in document and kind == "altered":
        body, deleted = {**document, "parents": [leaf]}, False
    elif "encryptedSelf" in document and kind != "empty":
        tombstone = merging.retirement(Sealed(doc_id, leaf, document))
        body, rev = dict(tombstone.document), tombstone.rev if kind == "retired" else rev
    server.put(Revision(doc_id, (rev, *tree.history(leaf)), json.dumps(body).encode(), deleted))


WEIGHTS: dict[Step, int] = {
    write: 30,
    look: 3,
    write_late: 3,
    share: 7,
    revoke: 4,
    delete: 2,
    restore: 2,
    resolve: 3,
    adopt: 3,
    sync: 22,
    pull: 4,
    push: 4,
    kill: 4,
    restart: 2,
    back_up: 1,
    put_back: 1,
    time_passes: 4,
    lie: 2,
}


async def take(clinic: Clinic) -> str:
    """One step of somebody. Returns what it was."""
    (step,) = clinic.chance.choices([*WEIGHTS], [*WEIGHTS.values()])
    device = clinic.chance.choice(clinic.devices)
    clinic.now += clinic.chance.randint(1, 60_000)
    outcome = "refused"
    with suppress(*REFUSED):
        await step(clinic, device)
        outcome = "done"
    return f"{step.__name__} {device} {outcome}"


async def _one(clinic: Clinic, device: Device) -> Entity:
    """One of those that the device can open."""
    for doc_id in clinic.chance.sample(clinic.ledger.documents, len(clinic.ledger.documents)):
        with suppress(*REFUSED):
            return await shown(device, doc_id)
    raise NotFound("open a record", "there is none", "make one, or sync")


async def _edit(clinic: Clinic, device: Device, entity: Entity) -> None:
    value, chance = clinic.ledger.value(), clinic.chance
    if isinstance(entity, Patient):
        place = chance.choice(FIELDS)
        await device.replica.save(entity.replace(**{place: value}))
    elif isinstance(entity, Contact) and (not entity.services or chance.random() < 0.3):
        saved = await device.replica.save(entity.replace(services=[*entity.services, Service(label=value)]))
        place = next(f"services/{each.id}" for each in saved.services if each.label == value)
    else:
        assert isinstance(entity, Contact)
        one = chance.choice(entity.services)
        place, is_removed = f"services/{one.id}", chance.random() < 0.2
        services = [one.replace(label=value) if each is one else each for each in entity.services]
        if is_removed:
            services = [each for each in entity.services if each is not one]
        await device.replica.save(entity.replace(services=services))
        clinic.ledger.wrote(entity.id, place, None if is_removed else value, values_at(entity, place))
        return
    clinic.ledger.wrote(entity.id, place, value, values_at(entity, place))


def _other_side(clinic: Clinic, device: Device) -> Peer:
    """A server or another device, for one sync."""
    others: list[MemoryPeer | Device] = [*clinic.servers * 3, *clinic.neighbours(device)]
    chosen = clinic.chance.choice(others)
    return chosen.peer if isinstance(chosen, Device) else chosen
