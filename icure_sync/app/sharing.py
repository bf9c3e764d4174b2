"""`share` and `revoke`: let another healthcare party read and write a record, or no longer; `access`: who may, and why.
Know no keys."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from icure_sync import AccessList, Replica
from icure_sync.app.home import in_replica
from icure_sync.app.output import Answer, table
from icure_sync.model import Entity


def share(args: argparse.Namespace) -> Answer:
    """Share a record of any type, with `--include-linked` a patient and all that is linked to it."""

    async def write(replica: Replica, entity: Entity) -> Entity:
        return await replica.share(entity, with_=args.with_, include_linked=args.include_linked)

    return _with_access(args, write, "{} can be read by {}, once both have synced.")


def revoke(args: argparse.Namespace) -> Answer:
    """Put somebody out of a record, with `--include-linked` of a patient and all that is linked to it."""

    async def write(replica: Replica, entity: Entity) -> Entity:
        return await replica.revoke(entity, from_=args.from_, include_linked=args.include_linked)

    return _with_access(args, write, "What is written from now on in {} can be read by {} only.")


def _with_access(args: argparse.Namespace, write: Callable[[Replica, Entity], Awaitable[Entity]], said: str) -> Answer:
    """Change who has access to the record, and say so: `said` of what, and of whom."""

    async def work(replica: Replica) -> Answer:
        written = await write(replica, await replica.get(Entity, args.id))
        readers = sorted(written.shared_with)
        return Answer(
            {"id": written.id, "rev": written.rev, "sharedWith": readers},
            said.format(f"{type(written).TYPE} {written.id}", ", ".join(readers)),
        )

    return in_replica(args, work)


def access(args: argparse.Namespace) -> Answer:
    """Who has access to a record, by whose grants, and who was put out, by whom."""

    async def work(replica: Replica) -> Answer:
        found = await replica.access_of(args.id)
        return Answer(_as_json(found), f"{found.type} {found.id}\n" + table(["HCP", "ACCESS"], [*_rows(found)]))

    return in_replica(args, work)


def _rows(found: AccessList) -> Iterator[list[str]]:
    for member in found.members:
        said = ["made it"] if member.is_creator else []
        for each in member.grants:
            line = " <- ".join([each.by, *each.through])
            said.append(f"shared by {line}" if found.is_signed else f"shared by {line}, as the document says unsigned")
        yield [member.hcp, "; ".join(said) or "has access, as the document says unsigned"]
    for out in found.put_out:
        yield [out.hcp, f"put out by {', '.join(out.by)}" if out.by else f"out with {', '.join(out.with_)}"]
    for claim in found.pending:
        what = "shared by" if claim.is_grant else "put out by"
        yield [claim.hcp, f"not proven yet: {what} {claim.by}"]


def _as_json(found: AccessList) -> dict[str, Any]:
    return {
        "id": found.id,
        "type": found.type,
        "creator": found.creator,
        "signed": found.is_signed,
        "members": [
            {
                "hcp": member.hcp,
                "isCreator": member.is_creator,
                "grants": [
                    {"by": each.by, "through": list(each.through), "grant": each.digest, "from": each.source}
                    for each in member.grants
                ],
            }
            for member in found.members
        ],
        "putOut": [{"hcp": out.hcp, "by": list(out.by), "with": list(out.with_)} for out in found.put_out],
        "pending": [
            {"hcp": each.hcp, "by": each.by, "kind": "grant" if each.is_grant else "revocation"}
            for each in found.pending
        ],
    }
