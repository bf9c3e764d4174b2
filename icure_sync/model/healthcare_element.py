"""The healthcare element: a condition, problem or risk that is followed over time. iCure's HealthElement."""

from __future__ import annotations

from typing import ClassVar

from icure_sync.model.entity import MedicalEntity
from icure_sync.model.fields import Policy, date, declared, flag, instant, integer, one, records, text, word, words
from icure_sync.model.records import Code, Identifier
from icure_sync.model.values import Record


@declared
class PlanOfAction(Record):
    """What is intended for a healthcare element. Dates are fuzzy."""

    ID_STORED: ClassVar[str] = "_id"

    created: int | None = instant()
    modified: int | None = instant()
    author: str | None = word()
    responsible: str | None = word()
    tags: tuple[Code, ...] = records()
    codes: tuple[Code, ...] = records()
    end_of_life: int | None = instant()
    prescriber_id: str | None = word()
    value_date: int | None = date()
    opening_date: int | None = date()
    closing_date: int | None = date()
    deadline_date: int | None = date()
    name: str | None = text()
    description: str | None = text(wire="descr")
    note: str | None = text()
    id_opening_contact: str | None = word()
    id_closing_contact: str | None = word()
    status: int | None = integer()
    document_ids: tuple[str, ...] = words()
    number_of_cares: int | None = integer()
    relevant: bool | None = flag()


@declared
class Episode(Record):
    """A stretch of time in which a healthcare element showed."""

    ID_STORED: ClassVar[str] = "_id"

    name: str | None = text()
    comment: str | None = text()
    start_date: int | None = date()
    end_date: int | None = date()


@declared
class CareTeamMember(Record):
    """An Hcp who takes part in the care. `care_team_member_type`: physician, specialist, other."""

    ID_STORED: ClassVar[str] = "_id"

    care_team_member_type: str | None = word()
    healthcare_party_id: str | None = word()
    quality: Code | None = one()


@declared
class HealthcareElement(MedicalEntity):
    """A condition, problem or risk. `health_element_id` is one for all its versions; dates are fuzzy."""

    TYPE: ClassVar[str] = "HealthcareElement"
    CLASSIC_TYPE: ClassVar[str] = "HealthElement"

    identifiers: tuple[Identifier, ...] = records()
    health_element_id: str | None = word()
    value_date: int | None = date()
    opening_date: int | None = date()
    closing_date: int | None = date()
    description: str | None = text(wire="descr", classic=Policy.SEALED)
    note: str | None = text(classic=Policy.SEALED)
    relevant: bool | None = flag()
    id_opening_contact: str | None = word()
    id_closing_contact: str | None = word()
    id_service: str | None = word()
    status: int | None = integer()
    laterality: str | None = word()
    plans_of_action: tuple[PlanOfAction, ...] = records()
    episodes: tuple[Episode, ...] = records()
    care_team: tuple[CareTeamMember, ...] = records()
