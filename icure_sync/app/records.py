"""`patient|contact|form|element add|list|show|edit|delete`: one record at a time. Knows no keys and no servers."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from icure_sync import Contact, Form, HealthcareElement, Patient, Replica
from icure_sync.app.entity_view import as_json, as_page, as_table
from icure_sync.app.home import in_replica
from icure_sync.app.output import Answer
from icure_sync.errors import NotFound
from icure_sync.model import Entity, parse_field

CLASSES: Mapping[str, type[Entity]] = {
    "patient": Patient,
    "contact": Contact,
    "form": Form,
    "element": HealthcareElement,
}

# Those of one patient, by noun.
LINKED: Mapping[str, Callable[[Replica, Patient], AsyncIterator[Entity]]] = {
    "contact": Replica.contacts_of,
    "form": Replica.forms_of,
    "element": Replica.elements_of,
}


def add(args: argparse.Namespace) -> Answer:
    """Save a new record, linked to `--patient` if that is given."""
    entity = CLASSES[args.noun](**_changes(args))

    async def work(replica: Replica) -> Answer:
        patient = await _patient(replica, args)
        return _saved(await replica.save(entity, patient=patient), "added")

    return in_replica(args, work)


def edit(args: argparse.Namespace) -> Answer:
    """Change some fields of a record."""
    changes = _changes(args)
    if not changes:
        args.usage_error("say what to change: a field's flag, or --set FIELD=VALUE")

    async def work(replica: Replica) -> Answer:
        entity = await _find(replica, args.noun, args.id)
        return _saved(await replica.save(entity.replace(**changes)), "changed")

    return in_replica(args, work)


def show(args: argparse.Namespace) -> Answer:
    """All that is known of one record."""

    async def work(replica: Replica) -> Answer:
        entity = await _find(replica, args.noun, args.id)
        return Answer(as_json(entity), as_page(entity))

    return in_replica(args, work)


def delete(args: argparse.Namespace) -> Answer:
    """Hide a record. It is kept."""

    async def work(replica: Replica) -> Answer:
        entity = await _find(replica, args.noun, args.id)
        return _saved(await replica.delete(entity), "deleted")

    return in_replica(args, work)


def list_all(args: argparse.Namespace) -> Answer:
    """All records of a type, or those of one patient."""

    async def work(replica: Replica) -> Answer:
        cls = CLASSES[args.noun]
        patient = await _patient(replica, args)
        source = replica.find(cls) if patient is None else LINKED[args.noun](replica, patient)
        found = [entity async for entity in source]
        return Answer({"items": [as_json(entity) for entity in found]}, as_table(cls, found))

    return in_replica(args, work)


async def _patient(replica: Replica, args: argparse.Namespace) -> Patient | None:
    """The patient that `--patient` names. Raises NotFound."""
    patient_id: str | None = getattr(args, "patient", None)
    if patient_id is None:
        return None
    patient = await _find(replica, "patient", patient_id)
    assert isinstance(patient, Patient)
    return patient


async def _find(replica: Replica, noun: str, record_id: str) -> Entity:
    """The record, or NotFound in the words of the command line."""
    try:
        return await replica.get(CLASSES[noun], record_id)
    except NotFound as error:
        raise NotFound(f"find the {noun} {record_id}", error.wrong, error.next_step) from error


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    """What the flags and `--set` say, by field. The same field twice: the last one counts."""
    given = [
        (name.removeprefix("field_"), text)
        for name, text in vars(args).items()
        if name.startswith("field_") and text is not None
    ]
    for assignment in args.set:
        name, separator, text = assignment.partition("=")
        if not separator:
            args.usage_error("--set takes FIELD=VALUE")
        given.append((name, text))
    return dict(parse_field(CLASSES[args.noun], name, text) for name, text in given)


def _saved(entity: Entity, how: str) -> Answer:
    return Answer({"id": entity.id, "rev": entity.rev}, f"{type(entity).TYPE} {entity.id} {how} ({entity.rev}).")
