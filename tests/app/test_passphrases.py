"""Typing a passphrase at a prompt, on a terminal of its own."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

from tests.app.conftest import PATIENCE, CommandLine, Finished


def typed(line: CommandLine, answers: list[tuple[str, str]], *arguments: str) -> Finished:
    """Run on a new terminal; wait for each question, then type its answer. What the terminal showed is in `err`."""
    keyboard, terminal = pty.openpty()
    process = subprocess.Popen(
        ["icure-sync", *arguments],
        env=line.environment(),
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
        start_new_session=True,
    )
    os.close(terminal)
    shown = ""
    for question, answer in answers:
        while not shown.endswith(question):
            shown += os.read(keyboard, 1).decode()
        os.write(keyboard, f"{answer}\n".encode())
    out, _ = process.communicate(timeout=PATIENCE)
    while True:
        try:
            shown += os.read(keyboard, 1024).decode()
        except OSError:  # the terminal is gone with the process
            break
    os.close(keyboard)
    return Finished(process.returncode, out, shown)


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
