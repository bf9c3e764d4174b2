"""The `_users` documents: what they must hold, how passwords get into them, and the accounts read from them.

Source: CouchDB's "Authentication Database". Only administrators make users; a user reads his own document and changes
his own password. Knows no HTTP and no cookies.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from icure_sync.hub import bodies
from icure_sync.hub.answers import encode
from icure_sync.hub.drafts import Draft
from icure_sync.hub.errors import HttpRefusal, forbidden
from icure_sync.hub.passwords import PasswordHash
from icure_sync.hub.security import ADMIN_ROLE, Caller
from icure_sync.ids import DocId

USERS = "_users"
PREFIX = "org.couchdb.user:"
_MEMBERS = msgspec.json.Decoder(dict[str, Any])
_HASH_MEMBERS = ("password_scheme", "pbkdf2_prf", "iterations", "salt", "derived_key")


@dataclass(frozen=True, slots=True)
class Account:
    """Someone who can log in."""

    name: str
    roles: frozenset[str]
    password: PasswordHash


def user_id(name: str) -> DocId:
    return DocId(PREFIX + name)


def read_account(body: bytes) -> Account | None:
    """The account in a `_users` document; None if nobody can log in with it."""
    members = msgspec.json.decode(body)
    stored = PasswordHash.from_members(members)
    match members:
        case {"name": str(name), "roles": [*roles]} if stored is not None:
            return Account(name, frozenset(role for role in roles if isinstance(role, str)), stored)
    return None


def hashed_draft(draft: Draft, caller: Caller, before: Mapping[str, Any] | None, rounds: int) -> Draft:
    """The draft with its `password` made into a hash, checked to be a user. Slow on purpose.

    `before`: the members of the winner, None for a new user. Raises forbidden, bad_request.
    """
    if draft.deleted or not draft.id.startswith(PREFIX):
        if not caller.is_admin:
            raise forbidden("Only administrators may do that in the users database.")
        return draft
    members = bodies.decode(draft.body, _MEMBERS)
    _check_user(draft.id, members)
    if not caller.is_admin:
        _check_own(members, before)
    password = members.pop("password", None)
    if isinstance(password, str):
        for name in _HASH_MEMBERS:
            members.pop(name, None)
        members |= PasswordHash.of(password, rounds, os.urandom).to_members()
    elif password is not None:
        raise _bad_user("password must be a string")
    return replace(draft, body=encode(members))


def _check_user(doc_id: DocId, members: Mapping[str, Any]) -> None:
    if members.get("type") != "user":
        raise _bad_user("doc.type must be user")
    if not isinstance(members.get("name"), str) or doc_id != user_id(members["name"]) or ":" in members["name"]:
        raise _bad_user("doc.name must be the id without its prefix, and have no colon")
    roles = members.get("roles")
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise _bad_user("doc.roles must be a list of strings")
    if any(role.startswith("_") for role in roles):
        raise _bad_user(f"no role may start with an underscore; {ADMIN_ROLE} comes from the server's own settings")


def _check_own(members: Mapping[str, Any], before: Mapping[str, Any] | None) -> None:
    if before is None:
        raise forbidden("Only administrators may make users.")
    if members.get("roles") != before.get("roles"):
        raise forbidden("Only administrators may change roles.")


def _bad_user(reason: str) -> HttpRefusal:
    return forbidden(reason)
