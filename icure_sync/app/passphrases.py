"""Where a passphrase comes from: `--passphrase-file`, the variable ICURE_SYNC_PASSPHRASE, or a prompt, in this order.

Knows nothing of what the passphrase unlocks. Each try costs the half second that working out its key takes; at a prompt
more tries are given, and those after the first ones are waited for, longer each time.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from icure_sync import keep_memory_private, withhold
from icure_sync.app.text_files import read_text
from icure_sync.errors import WrongPassphrase

T = TypeVar("T")

VARIABLE = "ICURE_SYNC_PASSPHRASE"
NEW_VARIABLE = "ICURE_SYNC_NEW_PASSPHRASE"
WAITS = (0, 0, 2, 4, 8)  # seconds after each wrong entry: two slips cost nothing; the sixth that is wrong ends it
FILE_SIZE_MOST = 4096  # bytes; more is some other file


def unlocked(args: argparse.Namespace, unlock: Callable[[str], T]) -> tuple[str, T]:
    """The passphrase of something that exists, and what `unlock` gives for it.

    Raises WrongPassphrase if the one given is wrong, or none was given, or too many were typed that are wrong; whatever
    else `unlock` raises.
    """
    given = given_passphrase(args)
    if given is not None:
        return given, unlock(given)
    for wait in WAITS:
        typed = _checked(_prompt("Passphrase: "))
        try:
            return typed, unlock(typed)
        except WrongPassphrase:
            sys.stderr.write(f"That is not the passphrase. Wait {wait} seconds.\n" if wait else "Try again.\n")
            time.sleep(wait)
    typed = _checked(_prompt("Passphrase: "))
    return typed, unlock(typed)


def new_passphrase(args: argparse.Namespace) -> str:
    """A passphrase for something new: typed twice at a prompt. Raises WrongPassphrase if the two differ."""
    return given_passphrase(args) or _typed_twice()


def next_passphrase(args: argparse.Namespace) -> str:
    """The passphrase that takes the place of one: `--new-passphrase-file`, ICURE_SYNC_NEW_PASSPHRASE, or typed twice.

    Raises WrongPassphrase.
    """
    return _given(args.new_passphrase_file, NEW_VARIABLE) or _typed_twice()


def given_passphrase(args: argparse.Namespace) -> str | None:
    """The passphrase of the file or of the variable, without asking anybody: None if there is neither."""
    return _given(getattr(args, "passphrase_file", None), VARIABLE)


def _given(file: str | None, variable: str) -> str | None:
    if file is not None:
        return _checked(_read(Path(file)))
    from_variable = os.environ.get(variable)
    return None if from_variable is None else _checked(from_variable)


def _typed_twice() -> str:
    typed = _prompt("New passphrase: ")
    if typed != _prompt("The same again: "):
        raise WrongPassphrase("set the passphrase", "the two entries differ", "try again")
    return _checked(typed)


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
    """From here on this process has something to keep to itself."""
    if not passphrase:
        raise WrongPassphrase("unlock", "the passphrase is empty", "give the passphrase chosen at init")
    keep_memory_private()
    withhold(passphrase)
    return passphrase
