"""With which login a server is provisioned, and which passwords its devices get: never typed on a command line that
other users of the machine can read. Knows no server.

The administrator's login comes from the address, from ICURE_SYNC_SERVER_ADMIN, or from a prompt, in this order.
"""

from __future__ import annotations

import getpass
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from icure_sync.errors import InvalidEntity, Unauthorized

VARIABLE = "ICURE_SYNC_SERVER_ADMIN"
PASSWORD_BYTES = 18  # of chance in a generated password: 24 letters that need no quoting
LINE_MOST = 1024  # characters of a password that is read; more is some other file


@dataclass(frozen=True, slots=True)
class Login:
    """A user's name and password. Neither shows in a repr."""

    user: str = field(repr=False)
    password: str = field(repr=False)


class Named(Protocol):
    """What an address says of a login; the password may be empty."""

    @property
    def user(self) -> str: ...

    @property
    def password(self) -> str: ...


def administrator(server: str, named: Named | None) -> Login:
    """Who provisions `server`. `named`: the login in its address, if there is one.

    Raises Unauthorized if there is no way to know, InvalidEntity for a variable that is not user:password.
    """
    if named is not None and named.password:
        return Login(named.user, named.password)
    known = _from_variable()
    if known is not None and (named is None or named.user == known.user):
        return known
    if named is not None and sys.stdin.isatty():
        return Login(named.user, asked(f"Password of {named.user} on {server}: "))
    raise Unauthorized(
        f"log in to {server}",
        "no administrator's password is known",
        f"set {VARIABLE}=user:password, or write the address as http://user@host:5984/database to be asked for it",
    )


def generated_password() -> str:
    """A password that nobody guesses; letters, digits, - and _."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def passwords_from_input(names: Sequence[str]) -> list[str]:
    """One line of standard input for each name, in their order. Raises InvalidEntity if one lacks or is empty."""
    passwords = []
    for name in names:
        line = sys.stdin.readline(LINE_MOST + 1)
        password = line.removesuffix("\n").removesuffix("\r")
        if not password or len(line) > LINE_MOST or not password.isprintable():
            raise InvalidEntity(
                f"read the password of {name} from standard input",
                "there is none" if not password else "it is too long, or has control characters",
                "give one line for each --device, in their order",
            )
        passwords.append(password)
    return passwords


def _from_variable() -> Login | None:
    login = os.environ.get(VARIABLE)
    if not login:
        return None
    user, separator, password = login.partition(":")
    if not (user and separator and password):
        raise InvalidEntity(f"read {VARIABLE}", "it is not user:password", "write it so, or leave it unset")
    return Login(user, password)


def asked(question: str) -> str:
    """A password that a person types. Raises Unauthorized."""
    try:
        password = getpass.getpass(question)
    except EOFError:
        password = ""
    if not password:
        raise Unauthorized("log in", "no password was typed", "try again")
    return password
