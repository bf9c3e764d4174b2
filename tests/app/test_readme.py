"""The README is a recording: every command in it is run as written, and must answer as it says.

Ids and revisions differ from run to run: those that the README shows stand for those that came out, also in later
commands. Times, rates and ports are not compared.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.conftest import PATIENCE, CommandLine, RunningHub, stop, unused_port

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEX = re.compile(r"\b[0-9a-f]{16,}\b")
CODE = re.compile(r"\b(?:[0-9A-Z]{5}-){6}[0-9A-Z]{5}\b")
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
PORT = "5985"  # the README's; a free one takes its place
FOLDER = "/home/you/icure_sync"  # the README's checkout; the test's folder takes its place
END = "end of answer"


class Terminal:
    """One shell that goes on from command to command."""

    def __init__(self, folder: Path) -> None:
        self._shell = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=CommandLine(folder, passphrase=None).environment() | {"ICURE_SYNC_HOME": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start(self, command: str) -> str:
        """Run a command that goes on; returns its first line."""
        self._write(f"exec {command}")
        assert self._shell.stdout is not None
        return self._shell.stdout.readline()

    def run(self, command: str) -> str:
        """What a command prints, on either stream."""
        self._write(f"{command}\necho; echo {shlex.quote(END)}")
        assert self._shell.stdout is not None
        lines = list(iter(self._shell.stdout.readline, f"{END}\n"))
        return "".join(lines).removesuffix("\n")

    def close(self) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        stop(self._shell)

    def _write(self, line: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{line}\n")
        self._shell.stdin.flush()


def blocks(kind: str) -> list[str]:
    return [text for name, text in BLOCK.findall(README.read_text()) if name == kind]


def steps(block: str) -> Iterator[tuple[str, str]]:
    """Commands and what they answer."""
    for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, answer = step.partition("\n")
        yield command, re.sub(r"^# .*\n", "", answer, flags=re.MULTILINE)


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[list[Terminal]]:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    opened = [Terminal(tmp_path), Terminal(tmp_path)]
    yield opened
    for terminal in reversed(opened):
        terminal.close()


def test_the_first_hour_goes_as_the_readme_says(terminals: list[Terminal], tmp_path: Path) -> None:
    port = str(unused_port())
    real_of: dict[str, str] = {}
    for terminal, block in zip(terminals, blocks("console"), strict=True):
        for command, expected in steps(block):
            typed = HEX.sub(lambda match: real_of.get(match[0], match[0]), command).replace(PORT, port)
            run = terminal.start if command.startswith("icure-sync hub") else terminal.run
            answer = run(typed).replace(port, PORT).replace(str(tmp_path), FOLDER)
            real_of.update(zip(HEX.findall(expected), HEX.findall(answer), strict=False))
            assert _comparable(answer) == _comparable(expected), command


def test_the_library_example_runs(hub: RunningHub, tmp_path: Path) -> None:
    (example,) = blocks("python")
    assert sum(bool(line) for line in example.splitlines()) <= 15
    example, replaced = re.subn(r'^SERVER = ".*"$', f'SERVER = "{hub.database}"', example, flags=re.MULTILINE)
    assert replaced == 1
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Cough" in done.stdout


def test_the_tree_names_what_is_there() -> None:
    (tree,) = (text for text in blocks("text") if "pyproject.toml" in text)
    folder: list[str] = []
    for line in tree.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folder[depth:] = [name]
        assert README.parent.joinpath(*folder).exists(), line


def _comparable(text: str) -> str:
    return TIME.sub("TIME", CODE.sub("CODE", HEX.sub("ID", text))).rstrip()
