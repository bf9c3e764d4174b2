"""The tables that follow from the declared fields, made once: which types there are, what is clear or sealed under
each suite, what is a list of records. Knows no JSON values and no keys.

Field names in these tables are those of the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from icure_sync.errors import InvalidEntity
from icure_sync.model.contact import Contact
from icure_sync.model.document import Attachment, Document
from icure_sync.model.entity import Entity
from icure_sync.model.fields import Kind, Policy, fields_of
from icure_sync.model.form import Form
from icure_sync.model.hcp import Hcp
from icure_sync.model.healthcare_element import HealthcareElement
from icure_sync.model.patient import Patient

SEALED_1 = "sealed-1"
CLASSIC = "icure-classic"

ENTITY_CLASSES: tuple[type[Entity], ...] = (Hcp, Patient, Contact, Form, HealthcareElement, Document, Attachment)

JAVA_PACKAGE = "org.taktik.icure.entities."

_BY_TYPE: Mapping[str, type[Entity]] = MappingProxyType({cls.TYPE: cls for cls in ENTITY_CLASSES})
_BY_JAVA_TYPE: Mapping[str, type[Entity]] = MappingProxyType(
    {JAVA_PACKAGE + cls.CLASSIC_TYPE: cls for cls in ENTITY_CLASSES if cls.CLASSIC_TYPE}
)
_RECORD_LISTS: dict[str, frozenset[str]] = {
    cls.TYPE: frozenset(field.wire for field in fields_of(cls) if field.kind is Kind.RECORDS) for cls in ENTITY_CLASSES
}
_CLEAR: dict[tuple[str, str], frozenset[str]] = {}

for _cls in ENTITY_CLASSES:
    _CLEAR[_cls.TYPE, SEALED_1] = frozenset(
        field.wire for field in fields_of(_cls) if _cls.CLEAR_DOCUMENT or field.sealed_1 is Policy.CLEAR
    )
    _CLEAR[_cls.TYPE, CLASSIC] = frozenset(
        field.wire for field in fields_of(_cls) if _cls.CLEAR_DOCUMENT or field.classic is Policy.CLEAR
    )


def entity_class(type_name: str) -> type[Entity]:
    """The class of a `type` (`Patient`, `HealthcareParty`…). Raises InvalidEntity for one that is not known here."""
    return _known(_BY_TYPE, type_name)


def entity_class_of_java_type(java_type: str) -> type[Entity]:
    """The class of a `java_type` (`org.taktik.icure.entities.HealthElement`…). Raises InvalidEntity."""
    return _known(_BY_JAVA_TYPE, java_type)


def java_type(type_name: str) -> str:
    """The `java_type` of a `type`. Raises InvalidEntity for a type that has no document of its own there."""
    cls = entity_class(type_name)
    if not cls.CLASSIC_TYPE:
        raise InvalidEntity(f"write {type_name} documents", f"{CLASSIC} has none", "attach the file to its Document")
    return JAVA_PACKAGE + cls.CLASSIC_TYPE


def record_lists(type_name: str) -> frozenset[str]:
    """The fields that are lists of records: one register per record, one for the order."""
    return _RECORD_LISTS[entity_class(type_name).TYPE]


def clear(type_name: str, suite: str) -> frozenset[str]:
    """The declared fields that stand in clear in a document of `suite`."""
    return _CLEAR[entity_class(type_name).TYPE, suite]


def _known(classes: Mapping[str, type[Entity]], name: str) -> type[Entity]:
    found = classes.get(name)
    if found is None:
        raise InvalidEntity("tell what a document is", "its type is not known here", "use a newer version to read it")
    return found
