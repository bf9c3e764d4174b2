"""The command line: which commands there are, what they take, and how a run ends. Knows no records and no keys.

Each command names the function that does it, as `module:function` of this folder; it is imported when it is wanted, so
that `--help` is quick. Such a function takes the parsed arguments and returns an Answer. Flags that every command has
may stand before or after its name.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import resource
import sys
from collections.abc import Callable, Sequence

from icure_sync import Discretion
from icure_sync.app.arguments import Nouns, add_command, add_group, everywhere
from icure_sync.app.output import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, Answer, printable, show, show_error
from icure_sync.app.trust_arguments import add_trust
from icure_sync.errors import IcureSyncError

# The flags of `add` and `edit`, by noun: the fields that people fill in most. The others go by --set.
RECORD_FLAGS: dict[str, dict[str, str]] = {
    "patient": {
        "first_name": "given name",
        "last_name": "family name",
        "date_of_birth": "as 1795-10-31, or 1795-10 or 1795 if no more is known",
        "gender": "male, female, ...",
        "note": "free text",
    },
    "contact": {
        "description": "what it was about",
        "opening_date": "when it began, as 2026-11-22 or 2026-11-22T09:30",
        "location": "where it was",
    },
    "form": {"description": "what the form is"},
    "element": {
        "description": "what the problem is",
        "opening_date": "when it began, as 2026-11-22",
        "closing_date": "when it ended",
        "note": "free text",
    },
}


Command = Callable[[argparse.Namespace], Answer | None]  # None: it has shown all there was to show

PORT_MOST = 65535
FILE_NAMES = {
    "home",
    "passphrase_file",
    "new_passphrase_file",
    "identity",
    "file",
    "data",
    "folder",
    "tls_certificate",
    "tls_key",
    "ca",
    "upstream_login",
    "upstream_ca",
    "code_file",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, 1 after an error, 2 for wrong usage, 130 after Ctrl-C."""
    _keep_to_itself()
    parser = build_parser()
    args = parser.parse_args(arguments)
    _require_text(parser, args)
    as_json: bool = getattr(args, "json", False)
    try:
        answer = _function(args.run)(args)
        if answer is None:
            return EXIT_OK
        show(answer, as_json=as_json)
    except IcureSyncError as error:
        show_error(error)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    return answer.code


def _keep_to_itself() -> None:
    """A core dump could hold passwords; so could what libraries say of an error that nobody awaited."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if logging.lastResort is not None and not logging.lastResort.filters:
        logging.lastResort.addFilter(Discretion())


def _require_text(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Only the names of files may be bytes that are no text: Python has them as lone surrogates."""
    for name, value in vars(args).items():
        for text in value if isinstance(value, list) else [value]:
            if name not in FILE_NAMES and isinstance(text, str) and _is_broken(text):
                parser.error(f"{printable(text)!r} is not UTF-8 text")


def _is_broken(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _function(name: str) -> Command:
    module, function = name.split(":")
    found: Command = getattr(importlib.import_module(f"icure_sync.app.{module}"), function)
    return found


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="icure-sync",
        description="Medical records, encrypted on this device, in sync with a CouchDB server or a hub.",
        parents=[everywhere()],
        allow_abbrev=False,
    )
    nouns = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_device(nouns)
    for noun, flags in RECORD_FLAGS.items():
        _add_records(nouns, noun, flags)
    _add_exchange(nouns)
    _add_conflicts(nouns)
    add_trust(nouns)
    _add_hub(nouns)
    _add_servers(nouns)
    _add_demo(nouns)
    return parser


