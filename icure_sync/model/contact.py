"""The contact: one encounter with a patient, and the services (single observations and acts) made in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from icure_sync.model.entity import MedicalEntity
from icure_sync.model.fields import (
    Policy,
    date,
    declared,
    flag,
    instant,
    integer,
    labels,
    number,
    one,
    record_map,
    records,
    text,
    word,
    words,
)
from icure_sync.model.records import Annotation, Code, Identifier, Measure, Medication
from icure_sync.model.values import Record


@declared
class Content(Record):
    """The value of a service in one language: one of these fields, as a rule. `binary_value`: base64.

    iCure keeps it in CouchDB under one or two letters a field; its SDKs, and ciphertexts, use the long names.
    """

    string_value: str | None = text(stored="s")
    number_value: float | None = number(stored="n")
    boolean_value: bool | None = flag(stored="b")
    instant_value: int | None = instant(stored="i")
    fuzzy_date_value: int | None = date(stored="dt")
    binary_value: str | None = word(stored="x")
    document_id: str | None = word(stored="d")
    measure_value: Measure | None = one(stored="m")
    medication_value: Medication | None = one(stored="p")
    compound_value: tuple[Service, ...] = records(stored="c")
    ratio: tuple[Measure, ...] = records()
    range: tuple[Measure, ...] = records()


@declared
class Service(Record):
    """One observation, act or statement. `content`: by language; `label`: what it is; `value_date`: when it held."""

    ID_STORED: ClassVar[str] = "_id"

    transaction_id: str | None = word()
    identifier: tuple[Identifier, ...] = records()
    contact_id: str | None = word()
    sub_contact_ids: tuple[str, ...] = words()
    plans_of_action_ids: tuple[str, ...] = words()
    health_elements_ids: tuple[str, ...] = words()
    form_ids: tuple[str, ...] = words()
    form_id: str | None = word()
    label: str | None = text()
    data_class_name: str | None = word()
    index: int | None = integer()
    content: Mapping[str, Content] = record_map(classic=Policy.SEALED)
    text_indexes: Mapping[str, str] = labels()
    value_date: int | None = date()
    opening_date: int | None = date()
    closing_date: int | None = date()
    created: int | None = instant()
    modified: int | None = instant()
    end_of_life: int | None = instant()
    author: str | None = word()
    responsible: str | None = word()
    medical_location_id: str | None = word()
    comment: str | None = text()
    status: int | None = integer()
    invoicing_codes: tuple[str, ...] = words()
    notes: tuple[Annotation, ...] = records()
    codes: tuple[Code, ...] = records()
    tags: tuple[Code, ...] = records()


@declared
class ServiceLink(Record):
    """A service of the same contact, by its id."""

    service_id: str | None = word()

    def natural_id(self) -> str:
        return self.service_id or ""


@declared
class SubContact(Record):
    """Services of a contact that belong together: to one form, one healthcare element, one plan of action."""

    ID_STORED: ClassVar[str] = "_id"

    created: int | None = instant()
    modified: int | None = instant()
    author: str | None = word()
    responsible: str | None = word()
    medical_location_id: str | None = word()
    tags: tuple[Code, ...] = records()
    codes: tuple[Code, ...] = records()
    end_of_life: int | None = instant()
    description: str | None = text(wire="descr")
    protocol: str | None = word()
    status: int | None = integer()
    form_id: str | None = word()
    plan_of_action_id: str | None = word()
    health_element_id: str | None = word()
    classification_id: str | None = word()
    services: tuple[ServiceLink, ...] = records()


@declared
class Contact(MedicalEntity):
    """An encounter. Dates are fuzzy; `group_id` joins contacts that belong together."""

    TYPE: ClassVar[str] = "Contact"
    CLASSIC_TYPE: ClassVar[str] = "Contact"

    identifier: tuple[Identifier, ...] = records()
    group_id: str | None = word()
    opening_date: int | None = date()
    closing_date: int | None = date()
    description: str | None = text(wire="descr", classic=Policy.SEALED)
    location: str | None = text()
    external_id: str | None = word()
    encounter_type: Code | None = one()
    sub_contacts: tuple[SubContact, ...] = records()
    services: tuple[Service, ...] = records()
    healthcare_party_id: str | None = word()
    modified_contact_id: str | None = word()
