"""The form: a filled-in template. Its answers are services of the contact that `contact_id` names."""

from __future__ import annotations

from typing import ClassVar

from icure_sync.model.entity import MedicalEntity
from icure_sync.model.fields import date, declared, integer, text, word


@declared
class Form(MedicalEntity):
    """A filled-in form. `form_template_id`: what was filled in; `parent`: the form it is a part of."""

    TYPE: ClassVar[str] = "Form"
    CLASSIC_TYPE: ClassVar[str] = "Form"

    opening_date: int | None = date()
    status: str | None = word()
    version: int | None = integer()
    logical_uuid: str | None = word()
    description: str | None = text(wire="descr")
    unique_id: str | None = word()
    form_template_id: str | None = word()
    contact_id: str | None = word()
    health_element_id: str | None = word()
    plan_of_action_id: str | None = word()
    parent: str | None = word()