def _host_and_port(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not (separator and host and port.isascii() and port.isdigit() and int(port) <= PORT_MOST):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, as 127.0.0.1:5984")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _name_and_url(text: str) -> tuple[str, str]:
    name, separator, url = text.partition("=")
    if not (separator and name and url):
        raise argparse.ArgumentTypeError("it is not NAME=URL, as clinic=https://couch.example/clinic")
    return name, url


def _add_device(nouns: Nouns[argparse.ArgumentParser]) -> None:
    init = add_command(nouns, "init", "device:init", "Make this home folder: identity, replica and config.")
    init.add_argument("--hcp-id", metavar="ID", help="the id of a new healthcare party: letters, digits, - and _")
    init.add_argument("--name", help="its name, as others see it")
    init.add_argument("--identity", metavar="FILE", help="instead: the Hcp of another device, by its exported file")
    init.add_argument("--server", metavar="URL", help="where to sync, as http://user:password@host:5984/database")
    init.add_argument(
        "--no-recovery-code", action="store_true", help="make no recovery code: icure-sync recovery new makes one later"
    )
    init.set_defaults(usage_error=init.error)
    identity = add_group(nouns, "identity", "The identity of this device's Hcp.")
    export = add_command(
        identity, "export", "device:export_identity", "Write the identity to a file, locked by the passphrase."
    )
    export.add_argument("file", metavar="FILE")
    add_command(nouns, "status", "status:status", "What this replica holds, and how it stands with its server.")


def _add_records(nouns: Nouns[argparse.ArgumentParser], noun: str, flags: dict[str, str]) -> None:
    verbs = add_group(nouns, noun, f"Add, list, show, edit and delete {noun}s.")
    add = add_command(verbs, "add", "records:add", f"Add {'an' if noun[0] in 'aeiou' else 'a'} {noun}.")
    edit = add_command(verbs, "edit", "records:edit", f"Change fields of a {noun}.")
    for command in (add, edit):
        for name, text in flags.items():
            command.add_argument(f"--{name.replace('_', '-')}", dest=f"field_{name}", metavar="TEXT", help=text)
        command.add_argument(
            "--set", action="append", default=[], metavar="FIELD=VALUE", help="any field; lists and records as JSON"
        )
    show_one = add_command(verbs, "show", "records:show", f"Show one {noun}.")
    delete = add_command(verbs, "delete", "records:delete", f"Delete a {noun}: it is kept, and hidden.")
    for command in (edit, show_one, delete):
        command.add_argument("id", metavar="ID")
    listed = add_command(verbs, "list", "records:list_all", f"List the {noun}s.")
    if noun != "patient":
        add.add_argument("--patient", metavar="ID", help="the patient that it belongs to")
        listed.add_argument("--patient", metavar="ID", help="of this patient only")
    for command in (add, edit, show_one, delete, listed):
        command.set_defaults(noun=noun, usage_error=command.error)


def _add_exchange(nouns: Nouns[argparse.ArgumentParser]) -> None:
    sync = add_command(nouns, "sync", "syncing:sync", "Exchange everything new with the server, in both directions.")
    sync.add_argument("--server", metavar="URL", help="another server than the last one; remembered once it has worked")
    sync.add_argument(
        "--ca",
        type=os.path.abspath,
        metavar="FILE",
        help="trust the certificates in this file (PEM); remembered likewise",
    )
    sync.add_argument(
        "--accept-deletions",
        type=int,
        default=0,
        metavar="N",
        help="so many records were deleted at once, and that is right",
    )
    how = sync.add_mutually_exclusive_group()
    how.add_argument("--live", action="store_true", help="go on as changes come, until Ctrl-C; has the home to itself")
    how.add_argument("--audit", action="store_true", help="then have the server prove that it holds everything")
    search = add_command(nouns, "search", "searching:search", "Find records by words in them, offline.")
    search.add_argument("text", metavar="TEXT", nargs="+")


def _add_conflicts(nouns: Nouns[argparse.ArgumentParser]) -> None:
    conflicts = add_group(nouns, "conflicts", "What was written at once and is left to a person.")
    add_command(conflicts, "list", "conflicts:list_all", "List the records that need a look.")
    show = add_command(conflicts, "show", "conflicts:show", "Show one, field by field: each value, by whom, and when.")
    resolve = add_command(conflicts, "resolve", "conflicts:resolve", "Settle fields that are in dispute.")
    adopt = add_command(
        conflicts, "adopt", "conflicts:adopt", "Take over what somebody wrote who has no access any more."
    )
    for command in (show, resolve, adopt):
        command.add_argument("id", metavar="ID")
    resolve.add_argument(
        "--rev", metavar="REV", help="what you saw, as conflicts show names it; else nothing is written"
    )
    resolve.add_argument("--keep", action="store_true", help="keep what is shown, of each field not named otherwise")
    resolve.add_argument(
        "--take", action="append", default=[], metavar="FIELD=N", help="this version, by its number in conflicts show"
    )
    resolve.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="something new instead")
    resolve.set_defaults(usage_error=resolve.error)
    adopt.add_argument("rev", metavar="REV", help="the leaf, as conflicts show names it")


