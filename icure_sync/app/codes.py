"""Recovery codes and shares as a person gives them: in files, on standard input, or typed; never as arguments, which
other users of the machine see. Knows what they look like, and not what they open.

What is typed is shown: nobody types 35 characters blind. A mistake is said at once, with the group that it is in, and
asked for again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from icure_sync import RecoverySecret, Share, is_share, withhold
from icure_sync.app.text_files import read_text
from icure_sync.errors import InvalidEntity

FILE_SIZE_MOST = 16_384  # bytes; 32 shares with a note at each take 4 KB
STANDARD_INPUT = "-"
_LABEL_END = ":"  # "share 2 of 5: …", as they are printed


@dataclass(frozen=True, slots=True, repr=False)
class Given:
    """What was given; `shares`: what it was put together from, none if it was a code."""

    secret: RecoverySecret
    shares: tuple[Share, ...]


def keep_quiet(*codes: str) -> None:
    """Keep codes and shares out of the logs, as they are shown and as they are typed without the dashes."""
    withhold(*codes, *(code.replace("-", "") for code in codes))


def given_secret(args: argparse.Namespace) -> Given:
    """A code, or as many shares as it takes. Raises InvalidEntity, Tampered."""
    lines = _lines(args)
    if lines is None:
        first = _asked("Recovery code, or a share: ")
        return _completed(first) if isinstance(first, Share) else Given(first, ())
    texts = [_one(place, line) for place, line in enumerate(lines, start=1)]
    if len(texts) == 1 and isinstance(texts[0], RecoverySecret):
        return Given(texts[0], ())
    return _combined([_share_of(text) for text in texts])


def given_shares(args: argparse.Namespace) -> Given:
    """As many shares as it takes. Raises InvalidEntity, Tampered."""
    lines = _lines(args)
    if lines is None:
        return _completed(_share_of(_asked("Share: ")))
    return _combined([_share_of(_one(place, line)) for place, line in enumerate(lines, start=1)])


def _lines(args: argparse.Namespace) -> list[str] | None:
    """What the files say, or standard input; None if a person is to be asked. Raises InvalidEntity if it is nothing."""
    files: list[str] = args.code_file
    if not files and sys.stdin.isatty():
        return None
    texts = [_content(name) for name in files or [STANDARD_INPUT]]
    lines = [line.rpartition(_LABEL_END)[2].strip() for text in texts for line in text.splitlines()]
    if not any(lines):
        wrong = "there is none" if files else "standard input is empty, and no terminal"
        raise InvalidEntity("read codes or shares", wrong, "name a file with one on each line, or run in a terminal")
    return [line for line in lines if line]


def _content(name: str) -> str:
    if name == STANDARD_INPUT:
        return sys.stdin.read(FILE_SIZE_MOST)
    return read_text(Path(name), FILE_SIZE_MOST, f"read codes or shares in {name}", "a file with one on each line")


def _one(place: int, line: str) -> RecoverySecret | Share:
    try:
        return _read(line)
    except InvalidEntity as error:
        raise InvalidEntity(f"read number {place} of what was given", error.wrong, error.next_step) from error


def _read(text: str) -> RecoverySecret | Share:
    keep_quiet(text, text.upper())
    if is_share(text):
        share = Share.of_text(text)
        keep_quiet(share.text)
        return share
    secret = RecoverySecret.of_code(text)
    keep_quiet(secret.code)
    return secret


def _share_of(found: RecoverySecret | Share) -> Share:
    if isinstance(found, Share):
        return found
    raise InvalidEntity("combine shares", "a whole recovery code is among them", "give shares, or the code alone")


def _combined(shares: Sequence[Share]) -> Given:
    return Given(RecoverySecret.combined(shares), tuple(shares[: shares[0].split.threshold]))


def _completed(first: Share) -> Given:
    """Ask for the others, until there are enough."""
    shares = [first]
    while len(shares) < first.split.threshold:
        more = _asked(f"Share {len(shares) + 1} of the {first.split.threshold} that it takes: ")
        if not isinstance(more, Share) or (more.set_id, more.split) != (first.set_id, first.split):
            sys.stderr.write(f"That is none of the set {first.set_id}.\n")
        elif any(share.index == more.index for share in shares):
            sys.stderr.write(f"Share {more.index} is here already.\n")
        else:
            shares.append(more)
    return _combined(shares)


def _asked(question: str) -> RecoverySecret | Share:
    """What a person types, asked for again after a mistake. Raises InvalidEntity if he types nothing."""
    while True:
        sys.stderr.write(question)
        sys.stderr.flush()
        line = sys.stdin.readline().strip()
        if not line:
            raise InvalidEntity("read a code or a share", "nothing was typed", "try again")
        try:
            return _read(line)
        except InvalidEntity as error:
            sys.stderr.write(f"{error.wrong[:1].upper()}{error.wrong[1:]}. Try again.\n")
