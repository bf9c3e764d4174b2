"""What a replication is to do: the value that names it. Owns the names of its `_local` documents; does nothing.

What a replica remembers as the device and what others leave there as the other side never share a name. Two copies of
one file have one device id and one past: by the name alone, what one of them recorded with a server would pass for
what the two have recorded with each other, and seqs of one side for those of another.
"""

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
        """The replication log on the other side."""
        return replication_id(self.device, self.hcp, self.selector, self.direction)

    @property
    def own_log_id(self) -> str:
        """The replication log on the device's side."""
        return f"{self.log_id}-own"

    def refused_id(self, name: str) -> str:
        """The record of what one other side refused, on the device's side only. `name`: that of the other's log."""
        return f"{self.log_id}-refused-{name}"

    @property
    def first_id(self) -> str:
        """The mark of a first sync by the index, on the other side."""
        return f"{self.log_id}-first"

    @property
    def pin_id(self) -> str:
        """The pin of a first sync by the index, on the device's side."""
        return f"{self.log_id}-pin"
