"""The safe seq: up to where everything that was read is durable on the target, in whatever order it got there.

Owns the bookkeeping of one attempt. Seqs are opaque: never parsed, never ordered, compared for equality only; their
order is the order in which they were read. Knows no documents.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from icure_sync.ids import Seq


class SafeSeq:
    """Rows are read in order and get consecutive tickets; tickets are settled in any order.

    A row's seq is safe once its ticket and all earlier ones are settled. A row may have no seq (`seq_interval`): then
    the next one that has stands for it.
    """

    def __init__(self, since: Seq) -> None:
        self._safe = since
        self._waiting: deque[Seq | None] = deque()  # the seqs of the rows from ticket `_first` on
        self._first = 0
        self._settled: set[int] = set()  # of tickets from `_first` on

    @property
    def safe(self) -> Seq:
        """The newest seq that a checkpoint may record."""
        return self._safe

    def read(self, seqs: Sequence[Seq | None], last_seq: Seq) -> range:
        """Rows were read, and `last_seq` says where the next ones start. Returns one ticket for each row."""
        start = self._first + len(self._waiting)
        self._waiting.extend(seqs)
        self._waiting.append(last_seq)
        end = start + len(seqs)
        self.settle((end,))
        return range(start, end)

    def settle(self, tickets: Iterable[int]) -> None:
        """What these rows announced is durable on the target, or needs nothing. Settling twice is harmless."""
        self._settled.update(tickets)
        while self._first in self._settled:
            self._settled.remove(self._first)
            seq = self._waiting.popleft()
            self._first += 1
            if seq is not None:
                self._safe = seq
