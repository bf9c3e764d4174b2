"""What a replication is to do: the value that names it. Owns the names of its `_local` documents; does nothing."""

from __future__ import annotations

from dataclasses import dataclass

from icure_sync.peers.port import Selector
from icure_sync.replication.checkpoint import Direction, replication_id


@dataclass(frozen=True, slots=True)
class Plan:
    """`device` and `hcp` name who replicates (`hcp` is None without keys); `selector` filters the source's feed.

    The direction also says which side belongs to the device: the target of a pull, the source of a push.
    """

    device: str
    hcp: str | None
    direction: Direction
    selector: Selector | None = None

    @property
    def log_id(self) -> str:
        """The replication log, on both sides."""
        return replication_id(self.device, self.hcp, self.selector, self.direction)

    def refused_id(self, name: str) -> str:
        """The record of what one other side refused, on the device's side only. `name`: that of the other's log."""
        return f"{self.log_id}-refused-{name}"

    @property
    def first_id(self) -> str:
        """The record of a first sync by the index: its pin on the device's side, a mark on the other."""
        return f"{self.log_id}-first"
