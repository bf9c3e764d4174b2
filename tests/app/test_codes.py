"""Codes and shares that a person gives or is shown: from then on no log has them, however they are spelled."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pytest

from icure_sync.app import pairing
from icure_sync.app.codes import given_secret, given_shares
from icure_sync.app.recovery import code_text, shares_text
from icure_sync.crypto.shares import Purpose, RecoverySecret, Split
from icure_sync.discretion import discreet
from tests.keys import seeded


def is_kept_quiet(code: str) -> bool:
    """Also where nothing shows that it is a code."""
    spellings = (code, code.replace("-", ""))
    return not any(spelled in discreet(f"x{spelled}x") for spelled in spellings)


def of_files(folder: Path, *texts: str) -> argparse.Namespace:
    for number, text in enumerate(texts):
        (folder / f"{number}").write_text(text)
    return argparse.Namespace(code_file=[str(folder / f"{number}") for number in range(len(texts))])


def test_what_is_given_is_kept_out_of_the_logs(tmp_path: Path):
    given = RecoverySecret.draw(Purpose.RECOVERY, seeded("given"))
    assert not is_kept_quiet(given.code)
    given_secret(of_files(tmp_path, given.code.lower().replace("-", " ")))
    assert is_kept_quiet(given.code)
    assert given.code.lower().replace("-", " ") not in discreet(f"x{given.code.lower().replace('-', ' ')}x")
    shares = RecoverySecret.draw(Purpose.GLASS, seeded("shares")).shares(Split(2, 2))
    given_shares(of_files(tmp_path, *(share.text for share in shares)))
    assert all(is_kept_quiet(share.text) for share in shares)


def test_what_is_shown_is_kept_out_of_the_logs():
    shown = RecoverySecret.draw(Purpose.RECOVERY, seeded("shown"))
    code_text(shown, "hcp-a")
    assert is_kept_quiet(shown.code)
    shares = shown.shares(Split(2, 3))
    shares_text(shares)
    assert all(is_kept_quiet(share.text) for share in shares)


def test_the_typed_code_of_a_pairing_is_kept_out_of_the_logs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("6392-1185-0274\n"))
    assert not is_kept_quiet("6392-1185-0274")
    pairing._typed_code()
    assert is_kept_quiet("6392-1185-0274")
