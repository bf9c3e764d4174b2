"""The writer ids of one opening of a replica. Owns their choice; knows no stores.

A writer id is drawn anew whenever a replica is opened, and again for a record whose context does not end where this
writer left it (its own leaf is unmerged, or the file was put back): so no stamp is ever given twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from icure_sync.crypto.primitives import Entropy
from icure_sync.ids import DocId
from icure_sync.merge.registers import Author

WRITER_BYTES = 8
RECORD_ID_BYTES = 8  # of a record in a list: unique within its list


class Writers:
    """Draws authors for writes of one device of one Hcp. `clock` gives ms since 1970."""

    def __init__(self, hcp_id: str, device: str, entropy: Entropy, clock: Callable[[], int]) -> None:
        self._hcp_id = hcp_id
        self._device = device
        self._entropy = entropy
        self._clock = clock
        self._session = self._draw()
        self._left: dict[DocId, tuple[str, int]] = {}

    def author(self, doc_id: DocId, context: Mapping[str, int]) -> Author:
        """Who writes next in a record with this context; `wrote` must hear of the context that came of it."""
        writer, last = self._left.get(doc_id, (self._session, 0))
        if context.get(writer, 0) != last:
            writer = self._draw()
        return Author(writer, self._hcp_id, self._device, self._clock())

    def wrote(self, doc_id: DocId, author: Author, context: Mapping[str, int]) -> None:
        """A body with this context was made. If it never gets stored, the next write draws another writer."""
        self._left[doc_id] = (author.writer, context[author.writer])

    def _draw(self) -> str:
        return self._entropy(WRITER_BYTES).hex()
