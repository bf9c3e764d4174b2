"""`server forget`: takes the account of a lost device away, on a CouchDB or a hub. Knows no keys and no records.

A device that is revoked is shut out of what is written from then on. This shuts it out of the server: without its user
it can fetch nothing, not even that it was revoked, and send nothing.
"""

from __future__ import annotations

import argparse
import os

from icure_sync import parse_address, proxy_for
from icure_sync.app import server_steps
from icure_sync.app.output import Answer
from icure_sync.app.server_link import connected
from icure_sync.app.server_login import administrator
from icure_sync.app.server_steps import State, settled
from icure_sync.errors import InvalidEntity


def forget(args: argparse.Namespace) -> Answer:
    """Remove these users; one that is not there is as good as removed. Raises the kinds of PeerError, InvalidEntity."""
    address = parse_address(args.url)
    names = tuple(dict.fromkeys(args.device))
    attempted = f"forget {', '.join(names)} on {address.server}"
    with connected(address.server, proxy_for(address, os.environ), attempted, args.ca) as link:
        server_steps.first_look(link, address.server)
        login = administrator(address.server, address.credentials)
        if login.user in names:
            raise InvalidEntity(attempted, f"{login.user} is the administrator that is logged in", "name a device")
        server_steps.enter(link, address.server, login)
        states = {name: settled(lambda name=name: server_steps.remove_user(link, name)) for name in names}  # type: ignore[misc]  # bound at once
    lines = [
        f"{name} may not log in on {address.server} any more; where it was logged in, it is no longer."
        if state is State.REMOVED
        else f"There is no user {name} on {address.server}."
        for name, state in states.items()
    ]
    return Answer({"devices": [{"name": name, "state": state} for name, state in states.items()]}, "\n".join(lines))
