"""Replicas that meet at a server, and what they hold of a record afterwards."""

from __future__ import annotations

from icure_sync.engine.replica import Replica
from icure_sync.engine.suite import Stored
from icure_sync.model import Entity
from icure_sync.peers.port import Peer


async def met(server: Peer, *replicas: Replica) -> None:
    """Each syncs twice, so that what the last one brought reaches the first."""
    for replica in (*replicas, *replicas):
        await replica.sync(server)


async def leaves(replica: Replica, doc_id: str) -> list[str]:
    """The live leaves, the winner first."""
    tree = await replica._store.run(replica._store.documents.tree, doc_id)
    return [leaf.rev for leaf in tree.leaves() if not leaf.deleted]


async def stored_of(replica: Replica, entity: Entity) -> Stored:
    """What the replica shows of a record, sealed."""
    opened = await replica._store.run(replica._keyed.opener.open, entity.id)
    return opened.stored
