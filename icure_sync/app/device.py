"""`init` and `identity export`: how a device comes to its home, and how a second one of the same Hcp does."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from icure_sync import Identity, RecoverySecret, Replica, parse_address
from icure_sync.app.home import Home, create_home, folder_of, open_home, read_file, refuse_taken, write_file
from icure_sync.app.output import Answer
from icure_sync.app.passphrases import new_passphrase, unlocked
from icure_sync.app.recovery import code_text
from icure_sync.app.rewriting import IDENTITY


def init(args: argparse.Namespace) -> Answer:
    """Make a home, for a new Hcp or for the one of an exported identity."""
    if args.server is not None:
        parse_address(args.server)  # a mistake in it shows now, not at the first sync
    folder = folder_of(getattr(args, "home", None))
    refuse_taken(folder)
    identity, passphrase = _existing_identity(args) if args.identity else _new_identity(args)
    made: list[RecoverySecret] = []

    async def begin(replica: Replica) -> None:
        if not (args.identity or args.no_recovery_code):
            made.append(await replica.recovery.new_code())

    home = asyncio.run(create_home(folder, identity, passphrase, args.server, begin))
    return Answer(
        {
            "home": str(home.folder),
            "hcpId": home.hcp_id,
            "name": home.name,
            "fingerprint": identity.fingerprint,
            "recoveryCode": made[0].code if made else None,
        },
        f"{home.folder} is the home of {home.name} ({home.hcp_id}) on this device.\n"
        "Without the passphrase nobody can open it, and nobody can reset it: keep it safe."
        + "".join(f"\n\n{code_text(secret, home.hcp_id)}" for secret in made),
    )


def export_identity(args: argparse.Namespace) -> Answer:
    """Write the identity to a file, locked by the passphrase of this home."""
    home = open_home(folder_of(getattr(args, "home", None)))
    passphrase, _ = unlocked(args, home.identity)  # only who knows the passphrase may take it away
    path = Path(args.file)
    asyncio.run(_note_export(home, passphrase))  # first: what leaves must not leave unseen
    write_file(path, read_file(home.folder / IDENTITY))
    return Answer(
        {"file": str(path), "hcpId": home.hcp_id},
        f"{path} holds the identity of {home.name}, locked by the passphrase of this home.\n"
        f"On the other device: icure-sync init --identity {path.name}",
    )


async def _note_export(home: Home, passphrase: str) -> None:
    async with home.replica(passphrase) as replica:
        await replica.trail.note("exported", home.hcp_id, type="Identity")


def _new_identity(args: argparse.Namespace) -> tuple[Identity, str]:
    if args.hcp_id is None or args.name is None:
        args.usage_error("give --hcp-id and --name for a new Hcp, or --identity with the file of an existing one")
    passphrase = new_passphrase(args)
    return Identity.create(hcp_id=args.hcp_id, name=args.name), passphrase


def _existing_identity(args: argparse.Namespace) -> tuple[Identity, str]:
    if args.hcp_id is not None or args.name is not None:
        args.usage_error("give --identity alone: the file says whose it is")
    locked = read_file(Path(args.identity))
    passphrase, identity = unlocked(args, lambda typed: Identity.unlock(locked, typed))
    return identity, passphrase
