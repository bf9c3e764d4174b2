"""`conflicts list|show|resolve|adopt`: what is left to a person, and what a person decides. Knows no keys."""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Mapping
from typing import Any

from icure_sync import Conflict, Disputed, Replica, Standing, Version
from icure_sync.app.entity_view import as_line, as_text, plain
from icure_sync.app.home import in_replica
from icure_sync.app.output import Answer, counted, printable, table
from icure_sync.errors import InvalidEntity, NotFound
from icure_sync.model import Entity, parse_field

_LIST = "see icure-sync conflicts list"
_SHOWN = "shown"
_DELETED = "deleted"


def list_all(args: argparse.Namespace) -> Answer:
    """Records that a person should look at."""

    async def work(replica: Replica) -> Answer:
        found = [conflict async for conflict in replica.conflicts()]
        rows = [
            [each.type, each.id, _names(each), str(each.versions), as_line(each.entity) if each.entity else ""]
            for each in found
        ]
        return Answer(
            {"items": [_brief(each) for each in found]},
            table(["TYPE", "ID", "IN DISPUTE", "VERSIONS", "SHOWN"], rows) if rows else "None.",
        )

    return in_replica(args, work)


def show(args: argparse.Namespace) -> Answer:
    """One of them, field by field."""

    async def work(replica: Replica) -> Answer:
        conflict = await _find(replica, args.id)
        value = {
            **_brief(conflict),
            "rev": conflict.entity.rev if conflict.entity else None,
            "fields": [_field_json(each) for each in conflict.fields],
            "standing": [_standing_json(each) for each in conflict.standing],
        }
        return Answer(value, _page(conflict))

    return in_replica(args, work)


def resolve(args: argparse.Namespace) -> Answer:
    """Settle fields: by what is shown, by an alternative, or by something new."""
    if not (args.keep or args.take or args.set):
        args.usage_error("say how: --keep, --take FIELD=N, or --set FIELD=VALUE")
    taken = dict(_assignment(args, each, "--take FIELD=N") for each in args.take)
    new = dict(_assignment(args, each, "--set FIELD=VALUE") for each in args.set)
    if taken.keys() & new.keys():
        args.usage_error(f"say once what becomes of {', '.join(sorted(taken.keys() & new.keys()))}")

    async def work(replica: Replica) -> Answer:
        conflict = await _find(replica, args.id)
        if conflict.entity is None or not conflict.fields:
            raise InvalidEntity(f"resolve {args.id}", "no field of it is in dispute", _next_step(conflict))
        fields = {each.name: each for each in conflict.fields}
        choices: dict[str, Any] = {each.name: each.shown for each in conflict.fields} if args.keep else {}
        choices |= {name: _taken(_named(fields, name, args.id), number) for name, number in taken.items()}
        for name, text in new.items():
            choices[name] = _new(type(conflict.entity), _named(fields, name, args.id), text)
        settled = await replica.resolve(conflict, choices)
        left = await replica.conflict_of(settled)
        rest = f" Still in dispute: {_names(left)}." if left and left.fields else ""
        text = f"{conflict.type} {settled.id} is settled ({settled.rev}).{rest}"
        return Answer({"id": settled.id, "rev": settled.rev, "inDispute": _field_names(left)}, text)

    return in_replica(args, work)


def adopt(args: argparse.Namespace) -> Answer:
    """Write what somebody wrote who is out by now."""

    async def work(replica: Replica) -> Answer:
        await _find(replica, args.id)
        adopted = await replica.adopt(args.id, args.rev)
        return Answer(
            {"id": adopted.id, "rev": adopted.rev},
            f"{type(adopted).TYPE} {adopted.id} has what {args.rev} says ({adopted.rev}).",
        )

    return in_replica(args, work)


async def _find(replica: Replica, doc_id: str) -> Conflict:
    conflict = await replica.conflict_of(doc_id)
    if conflict is None:
        raise NotFound(f"find a conflict in {doc_id}", "nothing of it is left to a person here", _LIST)
    return conflict


def _named(fields: Mapping[str, Disputed], name: str, doc_id: str) -> Disputed:
    if name not in fields:
        raise InvalidEntity(f"resolve {doc_id}", f"{name} is not in dispute", f"name one of {', '.join(fields)}")
    return fields[name]


