"""`device revoke` and `device adopt`: a person shuts a lost device out, and lets the others go on. Knows no keys.

Revoking gives the Hcp a new identity. What a person must see of it, the number and the recovery code, is shown before
the replica forgets it: interrupted, the command is run again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from icure_sync import CouchPeer, Device, Glass, Identity, Offered, Replica, Succession, parse_address
from icure_sync.app.home import CA_SETTING, SERVER_SETTING, Home, folder_of, open_home
from icure_sync.app.output import Answer, number_lines, printable, show
from icure_sync.app.passphrases import unlocked
from icure_sync.app.recovery import code_text
from icure_sync.errors import IcureSyncError, InvalidEntity, UntrustedKey

LINE_MOST = 200  # characters of what is typed: more is something else
_YES = "yes"


@dataclass(frozen=True, slots=True)
class _Done:
    """What a person is told of. `unsynced`: why the server has not heard of it yet, None if it has."""

    hcp_id: str
    names: tuple[str, ...]
    succession: Succession
    glasses: tuple[Glass, ...]
    server: str | None
    unsynced: str | None


def revoke(args: argparse.Namespace) -> None:
    """Shut devices out. Run again, with the same names or none, it shows what was not shown yet."""
    home = open_home(folder_of(getattr(args, "home", None)))
    passphrase, identity = unlocked(args, home.identity)
    asyncio.run(_revoke(args, home, passphrase, identity))


def adopt(args: argparse.Namespace) -> Answer:
    """Show the number to compare; with a person's word, take the new identity over."""
    home = open_home(folder_of(getattr(args, "home", None)))
    passphrase, identity = unlocked(args, home.identity)
    return asyncio.run(_adopt(args, home, passphrase, identity))


async def _revoke(args: argparse.Namespace, home: Home, passphrase: str, identity: Identity) -> None:
    async with home.replica(passphrase, identity) as replica:
        made = await replica.devices.succession()
        devices = await replica.devices.all()
        named = [_named(devices, text) for text in args.device]
        if made is None or not {each.id for each in named} <= {*made.revoked}:
            if not named:
                raise InvalidEntity("revoke a device", "none is named", "name it as icure-sync device list does")
            _require_word(args, named)
            await _synced(replica)  # what the others wrote by now is vouched for, as far as it has come
            made = await replica.devices.revoke([each.id for each in named])
            await home.keep_identity(replica, passphrase)
        unsynced = await _synced(replica)
        done = _Done(
            home.hcp_id,
            tuple(_called(each) for each in devices if each.id in made.revoked),
            made,
            tuple(await replica.glass.standing()),
            await replica.setting(SERVER_SETTING),
            unsynced,
        )
        show(_answer(done), as_json=getattr(args, "json", False))
        await replica.devices.shown()


async def _adopt(args: argparse.Namespace, home: Home, passphrase: str, identity: Identity) -> Answer:
    async with home.replica(passphrase, identity) as replica:
        offers = await replica.devices.offers()
        if not offers:
            wrong = "no other device has made a new identity, as far as is known here"
            raise InvalidEntity("take over a new identity", wrong, "run icure-sync sync first")
        names = {each.id: _called(each) for each in await replica.devices.all()}
        number = args.number or _confirmed(offers, names)
        if number is None:
            value = {"adopted": False, "offers": [_offer_json(each) for each in offers]}
            return Answer(value, f"{_to_compare(offers, names)}\n\nIf so: icure-sync device adopt --number …")
        taken = await replica.devices.adopt(number)
        await home.keep_identity(replica, passphrase)
        text = (
            f"This device has the new identity of {home.hcp_id} now, and what was written under it opens.\n"
            "What this device wrote meanwhile, the others believe after the next sync: icure-sync sync"
        )
        return Answer({"adopted": True, "number": taken.number, "revoked": list(taken.revoked)}, text)


async def _synced(replica: Replica) -> str | None:
    """Why not, if a server is known and it did not work out; the command goes on without."""
    server = await replica.setting(SERVER_SETTING)
    if server is None:
        return "no server is known"
    try:
        async with CouchPeer(server, ca=await replica.setting(CA_SETTING)) as peer:
            await replica.sync(peer)
    except IcureSyncError as error:
        return error.wrong
    return None


