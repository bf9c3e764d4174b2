"""Documents that nobody would write: a genuine one of any kind, with any value at any place, anywhere in a tree.

`Junk` draws them for one database, as somebody who can write there, and who may have keys of his own: B, who is a party
to some of it and signs what he makes, or the server, which signs nothing. `look_at_everything` is what a device does
with what came; `junk_round` does all of it once, and says what went wrong.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from icure_sync import strict_json
from icure_sync.crypto.identity import Identity
from icure_sync.crypto.revision import revision_id, written
from icure_sync.engine.replica import Replica, replica_over
from icure_sync.errors import IcureSyncError
from icure_sync.ids import DocId, Rev
from icure_sync.model import ENTITY_CLASSES, Contact, Document, Hcp, Patient
from icure_sync.peers.memory import MemoryPeer
from icure_sync.replication.wire import Revision
from icure_sync.store import Store
from tests.engine.meetings import met
from tests.keys import A, B, C, identity
from tests.places import Place, at, places, with_value

TEXTS = [
    "",
    "x",
    "1-a",
    "0" * 32,
    "1-" + "0" * 32,
    "9" * 400,
    "\u202e",
    "hcp-a",
    "hcp-b",
    "AAAA",
    "A" * 5_000,
    "é\u0301",
]
NUMBERS = [0, -1, 1, 2**31, 2**53, 2**63, 1.5, -0.0, 1e308, True, False, None]
TYPES = [
    *(cls.TYPE for cls in ENTITY_CLASSES),
    *("DeviceHead", "Attestation", "Recovery", "BreakGlass", "GlassOpened", "Handover", "Pairing", "Invoice", ""),
]
SUITES = ["sealed-1", "icure-classic", "sealed-2", "", None]
FLAGS = ["retired", "notice", "erased", "withdrawn", "deleted"]


def _value(chance: random.Random, depth: int = 0) -> Any:
    draw = chance.random()
    if draw < 0.4 or depth > 2:
        return chance.choice(TEXTS)
    if draw < 0.7:
        return chance.choice(NUMBERS)
    inner = [_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return inner if draw < 0.85 else {chance.choice(TEXTS): each for each in inner}


class Junk:
    """Of these genuine documents. `seed` repeats it."""

    def __init__(self, genuine: Sequence[Revision], seed: int) -> None:
        self._genuine = [(each, strict_json.loads(each.body, each.id)) for each in genuine]
        self._chance = random.Random(seed)

    def draw(self) -> Revision:
        chance = self._chance
        revision, document = chance.choice(self._genuine)
        changed = self._changed(dict(document))
        if chance.random() < 0.5:
            changed["parents"] = [revision.rev]
        rev = self._rev(revision, changed)
        if chance.random() < 0.4:
            with suppress(Exception):  # what has no canonical form has no id and no signature either
                rev, changed = written(revision.id, {k: v for k, v in changed.items() if k != "written"}, identity(B))
        doc_id, history = self._place(revision, rev)
        body = strict_json.dumps(_storable(changed))
        return Revision(doc_id, history, body, chance.random() < 0.2)

    def _rev(self, revision: Revision, changed: Mapping[str, Any]) -> Rev:
        if self._chance.random() < 0.5:
            with suppress(Exception):
                return revision_id(revision.id, changed, changed["written"]["by"])
        number = int(revision.rev.split("-")[0]) + 1
        return Rev(f"{number}-{self._chance.randbytes(16).hex()}")

    def _place(self, revision: Revision, rev: Rev) -> tuple[DocId, tuple[Rev, ...]]:
        """On top of what is there, beside it, in another document's place, or in one of its own."""
        draw, number = self._chance.random(), int(rev.split("-")[0])
        other, _ = self._chance.choice(self._genuine)
        doc_id = revision.id
        if draw < 0.2:
            doc_id = other.id
        elif draw < 0.35:
            doc_id = DocId(self._chance.choice(["device-" + "0" * 16, "attestation-hcp-a-1-1", "x", "0" * 32]))
        if draw > 0.6 and number == int(revision.rev.split("-")[0]) + 1:
            return revision.id, (rev, *revision.history)
        return doc_id, (rev,)

    def _changed(self, document: dict[str, Any]) -> dict[str, Any]:
        chance = self._chance
        changed: Any = copy.deepcopy(document)
        for _ in range(chance.choice([0, 1, 1, 1, 2, 3])):
            place: Place = chance.choice([each for each in places(changed) if each] or [("type",)])
            draw = chance.random()
            if draw < 0.2:
                _, other = chance.choice(self._genuine)
                source = chance.choice([each for each in places(other) if each])
                changed = with_value(changed, place, at(other, source))
            elif draw < 0.3:
                outer = copy.deepcopy(at(changed, place[:-1]))
                del outer[place[-1]]
                changed = with_value(changed, place[:-1], outer)
            else:
                changed = with_value(changed, place, _value(chance))
        if chance.random() < 0.3:
            changed["type"] = chance.choice(TYPES)
        if chance.random() < 0.1:
            changed["cryptoSuite"] = chance.choice(SUITES)
        if chance.random() < 0.15:
            changed[chance.choice(FLAGS)] = chance.choice([True, False, _value(chance)])
        return dict(changed)


