"""The servers that databases of this hub are kept the same as: what is said of them. Knows no replication.

Who replicates says here how it stands, and administrators read it at `/_upstreams`: a hub whose upstream is gone still
serves its devices, so nothing else would show it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from icure_sync.replication.wire import Refusal


@dataclass(frozen=True, slots=True)
class Upstream:
    """How one database stands with its upstream.

    `server`: its address, without credentials. `state`: in one or two words; `trouble`: why it is not in sync, "" if
    nothing is wrong. `refused`: what either side would not take, to be tried again.
    """

    database: str
    server: str
    state: str
    trouble: str
    refused: Sequence[Refusal]

    def shown(self) -> Mapping[str, Any]:
        """The same for JSON."""
        return {**asdict(self), "refused": [asdict(each) for each in self.refused]}


Describe = Callable[[], Awaitable[Upstream]]
