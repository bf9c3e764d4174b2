"""`passphrase change`: another passphrase for a home. Knows no records.

The replica is open meanwhile, so no other process has the home: a device that is being revoked or a live sync would
write the same files, or go on believing in what they were. What is locked does not change, so copies made before
(backups, exported identities) go on opening by the old passphrase.
"""

from __future__ import annotations

import argparse
import asyncio

from icure_sync import Replica, relock
from icure_sync.app.home import REPLICA, Home, folder_of, open_home, read_file
from icure_sync.app.output import Answer
from icure_sync.app.passphrases import next_passphrase, unlocked
from icure_sync.app.rewriting import LOCKED_FILES, rewrite


def change(args: argparse.Namespace) -> Answer:
    """Lock the identity and the replica of this home by a new passphrase. After a crash either opens both."""
    home = open_home(folder_of(getattr(args, "home", None)))
    old, _ = unlocked(args, home.identity)
    new = next_passphrase(args)
    asyncio.run(_change(home, old, new))
    return Answer(
        {"home": str(home.folder), "hcpId": home.hcp_id},
        f"{home.folder} opens with the new passphrase from now on, and with no other.\n"
        "Copies that were made before, backups and exported identities, still open with the old one.",
    )


async def _change(home: Home, old: str, new: str) -> None:
    """Raises StoreLocked if another process has the home, WrongPassphrase, StoreCorrupt, StoreFull."""
    async with Replica.open(home.folder / REPLICA, None, passphrase=old):
        rewrite(home.folder, {name: relock(read_file(home.folder / name), old, new) for name in LOCKED_FILES})
