"""`share` and `revoke`: let another healthcare party read and write a record, or no longer. Know no keys."""

from __future__ import annotations

import argparse

from icure_sync import Replica
from icure_sync.app.home import in_replica
from icure_sync.app.output import Answer
from icure_sync.model import Entity


def share(args: argparse.Namespace) -> Answer:
    """Share a record of any type, with `--include-linked` a patient and all that is linked to it."""

    async def work(replica: Replica) -> Answer:
        entity = await replica.get(Entity, args.id)
        shared = await replica.share(entity, with_=args.with_, include_linked=args.include_linked)
        readers = sorted(shared.shared_with)
        return Answer(
            {"id": shared.id, "rev": shared.rev, "sharedWith": readers},
            f"{type(shared).TYPE} {shared.id} can be read by {', '.join(readers)}, once both have synced.",
        )

    return in_replica(args, work)


def revoke(args: argparse.Namespace) -> Answer:
    """Put somebody out of a record, with `--include-linked` of a patient and all that is linked to it."""

    async def work(replica: Replica) -> Answer:
        entity = await replica.get(Entity, args.id)
        kept = await replica.revoke(entity, from_=args.from_, include_linked=args.include_linked)
        readers = sorted(kept.shared_with)
        return Answer(
            {"id": kept.id, "rev": kept.rev, "sharedWith": readers},
            f"What is written from now on in {type(kept).TYPE} {kept.id} can be read by {', '.join(readers)} only.",
        )

    return in_replica(args, work)
