"""Entities to JSON and back: nothing lost, nothing guessed, no value in an error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from icure_sync.errors import InvalidEntity
from icure_sync.model import (
    ENTITY_CLASSES,
    Address,
    Attachment,
    Code,
    Contact,
    Content,
    Document,
    Entity,
    Hcp,
    HealthcareElement,
    Measure,
    Patient,
    Service,
    Telecom,
    from_record,
    fuzzy_date,
    parse_field,
    to_record,
)
from icure_sync.model.fields import Kind, fields_of
from tests.strategies import entities

SECRET = "haemoptysis since three days"


def read(cls: type[Entity], record: dict[str, Any]) -> Entity:
    return from_record(cls, record, id="", rev="")


@given(entities)
def test_an_entity_survives_the_way_to_json_and_back(entity: Entity):
    record = json.loads(json.dumps(to_record(entity)))
    assert read(type(entity), record) == entity


@given(entities)
def test_a_record_survives_the_way_to_an_entity_and_back(entity: Entity):
    record = to_record(entity)
    again = to_record(read(type(entity), json.loads(json.dumps(record))))
    assert again == record
    assert list(again) == list(record)


@given(entities)
def test_what_is_read_satisfies_the_constructor(entity: Entity):
    found = read(type(entity), to_record(entity))
    assert found.replace() == found


def test_names_on_the_wire_are_those_of_icure():
    contact = Contact(
        description="Cough",
        opening_date=20231114,
        services=(
            Service(id="s", label="T°", content={"fr": Content(measure_value=Measure(value=38.9, unit="°C"))}),
            Service(id="b", content={"fr": Content(compound_value=(Service(id="sys", label="sys"),))}),
        ),
        tags=(Code(id="a|b|1", type="a", code="b", version="1", label={"fr": "é"}),),
    )
    assert to_record(contact) == {
        "tags": [{"id": "a|b|1", "type": "a", "code": "b", "version": "1", "label": {"fr": "é"}}],
        "openingDate": 20231114,
        "descr": "Cough",
        "services": [
            {"id": "s", "label": "T°", "content": {"fr": {"measureValue": {"value": 38.9, "unit": "°C"}}}},
            {"id": "b", "content": {"fr": {"compoundValue": [{"id": "sys", "label": "sys"}]}}},
        ],
    }
    patient = Patient(date_of_birth=17951031, addresses=(Address(telecoms=(Telecom(telecom_number="1"),)),))
    assert to_record(patient) == {"dateOfBirth": 17951031, "addresses": [{"telecoms": [{"telecomNumber": "1"}]}]}
    assert to_record(HealthcareElement(description="TB")) == {"descr": "TB"}
    assert to_record(Document(stored_icure_document_id="d")) == {"storedICureDocumentId": "d"}
    assert to_record(Attachment(media_type="text/plain", file_key="AA==")) == {
        "mediaType": "text/plain",
        "fileKey": "AA==",
    }


def test_nothing_empty_is_written_but_false_and_zero_are():
    assert to_record(Patient(first_name="", languages=(), addresses=())) == {}
    assert to_record(Patient(deceased=False)) == {"deceased": False}
    assert to_record(Measure(value=0)) == {"value": 0}
    assert to_record(Hcp(description={})) == {}


def test_null_reads_as_nothing_said():
    assert Patient(first_name=None, addresses=None, languages=None) == Patient()
    assert read(Patient, {"deceased": False}).deceased is False
    assert read(Patient, {"firstName": None, "addresses": None, "languages": None}) == Patient()


def test_unknown_members_are_kept_at_every_depth():
    record = {
        "addresses": [{"id": "a", "geo": {"lat": 51.5}}],
        "nativeCountry": {"id": "c", "rank": 1},
        "schoolingInfos": [{"startDate": 1}],
        "nothing": None,
    }
    patient = read(Patient, record)
    assert patient.extra == {"schoolingInfos": [{"startDate": 1}], "nothing": None}
    assert patient.addresses[0].extra == {"geo": {"lat": 51.5}}
    assert to_record(patient.replace(note="x")) == {**record, "note": "x"}


def test_metadata_comes_from_the_caller_and_is_no_content():
    found = from_record(
        Patient,
        {"firstName": "John"},
        id="p",
        rev="2-a",
        shared_with=frozenset({"hcp-b"}),
        deleted=True,
        authenticated=False,
        parent_ids=("q",),
    )
    assert (found.id, found.rev, found.shared_with, found.deleted, found.authenticated, found.parent_ids) == (
        "p",
        "2-a",
        frozenset({"hcp-b"}),
        True,
        False,
        ("q",),
    )
    assert to_record(found) == {"firstName": "John"}


def test_siblings_are_shown_by_the_name_of_their_field():
    found = from_record(
        Contact,
        {"descr": "Cough"},
        id="c",
        rev="1-a",
        siblings={
            ("descr",): ["Fever", None],
            ("services", "s1"): [{"id": "s1", "label": "T°"}, None],
            ("order", "services"): [["s1"]],
        },
    )
    assert found.alternatives == {
        "description": ("Fever", None),
        "services/s1": (Service(id="s1", label="T°"), None),
        "order/services": (["s1"],),
    }


@pytest.mark.parametrize(
    ("cls", "record", "named"),
    [
        (Patient, {"firstName": [SECRET]}, "firstName is not text"),
        (Patient, {"dateOfBirth": SECRET}, "dateOfBirth is not a whole number"),
        (Patient, {"deceased": SECRET}, "deceased is not true or false"),
        (Patient, {"languages": SECRET}, "languages is not a list of texts"),
        (Patient, {"addresses": [SECRET]}, "addresses is not one record"),
        (Patient, {"addresses": SECRET}, "addresses is not a list of records"),
        (
            Patient,
            {"addresses": [{"telecoms": [{"telecomNumber": 1}]}]},
            "addresses.telecoms.telecomNumber is not text",
        ),
        (Patient, {"nativeCountry": {"id": 1}}, "nativeCountry.id is not text"),
        (Contact, {"services": [{"content": SECRET}]}, "services.content is not a map of records"),
        (
            Contact,
            {"services": [{"content": {SECRET: {"measureValue": {"value": SECRET}}}}]},
            "services.content.measureValue.value is not a finite number",
        ),
        (Contact, {"services": [{"content": {"fr": {"numberValue": float("inf")}}}]}, "not a finite number"),
        (Hcp, {"descr": {"fr": 1}}, "descr is not a map of texts"),
    ],
)
def test_a_wrong_type_is_refused_by_path_and_the_value_is_not_told(
    cls: type[Entity], record: dict[str, Any], named: str
):
    with pytest.raises(InvalidEntity, match=named) as caught:
        read(cls, record)
    assert SECRET not in str(caught.value)


def test_a_wrong_sibling_is_refused():
    with pytest.raises(InvalidEntity, match="note is not text"):
        from_record(Patient, {}, id="", rev="", siblings={("note",): [5]})


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("firstName", "John", ("first_name", "John")),
        ("first_name", "5", ("first_name", "5")),
        ("note", "{}", ("note", "{}")),
        ("note", "", ("note", None)),
        ("dateOfBirth", "1795-10-31", ("date_of_birth", 17951031)),
        ("date_of_birth", "17951031", ("date_of_birth", 17951031)),
        ("deceased", "true", ("deceased", True)),
        ("deceased", "null", ("deceased", None)),
        ("created", "1700000000000", ("created", 1700000000000)),
        ("languages", '["en","it"]', ("languages", ("en", "it"))),
        ("languages", "en", ("languages", ("en",))),
        ("languages", "", ("languages", ())),
        ("addresses", '[{"city":"Rome"}]', ("addresses", (Address(city="Rome"),))),
        ("nativeCountry", '{"code":"uk"}', ("native_country", Code(code="uk"))),
    ],
)
def test_a_field_is_read_from_a_command_line(name: str, text: str, expected: tuple[str, Any]):
    assert parse_field(Patient, name, text) == expected
    assert Patient().replace(**dict([parse_field(Patient, name, text)]))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nope", SECRET),
        ("TYPE", SECRET),
        ("rev", SECRET),
        ("dateOfBirth", SECRET),
        ("deceased", SECRET),
        ("created", '"' + SECRET + '"'),
        ("addresses", '["' + SECRET + '"]'),
        ("languages", "[1]"),
    ],
)
def test_a_field_that_cannot_be_read_is_refused_without_its_value(name: str, text: str):
    with pytest.raises(InvalidEntity) as caught:
        parse_field(Patient, name, text)
    assert SECRET not in str(caught.value)


def test_dates_are_declared_as_dates():
    kinds = {field.wire: field.kind for cls in ENTITY_CLASSES for field in fields_of(cls)}
    assert kinds["dateOfBirth"] is Kind.DATE
    assert kinds["created"] is Kind.INSTANT
    assert from_record(Patient, {"dateOfBirth": fuzzy_date("1795-10")}, id="", rev="").date_of_birth == 17951000
