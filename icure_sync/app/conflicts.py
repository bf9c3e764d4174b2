"""`conflicts list|show|resolve|adopt`: what is left to a person, and what a person decides. Knows no keys.

What is decided by a number, or by what is shown, names the revision that was shown: a sync in between may bring other
values, and number them anew.
"""

from __future__ import annotations

import argparse
import datetime as dt
import shlex
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from icure_sync import Conflict, Disputed, Entity, Hcp, Replica, Standing, Version
from icure_sync.app.entity_view import as_line, as_text, plain
from icure_sync.app.home import in_replica
from icure_sync.app.output import Answer, counted, printable, table
from icure_sync.errors import InvalidEntity, NotFound, StaleRevision
from icure_sync.model import parse_field

_SHOW = "icure-sync conflicts show"
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
    if args.rev is None and (args.keep or args.take):
        args.usage_error(
            "say what you saw: --keep and --take go with --rev REV, the revision that conflicts show names"
        )
    taken = [_assignment(args, each, "--take FIELD=N") for each in args.take]
    new = [_assignment(args, each, "--set FIELD=VALUE") for each in args.set]
    twice = [name for name, times in Counter(name for name, _ in (*taken, *new)).items() if times > 1]
    if twice:
        args.usage_error(f"say once what becomes of {', '.join(sorted(twice))}")

    async def work(replica: Replica) -> Answer:
        conflict = await _find(replica, args.id)
        if conflict.entity is None or not conflict.fields:
            raise InvalidEntity(f"resolve {args.id}", "no field of it is in dispute", _next_step(conflict))
        if args.rev not in (None, conflict.entity.rev):
            wrong = f"{args.rev} is not the revision that is shown of it now"
            raise StaleRevision(f"resolve {args.id}", wrong, f"look at it again: {_SHOW} {args.id}")
        choices: dict[str, Any] = {each.name: each.shown for each in conflict.fields} if args.keep else {}
        choices |= {name: _taken(_named(conflict, name), number) for name, number in taken}
        choices |= {name: _new(type(conflict.entity), _named(conflict, name), text) for name, text in new}
        settled = await replica.resolve(conflict, choices)
        left = await replica.conflict_of(settled)
        rest = f" Still in dispute: {_names(left)}." if left and left.fields else ""
        text = printable(f"{conflict.type} {settled.id} is settled ({settled.rev}).{rest}")
        return Answer({"id": settled.id, "rev": settled.rev, "inDispute": _field_names(left)}, text)

    return in_replica(args, work)


def adopt(args: argparse.Namespace) -> Answer:
    """Write what somebody wrote who is out by now."""

    async def work(replica: Replica) -> Answer:
        _require_offered(await _find(replica, args.id), args.rev)
        adopted = await replica.adopt(args.id, args.rev)
        return Answer(
            {"id": adopted.id, "rev": adopted.rev},
            f"{type(adopted).TYPE} {adopted.id} has what {args.rev} says ({adopted.rev}).",
        )

    return in_replica(args, work)


async def _find(replica: Replica, doc_id: str) -> Conflict:
    """What is left to a person. Raises NotFound if nothing is, or there is no such record; what stands against it."""
    conflict = await replica.conflict_of(doc_id)
    if conflict is not None:
        return conflict
    attempted = f"find a conflict in {doc_id}"
    try:
        await _read(replica, doc_id)
    except NotFound as error:
        raise NotFound(attempted, error.wrong, error.next_step) from error
    raise NotFound(attempted, "nothing of it is left to a person", "see icure-sync conflicts list")


async def _read(replica: Replica, doc_id: str) -> Entity:
    with suppress(NotFound):
        return await replica.get(Hcp, doc_id)
    return await replica.get(Entity, doc_id)


def _require_offered(conflict: Conflict, rev: str) -> None:
    """Raise NotFound, in the words of the command line, if this is no leaf that can be adopted."""
    offered = [each.rev for each in conflict.standing if each.offers is not None]
    if rev in offered:
        return
    others = {str(each.rev): each.why for each in conflict.standing}
    wrong = others.get(rev) or ("it is in what is shown" if rev in conflict.leaves else "it is no live leaf of it")
    step = f"name {' or '.join(offered)}" if offered else f"nothing of it can be: see {_SHOW} {conflict.id}"
    raise NotFound(f"adopt {rev} of {conflict.id}", wrong, step)


