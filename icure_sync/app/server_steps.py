"""What makes a server ready, step by step: the database, its `_security`, the index, users for devices, strangers kept
out. Blocks; prints nothing.

Each step looks first and writes only what lacks, so that a second run changes nothing. What others have set up stays:
entries of a `_security`, other members of the design document, users and their passwords.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from icure_sync.app.server_design import BY_DELEGATE, DESIGN, brought_up_to_date
from icure_sync.app.server_link import Link, Missing
from icure_sync.app.server_login import Login
from icure_sync.errors import BadAnswer, ConflictError, Forbidden, InvalidEntity, Unauthorized

ADMIN_ROLE = "_admin"
USERS = "_users"
_USER = "org.couchdb.user:"
_REQUIRE = ("_config", "chttpd", "require_valid_user")

_PAUSES = (0.1, 0.3, 0.9)  # seconds, up to twice as long, after somebody else's change: his next one has come by then

Result = TypeVar("Result")


class State(StrEnum):
    """What a step came to."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REMOVED = "removed"
    UNCERTAIN = "uncertain"  # it was asked for, and no answer came


def device_role(database: str) -> str:
    """The role of the devices that sync with a database: it makes its holders members, and nothing else."""
    return f"icure-sync:{database}"


def settled(step: Callable[[], Result]) -> Result:
    """A step, again if somebody else makes the same at the same time: it looks first, and then finds that.

    Raises what the step does; ConflictError if it never stops.
    """
    for pause in _PAUSES:
        try:
            return step()
        except ConflictError:
            time.sleep(pause * (1 + random.random()))  # noqa: S311  # keeps no secret: two shall not meet again
    return step()


def first_look(link: Link, server: str) -> bool:
    """Before a login is sent: does it answer strangers? Raises Forbidden if it has no administrator; BadAnswer."""
    try:
        roles = _roles(link.get("_session"), server)
    except Unauthorized:
        return False
    if ADMIN_ROLE in roles:
        raise Forbidden(
            f"provision {server}",
            "the server has no administrator: anybody may do anything there",
            "give it one first ([admins] in local.ini, or PUT /_node/_local/_config/admins/NAME)",
        )
    return True


def enter(link: Link, server: str, login: Login) -> bool:
    """Log in. Is it a hub? Those show no settings. Raises Unauthorized, Throttled, Forbidden for no administrator."""
    link.log_in(login)
    if ADMIN_ROLE not in _roles(link.get("_session"), server):
        raise Forbidden(f"provision {server}", f"{login.user} is no administrator of the server", "log in as one")
    try:
        return isinstance(link.get("_node", "_local", "_config", "chttpd"), Missing)
    except Forbidden:  # somebody runs it for others, and keeps its settings to himself
        return False


def database(link: Link, name: str) -> State:
    """Make the database if it is not there. Raises InvalidEntity for a name that the server does not allow."""
    if not isinstance(link.get(name), Missing):
        return State.UNCHANGED
    try:
        link.put(name, body=None)
    except InvalidEntity as error:
        raise InvalidEntity(
            error.attempted, "the server does not allow this name", "begin with a letter; use a-z, 0-9, _$()+/-"
        ) from error
    return State.CREATED


def security(link: Link, name: str) -> State:
    """Let the devices' role in, as members."""
    before = _object(link.get(name, "_security"))
    members, admins = (_object(before.get(who, {})) for who in ("members", "admins"))
    roles = [*members.get("roles", [])]
    if device_role(name) not in roles:
        roles.append(device_role(name))
    if not (admins.get("names") or admins.get("roles")):
        admins = {**admins, "roles": [ADMIN_ROLE]}  # else no more than a server's own default, said aloud
    after = {**before, "admins": admins, "members": {**members, "roles": roles}}
    if after == before:
        return State.UNCHANGED
    link.put(name, "_security", body=after)
    return State.UPDATED


def index(link: Link, name: str, *, validate: bool) -> State:
    """Store the design document. Raises InvalidEntity for a validation function of somebody else's."""
    stored = link.get(name, *DESIGN.split("/"))
    before = None if isinstance(stored, Missing) else _object(stored)
    after = brought_up_to_date(before, validate=validate)
    if after is None:
        return State.UNCHANGED
    link.put(name, *DESIGN.split("/"), body=after)
    return State.CREATED if before is None else State.UPDATED


def begin_index(link: Link, name: str) -> None:
    """Have a CouchDB build its views now, in the background: the first device need not wait for that."""
    link.get(name, *DESIGN.split("/"), "_view", BY_DELEGATE, limit=0, update="lazy")


def new_user(link: Link, name: str, role: str, password: str) -> State:
    """Raises ConflictError if there is one already: somebody else may have shown him another password by now."""
    link.put(USERS, _USER + name, body={"name": name, "type": "user", "roles": [role], "password": password})
    return State.CREATED


def user(link: Link, name: str, role: str, password: str | None) -> State:
    """Give a user who is there the role, and the password unless it is None."""
    before = _object(link.get(USERS, _USER + name))
    roles = before.get("roles", [])
    after = {**before, "roles": roles if role in roles else [*roles, role]}
    if password is not None:
        after["password"] = password
    if after == before:
        return State.UNCHANGED
    link.put(USERS, _USER + name, body=after)
    return State.UPDATED


def remove_user(link: Link, name: str) -> State:
    """Nobody logs in as him any more, and whoever is logged in is so no more."""
    before = link.get(USERS, _USER + name)
    if isinstance(before, Missing) or isinstance(
        link.delete(USERS, _USER + name, rev=_object(before)["_rev"]), Missing
    ):
        return State.UNCHANGED
    return State.REMOVED


def user_is_there(link: Link, name: str) -> bool:
    """Makes the `_users` database of a CouchDB that was never set up."""
    database(link, USERS)
    return not isinstance(link.get(USERS, _USER + name), Missing)


def administrators(link: Link, name: str, names: Sequence[str]) -> list[str]:
    """Which of these users may write design documents in the database: more than a device should."""
    admins = _object(_object(link.get(name, "_security")).get("admins", {}))
    found = []
    for one in names:
        roles = _object(link.get(USERS, _USER + one)).get("roles", [])
        if one in admins.get("names", []) or set(roles) & {*admins.get("roles", [])}:
            found.append(one)
    return found


def close(link: Link) -> State:
    """Set `require_valid_user` on every node of the server. Raises Forbidden where that is not permitted."""
    state = State.UNCHANGED
    for node in _object(link.get("_membership")).get("cluster_nodes", []):
        if link.get("_node", node, *_REQUIRE) == "true":
            continue
        if isinstance(link.put("_node", node, *_REQUIRE, body="true"), Missing):
            raise Forbidden("set require_valid_user", "the server does not let it be set", "ask whoever runs it")
        state = State.UPDATED
    return state


def _roles(session: Any, server: str) -> frozenset[str]:
    """Of `GET /_session`: whom the server takes us for."""
    match session:
        case {"userCtx": {"roles": [*roles]}}:
            return frozenset(role for role in roles if isinstance(role, str))
    raise BadAnswer(f"provision {server}", "it does not answer like a CouchDB server", "check address and port")


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadAnswer(
            "provision a server", "it does not answer like a CouchDB server", "check address, port and database"
        )
    return value
