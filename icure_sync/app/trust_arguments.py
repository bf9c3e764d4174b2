"""The commands of trust: who may read what, which keys and devices are believed, what was done. Declares them only."""

from __future__ import annotations

import argparse
import datetime as dt
import os

from icure_sync.app.arguments import Nouns, add_command, add_group


def add_trust(nouns: Nouns[argparse.ArgumentParser]) -> None:
    """All of them."""
    _add_sharing(nouns)
    _add_hcps(nouns)
    _add_devices(nouns)
    _add_recovery(nouns)
    _add_break_glass(nouns)
    _add_passphrase(nouns)
    _add_oversight(nouns)


def _add_sharing(nouns: Nouns[argparse.ArgumentParser]) -> None:
    share = add_command(nouns, "share", "sharing:share", "Let another healthcare party read and write a record.")
    share.add_argument("id", metavar="DOC_ID")
    share.add_argument("--with", required=True, dest="with_", metavar="HCP_ID", help="the healthcare party")
    share.add_argument("--include-linked", action="store_true", help="what is linked to the patient as well")
    revoke = add_command(
        nouns, "revoke", "sharing:revoke", "Put a healthcare party out: it reads nothing written later."
    )
    revoke.add_argument("id", metavar="DOC_ID")
    revoke.add_argument("--from", required=True, dest="from_", metavar="HCP_ID", help="the healthcare party")
    revoke.add_argument("--include-linked", action="store_true", help="what is linked to the patient as well")
    access = add_command(nouns, "access", "sharing:access", "Who can read a record, by whose word; who was put out.")
    access.add_argument("id", metavar="DOC_ID")


def _add_hcps(nouns: Nouns[argparse.ArgumentParser]) -> None:
    hcp = add_group(nouns, "hcp", "The healthcare parties that are known here, and their keys.")
    add_command(hcp, "list", "hcp:list_all", "List them.")
    show = add_command(hcp, "show", "hcp:show", "Show one: its keys, and whether they were compared.")
    verify = add_command(hcp, "verify", "hcp:verify", "Compare a number with the other side: are these its keys?")
    for command in (show, verify):
        command.add_argument("id", metavar="HCP_ID")
    verify.add_argument("--number", metavar="DIGITS", help="what the other side shows, all 60; else you are asked")


def _add_passphrase(nouns: Nouns[argparse.ArgumentParser]) -> None:
    passphrase = add_group(nouns, "passphrase", "The passphrase of this home.")
    change = add_command(passphrase, "change", "passphrase:change", "Lock this home by another passphrase.")
    change.add_argument(
        "--new-passphrase-file",
        metavar="FILE",
        help="read the new one there (or from ICURE_SYNC_NEW_PASSPHRASE; else it is asked for, twice)",
    )


def _add_oversight(nouns: Nouns[argparse.ArgumentParser]) -> None:
    audit = add_command(nouns, "audit", "audit:audit", "Who did what with which record on this device, and when.")
    audit.add_argument("--of", metavar="ID", help="with this record, and with what is filed under it")
    audit.add_argument("--action", metavar="WORD", help="opened, wrote, shared, ... only")
    audit.add_argument("--since", type=_moment, metavar="TIME", help="from then on, as 2026-11-22 or 2026-11-22T09:30")
    audit.add_argument("--verify", action="store_true", help="instead: whether any row was changed or removed")
    doctor = add_command(nouns, "doctor", "doctor:doctor", "Check this home, and say what a person should see to.")
    doctor.add_argument(
        "--dismiss", action="append", default=[], type=int, metavar="N", help="this alarm is seen to; may be repeated"
    )


def _moment(text: str) -> int:
    """As ms since 1970; a time without a zone is this machine's."""
    try:
        return int(dt.datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError, OSError) as error:  # the latter two: years that this machine cannot count
        message = f"{text!r} is not a date or time, as 2026-11-22 or 2026-11-22T09:30"
        raise argparse.ArgumentTypeError(message) from error


