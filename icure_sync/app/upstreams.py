"""The servers that a hub stands in front of: which they are, and with which logins. Knows no protocol.

An address on the command line has no login: other users of the machine could read it. Logins are in a file of their
own, or in the variable ICURE_SYNC_HUB_UPSTREAM: one `user:password` for all, or a line `NAME=user:password` for each.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from icure_sync import Upstream, parse_address
from icure_sync.app.output import Answer, printable
from icure_sync.app.text_files import read_text
from icure_sync.errors import InvalidEntity

VARIABLE = "ICURE_SYNC_HUB_UPSTREAM"
FILE_SIZE_MOST = 64 * 1024  # bytes of a file of logins; more is some other file
_ALL = ""  # whose login is given without a name


@dataclass(frozen=True, slots=True)
class Given:
    """A database of the hub, and its upstream's address with its login."""

    name: str
    url: str = field(repr=False)
    ca: str | None


def given_upstreams(args: argparse.Namespace) -> Sequence[Given]:
    """What `--upstream` names. Raises InvalidEntity for addresses, files and logins that cannot be used."""
    if not args.upstream:
        if args.upstream_login is not None or args.upstream_ca is not None:
            args.usage_error(
                "--upstream-login and --upstream-ca need --upstream: without it there is no server to reach"
            )
        return ()
    logins = _logins(args.upstream_login)
    found = []
    for name, url in args.upstream:
        login = logins.get(name) or logins.get(_ALL)
        found.append(Given(name, _with_login(url, login), args.upstream_ca))
    return found


def told(upstream: Upstream) -> Answer:
    """A change of the state of one."""
    value = {
        "database": upstream.database,
        "server": upstream.server,
        "state": upstream.state,
        "trouble": upstream.trouble,
    }
    because = f": {printable(upstream.trouble)}" if upstream.trouble else ""
    return Answer({"upstream": value}, f"{upstream.database} and {upstream.server}: {upstream.state}{because}")


def _logins(file: str | None) -> Mapping[str, tuple[str, str]]:
    """User and password by name."""
    if file is None:
        text = os.environ.get(VARIABLE, "")
    else:
        text = read_text(Path(file), FILE_SIZE_MOST, f"read the logins in {file}", "a file of logins, a line each")
    source = VARIABLE if file is None else file
    found: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        user, colon, password = line.partition(":")
        name, equals, named = user.partition("=")
        if equals:
            user = named
        if not (user and colon and password):
            raise InvalidEntity(f"read {source}", "a line is no login", "write NAME=user:password, a line each")
        found[name if equals else _ALL] = (user, password)
    return found


def _with_login(url: str, login: tuple[str, str] | None) -> str:
    if parse_address(url).credentials is not None:
        raise InvalidEntity(
            "read the address of an upstream",
            "it holds a login, which other users of this machine could read",
            f"set {VARIABLE}=user:password, or name a file with it by --upstream-login",
        )
    if login is None:
        return url
    user, password = (quote(part, safe="") for part in login)
    scheme, _, rest = url.partition("//")
    return f"{scheme}//{user}:{password}@{rest}"