def _taken(field: Disputed, number: str) -> Version:
    """As `conflicts show` numbers them; 0 is what is shown."""
    versions = (field.shown, *field.alternatives)
    if not (number.isascii() and number.isdigit() and int(number) < len(versions)):
        wrong = f"{field.name} has no version {number}"
        raise InvalidEntity(f"take a version of {field.name}", wrong, f"say a number from 0 to {len(versions) - 1}")
    return versions[int(number)]


def _new(cls: type[Entity], field: Disputed, text: str) -> Any:
    if len(field.path) > 1 or field.name == _DELETED:
        raise InvalidEntity(
            f"set {field.name}",
            "it is no field by itself",
            f"use --take {field.name}=N, then the record's edit command",
        )
    return parse_field(cls, field.name, text)[1]


def _assignment(args: argparse.Namespace, text: str, form: str) -> tuple[str, str]:
    name, separator, value = text.rpartition("=") if form.startswith("--take") else text.partition("=")
    if not (separator and name):
        args.usage_error(f"it is {form}")
    return name, value


def _next_step(conflict: Conflict) -> str:
    if any(each.offers is not None for each in conflict.standing):
        return f"see icure-sync conflicts show {conflict.id}: a leaf of it can be adopted"
    return f"see icure-sync conflicts show {conflict.id}"


# How they are shown


def _brief(conflict: Conflict) -> dict[str, Any]:
    return {
        "id": conflict.id,
        "type": conflict.type,
        "inDispute": _field_names(conflict),
        "versions": conflict.versions,
        "leaves": list(conflict.leaves),
    }


def _field_names(conflict: Conflict | None) -> list[str]:
    return [each.name for each in conflict.fields] if conflict else []


def _names(conflict: Conflict) -> str:
    return ", ".join(_field_names(conflict)) or "a leaf stands"


def _field_json(field: Disputed) -> dict[str, Any]:
    return {
        "field": field.name,
        "path": list(field.path),
        _SHOWN: _version_json(field.shown),
        "alternatives": [_version_json(each) for each in field.alternatives],
    }


def _version_json(version: Version) -> dict[str, Any]:
    return {"value": plain(version.value), "hcp": version.hcp, "device": version.device, "time": version.time}


def _standing_json(standing: Standing) -> dict[str, Any]:
    offers = None
    if standing.offers is not None:
        offers = {name: [plain(each) for each in found] for name, found in standing.offers.items()}
    return {
        "rev": standing.rev,
        "reason": standing.reason.value,
        "why": standing.why,
        "by": standing.by,
        "offers": offers,
    }


def _page(conflict: Conflict) -> str:
    shown = as_line(conflict.entity) if conflict.entity else "nothing of it can be shown"
    lines = [printable(f"{conflict.type} {conflict.id}: {shown}")]
    for field in conflict.fields:
        versions = (field.shown, *field.alternatives)
        rows = [
            [
                str(number) if number else f"0 ({_SHOWN})",
                _text(conflict, field.name, each.value),
                _who(each),
                _when(each),
            ]
            for number, each in enumerate(versions)
        ]
        lines += ["", f"{printable(field.name)}, {counted(len(versions), 'version')}:"]
        lines.append(table(["N", "VALUE", "WRITTEN BY", "AT (ITS CLOCK)"], rows))
    if conflict.fields:
        lines += ["", f"Settle it: icure-sync conflicts resolve {conflict.id} --take {conflict.fields[0].name}=N"]
    for standing in conflict.standing:
        by = f" by {standing.by}" if standing.by else ""
        lines += ["", printable(f"Not merged: {standing.rev}{by}: {standing.why}.")]
        if standing.offers is not None:
            said = [
                printable(f"  {name}: {_text(conflict, name, each)}")
                for name, found in standing.offers.items()
                for each in found
            ]
            lines += said or ["  It says nothing that is not here already."]
            lines.append(f"Take it over: icure-sync conflicts adopt {conflict.id} {standing.rev}")
    return "\n".join(lines)


def _text(conflict: Conflict, name: str, value: Any) -> str:
    if name == _DELETED:
        return "deleted" if value else "kept"
    assert conflict.entity is not None  # what is in dispute, or offered, is so beside what is shown
    return "(removed)" if value is None else as_text(type(conflict.entity), name, value)


def _who(version: Version) -> str:
    if version.hcp is None:
        return "unknown"
    return f"{version.hcp}, device {version.device}" if version.device else version.hcp


def _when(version: Version) -> str:
    """In local time; whatever the writer's clock said, which may be no time at all."""
    if version.time is None:
        return ""
    try:
        return dt.datetime.fromtimestamp(version.time / 1000, tz=dt.UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(version.time)
