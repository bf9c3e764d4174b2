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
from icure_sync.hub.errors import conflict, forbidden
from icure_sync.hub.passwords import PasswordHash
from icure_sync.hub.paths import DESIGN
from icure_sync.hub.security import Caller
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

    `before`: the members of the winner, None for a new user. Raises forbidden, conflict, bad_request.
    """
    if draft.id.startswith(DESIGN):
        return draft  # an administrator's, or it would not have come here
    if draft.deleted:
        if not caller.is_admin:
            raise forbidden("Only administrators may delete users.")
        return draft
    members = bodies.decode(draft.body, _MEMBERS)
    _check_user(draft.id, members)
    if not caller.is_admin:
        _check_own(members, before)
        if draft.rev is None:  # he may be deleted while this hashes: then such a draft would make him anew
            raise conflict()
    password = members.pop("password", None)
    if isinstance(password, str):
        for name in _HASH_MEMBERS:
            members.pop(name, None)
        members |= PasswordHash.of(password, rounds, os.urandom).to_members()
    elif password is not None:
        raise forbidden(f"Password value of '{encode(password).decode()[:80]}' is invalid.")
    return replace(draft, body=encode(members))


def _check_user(doc_id: DocId, members: Mapping[str, Any]) -> None:
    """What the users database of a CouchDB asks of every document, administrators' too. Raises forbidden."""
    name, roles = members.get("name"), members.get("roles")
    wrong = (
        (members.get("type") != "user", "doc.type must be user"),
        (not name, "doc.name is required"),
        (roles is None, "doc.roles must exist"),
        (not isinstance(roles, list), "doc.roles must be an array"),
        (not all(isinstance(role, str) for role in roles or ()), "doc.roles can only contain strings"),
        (doc_id != f"{PREFIX}{name}" or not isinstance(name, str), f"Doc ID must be of the form {PREFIX}name"),
        (
            any(isinstance(role, str) and role.startswith("_") for role in roles or ()),
            "No system roles (starting with underscore) in users db.",
        ),
        (str(name).startswith("_"), "Username may not start with underscore."),
        (":" in str(name), "Character `:` is not allowed in usernames."),
    )
    for is_wrong, reason in wrong:
        if is_wrong:
            raise forbidden(reason)


def _check_own(members: Mapping[str, Any], before: Mapping[str, Any] | None) -> None:
    if before is None:
        raise forbidden("Only administrators may make users.")
    if members.get("roles") != before.get("roles"):
        raise forbidden("Only administrators may change roles.")