def _add_hub(nouns: Nouns[argparse.ArgumentParser]) -> None:
    hub = add_command(nouns, "hub", "serving:hub", "Run the embedded server, until Ctrl-C.")
    hub.add_argument("--listen", type=_host_and_port, default="127.0.0.1:5984", metavar="HOST:PORT")
    hub.add_argument("--data", required=True, metavar="DIR", help="where its databases are kept")
    hub.add_argument("--tls-certificate", metavar="FILE", help="serve https with this certificate (PEM)")
    hub.add_argument("--tls-key", metavar="FILE", help="its private key, if that is in a file of its own")
    hub.add_argument("--expose", action="store_true", help="listen beyond this machine without TLS")
    hub.add_argument(
        "--upstream",
        action="append",
        default=[],
        type=_name_and_url,
        metavar="NAME=URL",
        help="keep the database NAME the same as this one: clinic=https://couch.example/clinic; may be repeated",
    )
    hub.add_argument(
        "--upstream-login",
        metavar="FILE",
        help="the logins there, as user:password or a line NAME=user:password for each (or ICURE_SYNC_HUB_UPSTREAM)",
    )
    hub.add_argument("--upstream-ca", metavar="FILE", help="trust the certificates in this file (PEM)")
    hub.set_defaults(usage_error=hub.error)


def _add_servers(nouns: Nouns[argparse.ArgumentParser]) -> None:
    server = add_group(nouns, "server", "Prepare a CouchDB server or a hub.")
    provision = add_command(
        server,
        "provision",
        "server:provision",
        "Make database, members, index and users, as far as they are not there.",
    )
    provision.add_argument(
        "url",
        metavar="URL",
        help="as http://admin@host:5984/database; the password comes from ICURE_SYNC_SERVER_ADMIN (user:password), "
        "is asked for, or stands in the address",
    )
    provision.add_argument(
        "--device", action="append", default=[], metavar="NAME", help="a user for one device; once for each device"
    )
    provision.add_argument(
        "--password-stdin",
        action="store_true",
        help="their passwords, a line each (else they are made, and shown once)",
    )
    provision.add_argument(
        "--reset-passwords", action="store_true", help="give devices that have a password a new one as well"
    )
    provision.add_argument(
        "--validate", action="store_true", help="let a CouchDB check the shape of documents: slows writes to a sixth"
    )
    provision.add_argument(
        "--require-valid-user", action="store_true", help="change the server's settings: no answers to strangers"
    )
    provision.add_argument("--ca", metavar="FILE", help="trust the certificates in this file (PEM)")
    provision.set_defaults(usage_error=provision.error)
    _add_forgetting(server)


def _add_forgetting(server: Nouns[argparse.ArgumentParser]) -> None:
    forget = add_command(
        server, "forget", "forgetting:forget", "Remove the user of a device that is lost: its login is refused."
    )
    forget.add_argument("url", metavar="URL", help="as for provision, with an administrator's login")
    forget.add_argument(
        "--device", action="append", required=True, metavar="NAME", help="the user of that device; may be repeated"
    )
    forget.add_argument("--ca", metavar="FILE", help="trust the certificates in this file (PEM)")


def _add_demo(nouns: Nouns[argparse.ArgumentParser]) -> None:
    demo = add_command(nouns, "demo", "demo:demo", "Watch clinicians work offline and their devices agree.")
    demo.add_argument("--server", metavar="URL", help="a CouchDB or hub with an administrator, instead of its own hub")
    demo.add_argument("--folder", metavar="DIR", help="where the homes are left (else a new folder in demo-homes)")
    demo.add_argument("--patients", type=int, default=300, metavar="N", help="in the clinic's day (300)")
    demo.set_defaults(usage_error=demo.error)


if __name__ == "__main__":
    sys.exit(main())
