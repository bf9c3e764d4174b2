"""Who may do what in one database: the `_security` object, as CouchDB 3.x reads it. Knows no passwords and no store.

A database without one admits server administrators only. Members read and write documents; administrators of the
database write design documents and settings besides. Nobody is let in without a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from icure_sync.hub.errors import bad_request, forbidden, unauthorized

ADMIN_ROLE = "_admin"
DEFAULT: Mapping[str, Any] = {"members": {"roles": [ADMIN_ROLE]}, "admins": {"roles": [ADMIN_ROLE]}}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request. `how`: "default" (Basic), "cookie", or "" for nobody in particular."""

    name: str | None = None
    roles: frozenset[str] = frozenset()
    how: str = ""

    @property
    def is_admin(self) -> bool:
        return ADMIN_ROLE in self.roles

    def require_admin(self) -> None:
        """Raises unauthorized unless this is a server administrator."""
        if not self.is_admin:
            raise unauthorized("You are not a server admin.")


@dataclass(frozen=True, slots=True)
class Circle:
    """Users named one by one, and the holders of roles."""

    names: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()

    def __contains__(self, caller: Caller) -> bool:
        return (caller.name is not None and caller.name in self.names) or bool(caller.roles & self.roles)

    def __bool__(self) -> bool:
        return bool(self.names or self.roles)


@dataclass(frozen=True, slots=True)
class Security:
    """`_security` of one database. `value`: the object as it was put, answered again."""

    members: Circle
    admins: Circle
    value: Mapping[str, Any] = field(default_factory=lambda: DEFAULT)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Security:
        """Raises bad_request for what is not a security object."""
        return cls(_circle(value, "members"), _circle(value, "admins"), value)

    def check_member(self, caller: Caller) -> None:
        """Raises unauthorized for strangers, forbidden for users who are no members."""
        if caller.is_admin:
            return
        if caller.name is None:
            raise unauthorized("You are not authorized to access this db.")
        if self.members and caller not in self.members and caller not in self.admins:
            raise forbidden("You are not allowed to access this db.")

    def check_admin(self, caller: Caller) -> None:
        """Raises unauthorized or forbidden unless the caller administers this database or the server."""
        self.check_member(caller)
        if not caller.is_admin and caller not in self.admins:
            raise forbidden("You are not a db or server admin.")


def _circle(value: Mapping[str, Any], who: str) -> Circle:
    circle = value.get(who, {})
    if not isinstance(circle, Mapping):
        raise bad_request(f"{who} must be a JSON object")
    return Circle(_texts(circle, who, "names"), _texts(circle, who, "roles"))


def _texts(circle: Mapping[str, Any], who: str, what: str) -> frozenset[str]:
    texts = circle.get(what, [])
    if not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
        raise bad_request(f"{who}.{what} must be a JSON list of strings")
    return frozenset(texts)
