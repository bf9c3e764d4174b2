"""The tables of types and policies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from icure_sync.errors import InvalidEntity
from icure_sync.model import ENTITY_CLASSES, Content, Hcp, HealthcareElement, Patient, Service
from icure_sync.model.fields import Policy, fields_of
from icure_sync.model.schema import (
    CLASSIC,
    SEALED_1,
    clear,
    entity_class,
    entity_class_of_java_type,
    java_type,
    record_lists,
)


def test_the_types_are_those_of_the_format():
    assert [cls.TYPE for cls in ENTITY_CLASSES] == [
        "HealthcareParty",
        "Patient",
        "Contact",
        "Form",
        "HealthcareElement",
        "Document",
        "Attachment",
    ]
    assert entity_class("HealthcareParty") is Hcp
    assert entity_class_of_java_type("org.taktik.icure.entities.HealthElement") is HealthcareElement
    assert java_type("HealthcareElement") == "org.taktik.icure.entities.HealthElement"


@pytest.mark.parametrize("find", [entity_class, entity_class_of_java_type, java_type, record_lists])
def test_an_unknown_type_is_refused(find: Callable[[str], object]):
    with pytest.raises(InvalidEntity):
        find("Invoice")


def test_an_attachment_has_no_document_of_its_own_in_the_classic_suite():
    with pytest.raises(InvalidEntity, match="attach the file"):
        java_type("Attachment")


def test_everything_is_sealed_under_sealed_1_except_in_hcp_documents():
    for cls in ENTITY_CLASSES:
        declared = {field.wire for field in fields_of(cls)}
        assert clear(cls.TYPE, SEALED_1) == (declared if cls is Hcp else frozenset())


def test_the_classic_suite_seals_what_released_sdks_seal():
    sealed = {cls.TYPE: {field.wire for field in fields_of(cls)} - clear(cls.TYPE, CLASSIC) for cls in ENTITY_CLASSES}
    assert sealed == {
        "HealthcareParty": set(),
        "Patient": {"note"},
        "Contact": {"descr"},
        "Form": set(),
        "HealthcareElement": {"descr", "note"},
        "Document": set(),
        "Attachment": set(),
    }
    assert {field.wire for field in fields_of(Service) if field.classic is Policy.SEALED} == {"content"}


def test_lists_of_records_are_told_from_lists_of_texts():
    assert record_lists("Contact") == {"tags", "codes", "identifier", "subContacts", "services"}
    assert "addresses" in record_lists("Patient")
    assert "languages" not in record_lists("Patient")
    assert record_lists("Form") == {"tags", "codes"}


def test_names_are_unique_in_each_class():
    for cls in (*ENTITY_CLASSES, Service, Content):
        fields = fields_of(cls)
        for names in ([f.name for f in fields], [f.wire for f in fields], [f.stored for f in fields]):
            assert len(set(names)) == len(names)
    assert {field.wire: field.stored for field in fields_of(Content)}["compoundValue"] == "c"
    assert fields_of(Patient) is fields_of(Patient)
