"""What was acknowledged in a world, and what its writers had seen. Knows nothing of how merging works.

Every value is written once. A write of a place (a field, a record of a list) replaces the values that its writer saw
there; a value that nobody has replaced must be there in the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

Place = tuple[str, str]  # document, field or `services/<id>`


@dataclass(slots=True)
class Ledger:
    """`standing`: values that no write has replaced which had seen them, by place."""

    standing: dict[Place, set[str]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)  # contact to patient
    deletions: list[tuple[str, frozenset[str]]] = field(default_factory=list)  # document, the values seen by it
    revived: set[str] = field(default_factory=set)  # documents that were restored, or whose access has changed
    documents: list[str] = field(default_factory=list)
    _count: int = 0

    def value(self) -> str:
        """One that was never written."""
        self._count += 1
        return f"v{self._count}"

    def wrote(self, doc_id: str, place: str, value: str | None, seen: Iterable[str]) -> None:
        """None: removed."""
        standing = self.standing.setdefault((doc_id, place), set())
        standing.difference_update(seen)
        if value is not None:
            standing.add(value)

    def of(self, doc_id: str) -> dict[str, set[str]]:
        return {place: values for (document, place), values in self.standing.items() if document == doc_id and values}
