"""How entities are shown: as JSON for machines, as a row, a line or a page for people. Knows no replica."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from icure_sync import Contact, Document, Form, Hcp, HealthcareElement, Patient, strict_json
from icure_sync.app.output import fields, table
from icure_sync.model import Entity, iso_text, to_record
from icure_sync.model.fields import Kind, fields_of
from icure_sync.model.values import Value

# What a list shows of each type: heading and field.
COLUMNS: Mapping[type[Entity], Sequence[tuple[str, str]]] = {
    Patient: (("LAST NAME", "last_name"), ("FIRST NAME", "first_name"), ("BORN", "date_of_birth"), ("NOTE", "note")),
    Contact: (("OPENED", "opening_date"), ("DESCRIPTION", "description"), ("LOCATION", "location")),
    Form: (("OPENED", "opening_date"), ("DESCRIPTION", "description"), ("TEMPLATE", "form_template_id")),
    HealthcareElement: (("OPENED", "opening_date"), ("DESCRIPTION", "description"), ("NOTE", "note")),
    Document: (("NAME", "name"),),
    Hcp: (("NAME", "name"),),
}

CELL_LETTERS = 48  # of a field in a row; the page has the rest


def as_json(entity: Entity) -> dict[str, Any]:
    """Metadata first, then the fields under the names that they have on the wire."""
    value: dict[str, Any] = {
        "id": entity.id,
        "rev": entity.rev,
        "type": type(entity).TYPE,
        "sharedWith": sorted(entity.shared_with),
        "parentIds": list(entity.parent_ids),
        **to_record(entity),
    }
    if entity.alternatives:
        value["alternatives"] = {path: [plain(item) for item in items] for path, items in entity.alternatives.items()}
    if not entity.authenticated:
        value["authenticated"] = False
    return value


def as_table(cls: type[Entity], entities: Sequence[Entity]) -> str:
    """One row each."""
    if not entities:
        return "None."
    columns = COLUMNS[cls]
    rows = [[entity.id, *(_cell(entity, name) for _, name in columns)] for entity in entities]
    return table(["ID", *(heading for heading, _ in columns)], rows)


def as_line(entity: Entity) -> str:
    """What a row shows, in one line."""
    return ", ".join(text for _, name in COLUMNS.get(type(entity), ()) if (text := _cell(entity, name)))


def as_page(entity: Entity) -> str:
    """Everything that is known of it, one field a line."""
    lines = {"id": entity.id, "rev": entity.rev}
    for field in fields_of(type(entity)):
        value = getattr(entity, field.name)
        if value != field.empty:
            lines[field.name] = _text(field.kind, value)
    lines |= {name: _json_text(value) for name, value in entity.extra.items()}
    for path, items in entity.alternatives.items():
        lines[f"{path}, also"] = "; ".join(_alternative(path, item) for item in items)
    if entity.shared_with:
        lines["readable by"] = ", ".join(sorted(entity.shared_with))
    if entity.parent_ids:
        lines["filed under"] = ", ".join(entity.parent_ids)
    if not entity.authenticated:
        lines["authenticated"] = "no: its suite cannot tell who wrote it"
    return fields(lines)


def _alternative(path: str, value: Any) -> str:
    """Of a deletion there is nothing to show but that it is one."""
    if value is None:
        return "(removed)"
    return "yes" if path == "deleted" else _json_text(plain(value))


def as_text(cls: type[Entity], name: str, value: Any) -> str:
    """One value of a field, or of a record in one of its lists, as text."""
    kind = next((field.kind for field in fields_of(cls) if field.name == name), Kind.RECORD)
    return _text(kind, value)


def _cell(entity: Entity, name: str) -> str:
    kind = next(field.kind for field in fields_of(type(entity)) if field.name == name)
    value = getattr(entity, name)
    text = "" if value is None else _text(kind, value)
    return text if len(text) <= CELL_LETTERS else text[: CELL_LETTERS - 1] + "…"


def _text(kind: Kind, value: Any) -> str:
    if kind is Kind.TEXT:
        return str(value)
    if kind is Kind.DATE:
        return iso_text(value)
    return _json_text(plain(value))


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else strict_json.dumps(value).decode()


def plain(value: Any) -> Any:
    """A field's value, records inside lists and maps as JSON."""
    if isinstance(value, Value):
        return to_record(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
