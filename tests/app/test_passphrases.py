"""Typing a passphrase at a prompt, on a terminal of its own, and what wrong ones cost."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

from icure_sync.app.passphrases import unlocked
from icure_sync.errors import WrongPassphrase
from tests.app.conftest import CommandLine, typed


def test_init_asks_twice_and_later_commands_once(tmp_path: Path) -> None:
    line = CommandLine(tmp_path / "home", passphrase=None)
    init = ("init", "--hcp-id", "hcp-a", "--name", "Practice A")
    differ = typed(line, [("New passphrase: ", "open sesame"), ("The same again: ", "open barley")], *init)
    assert differ.code == 1
    assert "the two entries differ" in differ.err
    assert not line.home.exists()

    made = typed(line, [("New passphrase: ", "open sesame"), ("The same again: ", "open sesame")], *init)
    assert made.code == 0
    assert "sesame" not in made.err

    status = typed(line, [("Passphrase: ", "open sesame")], "status", "--json")
    assert status.code == 0
    assert '"hcpId":"hcp-a"' in status.out


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[str], list[float]]]:
    """What is going to be typed, and the waits that there were."""
    answers: list[str] = []
    waits: list[float] = []
    monkeypatch.delenv("ICURE_SYNC_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda _: answers.pop(0))
    monkeypatch.setattr("time.sleep", waits.append)
    yield answers, waits
    assert answers == []


def only_sesame(typed_: str) -> str:
    if typed_ != "sesame":
        raise WrongPassphrase("open the cave", "the passphrase is wrong", "try again")
    return "treasure"


def test_wrong_passphrases_are_waited_for_longer_each_time(
    keyboard: tuple[list[str], list[float]], capsys: pytest.CaptureFixture[str]
):
    answers, waits = keyboard
    answers += ["barley", "wheat", "rye", "oats", "sesame"]
    assert unlocked(Namespace(), only_sesame) == ("sesame", "treasure")
    assert waits == [0, 0, 2, 4]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Wait 4 seconds" in shown.err
    assert not any(word in shown.err for word in ("barley", "wheat", "rye", "oats", "sesame"))


def test_after_some_tries_no_more_are_given(keyboard: tuple[list[str], list[float]]):
    answers, waits = keyboard
    answers += ["barley"] * 6
    with pytest.raises(WrongPassphrase, match="is wrong"):
        unlocked(Namespace(), only_sesame)
    assert waits == sorted(waits)
    assert waits[-1] == 8


def test_what_is_not_typed_is_tried_once(monkeypatch: pytest.MonkeyPatch, keyboard: tuple[list[str], list[float]]):
    monkeypatch.setenv("ICURE_SYNC_PASSPHRASE", "barley")
    with pytest.raises(WrongPassphrase):
        unlocked(Namespace(), only_sesame)
    assert keyboard[1] == []
