"""`search` and `conflicts list`: finding records by their words, and those that need a look. Knows no keys."""

from __future__ import annotations

import argparse

from icure_sync import Replica
from icure_sync.app.entity_view import as_json, as_line
from icure_sync.app.home import in_replica
from icure_sync.app.output import Answer, table
from icure_sync.model import Entity


def search(args: argparse.Namespace) -> Answer:
    """Records of every type that hold all the words."""

    async def work(replica: Replica) -> Answer:
        found = [entity async for entity in replica.search(" ".join(args.text))]
        rows = [[type(entity).TYPE, entity.id, as_line(entity)] for entity in found]
        return Answer(
            {"items": [as_json(entity) for entity in found]},
            table(["TYPE", "ID", "CONTENT"], rows) if rows else "None.",
        )

    return in_replica(args, work)


def list_conflicts(args: argparse.Namespace) -> Answer:
    """Records with several live leaves: the first is the one that is shown."""

    async def work(replica: Replica) -> Answer:
        items = []
        rows = []
        async for conflict in replica.conflicts():
            entity = await replica.get(Entity, conflict.id)
            items.append({"id": conflict.id, "type": type(entity).TYPE, "leaves": list(conflict.leaves)})
            rows.append([type(entity).TYPE, conflict.id, str(len(conflict.leaves)), as_line(entity)])
        return Answer({"items": items}, table(["TYPE", "ID", "VERSIONS", "SHOWN"], rows) if rows else "None.")

    return in_replica(args, work)