def _storable(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if not name.startswith("_")}


async def look_at_everything(replica: Replica, server: MemoryPeer) -> None:
    """What a device does with what came. None of it may fail: what is wrong is listed, and passed over."""
    await replica.sync(server, accept_deletions=1_000_000)
    await replica.alarms.look()
    await replica.status()
    await replica.alarms.all()
    for cls in ENTITY_CLASSES:
        [each async for each in replica.find(cls)]
        [each async for each in replica.find_deleted(cls)] if cls is not Hcp else None
    for word in ("john", "x"):
        [each async for each in replica.search(word)]
    [each async for each in replica.conflicts()]
    await replica.recovery.standing()
    await replica.glass.standing()
    async for patient in replica.find(Patient):
        for linked in (replica.contacts_of, replica.forms_of, replica.elements_of, replica.documents_of):
            [each async for each in linked(patient)]
    for doc_id in await replica._store.run(lambda: [each.id for each in replica._store.documents.changes(0, -1)]):
        for cls in (Patient, Hcp):
            with suppress(IcureSyncError):
                await replica.get(cls, doc_id)
        with suppress(IcureSyncError):
            await replica.conflict_of(doc_id)


@contextmanager
def _one_rsa_key() -> Iterator[None]:
    """Making one takes seconds: emergency Hcps have C's."""

    def quick(hcp_id: str, name: str, **_: object) -> Identity:
        return Identity.from_private_key(hcp_id, identity(C).party_key.pkcs8(), name=name)

    with patch.object(Identity, "create", quick):
        yield


async def _fill(a: Replica, b: Replica, server: MemoryPeer) -> None:
    """Documents of every kind, between A and B."""
    await met(server, a, b)
    john = await a.save(Patient(first_name="John"))
    await a.save(Contact(description="Cough"), patient=john)
    scan = await a.save(Document(name="scan"), patient=john)
    await a.attach(scan, "scan.txt", b"shadow")
    await a.share(john, with_=B, include_linked=True)
    await a.recovery.new_code()
    await a.glass.prepare(john, 3, 2)
    await met(server, a, b)
    fanny = await a.share(await a.save(Patient(first_name="Fanny")), with_=B)
    await met(server, a, b)
    await a.revoke(fanny, from_=B)
    await met(server, a, b)


async def _genuine_of(replica: Replica) -> list[Revision]:
    """Every document that it holds, by its leaves."""

    def read() -> list[Revision]:
        documents = replica._store.documents
        return [leaf for each in documents.changes(0, -1) for leaf in documents.leaves(each.id)]

    return await replica._store.run(read)


async def _shown(replica: Replica) -> dict[str, str]:
    patients = {each.id: str(each.first_name) async for each in replica.find(Patient)}
    return patients | {each.id: str(each.description) async for each in replica.find(Contact)}


async def junk_round(folder: Path, seed: int, each: int) -> None:
    """A database with documents of every kind, so many that nobody would write, and two devices that take it all in.

    Any error but a typed one leaves; so does AssertionError, if A lost anything, or cannot go on.
    """
    server = MemoryPeer("clinic")
    with ExitStack() as stack, _one_rsa_key():
        replicas = []
        for hcp_id in (A, B):
            store = Store.open(folder / f"{hcp_id}.db", bytes(32))
            stack.callback(store.close)
            replicas.append(await store.run(replica_over, store, identity(hcp_id)))
        a, b = replicas
        await _fill(a, b, server)
        before = await _shown(a)
        junk = Junk(await _genuine_of(a), seed)
        for _ in range(each):
            server.put(junk.draw())
        for replica in (a, b, a):
            await look_at_everything(replica, server)
        after = await _shown(a)
        assert {doc_id: after.get(doc_id) for doc_id in before} == before, "something is gone"
        saved = await a.share(await a.save(Patient(first_name="After")), with_=B)
        await met(server, a, b)
        assert (await b.get(Patient, saved.id)).first_name == "After"
