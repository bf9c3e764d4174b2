"""`share` and `revoke`: let another healthcare party read and write a record, or no longer. Know no keys."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable

from icure_sync import Replica
from icure_sync.app.home import in_replica
from icure_sync.app.output import Answer
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
