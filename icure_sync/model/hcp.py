"""The healthcare party: a person or practice that writes and reads records. A clear document: it has no sealed part.

Its keys (`publicKey`, `hcPartyKeys`…) are no content and stand in no field here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from icure_sync.model.entity import Entity
from icure_sync.model.fields import declared, labels, options, records, text, word, words
from icure_sync.model.records import Address, Code, Identifier, PersonName


@declared
class Hcp(Entity):
    """A healthcare party. `name`: as it is shown; `nihii`, `ssin`, `cbe`: numbers of the health and state registers."""

    TYPE: ClassVar[str] = "HealthcareParty"
    CLASSIC_TYPE: ClassVar[str] = "HealthcareParty"
    CLEAR_DOCUMENT: ClassVar[bool] = True

    identifier: tuple[Identifier, ...] = records()
    name: str | None = text()
    last_name: str | None = text()
    first_name: str | None = text()
    names: tuple[PersonName, ...] = records()
    gender: str | None = word()
    civility: str | None = word()
    company_name: str | None = text()
    speciality: str | None = text()
    speciality_codes: tuple[Code, ...] = records()
    nihii: str | None = text()
    nihii_spec_code: str | None = word()
    ssin: str | None = text()
    cbe: str | None = word()
    ehp: str | None = word()
    user_id: str | None = word()
    parent_id: str | None = word()
    supervisor_id: str | None = word()
    contact_person: str | None = text()
    contact_person_hcp_id: str | None = word()
    addresses: tuple[Address, ...] = records()
    languages: tuple[str, ...] = words()
    statuses: tuple[str, ...] = words()
    bank_account: str | None = word()
    bic: str | None = word()
    invoice_header: str | None = word()
    notes: str | None = text()
    description: Mapping[str, str] = labels(wire="descr")
    send_formats: Mapping[str, str] = options()
    picture: str | None = word()
