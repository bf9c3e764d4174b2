"""The command line as people run it: real homes, a real hub on loopback, and real processes where one is the point.

Elsewhere `main` runs in this process, as the entry point calls it: starting Python and working out the keys of the same
passphrase and salt over and over would take most of the time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from icure_sync.app.cli import main

PASSPHRASE = "correct horse battery staple"
ADMIN = "admin:a-long-password"
PATIENCE = 60  # seconds until a process that hangs is given up

remembered_scrypt = functools.cache(hashlib.scrypt)


@dataclass(frozen=True)
class Finished:
    """A process that has ended."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The one JSON object on standard output."""
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """One line on standard error, exit code 1, nothing else."""
        assert (self.code, self.out) == (1, ""), self
        assert self.err.count("\n") == 1
        assert self.err.startswith("icure-sync: cannot ")
        return self.err


@dataclass(frozen=True)
class CommandLine:
    """Runs `icure-sync` with a home and a passphrase."""

    home: Path
    passphrase: str | None = PASSPHRASE
    variables: dict[str, str] = field(default_factory=dict)
    standard_input: str = ""  # of `run`

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ICURE_SYNC_")}
        given = {} if self.passphrase is None else {"ICURE_SYNC_PASSPHRASE": self.passphrase}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        return kept | {"PATH": path, "ICURE_SYNC_HOME": str(self.home)} | given | self.variables

    def run(self, *arguments: str | Path) -> Finished:
        """In this process."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment(), clear=True),
            mock.patch("sys.stdin", io.StringIO(self.standard_input)),
            mock.patch("hashlib.scrypt", remembered_scrypt),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                code = main([*map(str, arguments)])
            except SystemExit as ending:
                code = int(ending.code or 0)
        return Finished(code, out.getvalue(), err.getvalue())

    def run_process(self, *arguments: str | Path) -> Finished:
        """In a process of its own."""
        done = subprocess.run(
            ["icure-sync", *map(str, arguments)],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str | Path) -> Any:
        return self.run(*arguments, "--json").value

    def error(self, *arguments: str | Path) -> str:
        """What a command that fails says."""
        return self.run(*arguments).error


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
    shown = b""
    for question, answer in answers:
        while not shown.endswith(question.encode()):
            shown += os.read(keyboard, 1)
        os.write(keyboard, f"{answer}\n".encode())
    out, _ = process.communicate(timeout=PATIENCE)
    while True:
        try:
            shown += os.read(keyboard, 1024)
        except OSError:  # the terminal is gone with the process
            break
    os.close(keyboard)
    return Finished(process.returncode, out, shown.decode())


@dataclass(frozen=True)
class RunningHub:
    """`icure-sync hub` as a process of its own, with the database `clinic`."""

    process: subprocess.Popen[str]
    url: str
    data: Path

    @property
    def database(self) -> str:
        return self.url.replace("//", f"//{ADMIN}@") + "/clinic"


def start_hub(data: Path, listen: str = "127.0.0.1:0") -> RunningHub:
    line = CommandLine(data.parent, variables={"ICURE_SYNC_HUB_ADMIN": ADMIN})
    process = subprocess.Popen(
        ["icure-sync", "hub", "--listen", listen, "--data", str(data), "--json"],
        env=line.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return RunningHub(process, json.loads(process.stdout.readline())["url"], data)


def stop(process: subprocess.Popen[str]) -> int:
    process.terminate()
    if process.stdout is not None:
        process.stdout.close()
    return process.wait(PATIENCE)


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    running = start_hub(tmp_path_factory.mktemp("hub") / "data")
    try:
        CommandLine(running.data.parent).json("server", "provision", running.database)
        yield running
    finally:
        stop(running.process)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a module's homes are made."""
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(scope="module")
def practice(homes: Path) -> CommandLine:
    """The first device of Hcp `hcp-a`."""
    line = CommandLine(homes / "practice")
    assert line.run("init", "--hcp-id", "hcp-a", "--name", "Practice A").code == 0
    return line


@pytest.fixture(scope="module")
def specialist(homes: Path, hub: RunningHub) -> CommandLine:
    """The device of Hcp `hcp-b`, which was told the server at init."""
    line = CommandLine(homes / "specialist")
    line.json("init", "--hcp-id", "hcp-b", "--name", "Specialist B", "--server", hub.database)
    return line


@pytest.fixture(scope="module")
def phone(homes: Path, practice: CommandLine) -> CommandLine:
    """The second device of `hcp-a`."""
    file = homes / "hcp-a.identity"
    assert practice.json("identity", "export", file) == {"file": str(file), "hcpId": "hcp-a"}
    line = CommandLine(homes / "phone")
    made = line.json("init", "--identity", file)
    assert (made["hcpId"], made["name"]) == ("hcp-a", "Practice A")
    return line
