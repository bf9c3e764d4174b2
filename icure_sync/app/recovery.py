"""`recovery`: codes and shares that give an Hcp its identity back when all its devices are gone. Knows no keys.

A code is shown once, where it is made, and kept nowhere.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from icure_sync import CouchPeer, Identity, Recovery, RecoverySecret, Replica, Share, recover
from icure_sync.app.codes import Given, given_secret, given_shares, keep_quiet
from icure_sync.app.home import in_replica
from icure_sync.app.output import Answer, counted, local_time, table
from icure_sync.app.restoring import require_room, restore_home
from icure_sync.app.source import named_server
from icure_sync.errors import InvalidEntity

SET_NAMED = len("recovery-0123456789")  # characters: what shares say of their set is enough to name it
WITHDRAWN = (
    "A server that does as it is told gives it to nobody any more. If somebody may have it, and a copy of what the\n"
    "server held, only a new identity shuts him out: see icure-sync device revoke."
)


def new(args: argparse.Namespace) -> Answer:
    """A new code; the one before is withdrawn."""

    async def work(replica: Replica) -> Answer:
        before = [each.id for each in await replica.recovery.standing() if each.split is None]
        secret = await replica.recovery.new_code()
        lines = [code_text(secret, str(replica.hcp_id)), "It can be used once this device has synced."]
        if before:
            lines += ["The code before it is withdrawn with the same sync.", WITHDRAWN]
        return Answer({"recoveryCode": secret.code, "withdrawn": before}, "\n".join(lines))

    return in_replica(args, work)


def split(args: argparse.Namespace) -> Answer:
    """Shares of a secret of its own."""

    async def work(replica: Replica) -> Answer:
        shares = await replica.recovery.split(args.shares, args.threshold)
        text = (
            f"{shares_text(shares)}\n\nAny {args.threshold} of them together are {replica.hcp_id}; fewer are nothing. "
            "They can be used once this device\nhas synced. Other shares and the printed code stay as they are. "
            f"To let these recover nothing any more:\nicure-sync recovery withdraw recovery-{shares[0].set_id}"
        )
        return Answer(shares_value(shares), text)

    return in_replica(args, work)


def combine(args: argparse.Namespace) -> Answer:
    """Shares into the code that they stand for, to be used elsewhere."""
    secret = given_shares(args).secret
    _refuse_glass(secret)
    keep_quiet(secret.code)
    return Answer(
        {"recoveryCode": secret.code}, f"{secret.code}\nUse it with icure-sync recovery restore --server URL."
    )


def list_all(args: argparse.Namespace) -> Answer:
    """Which codes and shares stand."""

    async def work(replica: Replica) -> Answer:
        found = await replica.recovery.standing()
        epoch = replica.recovery.epoch
        items = [_as_json(each, epoch) for each in found]
        rows = [
            [each.id, _kind(each), local_time(each.made), "" if each.epoch == epoch else "a former identity"]
            for each in found
        ]
        text = table(["ID", "WHAT", "MADE", "OPENS"], rows) if rows else "There is none: icure-sync recovery new"
        return Answer({"items": items}, text)

    return in_replica(args, work)


def withdraw(args: argparse.Namespace) -> Answer:
    """Let a code or a set of shares recover nothing any more."""

    async def work(replica: Replica) -> Answer:
        standing = [each.id for each in await replica.recovery.standing()]
        named = [id_ for id_ in standing if id_.startswith(args.id) and len(args.id) >= SET_NAMED]
        gone = await replica.recovery.withdraw(named[0] if len(named) == 1 else args.id)
        return Answer({"id": gone.id}, f"{gone.id} ({_kind(gone)}) is withdrawn with the next sync.\n{WITHDRAWN}")

    return in_replica(args, work)


def restore(args: argparse.Namespace) -> Answer:
    """A home on this device from a code or shares, and the server. Interrupted, it is run again."""
    args.server = named_server(args)
    folder = require_room(args)
    given = given_secret(args)
    identity = asyncio.run(_recovered(args, given))

    async def begin(replica: Replica) -> None:
        await replica.recovery.recovered([share.index for share in given.shares])

    restored = restore_home(args, folder, identity, begin)
    home = restored.home
    again = "icure-sync recovery split" if given.shares else "icure-sync recovery new"
    return Answer(
        {
            "home": str(home.folder),
            "hcpId": home.hcp_id,
            "name": home.name,
            "fingerprint": identity.fingerprint,
            "pulled": restored.report.pulled,
        },
        f"{home.folder} is the home of {home.name} ({home.hcp_id}) on this device; "
        f"{counted(restored.report.pulled, 'document')} pulled.\n"
        "If a device was lost or stolen, shut it out: icure-sync device revoke.\n"
        f"What was just used has been seen by this machine: {again} makes another.",
    )


def code_text(secret: RecoverySecret, hcp_id: str) -> str:
    """A new code, for a person."""
    keep_quiet(secret.code)
    return (
        f"THE RECOVERY CODE, SHOWN THIS ONCE AND KEPT NOWHERE:\n\n    {secret.code}\n\n"
        f"Write it on paper, and keep it away from this device. It brings {hcp_id} back when all devices are gone;\n"
        f"whoever else has it is {hcp_id}."
    )


def shares_text(shares: tuple[Share, ...]) -> str:
    """New shares, for a person to hand out."""
    keep_quiet(*(share.text for share in shares))
    lines = [f"share {share.index} of {share.split.count}: {share.text}" for share in shares]
    return "THE SHARES, SHOWN THIS ONCE AND KEPT NOWHERE, EACH FOR ANOTHER PERSON:\n\n" + "\n".join(lines)


def shares_value(shares: tuple[Share, ...]) -> dict[str, Any]:
    """The same for machines."""
    split = shares[0].split
    texts = [share.text for share in shares]
    return {"set": shares[0].set_id, "threshold": split.threshold, "count": split.count, "shares": texts}


def _as_json(recovery: Recovery, epoch: int) -> dict[str, Any]:
    split = recovery.split
    return {
        "id": recovery.id,
        "kind": "code" if split is None else "shares",
        "threshold": None if split is None else split.threshold,
        "count": None if split is None else split.count,
        "made": recovery.made,
        "current": recovery.epoch == epoch,
    }


def _kind(recovery: Recovery) -> str:
    split = recovery.split
    return "a code" if split is None else f"shares, {split.threshold} of {split.count}"


def _refuse_glass(secret: RecoverySecret) -> None:
    if secret.purpose != "recovery":
        raise InvalidEntity(
            "combine the shares", "they are of an emergency access", "use them with icure-sync break-glass open"
        )


async def _recovered(args: argparse.Namespace, given: Given) -> Identity:
    async with CouchPeer(args.server, ca=args.ca) as peer:
        return await recover(peer, given.secret)
