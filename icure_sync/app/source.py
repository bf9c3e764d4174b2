"""Which server a new device begins with: `--server`, else the variable ICURE_SYNC_SERVER. A password that is in neither
is asked for: on a command line other users of the machine could read it. Knows no server.
"""

from __future__ import annotations

import argparse
import os
import sys
from urllib.parse import quote

from icure_sync import parse_address
from icure_sync.app.server_login import asked
from icure_sync.errors import InvalidEntity, Unauthorized

VARIABLE = "ICURE_SYNC_SERVER"


def named_server(args: argparse.Namespace) -> str:
    """The address, with the password if it names a user. Raises InvalidEntity; Unauthorized if there is no password and
    nobody to be asked."""
    given: str | None = args.server or os.environ.get(VARIABLE)
    if not given:
        raise InvalidEntity("find the server", "none is named", f"give --server, or set {VARIABLE}")
    address = parse_address(given)  # a mistake in it shows now
    named = address.credentials
    if named is None or named.password:
        return given
    if not sys.stdin.isatty():
        step = f"set {VARIABLE}=http://user:password@host:5984/database, or run in a terminal to be asked for it"
        raise Unauthorized(f"log in to {address}", "no password is known", step)
    password = asked(f"Password of {named.user} on {address}: ")
    scheme, _, rest = given.partition("://")
    return f"{scheme}://{quote(named.user, safe='')}:{quote(password, safe='')}@{rest.partition('@')[2]}"
