"""Making a home out of an identity that came from a server, so that a kill at any moment leaves nothing in the way.

The home is made in a folder beside its own, and moved there when it is whole; what an interrupted run left beside it is
cleared away by the next one. Where the home is made already, the run goes on with it. Knows not where the identity came
from.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from icure_sync import CouchPeer, Identity, Replica, SyncReport
from icure_sync.app.home import CA_SETTING, CONFIG, Begin, Home, create_home, folder_of, open_home
from icure_sync.app.passphrases import new_passphrase, unlocked
from icure_sync.errors import InvalidEntity, StoreFull


@dataclass(frozen=True, slots=True)
class Restored:
    """A home that has met the server."""

    home: Home
    report: SyncReport


def require_room(args: argparse.Namespace) -> Path:
    """The folder of the home. Raises InvalidEntity if it holds something that is no home, before anybody is asked for
    anything."""
    folder = folder_of(getattr(args, "home", None))
    if (folder / CONFIG).exists() or not folder.exists():
        return folder
    try:
        if any(folder.iterdir()):
            raise InvalidEntity(f"make a home in {folder}", "the folder is not empty", "name another with --home")
    except OSError as error:
        raise InvalidEntity(f"make a home in {folder}", str(error.strerror), "name another with --home") from error
    return folder


def restore_home(args: argparse.Namespace, folder: Path, identity: Identity, begin: Begin) -> Restored:
    """The home of this identity, synced with `args.server`. `begin` is done once, before anything else is.

    Raises InvalidEntity if the folder is the home of another; WrongPassphrase; StoreFull; the kinds of PeerError, after
    which the home is there, and either this or a sync goes on.
    """
    if (folder / CONFIG).exists():
        home = open_home(folder)
        if home.hcp_id != identity.hcp_id:
            wrong = f"it is that of {home.hcp_id}, and the code is that of {identity.hcp_id}"
            raise InvalidEntity(f"make a home in {folder}", wrong, "name another with --home")
        passphrase, _ = unlocked(args, home.identity)
        return asyncio.run(_synced(args, home, passphrase))
    passphrase = new_passphrase(args)

    async def run() -> Restored:
        return await _synced(args, await made_home(args, folder, identity, passphrase, begin), passphrase)

    return asyncio.run(run())


async def made_home(args: argparse.Namespace, folder: Path, identity: Identity, passphrase: str, begin: Begin) -> Home:
    """A new home in a folder that is empty or not there, whole or not at all. Raises StoreFull."""
    beside = folder.with_name(f".{folder.name}.unfinished")

    async def begun(replica: Replica) -> None:
        if args.ca is not None:
            await replica.keep_setting(CA_SETTING, args.ca)
        await begin(replica)

    try:
        shutil.rmtree(beside, ignore_errors=True)
        home = await create_home(beside, identity, passphrase, args.server, begun)
        beside.replace(folder)
    except OSError as error:
        raise StoreFull(
            f"make a home in {folder}", str(error.strerror), "free space, or name another folder"
        ) from error
    return replace(home, folder=folder)


async def _synced(args: argparse.Namespace, home: Home, passphrase: str) -> Restored:
    async with home.replica(passphrase) as replica, CouchPeer(args.server, ca=args.ca) as peer:
        return Restored(home, await replica.sync(peer))
