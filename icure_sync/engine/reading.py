"""What an application reads of records, each time noted in the trail.

Owns which reads are recorded, and as what. How a record is opened is for others to know. Hcp documents are public, and
reading them is not noted. Synchronous: runs in the store's thread.
"""

from __future__ import annotations

from typing import TypeVar

from icure_sync.engine.conflict import Conflict
from icure_sync.engine.keyed import Keyed
from icure_sync.engine.records import Cursor
from icure_sync.engine.trail import Action, filed_under
from icure_sync.ids import DocId
from icure_sync.model import Attachment, Document, Entity, Hcp

E = TypeVar("E", bound=Entity)

_FIRST: Cursor = (0, 0)


class Reading:
    """The reads of one Hcp in one store."""

    def __init__(self, keyed: Keyed) -> None:
        self._keyed = keyed
        self._recorder = keyed.recorder

    def get(self, cls: type[E], doc_id: DocId) -> E:
        """See `Keyed.get`."""
        entity = self._keyed.get(cls, doc_id)
        if not isinstance(entity, Hcp):
            self._recorder.saw(Action.OPENED, entity.id, entity.TYPE, under=filed_under(entity))
        return entity

    def page(self, cls: type[E], cursor: Cursor, *, deleted: bool) -> tuple[list[E], Cursor | None]:
        """See `Records.page`. A list is one row, and another one for each second that it goes on."""
        found, following = self._keyed.records.page(cls, cursor, deleted=deleted)
        what = "deleted" if deleted else "all"
        self._recorder.listed("", _type(cls), what, len(found), goes_on=cursor != _FIRST)
        return found, following

    def search(self, cls: type[E], text: str, limit: int) -> list[E]:
        """See `Records.search`. The words are content, and not noted."""
        found = self._keyed.records.search(cls, text, limit)
        self._recorder.saw(Action.SEARCHED, "", _type(cls), {"count": len(found)})
        return found

    def linked(self, cls: type[E], parent: Entity) -> list[E]:
        """See `Keyed.linked`."""
        found = self._keyed.linked(cls, parent)
        self._recorder.listed(parent.id, cls.TYPE, "linked", len(found), goes_on=False)
        return found

    def files(self, document: Document) -> list[Attachment]:
        """See `Keyed.files`."""
        found = self._keyed.files(document)
        self._recorder.listed(document.id, Attachment.TYPE, "linked", len(found), goes_on=False)
        return found

    def parent(self, cls: type[E], entity: Entity) -> E:
        """See `Keyed.parent`."""
        parent = self._keyed.parent(cls, entity)
        self._recorder.saw(Action.OPENED, parent.id, parent.TYPE)
        return parent

    def disputed(self, doc_id: DocId) -> Conflict | None:
        """See `Review.look`, for one of a list."""
        found = self._keyed.review.look(doc_id)
        if found is not None:
            self._recorder.listed("", "", "conflicts", 1, goes_on=True)
        return found

    def conflict(self, doc_id: DocId) -> Conflict | None:
        """See `Review.look`."""
        found = self._keyed.review.look(doc_id)
        if found is not None:
            under = filed_under(found.entity) if found.entity else ""
            self._recorder.saw(Action.OPENED, doc_id, found.type, {"conflict": len(found.leaves)}, under)
        return found


def _type(cls: type[Entity]) -> str:
    """ "" for a class that stands for several."""
    return getattr(cls, "TYPE", "")