def _named(conflict: Conflict, name: str) -> Disputed:
    fields = {each.name: each for each in conflict.fields}
    if name not in fields:
        raise InvalidEntity(f"resolve {conflict.id}", f"{name} is not in dispute", f"name one of {', '.join(fields)}")
    return fields[name]


def _taken(field: Disputed, number: str) -> Version:
    """As `conflicts show` numbers them; 0 is what is shown."""
    versions = {str(place): version for place, version in enumerate((field.shown, *field.alternatives))}
    if number not in versions:
        wrong = f"{field.name} has no version {number}"
        raise InvalidEntity(f"take a version of {field.name}", wrong, f"say a number from 0 to {len(versions) - 1}")
    return versions[number]


def _new(cls: type[Entity], field: Disputed, text: str) -> Any:
    attempted = f"set {field.name}"
    take = f"say --take {field.name}=N with --rev REV, as conflicts show names them"
    if field.name == _DELETED:
        raise InvalidEntity(attempted, "the record can only be kept or deleted", take)
    if len(field.path) > 1:
        raise InvalidEntity(attempted, "it is one record of a list", f"{take}; then edit the list")
    return parse_field(cls, field.name, text)[1]


def _assignment(args: argparse.Namespace, text: str, form: str) -> tuple[str, str]:
    name, separator, value = text.rpartition("=") if form.startswith("--take") else text.partition("=")
    if not (separator and name):
        args.usage_error(f"it is {form}")
    return name, value


def _next_step(conflict: Conflict) -> str:
    if any(each.offers is not None for each in conflict.standing):
        return f"see {_SHOW} {conflict.id}: a leaf of it can be adopted"
    return f"see {_SHOW} {conflict.id}"


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
    if conflict.entity is None:
        lines = [printable(f"{conflict.type} {conflict.id}: nothing of it can be shown")]
    else:
        lines = [printable(f"{conflict.type} {conflict.id} ({conflict.entity.rev}): {as_line(conflict.entity)}")]
    for field in conflict.fields:
        lines += ["", *_versions_lines(conflict, field)]
    if conflict.entity and conflict.fields:
        said = [word for field in conflict.fields for word in ("--take", f"{field.name}=N")]
        lines += ["", _command_line("Settle it", "resolve", conflict.id, "--rev", conflict.entity.rev, *said)]
    for standing in conflict.standing:
        lines += ["", *_standing_lines(conflict, standing)]
    return "\n".join(lines)


def _versions_lines(conflict: Conflict, field: Disputed) -> Sequence[str]:
    versions = (field.shown, *field.alternatives)
    rows = [
        [
            str(number) if number else f"0 ({_SHOWN})",
            _text(conflict, field.name, each.value),
            _who(field, each),
            _when(each),
        ]
        for number, each in enumerate(versions)
    ]
    return [
        f"{printable(field.name)}, {counted(len(versions), 'version')}:",
        table(["N", "VALUE", "WRITTEN BY", "AT (ITS CLOCK)"], rows),
    ]


def _standing_lines(conflict: Conflict, standing: Standing) -> Sequence[str]:
    by = f" by {standing.by}" if standing.by else ""
    lines = [printable(f"Not merged: {standing.rev}{by}: {standing.why}.")]
    if standing.offers is None:
        return lines
    said = [
        printable(f"  {name}: {_text(conflict, name, each)}")
        for name, found in standing.offers.items()
        for each in found
    ]
    lines += said or ["  It says nothing that is not here already."]
    return [*lines, _command_line("Take it over", "adopt", conflict.id, standing.rev)]


def _command_line(what_for: str, *words: str) -> str:
    """To be copied into a shell: names of fields may be what others wrote."""
    return f"{what_for}: icure-sync conflicts {shlex.join(printable(word) for word in words)}"


def _text(conflict: Conflict, name: str, value: Any) -> str:
    if name == _DELETED:
        return "deleted" if value else "kept"
    assert conflict.entity is not None  # what is in dispute, or offered, is so beside what is shown
    return "(removed)" if value is None else as_text(type(conflict.entity), name, value)


def _who(field: Disputed, version: Version) -> str:
    if version.hcp is None:
        is_kept_by_edit = field.name == _DELETED and not version.value  # nobody restored it
        return "an edit that the deletion had not seen" if is_kept_by_edit else "unknown"
    return f"{version.hcp}, device {version.device}" if version.device else version.hcp


def _when(version: Version) -> str:
    """In local time; whatever the writer's clock said, which may be no time at all."""
    if version.time is None:
        return ""
    try:
        return dt.datetime.fromtimestamp(version.time / 1000, tz=dt.UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(version.time)
