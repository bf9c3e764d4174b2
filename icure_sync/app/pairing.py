"""`device pair` and `device approve`: how a person makes a second device one of an Hcp's.

The new device shows a code, and the person types it on an old one: that is how the two know each other, and what no
server can see. What one of them has to tell meanwhile goes to standard error; what came of it is the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from icure_sync import CouchPeer, Identity, NewDevice, Replica
from icure_sync.app.codes import keep_quiet
from icure_sync.app.home import Home, folder_of, open_home, refuse_taken
from icure_sync.app.output import Answer, printable
from icure_sync.app.passphrases import new_passphrase, unlocked
from icure_sync.app.qr import qr_lines
from icure_sync.app.restoring import made_home, require_room
from icure_sync.app.source import named_server
from icure_sync.app.syncing import as_json, as_text, server_of
from icure_sync.errors import InvalidEntity, WrongCode

LINE_MOST = 200  # characters of a typed code: more is something else
FINGERPRINT_GROUP = 4


def pair(args: argparse.Namespace) -> Answer:
    """Make a home here with the identity that another device gives. Interrupted, it is run again."""
    args.server = named_server(args)
    folder = require_room(args)
    refuse_taken(folder)
    passphrase = new_passphrase(args)  # before the loop runs: a prompt must end at the first Ctrl-C
    return asyncio.run(_paired(args, folder, passphrase))


def approve(args: argparse.Namespace) -> Answer:
    """Give the identity of this home to the device that shows the code."""
    home = open_home(folder_of(getattr(args, "home", None)))
    passphrase, identity = unlocked(args, home.identity)
    while True:
        code = _typed_code()
        try:
            fingerprint = asyncio.run(_approved(args, home, passphrase, identity, code))
        except WrongCode as error:
            if not (error.left and sys.stdin.isatty()):
                raise
            _tell(f"{error.wrong[:1].upper()}{error.wrong[1:]}; {error.next_step}.")
        else:
            text = f"The new device has the identity of {home.name} ({home.hcp_id}).\n{_shown(fingerprint)}"
            return Answer({"hcpId": home.hcp_id, "name": home.name, "fingerprint": fingerprint}, text)


async def _paired(args: argparse.Namespace, folder: Path, passphrase: str) -> Answer:
    async with CouchPeer(args.server, ca=args.ca) as peer:
        async with NewDevice.pairing(peer, told=_tell) as new:
            keep_quiet(new.code)
            _show_code(new.code, drawn=sys.stderr.isatty() and not getattr(args, "json", False))
            identity = await new.identity()

            async def begin(replica: Replica) -> None:
                await replica.trail.note("joined", identity.hcp_id, type="Identity")

            home = await made_home(args, folder, identity, passphrase, begin)
            await new.kept()
        value = {
            "home": str(home.folder),
            "hcpId": home.hcp_id,
            "name": home.name,
            "fingerprint": identity.fingerprint,
        }
        text = (
            f"{home.folder} is the home of {home.name} ({home.hcp_id}) on this device.\n{_shown(identity.fingerprint)}"
        )
        if not args.sync:
            return Answer(value, f"{text}\nicure-sync sync fetches the records.")
        _tell("The home is made. Fetching the records.")
        async with home.replica(passphrase, identity) as replica:
            report = await replica.sync(peer)
        return Answer({**value, "sync": as_json(report)}, f"{text}\n{as_text(report)}")


async def _approved(args: argparse.Namespace, home: Home, passphrase: str, identity: Identity, code: str) -> str:
    async with home.replica(passphrase, identity) as replica:
        server = await server_of(args, replica)
        async with CouchPeer(server.url, ca=server.ca) as peer:
            return await replica.pairings.approve(peer, code, told=_tell)


def _typed_code() -> str:
    """The code that the new device shows, from a person or a scanner that types."""
    if sys.stdin.isatty():
        sys.stderr.write("The code that the new device shows: ")
        sys.stderr.flush()
    code = sys.stdin.readline(LINE_MOST)
    if not code.strip():
        raise InvalidEntity("read the code", "there is none", "type it, or give it as a line of standard input")
    keep_quiet(code.strip())
    return code


def _show_code(code: str, *, drawn: bool) -> None:
    digits = code.replace("-", "")
    lines = [
        "On a device that has the identity already, run",
        "",
        "    icure-sync device approve",
        "",
        "and type or scan this code there within ten minutes:",
        "",
        f"    {code}",
        "",
        *([*qr_lines(digits), ""] if drawn else []),
    ]
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()


def _shown(fingerprint: str) -> str:
    groups = [fingerprint[at : at + FINGERPRINT_GROUP] for at in range(0, len(fingerprint), FINGERPRINT_GROUP)]
    return f"Fingerprint, the same on both devices: {' '.join(groups)}"


def _tell(sentence: str) -> None:
    sys.stderr.write(printable(sentence) + "\n")
    sys.stderr.flush()
