"""Where a passphrase comes from: `--passphrase-file`, the variable ICURE_SYNC_PASSPHRASE, or a prompt, in this order.

Knows nothing of what the passphrase unlocks.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from icure_sync.app.text_files import read_text
from icure_sync.errors import WrongPassphrase

VARIABLE = "ICURE_SYNC_PASSPHRASE"
FILE_SIZE_MOST = 4096  # bytes; more is some other file


def known_passphrase(args: argparse.Namespace) -> str:
    """The passphrase of something that exists. Raises WrongPassphrase if none was given."""
    return given_passphrase(args) or _checked(_prompt("Passphrase: "))


def new_passphrase(args: argparse.Namespace) -> str:
    """A passphrase for something new: typed twice at a prompt. Raises WrongPassphrase if the two differ."""
    given = given_passphrase(args)
    if given is None:
        given = _prompt("New passphrase: ")
        if given != _prompt("The same again: "):
            raise WrongPassphrase("set the passphrase", "the two entries differ", "try again")
    return _checked(given)


def given_passphrase(args: argparse.Namespace) -> str | None:
    """The passphrase of the file or of the variable, without asking anybody: None if there is neither."""
    file: str | None = getattr(args, "passphrase_file", None)
    if file is not None:
        return _checked(_read(Path(file)))
    from_variable = os.environ.get(VARIABLE)
    return None if from_variable is None else _checked(from_variable)


def _read(path: Path) -> str:
    """The file's text without the line end that editors add."""
    text = read_text(path, FILE_SIZE_MOST, f"read the passphrase file {path}", "a file with one line")
    return text.removesuffix("\n").removesuffix("\r")


def _prompt(question: str) -> str:
    if not sys.stdin.isatty():
        raise WrongPassphrase(
            "unlock", "there is no passphrase", f"set {VARIABLE}, name a --passphrase-file, or run in a terminal"
        )
    try:
        return getpass.getpass(question)
    except EOFError as error:
        raise WrongPassphrase("unlock", "no passphrase was typed", "try again") from error


def _checked(passphrase: str) -> str:
    if not passphrase:
        raise WrongPassphrase("unlock", "the passphrase is empty", "give the passphrase chosen at init")
    return passphrase