def _add_devices(nouns: Nouns[argparse.ArgumentParser]) -> None:
    device = add_group(nouns, "device", "The devices of this healthcare party.")
    pair = add_command(
        device, "pair", "pairing:pair", "Make this a device of the Hcp that another device approves it for."
    )
    _add_source(pair)
    pair.add_argument("--sync", action="store_true", help="fetch the records as well")
    add_command(device, "list", "devices:list_all", "List the devices of this healthcare party.")
    name = add_command(device, "name", "devices:name", "Call this device something; only your own devices see it.")
    name.add_argument("text", metavar="TEXT", help="what to call it")
    revoke = add_command(
        device, "revoke", "revoking:revoke", "Shut out a device that is lost: your other devices get a new identity."
    )
    revoke.add_argument(
        "device", nargs="*", metavar="DEVICE", help="its id or name, as device list has it; none: show the last again"
    )
    revoke.add_argument("--yes", action="store_true", help="do not ask whether that is meant")
    adopt = add_command(device, "adopt", "revoking:adopt", "Take over the new identity that another device made.")
    adopt.add_argument("--number", metavar="DIGITS", help="what that device shows, all 60; else you are asked")
    approve = add_command(device, "approve", "pairing:approve", "Let the device whose code you type be one of yours.")
    approve.add_argument("--server", metavar="URL", help="where the new device pairs, if not where this one syncs")
    approve.add_argument("--ca", type=os.path.abspath, metavar="FILE", help="trust the certificates in this file (PEM)")


def _add_recovery(nouns: Nouns[argparse.ArgumentParser]) -> None:
    recovery = add_group(nouns, "recovery", "Get back the identity of an Hcp that has lost all its devices.")
    add_command(recovery, "new", "recovery:new", "Make a new code, shown once; the one before is withdrawn.")
    split = add_command(recovery, "split", "recovery:split", "Make shares for people who can recover together.")
    _add_numbers(split)
    combine = add_command(recovery, "combine", "recovery:combine", "Put shares together to the code they stand for.")
    _add_code_file(combine)
    add_command(recovery, "list", "recovery:list_all", "List the codes and shares that stand.")
    withdraw = add_command(recovery, "withdraw", "recovery:withdraw", "Let a code or shares recover nothing any more.")
    withdraw.add_argument("id", metavar="ID", help="as recovery list names it, or how that begins")
    restore = add_command(recovery, "restore", "recovery:restore", "Make a home here from a code or shares.")
    _add_code_file(restore)
    _add_source(restore)


def _add_break_glass(nouns: Nouns[argparse.ArgumentParser]) -> None:
    glass = add_group(nouns, "break-glass", "Emergency access to a patient's records, for people together.")
    prepare = add_command(
        glass, "prepare", "break_glass:prepare", "Make shares that together open a patient's records."
    )
    prepare.add_argument("--patient", required=True, metavar="ID", help="whose records, with all that is linked")
    _add_numbers(prepare)
    add_command(glass, "refresh", "break_glass:refresh", "Include what has come since; every sync does that first.")
    add_command(glass, "list", "break_glass:list_all", "List those that stand, and who opened one.")
    withdraw = add_command(glass, "withdraw", "break_glass:withdraw", "Shut one for good.")
    withdraw.add_argument("id", metavar="ID", help="as break-glass list names it")
    opened = add_command(glass, "open", "break_glass:open_access", "Make a home here that reads the patient's records.")
    opened.add_argument("--reason", required=True, metavar="TEXT", help="why: the owner and the audit trail get it")
    opened.add_argument("--by", metavar="TEXT", help="who opens it (else the login name on this machine)")
    _add_code_file(opened)
    _add_source(opened)


def _add_numbers(command: argparse.ArgumentParser) -> None:
    command.add_argument("--shares", required=True, type=int, metavar="N", help="for how many people, 32 at most")
    command.add_argument(
        "--threshold", required=True, type=int, metavar="K", help="how many of them it takes, 2 at least"
    )


def _add_code_file(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--code-file",
        action="append",
        default=[],
        metavar="FILE",
        help="read it there, one on each line (- is standard input); may be repeated; else it is asked for",
    )


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--server",
        metavar="URL",
        help="as http://user@host:5984/database, whose password is asked for (or ICURE_SYNC_SERVER, with the password)",
    )
    command.add_argument("--ca", type=os.path.abspath, metavar="FILE", help="trust the certificates in this file (PEM)")
