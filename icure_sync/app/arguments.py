"""How a command or a group of commands is declared. Knows none of them."""

from __future__ import annotations

import argparse

Nouns = argparse._SubParsersAction  # noqa: SLF001  # argparse gives its type no public name


def everywhere() -> argparse.ArgumentParser:
    """The flags of every command. Without defaults: a subcommand must not take back what was said before its name."""
    flags = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    flags.add_argument("--home", metavar="DIR", help="the home folder (or ICURE_SYNC_HOME; usually ~/.icure-sync)")
    flags.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    flags.add_argument(
        "--passphrase-file", metavar="FILE", help="read the passphrase there (or from ICURE_SYNC_PASSPHRASE)"
    )
    return flags


def add_command(nouns: Nouns[argparse.ArgumentParser], name: str, run: str, text: str) -> argparse.ArgumentParser:
    """A command that `run` does: `module:function` of this folder."""
    command = nouns.add_parser(name, help=text, description=text, parents=[everywhere()], allow_abbrev=False)
    command.set_defaults(run=run)
    return command


def add_group(nouns: Nouns[argparse.ArgumentParser], name: str, text: str) -> Nouns[argparse.ArgumentParser]:
    """A noun with commands of its own."""
    group = nouns.add_parser(name, help=text, description=text, parents=[everywhere()], allow_abbrev=False)
    return group.add_subparsers(title="commands", metavar="COMMAND", required=True)
