"""What may go wrong on the way, as values: a fault, which requests it meets, and how often. Does no I/O.

Owns the meaning of each fault; the proxy only obeys.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from icure_sync.errors import InvalidEntity
from icure_sync.testing.answers import Answer


class Ending(Enum):
    """How a connection ends where it is cut."""

    CLOSE = auto()  # in order (FIN), as a server does that stops
    RESET = auto()  # at once (RST), as a network does that changes
    SILENCE = auto()  # not at all: nothing comes any more, until the client goes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to one request and its answer. Every part may be combined with the others.

    `latency`, `jitter`: seconds before the request is passed on, and up to so many more. `rate`: bytes per second, each
    way. `piece`: bytes that the client gets at once. `cut_request`, `cut_answer`: bytes, head included, that are passed
    on before the connection ends as `ending` says: with `cut_request` the server never saw the whole request, with
    `cut_answer` it has done what was asked, and `cut_answer=0` says nothing of it. `answer`: said in the server's
    stead, which never sees the request. Raises InvalidEntity for what no line can do: negative numbers, and a `rate`
    or a `piece` of nothing, which would never end (SILENCE does that).
    """

    latency: float = 0.0
    jitter: float = 0.0
    rate: float | None = None
    piece: int | None = None
    cut_request: int | None = None
    cut_answer: int | None = None
    ending: Ending = Ending.CLOSE
    answer: Answer | None = None

    def __post_init__(self) -> None:
        least = {"latency": 0, "jitter": 0, "cut_request": 0, "cut_answer": 0, "piece": 1}
        for name, value in least.items():
            given = getattr(self, name)
            if given is not None and not value <= given < math.inf:
                raise _impossible(name, given, f"give {value} or more")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise _impossible("rate", self.rate, "give more than 0, or SILENCE for nothing at all")


def _impossible(name: str, given: float, right: str) -> InvalidEntity:
    return InvalidEntity("make a fault", f"{name} is {given}", right)


NO_FAULT = Fault()
SILENCE = Fault(cut_request=0, ending=Ending.SILENCE)  # the connection is accepted, and nothing is ever said
RESET_BEFORE = Fault(cut_request=0, ending=Ending.RESET)  # the server never heard of it
RESET_AFTER = Fault(cut_answer=0, ending=Ending.RESET)  # the server has done it

Picks = Callable[[str, str], bool]  # by method and path (percent-encoded, without the query)


def anything(method: str, path: str) -> bool:  # noqa: ARG001  # one of Picks
    """Every request."""
    return True


def to(method: str, *endings: str) -> Picks:
    """Requests of this method whose path ends with one of these: `to("POST", "/_bulk_docs")`."""
    return lambda asked, path: asked == method and path.endswith(endings)


def within(method: str, part: str) -> Picks:
    """Requests of this method with this somewhere in their path: `within("PUT", "/_local/")`."""
    return lambda asked, path: asked == method and part in path


@dataclass(slots=True)
class Rule:
    """A fault for the requests that `picks` names: from the `first` of them on (1 or more), `times` times (None:
    always).

    `met`: how often such a request came; `applied`: how often the fault was put on one.
    """

    fault: Fault
    picks: Picks
    first: int = 1
    times: int | None = None
    met: int = 0
    applied: int = 0

    def __post_init__(self) -> None:
        if self.first < 1:
            raise _impossible("first", self.first, "count from 1")
        if self.times is not None and self.times < 0:
            raise _impossible("times", self.times, "give 0 or more, or None for always")

    def takes(self, method: str, path: str) -> bool:
        """Is this request one for the fault? Counts it."""
        if not self.picks(method, path):
            return False
        self.met += 1
        if self.met < self.first or (self.times is not None and self.applied >= self.times):
            return False
        self.applied += 1
        return True