def _named(devices: Sequence[Device], text: str) -> Device:
    found = [each for each in devices if text in (each.id, each.name)]
    if len(found) != 1:
        wrong = f"{len(found)} devices are called so" if found else "there is no such device, as far as is known here"
        raise InvalidEntity(f"revoke {text}", wrong, "sync, and name its id as icure-sync device list shows it")
    return found[0]


def _require_word(args: argparse.Namespace, devices: Sequence[Device]) -> None:
    """Raises InvalidEntity unless that is what the person wants."""
    if args.yes:
        return
    names = ", ".join(map(_called, devices))
    if sys.stdin.isatty() and sys.stderr.isatty():
        _tell(
            f"{names} will read nothing that is written from now on, and removes what it has when it next syncs.\n"
            "Each of your other devices needs your word then (icure-sync device adopt), and everybody you share with\n"
            "compares a number with you again (icure-sync hcp verify)."
        )
        if _asked(f"Revoke it? Type {_YES}: ") == _YES:
            return
    raise InvalidEntity(f"revoke {names}", "nobody said that it is meant", f"type {_YES}, or give --yes")


def _confirmed(offers: Sequence[Offered], names: dict[str, str]) -> str | None:
    """What a person at a terminal says; None if nobody is there to ask. Of several, the number has to be typed."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    _tell(_to_compare(offers, names))
    if len(offers) > 1:
        return _asked("The number that the right device shows: ")
    if _asked(f"Does that device show the same number? Type {_YES} if every digit is: ") != _YES:
        wrong = "the numbers are not the same, or nobody has compared them"
        step = "if you revoked nothing, somebody has a device of yours: revoke that one, icure-sync device revoke"
        raise UntrustedKey("take over the new identity", wrong, step)
    return offers[0].number


def _to_compare(offers: Sequence[Offered], names: dict[str, str]) -> str:
    lines = ["Compare with the number that icure-sync device revoke showed on the device that revoked the other."]
    for offer in offers:
        gone = ", ".join(names.get(each, each) for each in offer.revoked)
        lines += ["", f"{names.get(offer.device, offer.device)} revoked {gone}:", *number_lines(offer.number)]
    return "\n".join(map(printable, lines))


def _answer(done: _Done) -> Answer:
    made = done.succession
    value = {
        "revoked": list(made.revoked),
        "number": made.number,
        "recoveryCode": made.code.code if made.code else None,
        "synced": done.unsynced is None,
        "emergencyAccess": [glass.hcp for glass in done.glasses],
    }
    sent = (
        "The server has it, and every device and everybody you share with at their next sync."
        if done.unsynced is None
        else f"It is complete on this device, and NOT on the server yet ({done.unsynced}): run icure-sync sync."
    )
    lines = [
        f"{', '.join(done.names)}: revoked. {done.hcp_id} has a new identity.",
        sent,
        "",
        "On each of your other devices: icure-sync sync, then icure-sync device adopt. It shows this number there:",
        *number_lines(made.number),
        "",
        "Everybody you share with is asked to compare anew: icure-sync hcp verify, with you.",
        "Take the device's account away, too (NAME: its user on the server):",
        f"    icure-sync server forget {_address(done.server)} --device NAME",
    ]
    if done.glasses:
        lines += ["", "The shares of emergency accesses were made for the identity before. Make new ones:"]
        for glass in done.glasses:
            split = f"--shares {glass.split.count} --threshold {glass.split.threshold}"
            lines.append(f"    icure-sync break-glass withdraw {glass.hcp}")
            lines.append(f"    icure-sync break-glass prepare --patient {glass.patient} {split}")
    if made.code is not None:
        lines += ["", "Codes and shares that recovered the identity before are withdrawn.", ""]
        lines.append(code_text(made.code, done.hcp_id))
    return Answer(value, "\n".join(lines))


def _address(server: str | None) -> str:
    """Without the login of this device, which is no administrator's."""
    if server is None:
        return "http://ADMIN@HOST:5984/DATABASE"
    scheme, _, rest = str(parse_address(server)).partition("://")
    return f"{scheme}://ADMIN@{rest}"


def _offer_json(offer: Offered) -> dict[str, object]:
    return {
        "device": offer.device,
        "revoked": list(offer.revoked),
        "number": offer.number,
        "forThis": offer.is_for_this,
    }


def _called(device: Device) -> str:
    return printable(f"{device.name} ({device.id})" if device.name else device.id)


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _asked(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline(LINE_MOST).strip()
