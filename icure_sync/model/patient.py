"""The patient. Knows no other entity."""

from __future__ import annotations

from typing import ClassVar

from icure_sync.model.entity import MedicalEntity
from icure_sync.model.fields import Policy, date, declared, flag, instant, one, records, text, word, words
from icure_sync.model.records import (
    Address,
    Code,
    Identifier,
    Insurability,
    Partnership,
    PatientHealthCareParty,
    PersonName,
)


@declared
class Patient(MedicalEntity):
    """A person under care. Dates are fuzzy (`fuzzy_date("1795-10-31")`); `picture`: base64 of an image."""

    TYPE: ClassVar[str] = "Patient"
    CLASSIC_TYPE: ClassVar[str] = "Patient"

    identifier: tuple[Identifier, ...] = records()
    first_name: str | None = text()
    last_name: str | None = text()
    names: tuple[PersonName, ...] = records()
    alias: str | None = text()
    maiden_name: str | None = text()
    spouse_name: str | None = text()
    partner_name: str | None = text()
    company_name: str | None = text()
    civility: str | None = word()
    gender: str | None = word()
    birth_sex: str | None = word()
    date_of_birth: int | None = date()
    place_of_birth: str | None = text()
    date_of_death: int | None = date()
    place_of_death: str | None = text()
    deceased: bool | None = flag()
    ssin: str | None = text()
    external_id: str | None = text()
    active: bool | None = flag()
    deactivation_reason: str | None = word()
    languages: tuple[str, ...] = words()
    addresses: tuple[Address, ...] = records()
    personal_status: str | None = word()
    nationality: str | None = word()
    native_country: Code | None = one()
    education: str | None = text()
    profession: str | None = text()
    patient_professions: tuple[Code, ...] = records()
    race: str | None = word()
    ethnicity: str | None = word()
    note: str | None = text(classic=Policy.SEALED)
    administrative_note: str | None = text()
    comment: str | None = text()
    warning: str | None = text()
    insurabilities: tuple[Insurability, ...] = records()
    partnerships: tuple[Partnership, ...] = records()
    patient_health_care_parties: tuple[PatientHealthCareParty, ...] = records()
    merge_to_patient_id: str | None = word()
    merged_ids: tuple[str, ...] = words()
    preferred_user_id: str | None = word()
    timestamp_of_latest_eid_reading: int | None = instant()
    picture: str | None = word()
