"""The passage of one attempt: what all its parts work with. Owns nothing but the word for it; does nothing."""

from __future__ import annotations

from dataclasses import dataclass

from icure_sync.engine.clock import Clock
from icure_sync.engine.patience import Patience
from icure_sync.engine.progress import Meter
from icure_sync.peers.port import Peer


@dataclass(frozen=True, slots=True)
class Passage:
    """From the `source` to the `target`: what fails on the way is tried again with this `patience`, what comes over is
    counted by this `meter`, and all of it is timed by this `clock`."""

    source: Peer
    target: Peer
    patience: Patience
    meter: Meter
    clock: Clock
