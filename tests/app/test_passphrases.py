"""Typing a passphrase at a prompt, on a terminal of its own."""

from __future__ import annotations

from pathlib import Path

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
