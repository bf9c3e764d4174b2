"""What all documents are: content fields below, and metadata that only the replica sets. Owns Entity and
MedicalEntity; knows no particular type and no JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from icure_sync.errors import InvalidEntity
from icure_sync.model.fields import declared, instant, records, undeclared, word
from icure_sync.model.records import Code
from icure_sync.model.values import Value

NO_PARTIES: frozenset[str] = frozenset()


@declared
class Entity(Value):
    """A document. The first members are metadata: they say where the content stands, and are no part of it.

    `id`, `rev`: "" until it is saved; `rev` is the revision that it was opened from. `alternatives`: values of
    concurrent edits that are not shown, by field (`note`, `services/<id>`). `shared_with`: ids of the Hcps with
    access. `deleted`: kept, hidden. `authenticated`: False where the suite cannot tell who wrote it
    (`icure-classic`). `parent_ids`: the records it is filed under. `extra`: members of the JSON that the model does
    not know, kept as they are (content).
    """

    TYPE: ClassVar[str]  # `type` in `sealed-1`
    CLASSIC_TYPE: ClassVar[str]  # the last part of `java_type` in `icure-classic`; "": no document of its own there
    CLEAR_DOCUMENT: ClassVar[bool] = False  # True: it has no sealed part at all

    id: str = ""
    rev: str = ""
    alternatives: Mapping[str, tuple[Any, ...]] = undeclared()
    shared_with: frozenset[str] = NO_PARTIES
    deleted: bool = False
    authenticated: bool = True
    parent_ids: tuple[str, ...] = ()
    extra: Mapping[str, Any] = undeclared()

    created: int | None = instant()
    modified: int | None = instant()
    tags: tuple[Code, ...] = records()
    codes: tuple[Code, ...] = records()

    def __post_init__(self) -> None:
        Value.__post_init__(self)
        if type(self.rev) is not str or type(self.deleted) is not bool or type(self.authenticated) is not bool:
            raise _wrong_metadata(type(self), "rev, deleted or authenticated")
        if not isinstance(self.alternatives, Mapping):
            raise _wrong_metadata(type(self), "alternatives")
        for name in ("shared_with", "parent_ids"):
            if not isinstance(getattr(self, name), tuple | list | set | frozenset):
                raise _wrong_metadata(type(self), name)
        object.__setattr__(self, "alternatives", MappingProxyType(dict(self.alternatives)))
        object.__setattr__(self, "shared_with", frozenset(self.shared_with))
        object.__setattr__(self, "parent_ids", tuple(self.parent_ids))

    def __repr__(self) -> str:
        """Class, id and revision only: medical text must not land in a log."""
        return f"<{type(self).__name__} {self.id or 'unsaved'} {self.rev}>".replace(" >", ">")


@declared
class MedicalEntity(Entity):
    """A document about a patient. `author`: a user; `responsible`: an Hcp; both ids."""

    author: str | None = word()
    responsible: str | None = word()
    medical_location_id: str | None = word()
    end_of_life: int | None = instant()


def _wrong_metadata(cls: type[Entity], names: str) -> InvalidEntity:
    return InvalidEntity(f"make a {cls.__name__}", f"{names} has a wrong type", "leave metadata to the replica")
