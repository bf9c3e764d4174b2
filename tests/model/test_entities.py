"""Entities and records as values: frozen, checked, silent about their content."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given

from icure_sync.errors import InvalidEntity
from icure_sync.model import (
    ENTITY_CLASSES,
    Address,
    Code,
    Contact,
    Content,
    Entity,
    Hcp,
    Measure,
    Patient,
    Service,
    Value,
)
from tests.strategies import entities

SECRET = "haemoptysis since three days"


def test_an_entity_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Patient().note = SECRET
    with pytest.raises(TypeError):
        Patient(extra={"a": 1}).extra["a"] = 2
    with pytest.raises(TypeError):
        Service(content={"en": Content()}).content["en"] = Content(string_value=SECRET)


def test_lists_given_to_a_constructor_become_tuples():
    assert Patient(addresses=[Address(city="Rome")], languages=["en"]) == Patient(
        addresses=(Address(city="Rome"),), languages=("en",)
    )


def test_a_default_is_shared_by_all_and_changed_by_none():
    assert Patient().extra == {}
    assert Contact().services == ()
    assert Service().content == {}
    assert Hcp().name is None


@pytest.mark.parametrize("cls", ENTITY_CLASSES)
def test_a_repr_shows_class_id_and_revision_only(cls: type[Entity]):
    assert repr(cls(id="abc", rev="1-def")) == f"<{cls.__name__} abc 1-def>"
    assert repr(cls(tags=(Code(type=SECRET),), extra={SECRET: SECRET})) == f"<{cls.__name__} unsaved>"


def test_a_repr_of_a_record_shows_its_class_only():
    assert repr(Code(id="ICD|A15|10", code="A15")) == "<Code>"
    assert SECRET not in repr(Contact(services=(Service(label=SECRET),)))
    assert SECRET not in f"{Content(string_value=SECRET)} {[Address(note=SECRET)]}"


def test_replace_changes_what_it_names_and_nothing_else():
    john = Patient(id="p", rev="1-a", first_name="John", note="old", extra={"x": 1})
    changed = john.replace(note="new")
    assert (changed.note, changed.first_name, changed.id, changed.rev, changed.extra) == (
        "new",
        "John",
        "p",
        "1-a",
        {"x": 1},
    )
    assert john.note == "old"
    assert changed.replace(note=None) == john.replace(note=None)


def test_replace_refuses_a_field_that_does_not_exist():
    with pytest.raises(InvalidEntity, match=r"cannot change a Patient: it has no field firstName, nope;"):
        Patient().replace(firstName=SECRET, nope=1)
    with pytest.raises(InvalidEntity, match="no field TYPE"):
        Patient().replace(TYPE="Contact")


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (Patient, "first_name", 5),
        (Patient, "first_name", SECRET.encode()),
        (Patient, "date_of_birth", SECRET),
        (Patient, "date_of_birth", True),
        (Patient, "created", 1.5),
        (Patient, "deceased", 1),
        (Patient, "languages", SECRET),
        (Patient, "languages", [1]),
        (Patient, "addresses", SECRET),
        (Patient, "addresses", [Code()]),
        (Patient, "native_country", SECRET),
        (Contact, "encounter_type", Address()),
        (Hcp, "description", {"en": 5}),
        (Service, "content", {"en": SECRET}),
        (Service, "content", [Content()]),
        (Measure, "value", float("nan")),
        (Measure, "value", True),
        (Patient, "id", 5),
        (Patient, "rev", None),
        (Patient, "deleted", 1),
        (Patient, "shared_with", "hcp-a"),
        (Patient, "parent_ids", None),
        (Patient, "alternatives", ()),
        (Patient, "extra", {1: SECRET}),
        (Patient, "extra", [SECRET]),
    ],
)
def test_a_wrong_type_is_refused_by_name_and_the_value_is_not_told(cls: type[Value], name: str, value: Any):
    with pytest.raises(InvalidEntity, match=name) as caught:
        cls(**{name: value})
    assert SECRET not in str(caught.value)


def test_a_declared_field_cannot_hide_in_extra():
    with pytest.raises(InvalidEntity, match="extra holds firstName"):
        Patient(extra={"firstName": SECRET})
    with pytest.raises(InvalidEntity, match="extra holds id"):
        Address(extra={"id": "a"})


def test_metadata_takes_any_collection():
    entity = Patient(shared_with={"hcp-b"}, parent_ids=["a", "b"], alternatives={"note": ("x",)})
    assert entity.shared_with == frozenset({"hcp-b"})
    assert entity.parent_ids == ("a", "b")
    assert entity.alternatives["note"] == ("x",)


def test_entities_of_different_classes_are_never_equal():
    assert Patient() != Contact()
    assert Patient() != "Patient"
    assert len({Patient(id="a", note="x"), Patient(id="a", note="x"), Patient(id="a")}) == 2


@given(entities)
def test_a_copy_without_changes_is_equal(entity: Entity):
    assert entity.replace() == entity
    assert hash(entity.replace()) == hash(entity)
