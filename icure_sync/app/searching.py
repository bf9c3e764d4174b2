"""`search`: finding records by their words. Knows no keys."""

from __future__ import annotations

import argparse

from icure_sync import Replica
from icure_sync.app.entity_view import as_json, as_line
from icure_sync.app.home import in_replica
from icure_sync.app.output import Answer, table


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
