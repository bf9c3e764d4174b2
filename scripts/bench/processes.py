"""Processes that are measured from outside: started, watched through /proc (proc(5)), ended. Knows no records.

Linux only, as /proc is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADMIN = ("admin", "bench-only")
STARTING = 30  # seconds that a server may take to listen
_TICKS = os.sysconf("SC_CLK_TCK")
_LISTENING = "0A"  # in /proc/net/tcp


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine, by its number."""

    pid: int

    def resident(self) -> int:
        """Bytes in memory now."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """The most bytes in memory since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Begin a new peak. Of a process that was started here."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def cpu(self) -> float:
        """Seconds of CPU until now, all threads, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name + ":")) * 1024


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens. `url` with an administrator's name and password."""

    url: str
    process: Process


class Worker:
    """A process that does one thing after another: a JSON value a line in, one a line out."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.process = Process(process.pid)

    def ask(self, question: Any) -> Any:
        """Its answer."""
        self.tell(question)
        return self.answer()

    def tell(self, question: Any) -> None:
        """Ask, and let it work meanwhile."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """The answer to what was asked before the others."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a process of this benchmark ended with code {self._process.wait()}")
        return json.loads(line)


@contextmanager
def worker(script: str, *arguments: str) -> Iterator[Worker]:
    """A script of this folder as a worker; it ends when its input does."""
    command = [sys.executable, str(Path(script)), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Worker(process)
        assert process.stdin is not None
        process.stdin.close()


def questions() -> Iterator[Any]:
    """What a worker is asked, one after another."""
    for line in sys.stdin:
        yield json.loads(line)


async def questions_meanwhile() -> AsyncIterator[Any]:
    """The same for a worker whose event loop goes on while nobody asks."""
    coming = questions()
    while (question := await asyncio.to_thread(next, coming, None)) is not None:
        yield question


def reply(value: Any) -> None:
    """A worker's answer."""
    print(json.dumps(value), flush=True)


@contextmanager
def hub(folder: Path, *options: str, **environment: str) -> Iterator[Server]:
    """A hub in a process of its own, so that nothing of it is counted as the client's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from icure_sync.app.cli import main; main()"]
    command += ["hub", "--listen", f"127.0.0.1:{port}", "--data", str(folder), *options]
    variables = {**os.environ, "ICURE_SYNC_HUB_ADMIN": ":".join(ADMIN), **environment}
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL)
    try:
        _await_port(port)
        yield Server(f"http://{ADMIN[0]}:{ADMIN[1]}@127.0.0.1:{port}", Process(process.pid))
    finally:
        process.terminate()
        process.wait()


def _await_port(port: int) -> None:
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"no server listens on port {port}")


def listener(port: int) -> Process:
    """The process of this machine that listens on a TCP port."""
    sockets = {
        fields[9]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for fields in map(str.split, Path(table).read_text().splitlines()[1:])
        if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port
    }
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # it has just ended, or is none of ours
            if str(link.readlink()).removeprefix("socket:[").removesuffix("]") in sockets:
                return Process(int(link.parts[2]))
    raise SystemExit(f"no process of this machine listens on port {port}")
