"""Forged deletions, and generations that are inflated: trust.md's eighth row of a server's tricks.

How a mass deletion is asked about: tests/engine/test_deletions.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from icure_sync.engine.replica import Replica
from icure_sync.errors import MassDeletion
from icure_sync.model import Patient
from icure_sync.store.limits import MAX_GENERATION_JUMP
from tests.trust.conftest import Clinic
from tests.trust.evil import Document, below

FORGED = 1_000


async def save_many(replica: Replica, patients: Sequence[Patient]) -> None:
    """At once: one commit for all of them."""

    def save() -> None:
        with replica._store.transaction():
            for each in patients:
                replica._keyed.save(each, None)

    await replica._store.run(save)


async def test_a_thousand_forged_deletions_delete_nothing_and_a_person_is_asked(clinic: Clinic):
    a, server = clinic.a, clinic.server
    await save_many(a, [Patient(first_name=f"P{number}") for number in range(FORGED - 2)])
    ids = {each.id async for each in a.find(Patient)}
    await a.sync(server.peer())
    await server.plant([below(each, {}, deleted=True) for each in await server.read_all(sorted(ids))])
    assert ids.isdisjoint(await server.ids())
    with pytest.raises(MassDeletion) as asked:
        await a.sync(server.peer())
    assert asked.value.deleted == {"": FORGED}
    assert {each.id async for each in a.find(Patient)} == ids
    report = await a.sync(server.peer(), accept_deletions=FORGED)
    assert report.undone == FORGED
    assert {each.id async for each in a.find(Patient)} == ids <= set(await server.ids())


def inflated(document: Document, generation: int) -> Document:
    """The same content far above where it stands, as a leaf of its own."""
    digits = "e" * 32
    return {
        **{name: value for name, value in document.items() if not name.startswith("_")},
        "_id": document["_id"],
        "_rev": f"{generation}-{digits}",
        "_revisions": {"start": generation, "ids": [digits]},
    }


@pytest.mark.parametrize("deleted", [True, False])
async def test_a_generation_within_the_cap_wins_for_the_server_and_not_for_a_device(clinic: Clinic, *, deleted: bool):
    """What is there extends what is genuine, and an edit goes on from that."""
    a, server = clinic.a, clinic.server
    genuine = await server.read(clinic.john.id)
    top = int(genuine["_rev"].split("-")[0]) + MAX_GENERATION_JUMP
    await server.plant([{**inflated(genuine, top), **({"_deleted": True} if deleted else {})}])
    await clinic.meet(a)
    assert (await clinic.john_of(a)).note == "consumption"
    edited = await a.save((await clinic.john_of(a)).replace(note="better"))
    assert int(edited.rev.split("-")[0]) == int(genuine["_rev"].split("-")[0]) + 1
    await clinic.meet(a, clinic.b)
    assert (await clinic.john_of(clinic.b)).note == "better"


@pytest.mark.parametrize("generation", [MAX_GENERATION_JUMP + 10, 2**53, 10**30])
async def test_a_generation_beyond_the_cap_never_gets_in_and_is_listed(clinic: Clinic, generation: int):
    """The server says so in its answers: a hub that takes them would say the same."""
    a, server = clinic.a, clinic.server
    genuine = await server.read(clinic.john.id)
    await clinic.b.save((await clinic.john_of(clinic.b)).replace(note="better"))
    await clinic.meet(clinic.b)
    digits = "e" * 32
    forged_rev = f"{generation}-{digits}"

    def lie(path: str, value: Any) -> Any:
        if path.endswith("/_changes"):
            for row in value["results"]:
                if row["id"] == clinic.john.id:
                    row["changes"] = [{"rev": forged_rev}, *row["changes"]]
        elif path.endswith("/_bulk_get"):
            for result in value["results"]:
                if result["id"] == clinic.john.id and "ok" not in result["docs"][0]:
                    result["docs"] = [{"ok": inflated(genuine, generation)}]
        return value

    server.rewrites.append(lie)
    report = await a.sync(server.peer())
    assert {(each.id, each.rev) for each in report.refused} == {(clinic.john.id, forged_rev)}
    assert (await clinic.john_of(a)).note == "better"
    leaves = await a._store.run(a._store.documents.leaves, clinic.john.id)
    assert all(int(leaf.rev.split("-")[0]) < 100 for leaf in leaves)
