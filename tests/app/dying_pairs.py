"""`python -m tests.app.dying_pairs FOLDER URL`: devices paired through the hub at URL; in each pairing one side is
killed, some steps later than in the last, and what a person would run again is run again.

A step is something done to a file, or written on the hub. Says of each pairing which side was killed, whether the new
device's home opens, whose it is, and what is left beside it; at the end, the pairings left on the hub.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icure_sync import CouchPeer
from icure_sync.app import pairing as _pairing  # noqa: F401  # here, and not once in each process
from icure_sync.app import status as _status  # noqa: F401  # likewise
from icure_sync.app.cli import main
from icure_sync.engine import pairing, pairing_document
from icure_sync.peers.couch_writing import Writer
from tests.app.dying import ON_FILES, dying
from tests.app.dying_changes import OLD, quick_scrypt

CODE = re.compile(r"\d{4}-\d{4}-\d{4}")
NEVER = -1
MOST = 100  # steps: more than there are


@dataclass(frozen=True)
class Running:
    """A command in a process of its own. `errors`: its standard error, to be read."""

    pid: int
    errors: io.TextIOWrapper

    def ended(self) -> int:
        """The exit code; minus the signal, if it was killed."""
        _, status = os.waitpid(self.pid, 0)
        self.errors.close()
        return os.waitstatus_to_exitcode(status)

    def code(self) -> str:
        """The one that it shows, or nothing."""
        for line in self.errors:
            if found := CODE.search(line):
                return found[0]
        return ""


def start(home: Path, *arguments: str, typed: str = "", step: int = NEVER) -> Running:
    """Run a command, which is killed at this step."""
    sys.stdout.flush()  # or the child would have what is still to be written, too
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        dies_before(step, home.parent)
        sys.stdin = io.StringIO(typed)
        with (
            open(writing, "w", buffering=1) as errors,  # noqa: PTH123  # a descriptor has no path
            contextlib.redirect_stderr(errors),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            code = main(["--home", str(home), *arguments])
        os._exit(code)
    os.close(writing)
    return Running(pid, os.fdopen(reading))


def dies_before(step: int, folder: Path) -> None:
    """From here on this process is killed before the step-th thing that it does in the folder, or with a server."""
    count = dying(step, folder, ON_FILES | {"os.mkdir"})
    real = Writer.write

    async def written(self: Writer, *arguments: Any) -> Any:
        count()
        answer = await real(self, *arguments)
        count()
        return answer

    Writer.write = written  # type: ignore[method-assign]  # in a process that will end


def paired(new: Path, old: Path, url: str, side: str, step: int) -> list[int]:
    """How both ended, the new device first; the old one is run again if it was killed."""
    first = start(new, "device", "pair", "--server", url, step=step if side == "new" else NEVER)
    code = first.code()
    if not code:
        return [first.ended(), 0]
    ended = start(old, "device", "approve", typed=code, step=step if side == "old" else NEVER).ended()
    if ended == -signal.SIGKILL:
        start(old, "device", "approve", typed=code).ended()
    return [first.ended(), ended]


def tell(folder: Path, old: Path, url: str, side: str, steps: range) -> None:
    for step in steps:
        place = folder / f"{side}-{step}"
        place.mkdir()
        ended = paired(place / "home", old, url, side, step)
        is_killed = -signal.SIGKILL in ended
        config = place / "home" / "config.json"
        if not config.exists():
            ended = paired(place / "home", old, url, side, NEVER)
        hcp = json.loads(config.read_text())["hcpId"] if config.exists() else None
        opened = start(place / "home", "status").ended()
        left = [path.name for path in place.iterdir()]
        sys.stdout.write(f"{json.dumps([side, is_killed, opened, hcp, left])}\n")
        if not is_killed:
            return


async def left_on(url: str) -> list[str]:
    async with CouchPeer(url) as peer:
        return list(await peer.named("pairing-", limit=99))


def all_of(folder: Path, url: str) -> None:
    hashlib.scrypt = quick_scrypt
    pairing_document.POLL_SECONDS = 0.05
    pairing_document.LEFT_OVER_MS = 1  # what a killed run left is cleared away by the next one, not in an hour
    pairing.ANSWER_SECONDS = 1.0  # an old device whose partner is dead; what lives answers sooner, or is run again
    os.environ["ICURE_SYNC_PASSPHRASE"] = OLD
    old = folder / "old" / "home"
    old.parent.mkdir()
    init = ["init", "--hcp-id", "hcp-a", "--name", "A", "--server", url, "--no-recovery-code"]
    assert start(old, *init).ended() == 0
    tell(folder, old, url, "new", range(0, MOST, 2))  # dying_rescues has homes made with a kill at each step
    tell(folder, old, url, "old", range(MOST))
    assert paired(folder / "last", old, url, "new", NEVER)[0] == 0
    sys.stdout.write(f"{json.dumps(['left', asyncio.run(left_on(url))])}\n")


if __name__ == "__main__":
    all_of(Path(sys.argv[1]), sys.argv[2])
