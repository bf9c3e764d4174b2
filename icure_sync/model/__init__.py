"""The entities of a clinic, the policy of each field, and their JSON form."""

from icure_sync.model.codec import from_record, parse_field, to_record
from icure_sync.model.contact import Contact, Content, Service, ServiceLink, SubContact
from icure_sync.model.dates import fuzzy_date, iso_text
from icure_sync.model.document import Attachment, Document
from icure_sync.model.entity import Entity, MedicalEntity
from icure_sync.model.form import Form
from icure_sync.model.hcp import Hcp
from icure_sync.model.healthcare_element import CareTeamMember, Episode, HealthcareElement, PlanOfAction
from icure_sync.model.patient import Patient
from icure_sync.model.record_ids import with_record_ids
from icure_sync.model.records import (
    Address,
    Annotation,
    Code,
    Duration,
    Identifier,
    Insurability,
    Measure,
    Medication,
    MedicinalProduct,
    Partnership,
    PatientHealthCareParty,
    PersonName,
    ReferralPeriod,
    Telecom,
)
from icure_sync.model.schema import ENTITY_CLASSES, entity_class
from icure_sync.model.search_text import search_text
from icure_sync.model.values import Record, Value

__all__ = [
    "ENTITY_CLASSES",
    "Address",
    "Annotation",
    "Attachment",
    "CareTeamMember",
    "Code",
    "Contact",
    "Content",
    "Document",
    "Duration",
    "Entity",
    "Episode",
    "Form",
    "Hcp",
    "HealthcareElement",
    "Identifier",
    "Insurability",
    "Measure",
    "MedicalEntity",
    "Medication",
    "MedicinalProduct",
    "Partnership",
    "Patient",
    "PatientHealthCareParty",
    "PersonName",
    "PlanOfAction",
    "Record",
    "ReferralPeriod",
    "Service",
    "ServiceLink",
    "SubContact",
    "Telecom",
    "Value",
    "entity_class",
    "from_record",
    "fuzzy_date",
    "iso_text",
    "parse_field",
    "search_text",
    "to_record",
    "with_record_ids",
]
