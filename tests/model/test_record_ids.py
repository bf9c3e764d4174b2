"""Every record in a list gets a name that stays."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given

from icure_sync.errors import InvalidEntity
from icure_sync.model import (
    Address,
    Code,
    Contact,
    Content,
    Entity,
    Measure,
    Patient,
    Service,
    ServiceLink,
    SubContact,
    Telecom,
    Value,
    with_record_ids,
)
from icure_sync.model.fields import Kind, fields_of
from tests.strategies import entities


def minter():
    numbers = itertools.count(1)
    return lambda: f"new-{next(numbers)}"


def test_codes_are_named_by_what_they_say():
    made = with_record_ids(Patient(codes=(Code(type="ICD", code="A15", version="10"), Code(type="x"))), minter())
    assert [code.id for code in made.codes] == ["ICD|A15|10", "x||"]


def test_records_without_a_name_get_a_minted_one_at_every_depth():
    made = with_record_ids(
        Contact(
            services=(
                Service(content={"fr": Content(compound_value=(Service(), Service(id="kept")))}),
                Service(id="kept-2", content={"fr": Content(measure_value=Measure(value=1))}),
            ),
            sub_contacts=(SubContact(services=(ServiceLink(service_id="s"),)),),
            codes=(Code(label={"en": "free text"}),),
        ),
        minter(),
    )
    inner = made.services[0].content["fr"].compound_value
    assert inner[0].id.startswith("new-")
    assert inner[1].id == "kept"
    assert made.services[1].id == "kept-2"
    assert made.services[1].content["fr"].measure_value.id == ""
    assert made.sub_contacts[0].services[0].id == "s"
    assert made.codes[0].id.startswith("new-")


def test_an_entity_whose_records_have_ids_stays_itself():
    patient = Patient(addresses=(Address(id="a", telecoms=(Telecom(id="t"),)),))
    assert with_record_ids(patient, minter()) is patient


def test_equal_records_are_kept_once_and_unlike_ones_with_one_id_are_refused():
    code = Code(type="ICD", code="A15", version="10")
    assert len(with_record_ids(Patient(codes=(code, code)), minter()).codes) == 1
    with pytest.raises(InvalidEntity, match="two different records in addresses have one id"):
        with_record_ids(Patient(addresses=(Address(id="a", city="Rome"), Address(id="a", city="London"))), minter())


def all_lists(value: Value) -> Iterator[list[str]]:
    for field in fields_of(type(value)):
        held = getattr(value, field.name)
        if field.record is None or not held:
            continue
        items = held if field.kind is Kind.RECORDS else held.values() if field.kind is Kind.RECORD_MAP else [held]
        if field.kind is Kind.RECORDS:
            yield [item.id for item in items]
        for item in items:
            yield from all_lists(item)


@given(entities)
def test_afterwards_every_list_has_distinct_ids_and_a_second_time_changes_nothing(entity: Entity):
    try:
        made = with_record_ids(entity, minter())
    except InvalidEntity:
        return
    for ids in all_lists(made):
        assert all(ids)
        assert len(set(ids)) == len(ids)
    assert with_record_ids(made, minter()) is made
