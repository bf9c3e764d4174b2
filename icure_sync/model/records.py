"""The records that several entities are made of: codes, names, addresses, measures and the like. Knows no entity.

Fields and wire names are those of iCure's data model; members that are not declared here are kept in `extra`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from icure_sync.model.fields import (
    date,
    declared,
    flag,
    instant,
    integer,
    labels,
    number,
    one,
    options,
    records,
    text,
    texts,
    word,
    words,
)
from icure_sync.model.values import Record


@declared
class Code(Record):
    """A code of a terminology, or a tag (iCure's CodeStub). `id` is `type|code|version`; `label`: text by language."""

    ID_STORED: ClassVar[str] = "_id"

    context: str | None = word()
    type: str | None = word()
    code: str | None = text()
    version: str | None = word()
    label: Mapping[str, str] = labels()

    def natural_id(self) -> str:
        if self.type is None and self.code is None:
            return ""
        return f"{self.type or ''}|{self.code or ''}|{self.version or ''}"


@declared
class Identifier(Record):
    """A number that another system gave: a business identifier as in FHIR."""

    assigner: str | None = word()
    start: str | None = word()
    end: str | None = word()
    system: str | None = word()
    type: Code | None = one()
    use: str | None = word()
    value: str | None = text()


@declared
class PersonName(Record):
    """A name of a person. `use`: official, usual, nickname, maiden, old…"""

    last_name: str | None = text()
    first_names: tuple[str, ...] = texts()
    start: int | None = date()
    end: int | None = date()
    prefix: tuple[str, ...] = words()
    suffix: tuple[str, ...] = words()
    text: str | None = text()
    use: str | None = word()


@declared
class Telecom(Record):
    """A way to reach somebody. `telecom_type`: mobile, phone, email, fax…"""

    telecom_type: str | None = word()
    telecom_number: str | None = text()
    telecom_description: str | None = text()


@declared
class Address(Record):
    """A place, with the telecoms that belong to it. `address_type`: home, work, clinic…"""

    address_type: str | None = word()
    description: str | None = text(wire="descr")
    street: str | None = text()
    house_number: str | None = word()
    postbox_number: str | None = word()
    postal_code: str | None = text()
    city: str | None = text()
    state: str | None = text()
    country: str | None = text()
    note: str | None = text()
    telecoms: tuple[Telecom, ...] = records()


@declared
class Annotation(Record):
    """A remark."""

    ID_STORED: ClassVar[str] = "_id"

    author: str | None = word()
    created: int | None = instant()
    modified: int | None = instant()
    text: str | None = text()
    location: str | None = word()


@declared
class Measure(Record):
    """A measured value and its bounds, in `unit`."""

    value: float | None = number()
    min: float | None = number()
    max: float | None = number()
    ref: float | None = number()
    severity: int | None = integer()
    severity_code: str | None = word()
    evolution: int | None = integer()
    unit: str | None = word()
    unit_codes: tuple[Code, ...] = records()
    comment: str | None = text()
    comparator: str | None = word()
    sign: str | None = word()


@declared
class Duration(Record):
    """A length of time: `value` times `unit`."""

    value: float | None = number()
    unit: Code | None = one()


@declared
class MedicinalProduct(Record):
    """A medicinal product, as intended and as delivered."""

    intended_codes: tuple[Code, ...] = records(wire="intendedcds")
    delivered_codes: tuple[Code, ...] = records(wire="deliveredcds")
    intended_name: str | None = text(wire="intendedname")
    delivered_name: str | None = text(wire="deliveredname")
    product_id: str | None = word()


@declared
class Medication(Record):
    """What is prescribed or taken, and how."""

    compound_prescription: str | None = text()
    medicinal_product: MedicinalProduct | None = one()
    number_of_packages: int | None = integer()
    batch: str | None = word()
    instruction_for_patient: str | None = text()
    instruction_for_reimbursement: str | None = text()
    comment_for_delivery: str | None = text()
    drug_route: str | None = word()
    temporality: str | None = word()
    frequency: Code | None = one()
    substitution_allowed: bool | None = flag()
    begin_moment: int | None = date()
    end_moment: int | None = date()
    delivery_moment: int | None = date()
    duration: Duration | None = one()
    known_usage: bool | None = flag()
    posology: str | None = text()
    medication_use: str | None = text()
    begin_condition: str | None = text()
    end_condition: str | None = text()
    status: int | None = integer()


@declared
class Partnership(Record):
    """How a person stands to another. `partner_id`: the other's Patient id."""

    type: str | None = word()
    status: str | None = word()
    partner_id: str | None = word()
    me_to_other_relationship_description: str | None = text()
    other_to_me_relationship_description: str | None = text()


@declared
class Insurability(Record):
    """Who pays, in a period. `insurance_id`: the insurance; `identification_number`: the person's number there."""

    parameters: Mapping[str, str] = options()
    hospitalisation: bool | None = flag()
    ambulatory: bool | None = flag()
    dental: bool | None = flag()
    identification_number: str | None = text()
    insurance_id: str | None = word()
    start_date: int | None = date()
    end_date: int | None = date()
    titulary_id: str | None = word()


@declared
class ReferralPeriod(Record):
    """A period in which an Hcp was the referring one. Both ends are fuzzy dates."""

    start_date: int | None = date()
    end_date: int | None = date()
    comment: str | None = text()


@declared
class PatientHealthCareParty(Record):
    """An Hcp that cares for a patient. `type`: doctor, referring, other…"""

    type: str | None = word()
    healthcare_party_id: str | None = word()
    send_formats: Mapping[str, str] = options()
    referral_periods: tuple[ReferralPeriod, ...] = records()
    referral: bool | None = flag()
